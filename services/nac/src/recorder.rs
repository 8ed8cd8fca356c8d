//! Group commit: an answered decision is a recorded decision, and many share one transaction.
//!
//! Records wait by organization. A writer takes all that the organization whose turn it is has waiting, writes it in
//! one transaction, and by then others wait: under load the groups grow, without load nobody waits for anybody. An
//! organization is with one writer at a time, so that its records keep their order. There is a writer for each
//! connection of the recorder's pool, so that a transaction that is held up holds up nobody else's records.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache::SpilledRecord;
use domain::OrgId;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::NacConfig;
use crate::record::{Batch, Fate, Recorded, Writer, org_of};

/// A record, and where to say whether it is kept.
struct Item {
    record: SpilledRecord,
    reply: oneshot::Sender<Fate>,
}

/// The queue is full, or the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

pub struct Recorder(Arc<Queue>);

/// Starts the writers.
pub fn start(config: &NacConfig, writer: &Writer) -> (Recorder, Vec<JoinHandle<()>>) {
    let queue = Arc::new(Queue::new(config));
    let writers = 0..config.recorder_connections_max.max(1);
    let tasks = writers.map(|_| tokio::spawn(Arc::clone(&queue).write_all(writer.clone()))).collect();
    (Recorder(queue), tasks)
}

impl Recorder {
    /// Records, and says what became of it.
    pub async fn record(&self, record: SpilledRecord) -> Result<Fate, Overloaded> {
        let (reply, replied) = oneshot::channel();
        self.0.add(Item { record, reply })?;
        Ok(replied.await.unwrap_or(Fate::Lost))
    }

    /// Takes no more; what waits is still written.
    pub fn close(&self) {
        self.0.state().closed = true;
        self.0.turns.close();
    }
}

/// What waits to be written.
struct Queue {
    state: Mutex<State>,
    /// One for each organization whose turn it is.
    turns: Semaphore,
    /// Records in one group commit.
    batch_max: usize,
    /// Records of one organization that wait …
    organization_max: usize,
    /// … and of all of them.
    max: usize,
}

#[derive(Default)]
struct State {
    waiting: HashMap<OrgId, Waiting>,
    /// Organizations that have records waiting and no writer, the longest waiting first.
    turn: VecDeque<OrgId>,
    records: usize,
    closed: bool,
}

/// The records of an organization. It is gone once nothing waits and nobody writes.
#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// A writer has it.
    taken: bool,
}

impl Queue {
    fn new(config: &NacConfig) -> Self {
        let writers = usize::try_from(config.recorder_connections_max.max(1)).unwrap_or(1);
        Self {
            state: Mutex::default(),
            turns: Semaphore::new(0),
            batch_max: config.recorder_batch_max,
            organization_max: config.recorder_queue_max,
            max: config.recorder_queue_max.saturating_mul(writers),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, item: Item) -> Result<(), Overloaded> {
        let org = org_of(&item.record);
        let mut state = self.state();
        if state.closed || state.records >= self.max {
            return Err(Overloaded);
        }
        let waiting = state.waiting.entry(org).or_default();
        if waiting.items.len() >= self.organization_max {
            return Err(Overloaded);
        }
        waiting.items.push_back(item);
        let is_first = waiting.items.len() == 1 && !waiting.taken;
        state.records += 1;
        if is_first {
            state.turn.push_back(org);
            self.turns.add_permits(1);
        }
        Ok(())
    }

    /// The organization whose turn it is, with what it has waiting; `None` once nothing more will come.
    async fn take(&self) -> Option<(OrgId, Group)> {
        // Closed: what waits is still written.
        if let Ok(turn) = self.turns.acquire().await {
            turn.forget();
        }
        let mut state = self.state();
        let org = state.turn.pop_front()?;
        let waiting = state.waiting.get_mut(&org)?;
        waiting.taken = true;
        let count = waiting.items.len().min(self.batch_max);
        let mut group = Group::default();
        waiting.items.drain(..count).for_each(|item| group.add(item));
        state.records -= count;
        Some((org, group))
    }

    /// Its records are written; what came meanwhile is at the end of the line.
    fn give_back(&self, org: OrgId) {
        let mut state = self.state();
        let Entry::Occupied(mut waiting) = state.waiting.entry(org) else { return };
        if waiting.get().items.is_empty() {
            waiting.remove();
            return;
        }
        waiting.get_mut().taken = false;
        state.turn.push_back(org);
        self.turns.add_permits(1);
    }

    async fn write_all(self: Arc<Self>, writer: Writer) {
        while let Some((org, group)) = self.take().await {
            let _taken = Taken { queue: &self, org };
            group.write(org, &writer).await;
        }
    }
}

/// An organization that a writer has, until this is dropped: also where writing panics, others go on with it.
struct Taken<'a> {
    queue: &'a Queue,
    org: OrgId,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.queue.give_back(self.org);
    }
}

/// What one organization has waiting.
#[derive(Default)]
struct Group {
    batch: Batch,
    decisions: Vec<oneshot::Sender<Fate>>,
    accounting: Vec<oneshot::Sender<Fate>>,
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
        let fate = match writer.record(org, self.batch).await {
            Recorded::Kept => Fate::Kept,
            Recorded::Lost => Fate::Lost,
            Recorded::Refused(batch) if batch.len() > 1 => {
                // One of them is to blame, and the others shall not suffer for it.
                for (record, reply) in batch.records().zip(replies) {
                    let mut alone = Batch::default();
                    alone.add(record);
                    let fate = match writer.record(org, alone).await {
                        Recorded::Kept => Fate::Kept,
                        Recorded::Lost => Fate::Lost,
                        Recorded::Refused(_) => Fate::Refused,
                    };
                    let _ = reply.send(fate);
                }
                return;
            }
            Recorded::Refused(_) => Fate::Refused,
        };
        for reply in replies {
            // Whoever asked may have hung up.
            let _ = reply.send(fate);
        }
    }
}
