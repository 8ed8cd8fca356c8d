//! The list, newest first.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::compliance::Verdict;
use domain::decision::Reason;
use domain::event::EventKind;
use store::edges::EdgeRow;
use store::edges::SiteRow;
use store::views::events::{EventRow, Found, STRETCH};
use time::OffsetDateTime;

use crate::app::App;
use crate::error::PageError;
use crate::form::Errors;
use crate::paging;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::filter::{Query, WINDOWS, read_cursor, write_cursor};

/// One row; also what a live list receives.
#[derive(Template)]
#[template(path = "events/row.html")]
pub(super) struct RowPart<'a> {
    pub row: &'a EventRow,
    pub base: &'a str,
    pub clients: &'a str,
    pub rules: &'a str,
    pub now: OffsetDateTime,
    pub fresh: bool,
}

#[derive(Template)]
#[template(path = "events/list.html")]
struct Page {
    shell: Shell,
    base: String,
    clients: String,
    rules: String,
    query: Query,
    errors: Errors,
    rows: Vec<EventRow>,
    /// The address of the next, older page.
    older: Option<String>,
    /// The search stopped there: not all of the window was looked through.
    stopped: bool,
    /// The address of the live stream; only the newest page has one.
    live: Option<String>,
    rule_choices: Vec<(String, String)>,
    edges: Vec<EdgeRow>,
    sites: Vec<SiteRow>,
    now: OffsetDateTime,
    any_decision: bool,
}

/// `GET /orgs/{org_id}/events`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    axum::extract::Query(query): axum::extract::Query<Query>,
) -> Result<Response, PageError> {
    let now = member.now();
    let (filter, errors) = query.filter(now);
    let before = read_cursor(&query.before);
    let policy = app.policies.overview(member.org.id).await?;
    let mut tx = member.tx(&app).await?;
    let Found { mut rows, stopped_at } = if errors.is_empty() {
        store::views::events::list(&mut tx, &filter, before, paging::ASKED).await?
    } else {
        Found::default()
    };
    let edges = store::edges::list_edges(&mut tx).await?;
    let sites = store::edges::list_sites(&mut tx).await?;
    let any_decision = !rows.is_empty() || store::views::overview::any_decision(&mut tx).await?;
    tx.commit().await?;

    let base = member.path("events");
    let cursor = paging::cut(&mut rows, EventRow::cursor).or(stopped_at);
    let older =
        cursor.map(|cursor| paging::address(&base, query.encoded(), "before", &write_cursor(&cursor)));
    let live = (before.is_none() && errors.is_empty() && filter.to.is_none()).then(|| {
        let start = store::views::Cursor {
            at: filter.from.unwrap_or(now).max(now - time::Duration::seconds(30)),
            id: uuid::Uuid::nil(),
        };
        let after = rows.first().map_or(start, EventRow::cursor);
        paging::address(&format!("{base}/live"), query.encoded(), "after", &write_cursor(&after))
    });
    // Rules of the draft, and those that are live but gone from the draft.
    let mut rule_choices: Vec<(String, String)> =
        policy.draft.doc.rules.iter().map(|rule| (rule.id.to_string(), rule.name.clone())).collect();
    for rule in policy.live.iter().flat_map(|(_, doc)| &doc.rules) {
        if policy.draft.doc.rule(rule.id).is_none() {
            rule_choices.push((rule.id.to_string(), rule.name.clone()));
        }
    }
    page(&Page {
        shell: member.shell(Area::Events).await?,
        clients: member.path("clients"),
        rules: member.path("auth-policies/rules"),
        base,
        query,
        errors: Errors(errors),
        rows,
        older,
        stopped: stopped_at.is_some(),
        live,
        rule_choices,
        edges,
        sites,
        now,
        any_decision,
    })
}
