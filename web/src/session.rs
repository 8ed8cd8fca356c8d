//! The browser session: how it is kept, and the values in it.

use std::time::Duration;

use async_trait::async_trait;
use domain::time::SharedClock;
use serde::{Deserialize, Serialize};
use store::{Store, SystemTx, browser};
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result, SessionStore};

/// Somebody who signed in stays so for this long.
pub(crate) const SIGNED_IN: Duration = Duration::from_secs(12 * 60 * 60);
/// A visitor has this long to come back from Microsoft's sign-in page.
pub(crate) const VISITING: Duration = Duration::from_secs(30 * 60);

/// The names of what is kept in a session.
pub(crate) mod key {
    pub(crate) const PERSON: &str = "person";
    pub(crate) const SIGN_IN: &str = "sign_in";
    pub(crate) const LINK: &str = "link";
    pub(crate) const FLASH: &str = "flash";
}

/// Who signed in, as Entra ID vouched for it.
pub(crate) use linking::SignedIn as Person;

/// A message for the next page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flash {
    /// `good`, `warn` or `bad`.
    pub tone: String,
    pub text: String,
}

impl Flash {
    /// It worked.
    pub(crate) fn good(text: impl Into<String>) -> Self {
        Self { tone: "good".to_owned(), text: text.into() }
    }

    /// It worked, but; or it was not needed.
    pub(crate) fn warn(text: impl Into<String>) -> Self {
        Self { tone: "warn".to_owned(), text: text.into() }
    }

    /// The icon that goes with the tone.
    pub(crate) fn icon(&self) -> &'static str {
        match self.tone.as_str() {
            "good" => "good",
            "bad" => "bad",
            _ => "warn",
        }
    }
}

/// Sessions in PostgreSQL. A save never brings back a session that was deleted in the meantime: a request that was in
/// flight while its session ended must not resurrect it.
#[derive(Clone)]
pub(crate) struct Sessions {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
}

impl Sessions {
    async fn begin(&self) -> Result<SystemTx> {
        self.store.system().await.map_err(backend)
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

fn lifetime(record: &Record) -> Duration {
    if record.data.contains_key(key::PERSON) { SIGNED_IN } else { VISITING }
}

fn encode(record: &Record) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(|e| Error::Encode(e.to_string()))
}

fn backend(error: impl std::fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        loop {
            let (now, data) = (self.clock.now(), encode(record)?);
            let mut tx = self.begin().await?;
            let id = record.id.to_string();
            let created = browser::create(&mut tx, &id, &data, now, now + lifetime(record)).await;
            let created = created.map_err(backend)?;
            tx.commit().await.map_err(backend)?;
            if created {
                return Ok(());
            }
            record.id = Id::default();
        }
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let (now, data) = (self.clock.now(), encode(record)?);
        let mut tx = self.begin().await?;
        let id = record.id.to_string();
        let kept = browser::save(&mut tx, &id, &data, now, now + lifetime(record)).await.map_err(backend)?;
        tx.commit().await.map_err(backend)?;
        if !kept {
            tracing::debug!("a session that had ended was not saved");
        }
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let mut tx = self.begin().await?;
        let data = browser::load(&mut tx, &id.to_string(), self.clock.now()).await.map_err(backend)?;
        tx.commit().await.map_err(backend)?;
        data.map(|data| serde_json::from_slice(&data).map_err(|e| Error::Decode(e.to_string()))).transpose()
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let mut tx = self.begin().await?;
        browser::delete(&mut tx, &id.to_string()).await.map_err(backend)?;
        tx.commit().await.map_err(backend)
    }
}
