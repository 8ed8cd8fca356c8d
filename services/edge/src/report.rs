//! Tells the cloud how the agent stands, so that an admin sees it beside the edge.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use domain::edge::{AgentReport, Channel, HeldBundle};
use domain::time::SharedClock;
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::bundle::Bundles;
use crate::cloud::{Cloud, Reply};
use crate::deliver::Courier;

const TIMEOUT: Duration = Duration::from_secs(10);
/// What changes within this is told together.
const GATHER: Duration = Duration::from_secs(1);
const NAME_CHARS_MAX: usize = 120;

/// What there is to tell, as the parts of the agent note it.
pub struct Reporter {
    cloud: Arc<Cloud>,
    courier: Arc<Courier>,
    bundles: Option<Arc<Bundles>>,
    clock: SharedClock,
    started_at: OffsetDateTime,
    nas: u64,
    channel: Mutex<Option<Channel>>,
    /// Who asks, by User-Agent.
    radius: RwLock<Option<String>>,
    offline: AtomicU64,
    offline_at: Mutex<Option<OffsetDateTime>>,
    /// Something changed that should be told soon.
    changed: Notify,
}

impl Reporter {
    pub fn new(
        cloud: Arc<Cloud>,
        courier: Arc<Courier>,
        bundles: Option<Arc<Bundles>>,
        clock: SharedClock,
        nas: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            started_at: clock.now(),
            cloud,
            courier,
            bundles,
            clock,
            nas: u64::try_from(nas).unwrap_or(u64::MAX),
            channel: Mutex::default(),
            radius: RwLock::default(),
            offline: AtomicU64::new(0),
            offline_at: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// How commands get here now; `None`: not at all.
    pub fn listens(&self, channel: Option<Channel>) {
        let mut now = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != channel {
            *now = channel;
            self.changed.notify_one();
        }
    }

    /// Who asks the agent.
    pub fn asked_by(&self, headers: &HeaderMap) {
        let Some(name) = headers.get(header::USER_AGENT).and_then(|name| name.to_str().ok()) else { return };
        let name = name.get(..NAME_CHARS_MAX).unwrap_or(name);
        if self.radius.read().unwrap_or_else(PoisonError::into_inner).as_deref() != Some(name) {
            *self.radius.write().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
        }
    }

    /// A decision was made without the cloud.
    pub fn decided_offline(&self, at: OffsetDateTime) {
        self.offline.fetch_add(1, Ordering::Relaxed);
        *self.offline_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    async fn report(&self) -> AgentReport {
        let spool = &self.courier.spool;
        let (waiting, refused) = (spool.len().await, spool.refused().await);
        let now = self.clock.now();
        AgentReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            channel: *self.channel.lock().unwrap_or_else(PoisonError::into_inner),
            radius: self.radius.read().unwrap_or_else(PoisonError::into_inner).clone(),
            waiting: waiting.unwrap_or_default(),
            refused: refused.unwrap_or_default(),
            bundle: self.bundles.as_ref().and_then(|bundles| bundles.ready()).map(|ready| HeldBundle {
                version: ready.manifest.version,
                issued_at: ready.manifest.issued_at,
                over: ready.bundle.is_over(now),
            }),
            nas: self.nas,
            decided_offline: self.offline.load(Ordering::Relaxed),
            decided_offline_at: *self.offline_at.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Tells it now. Lost where the cloud is away: the next one tells again.
    pub async fn tell(&self) {
        let report = self.report().await;
        let Ok(body) = serde_json::to_vec(&report) else { return };
        if let Reply::Said(said) = self.cloud.post(wire::report::PATH, Bytes::from(body), TIMEOUT).await
            && !said.status.is_success()
        {
            // An older cloud takes no reports.
            tracing::debug!(status = %said.status, "the cloud did not take the report");
        }
    }

    /// Tells it every `interval`, and soon after something changed.
    pub async fn run(&self, interval: Duration) {
        loop {
            tokio::time::sleep(GATHER).await;
            self.tell().await;
            let _ = tokio::time::timeout(interval, self.changed.notified()).await;
        }
    }
}
