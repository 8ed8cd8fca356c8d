//! Moves that were held because so much of a fleet turned worse at once.

use domain::coa::hold::Hold;
use domain::command::NasAnswer;
use domain::decision::Outcome;
use domain::{CommandId, DeviceId, EdgeId, HoldId, LinkId, Mac, SessionId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::links::RunView;
use super::{Cursor, mac};
use crate::commands::{gone_causes, read_answer};
use crate::{OrgTx, Result, StoreError};

pub use super::COUNT_MAX;

/// A hold, with the account and the sync that brought it about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldView {
    pub hold: Hold,
    pub tenant_name: String,
    /// The sweep that ran when it came about; `None` where another kind of work saw it, or it was forgotten.
    pub run: Option<RunView>,
}

struct Row {
    id: Uuid,
    link_id: Uuid,
    state: String,
    opened_at: OffsetDateTime,
    counted_since: Option<OffsetDateTime>,
    worse: i32,
    fleet: i32,
    decided_at: Option<OffsetDateTime>,
    decided_by: Option<String>,
    tenant_name: String,
}

impl HoldView {
    /// Where the list stands at this row.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { at: self.hold.opened_at, id: self.hold.id.uuid() }
    }
}

impl TryFrom<Row> for HoldView {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            hold: Hold {
                id: HoldId(row.id),
                link: LinkId(row.link_id),
                state: row.state.parse().map_err(|e| StoreError::corrupt("hold.state", e))?,
                opened_at: row.opened_at,
                counted_since: row.counted_since.unwrap_or(row.opened_at),
                worse: u64::try_from(row.worse).unwrap_or(0),
                fleet: u64::try_from(row.fleet).unwrap_or(0),
                decided_at: row.decided_at,
                decided_by: row.decided_by,
            },
            tenant_name: row.tenant_name,
            run: None,
        })
    }
}

/// The holds of the organization, the latest first.
pub async fn list(tx: &mut OrgTx, before: Option<Cursor>, limit: i64) -> Result<Vec<HoldView>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        Row,
        "SELECT h.id, h.link_id, h.state, h.opened_at, h.counted_since, h.worse, h.fleet, h.decided_at, h.decided_by,
                l.tenant_name
         FROM hold h JOIN link l ON l.org_id = h.org_id AND l.id = h.link_id
         WHERE h.org_id = $1 AND ($3::timestamptz IS NULL OR (h.opened_at, h.id) < ($3, $4))
         ORDER BY h.opened_at DESC, h.id DESC LIMIT $2",
        org,
        limit,
        before.map(|before| before.at),
        before.map(|before| before.id),
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter().map(HoldView::try_from).collect()
}

/// Those because of which moves wait now: at most one per link.
pub async fn active(tx: &mut OrgTx) -> Result<Vec<HoldView>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        Row,
        "SELECT h.id, h.link_id, h.state, h.opened_at, h.counted_since, h.worse, h.fleet, h.decided_at, h.decided_by,
                l.tenant_name
         FROM hold h JOIN link l ON l.org_id = h.org_id AND l.id = h.link_id
         WHERE h.org_id = $1 AND h.state IN ('suspected', 'open') ORDER BY h.opened_at LIMIT 100",
        org,
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter().map(HoldView::try_from).collect()
}

/// One hold, with the sweep that brought it about.
pub async fn one(tx: &mut OrgTx, id: HoldId) -> Result<Option<HoldView>> {
    let org = tx.org().uuid();
    let row = sqlx::query_as!(
        Row,
        "SELECT h.id, h.link_id, h.state, h.opened_at, h.counted_since, h.worse, h.fleet, h.decided_at, h.decided_by,
                l.tenant_name
         FROM hold h JOIN link l ON l.org_id = h.org_id AND l.id = h.link_id
         WHERE h.org_id = $1 AND h.id = $2",
        org,
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let run = sqlx::query_as!(
        RunView,
        "SELECT id, started_at, finished_at, pages, seen, changed, transitions, error FROM sync_run
         WHERE org_id = $1 AND link_id = $2 AND started_at <= $3 AND (finished_at IS NULL OR finished_at >= $3)
         ORDER BY started_at DESC LIMIT 1",
        org,
        row.link_id,
        row.opened_at,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(Some(HoldView { run, ..HoldView::try_from(row)? }))
}

/// One move that was held.
#[derive(Clone, Debug, PartialEq)]
pub struct MoveRow {
    pub id: CommandId,
    pub session: SessionId,
    pub session_key: String,
    pub mac: Option<Mac>,
    pub user_name: Option<String>,
    pub edge_name: Option<String>,
    pub device: Option<DeviceId>,
    pub device_name: Option<String>,
    pub kind: String,
    pub state: String,
    pub from: Outcome,
    pub to: Outcome,
    pub created_at: OffsetDateTime,
    pub not_before: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
    /// What the NAS answered, the last time that it was asked.
    pub answer: Option<NasAnswer>,
}

/// The moves of a hold in the order in which they were planned, behind `after` where it is given.
pub async fn moves(
    tx: &mut OrgTx,
    hold: HoldId,
    after: Option<CommandId>,
    limit: i64,
) -> Result<Vec<MoveRow>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT c.id, c.session_id, c.session_key, c.mac, c.kind, c.state, c.from_outcome, c.to_outcome,
                  c.created_at, c.not_before, c.finished_at, c.answer, c.error_cause, c.device_id,
                  g.name AS "edge_name?", s.user_name AS "user_name?", d.name AS "device_name?"
           FROM command c
           LEFT JOIN edge g ON g.org_id = c.org_id AND g.id = c.edge_id
           LEFT JOIN session s ON s.org_id = c.org_id AND s.id = c.session_id
           LEFT JOIN device d ON d.org_id = c.org_id AND d.link_id = c.link_id AND d.id = c.device_id
           WHERE c.org_id = $1 AND c.hold_id = $2 AND ($3::uuid IS NULL OR c.id > $3)
           ORDER BY c.id LIMIT $4"#,
        org,
        hold.uuid(),
        after.map(CommandId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let outcome = |value, what| serde_json::from_value(value).map_err(|e| StoreError::corrupt(what, e));
    rows.into_iter()
        .map(|r| {
            Ok(MoveRow {
                id: CommandId(r.id),
                session: SessionId(r.session_id),
                session_key: r.session_key,
                mac: r.mac.map(mac),
                user_name: r.user_name,
                edge_name: r.edge_name,
                device: r.device_id.map(DeviceId),
                device_name: r.device_name,
                kind: r.kind,
                state: r.state,
                from: outcome(r.from_outcome, "command.from_outcome")?,
                to: outcome(r.to_outcome, "command.to_outcome")?,
                created_at: r.created_at,
                not_before: r.not_before,
                finished_at: r.finished_at,
                answer: read_answer(r.answer.as_deref(), r.error_cause)?,
            })
        })
        .collect()
}

/// How many moves of a hold stand where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveCount {
    /// A command's state; `gone` where it failed because there was nobody to move.
    pub state: String,
    pub moves: i64,
}

/// The moves of a hold by their state; counted are the first [`COUNT_MAX`].
pub async fn counts(tx: &mut OrgTx, hold: HoldId) -> Result<Vec<MoveCount>> {
    let org = tx.org().uuid();
    let gone = gone_causes();
    let rows = sqlx::query_as!(
        MoveCount,
        r#"SELECT state AS "state!", count(*) AS "moves!"
           FROM (SELECT CASE WHEN state = 'failed' AND answer = 'nak' AND error_cause = ANY($4) THEN 'gone'
                             ELSE state END AS state
                 FROM command WHERE org_id = $1 AND hold_id = $2 LIMIT $3) c
           GROUP BY state ORDER BY state"#,
        org,
        hold.uuid(),
        COUNT_MAX,
        &gone,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows)
}

/// How many held moves wait at one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeShare {
    pub edge: EdgeId,
    pub edge_name: Option<String>,
    pub moves: i64,
}

/// The edges at which the moves of a hold wait, those with the most first: each takes them at its own pace.
pub async fn at_edges(tx: &mut OrgTx, hold: HoldId) -> Result<Vec<EdgeShare>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT c.edge_id AS "edge_id!", g.name AS "edge_name?", c.moves AS "moves!"
           FROM (SELECT edge_id, count(*) AS moves
                 FROM (SELECT edge_id FROM command WHERE org_id = $1 AND hold_id = $2 AND state = 'held' LIMIT $3) h
                 GROUP BY edge_id) c
           LEFT JOIN edge g ON g.org_id = $1 AND g.id = c.edge_id
           ORDER BY c.moves DESC, g.name LIMIT 100"#,
        org,
        hold.uuid(),
        COUNT_MAX,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|r| EdgeShare {
        edge: EdgeId(r.edge_id),
        edge_name: r.edge_name,
        moves: r.moves,
    });
    Ok(rows.collect())
}

/// A device that turned worse and is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnedWorse {
    pub device: DeviceId,
    pub name: Option<String>,
    pub user_principal_name: Option<String>,
    pub compliance: Option<String>,
    pub at: OffsetDateTime,
}

/// Some of the devices that a hold counts, the latest first. Nothing is left of them once it was decided.
pub async fn turned_worse(
    tx: &mut OrgTx,
    link: LinkId,
    since: OffsetDateTime,
    limit: i64,
) -> Result<Vec<TurnedWorse>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT t.device_id, t.at, d.name AS "name?", d.user_principal_name AS "user_principal_name?",
                  d.compliance AS "compliance?"
           FROM (SELECT device_id, at FROM turned_worse WHERE org_id = $1 AND link_id = $2 AND at >= $3
                 ORDER BY at DESC LIMIT $4) t
           LEFT JOIN device d ON d.org_id = $1 AND d.link_id = $2 AND d.id = t.device_id
           ORDER BY t.at DESC, d.list_key"#,
        org,
        link.uuid(),
        since,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|r| TurnedWorse {
        device: DeviceId(r.device_id),
        name: r.name,
        user_principal_name: r.user_principal_name,
        compliance: r.compliance,
        at: r.at,
    });
    Ok(rows.collect())
}
