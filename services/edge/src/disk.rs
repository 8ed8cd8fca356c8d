//! A database on disk that comes back after an error of the disk.
//!
//! Once a read or a write has failed, redb takes nothing more until its file is opened anew, even where the disk has
//! room again by then. So the database is closed at that moment, and opened anew by whoever needs it next.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use redb::Database;

type Open = Box<dyn Fn() -> Result<Database, redb::Error> + Send + Sync>;

pub struct Disk {
    open: Open,
    /// `None`: closed, because the disk failed.
    database: RwLock<Option<Database>>,
}

/// An error of which it can be told whether the disk failed.
pub trait OfDisk: From<redb::Error> {
    /// The error of the database that is behind it, if one is.
    fn of_database(&self) -> Option<&redb::Error>;
}

impl OfDisk for redb::Error {
    fn of_database(&self) -> Option<&redb::Error> {
        Some(self)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens the database; `open` is also how it is opened anew.
    pub fn open(
        open: impl Fn() -> Result<Database, redb::Error> + Send + Sync + 'static,
    ) -> Result<Self, redb::Error> {
        let database = RwLock::new(Some(open()?));
        Ok(Self { open: Box::new(open), database })
    }

    /// Runs what needs the database; waits for the disk. What failed is not known to be undone: it may be there once
    /// the database is opened anew.
    pub fn run<T, E: OfDisk>(&self, work: impl FnOnce(&Database) -> Result<T, E>) -> Result<T, E> {
        self.open_anew()?;
        let done = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            // Somebody else may have closed it a moment ago.
            let Some(database) = database.as_ref() else { return Err(redb::Error::PreviousIo.into()) };
            work(database)
        };
        let of_database = done.as_ref().err().and_then(OfDisk::of_database);
        if let Some(redb::Error::Io(_) | redb::Error::PreviousIo) = of_database {
            // Waits for all others who use it.
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        done
    }

    fn open_anew(&self) -> Result<(), redb::Error> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            *database = Some((self.open)()?);
            tracing::warn!("a database was opened anew, after the disk had failed");
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod testing {
    //! A disk that can be full.

    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::backends::InMemoryBackend;
    use redb::{Builder, StorageBackend};

    use super::{Database, Disk};

    #[derive(Clone, Debug, Default)]
    pub struct Flaky {
        memory: Arc<InMemoryBackend>,
        pub full: Arc<AtomicBool>,
    }

    impl Flaky {
        pub fn disk(&self) -> Disk {
            let flaky = self.clone();
            Disk::open(move || flaky.database()).unwrap()
        }

        fn database(&self) -> Result<Database, redb::Error> {
            Ok(Builder::new().create_with_backend(self.clone())?)
        }

        fn room(&self) -> io::Result<()> {
            let full = self.full.load(Ordering::Relaxed);
            if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl StorageBackend for Flaky {
        fn len(&self) -> io::Result<u64> {
            self.memory.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.memory.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.room()?;
            self.memory.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.room()?;
            self.memory.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.room()?;
            self.memory.write(offset, data)
        }
    }
}
