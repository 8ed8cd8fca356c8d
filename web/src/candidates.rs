//! Which device a client is, by what is stored now: found as decisions find it.

use std::collections::HashMap;

use domain::device::DeviceFacts;
use domain::request::AccessRequest;
use domain::resolver::{LookupKey, LookupPlan, Match, resolve};
use store::devices::{self, CANDIDATES_MAX};
use store::{OrgTx, StoreError};

/// The devices under a client's keys.
pub(crate) struct Candidates {
    plan: LookupPlan,
    devices: HashMap<LookupKey, Vec<DeviceFacts>>,
}

impl Candidates {
    /// Of the client that asks this.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn of(tx: &mut OrgTx, request: &AccessRequest) -> Result<Self, StoreError> {
        let plan = LookupPlan::of(request);
        let devices = devices::by_keys(tx, &plan.keys(), CANDIDATES_MAX).await?;
        Ok(Self { plan, devices })
    }

    /// What matched.
    pub(crate) fn found(&self) -> Match<'_> {
        resolve(&self.plan, |key| self.devices.get(key).map_or(&[], Vec::as_slice))
    }

    /// Every key of the client, in the order of belief.
    pub(crate) fn keys(&self) -> Vec<LookupKey> {
        self.plan.keys()
    }
}
