//! The first segment of a login URL: which tenant, or which kind of tenants.

use std::sync::Arc;

use uuid::Uuid;

use super::aadsts::Aadsts;
use crate::{directory::Tenant, world::World};

#[derive(Debug, Clone)]
pub enum Authority {
    /// Work and school accounts of any tenant.
    Organizations,
    /// Those and personal accounts.
    Common,
    /// Personal accounts alone.
    Consumers,
    Tenant(Arc<Tenant>),
}

impl Authority {
    /// Finds the tenant by GUID or domain.
    pub fn find(world: &World, segment: &str) -> Result<Self, Aadsts> {
        match segment.to_ascii_lowercase().as_str() {
            "organizations" => return Ok(Self::Organizations),
            "common" => return Ok(Self::Common),
            "consumers" => return Ok(Self::Consumers),
            _ => {}
        }
        let tenant = match Uuid::parse_str(segment) {
            Ok(id) => world.tenant(id),
            Err(_) if segment.contains('.') => world.directory().with_domain(segment),
            Err(_) => return Err(Aadsts::malformed_tenant(segment)),
        };
        tenant.map(Self::Tenant).ok_or_else(|| Aadsts::tenant_not_found(segment))
    }

    /// How the authority stands in URLs.
    #[must_use]
    pub fn segment(&self) -> String {
        match self {
            Self::Organizations => "organizations".to_owned(),
            Self::Common => "common".to_owned(),
            Self::Consumers => "consumers".to_owned(),
            Self::Tenant(tenant) => tenant.id.to_string(),
        }
    }

    #[must_use]
    pub const fn tenant(&self) -> Option<&Arc<Tenant>> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            _ => None,
        }
    }
}
