//! Linked accounts and what is done for them.

pub mod work;

use domain::LinkId;
use domain::link::LinkState;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, StoreError};

/// A linked account with its sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    pub id: LinkId,
    pub provider: String,
    pub tid: Uuid,
    pub tenant_name: String,
    /// Of the organization's own app registration; `None`: Gatehouse's is used.
    pub client_id: Option<Uuid>,
    pub state: LinkState,
    /// What Microsoft said.
    pub state_detail: Option<String>,
    pub state_since: OffsetDateTime,
    pub linked_by_name: String,
    pub linked_at: OffsetDateTime,
    /// Start of the last sweep that went through.
    pub confirmed_at: Option<OffsetDateTime>,
    /// Counted to [`work::COUNT_MAX`]; of a larger fleet, what the last whole sweep saw.
    pub devices: i64,
    /// When the next sweep is due; `None` where no job exists.
    pub next_due_at: Option<OffsetDateTime>,
    /// An admin asked for a sweep that has not begun yet.
    pub requested_at: Option<OffsetDateTime>,
    /// Sweeps that failed one after the other.
    pub fails: i32,
    /// The sweep that runs now, or ran last.
    pub last_run: Option<RunView>,
}

/// One sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    pub id: Uuid,
    pub started_at: OffsetDateTime,
    pub finished_at: Option<OffsetDateTime>,
    pub pages: i32,
    pub seen: i32,
    pub changed: i32,
    pub transitions: i32,
    pub error: Option<String>,
}

impl LinkView {
    /// A sweep runs, or has been asked for and will run at once.
    #[must_use]
    pub fn is_syncing(&self) -> bool {
        self.requested_at.is_some() || self.last_run.as_ref().is_some_and(|run| run.finished_at.is_none())
    }
}

/// A linked account, for a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkName {
    pub id: LinkId,
    pub tenant_name: String,
}

/// The linked accounts by name, the oldest first.
pub async fn names(tx: &mut OrgTx) -> Result<Vec<LinkName>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!("SELECT id, tenant_name FROM link WHERE org_id = $1 ORDER BY linked_at, id", org)
        .fetch_all(tx.conn())
        .await?;
    Ok(rows.into_iter().map(|r| LinkName { id: LinkId(r.id), tenant_name: r.tenant_name }).collect())
}

/// Every linked account, the oldest first.
pub async fn list(tx: &mut OrgTx) -> Result<Vec<LinkView>> {
    select(tx, None).await
}

/// One linked account.
pub async fn one(tx: &mut OrgTx, link: LinkId) -> Result<Option<LinkView>> {
    Ok(select(tx, Some(link)).await?.pop())
}

async fn select(tx: &mut OrgTx, link: Option<LinkId>) -> Result<Vec<LinkView>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT l.id, l.provider, l.tid, l.tenant_name, l.state, l.state_detail, l.state_since, l.linked_by_name,
                  l.linked_at, l.confirmed_at,
                  (SELECT a.client_id FROM app_registration a WHERE a.org_id = l.org_id AND a.id = l.app_id)
                      AS client_id,
                  (SELECT count(*) FROM (SELECT FROM device d WHERE d.org_id = l.org_id AND d.link_id = l.id
                                         LIMIT $3) d) AS "devices!",
                  (SELECT w.seen FROM sync_run w WHERE w.org_id = l.org_id AND w.link_id = l.id
                       AND w.finished_at IS NOT NULL AND w.error IS NULL ORDER BY w.started_at DESC LIMIT 1)
                      AS "swept?",
                  j.next_due_at AS "next_due_at?", j.requested_at AS "requested_at?", j.fails AS "fails?",
                  r.id AS "run_id?", r.started_at AS "run_started_at?", r.finished_at AS "run_finished_at?",
                  r.pages AS "run_pages?", r.seen AS "run_seen?", r.changed AS "run_changed?",
                  r.transitions AS "run_transitions?", r.error AS "run_error?"
           FROM link l
           LEFT JOIN sync_job j ON j.org_id = l.org_id AND j.link_id = l.id AND j.kind = 'sweep'
           LEFT JOIN LATERAL (SELECT * FROM sync_run r WHERE r.org_id = l.org_id AND r.link_id = l.id
                              ORDER BY r.started_at DESC LIMIT 1) r ON true
           WHERE l.org_id = $1 AND ($2::uuid IS NULL OR l.id = $2)
           ORDER BY l.linked_at, l.id"#,
        org,
        link.map(LinkId::uuid),
        work::COUNT_MAX,
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter()
        .map(|r| {
            let last_run = match (r.run_id, r.run_started_at) {
                (Some(id), Some(started_at)) => Some(RunView {
                    id,
                    started_at,
                    finished_at: r.run_finished_at,
                    pages: r.run_pages.unwrap_or_default(),
                    seen: r.run_seen.unwrap_or_default(),
                    changed: r.run_changed.unwrap_or_default(),
                    transitions: r.run_transitions.unwrap_or_default(),
                    error: r.run_error,
                }),
                _ => None,
            };
            Ok(LinkView {
                id: LinkId(r.id),
                provider: r.provider,
                tid: r.tid,
                tenant_name: r.tenant_name,
                client_id: r.client_id,
                state: r.state.parse().map_err(|e| StoreError::corrupt("link.state", e))?,
                state_detail: r.state_detail,
                state_since: r.state_since,
                linked_by_name: r.linked_by_name,
                linked_at: r.linked_at,
                confirmed_at: r.confirmed_at,
                devices: match r.swept {
                    Some(swept) if r.devices >= work::COUNT_MAX => r.devices.max(i64::from(swept)),
                    _ => r.devices,
                },
                next_due_at: r.next_due_at,
                requested_at: r.requested_at,
                fails: r.fails.unwrap_or_default(),
                last_run,
            })
        })
        .collect()
}

/// The last sweeps of a link, newest first.
pub async fn runs(tx: &mut OrgTx, link: LinkId, limit: i64) -> Result<Vec<RunView>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        RunView,
        "SELECT id, started_at, finished_at, pages, seen, changed, transitions, error FROM sync_run
         WHERE org_id = $1 AND link_id = $2 ORDER BY started_at DESC LIMIT $3",
        org,
        link.uuid(),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows)
}
