//! An application's service principal ("enterprise app") in one tenant, and the app roles granted to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PrincipalState {
    Consented,
    /// "Enabled for users to sign in" is off: tokens are refused with 7000112.
    Disabled,
    /// The enterprise app was deleted: tokens are refused with 7000229.
    Deleted,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePrincipal {
    pub state: PrincipalState,
    /// App roles by name, and the second from which tokens carry them: consent takes time to propagate.
    pub roles: BTreeMap<String, i64>,
    /// Tokens of an earlier generation are refused by Graph, as continuous access evaluation does it. A counter,
    /// because two tokens of one second could not be told apart by time.
    #[serde(default)]
    pub token_generation: u32,
}

impl ServicePrincipal {
    /// Grants `roles`, to be seen by tokens from `effective_at` on. Roles already in effect stay so.
    pub fn grant<'a>(&mut self, roles: impl IntoIterator<Item = &'a str>, effective_at: OffsetDateTime) {
        self.state = PrincipalState::Consented;
        for role in roles {
            self.roles.entry(role.to_owned()).or_insert(effective_at.unix_timestamp());
        }
    }

    /// The roles that a token minted at `now` carries.
    pub fn effective_roles(&self, now: OffsetDateTime) -> impl Iterator<Item = &str> {
        let now = now.unix_timestamp();
        self.roles.iter().filter(move |(_, from)| **from <= now).map(|(role, _)| role.as_str())
    }
}

impl Default for ServicePrincipal {
    fn default() -> Self {
        Self { state: PrincipalState::Consented, roles: BTreeMap::new(), token_generation: 0 }
    }
}
