//! Giving an app another credential.

use axum::extract::{Path, State};
use axum::response::Response;
use axum_extra::extract::Form;
use domain::OrgId;
use domain::policy::FieldError;
use linking::NewCredential;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use time::{Date, OffsetDateTime, Time};
use uuid::Uuid;

use crate::app::{App, boxed};
use crate::error::PageError;
use crate::form::given;
use crate::session::Flash;
use crate::visit::Member;

use super::{detail, new};

/// A client secret as it is pasted.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SecretForm {
    secret: SecretString,
    /// The day on which it ends, if the admin tells it.
    pub secret_ends: String,
}

impl SecretForm {
    /// Without the white space that comes along when a text is copied.
    pub(super) fn value(&self) -> SecretString {
        self.secret.expose_secret().trim().into()
    }
}

/// The end of a secret: the beginning of the day that was written, so that it is never told too late.
pub(super) fn read_end(text: &str) -> Result<Option<OffsetDateTime>, FieldError> {
    let form = time::macros::format_description!("[year]-[month]-[day]");
    let Some(text) = given(text) else { return Ok(None) };
    Date::parse(text, form).map(|day| Some(day.with_time(Time::MIDNIGHT).assume_utc())).map_err(|_| {
        FieldError::new("secret_ends", "bad_value", "Write the day as 2027-12-31, or leave it empty.")
    })
}

/// `POST /orgs/{org_id}/identity-providers/apps/{app_id}/certificates`: one more, made here.
pub(super) async fn certificate(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
) -> Result<Response, PageError> {
    let (org, person) = (member.org.id, &member.person);
    match boxed(app.linking.add_credential(org, person, id, NewCredential::Certificate)).await {
        Ok(_) => {
            let text = "A new certificate is made. Upload it to the app in Entra ID, beside the present one.";
            member.flash(Flash::good(text)).await?;
            Ok(super::to_app(&member, id))
        }
        Err(error) => super::failed(&member, Some(id), error).await,
    }
}

/// `POST /orgs/{org_id}/identity-providers/apps/{app_id}/secrets`
pub(super) async fn secret(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
    Form(form): Form<SecretForm>,
) -> Result<Response, PageError> {
    let not_after = match read_end(&form.secret_ends) {
        Ok(end) => end,
        Err(error) => return detail::show(&member, &app, id, form.secret_ends, vec![error]).await,
    };
    let secret = NewCredential::Secret { value: form.value(), not_after };
    match boxed(app.linking.add_credential(member.org.id, &member.person, id, secret)).await {
        Ok(_) => {
            member.flash(Flash::good("The secret is kept, and is not shown again.")).await?;
            Ok(super::to_app(&member, id))
        }
        Err(error) => match error.field() {
            Some(field) => {
                let error = new::field_error(field, &error);
                detail::show(&member, &app, id, form.secret_ends, vec![error]).await
            }
            None => super::failed(&member, Some(id), error).await,
        },
    }
}
