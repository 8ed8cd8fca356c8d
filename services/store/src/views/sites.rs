//! Sites and edges, with what goes on at them.

use std::collections::HashMap;
use std::ops::Deref;

use domain::coa::CoaKind;
use domain::command::{CommandState, NasAnswer, NasResult};
use domain::edge::AgentReport;
use domain::request::AccessRequest;
use domain::{CommandId, EdgeId, Mac, SessionId, SiteId};
use time::{Duration, OffsetDateTime};

use super::overview::DecisionCount;
use super::{COUNT_MAX, mac};
use crate::commands::{gone_causes, read_answer};
use crate::{OrgTx, Result, StoreError};

/// Decisions per minute are told over so many whole minutes.
pub const RATE_MINUTES: i32 = 5;
/// Commands that came to nothing are counted over this.
pub const FAILED_WITHIN: Duration = Duration::hours(24);
/// Sessions of a site that are looked through for an edge's own: those of the latest days.
const SESSIONS_READ_MAX: i64 = 5_000;
/// Of an edge's own, so many are told.
const REQUESTS_MAX: i64 = 500;

/// Commands of an edge that are not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// They wait for their turn, or for the edge to fetch them.
    pub pending: i64,
    /// The edge has them, and has not said what came of them.
    pub delivered: i64,
    /// They wait for an admin.
    pub held: i64,
    /// When the oldest of the first two was made.
    pub oldest_at: Option<OffsetDateTime>,
    /// Refused by the NAS, not answered, or expired, lately ([`FAILED_WITHIN`]). Those that found nobody to move are
    /// left out: there is nothing to see to.
    pub failed: i64,
}

/// An admin's try whether commands get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub at: OffsetDateTime,
    pub given_at: Option<OffsetDateTime>,
    pub answered_at: Option<OffsetDateTime>,
    /// What the answer said.
    pub result: String,
}

/// An edge with its site, and what is heard of it.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeHeard {
    pub id: EdgeId,
    pub name: String,
    pub site: SiteId,
    pub site_name: String,
    pub created_at: OffsetDateTime,
    pub disabled_at: Option<OffsetDateTime>,
    pub last_seen_at: Option<OffsetDateTime>,
    /// Credentials that are good now.
    pub credentials: i64,
    /// The end of one that was used last, and ends by itself.
    pub used_ends_at: Option<OffsetDateTime>,
    /// By how many milliseconds its clock is ahead of ours, and when that was seen.
    pub skew: Option<(i64, OffsetDateTime)>,
    pub polled_at: Option<OffsetDateTime>,
    pub streamed_at: Option<OffsetDateTime>,
    /// What its agent last said of itself, and when. What does not read any more is left out.
    pub report: Option<(AgentReport, OffsetDateTime)>,
    pub probe: Option<Probe>,
    /// The program that called last, by its User-Agent.
    pub caller: Option<String>,
}

impl EdgeHeard {
    /// When it last asked for commands, or held a stream of them.
    #[must_use]
    pub fn listened_at(&self) -> Option<OffsetDateTime> {
        self.polled_at.max(self.streamed_at)
    }
}

/// An edge with what is heard of it, and what goes on there.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeView {
    pub heard: EdgeHeard,
    /// Of the organization's first [`COUNT_MAX`] active sessions.
    pub active_sessions: i64,
    /// The organization has more active sessions than were counted.
    pub sessions_cut: bool,
    /// Decisions in the last [`RATE_MINUTES`] whole minutes.
    pub decisions: i64,
    pub backlog: Backlog,
}

impl Deref for EdgeView {
    type Target = EdgeHeard;

    fn deref(&self) -> &EdgeHeard {
        &self.heard
    }
}

/// The edges, by site and name.
pub async fn edges(tx: &mut OrgTx, now: OffsetDateTime) -> Result<Vec<EdgeView>> {
    view(tx, None, None, now).await
}

/// The edges of one site, by name.
pub async fn edges_at(tx: &mut OrgTx, site: SiteId, now: OffsetDateTime) -> Result<Vec<EdgeView>> {
    view(tx, None, Some(site), now).await
}

/// One edge.
pub async fn edge(tx: &mut OrgTx, edge: EdgeId, now: OffsetDateTime) -> Result<Option<EdgeView>> {
    Ok(view(tx, Some(edge), None, now).await?.pop())
}

/// What is heard of one edge: a few rows of its own, so that it can be asked for every moment.
pub async fn heard(tx: &mut OrgTx, edge: EdgeId, now: OffsetDateTime) -> Result<Option<EdgeHeard>> {
    Ok(select(tx, Some(edge), None, now).await?.pop())
}

async fn select(
    tx: &mut OrgTx,
    edge: Option<EdgeId>,
    site: Option<SiteId>,
    now: OffsetDateTime,
) -> Result<Vec<EdgeHeard>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT e.id, e.name, e.site_id, s.name AS site_name, e.created_at, e.disabled_at, e.last_seen_at,
                  c.good AS "credentials!", u.expires_at AS "used_ends_at?",
                  t.skew_milliseconds AS "skew_milliseconds?", t.skew_at AS "skew_at?",
                  t.polled_at AS "polled_at?", t.streamed_at AS "streamed_at?",
                  t.report AS "report?", t.reported_at AS "reported_at?",
                  t.probe_at AS "probe_at?", t.probe_given_at AS "probe_given_at?",
                  t.probe_answered_at AS "probe_answered_at?", t.probe_result AS "probe_result?",
                  p.name AS "caller?"
           FROM edge e
           JOIN site s ON s.org_id = e.org_id AND s.id = e.site_id
           LEFT JOIN edge_status t ON t.org_id = $1 AND t.edge_id = e.id
           CROSS JOIN LATERAL (SELECT count(*) AS good FROM edge_credential g
                      WHERE g.org_id = $1 AND g.edge_id = e.id AND g.revoked_at IS NULL
                        AND (g.expires_at IS NULL OR g.expires_at > $4)) c
           LEFT JOIN LATERAL (SELECT l.expires_at FROM edge_credential l
                      WHERE l.org_id = $1 AND l.edge_id = e.id AND l.last_used_at IS NOT NULL
                        AND l.revoked_at IS NULL
                      ORDER BY l.last_used_at DESC, l.id DESC LIMIT 1) u ON true
           LEFT JOIN LATERAL (SELECT name FROM edge_caller
                      WHERE org_id = $1 AND edge_id = e.id ORDER BY seen_at DESC, name LIMIT 1) p ON true
           WHERE e.org_id = $1 AND ($2::uuid IS NULL OR e.id = $2) AND ($3::uuid IS NULL OR e.site_id = $3)
           ORDER BY lower(s.name), lower(e.name)"#,
        org,
        edge.map(EdgeId::uuid),
        site.map(SiteId::uuid),
        now,
    )
    .fetch_all(tx.conn())
    .await?;
    let heard = rows.into_iter().map(|r| EdgeHeard {
        id: EdgeId(r.id),
        name: r.name,
        site: SiteId(r.site_id),
        site_name: r.site_name,
        created_at: r.created_at,
        disabled_at: r.disabled_at,
        last_seen_at: r.last_seen_at,
        credentials: r.credentials,
        used_ends_at: r.used_ends_at,
        skew: r.skew_milliseconds.zip(r.skew_at),
        polled_at: r.polled_at,
        streamed_at: r.streamed_at,
        report: r.report.and_then(|report| serde_json::from_value(report).ok()).zip(r.reported_at),
        probe: r.probe_at.map(|at| Probe {
            at,
            given_at: r.probe_given_at,
            answered_at: r.probe_answered_at,
            result: r.probe_result.unwrap_or_default(),
        }),
        caller: r.caller,
    });
    Ok(heard.collect())
}

async fn view(
    tx: &mut OrgTx,
    edge: Option<EdgeId>,
    site: Option<SiteId>,
    now: OffsetDateTime,
) -> Result<Vec<EdgeView>> {
    let heard = select(tx, edge, site, now).await?;
    let org = tx.org().uuid();
    let minute = now.truncate_to_minute();
    let gone = gone_causes();
    let rows = sqlx::query!(
        r#"WITH active AS MATERIALIZED (
               SELECT edge_id FROM session WHERE org_id = $1 AND ended_at IS NULL LIMIT $7)
           SELECT e.id, coalesce(a.sessions, 0) AS "active_sessions!",
                  (SELECT count(*) >= $7 FROM active) AS "sessions_cut!",
                  coalesce(m.decisions, 0)::bigint AS "decisions!",
                  coalesce(k.pending, 0) AS "pending!", coalesce(k.delivered, 0) AS "delivered!",
                  coalesce(k.held, 0) AS "held!", k.oldest_at AS "oldest_at?", f.failed AS "failed!"
           FROM edge e
           LEFT JOIN (SELECT edge_id, count(*) AS sessions FROM active GROUP BY edge_id) a ON a.edge_id = e.id
           LEFT JOIN LATERAL (SELECT sum(permits + denies) AS decisions FROM edge_minute
                      WHERE org_id = $1 AND edge_id = e.id AND minute >= $4 AND minute < $5) m ON true
           LEFT JOIN (SELECT edge_id, count(*) FILTER (WHERE state = 'pending') AS pending,
                             count(*) FILTER (WHERE state = 'delivered') AS delivered,
                             count(*) FILTER (WHERE state = 'held') AS held,
                             min(created_at) FILTER (WHERE state <> 'held') AS oldest_at
                      FROM command WHERE org_id = $1 AND state IN ('held', 'pending', 'delivered')
                        AND ($2::uuid IS NULL OR edge_id = $2)
                      GROUP BY edge_id) k ON k.edge_id = e.id
           CROSS JOIN LATERAL (SELECT count(*) AS failed FROM command
                      WHERE org_id = $1 AND edge_id = e.id AND state IN ('failed', 'expired')
                        AND finished_at > $6
                        AND (answer = 'nak' AND error_cause = ANY($8)) IS NOT TRUE) f
           WHERE e.org_id = $1 AND ($2::uuid IS NULL OR e.id = $2) AND ($3::uuid IS NULL OR e.site_id = $3)"#,
        org,
        edge.map(EdgeId::uuid),
        site.map(SiteId::uuid),
        minute - Duration::minutes(RATE_MINUTES.into()),
        minute,
        now - FAILED_WITHIN,
        COUNT_MAX,
        &gone,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut loads: HashMap<_, _> = rows.into_iter().map(|row| (row.id, row)).collect();
    // Whoever is not among them was deleted in between.
    let view = heard.into_iter().filter_map(|heard| {
        let r = loads.remove(&heard.id.uuid())?;
        Some(EdgeView {
            heard,
            active_sessions: r.active_sessions,
            sessions_cut: r.sessions_cut,
            decisions: r.decisions,
            backlog: Backlog {
                pending: r.pending,
                delivered: r.delivered,
                held: r.held,
                oldest_at: r.oldest_at,
                failed: r.failed,
            },
        })
    });
    Ok(view.collect())
}

/// The programs that called for an edge, and when last.
pub async fn callers(tx: &mut OrgTx, edge: EdgeId) -> Result<Vec<(String, OffsetDateTime)>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "SELECT name, seen_at FROM edge_caller WHERE org_id = $1 AND edge_id = $2 ORDER BY seen_at DESC, name LIMIT 8",
        org,
        edge.uuid(),
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.seen_at)).collect())
}

/// Decisions of an edge by the minute, since `from`; minutes without any are left out.
pub async fn minutes(tx: &mut OrgTx, edge: EdgeId, from: OffsetDateTime) -> Result<Vec<DecisionCount>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        DecisionCount,
        "SELECT minute AS at, permits, denies FROM edge_minute
         WHERE org_id = $1 AND edge_id = $2 AND minute >= $3 ORDER BY minute",
        org,
        edge.uuid(),
        from,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows)
}

/// A command that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCommand {
    pub id: CommandId,
    pub session: SessionId,
    pub mac: Option<Mac>,
    pub kind: CoaKind,
    pub state: CommandState,
    pub finished_at: OffsetDateTime,
    /// What the NAS answered, the last time that it was asked.
    pub answer: Option<NasAnswer>,
    /// What the edge said of it beyond the NAS's answer.
    pub result: Option<String>,
}

impl FailedCommand {
    /// What the NAS said; `None` where it said nothing in time.
    #[must_use]
    pub fn said(&self) -> Option<String> {
        self.answer.filter(|answer| answer.result != NasResult::Timeout).map(NasAnswer::describe)
    }
}

/// The commands of an edge that came to nothing lately, the last first. Those that found nobody to move are left out:
/// there is nothing to see to.
pub async fn failed(
    tx: &mut OrgTx,
    edge: EdgeId,
    now: OffsetDateTime,
    limit: i64,
) -> Result<Vec<FailedCommand>> {
    let org = tx.org().uuid();
    let gone = gone_causes();
    let rows = sqlx::query!(
        r#"SELECT id, session_id, mac AS "mac: mac_address::MacAddress", kind, state, finished_at AS "finished_at!",
                  answer, error_cause, result
           FROM command
           WHERE org_id = $1 AND edge_id = $2 AND state IN ('failed', 'expired') AND finished_at > $3
             AND (answer = 'nak' AND error_cause = ANY($5)) IS NOT TRUE
           ORDER BY finished_at DESC LIMIT $4"#,
        org,
        edge.uuid(),
        now - FAILED_WITHIN,
        limit,
        &gone,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|row| {
        Ok(FailedCommand {
            id: CommandId(row.id),
            session: SessionId(row.session_id),
            mac: row.mac.map(mac),
            kind: row.kind.parse().map_err(|e| StoreError::corrupt("command.kind", e))?,
            state: row.state.parse().map_err(|e| StoreError::corrupt("command.state", e))?,
            finished_at: row.finished_at,
            answer: read_answer(row.answer.as_deref(), row.error_cause)?,
            result: row.result,
        })
    });
    rows.collect()
}

/// What an edge asked lately, the last first: of the `SESSIONS_READ_MAX` sessions that its site decided on by the
/// latest days (of a day that has more, any of them) those that are its own. Requests that do not read any more are
/// left out.
pub async fn requests(tx: &mut OrgTx, site: SiteId, edge: EdgeId) -> Result<Vec<AccessRequest>> {
    let org = tx.org().uuid();
    // The day is what is indexed (migration 0085): ordering by the moment would read all that the site ever saw.
    let rows = sqlx::query_scalar!(
        r#"SELECT request AS "request!" FROM (
               SELECT edge_id, request, decided_at FROM session
               WHERE org_id = $1 AND site_id = $2 AND decided_day IS NOT NULL
               ORDER BY decided_day DESC LIMIT $4
           ) latest
           WHERE edge_id = $3 AND request IS NOT NULL ORDER BY decided_at DESC LIMIT $5"#,
        org,
        site.uuid(),
        edge.uuid(),
        SESSIONS_READ_MAX,
        REQUESTS_MAX,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().filter_map(|request| serde_json::from_value(request).ok()).collect())
}

/// A site's bundle, as it was last gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleView {
    pub version: i64,
    pub built_at: OffsetDateTime,
    /// Clients' keys and the policy that are in it.
    pub facts: i64,
}

/// The bundle of a site; `None` where no agent ever fetched one.
pub async fn bundle(tx: &mut OrgTx, site: SiteId) -> Result<Option<BundleView>> {
    let org = tx.org().uuid();
    let row = sqlx::query_as!(
        BundleView,
        r#"SELECT b.version, b.built_at,
                  (SELECT count(*) FROM bundle_fact f
                   WHERE f.org_id = $1 AND f.site_id = $2 AND f.value IS NOT NULL) AS "facts!"
           FROM bundle b WHERE b.org_id = $1 AND b.site_id = $2"#,
        org,
        site.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row)
}

/// One site.
pub async fn site(tx: &mut OrgTx, site: SiteId) -> Result<Option<(String, OffsetDateTime)>> {
    let org = tx.org().uuid();
    let row =
        sqlx::query!("SELECT name, created_at FROM site WHERE org_id = $1 AND id = $2", org, site.uuid())
            .fetch_optional(tx.conn())
            .await?;
    Ok(row.map(|row| (row.name, row.created_at)))
}
