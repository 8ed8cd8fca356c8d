//! The time that a process goes by: the machine's clock, put right by PostgreSQL's.
//!
//! Processes on several machines compare what they wrote by its time: which answer of Microsoft is newer, whose lease
//! is over, which command came too late. PostgreSQL is the one clock that all of them can ask. While it is away, what
//! was last measured goes on to be applied.

use std::sync::Arc;
use std::time::Duration;

use domain::time::SharedClock;
use domain::time::follow::{FollowingClock, Reading};
use opentelemetry::global;
use opentelemetry::metrics::Gauge;
use store::{Store, StoreError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Clocks drift by milliseconds in this time; one that is set jumps.
const EVERY: Duration = Duration::from_secs(10);
/// A start waits so long for the first measurement.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// A machine's clock that is off by more is somebody's to repair.
const WARN_BEYOND: time::Duration = time::Duration::SECOND;

/// Measures, and puts the clock right.
pub struct Follower {
    store: Store,
    clock: Arc<FollowingClock>,
    /// One question at a time, also where PostgreSQL does not answer for long.
    asked: Option<JoinHandle<Result<Vec<Reading>, StoreError>>>,
    gauge: Gauge<f64>,
    warned: bool,
}

impl Follower {
    #[must_use]
    pub fn new(store: Store, own: SharedClock) -> Self {
        let gauge = global::meter("gatehouse")
            .f64_gauge("gatehouse.clock.offset")
            .with_unit("s")
            .with_description(
                "How far PostgreSQL's clock is ahead of this machine's, which is put right by it",
            )
            .build();
        Self { store, clock: Arc::new(FollowingClock::new(own)), asked: None, gauge, warned: false }
    }

    /// The clock that is put right.
    #[must_use]
    pub fn clock(&self) -> SharedClock {
        self.clock.clone()
    }

    /// The first measurement, before anything is timed; PostgreSQL may be away.
    pub async fn begin(&mut self) {
        self.measure(FIRST_PATIENCE).await;
    }

    /// Measures again and again until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.cancelled() => return,
            }
            tokio::select! {
                () = self.measure(PATIENCE) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Waits for an answer for no longer than `patience`; one that comes later says nothing and is dropped.
    async fn measure(&mut self, patience: Duration) {
        let asked = self.asked.get_or_insert_with(|| {
            let (store, own) = (self.store.clone(), self.clock.own());
            tokio::spawn(async move { store.read_time(&*own).await })
        });
        let Ok(answer) = tokio::time::timeout(patience, asked).await else { return };
        self.asked = None;
        match answer {
            Ok(Ok(readings)) => self.apply(&readings),
            Ok(Err(error)) => tracing::debug!(%error, "PostgreSQL does not say what time it is"),
            Err(error) => tracing::debug!(%error, "a measurement of time was lost"),
        }
    }

    fn apply(&mut self, readings: &[Reading]) {
        let before = self.clock.ahead();
        let Some(measured) = self.clock.follow(readings) else { return };
        let ahead = self.clock.ahead();
        self.gauge.record(measured.ahead.as_seconds_f64(), &[]);
        let off = measured.ahead.abs() > WARN_BEYOND;
        let moved = (ahead - before).abs() > WARN_BEYOND;
        if off && (moved || !self.warned) {
            tracing::warn!(
                seconds = measured.ahead.as_seconds_f64(),
                uncertain_by = measured.uncertainty.as_seconds_f64(),
                "this machine's clock is not PostgreSQL's, and is put right by so much; have both kept by NTP"
            );
        } else if !off && self.warned {
            tracing::info!("this machine's clock and PostgreSQL's agree again");
        }
        self.warned = off;
    }
}
