//! How often a page may be looked at, and a check be asked for: by client, and by organization, over all processes.
//!
//! What was taken is counted in Redis. While that is away each process counts for itself, so that a page that anybody
//! can open never becomes a way to make the sync work without end.

use std::num::NonZeroU32;
use std::time::Duration;

use cache::{Budget, Cache};
use domain::{OrgId, SessionId};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use sealing::PageToken;

/// A page that renews itself while a check goes on asks twenty times a minute.
const VIEWS_PER_CLIENT: u32 = 60;
const CHECKS_PER_CLIENT: u32 = 2;
const CHECKS_PER_ORG: u32 = 120;
const WINDOW: Duration = Duration::from_secs(60);
/// Clients that are remembered here before those that have not asked for a while are forgotten.
const REMEMBERED_MAX: usize = 10_000;

pub(crate) struct Limits {
    views: DefaultKeyedRateLimiter<SessionId>,
    checks: DefaultKeyedRateLimiter<SessionId>,
    checks_of_org: DefaultKeyedRateLimiter<OrgId>,
    clock: DefaultClock,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            views: keyed(VIEWS_PER_CLIENT),
            checks: keyed(CHECKS_PER_CLIENT),
            checks_of_org: keyed(CHECKS_PER_ORG),
            clock: DefaultClock::default(),
        }
    }
}

fn keyed<K: Clone + Eq + std::hash::Hash>(per_window: u32) -> DefaultKeyedRateLimiter<K> {
    let count = NonZeroU32::new(per_window).unwrap_or(NonZeroU32::MIN);
    DefaultKeyedRateLimiter::keyed(Quota::per_minute(count))
}

impl Limits {
    /// How long to wait, where the page was looked at too often.
    pub(super) async fn view(&self, cache: &Cache, token: &PageToken) -> Option<Duration> {
        let name = format!("remediation-view:{}:{}", token.org, token.session);
        take(cache, &name, VIEWS_PER_CLIENT, || self.alone(&self.views, &token.session)).await
    }

    /// How long to wait, where checks were asked for too often.
    pub(super) async fn check(&self, cache: &Cache, token: &PageToken) -> Option<Duration> {
        let name = format!("remediation-check:{}:{}", token.org, token.session);
        let client = take(cache, &name, CHECKS_PER_CLIENT, || self.alone(&self.checks, &token.session)).await;
        if client.is_some() {
            return client;
        }
        let name = format!("remediation-check:{}", token.org);
        take(cache, &name, CHECKS_PER_ORG, || self.alone(&self.checks_of_org, &token.org)).await
    }

    fn alone<K: Clone + Eq + std::hash::Hash>(
        &self,
        limiter: &DefaultKeyedRateLimiter<K>,
        key: &K,
    ) -> Option<Duration> {
        if limiter.len() > REMEMBERED_MAX {
            limiter.retain_recent();
        }
        limiter.check_key(key).err().map(|later| later.wait_time_from(self.clock.now()))
    }
}

async fn take(
    cache: &Cache,
    name: &str,
    per_window: u32,
    alone: impl FnOnce() -> Option<Duration>,
) -> Option<Duration> {
    match cache.take_budget(name, 1, per_window, WINDOW).await {
        Ok(Budget::Granted) => None,
        Ok(Budget::RetryAfter(wait)) => Some(wait),
        Err(error) => {
            tracing::debug!(%error, "Redis is away; a page is limited by this process alone");
            alone()
        }
    }
}
