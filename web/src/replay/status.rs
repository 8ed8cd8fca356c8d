//! How a replay stands, and what it came to.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Redirect, Response};
use domain::OrgId;
use domain::decision::RuleRef;
use domain::policy::replay::Moved;
use policy::replay::{Done, Kept, Progress, State as Stands};
use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::error::PageError;
use crate::live;
use crate::session::Flash;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::form::{facts_words, window_words};

/// Clients on a page.
const PAGE: usize = 100;
/// News of a fast replay are gathered for this long.
const GATHER: Duration = Duration::from_millis(400);

/// Which page of the clients.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Pages {
    /// Counted from 1.
    #[serde(default)]
    page: Option<usize>,
}

#[derive(Template)]
#[template(path = "replay/status.html")]
struct Page {
    shell: Shell,
    rules: String,
    part: Part,
}

/// What changes while it runs.
#[derive(Template)]
#[template(path = "replay/part.html")]
struct Part {
    base: String,
    rules: String,
    clients_path: String,
    kept: Kept,
    window: String,
    facts: String,
    percent: i64,
    progress: Progress,
    done: Option<Arc<Done>>,
    failed: bool,
    cancelled: bool,
    clients: Vec<Moved>,
    page: usize,
    pages: usize,
    now: OffsetDateTime,
}

impl Part {
    fn of(member: &Member, kept: Kept, page: usize, now: OffsetDateTime) -> Self {
        let job = &kept.job;
        let progress = kept.progress();
        let length = (job.to - job.from).whole_seconds().max(1);
        let past = progress.at.map_or(0, |at| (at - job.from).whole_seconds());
        let done = match &progress.state {
            Stands::Done(done) => Some(Arc::clone(done)),
            _ => None,
        };
        let moved = done.as_ref().map_or(&[][..], |done| &done.moved);
        let pages = moved.len().div_ceil(PAGE).max(1);
        let page = page.clamp(1, pages);
        Self {
            base: member.path("auth-policies/replay"),
            rules: member.path("auth-policies/rules"),
            clients_path: member.path("clients"),
            window: window_words(job.to - job.from),
            facts: facts_words(job.facts),
            percent: (past * 100 / length).clamp(0, 100),
            clients: moved.iter().skip((page - 1) * PAGE).take(PAGE).cloned().collect(),
            failed: matches!(progress.state, Stands::Failed),
            cancelled: matches!(progress.state, Stands::Cancelled),
            done,
            progress,
            kept,
            page,
            pages,
            now,
        }
    }

    fn running(&self) -> bool {
        matches!(self.progress.state, Stands::Running)
    }

    /// Where a client's page is: those without a MAC address have none under their name.
    fn client_link(&self, client: &str) -> Option<String> {
        let mac = client.parse::<domain::Mac>().ok()?;
        Some(format!("{}/{mac}", self.clients_path))
    }
}

/// `GET /orgs/{org_id}/auth-policies/replay/{replay}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
    Query(pages): Query<Pages>,
) -> Result<Response, PageError> {
    let Some(kept) = app.replays().get(member.org.id, id, member.now()) else {
        return gone(&member).await;
    };
    page(&Page {
        shell: member.shell(Area::AuthPolicies).await?,
        rules: member.path("auth-policies"),
        part: Part::of(&member, kept, pages.page.unwrap_or(1), member.now()),
    })
}

/// Replays are kept for a while only, by the process that ran them.
pub(super) async fn gone(member: &Member) -> Result<Response, PageError> {
    let text = "That replay is not kept any more. Start it again; its result is the same.";
    member.flash(Flash { tone: "warn".to_owned(), text: text.to_owned() }).await?;
    Ok(Redirect::to(&member.path("auth-policies/replay")).into_response())
}

/// `GET /orgs/{org_id}/auth-policies/replay/{replay}/live`: each message is the part of the page that changes.
pub(super) async fn live(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
) -> Result<Response, PageError> {
    let kept = app.replays().get(member.org.id, id, member.now()).ok_or(PageError::NotFound)?;
    let (send, receive) = live::channel();
    let shutdown = app.shutdown.clone();
    tokio::spawn(async move {
        let mut news = kept.watch();
        loop {
            let part = Part::of(&member, kept.clone(), 1, app.now());
            let running = part.running();
            let Ok(html) = part.render() else { return };
            if send.send(Ok(Event::default().data(html))).await.is_err() {
                return;
            }
            if !running {
                break;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = send.closed() => return,
                changed = news.changed() => if changed.is_err() { break },
            }
            tokio::time::sleep(GATHER).await;
            if matches!(member.is_still(&app).await, Ok(false)) {
                return;
            }
        }
        // An end would make browsers ask again.
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = send.closed() => {}
        }
    });
    Ok(live::respond(receive))
}

/// `POST /orgs/{org_id}/auth-policies/replay/{replay}/stop`
pub(super) async fn stop(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
) -> Result<Response, PageError> {
    if !app.replays().cancel(member.org.id, id, member.now()) {
        return gone(&member).await;
    }
    member.flash(Flash::good("The replay is stopped.")).await?;
    Ok(Redirect::to(&member.path(&format!("auth-policies/replay/{id}"))).into_response())
}

fn rule_name(rule: Option<&RuleRef>) -> String {
    rule.map_or_else(|| "no rule".to_owned(), |rule| format!("{}. {}", rule.position, rule.name))
}
