//! The organization at a glance. Everything is counted to a limit, because the page is the first that is opened.

use std::collections::HashMap;

use domain::compliance::{Compliance, assess};
use domain::device::{ComplianceState, DeviceFacts};
use domain::resolver::{Match, Outcome};
use domain::snapshot::OrgSettings;
use domain::{DeviceId, LinkId};
use sqlx::{Postgres, QueryBuilder};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::COUNT_MAX;
use crate::{OrgTx, Result};

/// Of each of Intune's states, so many devices are read.
pub const FLEET_READ_MAX: i64 = 20_000;
/// The states, each as a condition of its own, so that PostgreSQL plans by how many devices are in it. States that
/// Microsoft added later are one.
const STATES: &[&str] = &[
    "= 'compliant'",
    "= 'inGracePeriod'",
    "= 'noncompliant'",
    "= 'unknown'",
    "= 'error'",
    "= 'conflict'",
    "= 'configManager'",
    "NOT IN ('compliant', 'inGracePeriod', 'noncompliant', 'unknown', 'error', 'conflict', 'configManager')",
];

/// How many devices of the fleet share one answer to "is it compliant?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetGroup {
    /// What a decision would see of each of them.
    pub compliance: Compliance,
    pub devices: i64,
    /// More devices may be in its state than the [`FLEET_READ_MAX`] that were read.
    pub cut: bool,
}

#[derive(sqlx::FromRow)]
struct FleetRow {
    /// Index into [`STATES`].
    part: i32,
    compliance: String,
    stale: bool,
    grace_over: bool,
    devices: i64,
}

/// The fleet by compliance, as decisions would see it at `now`. Groups are counted by the columns that the answer
/// depends on; the answer itself comes from the function that decisions use.
pub async fn fleet(tx: &mut OrgTx, settings: &OrgSettings, now: OffsetDateTime) -> Result<Vec<FleetGroup>> {
    let org = tx.org().uuid();
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new("SELECT d.part, d.compliance, ");
    sql.push_bind(now).push(
        " - (CASE WHEN d.missing_since IS NULL THEN greatest(d.fetched_at, l.confirmed_at)
                  ELSE d.fetched_at END) > make_interval(secs => ",
    );
    sql.push_bind(f64::from(settings.stale_after_seconds))
        .push(") AS stale, coalesce(d.grace_expires_at <= ");
    sql.push_bind(now).push(", false) AS grace_over, count(*) AS devices FROM (");
    for (part, state) in STATES.iter().enumerate() {
        sql.push(if part == 0 { "(" } else { " UNION ALL (" });
        sql.push("SELECT ").push(part).push(
            " AS part, compliance, link_id, missing_since, fetched_at, grace_expires_at FROM device WHERE org_id = ",
        );
        sql.push_bind(org).push(" AND compliance ").push(state);
        sql.push(" LIMIT ").push_bind(FLEET_READ_MAX).push(")");
    }
    sql.push(") d JOIN link l ON l.id = d.link_id AND l.org_id = ").push_bind(org);
    sql.push(" GROUP BY 1, 2, 3, 4");
    let rows = sql.build_query_as::<FleetRow>().fetch_all(tx.conn()).await?;
    let mut read: HashMap<i32, i64> = HashMap::new();
    for row in &rows {
        *read.entry(row.part).or_default() += row.devices;
    }
    let groups = rows.into_iter().map(|row| {
        let age = if row.stale { i64::from(settings.stale_after_seconds) + 1 } else { 0 };
        let state = ComplianceState::from(row.compliance);
        let mut device = DeviceFacts::bare(
            LinkId(Uuid::nil()),
            DeviceId(Uuid::nil()),
            state,
            now - Duration::seconds(age),
        );
        device.grace_expires_at = row.grace_over.then_some(now);
        let found =
            Match { outcome: Outcome::Device(&device), key: None, mac_mismatch: false, wanted: Vec::new() };
        FleetGroup {
            compliance: assess(&found, &[], settings, now),
            devices: row.devices,
            cut: read.get(&row.part).is_some_and(|read| *read >= FLEET_READ_MAX),
        }
    });
    Ok(groups.collect())
}

/// Decisions of one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionCount {
    /// The start of the stretch.
    pub at: OffsetDateTime,
    pub permits: i64,
    pub denies: i64,
}

/// Decisions since `from`, in `stretches` of `seconds` that begin there; each count stops at [`COUNT_MAX`]. Stretches
/// without any are left out.
pub async fn decisions(
    tx: &mut OrgTx,
    from: OffsetDateTime,
    seconds: u32,
    stretches: u32,
) -> Result<Vec<DecisionCount>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT s.at AS "at!", p.n AS "permits!", d.n AS "denies!"
           FROM generate_series(0, $4::integer - 1) AS i(n)
           CROSS JOIN LATERAL (SELECT $2::timestamptz + make_interval(secs => $3::float8 * i.n) AS at,
                                      $2::timestamptz + make_interval(secs => $3::float8 * (i.n + 1)) AS until) s
           CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
               SELECT FROM event WHERE org_id = $1 AND kind = 'NAC_CLIENT_PERMIT' AND at >= s.at AND at < s.until
               LIMIT $5) e) p
           CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
               SELECT FROM event WHERE org_id = $1 AND kind = 'NAC_CLIENT_DENY' AND at >= s.at AND at < s.until
               LIMIT $5) e) d
           WHERE p.n + d.n > 0 ORDER BY s.at"#,
        org,
        from,
        f64::from(seconds),
        i32::try_from(stretches).unwrap_or(i32::MAX),
        COUNT_MAX,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|r| DecisionCount { at: r.at, permits: r.permits, denies: r.denies }).collect())
}

/// Figures of the present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Counted to [`COUNT_MAX`].
    pub active_sessions: i64,
    pub edges: i64,
    /// Edges that asked or fetched something in the last five minutes.
    pub edges_alive: i64,
    /// Commands that edges have not acknowledged yet, counted to [`COUNT_MAX`].
    pub open_commands: i64,
    /// Whether any client was ever decided on.
    pub any_decision: bool,
}

/// Figures of the present.
pub async fn figures(tx: &mut OrgTx, now: OffsetDateTime) -> Result<Figures> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM edge WHERE org_id = $1) AS "edges!",
                  (SELECT count(*) FROM edge WHERE org_id = $1 AND last_seen_at > $2) AS "edges_alive!",
                  (SELECT count(*) FROM (SELECT FROM command WHERE org_id = $1 AND state IN ('pending', 'delivered')
                                         LIMIT $3) c) AS "open_commands!""#,
        org,
        now - Duration::minutes(5),
        COUNT_MAX,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(Figures {
        active_sessions: active_sessions(tx).await?,
        edges: row.edges,
        edges_alive: row.edges_alive,
        open_commands: row.open_commands,
        any_decision: any_decision(tx).await?,
    })
}

/// Sessions that go on, counted to [`COUNT_MAX`].
pub async fn active_sessions(tx: &mut OrgTx) -> Result<i64> {
    let org = tx.org().uuid();
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT FROM session WHERE org_id = $1 AND ended_at IS NULL LIMIT $2) s"#,
        org,
        COUNT_MAX,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(count)
}

/// Whether any client was ever decided on.
pub async fn any_decision(tx: &mut OrgTx) -> Result<bool> {
    let org = tx.org().uuid();
    let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM session WHERE org_id = $1) AS "any!""#, org)
        .fetch_one(tx.conn())
        .await?;
    Ok(any)
}
