//! The simulator's two clocks and its random ids: the one place that reads the ambient time and randomness.
//!
//! The fleet clock drives what Intune does by itself: check-ins, grace periods, token and cursor lifetimes of
//! Graph pages. The login clock stamps and checks tokens. They are apart because a test that advances the fleet
//! by a day, while its client lives on real time, must still be able to sign in.

use std::sync::atomic::{AtomicI64, Ordering};

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

#[derive(Debug, Default)]
pub struct Clock {
    fleet_offset_us: AtomicI64,
    login_offset_us: AtomicI64,
}

impl Clock {
    /// Both clocks start at `start`, or at the real time.
    #[must_use]
    pub fn starting_at(start: Option<OffsetDateTime>) -> Self {
        let offset = start.map_or(0, |start| micros(start - system_now()));
        Self { fleet_offset_us: AtomicI64::new(offset), login_offset_us: AtomicI64::new(offset) }
    }

    #[must_use]
    pub fn fleet(&self) -> OffsetDateTime {
        system_now() + Duration::microseconds(self.fleet_offset_us.load(Ordering::Relaxed))
    }

    #[must_use]
    pub fn login(&self) -> OffsetDateTime {
        system_now() + Duration::microseconds(self.login_offset_us.load(Ordering::Relaxed))
    }

    /// Moves the fleet clock, and the login clock too where `tokens` says so.
    pub fn advance(&self, by: Duration, tokens: bool) {
        self.fleet_offset_us.fetch_add(micros(by), Ordering::Relaxed);
        if tokens {
            self.login_offset_us.fetch_add(micros(by), Ordering::Relaxed);
        }
    }

    pub fn set_offsets(&self, fleet: Duration, login: Duration) {
        self.fleet_offset_us.store(micros(fleet), Ordering::Relaxed);
        self.login_offset_us.store(micros(login), Ordering::Relaxed);
    }

    #[must_use]
    pub fn offsets(&self) -> (Duration, Duration) {
        (
            Duration::microseconds(self.fleet_offset_us.load(Ordering::Relaxed)),
            Duration::microseconds(self.login_offset_us.load(Ordering::Relaxed)),
        )
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.whole_microseconds()).unwrap_or(i64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the simulator's clocks are offsets from this reading")]
fn system_now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A random GUID, for trace ids, request ids and whatever else the real service makes up per request.
#[must_use]
pub fn random_guid() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

/// `bytes` random bytes as base64url, for codes and cookies.
#[must_use]
pub fn random_token<const BYTES: usize>() -> String {
    use base64::Engine as _;
    let bytes: [u8; BYTES] = std::array::from_fn(|_| rand::random());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A GUID that depends on `name` alone, so that tenants and users keep theirs over restarts and machines.
#[must_use]
pub fn stable_guid(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes())
}
