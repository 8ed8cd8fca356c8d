//! What is counted.

use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};
use store::jobs::JobKind;

/// The instruments of this crate.
#[derive(Debug)]
pub(crate) struct Metrics {
    claimed: Counter<u64>,
    jobs: Counter<u64>,
    lag: Histogram<f64>,
    duration: Histogram<f64>,
    requests: Counter<u64>,
    budget_refusals: Counter<u64>,
    parked: Counter<u64>,
    link_states: Counter<u64>,
    hot_set: Gauge<u64>,
    told: Counter<u64>,
    oldest_due: Gauge<f64>,
    pages: Counter<u64>,
    devices: Counter<u64>,
    transitions: Counter<u64>,
    outbox_messages: Counter<u64>,
    outbox_lag: Gauge<f64>,
    commands: Counter<u64>,
    holds: Counter<u64>,
    sessions: Counter<u64>,
    delay: Histogram<f64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = global::meter("compliance-sync");
        Self {
            claimed: meter
                .u64_counter("gatehouse.sync.claimed")
                .with_description("Jobs claimed, by kind")
                .build(),
            jobs: meter
                .u64_counter("gatehouse.sync.jobs")
                .with_description("Jobs given back, by kind and result")
                .build(),
            lag: meter
                .f64_histogram("gatehouse.sync.lag")
                .with_unit("s")
                .with_description("From a job's due time to its claim, by kind")
                .build(),
            duration: meter
                .f64_histogram("gatehouse.sync.duration")
                .with_unit("s")
                .with_description("From a job's claim to its end, by kind")
                .build(),
            requests: meter
                .u64_counter("gatehouse.sync.requests")
                .with_description("Requests to Microsoft Graph, by kind of work and outcome")
                .build(),
            budget_refusals: meter
                .u64_counter("gatehouse.sync.budget_refusals")
                .with_description("Requests that had to wait for a budget, by kind of work")
                .build(),
            parked: meter
                .u64_counter("gatehouse.sync.parked")
                .with_description("Links whose work waits because Microsoft asked for it, by kind of work")
                .build(),
            link_states: meter
                .u64_counter("gatehouse.sync.link_states")
                .with_description("Changes of how links fare, by new state")
                .build(),
            told: meter
                .u64_counter("gatehouse.sync.delta_items")
                .with_description("Changes that Entra ID told of")
                .build(),
            hot_set: meter
                .u64_gauge("gatehouse.sync.hot_set")
                .with_description("Devices and wishes that the last look of a link found due")
                .build(),
            oldest_due: meter
                .f64_gauge("gatehouse.sync.oldest_due")
                .with_unit("s")
                .with_description("How long the longest due job that nobody holds has been due, by kind")
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
            holds: meter
                .u64_counter("gatehouse.coa.holds")
                .with_description("Holds of moves to a worse state, by what they became")
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

    pub(crate) fn claimed(&self, kind: JobKind, lag_seconds: f64) {
        self.claimed.add(1, &[of(kind)]);
        self.lag.record(lag_seconds, &[of(kind)]);
    }

    pub(crate) fn job(&self, kind: JobKind, result: &'static str) {
        self.jobs.add(1, &[of(kind), KeyValue::new("result", result)]);
    }

    pub(crate) fn worked(&self, kind: JobKind, seconds: f64) {
        self.duration.record(seconds, &[of(kind)]);
    }

    pub(crate) fn request(&self, kind: JobKind, outcome: &'static str) {
        self.requests.add(1, &[of(kind), KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn budget_refusal(&self, kind: JobKind) {
        self.budget_refusals.add(1, &[of(kind)]);
    }

    pub(crate) fn parked(&self, kind: JobKind) {
        self.parked.add(1, &[of(kind)]);
    }

    pub(crate) fn link_state(&self, state: &'static str) {
        self.link_states.add(1, &[KeyValue::new("state", state)]);
    }

    pub(crate) fn hot_set(&self, size: usize) {
        self.hot_set.record(size as u64, &[]);
    }

    pub(crate) fn told(&self, items: usize) {
        self.told.add(items as u64, &[]);
    }

    pub(crate) fn oldest_due(&self, kind: JobKind, seconds: f64) {
        self.oldest_due.record(seconds, &[of(kind)]);
    }

    pub(crate) fn page(&self, devices: &[(&'static str, usize)]) {
        self.pages.add(1, &[]);
        for (change, count) in devices {
            self.devices.add(*count as u64, &[KeyValue::new("change", *change)]);
        }
    }

    pub(crate) fn transitions(&self, kind: JobKind, count: usize) {
        self.transitions.add(count as u64, &[of(kind)]);
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

    pub(crate) fn hold(&self, state: &'static str) {
        self.holds.add(1, &[KeyValue::new("state", state)]);
    }

    pub(crate) fn sessions(&self, count: usize) {
        self.sessions.add(count as u64, &[]);
    }
}

fn of(kind: JobKind) -> KeyValue {
    KeyValue::new("kind", kind.as_str())
}
