//! Registering an app.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum_extra::extract::Form;
use domain::policy::FieldError;
use linking::{NewCredential, OwnAppError};
use serde::Deserialize;
use uuid::Uuid;

use crate::app::App;
use crate::clouds::{self, Choice};
use crate::error::PageError;
use crate::form::Errors;
use crate::session::Flash;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

use super::credentials::{SecretForm, read_end};

#[derive(Template)]
#[template(path = "identity_providers/apps/new.html")]
struct Page {
    shell: Shell,
    base: String,
    clouds: Vec<Choice>,
    form: AppForm,
    errors: Errors,
    possible: bool,
}

/// A secret that was typed is not sent back to the browser.
#[derive(Deserialize)]
pub(super) struct AppForm {
    #[serde(default)]
    cloud: String,
    #[serde(default)]
    client_id: String,
    /// `certificate` or `secret`.
    #[serde(default)]
    credential: String,
    #[serde(flatten)]
    secret: SecretForm,
}

async fn show(
    member: &Member,
    app: &App,
    form: AppForm,
    errors: Vec<FieldError>,
) -> Result<Response, PageError> {
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let view = Page {
        shell: member.shell(Area::IdentityProviders).await?,
        base: member.path("identity-providers"),
        clouds: clouds::choices(app),
        form,
        errors: Errors(errors),
        possible: app.linking.takes_own_apps(),
    };
    page_as(status, &view)
}

/// `GET /orgs/{org_id}/identity-providers/apps/new`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    let form = AppForm {
        cloud: member.person.identity.cloud.to_string(),
        client_id: String::new(),
        credential: "certificate".to_owned(),
        secret: SecretForm::default(),
    };
    show(&member, &app, form, Vec::new()).await
}

/// `POST /orgs/{org_id}/identity-providers/apps`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Form(form): Form<AppForm>,
) -> Result<Response, PageError> {
    let mut errors = Vec::new();
    let cloud = clouds::chosen(&app, &form.cloud, Some(member.person.identity.cloud));
    if cloud.is_none() {
        errors.push(FieldError::new("cloud", "unknown", "Choose one of the clouds."));
    }
    let client_id = form.client_id.trim().parse::<Uuid>().ok().filter(|id| !id.is_nil());
    if client_id.is_none() {
        let message = "Paste the “Application (client) ID” from the app's overview: a GUID.";
        errors.push(FieldError::new("client_id", "bad_value", message));
    }
    let credential = match form.credential.as_str() {
        "certificate" => Some(NewCredential::Certificate),
        "secret" => match read_end(&form.secret.secret_ends) {
            Ok(not_after) => Some(NewCredential::Secret { value: form.secret.value(), not_after }),
            Err(error) => {
                errors.push(error);
                None
            }
        },
        _ => {
            errors.push(FieldError::new("credential", "required", "Choose how the app proves who it is."));
            None
        }
    };
    let (Some(cloud), Some(client_id), Some(credential)) = (cloud, client_id, credential) else {
        return show(&member, &app, form, errors).await;
    };
    let made = crate::app::boxed(app.linking.register_app(
        member.org.id,
        &member.person,
        cloud,
        client_id,
        credential,
    ))
    .await;
    match made {
        Ok(row) => {
            member.flash(Flash::good("The app is registered. Go on with the steps below.")).await?;
            Ok(super::to_app(&member, row.id))
        }
        Err(error) => match error.field() {
            Some(field) => {
                let error = field_error(field, &error);
                show(&member, &app, form, vec![error]).await
            }
            None => super::failed(&member, None, error).await,
        },
    }
}

/// An error's words, to stand below its field.
pub(super) fn field_error(field: &'static str, error: &OwnAppError) -> FieldError {
    let words = error.words();
    FieldError::new(field, "bad_value", format!("{} {}", words.cause, words.remedy))
}
