//! What the sync workers have to do, and who does it: rows with due times and leases.
//!
//! A claim moves the due time to the lease's end, so that the work of a crashed worker comes due by itself, and
//! raises the epoch. Every write of a job begins with [`hold`]: a worker whose epoch is not the row's any more has
//! lost its lease, and writes nothing.
//!
//! Whoever learns of work calls [`wake`]. A job that is held meanwhile remembers it, and comes due again as soon as
//! its holder gives it back.

mod claim;

use domain::request::UnknownWord;
use domain::{LinkId, OrgId};
use serde_json::Value;
use time::OffsetDateTime;

pub use claim::{Claim, claim, oldest_due};

use crate::{OrgTx, Result, StoreError};

/// The kinds of work that a link needs, each with its own due time, lease and cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobKind {
    /// Reads the whole fleet.
    Sweep,
    /// Asks Entra ID which devices changed.
    Delta,
    /// Looks at single devices that are worth it now.
    Look,
    /// Fetches what lists leave out.
    Enrich,
    /// Acts on what time alone changes; asks Microsoft nothing.
    Clock,
}

/// Kinds that do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobClass {
    /// Short work that somebody waits for: delta, look and clock.
    Hot,
    /// Work that grows with the fleet: sweep and enrich.
    Long,
}

impl JobClass {
    pub const ALL: [Self; 2] = [Self::Hot, Self::Long];

    /// A word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Long => "long",
        }
    }
}

impl JobKind {
    pub const ALL: [Self; 5] = [Self::Sweep, Self::Delta, Self::Look, Self::Enrich, Self::Clock];
    /// Those that ask Intune, whose budget they share.
    pub const INTUNE: [Self; 3] = [Self::Sweep, Self::Look, Self::Enrich];
    /// Those that ask Microsoft at all.
    pub const MICROSOFT: [Self; 4] = [Self::Sweep, Self::Delta, Self::Look, Self::Enrich];

    /// As it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::Delta => "delta",
            Self::Look => "look",
            Self::Enrich => "enrich",
            Self::Clock => "clock",
        }
    }

    /// Whose permits it takes.
    #[must_use]
    pub const fn class(self) -> JobClass {
        match self {
            Self::Delta | Self::Look | Self::Clock => JobClass::Hot,
            Self::Sweep | Self::Enrich => JobClass::Long,
        }
    }
}

impl std::str::FromStr for JobKind {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownWord { what: "job kind", allowed: Self::ALL.map(Self::as_str).join(", ") })
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
    /// Since when it was due.
    pub due_at: OffsetDateTime,
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
    /// An admin asked for it, or a delta that cannot tell any more what changed.
    pub requested_at: Option<OffsetDateTime>,
    /// Microsoft asked to wait until then.
    pub not_before: Option<OffsetDateTime>,
    /// When it last went through.
    pub finished_at: Option<OffsetDateTime>,
    /// What keeps it from its work, for people. It says nothing about the link.
    pub note: Option<String>,
}

/// Makes a job of a link, due at once. One that is there already comes due and forgets its failures, but never
/// before the time until which Microsoft asked to wait.
pub async fn create(tx: &mut OrgTx, link: LinkId, kind: JobKind, now: OffsetDateTime) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO sync_job AS j (org_id, link_id, kind, next_due_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id, link_id, kind) DO UPDATE SET fails = 0,
             next_due_at = CASE WHEN j.lease_until IS NULL
                 THEN greatest(least(j.next_due_at, $4), j.not_before) ELSE j.next_due_at END,
             wake_at = CASE WHEN j.lease_until IS NOT NULL THEN least(j.wake_at, $4) END",
        org,
        link.uuid(),
        kind.as_str(),
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Makes a job due at `due`, where it is not due sooner, and never before the time until which Microsoft asked to
/// wait. A job that is held now comes due again once it is given back. False where the link has no such job.
pub async fn wake(tx: &mut OrgTx, link: LinkId, kind: JobKind, due: OffsetDateTime) -> Result<bool> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET
             next_due_at = CASE WHEN lease_until IS NULL
                 THEN greatest(least(next_due_at, $4), not_before) ELSE next_due_at END,
             wake_at = CASE WHEN lease_until IS NOT NULL THEN least(wake_at, $4) END
         WHERE org_id = $1 AND link_id = $2 AND kind = $3",
        org,
        link.uuid(),
        kind.as_str(),
        due,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The same for a kind of work of all links of the organization. Returns how many there are.
pub async fn wake_all(tx: &mut OrgTx, kind: JobKind, due: OffsetDateTime) -> Result<u64> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET
             next_due_at = CASE WHEN lease_until IS NULL
                 THEN greatest(least(next_due_at, $3), not_before) ELSE next_due_at END,
             wake_at = CASE WHEN lease_until IS NOT NULL THEN least(wake_at, $3) END
         WHERE org_id = $1 AND kind = $2",
        org,
        kind.as_str(),
        due,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// Nothing of these kinds is begun for the link before `until`, whoever wishes it: Microsoft asked to wait, or does
/// not answer. Work that is held now goes on, and waits once it is given back. Returns how many jobs wait.
pub async fn park_link(
    tx: &mut OrgTx,
    link: LinkId,
    kinds: &[JobKind],
    until: OffsetDateTime,
) -> Result<u64> {
    let org = tx.org().uuid();
    let kinds: Vec<String> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
    let done = sqlx::query!(
        "UPDATE sync_job SET not_before = greatest(not_before, $4),
             next_due_at = CASE WHEN lease_until IS NULL THEN greatest(next_due_at, $4) ELSE next_due_at END
         WHERE org_id = $1 AND link_id = $2 AND kind = ANY($3)",
        org,
        link.uuid(),
        &kinds,
        until,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// Notes what keeps a job from its work, for people; `None`: nothing does.
pub async fn set_note(tx: &mut OrgTx, link: LinkId, kind: JobKind, note: Option<&str>) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "UPDATE sync_job SET note = $4
         WHERE org_id = $1 AND link_id = $2 AND kind = $3 AND note IS DISTINCT FROM $4",
        org,
        link.uuid(),
        kind.as_str(),
        note,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// "Sync now": a sweep that waits becomes due, unless Microsoft asked to wait; one that is due keeps its place before
/// those that became due later; one that runs is followed by another.
/// False where the link has no such job.
pub async fn request_sweep(tx: &mut OrgTx, link: LinkId, now: OffsetDateTime) -> Result<bool> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET requested_at = $3,
             next_due_at = CASE WHEN lease_until > $3 THEN next_due_at ELSE greatest(least($3, next_due_at), not_before) END
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
        "SELECT next_due_at, lease_until, fails, requested_at, not_before, finished_at, note FROM sync_job
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
        finished_at: row.finished_at,
        note: row.note,
    }))
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

/// Notes where the work stands, and renews the lease until `until`. `seen` is kept where it is `None`.
pub async fn save_cursor(
    tx: &mut OrgTx,
    lease: &Lease,
    cursor: &Value,
    seen: Option<&[u8]>,
    until: OffsetDateTime,
) -> Result<(), LeaseError> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET cursor = $5, seen = coalesce($6, seen), lease_until = $7, next_due_at = $7
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
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Asked for since then, the job is due again at once.
    pub began_at: OffsetDateTime,
    pub now: OffsetDateTime,
    pub next_due_at: OffsetDateTime,
    /// Every active session is decided again.
    pub redecided: bool,
    /// Where the next round begins; `None`: at the beginning.
    pub cursor: Option<Value>,
}

/// The job is done: gives the lease back, due again at `next_due_at` or when it was woken meanwhile, and not before
/// the time until which Microsoft asked to wait.
pub async fn complete(tx: &mut OrgTx, lease: &Lease, done: &Completion) -> Result<(), LeaseError> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET cursor = $9, seen = NULL, fails = 0, checked_at = $6, finished_at = $6,
             redecided_at = CASE WHEN $8 THEN $6 ELSE redecided_at END, lease_owner = NULL, lease_until = NULL,
             next_due_at = greatest(not_before, least(wake_at,
                 CASE WHEN requested_at > $5 THEN $6::timestamptz ELSE $7::timestamptz END)),
             not_before = CASE WHEN not_before > $6 THEN not_before END, wake_at = NULL,
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
        done.cursor,
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

/// Gives the lease back before the job is done. What woke it meanwhile is kept by a job that did not fail; one that
/// failed waits.
pub async fn give_back(tx: &mut OrgTx, lease: &Lease, how: &GiveBack) -> Result<(), LeaseError> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE sync_job SET not_before = greatest(not_before, $6),
             next_due_at = greatest($6, not_before, CASE WHEN $7 = 0 THEN least($5, wake_at) ELSE $5 END),
             wake_at = NULL, fails = fails + $7,
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
