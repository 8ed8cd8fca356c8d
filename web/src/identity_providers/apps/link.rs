//! Verify and link: with an own app, for a tenant that a sign-in verified.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use domain::OrgId;
use linking::{OwnAppError, VerifiedIdentity};
use uuid::Uuid;

use crate::app::{App, boxed};
use crate::clouds;
use crate::error::PageError;
use crate::session::Flash;
use crate::sign_in::{self, Purpose};
use crate::visit::Member;

/// `POST /orgs/{org_id}/identity-providers/apps/{app_id}/link`: the person's own tenant.
pub(super) async fn own(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
) -> Result<Response, PageError> {
    let tenant = member.person.identity.clone();
    finish(member, app, id, tenant).await
}

/// `POST /orgs/{org_id}/identity-providers/apps/{app_id}/link/other`: an administrator of another tenant, in the
/// app's cloud, signs in first.
pub(super) async fn other(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let row = store::apps::get(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    tx.commit().await?;
    let Some(cloud) = clouds::chosen(&app, &row.cloud, None) else {
        let error = OwnAppError::OtherCloud { app: row.cloud, tenant: member.person.identity.cloud };
        return super::failed(&member, Some(id), error).await;
    };
    let purpose = Purpose::LinkWithApp { org: member.org.id, app: id };
    match sign_in::begin(&app, &member.visit.session, cloud, purpose).await? {
        Ok(url) => Ok(Redirect::to(url.as_str()).into_response()),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a sign-in could not begin");
            sign_in::failed(StatusCode::BAD_GATEWAY, member.visit.shell().await?, error.words())
        }
    }
}

/// Links the tenant that `tenant` vouches for.
pub(crate) async fn finish(
    member: Member,
    app: App,
    id: Uuid,
    tenant: VerifiedIdentity,
) -> Result<Response, PageError> {
    match boxed(app.linking.verify_and_link(member.org.id, &member.person, &tenant, id)).await {
        Ok(linked) => {
            let text = if linked.renewed {
                format!("Your app speaks for {} from now on; a sync begins.", linked.tenant_name)
            } else {
                format!("{} is linked. Its devices are being fetched for the first time.", linked.tenant_name)
            };
            member.flash(Flash::good(text)).await?;
            Ok(Redirect::to(&member.path(&format!("identity-providers/{}", linked.link))).into_response())
        }
        Err(error) => super::failed(&member, Some(id), error).await,
    }
}
