//! A clock that follows another one, which is asked for the time now and then. Pure.
//!
//! Processes on several machines compare what they wrote by its time. They agree on whose clock counts, and each
//! keeps by how much its own machine's is off.

use std::sync::atomic::{AtomicI64, Ordering};

use time::{Duration, OffsetDateTime};

use super::{Clock, SharedClock, truncate_micros};

/// An answer that took longer says too little.
const ROUND_TRIP_MAX: Duration = Duration::seconds(2);
/// Nothing depends on less than this, beside half of the round trip.
const RESOLUTION: Duration = Duration::milliseconds(5);

/// One question to the other clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// By the own clock.
    pub asked_at: OffsetDateTime,
    /// What the other clock said.
    pub said: OffsetDateTime,
    /// By the own clock.
    pub answered_at: OffsetDateTime,
}

/// How far the other clock is ahead of the own one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    pub ahead: Duration,
    /// It may be so much more or less.
    pub uncertainty: Duration,
}

impl Reading {
    /// The other clock was read somewhere between question and answer, taken for the middle. `None` where the answer
    /// took too long, or the own clock was set back meanwhile.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        let round_trip = self.answered_at - self.asked_at;
        if round_trip.is_negative() || round_trip > ROUND_TRIP_MAX {
            return None;
        }
        let half = round_trip / 2;
        Some(Offset { ahead: self.said - (self.asked_at + half), uncertainty: half + RESOLUTION })
    }
}

/// What several readings in a row come to: the one with the shortest way is the best.
#[must_use]
pub fn best(readings: &[Reading]) -> Option<Offset> {
    readings.iter().filter_map(Reading::offset).min_by_key(|offset| offset.uncertainty)
}

/// The offset to go by from now on, where it was `present`. A difference that the measurement may have made up is
/// none.
#[must_use]
pub fn corrected(present: Duration, measured: Offset) -> Duration {
    if (measured.ahead - present).abs() <= measured.uncertainty { present } else { measured.ahead }
}

/// The own clock, put right by what [`FollowingClock::follow`] was last told.
pub struct FollowingClock {
    own: SharedClock,
    /// Microseconds.
    ahead: AtomicI64,
}

impl FollowingClock {
    /// As the own clock goes, until it is told otherwise.
    #[must_use]
    pub const fn new(own: SharedClock) -> Self {
        Self { own, ahead: AtomicI64::new(0) }
    }

    /// The clock that readings are to be made with.
    #[must_use]
    pub fn own(&self) -> SharedClock {
        self.own.clone()
    }

    /// By how much the own clock is put right.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        Duration::microseconds(self.ahead.load(Ordering::Relaxed))
    }

    /// Goes by these readings from now on. Returns what they came to; `None`, and nothing changes, where they say
    /// nothing.
    pub fn follow(&self, readings: &[Reading]) -> Option<Offset> {
        let measured = best(readings)?;
        let ahead = corrected(self.ahead(), measured).whole_microseconds();
        self.ahead.store(i64::try_from(ahead).ok()?, Ordering::Relaxed);
        Some(measured)
    }
}

impl Clock for FollowingClock {
    fn now(&self) -> OffsetDateTime {
        let own = self.own.now();
        own.checked_add(self.ahead()).map_or(own, truncate_micros)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;
    use crate::time::ManualClock;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    /// All in milliseconds; `said` by how much more than the moment of the question.
    fn reading(said: i64, round_trip: i64) -> Reading {
        Reading {
            asked_at: NOW,
            said: NOW + Duration::milliseconds(said),
            answered_at: NOW + Duration::milliseconds(round_trip),
        }
    }

    #[test]
    fn an_offset_is_measured_from_the_middle_of_the_way() {
        for (said, round_trip, wanted) in [
            (0, 0, Some((0, 5))),
            (1, 2, Some((0, 6))),
            (300_010, 20, Some((300_000, 15))),
            (-299_990, 20, Some((-300_000, 15))),
            (1000, 2000, Some((0, 1005))),
            (0, 2001, None),
            (0, -1, None),
        ] {
            let offset = reading(said, round_trip).offset();
            let millis =
                offset.map(|one| (one.ahead.whole_milliseconds(), one.uncertainty.whole_milliseconds()));
            assert_eq!(millis, wanted, "{said} within {round_trip}");
        }
    }

    #[test]
    fn what_a_measurement_may_have_made_up_is_not_applied() {
        for (present, said, round_trip, wanted) in [
            (0, 15, 20, 0),
            (0, 25, 20, 0),
            (0, 26, 20, 16),
            (0, -6, 20, -16),
            (300_000, 300_020, 20, 300_000),
            (300_000, 10, 20, 0),
        ] {
            let measured = reading(said, round_trip).offset().unwrap();
            let after = corrected(Duration::milliseconds(present), measured);
            assert_eq!(after.whole_milliseconds(), wanted, "{present}: {said} within {round_trip}");
        }
    }

    #[test]
    fn the_shortest_way_is_believed_and_silence_changes_nothing() {
        let own = Arc::new(ManualClock::new(NOW));
        let clock = FollowingClock::new(own.clone());
        assert_eq!(clock.now(), NOW);
        let readings = [reading(60_500, 1000), reading(60_001, 2), reading(0, 5000)];
        assert_eq!(clock.follow(&readings).unwrap().ahead, Duration::MINUTE);
        assert_eq!(clock.now(), NOW + Duration::MINUTE);
        assert_eq!(clock.follow(&[reading(0, 5000)]), None);
        assert_eq!(clock.follow(&[]), None);
        own.advance(Duration::SECOND);
        assert_eq!(clock.now(), NOW + Duration::seconds(61));
    }

    #[test]
    fn the_end_of_time_is_no_reason_to_panic() {
        let clock = FollowingClock::new(Arc::new(ManualClock::new(NOW)));
        let said = datetime!(9999-12-31 23:59:59 UTC);
        clock.follow(&[Reading { asked_at: NOW, said, answered_at: NOW }]);
        assert_eq!(clock.now(), said);
        let late = FollowingClock { own: Arc::new(ManualClock::new(said)), ahead: AtomicI64::new(i64::MAX) };
        assert_eq!(late.now(), said);
    }

    proptest! {
        #[test]
        fn the_other_clock_is_met_within_the_uncertainty(
            ahead in -1_000_000_000_i64..1_000_000_000,
            there in 0_i64..1_000_000,
            back in 0_i64..1_000_000,
            before in -1_000_000_000_i64..1_000_000_000,
        ) {
            let micros = Duration::microseconds;
            let reading = Reading {
                asked_at: NOW,
                said: NOW + micros(ahead + there),
                answered_at: NOW + micros(there + back),
            };
            let measured = reading.offset().unwrap();
            let left = (corrected(micros(before), measured) - micros(ahead)).abs();
            prop_assert!(left <= measured.uncertainty * 2, "{left}");
        }
    }
}
