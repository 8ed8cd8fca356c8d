//! When commands go out: a pace per edge, jitter, and the calm that follows a move.

use std::collections::BTreeSet;

use time::{Duration, OffsetDateTime};

/// Commands to one edge are spread by jitter where more than this many are on their way.
pub const HANDFUL: usize = 5;

/// The moments at which commands go out to one edge. No two that it gives are closer together than the interval;
/// a moment that became free (its command was withdrawn) is given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    interval: Duration,
    jitter: Duration,
    taken: BTreeSet<OffsetDateTime>,
}

impl Pace {
    /// `per_second` commands at most, at least one; `jitter` is the most that one of many waits longer. `taken` are
    /// the moments of the commands that are on their way.
    #[must_use]
    pub fn new(per_second: u32, jitter: Duration, taken: impl IntoIterator<Item = OffsetDateTime>) -> Self {
        let interval = Duration::microseconds(1_000_000 / i64::from(per_second.max(1)));
        Self { interval, jitter, taken: taken.into_iter().collect() }
    }

    /// Takes the first free moment from `earliest` on; one of many is first put off by a part of the jitter, chosen
    /// by `random` (any number).
    pub fn take(&mut self, earliest: OffsetDateTime, random: u64) -> OffsetDateTime {
        let spread = u64::try_from(self.jitter.whole_microseconds()).unwrap_or(0);
        let mut at = earliest;
        if self.taken.len() >= HANDFUL && spread > 0 {
            at += Duration::microseconds(i64::try_from(random % (spread + 1)).unwrap_or(0));
        }
        // Each one that is too close pushes to behind it; those that follow are looked at in their order.
        let close = self.taken.range(at - self.interval + Duration::NANOSECOND..);
        for taken in close {
            if *taken - at >= self.interval {
                break;
            }
            at = *taken + self.interval;
        }
        self.taken.insert(at);
        at
    }

    /// Gives a moment back.
    pub fn free(&mut self, at: OffsetDateTime) {
        self.taken.remove(&at);
    }
}

/// Until when a client that was moved at `moved_at` is left in peace; `None`: it may move at once.
#[must_use]
pub fn calm_until(
    moved_at: Option<OffsetDateTime>,
    calm: Duration,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    moved_at.map(|at| at + calm).filter(|until| *until > now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    #[test]
    fn the_first_goes_at_once_and_the_others_at_the_pace() {
        let mut pace = Pace::new(10, Duration::ZERO, []);
        let at: Vec<i128> = (0..4).map(|_| (pace.take(NOW, 7) - NOW).whole_milliseconds()).collect();
        assert_eq!(at, [0, 100, 200, 300]);
    }

    #[test]
    fn a_moment_that_became_free_is_given_again_and_a_far_one_holds_nobody_up() {
        let later = NOW + Duration::MINUTE;
        let mut pace = Pace::new(10, Duration::ZERO, [NOW, NOW + Duration::milliseconds(200), later]);
        assert_eq!(pace.take(NOW, 0), NOW + Duration::milliseconds(100));
        assert_eq!(pace.take(NOW, 0), NOW + Duration::milliseconds(300));
        assert_eq!(pace.take(later, 0), later + Duration::milliseconds(100));
        pace.free(NOW);
        assert_eq!(pace.take(NOW, 0), NOW);
    }

    #[test]
    fn a_handful_is_not_spread_and_a_crowd_is() {
        let jitter = Duration::milliseconds(500);
        let mut pace = Pace::new(1000, jitter, []);
        let gaps: Vec<i128> =
            (0..20).map(|n| (pace.take(NOW, n * 97_000) - NOW).whole_milliseconds()).collect();
        assert_eq!(gaps[..HANDFUL], [0, 1, 2, 3, 4]);
        assert!(gaps.iter().any(|gap| *gap > 400), "{gaps:?}");
        assert!(gaps.iter().all(|gap| *gap <= 520), "{gaps:?}");
    }

    #[test]
    fn calm_ends() {
        let calm = Duration::seconds(60);
        assert_eq!(calm_until(None, calm, NOW), None);
        assert_eq!(calm_until(Some(NOW - Duration::seconds(59)), calm, NOW), Some(NOW + Duration::SECOND));
        assert_eq!(calm_until(Some(NOW - calm), calm, NOW), None);
    }

    proptest! {
        #[test]
        fn no_two_are_closer_than_the_interval_and_none_is_early(
            rate in 1_u32..200,
            jitter in 0_i64..2000,
            wishes in proptest::collection::vec((0_i64..5000, any::<u64>()), 1..60),
        ) {
            let mut pace = Pace::new(rate, Duration::milliseconds(jitter), []);
            let mut given: Vec<OffsetDateTime> = Vec::new();
            for (millis, random) in wishes {
                let earliest = NOW + Duration::milliseconds(millis);
                let at = pace.take(earliest, random);
                prop_assert!(at >= earliest);
                given.push(at);
            }
            given.sort_unstable();
            let interval = Duration::microseconds(1_000_000 / i64::from(rate));
            prop_assert!(given.windows(2).all(|pair| pair[1] - pair[0] >= interval));
        }
    }
}
