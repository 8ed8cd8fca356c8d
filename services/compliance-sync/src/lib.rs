//! Keeps PostgreSQL true to Intune, Redis true to PostgreSQL, and sessions true to both.
//!
//! * Workers claim due jobs by lease ([`store::jobs`]): sweeps of whole fleets, Entra ID's delta, looks at single
//!   devices, what lists leave out, and what time alone changes. Each step is one short transaction with its devices,
//!   transitions, cursor and outbox. Any number of processes share the work.
//! * Relays carry the outbox: Redis first, so that whoever authenticates again finds fresh facts, then planning.
//! * Planning decides the affected active sessions again from PostgreSQL alone, and sends a command only where the
//!   answer would differ.
//!
//! Invariants: no transaction is open across HTTP; a worker that lost its lease writes nothing; every effect of a
//! message can be repeated without harm; the diff ([`reconcile`]) and the choice of a command are pure. It answers
//! no requests, and must not be imported by whoever does.

mod breaker;
mod coa;
mod config;
mod housekeeping;
mod jobs;
mod metrics;
mod outbox;
pub mod reconcile;
mod warm;
mod worker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apps::{Apps, AppsError};
use cache::{BusMessage, Cache};
use domain::time::{Ids, SharedClock};
use domain::{LinkId, OrgId};
use store::jobs::{ClaimedJob, JobClass, JobKind};
use store::links::LinkRow;
use store::{Store, StoreError};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use config::{ConfigError, SyncConfig};

use coa::Policies;
use jobs::ask::Asking;
use jobs::stop::Stop;
use metrics::Metrics;

/// What the sync works with.
#[derive(Clone)]
pub struct SyncDeps {
    pub store: Store,
    pub cache: Cache,
    /// Who speaks for a link at Microsoft.
    pub apps: Apps,
    pub clock: SharedClock,
    pub ids: Ids,
}

/// What every part of a process shares.
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) cache: Cache,
    pub(crate) apps: Apps,
    pub(crate) clock: SharedClock,
    pub(crate) ids: Ids,
    pub(crate) config: SyncConfig,
    pub(crate) metrics: Metrics,
    pub(crate) policies: Policies,
    /// Names this process in leases, for people.
    pub(crate) owner: String,
    /// Something was put into the outbox by this process.
    pub(crate) outbox_wake: Notify,
    /// Work that somebody waits for was woken by this process.
    hot_wake: Notify,
    long_wake: Notify,
    /// The organization whose messages were claimed last.
    pub(crate) turn: Mutex<Option<OrgId>>,
}

impl Context {
    fn new(deps: SyncDeps, config: SyncConfig) -> Self {
        let SyncDeps { store, cache, apps, clock, ids } = deps;
        let owner = format!("{}-{}", std::process::id(), ids.uuid(clock.now()).simple());
        Self {
            store,
            cache,
            apps,
            clock,
            ids,
            config,
            metrics: Metrics::new(),
            policies: Policies::default(),
            owner,
            outbox_wake: Notify::new(),
            hot_wake: Notify::new(),
            long_wake: Notify::new(),
            turn: Mutex::new(None),
        }
    }

    /// Any number, to spread work by.
    pub(crate) fn random(&self, now: OffsetDateTime) -> u64 {
        self.ids.uuid(now).as_u64_pair().1
    }

    /// What workers of a class wait for where nothing is due.
    pub(crate) const fn jobs_wake(&self, class: JobClass) -> &Notify {
        match class {
            JobClass::Hot => &self.hot_wake,
            JobClass::Long => &self.long_wake,
        }
    }

    /// Who asks Microsoft for a job of the link: as the app and in the cloud that the link was made with.
    pub(crate) async fn asking<'a>(
        &'a self,
        job: &ClaimedJob,
        link: &LinkRow,
        shutdown: &'a CancellationToken,
    ) -> Result<Asking<'a>, Stop> {
        match self.apps.for_link(job.lease.org, link).await {
            Ok(microsoft) => Ok(Asking::new(self, job, &microsoft, link.tid, shutdown)),
            Err(AppsError::Store(error)) => Err(error.into()),
            Err(error) => Err(error.as_graph_error()?.into()),
        }
    }

    /// This process woke a job: whoever waits for one looks at once.
    pub(crate) fn work_woken(&self) {
        self.hot_wake.notify_one();
        self.long_wake.notify_one();
    }

    /// Wakes a relay, and tells the pages that watch the link.
    pub(crate) fn outbox_filled(&self, org: OrgId, link: LinkId) {
        self.outbox_wake.notify_one();
        let cache = self.cache.clone();
        // Nobody waits for this: pages also look by themselves.
        tokio::spawn(async move {
            let _ = cache.publish(&BusMessage::SyncProgress { org, link }).await;
        });
    }
}

/// Runs workers, relays and housekeeping until `shutdown`, then lets the jobs at hand reach the end of their page.
///
/// # Errors
/// Where the configuration does not hold together.
pub async fn run(deps: SyncDeps, config: SyncConfig, shutdown: CancellationToken) -> Result<(), ConfigError> {
    config.check()?;
    let ctx = Arc::new(Context::new(deps, config));
    let relays =
        (0..ctx.config.relays).map(|_| tokio::spawn(outbox::run(Arc::clone(&ctx), shutdown.clone())));
    let relays: Vec<_> = relays.collect();
    let housekeeping = tokio::spawn(housekeeping::run(Arc::clone(&ctx), shutdown.clone()));
    let warm = tokio::spawn(warm::run(Arc::clone(&ctx), shutdown.clone()));
    worker::run(ctx, shutdown).await;
    for task in relays.into_iter().chain([housekeeping, warm]) {
        if let Err(error) = task.await {
            tracing::error!(%error, "a task of the sync was lost");
        }
    }
    Ok(())
}

/// The same work one step at a time, for those who want to see each: tests, and tools.
#[derive(Clone)]
pub struct Stepper(Arc<Context>);

impl Stepper {
    #[must_use]
    pub fn new(deps: SyncDeps, config: SyncConfig) -> Self {
        Self(Arc::new(Context::new(deps, config)))
    }

    /// Claims the due sweeps and works on them, one after the other. Returns how many there were.
    ///
    /// # Errors
    /// Where no jobs can be claimed.
    pub async fn sweep_due(&self) -> Result<usize, StoreError> {
        self.work_due(&[JobKind::Sweep]).await
    }

    /// The same for these kinds of work.
    ///
    /// # Errors
    /// Where no jobs can be claimed.
    pub async fn work_due(&self, kinds: &[JobKind]) -> Result<usize, StoreError> {
        let mut count = 0;
        for class in JobClass::ALL {
            let kinds: Vec<JobKind> = kinds.iter().copied().filter(|kind| kind.class() == class).collect();
            if kinds.is_empty() {
                continue;
            }
            let wanted = worker::Wanted { class, kinds: &kinds, limit: 20, troubled_limit: 20 };
            let jobs = worker::claim(&self.0, wanted).await?;
            count += jobs.len();
            for job in jobs {
                worker::perform(&self.0, job, &CancellationToken::new()).await;
            }
        }
        Ok(count)
    }

    /// Carries the messages that wait, once. Returns how many there were.
    ///
    /// # Errors
    /// Where no messages can be claimed.
    pub async fn relay_due(&self) -> Result<usize, StoreError> {
        outbox::relay(&self.0).await
    }

    /// Carries messages until none is due.
    ///
    /// # Errors
    /// Where no messages can be claimed.
    pub async fn relay_all(&self) -> Result<usize, StoreError> {
        let mut count = 0;
        loop {
            match self.relay_due().await? {
                0 => return Ok(count),
                more => count += more,
            }
        }
    }

    /// Fills Redis where it is empty. False where it is not, or somebody else is at it.
    ///
    /// # Errors
    /// In words, where PostgreSQL or Redis is away.
    pub async fn warm(&self) -> Result<bool, String> {
        let filled = warm::once(&self.0, &CancellationToken::new()).await;
        filled.map(|orgs| orgs.is_some()).map_err(|error| error.to_string())
    }

    /// Housekeeping, once.
    pub async fn housekeep(&self) {
        housekeeping::once(&self.0).await;
    }
}

/// Sleeps, unless `shutdown` comes first.
pub(crate) async fn pause(time: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = shutdown.cancelled() => {}
    }
}
