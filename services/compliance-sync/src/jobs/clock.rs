//! Acts at the moment when time alone changes an answer: grace ends, the whole link goes stale, or the record of a
//! device that is missing or was looked at since the link's last sweep. It asks Microsoft nothing, so it works while Microsoft is away.
//!
//! It is due at the next such moment. Whoever writes an earlier one wakes it in the same transaction
//! ([`store::jobs::wake`]); whatever was missed is caught up with, because it looks at all the time since it last did.

use std::time::Duration;

use store::clock::{self, Stretch};
use store::jobs::{self, ClaimedJob, Completion, GiveBack, LeaseError};
use store::{links, orgs};
use tokio_util::sync::CancellationToken;

use super::{failure, write};
use crate::{Context, breaker};

/// Devices that are read at once.
const DEVICES_AT_ONCE: i64 = 5000;
/// While no sweep vouches for the records, each look at the time walks over all of them: no more than one part in so
/// many of the time is spent on it.
const WALK_SHARE: i32 = 20;

/// Works on a claimed clock job, then gives it back.
pub(crate) async fn run(ctx: &Context, job: ClaimedJob, _shutdown: &CancellationToken) {
    match work(ctx, &job).await {
        Ok(()) => {}
        Err(LeaseError::Fenced) => tracing::info!("the job went to another worker, or the link is gone"),
        Err(error) => {
            tracing::warn!(%error, "what time changed could not be written");
            if let Err(error) = give_back(ctx, &job).await {
                // The lease runs out by itself.
                tracing::warn!(%error, "the job could not be given back");
            }
        }
    }
}

/// One transaction: count, hold where it is too much, say what changed, and come back at the next moment.
async fn work(ctx: &Context, job: &ClaimedJob) -> Result<(), LeaseError> {
    let now = ctx.clock.now();
    let mut tx = ctx.store.org(job.lease.org).await?;
    jobs::hold(&mut tx, &job.lease).await?;
    let link = links::get(&mut tx, job.lease.link).await?.ok_or(LeaseError::Fenced)?;
    let settings = orgs::get(&mut tx).await?.ok_or(LeaseError::Fenced)?.settings;
    let stale_after = time::Duration::seconds(settings.stale_after_seconds.into());
    let from = job.checked_at.unwrap_or(link.linked_at);
    let stretch = Stretch { from, to: now, stale_after, confirmed_at: link.confirmed_at };

    if clock::note_worse(&mut tx, link.id, stretch, settings.grace_is_compliant).await? > 0 {
        breaker::after_time(ctx, &mut tx, link.id, now).await?;
    }
    let mut after = None;
    let mut devices = 0;
    loop {
        let some = clock::changed(&mut tx, link.id, stretch, after, DEVICES_AT_ONCE).await?;
        let Some(last) = some.last() else { break };
        after = Some(last.id);
        devices += some.len();
        write::announce_touched(ctx, &mut tx, link.id, &some, now).await?;
    }
    // Up to the moment itself it was fresh (domain::compliance::assess).
    let went_stale = link.confirmed_at.map(|at| at + stale_after).is_some_and(|at| at >= from && at < now);
    if went_stale {
        let worse = clock::trusted(&mut tx, link.id, settings.grace_is_compliant, now).await?;
        breaker::after_stale(ctx, &mut tx, link.id, worse, now).await?;
        orgs::changed(&mut tx, &ctx.ids, now, true).await?;
        tracing::warn!(link = %link.id, worse, "the link's records went stale");
    }
    let suspicion = breaker::overdue(ctx, &mut tx, link.id, now).await?;
    let moment = clock::next_moment(&mut tx, link.id, stretch).await?;
    let mut latest = now + Duration::from_secs(ctx.config.clock_interval_seconds_max.into());
    let mut earliest = now;
    if stretch.link_is_stale() {
        // Nobody says when a device is looked at; its record lasts so long from then on.
        latest = latest.min(now + stale_after);
        earliest = now + (ctx.clock.now() - now).max(time::Duration::ZERO) * WALK_SHARE;
    }
    let next_due_at = [moment, suspicion].into_iter().flatten().fold(latest, Ord::min).max(earliest);
    let done = Completion { began_at: now, now, next_due_at, redecided: false, cursor: None };
    jobs::complete(&mut tx, &job.lease, &done).await?;
    tx.commit().await?;
    if devices > 0 || went_stale {
        tracing::info!(devices, went_stale, "time changed what devices are");
        ctx.outbox_filled(job.lease.org, link.id);
    }
    Ok(())
}

async fn give_back(ctx: &Context, job: &ClaimedJob) -> Result<(), LeaseError> {
    let now = ctx.clock.now();
    let wait = failure::jitter(failure::backoff(job.fails, &ctx.config), 20, ctx.random(now));
    let how = GiveBack {
        next_due_at: now + wait,
        not_before: None,
        failed: true,
        keep_cursor: false,
        checked_at: None,
    };
    let mut tx = ctx.store.org(job.lease.org).await?;
    jobs::give_back(&mut tx, &job.lease, &how).await?;
    Ok(tx.commit().await?)
}
