//! Workers: a permit first, then a job; the lease is the time limit; at shutdown they reach the end of their page.
//!
//! The two classes of work have permits of their own and are claimed apart, so that neither a fleet of a million
//! devices nor tenants that do not answer keep anybody's hot devices waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use store::jobs::{self, ClaimedJob, JobClass, JobKind};
use store::{Result, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::Context;
use crate::jobs::{clock, delta, enrich, look, sweep};

/// Jobs that one claim takes at most.
const CLAIM_MAX: usize = 20;

/// Claims and works until `shutdown`, then waits for the jobs at hand.
pub(crate) async fn run(ctx: Arc<Context>, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    futures::future::join_all(
        JobClass::ALL.map(|class| claim_and_work(Arc::clone(&ctx), class, tasks.clone(), shutdown.clone())),
    )
    .await;
    tasks.close();
    let drain = Duration::from_secs(ctx.config.drain_seconds.into());
    if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
        // Their leases run out by themselves, and others go on from their cursors.
        tracing::warn!(jobs = tasks.len(), "jobs did not reach the end of their page in time");
    }
}

/// How many jobs of a class this process works on at once.
fn workers(ctx: &Context, class: JobClass) -> usize {
    match class {
        JobClass::Hot => ctx.config.hot_workers.into(),
        JobClass::Long => ctx.config.sweep_workers.into(),
    }
}

/// Of those, jobs whose last attempt failed.
pub(crate) fn troubled_max(ctx: &Context, class: JobClass) -> usize {
    (workers(ctx, class) * usize::from(ctx.config.troubled_percent) / 100).max(1)
}

async fn claim_and_work(ctx: Arc<Context>, class: JobClass, tasks: TaskTracker, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(workers(&ctx, class)));
    let troubled = Arc::new(AtomicUsize::new(0));
    let poll = Duration::from_millis(ctx.config.worker_poll_millis.into());
    while let Some(free) = free_permits(&permits, &shutdown).await {
        let room = troubled_max(&ctx, class).saturating_sub(troubled.load(Ordering::Relaxed));
        let wanted = Wanted { class, kinds: &[], limit: free.len(), troubled_limit: room };
        let claimed = match claim(&ctx, wanted).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "no jobs can be claimed");
                Vec::new()
            }
        };
        let idle = claimed.is_empty();
        for (job, permit) in claimed.into_iter().zip(free) {
            let (ctx, shutdown) = (Arc::clone(&ctx), shutdown.clone());
            let trouble = (job.fails > 0).then(|| Trouble::begin(Arc::clone(&troubled)));
            tasks.spawn(async move {
                perform(&ctx, job, &shutdown).await;
                drop((permit, trouble));
            });
        }
        if idle {
            tokio::select! {
                () = tokio::time::sleep(poll) => {}
                () = ctx.jobs_wake(class).notified() => {}
                () = shutdown.cancelled() => {}
            }
        }
    }
}

/// Counts a job at work whose last attempt failed.
struct Trouble(Arc<AtomicUsize>);

impl Trouble {
    fn begin(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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

/// What to claim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) class: JobClass,
    /// Empty: all of the class.
    pub(crate) kinds: &'a [JobKind],
    pub(crate) limit: usize,
    pub(crate) troubled_limit: usize,
}

/// Claims due jobs.
pub(crate) async fn claim(ctx: &Context, wanted: Wanted<'_>) -> Result<Vec<ClaimedJob>, StoreError> {
    let now = ctx.clock.now();
    let few = |n: usize| i64::try_from(n.min(CLAIM_MAX)).unwrap_or(i64::MAX);
    let claim = jobs::Claim {
        owner: &ctx.owner,
        class: wanted.class,
        now,
        until: now + ctx.config.lease(),
        limit: few(wanted.limit),
        troubled_limit: few(wanted.troubled_limit),
        per_link: ctx.config.tenant_concurrency.into(),
        kinds: wanted.kinds,
    };
    let mut tx = ctx.store.system().await?;
    let jobs = jobs::claim(&mut tx, claim).await?;
    tx.commit().await?;
    for job in &jobs {
        ctx.metrics.claimed(job.lease.kind, (now - job.due_at).as_seconds_f64().max(0.0));
    }
    Ok(jobs)
}

/// Works on a job. The lease bounds each step of it, so nothing here waits without end.
pub(crate) async fn perform(ctx: &Context, job: ClaimedJob, shutdown: &CancellationToken) {
    let lease = job.lease;
    let span = tracing::info_span!("sync", org = %lease.org, link = %lease.link, kind = lease.kind.as_str());
    let began_at = ctx.clock.now();
    let work = async {
        match lease.kind {
            JobKind::Sweep => Box::pin(sweep::run(ctx, job, shutdown)).await,
            JobKind::Delta => Box::pin(delta::run(ctx, job, shutdown)).await,
            JobKind::Look => Box::pin(look::run(ctx, job, shutdown)).await,
            JobKind::Enrich => Box::pin(enrich::run(ctx, job, shutdown)).await,
            JobKind::Clock => Box::pin(clock::run(ctx, job, shutdown)).await,
        }
    };
    work.instrument(span).await;
    ctx.metrics.worked(lease.kind, (ctx.clock.now() - began_at).as_seconds_f64().max(0.0));
}
