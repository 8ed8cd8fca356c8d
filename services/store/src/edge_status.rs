//! How edges stand: what their requests and their agents tell, gathered in memory by whoever hears it, and written
//! here once in a while.

use domain::edge::AgentReport;
use domain::outbox::OutboxMessage;
use domain::time::Ids;
use domain::{CredentialId, EdgeId};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::audit::{self, Actor};
use crate::{OrgTx, Result, StoreError, outbox};

/// A use of a credential is written at most this often.
const USED_EVERY: Duration = Duration::seconds(30);
/// Programs remembered per edge, those seen last first.
const CALLERS_MAX: i64 = 8;
/// A probe that no agent fetched within this was for nobody.
pub const PROBE_FOR: Duration = Duration::seconds(60);
/// A probe that was handed out and not answered goes out again after this.
const PROBE_AGAIN: Duration = Duration::seconds(10);

/// What was heard of one edge since the last time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// When it last called; `None`: it did not.
    pub at: Option<OffsetDateTime>,
    /// When its credentials were last used.
    pub credentials: Vec<(CredentialId, OffsetDateTime)>,
    /// Who called, by User-Agent.
    pub callers: Vec<(String, OffsetDateTime)>,
    /// By how many milliseconds its clock is ahead of ours, and when that was seen.
    pub skew: Option<(i64, OffsetDateTime)>,
    pub polled_at: Option<OffsetDateTime>,
    pub streamed_at: Option<OffsetDateTime>,
    /// What its agent said of itself.
    pub report: Option<(AgentReport, OffsetDateTime)>,
    /// Decisions by the minute in which they were answered: permitted, denied.
    pub minutes: Vec<(OffsetDateTime, i64, i64)>,
}

/// Writes what was heard. Nothing moves back; decisions are added up.
pub async fn note(tx: &mut OrgTx, heard: &mut [(EdgeId, Heard)]) -> Result<()> {
    // In the order of ids, so that two processes cannot wait for each other.
    heard.sort_by_key(|(edge, _)| *edge);
    seen(tx, heard).await?;
    used(tx, heard).await?;
    standing(tx, heard).await?;
    called(tx, heard).await?;
    decided(tx, heard).await
}

async fn seen(tx: &mut OrgTx, heard: &[(EdgeId, Heard)]) -> Result<()> {
    let org = tx.org().uuid();
    let (ids, at): (Vec<Uuid>, Vec<OffsetDateTime>) =
        heard.iter().filter_map(|(edge, heard)| Some((edge.uuid(), heard.at?))).unzip();
    sqlx::query!(
        "WITH heard AS (
             SELECT e.id, h.at FROM unnest($2::uuid[], $3::timestamptz[]) AS h(id, at)
             JOIN edge e ON e.org_id = $1 AND e.id = h.id
             WHERE e.last_seen_at IS NULL OR e.last_seen_at < h.at
             ORDER BY e.id FOR UPDATE OF e
         )
         UPDATE edge e SET last_seen_at = heard.at FROM heard WHERE e.org_id = $1 AND e.id = heard.id",
        org,
        &ids,
        &at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

async fn used(tx: &mut OrgTx, heard: &[(EdgeId, Heard)]) -> Result<()> {
    let org = tx.org().uuid();
    let (ids, at): (Vec<Uuid>, Vec<OffsetDateTime>) =
        heard.iter().flat_map(|(_, heard)| &heard.credentials).map(|(id, at)| (id.uuid(), *at)).unzip();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "WITH used AS (
             SELECT c.id, u.at FROM unnest($2::uuid[], $3::timestamptz[]) AS u(id, at)
             JOIN edge_credential c ON c.org_id = $1 AND c.id = u.id
             WHERE c.last_used_at IS NULL OR c.last_used_at <= u.at - make_interval(secs => $4)
             ORDER BY c.id FOR UPDATE OF c
         )
         UPDATE edge_credential c SET last_used_at = used.at FROM used WHERE c.org_id = $1 AND c.id = used.id",
        org,
        &ids,
        &at,
        USED_EVERY.as_seconds_f64(),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

async fn standing(tx: &mut OrgTx, heard: &[(EdgeId, Heard)]) -> Result<()> {
    let org = tx.org().uuid();
    let told = heard.iter().filter(|(_, heard)| {
        heard.skew.is_some()
            || heard.polled_at.is_some()
            || heard.streamed_at.is_some()
            || heard.report.is_some()
    });
    let told: Vec<&(EdgeId, Heard)> = told.collect();
    if told.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = told.iter().map(|(edge, _)| edge.uuid()).collect();
    let skews: Vec<Option<i64>> = told.iter().map(|(_, heard)| heard.skew.map(|(skew, _)| skew)).collect();
    let skews_at: Vec<Option<OffsetDateTime>> =
        told.iter().map(|(_, heard)| heard.skew.map(|(_, at)| at)).collect();
    let polled: Vec<Option<OffsetDateTime>> = told.iter().map(|(_, heard)| heard.polled_at).collect();
    let streamed: Vec<Option<OffsetDateTime>> = told.iter().map(|(_, heard)| heard.streamed_at).collect();
    let reports: Vec<Option<Value>> = told
        .iter()
        .map(|(_, heard)| heard.report.as_ref().map(|(report, _)| serde_json::to_value(report)).transpose())
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| StoreError::corrupt("edge_status.report", e))?;
    let reported: Vec<Option<OffsetDateTime>> =
        told.iter().map(|(_, heard)| heard.report.as_ref().map(|(_, at)| *at)).collect();
    sqlx::query!(
        "INSERT INTO edge_status AS s
             (org_id, edge_id, skew_milliseconds, skew_at, polled_at, streamed_at, report, reported_at)
         SELECT $1, e.id, h.skew, h.skew_at, h.polled_at, h.streamed_at, h.report, h.reported_at
         FROM unnest($2::uuid[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
                     $7::jsonb[], $8::timestamptz[])
             AS h(id, skew, skew_at, polled_at, streamed_at, report, reported_at)
         JOIN edge e ON e.org_id = $1 AND e.id = h.id
         ORDER BY e.id
         ON CONFLICT (org_id, edge_id) DO UPDATE SET
             skew_milliseconds = CASE WHEN excluded.skew_at >= coalesce(s.skew_at, '-infinity')
                 THEN excluded.skew_milliseconds ELSE s.skew_milliseconds END,
             skew_at = greatest(s.skew_at, excluded.skew_at),
             polled_at = greatest(s.polled_at, excluded.polled_at),
             streamed_at = greatest(s.streamed_at, excluded.streamed_at),
             report = CASE WHEN excluded.reported_at >= coalesce(s.reported_at, '-infinity')
                 THEN excluded.report ELSE s.report END,
             reported_at = greatest(s.reported_at, excluded.reported_at)",
        org,
        &ids,
        &skews as &[Option<i64>],
        &skews_at as &[Option<OffsetDateTime>],
        &polled as &[Option<OffsetDateTime>],
        &streamed as &[Option<OffsetDateTime>],
        &reports as &[Option<Value>],
        &reported as &[Option<OffsetDateTime>],
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

async fn called(tx: &mut OrgTx, heard: &[(EdgeId, Heard)]) -> Result<()> {
    let org = tx.org().uuid();
    let mut ids = Vec::new();
    let mut names = Vec::new();
    let mut at = Vec::new();
    for (edge, heard) in heard {
        for (name, when) in &heard.callers {
            ids.push(edge.uuid());
            names.push(name.as_str());
            at.push(*when);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO edge_caller AS c (org_id, edge_id, name, seen_at)
         SELECT $1, e.id, h.name, h.at FROM unnest($2::uuid[], $3::text[], $4::timestamptz[]) AS h(id, name, at)
         JOIN edge e ON e.org_id = $1 AND e.id = h.id
         ORDER BY e.id, h.name
         ON CONFLICT (org_id, edge_id, name) DO UPDATE SET seen_at = excluded.seen_at
         WHERE c.seen_at < excluded.seen_at",
        org,
        &ids,
        &names as &[&str],
        &at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

async fn decided(tx: &mut OrgTx, heard: &[(EdgeId, Heard)]) -> Result<()> {
    let org = tx.org().uuid();
    let mut ids = Vec::new();
    let mut minutes = Vec::new();
    let (mut permits, mut denies) = (Vec::new(), Vec::new());
    for (edge, heard) in heard {
        for (minute, permitted, denied) in &heard.minutes {
            ids.push(edge.uuid());
            minutes.push(*minute);
            permits.push(*permitted);
            denies.push(*denied);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO edge_minute AS m (org_id, edge_id, minute, permits, denies)
         SELECT $1, e.id, h.minute, h.permits, h.denies
         FROM unnest($2::uuid[], $3::timestamptz[], $4::bigint[], $5::bigint[]) AS h(id, minute, permits, denies)
         JOIN edge e ON e.org_id = $1 AND e.id = h.id
         ORDER BY e.id, h.minute
         ON CONFLICT (org_id, edge_id, minute) DO UPDATE SET
             permits = m.permits + excluded.permits, denies = m.denies + excluded.denies",
        org,
        &ids,
        &minutes,
        &permits,
        &denies,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Forgets minutes before `before`, and programs beyond those that are remembered.
pub async fn forget(tx: &mut OrgTx, before: OffsetDateTime) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!("DELETE FROM edge_minute WHERE org_id = $1 AND minute < $2", org, before)
        .execute(tx.conn())
        .await?;
    sqlx::query!(
        "DELETE FROM edge_caller c USING (
             SELECT edge_id, name, row_number() OVER (PARTITION BY edge_id ORDER BY seen_at DESC, name) AS place
             FROM edge_caller WHERE org_id = $1
         ) p
         WHERE c.org_id = $1 AND c.edge_id = p.edge_id AND c.name = p.name AND p.place > $2",
        org,
        CALLERS_MAX,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Asks for a command that does nothing, in the place of an earlier one. `None`: the organization has no such edge.
pub async fn ask_probe(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    edge: EdgeId,
) -> Result<Option<Uuid>> {
    let org = tx.org().uuid();
    let probe = ids.uuid(now);
    let asked = sqlx::query_scalar!(
        "INSERT INTO edge_status (org_id, edge_id, probe_id, probe_at)
         SELECT $1, id, $3, $4 FROM edge WHERE org_id = $1 AND id = $2
         ON CONFLICT (org_id, edge_id) DO UPDATE SET probe_id = excluded.probe_id, probe_at = excluded.probe_at,
             probe_given_at = NULL, probe_answered_at = NULL, probe_result = NULL
         RETURNING (SELECT name FROM edge WHERE org_id = $1 AND id = $2)",
        org,
        edge.uuid(),
        probe,
        now,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(name) = asked else { return Ok(None) };
    let detail = json!({"edge_id": edge});
    audit::write(tx, ids, now, actor, "edge.test", name.as_deref().unwrap_or_default(), detail).await?;
    outbox::enqueue(tx, ids, now, &OutboxMessage::CommandReady { edge }).await?;
    Ok(Some(probe))
}

/// Hands out the edge's probe, if one waits.
pub async fn take_probe(tx: &mut OrgTx, edge: EdgeId, now: OffsetDateTime) -> Result<Option<Uuid>> {
    let org = tx.org().uuid();
    let probe = sqlx::query_scalar!(
        r#"UPDATE edge_status SET probe_given_at = $3
           WHERE org_id = $1 AND edge_id = $2 AND probe_id IS NOT NULL AND probe_answered_at IS NULL
             AND probe_at > $4 AND (probe_given_at IS NULL OR probe_given_at <= $5)
           RETURNING probe_id AS "probe_id!""#,
        org,
        edge.uuid(),
        now,
        now - PROBE_FOR,
        now - PROBE_AGAIN,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(probe)
}

/// Takes the answer to a probe. `false`: the edge has no such probe. Said twice, it changes nothing.
pub async fn answer_probe(
    tx: &mut OrgTx,
    edge: EdgeId,
    probe: Uuid,
    now: OffsetDateTime,
    said: &str,
) -> Result<bool> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE edge_status SET probe_result = CASE WHEN probe_answered_at IS NULL THEN $5 ELSE probe_result END,
                probe_answered_at = coalesce(probe_answered_at, $4)
         WHERE org_id = $1 AND edge_id = $2 AND probe_id = $3",
        org,
        edge.uuid(),
        probe,
        now,
        said,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}
