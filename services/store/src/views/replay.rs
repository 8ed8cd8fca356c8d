//! Recorded decisions, the oldest first, in pages: for deciding them again.

use domain::event::{DecisionRecord, EventKind};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Cursor;
use crate::{OrgTx, Result};

/// A page of decisions.
#[derive(Debug, Default)]
pub struct DecisionPage {
    pub records: Vec<DecisionRecord>,
    /// Decisions that do not read as one any more.
    pub unreadable: u64,
    /// Where the next page begins; `None` at the end of the window.
    pub next: Option<Cursor>,
}

/// Where a window begins.
#[must_use]
pub const fn start(from: OffsetDateTime) -> Cursor {
    Cursor { at: from, id: Uuid::nil() }
}

/// The decisions behind `after` and up to `to`, at most `limit`.
pub async fn decisions(
    tx: &mut OrgTx,
    after: Cursor,
    to: OffsetDateTime,
    limit: u16,
) -> Result<DecisionPage> {
    let kinds = [EventKind::NacClientPermit.as_str(), EventKind::NacClientDeny.as_str()];
    // The first condition alone prunes partitions.
    let rows = sqlx::query!(
        "SELECT at, id, detail FROM event
         WHERE org_id = $1 AND at >= $2 AND at <= $3 AND (at, id) > ($2, $4) AND kind = ANY($5)
         ORDER BY at, id LIMIT $6",
        tx.org().uuid(),
        after.at,
        to,
        after.id,
        &kinds as &[&str],
        i64::from(limit),
    )
    .fetch_all(tx.conn())
    .await?;
    let mut page = DecisionPage::default();
    if rows.len() == usize::from(limit) {
        page.next = rows.last().map(|row| Cursor { at: row.at, id: row.id });
    }
    for row in rows {
        match serde_json::from_value(row.detail) {
            Ok(record) => page.records.push(record),
            Err(_) => page.unreadable += 1,
        }
    }
    Ok(page)
}
