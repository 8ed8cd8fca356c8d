//! Every limit of the sync, by name and unit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the sync works. [`SyncConfig::check`] holds the values against each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncConfig {
    /// From the end of one sweep of a link to its next.
    pub sweep_interval_seconds: u32,
    /// Due times are spread by up to this share of the interval, either way.
    pub sweep_jitter_percent: u8,
    /// Jobs that one process works on at once.
    pub workers: u16,
    /// How often a process with a free worker looks for due jobs.
    pub worker_poll_millis: u32,
    /// A worker that does not come back loses its job after this. Every page renews it.
    pub lease_seconds: u32,
    /// Devices per page; Microsoft gives no more than 1000.
    pub page_size_max: u16,
    /// A sweep that was interrupted longer ago than this starts over, because its next page may have expired.
    pub cursor_age_max_seconds: u32,
    /// Missing devices that the end of one sweep asks Microsoft about, one by one.
    pub confirm_max_per_sweep: u16,
    /// Of those, requests in flight at once.
    pub confirm_concurrency: u8,
    /// Requests to Microsoft Graph for one tenant within the window, by all processes together.
    pub budget_requests: u32,
    pub budget_window_seconds: u32,
    /// The first wait after a failure; each further one doubles it.
    pub backoff_base_seconds: u32,
    pub backoff_max_seconds: u32,
    /// Every so often the end of a sweep has all active sessions of the organization decided again, whatever
    /// happened to the messages that should have seen to it.
    pub redecide_interval_seconds: u32,
    /// What sweeps did is remembered for this long.
    pub run_retention_days: u16,
    /// Relays that carry the outbox, in one process.
    pub relays: u16,
    pub relay_poll_millis: u32,
    /// Messages that a relay takes at once.
    pub relay_batch_max: u16,
    /// A relay that does not come back loses its messages after this.
    pub relay_lease_seconds: u32,
    /// The first wait after a message could not be carried; each further one doubles it.
    pub relay_backoff_base_millis: u32,
    pub relay_backoff_max_seconds: u32,
    /// A message's effects are repeated once after this, for decisions that were on their way. 0: never.
    pub settle_millis: u32,
    /// Sessions that are planned in one transaction.
    pub plan_page_max: u16,
    /// A command that no edge acknowledged by then expires; until then the same answer is not given up again.
    pub command_expiry_seconds: u32,
    /// Commands that one edge is told in a second.
    pub coa_per_edge_per_second: u32,
    /// Where many commands go to one edge, each waits up to this long more.
    pub coa_jitter_millis: u32,
    /// A client that was moved and changes again within this time waits until it is over.
    pub coa_calm_seconds: u32,
    pub housekeeping_seconds: u32,
    /// Events older than this are dropped, by whole days.
    pub event_retention_days: u16,
    /// At shutdown, jobs get this long to reach the end of their page.
    pub drain_seconds: u32,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            sweep_interval_seconds: 300,
            sweep_jitter_percent: 10,
            workers: 4,
            worker_poll_millis: 500,
            lease_seconds: 90,
            page_size_max: 1000,
            cursor_age_max_seconds: 600,
            confirm_max_per_sweep: 200,
            confirm_concurrency: 4,
            budget_requests: 2000,
            budget_window_seconds: 20,
            backoff_base_seconds: 10,
            backoff_max_seconds: 900,
            redecide_interval_seconds: 3600,
            run_retention_days: 30,
            relays: 2,
            relay_poll_millis: 200,
            relay_batch_max: 100,
            relay_lease_seconds: 30,
            relay_backoff_base_millis: 500,
            relay_backoff_max_seconds: 30,
            settle_millis: 3000,
            plan_page_max: 200,
            command_expiry_seconds: 600,
            coa_per_edge_per_second: 10,
            coa_jitter_millis: 500,
            coa_calm_seconds: 60,
            housekeeping_seconds: 60,
            event_retention_days: 30,
            drain_seconds: 20,
        }
    }
}

/// A value that cannot be worked with; the text says which and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl SyncConfig {
    /// Holds the values against each other.
    ///
    /// # Errors
    /// Names the first value that does not fit.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |text: String| Err(ConfigError(text));
        if !(1..=1000).contains(&self.page_size_max) {
            return fail(format!("page_size_max must be 1 to 1000, not {}", self.page_size_max));
        }
        if self.lease_seconds < 30 {
            return fail(format!(
                "lease_seconds must be at least 30 (one request may take that long), not {}",
                self.lease_seconds
            ));
        }
        for (name, value) in [
            ("sweep_interval_seconds", self.sweep_interval_seconds),
            ("worker_poll_millis", self.worker_poll_millis),
            ("relay_poll_millis", self.relay_poll_millis),
            ("relay_lease_seconds", self.relay_lease_seconds),
            ("budget_requests", self.budget_requests),
            ("budget_window_seconds", self.budget_window_seconds),
            ("backoff_base_seconds", self.backoff_base_seconds),
            ("command_expiry_seconds", self.command_expiry_seconds),
            ("coa_per_edge_per_second", self.coa_per_edge_per_second),
            ("housekeeping_seconds", self.housekeeping_seconds),
            ("workers", self.workers.into()),
            ("relays", self.relays.into()),
            ("relay_batch_max", self.relay_batch_max.into()),
            ("plan_page_max", self.plan_page_max.into()),
            ("confirm_concurrency", self.confirm_concurrency.into()),
            ("event_retention_days", self.event_retention_days.into()),
        ] {
            if value == 0 {
                return fail(format!("{name} must not be 0"));
            }
        }
        if self.backoff_max_seconds < self.backoff_base_seconds {
            return fail("backoff_max_seconds must not be below backoff_base_seconds".to_owned());
        }
        if self.sweep_jitter_percent > 50 {
            return fail(format!(
                "sweep_jitter_percent must be at most 50, not {}",
                self.sweep_jitter_percent
            ));
        }
        Ok(())
    }

    pub(crate) const fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds as u64)
    }

    pub(crate) fn coa_calm(&self) -> time::Duration {
        time::Duration::seconds(self.coa_calm_seconds.into())
    }

    pub(crate) fn coa_jitter(&self) -> time::Duration {
        time::Duration::milliseconds(self.coa_jitter_millis.into())
    }

    pub(crate) const fn relay_lease(&self) -> Duration {
        Duration::from_secs(self.relay_lease_seconds as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(SyncConfig::default().check(), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let config = SyncConfig { page_size_max: 0, ..SyncConfig::default() };
        assert!(config.check().unwrap_err().0.contains("page_size_max"));
        let config = SyncConfig { workers: 0, ..SyncConfig::default() };
        assert_eq!(config.check().unwrap_err().0, "workers must not be 0");
    }
}
