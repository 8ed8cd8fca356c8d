//! Tenants: list, create, change, delete.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Refusal, Reply, body, created, no_content, ok, tenant};
use crate::{
    directory::{Tenant, User, user::Role},
    world::World,
};

/// How many tenants one call may make.
const CREATED_MAX: usize = 100_000;

pub fn shown(tenant: &Tenant) -> Value {
    let state = tenant.read();
    let principals: serde_json::Map<String, Value> = state
        .principals
        .iter()
        .map(|(client_id, principal)| {
            let roles: Vec<_> = principal.roles.keys().collect();
            (client_id.clone(), json!({ "state": principal.state, "roles": roles }))
        })
        .collect();
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "domain": tenant.domain,
        "licensed": state.licensed,
        "blockedByConditionalAccess": state.blocked_by_conditional_access,
        "devices": state.fleet.managed(),
        "principals": principals,
    })
}

#[derive(Debug, Deserialize)]
pub struct ListQuery {
    #[serde(default)]
    search: String,
    #[serde(default)]
    offset: usize,
    #[serde(default = "hundred")]
    limit: usize,
}

const fn hundred() -> usize {
    100
}

pub async fn list(State(world): State<Arc<World>>, Query(query): Query<ListQuery>) -> Reply {
    world.settle();
    let wanted = query.search.to_lowercase();
    let tenants: Vec<_> = world
        .tenants()
        .into_iter()
        .filter(|tenant| tenant.name.to_lowercase().contains(&wanted) || tenant.domain.contains(&wanted))
        .collect();
    let page: Vec<_> =
        tenants.iter().skip(query.offset).take(query.limit).map(|tenant| shown(tenant)).collect();
    ok(json!({ "total": tenants.len(), "tenants": page }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewTenant {
    id: Option<Uuid>,
    name: Option<String>,
    domain: Option<String>,
    devices: Option<u64>,
    seed: Option<u64>,
    /// Instead of name and domain: so many numbered tenants.
    count: Option<usize>,
    /// Consent to the default app at once.
    #[serde(default)]
    consented: bool,
}

pub async fn create(State(world): State<Arc<World>>, bytes: bytes::Bytes) -> Reply {
    let new: NewTenant = body(&bytes)?;
    let seed = new.seed.unwrap_or(world.config.seed);
    let devices = new.devices.unwrap_or(world.config.devices_per_tenant);
    let now = world.clock.fleet();
    let finish = |tenant: Tenant| {
        let tenant = world.add_tenant(tenant);
        if new.consented {
            world.consent(&tenant, &world.config.client_id, None, 0);
        }
        tenant
    };
    if let Some(count) = new.count {
        if count > CREATED_MAX {
            return Err(Refusal::bad(format!("at most {CREATED_MAX} tenants at a time")));
        }
        let from = world.directory().len();
        let mut made = 0;
        for number in from.. {
            if made == count {
                break;
            }
            let tenant = Tenant::numbered(number, seed, devices, now);
            if world.tenant(tenant.id).is_none() {
                finish(tenant);
                made += 1;
            }
        }
        return created(json!({ "created": count, "total": world.directory().len() }));
    }
    let (Some(name), Some(domain)) = (new.name.clone(), new.domain.clone()) else {
        return Err(Refusal::bad("give name and domain, or count"));
    };
    let taken = {
        let directory = world.directory();
        directory.with_domain(&domain).is_some() || new.id.is_some_and(|id| directory.get(id).is_some())
    };
    if taken {
        return Err(Refusal(StatusCode::CONFLICT, "id or domain is in use".to_owned()));
    }
    let tenant = finish(Tenant::new(new.id, &name, &domain.to_lowercase(), seed, devices, now));
    created(shown(&tenant))
}

pub async fn get(State(world): State<Arc<World>>, Path(key): Path<String>) -> Reply {
    ok(shown(&*tenant(&world, &key)?))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantPatch {
    licensed: Option<bool>,
    blocked_by_conditional_access: Option<bool>,
}

pub async fn patch(State(world): State<Arc<World>>, Path(key): Path<String>, bytes: bytes::Bytes) -> Reply {
    let tenant = tenant(&world, &key)?;
    let patch: TenantPatch = body(&bytes)?;
    {
        let mut state = tenant.write();
        state.licensed = patch.licensed.unwrap_or(state.licensed);
        state.blocked_by_conditional_access =
            patch.blocked_by_conditional_access.unwrap_or(state.blocked_by_conditional_access);
    }
    world.touch();
    ok(shown(&tenant))
}

/// Deletes the whole tenant: from now on it is unknown (90002).
pub async fn delete(State(world): State<Arc<World>>, Path(key): Path<String>) -> Reply {
    let tenant = tenant(&world, &key)?;
    world.directory_mut().remove(tenant.id);
    world.transitions().forget_tenant(tenant.id);
    no_content()
}

pub async fn users(State(world): State<Arc<World>>, Path(key): Path<String>) -> Reply {
    let tenant = tenant(&world, &key)?;
    let users = tenant.read().users.clone();
    ok(json!({ "users": users }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewUser {
    given_name: String,
    surname: String,
    role: Role,
}

pub async fn add_user(
    State(world): State<Arc<World>>,
    Path(key): Path<String>,
    bytes: bytes::Bytes,
) -> Reply {
    let tenant = tenant(&world, &key)?;
    let new: NewUser = body(&bytes)?;
    let user = User::new(&new.given_name, &new.surname, &tenant.domain, new.role);
    if tenant.user(&user.user_principal_name).is_some() {
        let taken = format!("{} exists", user.user_principal_name);
        return Err(Refusal(StatusCode::CONFLICT, taken));
    }
    tenant.write().users.push(user.clone());
    world.touch();
    created(json!(user))
}

/// Makes every delta token of the tenant too old.
pub async fn expire_delta(State(world): State<Arc<World>>, Path(key): Path<String>) -> Reply {
    tenant(&world, &key)?.write().fleet.changes.expire();
    world.touch();
    no_content()
}
