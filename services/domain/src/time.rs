//! Time and randomness as arguments.

pub mod follow;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use time::{Duration, OffsetDateTime};
use uuid::{Builder, Uuid};

/// Where the present comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present, UTC, cut to the microsecond that PostgreSQL keeps.
    fn now(&self) -> OffsetDateTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where ambient time enters")]
    fn now(&self) -> OffsetDateTime {
        truncate_micros(OffsetDateTime::now_utc())
    }
}

/// A clock that a test moves by hand.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `at`.
    #[must_use]
    pub fn new(at: OffsetDateTime) -> Self {
        Self(AtomicI64::new(micros(at)))
    }

    /// Moves the clock forward (or back).
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.whole_microseconds()).unwrap_or(i64::MAX);
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets the clock.
    pub fn set(&self, at: OffsetDateTime) {
        self.0.store(micros(at), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::microseconds(self.0.load(Ordering::SeqCst))
    }
}

/// A clock shared by the parts of a process.
pub type SharedClock = Arc<dyn Clock>;

fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from((at - OffsetDateTime::UNIX_EPOCH).whole_microseconds()).unwrap_or(i64::MAX)
}

/// PostgreSQL keeps microseconds; values that were written and read back must compare equal.
#[must_use]
pub fn truncate_micros(at: OffsetDateTime) -> OffsetDateTime {
    let nanos = at.nanosecond();
    at.replace_nanosecond(nanos - nanos % 1_000).unwrap_or(at)
}

/// Makes identifiers: UUID version 7, ordered by time.
#[derive(Clone, Debug)]
pub struct Ids(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Seeded(Arc<AtomicU64>),
}

impl Ids {
    /// Random bits from the operating system.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A repeatable sequence, for tests.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    /// A version 7 UUID whose time is `now`.
    #[must_use]
    pub fn uuid(&self, now: OffsetDateTime) -> Uuid {
        let random = self.bytes();
        let millis = u64::try_from((now - OffsetDateTime::UNIX_EPOCH).whole_milliseconds()).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// Any of the typed identifiers.
    #[must_use]
    pub fn make<T: From<Uuid>>(&self, now: OffsetDateTime) -> T {
        T::from(self.uuid(now))
    }

    /// 256 random bits, for a credential. From the operating system, unless a test seeded them.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for chunk in out.chunks_mut(10) {
            chunk.copy_from_slice(&self.bytes()[..chunk.len()]);
        }
        out
    }

    fn bytes(&self) -> [u8; 10] {
        let full = match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place where randomness enters")]
            Source::System => *Uuid::new_v4().as_bytes(),
            Source::Seeded(counter) => {
                let n = counter.fetch_add(1, Ordering::SeqCst);
                Uuid::from_u64_pair(split_mix(n), split_mix(n ^ 0x9e37_79b9_7f4a_7c15)).into_bytes()
            }
        };
        let mut out = [0; 10];
        // Bytes 6 and 8 of a version 4 UUID hold its version and variant: take the others.
        for (to, from) in out.iter_mut().zip([0, 1, 2, 3, 4, 5, 7, 9, 10, 11]) {
            *to = full[from];
        }
        out
    }
}

/// The instant that a version 7 UUID carries, to the millisecond; `None` for other versions.
#[must_use]
pub fn uuid_time(id: Uuid) -> Option<OffsetDateTime> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    Some(at + Duration::nanoseconds(i64::from(nanos)))
}

/// A version 7 UUID whose time is `at` and whose other bits are a hash of `name`: whoever tells of the same thing
/// gives it the same id.
#[must_use]
pub fn uuid_of(at: OffsetDateTime, name: &str) -> Uuid {
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).into_bytes();
    let mut bits = [0; 10];
    for (to, from) in bits.iter_mut().zip([0, 1, 2, 3, 4, 5, 7, 9, 10, 11]) {
        *to = hash[from];
    }
    let millis = u64::try_from((at - OffsetDateTime::UNIX_EPOCH).whole_milliseconds()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &bits).into_uuid()
}

/// SplitMix64 (Steele, Lea and Flood, 2014), enough to tell test identifiers apart.
const fn split_mix(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn an_id_carries_its_time() {
        let now = datetime!(2026-11-20 12:34:56.789 UTC);
        let id = Ids::seeded(1).uuid(now);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(uuid_time(id), Some(now));
    }

    #[test]
    fn the_same_thing_has_the_same_id() {
        let at = datetime!(2026-11-20 12:34:56.789 UTC);
        let id = uuid_of(at, "edge/session/stop");
        assert_eq!(id, uuid_of(at, "edge/session/stop"));
        assert_ne!(id, uuid_of(at, "edge/session/start"));
        assert_eq!((id.get_version_num(), uuid_time(id)), (7, Some(at)));
    }

    #[test]
    fn secrets_differ() {
        let ids = Ids::system();
        assert_ne!(ids.secret(), ids.secret());
        assert_eq!(Ids::seeded(1).secret(), Ids::seeded(1).secret());
    }

    #[test]
    fn seeded_ids_repeat_and_differ() {
        let now = datetime!(2026-11-20 12:00 UTC);
        let (a, b) = (Ids::seeded(7), Ids::seeded(7));
        let first = a.uuid(now);
        assert_eq!(first, b.uuid(now));
        assert_ne!(first, a.uuid(now));
    }
}
