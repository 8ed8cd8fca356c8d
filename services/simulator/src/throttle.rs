//! Request budgets per app and tenant.

use std::collections::HashMap;

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::settings::Budget;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    Intune,
    Directory,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: OffsetDateTime,
}

#[derive(Debug, Default)]
pub struct Throttle {
    buckets: HashMap<(Service, String, Uuid), Bucket>,
    /// When an app last listed all noncompliant devices of a tenant.
    listed: HashMap<(String, Uuid), OffsetDateTime>,
}

/// What a request cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// Set where the budget is exceeded: seconds until a request can succeed.
    pub retry_after: Option<u32>,
    /// How much of the budget is used, 1.0 being all of it.
    pub used: f64,
}

impl Throttle {
    /// Takes `units` from a bucket. A refused request counts too ("throttled requests still accrue"), down to a
    /// debt of a tenth of the budget, so that whoever waits as told gets through.
    pub fn spend(
        &mut self,
        service: Service,
        client_id: &str,
        tenant: Uuid,
        units: f64,
        budget: Budget,
        now: OffsetDateTime,
    ) -> Spent {
        let rate = budget.limit / budget.per_seconds.max(0.001);
        let bucket = self
            .buckets
            .entry((service, client_id.to_owned(), tenant))
            .or_insert(Bucket { tokens: budget.limit, at: now });
        let passed = (now - bucket.at).as_seconds_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * rate).min(budget.limit);
        bucket.at = now;
        let enough = bucket.tokens >= units;
        bucket.tokens = (bucket.tokens - units).max(-budget.limit / 10.0);
        let retry_after = (!enough).then(|| {
            let seconds = ((units - bucket.tokens) / rate.max(0.001)).ceil().clamp(1.0, 3_600.0);
            whole(seconds)
        });
        Spent { retry_after, used: 1.0 - bucket.tokens / budget.limit.max(1.0) }
    }

    /// Whether an app may list all noncompliant devices of a tenant now: once in four hours.
    pub fn may_list(&mut self, client_id: &str, tenant: Uuid, now: OffsetDateTime) -> bool {
        let key = (client_id.to_owned(), tenant);
        if self.listed.get(&key).is_some_and(|last| now - *last < Duration::hours(4)) {
            return false;
        }
        self.listed.insert(key, now);
        true
    }

    pub fn clear(&mut self) {
        self.listed.clear();
        self.buckets.clear();
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=3600 before")]
const fn whole(seconds: f64) -> u32 {
    seconds as u32
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_budget_runs_out_per_app_and_tenant_and_refills() {
        let mut throttle = Throttle::default();
        let budget = Budget { limit: 10.0, per_seconds: 20.0 };
        let now = datetime!(2026-01-01 0:00 UTC);
        let tenant = Uuid::from_u128(1);
        let mut spend = |client: &str, at| throttle.spend(Service::Intune, client, tenant, 1.0, budget, at);
        assert!((0..10).all(|_| spend("a", now).retry_after.is_none()));
        let wait = spend("a", now).retry_after.unwrap();
        assert!((2..=4).contains(&wait), "{wait}");
        assert!(spend("b", now).retry_after.is_none());
        assert!(spend("a", now + Duration::seconds(i64::from(wait) + 1)).retry_after.is_none());
    }
}
