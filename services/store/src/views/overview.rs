//! The organization at a glance.

use domain::compliance::{Compliance, assess};
use domain::device::{ComplianceState, DeviceFacts};
use domain::resolver::{Match, Outcome};
use domain::snapshot::OrgSettings;
use domain::{DeviceId, LinkId};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{OrgTx, Result};

/// How many devices of the fleet share one answer to "is it compliant?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetGroup {
    /// What a decision would see of each of them.
    pub compliance: Compliance,
    pub devices: i64,
}

/// The fleet by compliance, as decisions would see it at `now`. Groups are counted by the columns that the answer
/// depends on; the answer itself comes from the function that decisions use.
pub async fn fleet(tx: &mut OrgTx, settings: &OrgSettings, now: OffsetDateTime) -> Result<Vec<FleetGroup>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT d.compliance,
                  $2 - (CASE WHEN d.missing_since IS NULL THEN greatest(d.fetched_at, l.confirmed_at)
                             ELSE d.fetched_at END) > make_interval(secs => $3) AS "stale!",
                  coalesce(d.grace_expires_at <= $2, false) AS "grace_over!",
                  count(*) AS "devices!"
           FROM device d JOIN link l ON l.org_id = d.org_id AND l.id = d.link_id
           WHERE d.org_id = $1
           GROUP BY 1, 2, 3"#,
        org,
        now,
        f64::from(settings.stale_after_seconds),
    )
    .fetch_all(tx.conn())
    .await?;
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
        FleetGroup { compliance: assess(&found, &[], settings, now), devices: row.devices }
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

/// Decisions since `from`, counted in stretches of `seconds` that begin there. Stretches without any are left out.
pub async fn decisions(tx: &mut OrgTx, from: OffsetDateTime, seconds: u32) -> Result<Vec<DecisionCount>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT date_bin(make_interval(secs => $3), at, $2) AS "at!",
                  count(*) FILTER (WHERE kind = 'NAC_CLIENT_PERMIT') AS "permits!",
                  count(*) FILTER (WHERE kind = 'NAC_CLIENT_DENY') AS "denies!"
           FROM event
           WHERE org_id = $1 AND at >= $2 AND kind IN ('NAC_CLIENT_PERMIT', 'NAC_CLIENT_DENY')
           GROUP BY 1 ORDER BY 1"#,
        org,
        from,
        f64::from(seconds),
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|r| DecisionCount { at: r.at, permits: r.permits, denies: r.denies }).collect())
}

/// Figures of the present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub devices: i64,
    pub active_sessions: i64,
    pub sites: i64,
    pub edges: i64,
    /// Edges that asked or fetched something in the last five minutes.
    pub edges_alive: i64,
    /// Commands that edges have not acknowledged yet.
    pub open_commands: i64,
    /// Whether any client was ever decided on.
    pub any_decision: bool,
}

/// Figures of the present.
pub async fn figures(tx: &mut OrgTx, now: OffsetDateTime) -> Result<Figures> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM device WHERE org_id = $1) AS "devices!",
                  (SELECT count(*) FROM session WHERE org_id = $1 AND ended_at IS NULL) AS "active_sessions!",
                  (SELECT count(*) FROM site WHERE org_id = $1) AS "sites!",
                  (SELECT count(*) FROM edge WHERE org_id = $1) AS "edges!",
                  (SELECT count(*) FROM edge WHERE org_id = $1 AND last_seen_at > $2) AS "edges_alive!",
                  (SELECT count(*) FROM command WHERE org_id = $1 AND state IN ('pending', 'delivered'))
                      AS "open_commands!",
                  EXISTS (SELECT FROM session WHERE org_id = $1) AS "any_decision!""#,
        org,
        now - Duration::minutes(5),
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(Figures {
        devices: row.devices,
        active_sessions: row.active_sessions,
        sites: row.sites,
        edges: row.edges,
        edges_alive: row.edges_alive,
        open_commands: row.open_commands,
        any_decision: row.any_decision,
    })
}
