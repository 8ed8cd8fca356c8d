//! An admin asks for a look at one device.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::resolver::LookupKey;
use domain::{DeviceId, LinkId, OrgId};
use serde_json::json;
use store::audit;
use store::jobs::{self, JobKind};
use store::looks::{self, WishReason};

use crate::app::App;
use crate::error::PageError;
use crate::visit::Member;

use super::detail::Asked;

/// `POST /orgs/{org_id}/devices/{link_id}/{device_id}/check`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, link, id)): Path<(OrgId, LinkId, DeviceId)>,
) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(&app).await?;
    let device = store::views::devices::one(&mut tx, link, id).await?.ok_or(PageError::NotFound)?;
    looks::wish(&mut tx, link, &LookupKey::IntuneId(id.uuid()), WishReason::Admin, now).await?;
    jobs::wake(&mut tx, link, JobKind::Look, now).await?;
    let target = device.facts.name.unwrap_or_else(|| id.to_string());
    let detail = json!({ "link": link, "device": id });
    audit::write(&mut tx, &app.ids, now, &member.actor(), "device.check", &target, detail).await?;
    tx.commit().await?;
    let path = member.path(&format!("devices/{link}/{id}{}", Asked::at(now).query()));
    Ok(Redirect::to(&path).into_response())
}
