//! What is done for a link: its jobs, how fast changes get through, and what waits. Every count and window here is
//! bounded, because the page asks again every few seconds.

use domain::DeviceId;
use domain::LinkId;
use time::OffsetDateTime;

use crate::jobs::JobKind;
use crate::{OrgTx, Result, StoreError};

pub use crate::views::COUNT_MAX;

/// Of a longer day, the latest this many changes are measured.
const MEASURED_MAX: i64 = 100_000;

/// One kind of work of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    pub kind: JobKind,
    pub next_due_at: OffsetDateTime,
    /// A worker holds it until then.
    pub lease_until: Option<OffsetDateTime>,
    pub fails: i32,
    pub requested_at: Option<OffsetDateTime>,
    /// Microsoft asked to wait until then.
    pub not_before: Option<OffsetDateTime>,
    /// When it last went through.
    pub finished_at: Option<OffsetDateTime>,
    /// What keeps it from its work, for people.
    pub note: Option<String>,
}

impl JobView {
    /// A worker is at it.
    #[must_use]
    pub fn is_running(&self, now: OffsetDateTime) -> bool {
        self.lease_until.is_some_and(|until| until > now)
    }

    /// Until when Microsoft asked to wait, where that is still to come.
    #[must_use]
    pub fn parked_until(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.not_before.filter(|until| *until > now)
    }
}

/// The jobs of a link, in the order of [`JobKind`].
pub async fn jobs(tx: &mut OrgTx, link: LinkId) -> Result<Vec<JobView>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "SELECT kind, next_due_at, lease_until, fails, requested_at, not_before, finished_at, note FROM sync_job
         WHERE org_id = $1 AND link_id = $2",
        org,
        link.uuid(),
    )
    .fetch_all(tx.conn())
    .await?;
    let jobs = rows.into_iter().map(|row| {
        Ok(JobView {
            kind: row.kind.parse().map_err(|e| StoreError::corrupt("sync_job.kind", e))?,
            next_due_at: row.next_due_at,
            lease_until: row.lease_until,
            fails: row.fails,
            requested_at: row.requested_at,
            not_before: row.not_before,
            finished_at: row.finished_at,
            note: row.note,
        })
    });
    let mut jobs: Vec<JobView> = jobs.collect::<Result<_>>()?;
    jobs.sort_by_key(|job| job.kind);
    Ok(jobs)
}

/// How long something took, over a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    /// How many were measured.
    pub count: i64,
    /// Seconds; `None` where nothing was measured.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

/// The two published clocks of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clocks {
    /// From the earliest moment at which Microsoft can have shown a change to Gatehouse's notice of it.
    pub to_gatehouse: Clock,
    /// From that notice to the edge's word that the client was moved.
    pub to_acknowledged: Clock,
}

/// Both clocks since `from`.
pub async fn clocks(tx: &mut OrgTx, link: LinkId, from: OffsetDateTime) -> Result<Clocks> {
    let org = tx.org().uuid();
    let noticed = sqlx::query!(
        r#"SELECT count(*) AS "count!", percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50,
                  percentile_cont(0.99) WITHIN GROUP (ORDER BY seconds) AS p99
           FROM (SELECT greatest(extract(epoch FROM at - visible_after), 0)::float8 AS seconds FROM device_transition
                 WHERE org_id = $1 AND link_id = $2 AND at >= $3 AND visible_after IS NOT NULL
                 ORDER BY at DESC LIMIT $4) t"#,
        org,
        link.uuid(),
        from,
        MEASURED_MAX,
    )
    .fetch_one(tx.conn())
    .await?;
    let moved = sqlx::query!(
        r#"SELECT count(*) AS "count!", percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50,
                  percentile_cont(0.99) WITHIN GROUP (ORDER BY seconds) AS p99
           FROM (SELECT greatest(extract(epoch FROM finished_at - noticed_at), 0)::float8 AS seconds FROM command
                 WHERE org_id = $1 AND link_id = $2 AND finished_at >= $3 AND state = 'acked'
                     AND cause = 'compliance_changed' AND noticed_at IS NOT NULL
                 ORDER BY finished_at DESC LIMIT $4) c"#,
        org,
        link.uuid(),
        from,
        MEASURED_MAX,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(Clocks {
        to_gatehouse: Clock { count: noticed.count, p50: noticed.p50, p99: noticed.p99 },
        to_acknowledged: Clock { count: moved.count, p50: moved.p50, p99: moved.p99 },
    })
}

/// What waits for its turn; each count stops at [`COUNT_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Devices that are looked at by themselves.
    pub hot: i64,
    /// Of them, those whose time has come.
    pub hot_due: i64,
    /// Looks that somebody asked for.
    pub wishes: i64,
    /// Of them, those whose time has come.
    pub wishes_due: i64,
    /// Messages of the organization that wait to be carried.
    pub outbox: i64,
    /// When the oldest of them was written.
    pub outbox_since: Option<OffsetDateTime>,
    /// Commands for clients of this link that edges have not acknowledged, those that are held left out.
    pub commands: i64,
    /// Commands that wait for an admin.
    pub held: i64,
}

/// What waits for its turn at `now`.
pub async fn backlog(tx: &mut OrgTx, link: LinkId, now: OffsetDateTime) -> Result<Backlog> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        r#"SELECT
            (SELECT count(*) FROM (SELECT FROM device WHERE org_id = $1 AND link_id = $2 AND next_look_at IS NOT NULL
                                   LIMIT $4) d) AS "hot!",
            (SELECT count(*) FROM (SELECT FROM device WHERE org_id = $1 AND link_id = $2 AND next_look_at <= $3
                                   LIMIT $4) d) AS "hot_due!",
            (SELECT count(*) FROM (SELECT FROM look_wish WHERE org_id = $1 AND link_id = $2 LIMIT $4) w)
                AS "wishes!",
            (SELECT count(*) FROM (SELECT FROM look_wish WHERE org_id = $1 AND link_id = $2 AND due_at <= $3
                                   LIMIT $4) w) AS "wishes_due!",
            (SELECT count(*) FROM (SELECT FROM outbox WHERE org_id = $1 AND NOT settling LIMIT $4) o) AS "outbox!",
            (SELECT created_at FROM outbox WHERE org_id = $1 AND NOT settling ORDER BY id LIMIT 1) AS outbox_since,
            (SELECT count(*) FROM (SELECT FROM command WHERE org_id = $1 AND link_id = $2
                                       AND state IN ('pending', 'delivered') LIMIT $4) c) AS "commands!",
            (SELECT count(*) FROM (SELECT FROM command WHERE org_id = $1 AND link_id = $2 AND state = 'held'
                                   LIMIT $4) c) AS "held!""#,
        org,
        link.uuid(),
        now,
        COUNT_MAX,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(Backlog {
        hot: row.hot,
        hot_due: row.hot_due,
        wishes: row.wishes,
        wishes_due: row.wishes_due,
        outbox: row.outbox,
        outbox_since: row.outbox_since,
        commands: row.commands,
        held: row.held,
    })
}

/// A change of a device of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    pub device: DeviceId,
    /// `None` where its record is gone, or has no name.
    pub name: Option<String>,
    pub at: OffsetDateTime,
    pub from_state: Option<String>,
    pub to_state: Option<String>,
    pub noticed_by: Option<String>,
    pub visible_after: Option<OffsetDateTime>,
}

/// The latest changes of a link's fleet since `from`, and how many there were (counted to [`COUNT_MAX`]).
pub async fn changes(
    tx: &mut OrgTx,
    link: LinkId,
    from: OffsetDateTime,
    limit: i64,
) -> Result<(Vec<ChangeRow>, i64)> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT t.device_id AS "device_id!", t.at AS "at!", t.from_state, t.to_state, t.noticed_by, t.visible_after,
                  d.name AS "name?"
           FROM (SELECT * FROM device_transition WHERE org_id = $1 AND link_id = $2 AND at >= $3
                     AND from_state IS NOT NULL
                 ORDER BY at DESC LIMIT $4) t
           LEFT JOIN device d ON d.org_id = $1 AND d.link_id = $2 AND d.id = t.device_id
           ORDER BY t.at DESC, t.id DESC"#,
        org,
        link.uuid(),
        from,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (SELECT FROM device_transition
               WHERE org_id = $1 AND link_id = $2 AND at >= $3 AND from_state IS NOT NULL LIMIT $4) t"#,
        org,
        link.uuid(),
        from,
        COUNT_MAX,
    )
    .fetch_one(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|r| ChangeRow {
        device: DeviceId(r.device_id),
        name: r.name,
        at: r.at,
        from_state: r.from_state,
        to_state: r.to_state,
        noticed_by: r.noticed_by,
        visible_after: r.visible_after,
    });
    Ok((rows.collect(), count))
}
