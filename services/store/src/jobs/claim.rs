//! Who works on what: due jobs, the longest due first, without one link taking all workers.

use domain::{LinkId, OrgId};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ClaimedJob, JobClass, JobKind, Lease};
use crate::{Result, StoreError, SystemTx};

/// What a process asks for.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Names the process, for people.
    pub owner: &'a str,
    pub class: JobClass,
    pub now: OffsetDateTime,
    /// The end of the leases.
    pub until: OffsetDateTime,
    /// Jobs at most.
    pub limit: i64,
    /// Of those, jobs whose last attempt failed: they tend to hold a worker for as long as it may take.
    pub troubled_limit: i64,
    /// Jobs of one link that may be held at once, by all processes together. Clocks ask Microsoft nothing and do not
    /// count; long work leaves room for one job that somebody waits for, where this is above 1.
    pub per_link: i64,
    /// Kinds of the class; empty: all of it.
    pub kinds: &'a [JobKind],
}

struct Candidate {
    org_id: Uuid,
    link_id: Uuid,
    kind: String,
    next_due_at: OffsetDateTime,
}

/// Claims due jobs of any organization, the longest due first.
pub async fn claim(tx: &mut SystemTx, claim: Claim<'_>) -> Result<Vec<ClaimedJob>> {
    let mut due = candidates(tx, &claim, false, claim.limit).await?;
    let room = claim.troubled_limit.min(claim.limit - i64::try_from(due.len()).unwrap_or(claim.limit));
    if room > 0 {
        due.extend(candidates(tx, &claim, true, room).await?);
    }
    if due.is_empty() {
        return Ok(Vec::new());
    }
    take(tx, &claim, &due).await
}

/// Locks due jobs that nobody holds, of links that have room. The locks on links keep two processes from filling the
/// same room at once; whoever comes second finds those jobs at its next look.
async fn candidates(
    tx: &mut SystemTx,
    claim: &Claim<'_>,
    troubled: bool,
    limit: i64,
) -> Result<Vec<Candidate>> {
    let long_max = (claim.per_link - 1).max(1);
    let kinds = if claim.kinds.is_empty() { &JobKind::ALL[..] } else { claim.kinds };
    let kinds: Vec<String> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
    match claim.class {
        JobClass::Hot => {
            let rows = sqlx::query_as!(
                Candidate,
                r#"WITH due AS MATERIALIZED (
                       SELECT j.org_id, j.link_id, j.kind, j.next_due_at FROM sync_job j
                       WHERE j.kind IN ('delta', 'look', 'clock') AND j.next_due_at <= $1
                         AND (j.lease_until IS NULL OR j.lease_until <= $1) AND j.troubled = $2
                         AND j.kind = ANY($5)
                         AND (j.kind = 'clock' OR (
                             SELECT count(*) FROM sync_job o
                             WHERE o.org_id = j.org_id AND o.link_id = j.link_id AND o.kind <> 'clock'
                               AND o.lease_until > $1) < $4)
                       ORDER BY j.next_due_at LIMIT $3 FOR UPDATE SKIP LOCKED
                   )
                   SELECT org_id, link_id, kind, next_due_at FROM due
                   WHERE kind = 'clock' OR pg_try_advisory_xact_lock(hashtextextended(link_id::text, 0))"#,
                claim.now,
                troubled,
                limit,
                claim.per_link,
                &kinds,
            )
            .fetch_all(tx.conn())
            .await?;
            Ok(rows)
        }
        JobClass::Long => {
            let rows = sqlx::query_as!(
                Candidate,
                r#"WITH due AS MATERIALIZED (
                       SELECT j.org_id, j.link_id, j.kind, j.next_due_at FROM sync_job j
                       WHERE j.kind IN ('sweep', 'enrich') AND j.next_due_at <= $1
                         AND (j.lease_until IS NULL OR j.lease_until <= $1) AND j.troubled = $2
                         AND j.kind = ANY($6)
                         AND (SELECT count(*) < $4 AND count(*) FILTER (WHERE o.kind IN ('sweep', 'enrich')) < $5
                              FROM sync_job o
                              WHERE o.org_id = j.org_id AND o.link_id = j.link_id AND o.kind <> 'clock'
                                AND o.lease_until > $1)
                       ORDER BY j.next_due_at LIMIT $3 FOR UPDATE SKIP LOCKED
                   )
                   SELECT org_id, link_id, kind, next_due_at FROM due
                   WHERE pg_try_advisory_xact_lock(hashtextextended(link_id::text, 0))"#,
                claim.now,
                troubled,
                limit,
                claim.per_link,
                long_max,
                &kinds,
            )
            .fetch_all(tx.conn())
            .await?;
            Ok(rows)
        }
    }
}

/// Takes those of the candidates for which their link still has room, now that nobody else can fill it.
async fn take(tx: &mut SystemTx, claim: &Claim<'_>, due: &[Candidate]) -> Result<Vec<ClaimedJob>> {
    let org: Vec<Uuid> = due.iter().map(|one| one.org_id).collect();
    let link: Vec<Uuid> = due.iter().map(|one| one.link_id).collect();
    let kind: Vec<String> = due.iter().map(|one| one.kind.clone()).collect();
    let due_at: Vec<OffsetDateTime> = due.iter().map(|one| one.next_due_at).collect();
    let rows = sqlx::query!(
        r#"WITH due AS (
               SELECT c.*, row_number() OVER (PARTITION BY org_id, link_id, kind = 'clock' ORDER BY due_at, kind) AS n
               FROM unnest($4::uuid[], $5::uuid[], $6::text[], $7::timestamptz[]) AS c (org_id, link_id, kind, due_at)
           ), room AS (
               SELECT due.*, held.counted, held.long FROM due CROSS JOIN LATERAL (
                   SELECT count(*) AS counted, count(*) FILTER (WHERE o.kind IN ('sweep', 'enrich')) AS long
                   FROM sync_job o
                   WHERE o.org_id = due.org_id AND o.link_id = due.link_id AND o.kind <> 'clock'
                     AND o.lease_until > $2
               ) held
           )
           UPDATE sync_job j
           SET lease_owner = $1, lease_until = $3, lease_epoch = j.lease_epoch + 1, next_due_at = $3, wake_at = NULL
           FROM room
           WHERE j.org_id = room.org_id AND j.link_id = room.link_id AND j.kind = room.kind
             AND (j.kind = 'clock' OR (room.counted + room.n <= $8
                  AND (j.kind NOT IN ('sweep', 'enrich') OR room.long + room.n <= $9)))
           RETURNING j.org_id, j.link_id, j.kind, j.lease_epoch, j.fails, j.cursor, j.seen, j.checked_at,
                     j.redecided_at, room.due_at AS "due_at!""#,
        claim.owner,
        claim.now,
        claim.until,
        &org,
        &link,
        &kind,
        &due_at,
        claim.per_link,
        (claim.per_link - 1).max(1),
    )
    .fetch_all(tx.conn())
    .await?;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in rows {
        let kind: JobKind = row.kind.parse().map_err(|e| StoreError::corrupt("sync_job.kind", e))?;
        let cursor: Option<Value> = row.cursor;
        jobs.push(ClaimedJob {
            lease: Lease { org: OrgId(row.org_id), link: LinkId(row.link_id), kind, epoch: row.lease_epoch },
            lease_until: claim.until,
            due_at: row.due_at,
            fails: u32::try_from(row.fails).unwrap_or(0),
            cursor,
            seen: row.seen,
            checked_at: row.checked_at,
            redecided_at: row.redecided_at,
        });
    }
    jobs.sort_by_key(|job| job.due_at);
    Ok(jobs)
}

/// Since when it has been due: of each kind, the longest due job that nobody holds. Kinds without one are left out.
pub async fn oldest_due(tx: &mut SystemTx, now: OffsetDateTime) -> Result<Vec<(JobKind, OffsetDateTime)>> {
    let mut oldest = Vec::new();
    for kind in JobKind::ALL {
        // Of the class' index the first row of the kind that is free; held ones are due at the end of their lease.
        let due = sqlx::query_scalar!(
            "SELECT next_due_at FROM sync_job
             WHERE kind = $1 AND next_due_at <= $2 AND (lease_until IS NULL OR lease_until <= $2)
             ORDER BY next_due_at LIMIT 1",
            kind.as_str(),
            now,
        )
        .fetch_optional(tx.conn())
        .await?;
        oldest.extend(due.map(|due| (kind, due)));
    }
    Ok(oldest)
}
