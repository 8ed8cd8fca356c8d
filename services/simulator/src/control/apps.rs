//! App registrations.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, Reply, body, created, no_content, ok};
use crate::{
    clock::random_guid,
    directory::{App, Certificate, Secret, roles::DEFAULT_MANIFEST},
    world::World,
};

/// Registration or change: what is absent stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registration {
    client_id: Option<String>,
    name: Option<String>,
    multi_tenant: Option<bool>,
    redirect_uris: Option<Vec<String>>,
    /// Added to those that are there.
    #[serde(default)]
    add_redirect_uris: Vec<String>,
    secrets: Option<Vec<Secret>>,
    /// PEM, or base64 of DER.
    certificates: Option<Vec<String>>,
    required_roles: Option<Vec<String>>,
}

impl Registration {
    fn apply(self, app: &mut App) -> Result<(), Refusal> {
        let certificates = self
            .certificates
            .map(|list| list.iter().map(|text| Certificate::parse(text)).collect::<Result<_, _>>())
            .transpose()
            .map_err(Refusal::bad)?;
        app.name = self.name.unwrap_or_else(|| app.name.clone());
        app.multi_tenant = self.multi_tenant.unwrap_or(app.multi_tenant);
        if let Some(uris) = self.redirect_uris {
            app.redirect_uris = uris;
        }
        for uri in self.add_redirect_uris {
            if !app.redirect_uris.contains(&uri) {
                app.redirect_uris.push(uri);
            }
        }
        if let Some(secrets) = self.secrets {
            app.secrets = secrets;
        }
        if let Some(certificates) = certificates {
            app.certificates = certificates;
        }
        if let Some(roles) = self.required_roles {
            app.required_roles = roles;
        }
        Ok(())
    }
}

pub async fn list(State(world): State<Arc<World>>) -> Reply {
    ok(json!({ "apps": *world.apps() }))
}

pub async fn create(State(world): State<Arc<World>>, bytes: bytes::Bytes) -> Reply {
    let registration: Registration = body(&bytes)?;
    let client_id = registration.client_id.clone().unwrap_or_else(|| random_guid().to_string());
    if world.app(&client_id).is_some() {
        return Err(Refusal(StatusCode::CONFLICT, format!("app {client_id} exists")));
    }
    let mut app = App {
        client_id,
        name: "App".to_owned(),
        multi_tenant: true,
        redirect_uris: Vec::new(),
        secrets: Vec::new(),
        certificates: Vec::new(),
        required_roles: DEFAULT_MANIFEST.iter().map(|&role| role.to_owned()).collect(),
    };
    registration.apply(&mut app)?;
    world.apps_mut().push(app.clone());
    created(json!(app))
}

pub async fn get(State(world): State<Arc<World>>, Path(id): Path<String>) -> Reply {
    let app = world.app(&id).ok_or_else(|| Refusal::missing("app", &id))?;
    ok(json!(app))
}

pub async fn patch(State(world): State<Arc<World>>, Path(id): Path<String>, bytes: bytes::Bytes) -> Reply {
    let registration: Registration = body(&bytes)?;
    if registration.client_id.is_some() {
        return Err(Refusal::bad("the client id cannot be changed"));
    }
    let shown: Value = {
        let mut apps = world.apps_mut();
        let app = apps
            .iter_mut()
            .find(|app| app.client_id.eq_ignore_ascii_case(&id))
            .ok_or_else(|| Refusal::missing("app", &id))?;
        registration.apply(app)?;
        json!(app)
    };
    ok(shown)
}

pub async fn delete(State(world): State<Arc<World>>, Path(id): Path<String>) -> Reply {
    world.apps_mut().retain(|app| !app.client_id.eq_ignore_ascii_case(&id));
    no_content()
}
