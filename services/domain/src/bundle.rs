//! What an edge decides from while the cloud is away: the policy, and the facts of the clients that its site saw
//! lately.
//!
//! The same functions decide as in the cloud, so the answer is the same wherever the bundle covers the client. Of a
//! client that the site never saw it says nothing: that nobody here bears a key does not mean that nobody does.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::DecisionId;
use crate::answer::{Ground, answer, without_facts};
use crate::decision::{Answer, Outcome, Reason};
use crate::device::DeviceFacts;
use crate::policy::CompiledPolicy;
use crate::request::AccessRequest;
use crate::resolver::{LookupKey, LookupPlan, Match, MatchKey, Outcome as Found, keys_of, resolve};
use crate::snapshot::{LinkFacts, OrgSettings};

/// What a client gets at a site where nothing can be said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// The critical VLAN; `None`: denied.
    pub vlan: Option<String>,
}

impl Fallback {
    /// The outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match &self.vlan {
            Some(vlan) => Outcome { permit: true, vlan: Some(vlan.clone()), ..Outcome::default() },
            None => Outcome::DENY,
        }
    }
}

/// A bundle, ready to decide.
#[derive(Clone, Debug)]
pub struct Bundle {
    settings: OrgSettings,
    links: Vec<LinkFacts>,
    policy: Option<CompiledPolicy>,
    fallback: Fallback,
    /// From then on it is too old.
    ends_at: OffsetDateTime,
    /// Keys of which everything is known.
    covered: HashSet<LookupKey>,
    /// By key, ordered by link and id.
    devices: HashMap<LookupKey, Vec<DeviceFacts>>,
}

/// What goes into a bundle.
#[derive(Clone, Debug)]
pub struct Contents {
    pub settings: OrgSettings,
    pub links: Vec<LinkFacts>,
    pub policy: Option<CompiledPolicy>,
    pub fallback: Fallback,
    pub issued_at: OffsetDateTime,
    pub max_age: Duration,
    pub covered: HashSet<LookupKey>,
    /// Every device that bears a covered key.
    pub devices: Vec<DeviceFacts>,
}

impl Bundle {
    /// Indexes the devices by every key that they bear.
    #[must_use]
    pub fn new(contents: Contents) -> Self {
        let Contents { settings, links, policy, fallback, issued_at, max_age, covered, devices: mut all } =
            contents;
        all.sort_by_key(|device| (device.link, device.id));
        let mut devices: HashMap<LookupKey, Vec<DeviceFacts>> = HashMap::new();
        for device in all {
            let mut keys = keys_of(&device);
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                devices.entry(key).or_default().push(device.clone());
            }
        }
        let ends_at = issued_at.checked_add(max_age).unwrap_or(issued_at);
        Self { settings, links, policy, fallback, ends_at, covered, devices }
    }

    /// Whether it is too old to decide from.
    #[must_use]
    pub fn is_over(&self, now: OffsetDateTime) -> bool {
        now >= self.ends_at
    }

    /// Decides. Total: where the bundle is too old, or does not cover the client, the site's fallback is the answer,
    /// with a reason that says so.
    #[must_use]
    pub fn answer(&self, request: &AccessRequest, id: DecisionId, now: OffsetDateTime) -> Answer {
        if self.is_over(now) {
            return without_facts(self.fallback.outcome(), Reason::SiteFallback, id, now);
        }
        let plan = LookupPlan::of(request);
        let found = resolve(&plan, |key| self.devices.get(key).map_or(&[], Vec::as_slice));
        if !self.covers(&plan, &found) {
            return without_facts(self.fallback.outcome(), Reason::SiteFallback, id, now);
        }
        let ground = Ground { settings: &self.settings, links: &self.links, policy: self.policy.as_ref() };
        answer(ground, request, &found, id, now)
    }

    /// Whether the search could not have ended otherwise with all devices at hand: every key that was asked before
    /// the end, and those of the end itself, is covered.
    fn covers(&self, plan: &LookupPlan, found: &Match<'_>) -> bool {
        for tier in &plan.tiers {
            let all = tier.alternatives.iter().flatten().all(|key| self.covered.contains(key));
            if !all {
                return false;
            }
            let ended = match found.outcome {
                Found::Device(_) | Found::Ambiguous => found.key == Some(tier.key),
                // An explicit Intune id ends the search, whether it hits or not.
                Found::NotEnrolled => tier.key == MatchKey::SanUri,
            };
            if ended {
                return true;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
