//! Brings what the edge tells to the cloud: at once where that answers, else through the spool, in order.
//!
//! What the cloud has, and the disk would not let go of, is remembered and not told again while the agent runs.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use domain::time::SharedClock;
use tokio_util::sync::CancellationToken;

use crate::batch::{self, Group};
use crate::cloud::{Cloud, Reply, Said};
use crate::config::Limits;
use crate::spool::{Record, Settled, Spool, SpoolError};

/// Records that are taken from the disk at once.
const BATCH: usize = 500;
/// Records whose delivery is noted on disk at once, at the latest: so many are told again after a crash.
const SETTLE_MAX: usize = 50;
/// Characters of a refusal that are logged.
const REASON_CHARS_MAX: usize = 500;
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
            return self.deliver_past(path, body).await;
        }
        self.keep(path, body).await?;
        Ok(Delivered::Spooled)
    }

    /// Delivers a body that needs no order, past all that waits, or keeps it.
    pub async fn deliver_past(&self, path: String, body: String) -> Result<Delivered, SpoolError> {
        let reply = self.cloud.ask(&path, Bytes::from(body.clone()), self.at_once).await;
        if let Reply::Said(said) = reply {
            return Ok(Delivered::Said(said));
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
        let mut settled = Settled::default();
        while !stop.is_cancelled() {
            let progress = tokio::select! {
                progress = self.drain(&mut settled) => progress,
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

    /// `true`: nothing waits any more; `false`: the cloud is away. `settled`: what is done, and not noted on disk yet.
    async fn drain(&self, settled: &mut Settled) -> Result<bool, SpoolError> {
        loop {
            self.settle(settled).await?;
            let records = self.spool.first(BATCH).await?;
            if records.is_empty() {
                return Ok(true);
            }
            let mut groups = VecDeque::from(batch::gather(records));
            while let Some(group) = groups.pop_front() {
                let posted = self.cloud.post(group.path(), Bytes::from(group.body()), TIMEOUT).await;
                match posted {
                    Reply::Said(said) if said.status.is_success() => taken(&group, &said, settled),
                    // Perhaps one of them is at fault, or they are too many for this cloud.
                    Reply::Said(said) => match group.halves() {
                        Ok([first, rest]) => {
                            groups.push_front(rest);
                            groups.push_front(first);
                        }
                        Err(group) => refused(&group, &said, settled),
                    },
                    // A new credential may be on its way.
                    Reply::Revoked(_) | Reply::Away => {
                        self.settle(settled).await?;
                        return Ok(false);
                    }
                }
                if settled.len() >= SETTLE_MAX {
                    self.settle(settled).await?;
                }
            }
        }
    }

    /// Notes on disk what is done.
    async fn settle(&self, settled: &mut Settled) -> Result<(), SpoolError> {
        if settled.len() > 0 {
            self.spool.settle(settled.clone()).await?;
            *settled = Settled::default();
        }
        Ok(())
    }
}

/// The cloud has taken a group, single events excepted.
fn taken(group: &Group, said: &Said, settled: &mut Settled) {
    let mut aside = BTreeSet::new();
    for refusal in group.refusals(&said.body) {
        let batch::Refusal { record, code, message } = refusal;
        tracing::error!(record, code, message, "the cloud refused an event: it is put aside");
        aside.insert(record);
    }
    settled.delivered.extend(group.numbers().filter(|number| !aside.contains(number)));
    settled.refused.extend(aside);
}

/// The cloud has refused a record for good.
fn refused(group: &Group, said: &Said, settled: &mut Settled) {
    let reason: String = String::from_utf8_lossy(&said.body).chars().take(REASON_CHARS_MAX).collect();
    for record in group.numbers() {
        let (path, status) = (group.path(), said.status);
        tracing::error!(record, path, %status, reason, "the cloud refused a record: it is put aside");
        settled.refused.push(record);
    }
}

#[cfg(test)]
mod tests;
