//! Browser sessions, as bytes. The ids are secrets: they are never logged.

use std::time::Duration;

use redis::cmd;

use crate::{Cache, Result, millis};

impl Cache {
    /// Keeps a new session. `false`: the id is taken.
    pub async fn session_create(&self, id: &str, value: &[u8], ttl: Duration) -> Result<bool> {
        self.session_set(id, value, ttl, "NX").await
    }

    /// Replaces a session. `false`: it is gone, and a request that was still in flight must not bring it back.
    pub async fn session_save(&self, id: &str, value: &[u8], ttl: Duration) -> Result<bool> {
        self.session_set(id, value, ttl, "XX").await
    }

    /// The session's bytes.
    pub async fn session_load(&self, id: &str) -> Result<Option<Vec<u8>>> {
        self.run(self.config().command_timeout, cmd("GET").arg(self.session_key(id))).await
    }

    /// Ends a session.
    pub async fn session_delete(&self, id: &str) -> Result<()> {
        self.run(self.config().command_timeout, cmd("DEL").arg(self.session_key(id))).await
    }

    async fn session_set(&self, id: &str, value: &[u8], ttl: Duration, only: &str) -> Result<bool> {
        let mut set = cmd("SET");
        set.arg(self.session_key(id)).arg(value).arg(only).arg("PX").arg(millis(ttl));
        let done: Option<String> = self.run(self.config().command_timeout, &set).await?;
        Ok(done.is_some())
    }

    fn session_key(&self, id: &str) -> String {
        self.key(format_args!("session:{{{id}}}"))
    }
}
