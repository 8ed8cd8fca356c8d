//! Releasing and discarding, each behind a page that says what will happen.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use domain::{HoldId, OrgId};
use linking::{DecidedHold, HoldError};
use store::views::holds::{self, COUNT_MAX, EdgeShare, HoldView};
use time::Duration;

use crate::app::{App, boxed};
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "holds/decide.html")]
struct Page {
    shell: Shell,
    base: String,
    clients: String,
    view: HoldView,
    release: bool,
    waiting: i64,
    edges: Vec<EdgeShare>,
    /// Commands that an edge is given in a second.
    per_second: u32,
    /// How long the edge with the most takes.
    longest: String,
}

impl Page {
    fn is_capped(&self) -> bool {
        self.waiting >= COUNT_MAX
    }
}

/// `GET /orgs/{org_id}/holds/{hold_id}/release`
pub(super) async fn release(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, HoldId)>,
) -> Result<Response, PageError> {
    confirm(&member, &app, id, true).await
}

/// `GET /orgs/{org_id}/holds/{hold_id}/discard`
pub(super) async fn discard(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, HoldId)>,
) -> Result<Response, PageError> {
    confirm(&member, &app, id, false).await
}

async fn confirm(member: &Member, app: &App, id: HoldId, release: bool) -> Result<Response, PageError> {
    let mut tx = member.tx(app).await?;
    let view = holds::one(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let edges = holds::at_edges(&mut tx, id).await?;
    tx.commit().await?;
    if !view.hold.state.is_active() {
        // Decided meanwhile: the record says by whom.
        return Ok(Redirect::to(&member.path(&format!("holds/{id}"))).into_response());
    }
    let per_second = app.config().coa_per_edge_per_second.max(1);
    let most = edges.iter().map(|edge| edge.moves).max().unwrap_or(0);
    let seconds = most / i64::from(per_second);
    let mut shell = member.shell(Area::None).await?;
    shell.holds.retain(|other| other.id != id);
    page(&Page {
        shell,
        base: member.path("holds"),
        clients: member.path("clients"),
        view,
        release,
        waiting: edges.iter().map(|edge| edge.moves).sum(),
        edges,
        per_second,
        longest: crate::format::span(Duration::seconds(seconds.max(1))),
    })
}

/// `POST /orgs/{org_id}/holds/{hold_id}/release`
pub(super) async fn post_release(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, HoldId)>,
) -> Result<Response, PageError> {
    let done = boxed(app.linking.release_hold(member.org.id, &member.person, id)).await;
    answer(&member, id, done, |done| {
        let moves = moves(done.moves);
        format!("Released: {moves} of {} on the way, each edge at its pace.", done.tenant_name)
    })
    .await
}

/// `POST /orgs/{org_id}/holds/{hold_id}/discard`
pub(super) async fn post_discard(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, HoldId)>,
) -> Result<Response, PageError> {
    let done = boxed(app.linking.discard_hold(member.org.id, &member.person, id)).await;
    answer(&member, id, done, |done| {
        let moves = moves(done.moves);
        format!("Discarded: {moves} of {} dropped. Those clients stay as they are.", done.tenant_name)
    })
    .await
}

fn moves(count: u64) -> String {
    let number = crate::format::count(i64::try_from(count).unwrap_or(i64::MAX));
    if count == 1 { "1 move".to_owned() } else { format!("{number} moves") }
}

async fn answer(
    member: &Member,
    id: HoldId,
    done: Result<DecidedHold, HoldError>,
    said: impl FnOnce(&DecidedHold) -> String,
) -> Result<Response, PageError> {
    match done {
        Ok(done) => member.flash(Flash::good(said(&done))).await?,
        Err(HoldError::NotFound) => return Err(PageError::NotFound),
        Err(HoldError::Store(error)) => return Err(error.into()),
        Err(decided @ HoldError::Decided(_)) => {
            let words = decided.words();
            member.flash(Flash::warn(format!("{}. {}", words.title, words.cause))).await?;
        }
    }
    Ok((StatusCode::SEE_OTHER, Redirect::to(&member.path(&format!("holds/{id}")))).into_response())
}
