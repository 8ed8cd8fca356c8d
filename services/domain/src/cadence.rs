//! When a device deserves a look of its own, between the sweeps of its fleet. Pure.
//!
//! Intune tells nobody when a device changes, so whoever waits for a change has to ask. Three kinds of devices are
//! worth asking about: those whose client is on the network and not trusted, or trusted for its grace alone; those
//! whose grace is about to end; and those that were just enrolled, whose check-ins come by a pattern that Microsoft
//! publishes.

use time::{Duration, OffsetDateTime};

use crate::device::{ComplianceState, DeviceFacts};

/// How often to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// At a device with an active session that is not trusted, or in its grace, while it keeps changing.
    pub hot: Duration,
    /// At the same device when looks have shown nothing new for long; at any device whose grace is about to end.
    pub hot_max: Duration,
}

/// What else counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// A client of this device is on the network.
    pub session: bool,
    /// Looks in a row that showed nothing new.
    pub idle_looks: u32,
}

/// Grace that ends within this is watched.
const GRACE_WATCHED: Duration = Duration::HOUR;
/// A check-in takes a moment until Graph shows it.
const CHECK_IN_SHOWS: Duration = Duration::seconds(30);

/// Check-ins after enrolment: every `.0` until `.1` has passed. Source: Microsoft, "Common questions with device
/// policies and profiles in Microsoft Intune" (policy refresh intervals).
const WINDOWS_ANDROID: &[(Duration, Duration)] =
    &[(Duration::minutes(3), Duration::minutes(15)), (Duration::minutes(15), Duration::minutes(15 + 120))];
const APPLE: &[(Duration, Duration)] = &[(Duration::minutes(15), Duration::HOUR)];

/// When to look at `device` next, strictly after `now`; `None` where sweeps and delta are enough.
#[must_use]
pub fn next_look(
    device: &DeviceFacts,
    interest: Interest,
    pace: Pace,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    if device.missing_since.is_some() {
        // Whether it is gone is asked about elsewhere.
        return None;
    }
    // Grace is lent: whoever is on the network by it is about to be repaired, or to lose it.
    let hot = interest.session && device.compliance != ComplianceState::Compliant;
    let hot = hot.then(|| now + hot_interval(interest, pace));
    [hot, near_grace_end(device, pace, now), next_check_in(device, now)].into_iter().flatten().min()
}

/// Doubles with each look that shows nothing new.
fn hot_interval(interest: Interest, pace: Pace) -> Duration {
    let factor = 1_i32.checked_shl(interest.idle_looks.min(16)).unwrap_or(i32::MAX);
    pace.hot.saturating_mul(factor).min(pace.hot_max).max(pace.hot).max(Duration::SECOND)
}

fn near_grace_end(device: &DeviceFacts, pace: Pace, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let end = device.grace_expires_at.filter(|_| device.compliance == ComplianceState::InGracePeriod)?;
    if end <= now {
        return None;
    }
    let watched_from = end - GRACE_WATCHED;
    if now < watched_from {
        return Some(watched_from);
    }
    Some((now + pace.hot_max.max(Duration::SECOND)).min(end))
}

/// A moment after the device's next expected check-in, while it is new.
fn next_check_in(device: &DeviceFacts, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let enrolled = device.enrolled_at.filter(|enrolled| *enrolled <= now)?;
    let mut from = Duration::ZERO;
    for (every, until) in pattern(device.os.as_deref()) {
        let mut due = from + *every;
        while due <= *until {
            let shown = enrolled + due + CHECK_IN_SHOWS;
            if shown > now {
                return Some(shown);
            }
            due += *every;
        }
        from = *until;
    }
    None
}

fn pattern(os: Option<&str>) -> &'static [(Duration, Duration)] {
    let os = os.unwrap_or_default().to_ascii_lowercase();
    let apple =
        ["ios", "ipados", "macos", "mac os", "tvos", "visionos"].iter().any(|name| os.starts_with(name));
    if apple { APPLE } else { WINDOWS_ANDROID }
}

#[cfg(test)]
mod tests;
