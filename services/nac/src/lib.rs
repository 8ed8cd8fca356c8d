//! The NAC service: what edges call. Decisions, accounting, commands.
//!
//! A decision is gathered (memory, then Redis, then PostgreSQL), decided (`domain::policy::decide`, pure) and recorded
//! before its answer leaves. No call to Microsoft is ever made here.
//!
//! Invariants: a failing dependency becomes an explicit decision with its own reason, never a 500; an answer that is
//! not recorded says so; no lock is held across an await; every queue is bounded, and a full one answers 503 with
//! Retry-After; an edge sees nothing but its own organization's, and of commands nothing but its own. It must not
//! change devices, policies or links.

pub mod accounting;
pub mod authorize;
pub mod commands;

mod announce;
mod auth;
mod background;
mod bundle;
mod commands_stream;
mod config;
mod credentials;
mod events;
mod facts;
mod gate;
mod held;
mod limits;
mod looks;
mod metrics;
mod openapi;
mod radius;
mod reads;
mod record;
mod recorder;
mod refused;
mod remediation;
mod report;
mod seen;
mod spill;
mod story;
mod wakeups;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use cache::Cache;
use domain::time::{Ids, SharedClock};
use store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use config::NacConfig;
pub use remediation::RemediationPages;

/// What the service needs.
#[derive(Clone)]
pub struct NacDeps {
    pub store: Store,
    /// Connections of its own for what is recorded (`NacConfig::recorder_connections_max`): readers never keep an
    /// answer from being recorded.
    pub recorder: Store,
    pub cache: Cache,
    pub clock: SharedClock,
    pub ids: Ids,
}

/// The running service.
pub struct Nac {
    shared: Arc<Shared>,
    background: Mutex<Vec<JoinHandle<()>>>,
    writers: Mutex<Vec<JoinHandle<()>>>,
}

/// What handlers and background tasks share.
pub(crate) struct Shared {
    pub store: Store,
    pub cache: Cache,
    pub clock: SharedClock,
    pub ids: Ids,
    pub config: NacConfig,
    pub gate: Arc<gate::Gate>,
    pub credentials: credentials::Credentials,
    pub limits: limits::Limits,
    pub facts: facts::Facts,
    pub recorder: recorder::Recorder,
    pub wakeups: wakeups::Wakeups,
    pub announcer: Arc<announce::Announcer>,
    pub looks: Arc<looks::Looks>,
    pub pages: remediation::Pages,
    pub seen: seen::Seen,
    pub metrics: Arc<metrics::Metrics>,
    /// Long polls and streams.
    pub polls: Arc<tokio::sync::Semaphore>,
    /// Bundles that are being made.
    pub bundle_builds: tokio::sync::Semaphore,
    /// The process is asked to stop: long polls end.
    pub stop: CancellationToken,
}

impl Nac {
    /// Starts recorder, bus listener, spill drainer and housekeeping. Works with every store away. `stop` ends long
    /// polls and housekeeping; call [`Self::drain`] once the server has stopped.
    #[must_use]
    pub fn start(deps: NacDeps, config: NacConfig, stop: CancellationToken) -> Self {
        let NacDeps { store, recorder, cache, clock, ids } = deps;
        let metrics = Arc::new(metrics::Metrics::new());
        let gate = Arc::new(gate::Gate::default());
        let announcer = Arc::new(announce::Announcer::default());
        let looks = Arc::new(looks::Looks::default());
        let writer = record::Writer {
            store: recorder,
            cache: cache.clone(),
            gate: Arc::clone(&gate),
            announcer: Arc::clone(&announcer),
            looks: Arc::clone(&looks),
            unmatched_looks_max: config.unmatched_looks_max,
            metrics: Arc::clone(&metrics),
            write_timeout: config.store_write_timeout,
            clock: Arc::clone(&clock),
            ids: ids.clone(),
        };
        let (recorder, writers) = recorder::start(&config, &writer);
        let shared = Arc::new(Shared {
            limits: limits::Limits::new(&config),
            credentials: credentials::Credentials::new(&store, &cache, &gate, &config),
            facts: facts::Facts::new(&store, &cache, &gate, &metrics, &config),
            pages: remediation::Pages::new(config.remediation.clone(), Arc::clone(&clock)),
            store,
            cache,
            clock,
            ids,
            gate,
            recorder,
            wakeups: wakeups::Wakeups::default(),
            announcer,
            looks,
            seen: seen::Seen::default(),
            metrics,
            polls: Arc::new(tokio::sync::Semaphore::new(config.polls_max)),
            bundle_builds: tokio::sync::Semaphore::new(config.bundle_builds_max),
            stop,
            config,
        });
        let background = background::start(&shared, writer);
        Self { shared, background: Mutex::new(background), writers: Mutex::new(writers) }
    }

    /// The routes, with the layers that they need and no more.
    pub fn router(&self) -> Router {
        openapi::router(&self.shared)
    }

    /// Writes what is still waiting, and ends. Call it when the server has stopped: what is asked later is answered
    /// with a 503.
    pub async fn drain(&self) {
        self.shared.recorder.close();
        let take = |tasks: &Mutex<Vec<JoinHandle<()>>>| {
            std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner))
        };
        for writer in take(&self.writers) {
            let _ = writer.await;
        }
        self.shared.stop.cancel();
        for task in take(&self.background) {
            let _ = task.await;
        }
    }
}
