//! New rows, as they come.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use cache::BusMessage;
use domain::OrgId;
use store::views::Cursor;
use store::views::events::{EventFilter, EventRow};
use time::OffsetDateTime;

use crate::app::App;
use crate::error::PageError;
use crate::live::{self, Feed, News, Pace};
use crate::visit::Member;

use super::filter::{Query, read_cursor, write_cursor};
use super::list::RowPart;

/// More rows than this at once would only fly by: the list is told to reload instead.
const ROWS_MAX: i64 = 100;
/// Events are written by several processes, so that one with an earlier time may appear a little later.
const OVERLAP: time::Duration = time::Duration::seconds(5);

/// `GET /orgs/{org_id}/events/live`: each message is the rows that are new, the newest first; its id is where the
/// list stands then, from which the browser goes on after a break.
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    headers: axum::http::HeaderMap,
    axum::extract::Query(query): axum::extract::Query<Query>,
) -> Result<Response, PageError> {
    let now = member.now();
    let (filter, errors) = query.filter(now);
    if !errors.is_empty() {
        let messages: Vec<_> =
            errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        return Err(PageError::BadRequest(messages.join(" ")));
    }
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(read_cursor);
    let start = Cursor { at: now, id: uuid::Uuid::nil() };
    let tail = Tail {
        filter,
        after: resumed.or_else(|| read_cursor(&query.after)).unwrap_or(start),
        sent: Vec::new(),
    };
    Ok(live::feed(app, member, tail))
}

/// Where one live list stands.
struct Tail {
    filter: EventFilter,
    after: Cursor,
    /// What was sent within the overlap.
    sent: Vec<Cursor>,
}

impl Feed for Tail {
    const PACE: Pace = Pace { look_every: Duration::from_secs(10), gather: Duration::from_millis(800) };

    fn is_concerned(&self, of: OrgId, message: &BusMessage) -> bool {
        matches!(message, BusMessage::Events { org } if *org == of)
    }

    async fn look(&mut self, app: &App, member: &Member) -> Result<News, PageError> {
        let from = Cursor { at: self.after.at - OVERLAP, id: uuid::Uuid::nil() };
        let first = self.sent.is_empty();
        let mut tx = member.tx(app).await?;
        let mut rows = store::views::events::newer(
            &mut tx,
            &self.filter,
            if first { self.after } else { from },
            ROWS_MAX,
        )
        .await?;
        tx.commit().await?;
        let flood = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= ROWS_MAX;
        rows.retain(|row| row.cursor() != self.after && !self.sent.contains(&row.cursor()));
        let Some(last) = rows.last().map(EventRow::cursor) else { return Ok(News::Nothing) };
        if last.at > self.after.at {
            self.after = last;
        }
        self.sent.extend(rows.iter().map(EventRow::cursor));
        let horizon = self.after.at - OVERLAP * 2;
        self.sent.retain(|cursor| cursor.at >= horizon);
        let event = Event::default().id(write_cursor(&self.after));
        if flood {
            return Ok(News::Event(event.event("reload").data("more than can be followed")));
        }
        Ok(News::Event(event.data(render(&rows, member, app.now())?)))
    }
}

fn render(rows: &[EventRow], member: &Member, now: OffsetDateTime) -> Result<String, PageError> {
    let (base, clients, rules) =
        (member.path("events"), member.path("clients"), member.path("auth-policies/rules"));
    let mut html = String::new();
    for row in rows.iter().rev() {
        let part = RowPart { row, base: &base, clients: &clients, rules: &rules, now, fresh: true };
        html.push_str(&part.render()?);
    }
    Ok(html)
}
