//! Workers: a permit first, then a job; the lease is the time limit; at shutdown they reach the end of their page.

use std::sync::Arc;
use std::time::Duration;

use store::jobs::{self, ClaimedJob, JobKind};
use store::{Result, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::Context;
use crate::jobs::sweep;

/// Claims and works until `shutdown`, then waits for the jobs at hand.
pub(crate) async fn run(ctx: Arc<Context>, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(ctx.config.workers.into()));
    let tasks = TaskTracker::new();
    let poll = Duration::from_millis(ctx.config.worker_poll_millis.into());
    while let Some(free) = free_permits(&permits, &shutdown).await {
        let claimed = match claim(&ctx, free.len()).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "no jobs can be claimed");
                Vec::new()
            }
        };
        let idle = claimed.is_empty();
        for (job, permit) in claimed.into_iter().zip(free) {
            let (ctx, shutdown) = (Arc::clone(&ctx), shutdown.clone());
            tasks.spawn(async move {
                perform(&ctx, job, &shutdown).await;
                drop(permit);
            });
        }
        if idle {
            tokio::select! {
                () = tokio::time::sleep(poll) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }
    tasks.close();
    let drain = Duration::from_secs(ctx.config.drain_seconds.into());
    if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
        // Their leases run out by themselves, and others go on from their cursors.
        tracing::warn!(jobs = tasks.len(), "jobs did not reach the end of their page in time");
    }
}

/// Waits for one permit and takes whatever else is free. `None` at shutdown.
async fn free_permits(
    permits: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<Vec<OwnedSemaphorePermit>> {
    let first = tokio::select! {
        biased;
        () = shutdown.cancelled() => return None,
        permit = Arc::clone(permits).acquire_owned() => permit.ok()?,
    };
    let mut free = vec![first];
    while let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
        free.push(permit);
    }
    Some(free)
}

/// Claims up to `limit` due jobs.
pub(crate) async fn claim(ctx: &Context, limit: usize) -> Result<Vec<ClaimedJob>, StoreError> {
    let now = ctx.clock.now();
    let until = now + ctx.config.lease();
    let mut tx = ctx.store.system().await?;
    let limit = i64::try_from(limit.min(20)).unwrap_or(20);
    let claim = jobs::Claim {
        owner: &ctx.owner,
        class: jobs::JobClass::Long,
        now,
        until,
        limit,
        troubled_limit: limit,
        per_link: 2,
    };
    let jobs = jobs::claim(&mut tx, claim).await?;
    tx.commit().await?;
    Ok(jobs)
}

/// Works on a job. The lease bounds each step of it, so nothing here waits without end.
pub(crate) async fn perform(ctx: &Context, job: ClaimedJob, shutdown: &CancellationToken) {
    let lease = job.lease;
    let span = tracing::info_span!("sync", org = %lease.org, link = %lease.link, kind = lease.kind.as_str());
    match lease.kind {
        JobKind::Sweep => Box::pin(sweep::run(ctx, job, shutdown)).instrument(span).await,
        JobKind::Delta | JobKind::Look | JobKind::Enrich | JobKind::Clock => {}
    }
}
