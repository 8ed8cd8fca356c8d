//! Every change of compliance, numbered: what a test compares Gatehouse's own history with.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

const KEPT: usize = 100_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    pub sequence: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub tenant_id: Uuid,
    pub device_id: String,
    #[serde(rename = "azureADDeviceId")]
    pub azure_ad_device_id: String,
    pub device_name: String,
    pub from: String,
    pub to: String,
    pub cause: Cause,
}

/// Who changed the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The control API.
    Api,
    /// A button on the simulator's page.
    Page,
    /// The end of the grace period.
    GraceExpired,
    /// No check-in within the validity period.
    Inactive,
    /// The device checked in and was evaluated again.
    CheckIn,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct TransitionLog {
    sequence: u64,
    entries: VecDeque<Transition>,
}

impl TransitionLog {
    /// Appends `transition` under the next number, which it returns.
    pub fn push(&mut self, mut transition: Transition) -> u64 {
        self.sequence += 1;
        transition.sequence = self.sequence;
        self.entries.push_back(transition);
        if self.entries.len() > KEPT {
            self.entries.pop_front();
        }
        self.sequence
    }

    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Transitions after number `since`, oldest first, of one tenant or of all.
    pub fn since(&self, since: u64, tenant: Option<Uuid>) -> impl Iterator<Item = &Transition> {
        let from = self.entries.partition_point(|entry| entry.sequence <= since);
        self.entries.range(from..).filter(move |entry| tenant.is_none_or(|tenant| entry.tenant_id == tenant))
    }

    /// The newest transitions of a tenant, newest first.
    pub fn latest(&self, tenant: Uuid) -> impl Iterator<Item = &Transition> {
        self.entries.iter().rev().filter(move |entry| entry.tenant_id == tenant)
    }

    pub fn forget_tenant(&mut self, tenant: Uuid) {
        self.entries.retain(|entry| entry.tenant_id != tenant);
    }
}
