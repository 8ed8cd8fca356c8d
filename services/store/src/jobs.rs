//! What the sync workers have to do, and who does it: rows with due times and leases.
//!
//! A claim moves the due time to the lease's end, so that the work of a crashed worker comes due by itself, and
//! raises the epoch. Every write of a job begins with [`hold`]: a worker whose epoch is not the row's any more has
//! lost its lease, and writes nothing.

use domain::request::UnknownWord;
use domain::{LinkId, OrgId};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{OrgTx, Result, StoreError, SystemTx};

/// The kinds of work that a link needs, each with its own due time, lease and cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Reads the whole fleet.
    Sweep,
}

impl JobKind {
    /// As it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
        }
    }
}

impl std::str::FromStr for JobKind {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "sweep" => Ok(Self::Sweep),
            _ => Err(UnknownWord { what: "job kind", allowed: "sweep".to_owned() }),
        }
    }
}

/// The right to work on a job, until it runs out or somebody else claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub org: OrgId,
    pub link: LinkId,
    pub kind: JobKind,
    pub epoch: i64,
}

/// A job that the caller may work on.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedJob {
    pub lease: Lease,
    pub lease_until: OffsetDateTime,
    /// Failures in a row.
    pub fails: u32,
    /// Where the holder before left off.
    pub cursor: Option<Value>,
    /// Numbers of the devices that the holder before saw: a serialized Roaring bitmap.
    pub seen: Option<Vec<u8>>,
    /// Up to when the passing of time alone was acted upon.
    pub checked_at: Option<OffsetDateTime>,
    /// When the end of a sweep last had every active session decided again.
    pub redecided_at: Option<OffsetDateTime>,
}

/// Why a job's write did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The lease ran out and another worker took the job, or the link is gone. Stop; nothing was written.
    #[error("the lease was lost to another worker, or the link was removed")]
    Fenced,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for LeaseError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Where a job stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    pub next_due_at: OffsetDateTime,
    /// Held by a worker until then.
    pub lease_until: Option<OffsetDateTime>,
    pub fails: u32,
    /// An admin asked for it.
    pub requested_at: Option<OffsetDateTime>,
    /// Microsoft asked to wait until then.
    pub not_before: Option<OffsetDateTime>,
}

/// Makes the job of a new link, due at once; of a link that has it already, makes it due.
pub async fn create(tx: &mut OrgTx, link: LinkId, kind: JobKind, now: OffsetDateTime) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO sync_job (org_id, link_id, kind, next_due_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id, link_id, kind) DO UPDATE SET next_due_at = least(sync_job.next_due_at, $4)",
        org,
        link.uuid(),
        kind.as_str(),
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// "Sync now": a sweep that waits becomes due, unless Microsoft asked to wait; one that runs is followed by another.
/// False where the link has no such job.
pub async fn request_sweep(tx: &mut OrgTx, link: LinkId, now: OffsetDateTime) -> Result<bool> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET requested_at = $3,
             next_due_at = CASE WHEN lease_until > $3 THEN next_due_at ELSE greatest($3, not_before) END
         WHERE org_id = $1 AND link_id = $2 AND kind = 'sweep'",
        org,
        link.uuid(),
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Where a link's job stands.
pub async fn status(tx: &mut OrgTx, link: LinkId, kind: JobKind) -> Result<Option<JobStatus>> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        "SELECT next_due_at, lease_until, fails, requested_at, not_before FROM sync_job
         WHERE org_id = $1 AND link_id = $2 AND kind = $3",
        org,
        link.uuid(),
        kind.as_str(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map(|row| JobStatus {
        next_due_at: row.next_due_at,
        lease_until: row.lease_until,
        fails: u32::try_from(row.fails).unwrap_or(0),
        requested_at: row.requested_at,
        not_before: row.not_before,
    }))
}

/// Claims up to `limit` due jobs of any organization until `until`, the longest due first.
pub async fn claim(
    tx: &mut SystemTx,
    owner: &str,
    now: OffsetDateTime,
    until: OffsetDateTime,
    limit: i64,
) -> Result<Vec<ClaimedJob>> {
    let rows = sqlx::query!(
        "WITH due AS (
             SELECT org_id, link_id, kind FROM sync_job
             WHERE next_due_at <= $2 AND (lease_until IS NULL OR lease_until <= $2)
             ORDER BY next_due_at LIMIT $4 FOR UPDATE SKIP LOCKED
         )
         UPDATE sync_job j
         SET lease_owner = $1, lease_until = $3, lease_epoch = j.lease_epoch + 1, next_due_at = $3
         FROM due WHERE j.org_id = due.org_id AND j.link_id = due.link_id AND j.kind = due.kind
         RETURNING j.org_id, j.link_id, j.kind, j.lease_epoch, j.fails, j.cursor, j.seen, j.checked_at,
                   j.redecided_at",
        owner,
        now,
        until,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let jobs = rows.into_iter().map(|row| {
        Ok(ClaimedJob {
            lease: Lease {
                org: OrgId(row.org_id),
                link: LinkId(row.link_id),
                kind: row.kind.parse().map_err(|e| StoreError::corrupt("sync_job.kind", e))?,
                epoch: row.lease_epoch,
            },
            lease_until: until,
            fails: u32::try_from(row.fails).unwrap_or(0),
            cursor: row.cursor,
            seen: row.seen,
            checked_at: row.checked_at,
            redecided_at: row.redecided_at,
        })
    });
    jobs.collect()
}

/// Begins a write of a job: locks its row for the transaction, if the lease is still the caller's. The link's row is
/// locked first, as removing a link does, so that the two cannot wait for each other.
pub async fn hold(tx: &mut OrgTx, lease: &Lease) -> Result<(), LeaseError> {
    let org = tx.org().uuid();
    sqlx::query!(
        "SELECT id FROM link WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE",
        org,
        lease.link.uuid()
    )
    .fetch_optional(tx.conn())
    .await?;
    let held = sqlx::query_scalar!(
        "SELECT lease_epoch FROM sync_job
         WHERE org_id = $1 AND link_id = $2 AND kind = $3 AND lease_epoch = $4 FOR UPDATE",
        org,
        lease.link.uuid(),
        lease.kind.as_str(),
        lease.epoch,
    )
    .fetch_optional(tx.conn())
    .await?;
    held.map(|_| ()).ok_or(LeaseError::Fenced)
}

/// Notes where the work stands, and renews the lease until `until`.
pub async fn save_cursor(
    tx: &mut OrgTx,
    lease: &Lease,
    cursor: &Value,
    seen: &[u8],
    until: OffsetDateTime,
) -> Result<(), LeaseError> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET cursor = $5, seen = $6, lease_until = $7, next_due_at = $7
         WHERE org_id = $1 AND link_id = $2 AND kind = $3 AND lease_epoch = $4",
        org,
        lease.link.uuid(),
        lease.kind.as_str(),
        lease.epoch,
        cursor,
        seen,
        until,
    )
    .execute(tx.conn())
    .await?;
    held(done.rows_affected())
}

/// Renews the lease until `until`.
pub async fn renew(tx: &mut OrgTx, lease: &Lease, until: OffsetDateTime) -> Result<(), LeaseError> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET lease_until = $5, next_due_at = $5
         WHERE org_id = $1 AND link_id = $2 AND kind = $3 AND lease_epoch = $4",
        org,
        lease.link.uuid(),
        lease.kind.as_str(),
        lease.epoch,
        until,
    )
    .execute(tx.conn())
    .await?;
    held(done.rows_affected())
}

/// How a job that is done is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Asked for since then, the job is due again at once.
    pub began_at: OffsetDateTime,
    pub now: OffsetDateTime,
    pub next_due_at: OffsetDateTime,
    /// Every active session is decided again.
    pub redecided: bool,
}

/// The job is done: forgets its cursor and gives the lease back.
pub async fn complete(tx: &mut OrgTx, lease: &Lease, done: &Completion) -> Result<(), LeaseError> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET cursor = NULL, seen = NULL, fails = 0, not_before = NULL, checked_at = $6,
             redecided_at = CASE WHEN $8 THEN $6 ELSE redecided_at END, lease_owner = NULL, lease_until = NULL,
             next_due_at = CASE WHEN requested_at > $5 THEN $6::timestamptz ELSE $7::timestamptz END,
             requested_at = CASE WHEN requested_at > $5 THEN requested_at END
         WHERE org_id = $1 AND link_id = $2 AND kind = $3 AND lease_epoch = $4",
        org,
        lease.link.uuid(),
        lease.kind.as_str(),
        lease.epoch,
        done.began_at,
        done.now,
        done.next_due_at,
        done.redecided,
    )
    .execute(tx.conn())
    .await?;
    held(done.rows_affected())
}

/// How a job that did not finish is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveBack {
    pub next_due_at: OffsetDateTime,
    /// Microsoft asked to wait until then: nobody's wish overrides it.
    pub not_before: Option<OffsetDateTime>,
    /// Counts as a failure; waiting, or stopping for a restart, does not.
    pub failed: bool,
    /// The next holder goes on from the cursor; otherwise it starts over.
    pub keep_cursor: bool,
    /// Up to when the passing of time alone was acted upon, where it was.
    pub checked_at: Option<OffsetDateTime>,
}

/// Gives the lease back before the job is done.
pub async fn give_back(tx: &mut OrgTx, lease: &Lease, how: &GiveBack) -> Result<(), LeaseError> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET next_due_at = $5, not_before = $6, fails = fails + $7,
             cursor = CASE WHEN $8 THEN cursor END, seen = CASE WHEN $8 THEN seen END,
             checked_at = coalesce($9, checked_at), lease_owner = NULL, lease_until = NULL
         WHERE org_id = $1 AND link_id = $2 AND kind = $3 AND lease_epoch = $4",
        org,
        lease.link.uuid(),
        lease.kind.as_str(),
        lease.epoch,
        how.next_due_at,
        how.not_before,
        i32::from(how.failed),
        how.keep_cursor,
        how.checked_at,
    )
    .execute(tx.conn())
    .await?;
    held(done.rows_affected())
}

const fn held(rows: u64) -> Result<(), LeaseError> {
    if rows == 1 { Ok(()) } else { Err(LeaseError::Fenced) }
}
