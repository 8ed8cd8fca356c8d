//! Whether PostgreSQL is worth asking. Whoever finds it away closes the gate; only the background task that probes it
//! opens the gate again, so that no request pays for finding out.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store::StoreError;

#[derive(Debug, Default)]
pub struct Gate {
    closed: AtomicBool,
}

/// Why PostgreSQL did not do it.
#[derive(Debug)]
pub enum GateError {
    /// It is away.
    Away,
    /// It answered, but not what was wanted.
    Failed(StoreError),
}

impl Gate {
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub fn open(&self) {
        if self.closed.swap(false, Ordering::Relaxed) {
            tracing::info!("PostgreSQL is back");
        }
    }

    /// Asks PostgreSQL, if the gate is open, for at most `within`.
    pub async fn ask<T>(
        &self,
        within: Duration,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, GateError> {
        if self.is_closed() {
            return Err(GateError::Away);
        }
        match tokio::time::timeout(within, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_unavailable() => {
                self.close(&error.to_string());
                Err(GateError::Away)
            }
            Ok(Err(error)) => Err(GateError::Failed(error)),
            Err(_) => {
                self.close("it did not answer in time");
                Err(GateError::Away)
            }
        }
    }

    fn close(&self, why: &str) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            tracing::warn!(why, "PostgreSQL is away: deciding from memory and Redis, records are spilled");
        }
    }
}
