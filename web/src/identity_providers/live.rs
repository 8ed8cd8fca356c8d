//! The progress of a sweep, as it goes on.

use std::time::Duration;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use cache::BusMessage;
use domain::{LinkId, OrgId};

use crate::app::App;
use crate::error::PageError;
use crate::live::{self, Pace, Part};
use crate::visit::Member;

use super::status::Progress;
use super::work;

/// `GET /orgs/{org_id}/identity-providers/{link_id}/live`: each message is the part of the page that changes.
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LinkId)>,
) -> Result<Response, PageError> {
    live::part(app, member, Work(id)).await
}

struct Work(LinkId);

impl Part for Work {
    const PACE: Pace = Pace { look_every: Duration::from_secs(5), gather: Duration::from_millis(250) };

    fn is_concerned(&self, of: OrgId, message: &BusMessage) -> bool {
        matches!(message, BusMessage::SyncProgress { org, link } if *org == of && *link == self.0)
    }

    async fn render(&self, app: &App, member: &Member) -> Result<Option<String>, PageError> {
        let mut tx = member.tx(app).await?;
        let Some(link) = store::views::links::one(&mut tx, self.0).await? else { return Ok(None) };
        let now = app.now();
        let mut work = work::read(&mut tx, self.0, now).await?;
        tx.commit().await?;
        work::measure(app, &mut work, &link).await;
        let devices = member.path("devices");
        Ok(Some(Progress { link: &link, work: &work, devices: &devices, now }.render()?))
    }
}
