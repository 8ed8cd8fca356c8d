//! Consent without a browser, and the ways in which it is lost.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Deserialize;

use super::{Refusal, Reply, body, ok, tenant, tenants};
use crate::{
    directory::{PrincipalState, Tenant},
    world::World,
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    client_id: Option<String>,
    /// App roles by name; default: those of the app's manifest.
    roles: Option<Vec<String>>,
    delay_seconds: Option<u32>,
}

pub async fn grant(State(world): State<Arc<World>>, Path(key): Path<String>, bytes: bytes::Bytes) -> Reply {
    let tenant = tenant(&world, &key)?;
    let grant: Grant = body(&bytes)?;
    let client_id = grant.client_id.unwrap_or_else(|| world.config.client_id.clone());
    if world.app(&client_id).is_none() {
        return Err(Refusal::missing("app", &client_id));
    }
    let delay = grant.delay_seconds.unwrap_or_else(|| world.settings().consent_propagation_seconds);
    world.consent(&tenant, &client_id, grant.roles, delay);
    ok(tenants::shown(&tenant))
}

/// The four kinds of revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The enterprise app is deleted: token requests fail with 7000229.
    Delete,
    /// Its sign-in is switched off: 7000112.
    Disable,
    /// App roles are taken away: tokens go on, Graph says 403.
    Roles,
    /// The Intune licence ends: Intune calls say 403.
    Licence,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revocation {
    kind: Kind,
    client_id: Option<String>,
    /// For `roles`: which ones; default: all.
    roles: Option<Vec<String>>,
}

pub async fn revoke(State(world): State<Arc<World>>, Path(key): Path<String>, bytes: bytes::Bytes) -> Reply {
    let tenant = tenant(&world, &key)?;
    let revocation: Revocation = body(&bytes)?;
    let client_id = revocation.client_id.unwrap_or_else(|| world.config.client_id.clone());
    apply(&world, &tenant, &client_id, revocation.kind, revocation.roles.as_deref());
    ok(tenants::shown(&tenant))
}

/// Takes consent, or the licence, away. Without a service principal only the licence can go.
pub fn apply(world: &World, tenant: &Tenant, client_id: &str, kind: Kind, roles: Option<&[String]>) {
    let mut state = tenant.write();
    if kind == Kind::Licence {
        state.licensed = false;
    } else if let Some(principal) = state.principals.get_mut(&client_id.to_lowercase()) {
        match (kind, roles) {
            (Kind::Delete, _) => {
                principal.state = PrincipalState::Deleted;
                principal.roles.clear();
            }
            (Kind::Disable, _) => principal.state = PrincipalState::Disabled,
            (_, Some(roles)) => principal.roles.retain(|role, _| !roles.contains(role)),
            (_, None) => principal.roles.clear(),
        }
    }
    world.touch();
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRevocation {
    client_id: Option<String>,
}

/// Makes Graph refuse every token issued so far, as continuous access evaluation would.
pub async fn revoke_tokens(
    State(world): State<Arc<World>>,
    Path(key): Path<String>,
    bytes: bytes::Bytes,
) -> Reply {
    let tenant = tenant(&world, &key)?;
    let revocation: TokenRevocation = body(&bytes)?;
    let client_id = revocation.client_id.unwrap_or_else(|| world.config.client_id.clone());
    if let Some(principal) = tenant.write().principals.get_mut(&client_id.to_lowercase()) {
        principal.token_generation += 1;
    }
    world.touch();
    ok(tenants::shown(&tenant))
}
