//! What the load generator was told: its own books, against which the product's are compared.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use uuid::Uuid;

use crate::report::{as_f64, percentile};

/// One answered request.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub number: u64,
    /// When it was to be sent (open loop) or was sent (closed loop), since the load began.
    pub due: Duration,
    /// From then until its answer was whole, attempts that failed included.
    pub took: Duration,
    /// The decision; nil where the answer is none.
    pub decision: Uuid,
    pub recorded: bool,
}

/// An attempt that brought no answer.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    pub number: u64,
    pub attempt: u32,
    pub why: Why,
}

/// Why there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// No connection, or it broke.
    Connection,
    /// Nothing came in time.
    Late,
    /// Another status than 200.
    Status(u16),
    /// A 200 that does not read.
    Unreadable,
}

/// All of one load.
#[derive(Debug, Default)]
pub struct Journal {
    pub answered: Vec<Answered>,
    pub failed: Vec<Failed>,
    /// Requests whose every attempt failed.
    pub given_up: u64,
    pub wall: Duration,
}

/// What counts of a decision.
#[derive(Deserialize)]
pub struct Decided {
    pub decision_id: Uuid,
    pub recorded: bool,
}

impl Journal {
    pub fn add(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.failed.extend(other.failed);
        self.given_up += other.given_up;
        self.wall += other.wall;
    }

    /// Answers per second.
    pub fn per_second(&self) -> f64 {
        as_f64(self.answered.len()) / self.wall.as_secs_f64().max(1e-9)
    }

    pub fn unrecorded(&self) -> usize {
        self.answered.iter().filter(|answer| !answer.recorded).count()
    }

    pub fn latency(&self) -> Latency {
        Latency::of(self.answered.iter())
    }

    /// Of requests that were due within that time.
    pub fn latency_between(&self, from: Duration, to: Duration) -> Latency {
        Latency::of(self.answered.iter().filter(|answer| answer.due >= from && answer.due < to))
    }

    /// How many attempts failed, by why.
    pub fn failures(&self) -> String {
        let mut count: BTreeMap<Why, usize> = BTreeMap::new();
        for failed in &self.failed {
            *count.entry(failed.why).or_default() += 1;
        }
        let words = count.into_iter().map(|(why, count)| match why {
            Why::Connection => format!("{count} broken connections"),
            Why::Late => format!("{count} out of time"),
            Why::Status(status) => format!("{count} with status {status}"),
            Why::Unreadable => format!("{count} unreadable"),
        });
        let words: Vec<String> = words.collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }
}

/// Latencies in milliseconds, in order.
#[derive(Debug)]
pub struct Latency(Vec<f64>);

impl Latency {
    fn of<'a>(answers: impl Iterator<Item = &'a Answered>) -> Self {
        let mut all: Vec<f64> = answers.map(|answer| answer.took.as_secs_f64() * 1e3).collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn at(&self, percent: f64) -> f64 {
        percentile(&self.0, percent)
    }

    /// For a table: p50, p99, p99.9 and the longest.
    pub fn cells(&self) -> [String; 4] {
        [50.0, 99.0, 99.9, 100.0].map(|percent| format!("{:.2}", self.at(percent)))
    }
}
