//! An admin asks a client to authenticate again.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::coa::{CoaCause, CoaKind};
use domain::decision::Outcome;
use domain::{OrgId, SessionId};
use serde_json::json;
use store::audit;
use store::commands::{self, NewCommand};
use time::Duration;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::visit::Member;

/// The edge has this long to fetch and acknowledge it.
const EXPIRES_AFTER: Duration = Duration::minutes(5);

/// `POST /orgs/{org_id}/sessions/{session_id}/reauthenticate`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, SessionId)>,
) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(&app).await?;
    commands::lock_planning(&mut tx).await?;
    let session = store::views::clients::session(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let back = match session.mac {
        Some(mac) => member.path(&format!("clients/{mac}")),
        None => member.path(&format!("sessions/{id}")),
    };
    if !session.is_active() {
        return Err(PageError::Conflict(
            "The session has ended meanwhile: there is nobody to ask.".to_owned(),
        ));
    }
    let outcome = session.outcome.clone().unwrap_or(Outcome::DENY);
    let command = NewCommand {
        edge: session.edge,
        site: session.site,
        session: id,
        session_key: session.session_key.clone(),
        mac: session.mac,
        kind: CoaKind::Reauth,
        cause: CoaCause::AdminAsked,
        from: outcome.clone(),
        to: outcome,
        answered_at: session.decided_at,
        expires_at: now + EXPIRES_AFTER,
    };
    let command = commands::insert(&mut tx, &app.ids, now, command).await?;
    let target = session.mac.map_or_else(|| session.session_key.clone(), |mac| mac.to_string());
    let detail = json!({ "session": id, "command": command });
    audit::write(&mut tx, &app.ids, now, &member.actor(), "client.reauthenticate", &target, detail).await?;
    tx.commit().await?;
    let edge = session.edge_name.unwrap_or_else(|| "The edge".to_owned());
    member.flash(Flash::good(format!("{edge} is asked to have the client authenticate again."))).await?;
    Ok(Redirect::to(&back).into_response())
}
