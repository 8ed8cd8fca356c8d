//! Who is signed in to the simulated Entra in this browser.

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use uuid::Uuid;

use super::authority::Authority;
use crate::{
    clock::random_token,
    directory::{User, user::PERSONAL_ACCOUNTS},
    world::World,
};

const COOKIE: &str = "simulator_signin";

/// A user, and the tenant that they sign in to.
#[derive(Debug, Clone)]
pub struct Person {
    pub tenant: Uuid,
    pub user: User,
}

impl Person {
    #[must_use]
    pub fn may_use(&self, authority: &Authority) -> bool {
        let personal = self.tenant == PERSONAL_ACCOUNTS;
        match authority {
            Authority::Common => true,
            Authority::Consumers => personal,
            Authority::Organizations => !personal,
            Authority::Tenant(tenant) => tenant.id == self.tenant,
        }
    }
}

/// The user with this principal name.
#[must_use]
pub fn find(world: &World, name: &str) -> Option<Person> {
    let personal = User::personal();
    if name.eq_ignore_ascii_case(&personal.user_principal_name) {
        return Some(Person { tenant: PERSONAL_ACCOUNTS, user: personal });
    }
    let (_, domain) = name.rsplit_once('@')?;
    let tenant = world.directory().with_domain(domain)?;
    tenant.user(name).map(|user| Person { tenant: tenant.id, user })
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

#[must_use]
pub fn current(world: &World, headers: &HeaderMap) -> Option<Person> {
    let (tenant, user) = world.sign_ins().signed_in(cookie(headers)?)?;
    if tenant == PERSONAL_ACCOUNTS {
        return Some(Person { tenant, user: User::personal() });
    }
    world.tenant(tenant)?.user(&user.to_string()).map(|user| Person { tenant, user })
}

/// Starts a session; returns its cookie.
#[must_use]
pub fn sign_in(world: &World, person: &Person) -> String {
    let value = random_token::<24>();
    world.sign_ins().sign_in(value.clone(), person.tenant, person.user.id);
    value
}

pub fn set_cookie(response: &mut Response, value: &str) {
    if let Ok(header) = HeaderValue::from_str(&format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax")) {
        response.headers_mut().append(header::SET_COOKIE, header);
    }
}

pub fn sign_out(world: &World, headers: &HeaderMap, response: &mut Response) {
    if let Some(value) = cookie(headers) {
        world.sign_ins().sign_out(value);
    }
    response.headers_mut().append(
        header::SET_COOKIE,
        HeaderValue::from_static("simulator_signin=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"),
    );
}
