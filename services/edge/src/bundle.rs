//! The bundle at hand: fetched, verified, kept on disk, and decided from while the cloud is away.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::bundle::Bundle;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use tokio::sync::Mutex;
use wire::bundle::{FactTexts, Held, Manifest, Refused, SignedBundle, Trust};

use crate::cloud::{Cloud, Reply};
use crate::disk::Disk;

const FACTS: TableDefinition<'_, &str, &str> = TableDefinition::new("facts");
const SIGNED: TableDefinition<'_, &str, &str> = TableDefinition::new("signed");
/// A bundle may be large, and the line slow.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the bundle could not be renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error("the cloud does not answer")]
    Away,
    #[error("the cloud signs no bundles, or refuses to give one: {0}")]
    None(String),
    #[error("what came was no bundle: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("the bundle is refused: {0}")]
    Refused(#[from] Refused),
    #[error("the bundle cannot be kept: {0}")]
    Disk(#[from] redb::Error),
    #[error("the thread that keeps it is lost")]
    Lost,
}

/// A bundle, whole and ready.
#[derive(Debug)]
pub struct Ready {
    pub manifest: Manifest,
    pub bundle: Bundle,
}

#[derive(Debug)]
pub struct Bundles {
    disk: Arc<Disk>,
    trust: Trust,
    /// One renewal at a time.
    held: Mutex<Holding>,
    ready: RwLock<Option<Arc<Ready>>>,
}

#[derive(Debug, Default)]
struct Holding {
    bundle: Option<Held>,
    /// What is on disk may be another: the disk failed.
    disk_differs: bool,
}

impl Bundles {
    /// Reads what is on disk, as distrustfully as what comes from the cloud. What is refused is not decided from, and
    /// replaced at the next renewal.
    pub fn open(path: &Path, trust: Trust) -> Result<Self, redb::Error> {
        let path = path.to_owned();
        Self::on(Disk::open(move || open_or_begin_anew(&path))?, trust)
    }

    fn on(disk: Disk, trust: Trust) -> Result<Self, redb::Error> {
        let held = match disk.run(load)? {
            None => None,
            Some(bundle) => match Held::take(None, bundle, &trust) {
                Ok(held) => Some(held),
                Err(error) => {
                    tracing::error!(%error, "the bundle on disk is refused");
                    None
                }
            },
        };
        let (mut holding, mut ready) = (Holding::default(), None);
        if let Some(held) = held {
            match held.prepare() {
                Ok(bundle) => {
                    ready = Some(Arc::new(Ready { manifest: held.manifest.clone(), bundle }));
                    holding.bundle = Some(held);
                }
                Err(error) => tracing::error!(%error, "the bundle on disk cannot be used"),
            }
        }
        Ok(Self { disk: Arc::new(disk), trust, held: Mutex::new(holding), ready: RwLock::new(ready) })
    }

    /// The bundle at hand.
    pub fn ready(&self) -> Option<Arc<Ready>> {
        self.ready.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches what changed. What is refused changes nothing.
    pub async fn renew(&self, cloud: &Cloud) -> Result<(), RenewError> {
        let mut held = self.held.lock().await;
        let path = match &held.bundle {
            Some(held) => format!("/v1/nac/bundle?since={}", held.manifest.version),
            None => "/v1/nac/bundle".to_owned(),
        };
        let said = match cloud.get(&path, FETCH_TIMEOUT).await {
            Reply::Said(said) if said.status.is_success() => said,
            Reply::Said(said) => return Err(RenewError::None(said.status.to_string())),
            // Who took the credential away took the right to decide with it.
            Reply::Revoked(_) => {
                self.forget(&mut held).await?;
                return Err(RenewError::None("the credential is revoked".to_owned()));
            }
            Reply::Away => return Err(RenewError::Away),
        };
        let came: SignedBundle = serde_json::from_slice(&said.body)?;
        self.take(&mut held, came).await
    }

    /// Decides from what came, also where the disk does not take it.
    async fn take(&self, held: &mut Holding, came: SignedBundle) -> Result<(), RenewError> {
        let part = came.since.is_some().then(|| (came.facts.clone(), came.gone.clone()));
        let next = Held::take(held.bundle.as_ref(), came, &self.trust)?;
        let bundle = next.prepare()?;
        self.set(Some(Ready { manifest: next.manifest.clone(), bundle }));
        held.bundle = Some(next.clone());
        let part = part.filter(|_| !held.disk_differs);
        self.write(held, move |database| save(database, &next, part.as_ref())).await
    }

    async fn forget(&self, held: &mut Holding) -> Result<(), RenewError> {
        if held.bundle.take().is_none() && !held.disk_differs {
            return Ok(());
        }
        self.set(None);
        self.write(held, clear).await
    }

    /// Writes, and notes whether the disk then holds what is held.
    async fn write(
        &self,
        held: &mut Holding,
        write: impl FnOnce(&Database) -> Result<(), redb::Error> + Send + 'static,
    ) -> Result<(), RenewError> {
        // Until it is known: whoever waits for this may go.
        held.disk_differs = true;
        let disk = Arc::clone(&self.disk);
        tokio::task::spawn_blocking(move || disk.run(write)).await.map_err(|_| RenewError::Lost)??;
        held.disk_differs = false;
        Ok(())
    }

    fn set(&self, ready: Option<Ready>) {
        *self.ready.write().unwrap_or_else(PoisonError::into_inner) = ready.map(Arc::new);
    }
}

/// A file that is no database any more holds nothing that the cloud would not give again.
fn open_or_begin_anew(path: &Path) -> Result<Database, redb::Error> {
    let error = match Database::create(path) {
        Ok(database) => return Ok(database),
        Err(error @ DatabaseError::DatabaseAlreadyOpen) => return Err(error.into()),
        // A disk that is full, or fails, says nothing of the file.
        Err(DatabaseError::Storage(StorageError::Io(error)))
            if !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            return Err(error.into());
        }
        Err(error) => error,
    };
    if std::fs::rename(path, path.with_extension("unusable")).is_err() {
        return Err(error.into());
    }
    tracing::error!(%error, path = %path.display(), "the bundle's file cannot be used: begun anew");
    Ok(Database::create(path)?)
}

fn load(database: &Database) -> Result<Option<SignedBundle>, redb::Error> {
    let write = database.begin_write()?;
    write.open_table(FACTS)?;
    write.open_table(SIGNED)?;
    write.commit()?;
    let read = database.begin_read()?;
    let signed = read.open_table(SIGNED)?;
    let text = |name| Ok::<_, redb::Error>(signed.get(name)?.map(|text| text.value().to_owned()));
    let (Some(manifest), Some(signature), Some(key_id)) =
        (text("manifest")?, text("signature")?, text("key_id")?)
    else {
        return Ok(None);
    };
    let mut facts = FactTexts::new();
    for entry in read.open_table(FACTS)?.iter()? {
        let (name, text) = entry?;
        facts.insert(name.value().to_owned(), text.value().to_owned());
    }
    Ok(Some(SignedBundle { manifest, signature, key_id, since: None, facts, gone: Vec::new() }))
}

/// Writes what changed; where there is no telling, the whole.
fn save(
    database: &Database,
    held: &Held,
    part: Option<&(FactTexts, Vec<String>)>,
) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut facts = write.open_table(FACTS)?;
        match part {
            Some((changed, gone)) => {
                for name in gone {
                    facts.remove(name.as_str())?;
                }
                for (name, text) in changed {
                    facts.insert(name.as_str(), text.as_str())?;
                }
            }
            None => {
                facts.retain(|_, _| false)?;
                for (name, text) in &held.facts {
                    facts.insert(name.as_str(), text.as_str())?;
                }
            }
        }
        let mut signed = write.open_table(SIGNED)?;
        let (manifest, signature, key_id) = &held.signed;
        for (name, text) in [("manifest", manifest), ("signature", signature), ("key_id", key_id)] {
            signed.insert(name, text.as_str())?;
        }
    }
    write.commit()?;
    Ok(())
}

fn clear(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(FACTS)?.retain(|_, _| false)?;
    write.open_table(SIGNED)?.retain(|_, _| false)?;
    write.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests;
