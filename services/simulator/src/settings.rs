//! The knobs that a test turns while the simulator runs: `PATCH /_sim/api/settings`.

use serde::{Deserialize, Serialize};

/// A budget of requests: `limit` per `per_seconds`, refilled evenly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    pub limit: f64,
    pub per_seconds: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// Delay of every answer of Entra and Graph.
    pub latency_ms: u64,
    /// How long a consent takes until new tokens carry its roles.
    pub consent_propagation_seconds: u32,
    /// The answer to a missing service principal: 7000229 or 700016; both are seen in the field.
    pub missing_principal_code: u32,
    /// What a cancelled consent sends back: the documented `consent_required`, or the `access_denied` seen in
    /// practice.
    pub cancel_error: CancelError,
    pub code_lifetime_seconds: u32,
    /// Access tokens live this long instead of a random 3599 to 5399 seconds.
    pub token_lifetime_seconds: Option<u32>,
    /// Items in a page of `managedDevices` without `$top`.
    pub managed_devices_page: usize,
    /// Items in a page of `devices`, without `$top`, and of `devices/delta`.
    pub devices_page: usize,
    /// How long a `$skiptoken` can be followed.
    pub skip_token_lifetime_seconds: u32,
    /// How long a `$deltatoken` can be followed.
    pub delta_token_lifetime_seconds: u32,
    /// Every n-th page of `managedDevices` is empty and still has a nextLink; 0: none.
    pub empty_page_every: usize,
    /// Each page of `managedDevices` begins with the last device of the page before.
    pub repeat_across_pages: bool,
    /// Incremental deltas report every device twice.
    pub repeat_in_delta: bool,
    /// LIST with `$select=ethernetMacAddress` returns values; not known of the real service, so off.
    pub list_ethernet_mac: bool,
    /// Requests to Intune per app and tenant.
    pub intune_budget: Budget,
    /// Resource units of the directory per app and tenant.
    pub directory_budget: Budget,
    /// Whether a 429 by budget carries Retry-After.
    pub retry_after_header: bool,
    /// Whether Intune ends grace periods and judges silent devices by itself.
    pub compliance_engine: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CancelError {
    ConsentRequired,
    AccessDenied,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            consent_propagation_seconds: 0,
            missing_principal_code: 7_000_229,
            cancel_error: CancelError::ConsentRequired,
            code_lifetime_seconds: 600,
            token_lifetime_seconds: None,
            managed_devices_page: 1_000,
            devices_page: 100,
            skip_token_lifetime_seconds: 3_600,
            delta_token_lifetime_seconds: 7 * 86_400,
            empty_page_every: 0,
            repeat_across_pages: false,
            repeat_in_delta: false,
            list_ethernet_mac: false,
            // Published limits: 2000 requests in 20 s for Intune devices, 3500 units in 10 s for small tenants.
            intune_budget: Budget { limit: 2_000.0, per_seconds: 20.0 },
            directory_budget: Budget { limit: 3_500.0, per_seconds: 10.0 },
            retry_after_header: true,
            compliance_engine: true,
        }
    }
}
