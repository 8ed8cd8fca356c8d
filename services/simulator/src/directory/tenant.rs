//! One Entra tenant.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ServicePrincipal, User};
use crate::{
    clock::stable_guid,
    fleet::{Fleet, Recipe, mix},
};

/// The tenants that are always there, with ids that depend on their domain alone.
pub const NAMED: &[(&str, &str)] =
    &[("Contoso", "contoso.example"), ("Fabrikam", "fabrikam.example"), ("Northwind", "northwind.example")];

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    pub id: Uuid,
    pub name: String,
    pub domain: String,
    state: RwLock<TenantState>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantState {
    /// Whether the tenant has an active Intune licence.
    pub licensed: bool,
    /// Whether a Conditional Access policy for workload identities refuses tokens (53003).
    pub blocked_by_conditional_access: bool,
    pub users: Vec<User>,
    /// Service principals by client id.
    pub principals: BTreeMap<String, ServicePrincipal>,
    pub fleet: Fleet,
}

impl Tenant {
    /// A licensed tenant with the usual people and `devices` generated devices.
    #[must_use]
    pub fn new(
        id: Option<Uuid>,
        name: &str,
        domain: &str,
        seed: u64,
        devices: u64,
        epoch: OffsetDateTime,
    ) -> Self {
        let id = id.unwrap_or_else(|| stable_guid(domain));
        let (high, low) = id.as_u64_pair();
        let recipe = Recipe { seed: mix(seed, high, low), domain: domain.to_owned(), epoch, count: devices };
        Self {
            id,
            name: name.to_owned(),
            domain: domain.to_owned(),
            state: RwLock::new(TenantState {
                licensed: true,
                blocked_by_conditional_access: false,
                users: User::cast(domain),
                principals: BTreeMap::new(),
                fleet: Fleet::new(recipe),
            }),
        }
    }

    /// Tenant number `number` of a generated crowd.
    #[must_use]
    pub fn numbered(number: usize, seed: u64, devices: u64, epoch: OffsetDateTime) -> Self {
        match NAMED.get(number) {
            Some((name, domain)) => Self::new(None, name, domain, seed, devices, epoch),
            None => {
                let name = format!("Customer {number:05}");
                Self::new(None, &name, &format!("customer{number:05}.example"), seed, devices, epoch)
            }
        }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, TenantState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, TenantState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn user(&self, name_or_id: &str) -> Option<User> {
        let wanted = name_or_id.to_lowercase();
        self.read()
            .users
            .iter()
            .find(|user| user.user_principal_name.to_lowercase() == wanted || user.id.to_string() == wanted)
            .cloned()
    }
}
