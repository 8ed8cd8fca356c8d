//! One hold: what happened, whom it concerns, and what was decided.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use domain::coa::hold::HoldState;
use domain::{CommandId, HoldId, OrgId};
use serde::Deserialize;
use store::views::holds::{self, COUNT_MAX, HoldView, MoveCount, MoveRow, TurnedWorse};

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

const PAGE: usize = 50;
/// Devices that are named; all of them are in the inventory.
const DEVICES_SHOWN: i64 = 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    /// The last move of the page before.
    after: Option<CommandId>,
}

#[derive(Template)]
#[template(path = "holds/detail.html")]
struct Page {
    shell: Shell,
    base: String,
    clients: String,
    sessions: String,
    devices: String,
    settings: String,
    identity_providers: String,
    view: HoldView,
    is_active: bool,
    percent: u32,
    min: u32,
    counts: Vec<MoveCount>,
    /// All of them; [`COUNT_MAX`] says "at least".
    total: i64,
    waiting: i64,
    turned: Vec<TurnedWorse>,
    moves: Vec<MoveRow>,
    first_page: bool,
    next: Option<String>,
}

impl Page {
    fn is_capped(&self) -> bool {
        self.total >= COUNT_MAX
    }
}

/// `GET /orgs/{org_id}/holds/{hold_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, HoldId)>,
    Query(query): Query<ListQuery>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let view = holds::one(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let limits = store::holds::limits(&mut tx).await?.ok_or(PageError::NotFound)?.mass_change;
    let counts = holds::counts(&mut tx, id).await?;
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut moves = holds::moves(&mut tx, id, query.after, limit).await?;
    let is_active = view.hold.state.is_active();
    let turned = if is_active {
        holds::turned_worse(&mut tx, view.hold.link, view.hold.counted_since, DEVICES_SHOWN).await?
    } else {
        Vec::new()
    };
    tx.commit().await?;

    let more = moves.len() > PAGE;
    moves.truncate(PAGE);
    let base = member.path("holds");
    let next = moves.last().filter(|_| more).map(|row| format!("{base}/{id}?after={}#moves", row.id));
    let mut shell = member.shell(Area::None).await?;
    shell.holds.retain(|other| other.id != id);
    page(&Page {
        shell,
        base,
        clients: member.path("clients"),
        sessions: member.path("sessions"),
        devices: member.path("devices"),
        settings: member.path("settings"),
        identity_providers: member.path("identity-providers"),
        is_active,
        percent: limits.percent,
        min: limits.min,
        total: counts.iter().map(|count| count.moves).sum(),
        waiting: counts.iter().filter(|count| count.state == "held").map(|count| count.moves).sum(),
        counts,
        turned,
        moves,
        first_page: query.after.is_none(),
        next,
        view,
    })
}

/// Where a command stands, for people.
pub(crate) fn command_words(state: &str) -> &'static str {
    match state {
        "held" => "wait for an admin",
        "pending" => "wait for their turn at the edge",
        "delivered" => "handed to the edge, not done yet",
        "acked" => "done by the network",
        "failed" => "refused by the network, or not answered",
        "gone" => "the network had nobody to move",
        "expired" => "nobody fetched them in time",
        "superseded" => "no longer wanted: turned back, discarded, or moved otherwise",
        _ => "",
    }
}

/// Where a hold stands, for people.
pub(crate) fn state_words(state: &HoldState) -> (&'static str, &'static str, &'static str) {
    match *state {
        HoldState::Suspected => ("warn", "clock", "the sync still runs"),
        HoldState::Open => ("warn", "pause", "waits for an admin"),
        HoldState::Cleared => ("", "good", "cleared by itself"),
        HoldState::Released => ("good", "play", "released"),
        HoldState::Discarded => ("", "cross", "discarded"),
    }
}
