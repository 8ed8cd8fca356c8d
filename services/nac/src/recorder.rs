//! Group commit: an answered decision is a recorded decision, and many share one transaction.
//!
//! All records of an organization go through one writer task. It takes whatever waits, writes it in one transaction
//! per organization, and by then others wait: under load the groups grow, without load nobody waits for anybody.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use cache::SpilledRecord;
use domain::OrgId;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::NacConfig;
use crate::record::{Batch, Recorded, Writer, org_of};

/// A record, and where to say whether it is kept.
struct Item {
    record: SpilledRecord,
    reply: oneshot::Sender<bool>,
}

/// The queue is full, or the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

pub struct Recorder {
    shards: Vec<mpsc::Sender<Item>>,
    closing: CancellationToken,
}

/// Starts the writers.
pub fn start(config: &NacConfig, writer: &Writer) -> (Recorder, Vec<JoinHandle<()>>) {
    let closing = CancellationToken::new();
    let mut shards = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..config.recorder_shards.max(1) {
        let (sender, receiver) = mpsc::channel(config.recorder_queue_max);
        shards.push(sender);
        tasks.push(tokio::spawn(shard(receiver, writer.clone(), config.recorder_batch_max, closing.clone())));
    }
    (Recorder { shards, closing }, tasks)
}

impl Recorder {
    /// Records, and says whether it is kept: `false` where neither PostgreSQL nor Redis would take it.
    pub async fn record(&self, record: SpilledRecord) -> Result<bool, Overloaded> {
        let mut hasher = DefaultHasher::new();
        org_of(&record).hash(&mut hasher);
        let shards = u64::try_from(self.shards.len()).unwrap_or(1);
        let shard = usize::try_from(hasher.finish() % shards).unwrap_or(0);
        let (reply, replied) = oneshot::channel();
        match self.shards[shard].try_send(Item { record, reply }) {
            Ok(()) => Ok(replied.await.unwrap_or(false)),
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => Err(Overloaded),
        }
    }

    /// Takes no more; what waits is still written.
    pub fn close(&self) {
        self.closing.cancel();
    }
}

async fn shard(
    mut queue: mpsc::Receiver<Item>,
    writer: Writer,
    batch_max: usize,
    closing: CancellationToken,
) {
    let mut items = Vec::with_capacity(batch_max);
    loop {
        let taken = tokio::select! {
            taken = queue.recv_many(&mut items, batch_max) => taken,
            () = closing.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        if taken == 0 {
            return;
        }
        let mut orgs: HashMap<OrgId, Group> = HashMap::new();
        for item in items.drain(..) {
            orgs.entry(org_of(&item.record)).or_default().add(item);
        }
        futures::future::join_all(orgs.into_iter().map(|(org, group)| group.write(org, &writer))).await;
    }
}

/// What one organization has waiting.
#[derive(Default)]
struct Group {
    batch: Batch,
    decisions: Vec<oneshot::Sender<bool>>,
    accounting: Vec<oneshot::Sender<bool>>,
}

impl Group {
    fn add(&mut self, Item { record, reply }: Item) {
        match record {
            SpilledRecord::Decision(_) => self.decisions.push(reply),
            SpilledRecord::Accounting(_) => self.accounting.push(reply),
        }
        self.batch.add(record);
    }

    async fn write(self, org: OrgId, writer: &Writer) {
        let replies = self.decisions.into_iter().chain(self.accounting);
        let kept = match writer.record(org, self.batch).await {
            Recorded::Kept => true,
            Recorded::Lost => false,
            Recorded::Refused(batch) if batch.len() > 1 => {
                // One of them is to blame, and the others shall not suffer for it.
                for (record, reply) in batch.records().zip(replies) {
                    let mut alone = Batch::default();
                    alone.add(record);
                    let kept = matches!(writer.record(org, alone).await, Recorded::Kept);
                    let _ = reply.send(kept);
                }
                return;
            }
            Recorded::Refused(_) => false,
        };
        for reply in replies {
            // Whoever asked may have hung up.
            let _ = reply.send(kept);
        }
    }
}
