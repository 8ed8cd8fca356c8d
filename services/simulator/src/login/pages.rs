//! The pages that a person sees while signing in and consenting.

use std::collections::BTreeMap;

use askama::Template;
use askama_web::WebTemplate;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    aadsts::{Aadsts, login_timestamp},
    authority::Authority,
    authorize::Parameters,
};
use crate::{
    clock::random_guid,
    directory::{App, Tenant, User},
    world::World,
};

/// Of a crowd of tenants the page shows these many; the others are found by search.
const SHOWN: usize = 12;

struct Group {
    tenant: String,
    domain: String,
    people: Vec<Choice>,
}

struct Choice {
    name: String,
    shown: String,
    user: String,
    role: &'static str,
}

impl Choice {
    fn of(user: &User) -> Self {
        Self {
            name: user.display_name.clone(),
            shown: user.sign_in_name(),
            user: user.user_principal_name.clone(),
            role: user.role.title(),
        }
    }
}

#[derive(Template, WebTemplate)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    title: &'a str,
    app: &'a str,
    action: &'a str,
    path: &'a str,
    groups: Vec<Group>,
    more: usize,
    who: &'a str,
    hidden: BTreeMap<&'a str, &'a str>,
}

/// Lets one pick a user of the authority's tenants. The forms post `user` to `action`.
pub fn sign_in_page(
    world: &World,
    authority: &Authority,
    app: &App,
    action: &str,
    query: &Parameters,
    title: &str,
) -> Response {
    let who = query
        .get("who")
        .or_else(|| query.get("login_hint"))
        .or_else(|| query.get("domain_hint"))
        .map_or("", String::as_str);
    let wanted = who.to_lowercase();
    let group = |tenant: &Tenant| Group {
        tenant: tenant.name.clone(),
        domain: tenant.domain.clone(),
        people: tenant.read().users.iter().map(Choice::of).collect(),
    };
    let (mut groups, mut more) = (Vec::new(), 0);
    match authority {
        Authority::Tenant(tenant) => groups.push(group(tenant)),
        Authority::Consumers => {}
        Authority::Organizations | Authority::Common => {
            let directory = world.directory();
            for tenant in directory.iter() {
                let hit = wanted.is_empty()
                    || tenant.name.to_lowercase().contains(&wanted)
                    || wanted.ends_with(&tenant.domain)
                    || tenant.domain.contains(&wanted);
                match hit {
                    true if groups.len() < SHOWN => groups.push(group(tenant)),
                    true => more += 1,
                    false => {}
                }
            }
        }
    }
    if matches!(authority, Authority::Common | Authority::Consumers) {
        groups.push(Group {
            tenant: "Personal account".to_owned(),
            domain: "outlook.example".to_owned(),
            people: vec![Choice::of(&User::personal())],
        });
    }
    SignIn {
        title,
        app: &app.name,
        action,
        path: action.split('?').next().unwrap_or(action),
        groups,
        more,
        who,
        hidden: query
            .iter()
            .filter(|(name, _)| *name != "who")
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
    }
    .into_response()
}

#[derive(Template, WebTemplate)]
#[template(path = "consent.html")]
pub struct Consent<'a> {
    pub app: &'a App,
    pub tenant: &'a str,
    pub domain: &'a str,
    pub user: &'a User,
    pub roles: Vec<String>,
    pub action: &'a str,
    pub other_account: String,
}

#[derive(Template, WebTemplate)]
#[template(path = "login_error.html")]
struct ErrorPage<'a> {
    heading: &'a str,
    code: u32,
    message: &'a str,
    correlation: String,
    timestamp: String,
}

/// An error that Microsoft shows on its own page, without going back to the application.
pub fn error_page(world: &World, error: &Aadsts) -> Response {
    let heading = match error.code {
        90_094 => "Need admin approval",
        _ => "Sorry, but we’re having trouble signing you in.",
    };
    let page = ErrorPage {
        heading,
        code: error.code,
        message: &error.message,
        correlation: random_guid().to_string(),
        timestamp: login_timestamp(world.clock.login()),
    };
    (error.status, page).into_response()
}

#[must_use]
pub fn not_in_tenant(name: &str, tenant: &str) -> Aadsts {
    Aadsts::new(
        50_020,
        StatusCode::BAD_REQUEST,
        "invalid_grant",
        format!(
            "User account '{name}' does not exist in tenant '{tenant}' and cannot access the application in that \
             tenant. The account needs to be added as an external user in the tenant first."
        ),
    )
}

#[derive(Template, WebTemplate)]
#[template(path = "signed_out.html")]
pub struct SignedOut;
