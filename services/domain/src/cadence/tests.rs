use proptest::prelude::*;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::{DeviceId, LinkId};

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const PACE: Pace = Pace { hot: Duration::seconds(60), hot_max: Duration::seconds(300) };
const IN_SESSION: Interest = Interest { session: true, idle_looks: 0 };
const AWAY: Interest = Interest { session: false, idle_looks: 0 };

fn device(state: &str) -> DeviceFacts {
    let ids = (LinkId(Uuid::from_u128(1)), DeviceId(Uuid::from_u128(2)));
    DeviceFacts {
        enrolled_at: Some(NOW - Duration::days(90)),
        os: Some("Windows".to_owned()),
        ..DeviceFacts::bare(ids.0, ids.1, ComplianceState::from(state.to_owned()), NOW)
    }
}

/// Seconds until the next look.
fn wait(device: &DeviceFacts, interest: Interest) -> Option<i64> {
    next_look(device, interest, PACE, NOW).map(|at| (at - NOW).whole_seconds())
}

#[test]
fn a_device_on_the_network_that_is_not_trusted_is_looked_at_and_ever_less_often() {
    for state in ["noncompliant", "unknown", "error", "conflict", "configManager", "somethingNew"] {
        let device = device(state);
        let waits: Vec<_> =
            (0..6).map(|idle_looks| wait(&device, Interest { session: true, idle_looks }).unwrap()).collect();
        assert_eq!(waits, [60, 120, 240, 300, 300, 300], "{state}");
        assert_eq!(wait(&device, AWAY), None, "nobody waits for {state}");
    }
    assert_eq!(wait(&device("compliant"), IN_SESSION), None);
}

#[test]
fn grace_is_watched_as_its_end_comes_near() {
    let ending = |minutes| DeviceFacts {
        grace_expires_at: Some(NOW + Duration::minutes(minutes)),
        ..device("inGracePeriod")
    };
    for (minutes, interest, expected) in [
        (72 * 60, AWAY, Some(71 * 3600)),
        (72 * 60, IN_SESSION, Some(60)),
        (72 * 60, Interest { idle_looks: 9, ..IN_SESSION }, Some(300)),
        (61, AWAY, Some(60)),
        (60, AWAY, Some(5 * 60)),
        (60, IN_SESSION, Some(60)),
        (3, Interest { idle_looks: 9, ..IN_SESSION }, Some(3 * 60)),
        (3, AWAY, Some(3 * 60)),
        // Over: as not compliant, without waiting for Intune to say so.
        (0, IN_SESSION, Some(60)),
        (-5, AWAY, None),
    ] {
        assert_eq!(wait(&ending(minutes), interest), expected, "{minutes} minutes before the end");
    }
    let endless = DeviceFacts { grace_expires_at: None, ..device("inGracePeriod") };
    assert_eq!(wait(&endless, AWAY), None);
    assert_eq!(wait(&endless, IN_SESSION), Some(60));
    let settled = DeviceFacts { compliance: ComplianceState::Compliant, ..ending(30) };
    assert_eq!(wait(&settled, IN_SESSION), None, "an end that is left over says nothing");
}

#[test]
fn a_new_device_is_looked_at_when_it_checks_in() {
    let aged = |os: &str, minutes| DeviceFacts {
        os: Some(os.to_owned()),
        enrolled_at: Some(NOW - Duration::minutes(minutes)),
        ..device("compliant")
    };
    for (os, minutes, expected) in [
        ("Windows", 0, Some(3 * 60 + 30)),
        ("Android", 1, Some(2 * 60 + 30)),
        ("Windows", 3, Some(30)),
        ("Windows", 4, Some(2 * 60 + 30)),
        ("Windows", 15, Some(30)),
        ("Windows", 16, Some(14 * 60 + 30)),
        ("AndroidEnterprise", 134, Some(90)),
        ("Windows", 136, None),
        ("iOS", 1, Some(14 * 60 + 30)),
        ("macOS", 59, Some(90)),
        ("iPadOS", 61, None),
        ("Windows", -5, None),
    ] {
        assert_eq!(wait(&aged(os, minutes), AWAY), expected, "{os} enrolled {minutes} minutes ago");
    }
}

#[test]
fn a_missing_device_is_somebody_elses() {
    let gone = DeviceFacts { missing_since: Some(NOW), ..device("noncompliant") };
    assert_eq!(wait(&gone, IN_SESSION), None);
}

proptest! {
    #[test]
    fn looks_are_ahead_and_bounded(
        state in "(compliant|inGracePeriod|noncompliant|unknown|error|other)",
        enrolled in -200_000_i64..200_000,
        grace in proptest::option::of(-200_000_i64..200_000),
        session: bool,
        idle_looks: u32,
        os in "(Windows|iOS|macOS|Android|Linux|)",
    ) {
        let device = DeviceFacts {
            enrolled_at: Some(NOW + Duration::seconds(enrolled)),
            grace_expires_at: grace.map(|grace| NOW + Duration::seconds(grace)),
            os: Some(os),
            ..device(&state)
        };
        let interest = Interest { session, idle_looks };
        let next = next_look(&device, interest, PACE, NOW);
        if let Some(at) = next {
            prop_assert!(at > NOW);
        }
        if session && device.compliance != ComplianceState::Compliant {
            prop_assert!(next.is_some_and(|at| at <= NOW + PACE.hot_max), "whoever waits is seen to");
        }
        // Interest never makes a look later.
        let bored = next_look(&device, Interest { session: false, idle_looks }, PACE, NOW);
        prop_assert!(bored.is_none_or(|bored| next.is_some_and(|at| at <= bored)));
        let eager = next_look(&device, Interest { session, idle_looks: 0 }, PACE, NOW);
        prop_assert!(next.is_none_or(|next| eager.is_some_and(|at| at <= next)));
        // Two days after its enrolment and far from grace, a device that nobody waits for is left to the sweeps.
        if !session && enrolled < -172_800 && grace.is_none() {
            prop_assert_eq!(next, None);
        }
    }

    #[test]
    fn following_the_pattern_ends(os in "(Windows|iOS)", age in 0_i64..20_000) {
        let device = DeviceFacts {
            enrolled_at: Some(NOW - Duration::seconds(age)),
            os: Some(os),
            ..device("compliant")
        };
        let (mut now, mut looks) = (NOW, 0);
        while let Some(at) = next_look(&device, AWAY, PACE, now) {
            now = at;
            looks += 1;
        }
        prop_assert!(looks <= 13, "{looks}");
    }
}
