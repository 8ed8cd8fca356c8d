//! Every limit of the sync, by name and unit.

use std::time::Duration;

use domain::cadence::Pace;
use serde::{Deserialize, Serialize};

/// How the sync works. [`SyncConfig::check`] holds the values against each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncConfig {
    /// From the end of one sweep of a link to its next.
    pub sweep_interval_seconds: u32,
    /// The same where Entra ID does not tell what changed, unless a sweep takes longer than this itself.
    pub sweep_without_delta_interval_seconds: u32,
    /// Due times are spread by up to this share of the interval, either way.
    pub sweep_jitter_percent: u8,
    /// A sweep that takes longer gives its worker back after this and waits for its next turn.
    pub sweep_slice_seconds: u32,
    /// Jobs that somebody waits for (delta, look, clock) that one process works on at once.
    pub hot_workers: u16,
    /// Jobs that grow with the fleet (sweep, enrich) that one process works on at once. Each holds one page in memory.
    pub sweep_workers: u16,
    /// Jobs of one link that all processes together work on at once.
    pub tenant_concurrency: u16,
    /// Jobs whose last attempt failed take no more than this share of the workers: they tend to hold one for as long
    /// as a request may take.
    pub troubled_percent: u8,
    /// How often a process with a free worker looks for due jobs.
    pub worker_poll_millis: u32,
    /// A worker that does not come back loses its job after this. Every page renews it.
    pub lease_seconds: u32,
    /// Devices per page; Microsoft gives no more than 1000.
    pub page_size_max: u16,
    /// A sweep that was interrupted longer ago than this starts over, because its next page may have expired.
    pub cursor_age_max_seconds: u32,
    /// Missing devices that the end of one sweep asks Microsoft about, one by one, before it counts as done. The others
    /// are asked about after that, a turn at a time. 0: nobody is asked about any.
    pub confirm_max_per_sweep: u16,
    /// Of those, requests in flight at once.
    pub confirm_concurrency: u8,
    /// From one question to Entra ID about what changed to the next.
    pub delta_interval_seconds: u32,
    /// The same for a tenant that has not granted the permission for it.
    pub delta_forbidden_interval_seconds: u32,
    /// Where more devices changed than this between two questions, the fleet is swept instead of looked at one by one.
    pub delta_changes_max: u32,
    /// A link's devices are searched for some worth a look this often, even if nobody asks.
    pub look_interval_seconds: u32,
    /// Devices that one job looks at before it waits for its next turn.
    pub look_devices_max: u16,
    /// A device whose client is on the network and not trusted, or in its grace, is looked at this often, and less often
    /// while nothing changes, down to the second. A device whose grace is about to end is looked at as often as that.
    pub hot_interval_seconds: u32,
    pub hot_interval_max_seconds: u32,
    /// A look under a key that nobody bears is given up after this many.
    pub look_attempts_max: u16,
    /// From the end of one search for devices that lack what lists leave out to the next.
    pub enrich_interval_seconds: u32,
    /// A request that somebody waits for is given up after this.
    pub hot_request_seconds: u32,
    /// Requests to Intune for one tenant and app within the window, by all processes together.
    pub budget_requests: u32,
    pub budget_window_seconds: u32,
    /// Resource units of the directory, in the same way.
    pub directory_units: u32,
    pub directory_window_seconds: u32,
    /// Requests to Microsoft Graph of one app for all tenants of a cloud together.
    pub app_requests: u32,
    pub app_window_seconds: u32,
    /// Sweeps and enrichment take no more than this share of a budget.
    pub low_priority_percent: u8,
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
    /// Of those, messages of one organization.
    pub relay_org_batch_max: u16,
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
    /// A suspicion that too much of a fleet turns worse is judged after this, where its sweep does not come to an end.
    pub coa_suspect_seconds_max: u32,
    /// What time alone changes is looked for at its moment, and at least this often.
    pub clock_interval_seconds_max: u32,
    /// How often it is checked that Redis was not emptied.
    pub warm_check_seconds: u32,
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
            sweep_without_delta_interval_seconds: 60,
            sweep_jitter_percent: 10,
            sweep_slice_seconds: 20,
            hot_workers: 16,
            sweep_workers: 8,
            tenant_concurrency: 2,
            troubled_percent: 25,
            worker_poll_millis: 500,
            lease_seconds: 90,
            page_size_max: 1000,
            cursor_age_max_seconds: 600,
            confirm_max_per_sweep: 200,
            confirm_concurrency: 4,
            delta_interval_seconds: 60,
            delta_forbidden_interval_seconds: 3600,
            delta_changes_max: 2000,
            look_interval_seconds: 120,
            look_devices_max: 100,
            hot_interval_seconds: 60,
            hot_interval_max_seconds: 120,
            look_attempts_max: 6,
            enrich_interval_seconds: 300,
            hot_request_seconds: 10,
            budget_requests: 2000,
            budget_window_seconds: 20,
            directory_units: 3500,
            directory_window_seconds: 10,
            app_requests: 2000,
            app_window_seconds: 1,
            low_priority_percent: 70,
            backoff_base_seconds: 10,
            backoff_max_seconds: 900,
            redecide_interval_seconds: 3600,
            run_retention_days: 30,
            relays: 2,
            relay_poll_millis: 200,
            relay_batch_max: 100,
            relay_org_batch_max: 20,
            relay_lease_seconds: 30,
            relay_backoff_base_millis: 500,
            relay_backoff_max_seconds: 30,
            settle_millis: 3000,
            plan_page_max: 200,
            command_expiry_seconds: 600,
            coa_per_edge_per_second: 10,
            coa_jitter_millis: 500,
            coa_calm_seconds: 60,
            coa_suspect_seconds_max: 900,
            clock_interval_seconds_max: 3600,
            warm_check_seconds: 5,
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
            ("sweep_without_delta_interval_seconds", self.sweep_without_delta_interval_seconds),
            ("worker_poll_millis", self.worker_poll_millis),
            ("relay_poll_millis", self.relay_poll_millis),
            ("relay_lease_seconds", self.relay_lease_seconds),
            ("budget_requests", self.budget_requests),
            ("budget_window_seconds", self.budget_window_seconds),
            ("backoff_base_seconds", self.backoff_base_seconds),
            ("command_expiry_seconds", self.command_expiry_seconds),
            ("coa_per_edge_per_second", self.coa_per_edge_per_second),
            ("clock_interval_seconds_max", self.clock_interval_seconds_max),
            ("warm_check_seconds", self.warm_check_seconds),
            ("housekeeping_seconds", self.housekeeping_seconds),
            ("sweep_slice_seconds", self.sweep_slice_seconds),
            ("hot_workers", self.hot_workers.into()),
            ("sweep_workers", self.sweep_workers.into()),
            ("tenant_concurrency", self.tenant_concurrency.into()),
            ("delta_interval_seconds", self.delta_interval_seconds),
            ("delta_forbidden_interval_seconds", self.delta_forbidden_interval_seconds),
            ("delta_changes_max", self.delta_changes_max),
            ("look_interval_seconds", self.look_interval_seconds),
            ("look_devices_max", self.look_devices_max.into()),
            ("look_attempts_max", self.look_attempts_max.into()),
            ("hot_interval_seconds", self.hot_interval_seconds),
            ("enrich_interval_seconds", self.enrich_interval_seconds),
            ("hot_request_seconds", self.hot_request_seconds),
            ("directory_units", self.directory_units),
            ("directory_window_seconds", self.directory_window_seconds),
            ("app_requests", self.app_requests),
            ("app_window_seconds", self.app_window_seconds),
            ("relays", self.relays.into()),
            ("relay_batch_max", self.relay_batch_max.into()),
            ("relay_org_batch_max", self.relay_org_batch_max.into()),
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
        if self.hot_interval_max_seconds < self.hot_interval_seconds {
            return fail("hot_interval_max_seconds must not be below hot_interval_seconds".to_owned());
        }
        if self.hot_request_seconds >= self.lease_seconds {
            return fail(format!(
                "hot_request_seconds must be below lease_seconds ({}), not {}",
                self.lease_seconds, self.hot_request_seconds
            ));
        }
        for (name, percent) in
            [("low_priority_percent", self.low_priority_percent), ("troubled_percent", self.troubled_percent)]
        {
            if !(1..=100).contains(&percent) {
                return fail(format!("{name} must be 1 to 100, not {percent}"));
            }
        }
        if self.budget_requests < 20 {
            return fail(format!(
                "budget_requests must be at least 20 (one batch), not {}",
                self.budget_requests
            ));
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

    /// From the end of one sweep to the next, where Entra ID does not tell what changed and a sweep took so long.
    pub(crate) fn sweep_without_delta(&self, took: Duration) -> Duration {
        let seconds = self.sweep_without_delta_interval_seconds.min(self.sweep_interval_seconds);
        let most = Duration::from_secs(self.sweep_interval_seconds.into());
        Duration::from_secs(seconds.into()).max(took).min(most)
    }

    pub(crate) fn coa_calm(&self) -> time::Duration {
        time::Duration::seconds(self.coa_calm_seconds.into())
    }

    pub(crate) fn coa_jitter(&self) -> time::Duration {
        time::Duration::milliseconds(self.coa_jitter_millis.into())
    }

    /// How often to look at devices.
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            hot: time::Duration::seconds(self.hot_interval_seconds.into()),
            hot_max: time::Duration::seconds(self.hot_interval_max_seconds.into()),
        }
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
        let config = SyncConfig { hot_workers: 0, ..SyncConfig::default() };
        assert_eq!(config.check().unwrap_err().0, "hot_workers must not be 0");
        let config = SyncConfig { hot_interval_max_seconds: 5, ..SyncConfig::default() };
        assert!(config.check().unwrap_err().0.contains("hot_interval_seconds"));
        let config = SyncConfig { low_priority_percent: 0, ..SyncConfig::default() };
        assert!(config.check().unwrap_err().0.contains("low_priority_percent"));
    }
}
