//! One multiplexed connection, a timeout around every command, and a breaker so that a Redis that is away costs a
//! decision its timeout once, not every time.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, RedisResult};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::{CacheConfig, CacheError, Result, millis};

pub struct Link {
    client: Client,
    /// Made at the first command, because making it needs a running runtime.
    manager: OnceCell<ConnectionManager>,
    manager_config: ConnectionManagerConfig,
    breaker: Breaker,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl Link {
    pub fn new(url: &str, config: &CacheConfig) -> Result<Self> {
        let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info)?;
        // Callers have timeouts of their own, each around one call; these only end what nobody waits for any more.
        let manager_config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(config.command_timeout))
            .set_response_timeout(Some(config.command_timeout));
        Ok(Self { client, manager: OnceCell::new(), manager_config, breaker: Breaker::new(config.cool_down) })
    }

    pub const fn client(&self) -> &Client {
        &self.client
    }

    pub async fn call<T, F>(&self, within: Duration, op: impl FnOnce(ConnectionManager) -> F) -> Result<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        if !self.breaker.lets_through() {
            return Err(CacheError::CoolingDown);
        }
        let manager = self.manager.get_or_try_init(|| async {
            ConnectionManager::new_lazy_with_config(self.client.clone(), self.manager_config.clone())
        });
        let manager = manager.await?.clone();
        match tokio::time::timeout(within, op(manager)).await {
            Err(_) => {
                self.breaker.failed();
                Err(CacheError::TimedOut(within))
            }
            Ok(Err(error)) => {
                if is_away(&error) {
                    self.breaker.failed();
                } else {
                    self.breaker.worked();
                }
                Err(error.into())
            }
            Ok(Ok(value)) => {
                self.breaker.worked();
                Ok(value)
            }
        }
    }
}

/// The server could not be reached, or is not ready; not a fault of the command.
fn is_away(error: &redis::RedisError) -> bool {
    use redis::{ErrorKind, ServerErrorKind};
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_connection_refusal()
        || matches!(
            error.kind(),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ReadOnly
            )
        )
}

/// Open for a while after a failure; then lets one command try.
#[derive(Debug)]
struct Breaker {
    born: Instant,
    cool_down: Duration,
    /// Milliseconds since `born`; zero while all is well.
    closed_until: AtomicU64,
}

impl Breaker {
    fn new(cool_down: Duration) -> Self {
        Self { born: Instant::now(), cool_down, closed_until: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        millis(self.born.elapsed())
    }

    fn lets_through(&self) -> bool {
        let until = self.closed_until.load(Ordering::Acquire);
        if until == 0 {
            return true;
        }
        let now = self.now();
        // Whoever moves the mark is the one that tries; the others wait for its luck.
        now >= until
            && self
                .closed_until
                .compare_exchange(until, now + millis(self.cool_down), Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    fn failed(&self) {
        self.closed_until.store(self.now() + millis(self.cool_down), Ordering::Release);
    }

    fn worked(&self) {
        if self.closed_until.load(Ordering::Relaxed) != 0 {
            self.closed_until.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_one_command_tries() {
        let breaker = Breaker::new(Duration::from_millis(200));
        assert!(breaker.lets_through());
        breaker.failed();
        assert!(!breaker.lets_through());
        std::thread::sleep(Duration::from_millis(210));
        assert!(breaker.lets_through(), "the one that tries");
        assert!(!breaker.lets_through(), "the others wait");
        breaker.worked();
        assert!(breaker.lets_through());
    }
}
