//! What a look changes on a device's page, as it goes on.

use std::time::Duration;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use cache::BusMessage;
use domain::resolver::LookupKey;
use domain::{DeviceId, LinkId, OrgId};

use crate::app::App;
use crate::error::PageError;
use crate::live::{self, Pace, Part};
use crate::visit::Member;

use super::detail::{Asked, StandingPart, standing};

/// `GET /orgs/{org_id}/devices/{link_id}/{device_id}/live`: each message is the part of the page that changes.
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, link, id)): Path<(OrgId, LinkId, DeviceId)>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    live::part(app, member, Standing { link, id, asked }).await
}

struct Standing {
    link: LinkId,
    id: DeviceId,
    asked: Asked,
}

impl Part for Standing {
    const PACE: Pace = Pace { look_every: Duration::from_secs(3), gather: Duration::from_millis(250) };

    fn is_concerned(&self, of: OrgId, message: &BusMessage) -> bool {
        matches!(message, BusMessage::Lookups { org, keys }
            if *org == of && keys.contains(&LookupKey::IntuneId(self.id.uuid())))
    }

    async fn render(&self, app: &App, member: &Member) -> Result<Option<String>, PageError> {
        let now = app.now();
        let mut tx = member.tx(app).await?;
        let standing = standing(&mut tx, self.link, self.id, self.asked, now).await?;
        tx.commit().await?;
        let Some(standing) = standing else { return Ok(None) };
        let identity_providers = member.path("identity-providers");
        let part = StandingPart { standing: &standing, identity_providers: &identity_providers, now };
        Ok(Some(part.render()?))
    }
}
