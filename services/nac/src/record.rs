//! Writes records: to PostgreSQL in one transaction per organization; while that is away, to the spill stream.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, SpilledRecord};
use domain::OrgId;
use domain::event::{DecisionRecord, Event};
use domain::outbox::OutboxMessage;
use domain::resolver::LookupKey;
use domain::session::Accounting;
use domain::time::{Ids, SharedClock};
use store::{Store, events, outbox};

use crate::announce::Announcer;
use crate::gate::{Gate, GateError};
use crate::looks::{self, Looks};
use crate::metrics::Metrics;
use crate::story;

/// The records of one organization, by kind, each in their order.
#[derive(Debug, Default)]
pub struct Batch {
    decisions: Vec<DecisionRecord>,
    accounting: Vec<Accounting>,
    /// It comes from the spill stream: whatever changed since was planned without it.
    late: bool,
}

impl Batch {
    /// A batch that comes from the spill stream.
    pub fn late() -> Self {
        Self { late: true, ..Self::default() }
    }

    pub fn add(&mut self, record: SpilledRecord) {
        match record {
            SpilledRecord::Decision(record) => self.decisions.push(*record),
            SpilledRecord::Accounting(message) => self.accounting.push(*message),
        }
    }

    pub fn len(&self) -> usize {
        self.decisions.len() + self.accounting.len()
    }

    /// Each record alone: decisions first, then accounting.
    pub fn records(self) -> impl Iterator<Item = SpilledRecord> {
        let decisions = self.decisions.into_iter().map(|record| SpilledRecord::Decision(Box::new(record)));
        let accounting =
            self.accounting.into_iter().map(|message| SpilledRecord::Accounting(Box::new(message)));
        decisions.chain(accounting)
    }
}

/// The organization of a record.
pub fn org_of(record: &SpilledRecord) -> OrgId {
    match record {
        SpilledRecord::Decision(record) => record.org,
        SpilledRecord::Accounting(message) => message.org,
    }
}

/// Why a batch was not written.
#[derive(Debug)]
pub enum NotWritten {
    /// PostgreSQL is away.
    Away,
    /// It would not do it, for no fault of the records: its schema is another, a grant is missing.
    Failed(String),
    /// It will not take this batch as it is.
    Refused(String),
}

#[derive(Clone)]
pub struct Writer {
    pub store: Store,
    pub cache: Cache,
    pub gate: Arc<Gate>,
    pub announcer: Arc<Announcer>,
    pub looks: Arc<Looks>,
    pub unmatched_looks_max: u32,
    pub metrics: Arc<Metrics>,
    pub write_timeout: Duration,
    pub clock: SharedClock,
    pub ids: Ids,
}

impl Writer {
    /// Writes a batch in one transaction. Writing it again does no harm.
    pub async fn write(&self, org: OrgId, batch: &Batch) -> Result<(), NotWritten> {
        let unmatched = looks::unmatched(&batch.decisions);
        let mut worth_a_look = looks::distrusted(&batch.decisions);
        let write = async {
            let mut tx = self.store.org(org).await?;
            let mut wished = 0;
            if !batch.decisions.is_empty() {
                events::record_batch(&mut tx, &batch.decisions).await?;
                let story: Vec<Event> = batch.decisions.iter().flat_map(story::of).collect();
                events::append_all(&mut tx, &story).await?;
                let (now, max) = (self.clock.now(), self.unmatched_looks_max);
                wished = store::looks::wish_unmatched(&mut tx, &unmatched, now, max).await?;
                // What was decided long ago, or elsewhere, was planned without.
                let late = batch.decisions.iter().filter(|decision| batch.late || decision.offline);
                let keys: BTreeSet<&LookupKey> = late.flat_map(|decision| &decision.keys).collect();
                if !keys.is_empty() {
                    let keys = keys.into_iter().cloned().collect();
                    let message = OutboxMessage::DecisionsRecordedLate { keys };
                    outbox::enqueue(&mut tx, &self.ids, self.clock.now(), &message).await?;
                }
            }
            if !batch.accounting.is_empty() {
                events::apply_accounting_batch(&mut tx, &batch.accounting).await?;
            }
            tx.commit().await?;
            Ok(wished)
        };
        match self.gate.ask(self.write_timeout, write).await {
            Ok(wished) => {
                self.announcer.events(org);
                worth_a_look |= wished > 0;
                if worth_a_look {
                    self.looks.are_due(org);
                }
                Ok(())
            }
            Err(GateError::Away) => Err(NotWritten::Away),
            Err(GateError::Failed(error)) if error.blames_data() => {
                Err(NotWritten::Refused(error.to_string()))
            }
            Err(GateError::Failed(error)) => Err(NotWritten::Failed(error.to_string())),
        }
    }

    /// Writes a batch, or spills it.
    pub async fn record(&self, org: OrgId, batch: Batch) -> Recorded {
        let records = batch.len();
        self.metrics.batch(records);
        match self.write(org, &batch).await {
            Ok(()) => {
                self.metrics.records("written", records);
                return Recorded::Kept;
            }
            Err(NotWritten::Away) => {}
            Err(NotWritten::Failed(why)) if records == 1 => {
                tracing::error!(%org, why, "a record could not be written; it is spilled");
            }
            Err(NotWritten::Failed(why) | NotWritten::Refused(why)) => {
                tracing::error!(%org, records, why, "PostgreSQL refused records");
                return Recorded::Refused(batch);
            }
        }
        let spilled: Vec<SpilledRecord> = batch.records().collect();
        match self.cache.spill_push(&spilled).await {
            Ok(()) => {
                self.metrics.records("spilled", records);
                Recorded::Kept
            }
            Err(error) => {
                tracing::warn!(%org, records, %error, "records could be kept nowhere");
                self.metrics.records("lost", records);
                Recorded::Lost
            }
        }
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in PostgreSQL, or on its way there.
    Kept,
    /// Neither PostgreSQL nor Redis would take it now: it is to be told again.
    Lost,
    /// PostgreSQL takes it in no case: it is not to be told again.
    Refused,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Recorded {
    /// It is in PostgreSQL, or on its way there.
    Kept,
    /// Neither PostgreSQL nor Redis could be reached.
    Lost,
    /// PostgreSQL takes it in no case, or not together.
    Refused(Batch),
}
