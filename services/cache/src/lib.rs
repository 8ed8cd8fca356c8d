//! The only Redis of Gatehouse.
//!
//! Redis makes things fast and carries signals between processes; it may lose everything at any time, and nothing
//! but speed is lost then. The one exception is the spill stream, which takes records while PostgreSQL is away and
//! is drained as soon as it is back.
//!
//! Invariants: every key of an organization is `<prefix>:{<org>}:…`, the organization being the hash tag; every key
//! expires or is bounded; a command never takes longer than its timeout, and after a failure the next ones fail at
//! once for a short while (see [`CacheConfig::cool_down`]). It must not decide anything.

mod budget;
mod bus;
mod connection;
mod credentials;
mod lookups;
mod snapshots;
mod spill;
#[cfg(test)]
mod tests;
mod warm;

use std::sync::Arc;
use std::time::Duration;

use connection::Link;

pub use budget::{Bucket, Budget, BudgetUse, app_budget, directory_budget, intune_budget};
pub use bus::{BusEvent, BusMessage};
pub use credentials::CachedCredential;
pub use spill::{SpillId, Spilled, SpilledRecord};

/// How Redis is used. Every limit has a name and a unit.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// First part of every key, so that deployments (and tests) can share a server.
    pub prefix: String,
    /// Commands on the path of a decision give up after this.
    pub decision_timeout: Duration,
    /// All other commands give up after this.
    pub command_timeout: Duration,
    /// After a failure, commands fail at once for this long; then one is let through to try.
    pub cool_down: Duration,
    /// How long the devices under a lookup key are kept.
    pub lookup_ttl: Duration,
    /// How long an organization's snapshot is kept.
    pub snapshot_ttl: Duration,
    /// How long an edge credential is kept. Readers ask PostgreSQL again much sooner, while it answers.
    pub credential_ttl: Duration,
    /// The spill stream takes no more than this many records.
    pub spill_records_max: usize,
    /// A record that a consumer took and did not finish is another's after this.
    pub spill_idle: Duration,
    /// The bus connection is checked when it was silent for this long.
    pub bus_silence: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            prefix: "gh".to_owned(),
            decision_timeout: Duration::from_millis(200),
            command_timeout: Duration::from_secs(2),
            cool_down: Duration::from_millis(500),
            lookup_ttl: Duration::from_secs(3_600),
            snapshot_ttl: Duration::from_secs(6 * 3_600),
            credential_ttl: Duration::from_secs(6 * 3_600),
            spill_records_max: 1_000_000,
            spill_idle: Duration::from_secs(30),
            bus_silence: Duration::from_secs(5),
        }
    }
}

/// Why Redis could not do it. Callers go on without it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// It failed a moment ago, and is not asked again before the cool-down has passed.
    #[error("Redis is away; it is tried again shortly")]
    CoolingDown,
    #[error("Redis did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// A value could not be written as JSON, or what was read is none of ours.
    #[error("a cached value cannot be read or written: {0}")]
    Value(#[from] serde_json::Error),
    /// [`CacheConfig::spill_records_max`] is reached.
    #[error("the spill stream is full")]
    SpillFull,
}

/// What every function of this crate returns.
pub type Result<T, E = CacheError> = std::result::Result<T, E>;

/// A cached value, and how long ago it was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aged<T> {
    pub value: T,
    pub age: Duration,
}

/// Redis. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: CacheConfig,
    link: Link,
    bus: bus::Bus,
}

impl Cache {
    /// Connects when it is first used, so that a process can start while Redis is away; reconnects by itself.
    ///
    /// # Errors
    /// Only where the URL cannot be read.
    pub fn connect(url: &str, config: CacheConfig) -> Result<Self> {
        let link = Link::new(url, &config)?;
        let bus = bus::Bus::new(&config);
        Ok(Self { inner: Arc::new(Inner { config, link, bus }) })
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<()> {
        let _: String = self.run(self.config().command_timeout, &redis::cmd("PING")).await?;
        Ok(())
    }

    fn config(&self) -> &CacheConfig {
        &self.inner.config
    }

    /// A key that belongs to an organization.
    fn org_key(&self, org: domain::OrgId, rest: impl std::fmt::Display) -> String {
        format!("{}:{{{org}}}:{rest}", self.config().prefix)
    }

    /// A key that belongs to none.
    fn key(&self, rest: impl std::fmt::Display) -> String {
        format!("{}:{rest}", self.config().prefix)
    }

    async fn run<T: redis::FromRedisValue>(&self, within: Duration, cmd: &redis::Cmd) -> Result<T> {
        self.inner.link.call(within, |mut conn| async move { cmd.query_async(&mut conn).await }).await
    }

    async fn pipe<T: redis::FromRedisValue>(&self, within: Duration, pipe: &redis::Pipeline) -> Result<T> {
        self.inner.link.call(within, |mut conn| async move { pipe.query_async(&mut conn).await }).await
    }

    async fn script<T: redis::FromRedisValue>(
        &self,
        within: Duration,
        script: &redis::ScriptInvocation<'_>,
    ) -> Result<T> {
        self.inner.link.call(within, |mut conn| async move { script.invoke_async(&mut conn).await }).await
    }
}

/// Milliseconds for PX; at least one, because Redis refuses zero.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 1).max(1)
}
