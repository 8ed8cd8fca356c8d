//! Brings what the edge tells to the cloud: at once where that answers, else through the spool, in order.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use domain::time::SharedClock;
use tokio_util::sync::CancellationToken;

use crate::cloud::{Cloud, Reply, Said};
use crate::config::Limits;
use crate::spool::{Record, Spool, SpoolError};

/// Records that are taken from the disk at once.
const BATCH: usize = 50;
/// How long the cloud may take to keep a record.
const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What became of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The cloud has it, or refused it for good, and said so.
    Said(Said),
    /// It is on disk.
    Spooled,
}

pub struct Courier {
    cloud: Arc<Cloud>,
    pub spool: Spool,
    clock: SharedClock,
    at_once: Duration,
    pause: Duration,
}

impl Courier {
    pub fn new(cloud: Arc<Cloud>, spool: Spool, clock: SharedClock, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            cloud,
            spool,
            clock,
            at_once: limits.answer_timeout(),
            pause: Duration::from_millis(limits.retry_milliseconds),
        })
    }

    /// Delivers a body, or keeps it. Nothing overtakes what waits already.
    pub async fn deliver(&self, path: String, body: String) -> Result<Delivered, SpoolError> {
        if self.spool.len().await? == 0 {
            let reply = self.cloud.ask(&path, Bytes::from(body.clone()), self.at_once).await;
            if let Reply::Said(said) = reply {
                return Ok(Delivered::Said(said));
            }
        }
        self.keep(path, body).await?;
        Ok(Delivered::Spooled)
    }

    /// Keeps a body, to be delivered behind all others.
    pub async fn keep(&self, path: String, body: String) -> Result<(), SpoolError> {
        self.spool.push(vec![Record { path, body, at: self.clock.now() }]).await
    }

    /// Delivers what waits, until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut pause = self.pause;
        while !stop.is_cancelled() {
            let progress = tokio::select! {
                progress = self.drain() => progress,
                () = stop.cancelled() => return,
            };
            match progress {
                Ok(true) => {
                    pause = self.pause;
                    tokio::select! {
                        () = self.spool.bell.notified() => {}
                        () = stop.cancelled() => return,
                    }
                    continue;
                }
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "the spool cannot be drained"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Somebody else was answered.
                () = self.cloud.back.notified() => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// `true`: nothing waits any more; `false`: the cloud is away.
    async fn drain(&self) -> Result<bool, SpoolError> {
        loop {
            let records = self.spool.first(BATCH).await?;
            if records.is_empty() {
                return Ok(true);
            }
            let mut done = Vec::with_capacity(records.len());
            let mut away = false;
            for (number, record) in records {
                match self.cloud.post(&record.path, Bytes::from(record.body), TIMEOUT).await {
                    Reply::Said(said) if said.status.is_success() => done.push(number),
                    Reply::Said(said) => {
                        tracing::error!(path = record.path, status = %said.status, "the cloud refused a record");
                        self.spool.remove(vec![number], true).await?;
                    }
                    // A new credential may be on its way.
                    Reply::Revoked(_) | Reply::Away => {
                        away = true;
                        break;
                    }
                }
            }
            self.spool.remove(done, false).await?;
            if away {
                return Ok(false);
            }
        }
    }
}
