//! Trying a credential, and retiring it.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::OrgId;
use store::apps::{AppRow, CredentialRow};
use uuid::Uuid;

use crate::app::{App, boxed};
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

/// `POST /orgs/{org_id}/identity-providers/apps/{app_id}/credentials/{app_credential_id}/check`
pub(super) async fn check(
    member: Member,
    State(app): State<App>,
    Path((_, id, credential)): Path<(OrgId, Uuid, Uuid)>,
) -> Result<Response, PageError> {
    match boxed(app.linking.check_credential(member.org.id, &member.person, id, credential)).await {
        Ok(()) => {
            member.flash(Flash::good("Microsoft takes the credential.")).await?;
            Ok(super::to_app(&member, id))
        }
        Err(error) => super::failed(&member, Some(id), error).await,
    }
}

#[derive(Template)]
#[template(path = "identity_providers/apps/retire.html")]
struct Page {
    shell: Shell,
    base: String,
    app: AppRow,
    credential: CredentialRow,
}

/// `GET /orgs/{org_id}/identity-providers/apps/{app_id}/credentials/{app_credential_id}/retire`
pub(super) async fn ask(
    member: Member,
    State(app): State<App>,
    Path((_, id, credential)): Path<(OrgId, Uuid, Uuid)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let row = store::apps::get(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let all = store::apps::credentials(&mut tx).await?;
    tx.commit().await?;
    let credential = all.into_iter().find(|one| one.app == id && one.id == credential);
    page(&Page {
        shell: member.shell(Area::IdentityProviders).await?,
        base: member.path("identity-providers"),
        app: row,
        credential: credential.ok_or(PageError::NotFound)?,
    })
}

/// `POST /orgs/{org_id}/identity-providers/apps/{app_id}/credentials/{app_credential_id}/retire`
pub(super) async fn retire(
    member: Member,
    State(app): State<App>,
    Path((_, id, credential)): Path<(OrgId, Uuid, Uuid)>,
) -> Result<Response, PageError> {
    match boxed(app.linking.retire_credential(member.org.id, &member.person, id, credential)).await {
        Ok(()) => {
            let text =
                "The credential is retired, and its secret part is forgotten. Remove it in Entra ID too.";
            member.flash(Flash::good(text)).await?;
            Ok(super::to_app(&member, id))
        }
        Err(error) => super::failed(&member, Some(id), error).await,
    }
}
