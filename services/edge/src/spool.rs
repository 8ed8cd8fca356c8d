//! What waits for the cloud, on disk.
//!
//! A record is kept once [`Spool::push`] has returned: it is on disk then (redb commits with fsync), and is there
//! after a `kill -9` or a power cut. Records leave in the order in which they came, each once it was delivered; one
//! that was delivered as the agent died is delivered again, and the cloud knows it by its id.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::config::Limits;
use crate::disk::{Disk, OfDisk};

const WAITING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("waiting");
/// What the cloud refused for good, for people to look at.
const REFUSED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("refused");
/// `next`: the number of the next record; `bytes`: the size of those that wait.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Refused records that are kept.
const REFUSED_MAX: u64 = 1_000;

/// A body that is to be posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Below the cloud's URL, as in `/v1/nac/accounting`.
    pub path: String,
    /// JSON, as it came.
    pub body: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// Numbers of records that wait no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    pub delivered: Vec<u64>,
    /// The cloud refused them for good.
    pub refused: Vec<u64>,
}

impl Settled {
    pub fn len(&self) -> usize {
        self.delivered.len() + self.refused.len()
    }
}

/// Why a record is not kept.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("as much waits for the cloud as may wait")]
    Full,
    #[error("the spool cannot be used: {0}")]
    Disk(#[from] redb::Error),
    #[error("the spool cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("the spool's thread is lost")]
    Lost,
}

macro_rules! from_redb {
    ($($error:ident),+) => { $(impl From<redb::$error> for SpoolError {
        fn from(error: redb::$error) -> Self {
            Self::Disk(error.into())
        }
    })+ };
}
from_redb!(TransactionError, TableError, StorageError, CommitError);

impl OfDisk for SpoolError {
    fn of_database(&self) -> Option<&redb::Error> {
        if let Self::Disk(error) = self { Some(error) } else { None }
    }
}

#[derive(Clone, Debug)]
pub struct Spool {
    disk: Arc<Disk>,
    records_max: u64,
    bytes_max: u64,
    /// Rings when a record came.
    pub bell: Arc<Notify>,
}

impl Spool {
    /// Opens the spool, or makes one.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, SpoolError> {
        let path = path.to_owned();
        Self::on(Disk::open(move || Ok(Database::create(&path)?))?, limits)
    }

    pub(crate) fn on(disk: Disk, limits: &Limits) -> Result<Self, SpoolError> {
        disk.run(|database| {
            let write = database.begin_write()?;
            write.open_table(WAITING)?;
            write.open_table(REFUSED)?;
            write.open_table(NUMBERS)?;
            write.commit()?;
            Ok::<_, SpoolError>(())
        })?;
        Ok(Self {
            disk: Arc::new(disk),
            records_max: limits.spool_records_max,
            bytes_max: limits.spool_bytes_max,
            bell: Arc::default(),
        })
    }

    /// Keeps records behind all others: all of them, or none.
    pub async fn push(&self, records: Vec<Record>) -> Result<(), SpoolError> {
        let spool = self.clone();
        self.blocking(move |database| {
            spool.push_now(database, &records)?;
            // Rung here, since whoever waits for this may have gone by now: its record is on disk all the same.
            spool.bell.notify_one();
            Ok(())
        })
        .await
    }

    fn push_now(&self, database: &Database, records: &[Record]) -> Result<(), SpoolError> {
        let write = database.begin_write()?;
        {
            let mut waiting = write.open_table(WAITING)?;
            let mut numbers = write.open_table(NUMBERS)?;
            let mut next = read(&numbers, "next")?;
            let mut bytes = read(&numbers, "bytes")?;
            for record in records {
                let text = serde_json::to_vec(record)?;
                bytes += size(&text);
                if waiting.len()? >= self.records_max || bytes > self.bytes_max {
                    // Dropped without a commit, nothing is written.
                    return Err(SpoolError::Full);
                }
                waiting.insert(next, text.as_slice())?;
                next += 1;
            }
            numbers.insert("next", next)?;
            numbers.insert("bytes", bytes)?;
        }
        write.commit()?;
        Ok(())
    }

    /// The first records, with their numbers.
    pub async fn first(&self, count: usize) -> Result<Vec<(u64, Record)>, SpoolError> {
        self.blocking(move |database| {
            let table = database.begin_read()?.open_table(WAITING)?;
            let mut records = Vec::new();
            for entry in table.iter()?.take(count) {
                let (number, text) = entry?;
                records.push((number.value(), serde_json::from_slice(text.value())?));
            }
            Ok(records)
        })
        .await
    }

    /// Forgets records that were delivered, and puts those aside that never will be.
    pub async fn settle(&self, settled: Settled) -> Result<(), SpoolError> {
        self.blocking(move |database| settle(database, &settled)).await
    }

    /// How many records wait.
    pub async fn len(&self) -> Result<u64, SpoolError> {
        self.blocking(|database| Ok(database.begin_read()?.open_table(WAITING)?.len()?)).await
    }

    /// How many records were refused and are still kept.
    pub async fn refused(&self) -> Result<u64, SpoolError> {
        self.blocking(|database| Ok(database.begin_read()?.open_table(REFUSED)?.len()?)).await
    }

    /// redb waits for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Database) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let disk = Arc::clone(&self.disk);
        tokio::task::spawn_blocking(move || disk.run(run)).await.map_err(|_| SpoolError::Lost)?
    }
}

fn settle(database: &Database, Settled { delivered, refused }: &Settled) -> Result<(), SpoolError> {
    let write = database.begin_write()?;
    {
        let mut waiting = write.open_table(WAITING)?;
        let mut numbers = write.open_table(NUMBERS)?;
        let mut aside = write.open_table(REFUSED)?;
        let mut bytes = read(&numbers, "bytes")?;
        for number in delivered {
            let Some(text) = waiting.remove(number)? else { continue };
            bytes = bytes.saturating_sub(size(text.value()));
        }
        for number in refused {
            let Some(text) = waiting.remove(number)? else { continue };
            bytes = bytes.saturating_sub(size(text.value()));
            aside.insert(number, text.value())?;
        }
        while aside.len()? > REFUSED_MAX {
            aside.pop_first()?;
        }
        numbers.insert("bytes", bytes)?;
    }
    write.commit()?;
    Ok(())
}

fn read(numbers: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, SpoolError> {
    Ok(numbers.get(name)?.map_or(0, |number| number.value()))
}

fn size(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use time::macros::datetime;

    use super::*;
    use crate::disk::testing::Flaky;

    fn record(n: usize) -> Record {
        Record {
            path: "/v1/nac/accounting".to_owned(),
            body: format!("{{\"n\":{n}}}"),
            at: datetime!(2026-11-20 12:00 UTC),
        }
    }

    fn delivered(number: u64) -> Settled {
        Settled { delivered: vec![number], ..Settled::default() }
    }

    fn limits() -> Limits {
        Limits { spool_records_max: 5, ..Limits::default() }
    }

    #[tokio::test]
    async fn records_leave_in_order_and_survive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool.redb");
        let spool = Spool::open(&path, &limits()).unwrap();
        for n in 0..3 {
            spool.push(vec![record(n)]).await.unwrap();
        }
        let first = spool.first(2).await.unwrap();
        assert_eq!(first.iter().map(|(_, r)| r.clone()).collect::<Vec<_>>(), [record(0), record(1)]);
        let settled = Settled { delivered: vec![first[0].0], refused: vec![first[1].0] };
        spool.settle(settled).await.unwrap();
        drop(spool);
        let spool = Spool::open(&path, &limits()).unwrap();
        spool.push(vec![record(3)]).await.unwrap();
        let left: Vec<Record> = spool.first(9).await.unwrap().into_iter().map(|(_, r)| r).collect();
        assert_eq!(left, [record(2), record(3)]);
        assert_eq!((spool.len().await.unwrap(), spool.refused().await.unwrap()), (2, 1));
    }

    #[tokio::test]
    async fn the_bell_rings_for_a_record_whose_sender_has_gone() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&directory.path().join("spool.redb"), &limits()).unwrap();
        let mut push = Box::pin(spool.push(vec![record(0)]));
        assert!(futures::poll!(&mut push).is_pending(), "begun");
        drop(push);
        tokio::time::timeout(std::time::Duration::from_secs(20), spool.bell.notified()).await.unwrap();
        assert_eq!(spool.len().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn once_a_full_disk_has_room_again_it_goes_on() {
        let flaky = Flaky::default();
        let spool = Spool::on(flaky.disk(), &limits()).unwrap();
        spool.push(vec![record(0)]).await.unwrap();
        spool.push(vec![record(1)]).await.unwrap();
        flaky.full.store(true, Ordering::Relaxed);
        let long = Record { body: "x".repeat(1 << 20), ..record(9) };
        for _ in 0..3 {
            assert!(matches!(spool.push(vec![long.clone()]).await, Err(SpoolError::Disk(_))));
        }
        assert!(matches!(spool.settle(delivered(0)).await, Err(SpoolError::Disk(_))));
        flaky.full.store(false, Ordering::Relaxed);
        spool.settle(delivered(0)).await.unwrap();
        spool.push(vec![record(2)]).await.unwrap();
        let left: Vec<Record> = spool.first(9).await.unwrap().into_iter().map(|(_, r)| r).collect();
        assert_eq!(left, [record(1), record(2)]);
    }

    #[tokio::test]
    async fn it_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&directory.path().join("records"), &limits()).unwrap();
        for n in 0..5 {
            spool.push(vec![record(n)]).await.unwrap();
        }
        assert!(matches!(spool.push(vec![record(5)]).await, Err(SpoolError::Full)));
        let first = spool.first(1).await.unwrap()[0].0;
        spool.settle(delivered(first)).await.unwrap();
        assert!(matches!(spool.push(vec![record(5), record(6)]).await, Err(SpoolError::Full)));
        spool.push(vec![record(7)]).await.unwrap();
        let last = spool.first(9).await.unwrap().pop().unwrap();
        assert_eq!(last.1, record(7), "of two that do not fit together, none is kept");

        let by_bytes = Limits { spool_bytes_max: 300, ..Limits::default() };
        let spool = Spool::open(&directory.path().join("bytes"), &by_bytes).unwrap();
        let long = Record { body: "x".repeat(100), ..record(0) };
        spool.push(vec![long.clone()]).await.unwrap();
        assert!(matches!(spool.push(vec![long.clone()]).await, Err(SpoolError::Full)));
        spool.settle(delivered(0)).await.unwrap();
        spool.push(vec![long]).await.unwrap();
    }
}
