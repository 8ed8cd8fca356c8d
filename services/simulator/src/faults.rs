//! Faults on demand: which requests go wrong, how, how often.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A rule of the plan. The first rule that matches a request and is drawn decides.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    #[serde(default)]
    pub id: u64,
    /// The endpoint's name as the request counters have it (`managedDevices.list`, `token`, …), or a beginning
    /// of it that ends at a dot. Unset: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Part of the path and query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_contains: Option<String>,
    /// Chance per matching request, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// Let this many matching requests pass first.
    #[serde(default)]
    pub skip: u64,
    /// Strike this many times, then never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    pub effect: Effect,
    /// How often it has struck.
    #[serde(default)]
    pub struck: u64,
}

const fn always() -> f64 {
    1.0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Effect {
    /// Answer with an error: 429, 503, 504, 500, 401, 403, …
    Status {
        status: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<RetryAfter>,
        /// For the login endpoints, the AADSTS code to answer with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        aadsts: Option<u32>,
        /// A body of the caller's choice, sent as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// Answer properly, later.
    Slow { latency_ms: u64 },
    /// Send the headers and this many bytes of the body, then drop the connection.
    Truncate { bytes: usize },
    /// Reset the connection (RST) without any answer.
    Reset,
    /// Do the work, then reset the connection before the answer leaves.
    ResetAfter,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RetryAfter {
    Seconds(u32),
    /// Any header text, for instance an HTTP date.
    Text(String),
}

impl RetryAfter {
    #[must_use]
    pub fn header(&self) -> String {
        match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// What a fault rule can be matched with.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub endpoint: &'a str,
    pub path: &'a str,
    pub tenant_id: Option<Uuid>,
    pub client_id: Option<&'a str>,
}

#[derive(Debug)]
pub struct FaultPlan {
    faults: Vec<Fault>,
    next_id: u64,
    random: ChaCha8Rng,
}

impl FaultPlan {
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { faults: Vec::new(), next_id: 1, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    pub fn add(&mut self, mut fault: Fault) -> Fault {
        fault.id = self.next_id;
        fault.struck = 0;
        self.next_id += 1;
        self.faults.push(fault.clone());
        fault
    }

    #[must_use]
    pub fn list(&self) -> &[Fault] {
        &self.faults
    }

    pub fn clear(&mut self) {
        self.faults.clear();
    }

    /// Whether there was such a fault.
    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.faults.len();
        self.faults.retain(|fault| fault.id != id);
        self.faults.len() < before
    }

    /// What goes wrong with this request, if anything.
    pub fn draw(&mut self, target: Target<'_>) -> Option<Effect> {
        let Self { faults, random, .. } = self;
        faults.iter_mut().find_map(|fault| {
            let spent = fault.times.is_some_and(|times| fault.struck >= times);
            if spent || !fault.matches(target) {
                return None;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                return None;
            }
            if fault.probability < 1.0 && random.random::<f64>() >= fault.probability {
                return None;
            }
            fault.struck += 1;
            Some(fault.effect.clone())
        })
    }

    /// A draw for whatever else is random but must follow the seed.
    pub fn random_below(&mut self, bound: u32) -> u32 {
        self.random.random_range(0..bound)
    }
}

impl Fault {
    fn matches(&self, target: Target<'_>) -> bool {
        let under = |wanted: &String| {
            target
                .endpoint
                .strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.endpoint.as_ref().is_none_or(under)
            && self.tenant_id.is_none_or(|tenant| target.tenant_id == Some(tenant))
            && self.client_id.as_deref().is_none_or(|client| target.client_id == Some(client))
            && self.path_contains.as_ref().is_none_or(|part| target.path.contains(part.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        serde_json::from_str(text).unwrap()
    }

    const LIST: Target<'_> = Target {
        endpoint: "managedDevices.list",
        path: "/v1.0/deviceManagement/managedDevices",
        tenant_id: None,
        client_id: None,
    };

    #[test]
    fn a_fault_skips_then_strikes_so_many_times() {
        let mut plan = FaultPlan::seeded(1);
        plan.add(fault(
            r#"{"endpoint":"managedDevices","skip":1,"times":2,"effect":{"kind":"status","status":503,"retryAfter":7}}"#,
        ));
        let struck: Vec<bool> = (0..5).map(|_| plan.draw(LIST).is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
    }

    #[test]
    fn chance_follows_the_seed() {
        let run = || {
            let mut plan = FaultPlan::seeded(9);
            plan.add(fault(r#"{"probability":0.3,"effect":{"kind":"reset"}}"#));
            (0..200).map(|_| plan.draw(LIST).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        let struck = run().into_iter().filter(|struck| *struck).count();
        assert!((30..90).contains(&struck), "{struck}");
    }

    #[test]
    fn an_endpoint_matches_as_a_whole_word() {
        let mut plan = FaultPlan::seeded(1);
        plan.add(fault(r#"{"endpoint":"managed","effect":{"kind":"reset"}}"#));
        assert_eq!(plan.draw(LIST), None);
    }
}
