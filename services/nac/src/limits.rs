//! How much one edge may ask of this process: a bucket of tokens for each, in memory.
//!
//! An edge that runs wild, or a stolen credential, must not take the service from the others. No store is asked, so
//! that the check costs a decision nothing; with several processes an edge may ask as much of each.

use domain::EdgeId;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use httpkit::Problem;

use crate::NacConfig;

pub struct Limits {
    edges: DefaultKeyedRateLimiter<EdgeId>,
    clock: DefaultClock,
}

impl Limits {
    pub fn new(config: &NacConfig) -> Self {
        let quota =
            Quota::per_second(config.edge_requests_per_second).allow_burst(config.edge_requests_burst);
        Self { edges: DefaultKeyedRateLimiter::keyed(quota), clock: DefaultClock::default() }
    }

    /// Lets one request of an edge through, or says when to ask again (429).
    pub fn admit(&self, edge: EdgeId) -> Result<(), Problem> {
        self.edges.check_key(&edge).map_err(|later| {
            let wait = later.wait_time_from(self.clock.now()).as_secs_f64().ceil().max(1.0);
            // At most a bucket's time: small.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 3,600"
            )]
            let seconds = wait.min(3_600.0) as u32;
            Problem::too_many(seconds)
        })
    }

    /// Forgets edges that have not asked for a while.
    pub fn tidy(&self) {
        self.edges.retain_recent();
    }
}
