//! What is measured, by OpenTelemetry. Counters are named without `_total`, which the exporter appends.

use std::time::Duration;

use domain::decision::Decision;
use opentelemetry::KeyValue;
use opentelemetry::global::meter;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

/// Where a fact came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Memory,
    Redis,
    Postgres,
    /// No store answered; memory still had it.
    LastKnown,
    /// No store answered, and memory never had it.
    Nowhere,
}

impl Tier {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::LastKnown => "last_known",
            Self::Nowhere => "nowhere",
        }
    }
}

#[derive(Debug)]
pub struct Metrics {
    decisions: Counter<u64>,
    decision_seconds: Histogram<f64>,
    facts: Counter<u64>,
    question: Histogram<u64>,
    batch: Histogram<u64>,
    recorded: Counter<u64>,
    spill_depth: Gauge<u64>,
}

impl Metrics {
    pub fn new() -> Self {
        let meter = meter("nac");
        Self {
            decisions: meter.u64_counter("nac_decisions").with_description("Decisions answered").build(),
            decision_seconds: meter
                .f64_histogram("nac_decision_seconds")
                .with_unit("s")
                .with_description("From the request's last byte to the recorded decision")
                .with_boundaries(vec![
                    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
                ])
                .build(),
            facts: meter
                .u64_counter("nac_facts")
                .with_description("Facts gathered, by where they came from")
                .build(),
            question: meter
                .u64_histogram("nac_read_keys")
                .with_description("Lookup keys in one question to PostgreSQL")
                .with_boundaries(vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0])
                .build(),
            batch: meter
                .u64_histogram("nac_recorder_batch")
                .with_description("Records in one group commit")
                .with_boundaries(vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0])
                .build(),
            recorded: meter
                .u64_counter("nac_records")
                .with_description("Records by what became of them: written, spilled, drained, lost")
                .build(),
            spill_depth: meter
                .u64_gauge("nac_spill_depth")
                .with_description("Records that wait for PostgreSQL in Redis")
                .build(),
        }
    }

    pub fn decision(&self, decision: &Decision, took: Duration) {
        let action = if decision.outcome.permit { "allow" } else { "deny" };
        self.decisions
            .add(1, &[KeyValue::new("action", action), KeyValue::new("reason", decision.reason.as_str())]);
        self.decision_seconds.record(took.as_secs_f64(), &[]);
    }

    pub fn facts(&self, kind: &'static str, tier: Tier, count: usize) {
        if count > 0 {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.facts.add(count, &[KeyValue::new("kind", kind), KeyValue::new("tier", tier.as_str())]);
        }
    }

    pub fn question(&self, keys: usize) {
        self.question.record(u64::try_from(keys).unwrap_or(u64::MAX), &[]);
    }

    pub fn batch(&self, records: usize) {
        self.batch.record(u64::try_from(records).unwrap_or(u64::MAX), &[]);
    }

    pub fn records(&self, became: &'static str, count: usize) {
        self.recorded.add(u64::try_from(count).unwrap_or(u64::MAX), &[KeyValue::new("became", became)]);
    }

    pub fn spill_depth(&self, depth: u64) {
        self.spill_depth.record(depth, &[]);
    }
}
