//! What is counted.

use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

/// The instruments of this crate.
#[derive(Debug)]
pub(crate) struct Metrics {
    sweeps: Counter<u64>,
    pages: Counter<u64>,
    devices: Counter<u64>,
    transitions: Counter<u64>,
    outbox_messages: Counter<u64>,
    outbox_lag: Gauge<f64>,
    commands: Counter<u64>,
    sessions: Counter<u64>,
    delay: Histogram<f64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = global::meter("compliance-sync");
        Self {
            sweeps: meter
                .u64_counter("gatehouse.sync.sweeps")
                .with_description("Sweeps that ended, by result")
                .build(),
            pages: meter
                .u64_counter("gatehouse.sync.pages")
                .with_description("Pages read and written")
                .build(),
            devices: meter
                .u64_counter("gatehouse.sync.devices")
                .with_description("Devices on those pages: new, changed or unchanged")
                .build(),
            transitions: meter
                .u64_counter("gatehouse.sync.transitions")
                .with_description("Changes of compliance")
                .build(),
            outbox_messages: meter
                .u64_counter("gatehouse.outbox.messages")
                .with_description("Messages carried, by result")
                .build(),
            outbox_lag: meter
                .f64_gauge("gatehouse.outbox.lag")
                .with_unit("s")
                .with_description("Age of the oldest message that waits")
                .build(),
            commands: meter
                .u64_counter("gatehouse.coa.commands")
                .with_description("Commands planned or withdrawn")
                .build(),
            sessions: meter
                .u64_counter("gatehouse.coa.sessions")
                .with_description("Sessions that were decided again")
                .build(),
            delay: meter
                .f64_histogram("gatehouse.outbox.delay")
                .with_unit("s")
                .with_description("From a change's commit to its first effects")
                .build(),
        }
    }

    pub(crate) fn sweep(&self, result: &'static str) {
        self.sweeps.add(1, &[KeyValue::new("result", result)]);
    }

    pub(crate) fn page(&self, devices: &[(&'static str, usize)]) {
        self.pages.add(1, &[]);
        for (change, count) in devices {
            self.devices.add(*count as u64, &[KeyValue::new("change", *change)]);
        }
    }

    pub(crate) fn transitions(&self, count: usize) {
        self.transitions.add(count as u64, &[]);
    }

    pub(crate) fn messages(&self, result: &'static str, count: usize) {
        if count > 0 {
            self.outbox_messages.add(count as u64, &[KeyValue::new("result", result)]);
        }
    }

    pub(crate) fn outbox_lag(&self, seconds: f64) {
        self.outbox_lag.record(seconds, &[]);
    }

    pub(crate) fn outbox_delay(&self, seconds: f64) {
        self.delay.record(seconds, &[]);
    }

    pub(crate) fn command(&self, step: &'static str) {
        self.commands.add(1, &[KeyValue::new("step", step)]);
    }

    pub(crate) fn sessions(&self, count: usize) {
        self.sessions.add(count as u64, &[]);
    }
}
