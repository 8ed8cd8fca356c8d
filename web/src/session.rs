//! The browser session: what Redis keeps of it, and the values in it.

use std::time::Duration;

use async_trait::async_trait;
use cache::Cache;
use serde::{Deserialize, Serialize};
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

/// Sessions in Redis. A save never brings back a session that was deleted in the meantime: a request that was in
/// flight while its session ended must not resurrect it.
#[derive(Clone)]
pub(crate) struct Sessions(pub(crate) Cache);

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
            let created =
                self.0.session_create(&record.id.to_string(), &encode(record)?, lifetime(record)).await;
            if created.map_err(backend)? {
                return Ok(());
            }
            record.id = Id::default();
        }
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let kept = self.0.session_save(&record.id.to_string(), &encode(record)?, lifetime(record)).await;
        if !kept.map_err(backend)? {
            tracing::debug!("a session that had ended was not saved");
        }
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let bytes = self.0.session_load(&id.to_string()).await.map_err(backend)?;
        bytes.map(|b| serde_json::from_slice(&b).map_err(|e| Error::Decode(e.to_string()))).transpose()
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.0.session_delete(&id.to_string()).await.map(|_| ()).map_err(backend)
    }
}
