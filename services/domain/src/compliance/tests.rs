use proptest::prelude::*;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::resolver::MatchKey;
use crate::{DeviceId, LinkId};

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

fn link(confirmed_at: Option<OffsetDateTime>) -> LinkFacts {
    LinkFacts { id: LinkId(Uuid::from_u128(1)), confirmed_at }
}

fn device(state: &str) -> DeviceFacts {
    DeviceFacts::bare(
        LinkId(Uuid::from_u128(1)),
        DeviceId(Uuid::from_u128(2)),
        state.parse().unwrap(),
        NOW - Duration::minutes(5),
    )
}

fn matched(outcome: Outcome<'_>) -> Match<'_> {
    Match { outcome, key: Some(MatchKey::SanUri), mac_mismatch: false, wanted: Vec::new() }
}

fn literals_of(device: &DeviceFacts, links: &[LinkFacts], settings: &OrgSettings) -> String {
    let answer = assess(&matched(Outcome::Device(device)), links, settings, NOW);
    texts(&answer)
}

fn texts(answer: &Compliance) -> String {
    answer.literals.iter().map(|l| l.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_state_yields_its_literals() {
    let settings = OrgSettings::default();
    for (state, want) in [
        ("compliant", "compliant"),
        ("noncompliant", "non-compliant"),
        ("inGracePeriod", "compliant in-grace-period"),
        ("unknown", "unknown not-evaluated"),
        ("error", "unknown error"),
        ("conflict", "unknown conflict"),
        ("configManager", "unknown config-manager"),
        ("somethingNew", "unknown other"),
        ("Compliant", "unknown other"),
    ] {
        assert_eq!(literals_of(&device(state), &[link(Some(NOW))], &settings), want, "{state}");
    }
}

#[test]
fn an_organization_may_refuse_grace() {
    let settings = OrgSettings { grace_is_compliant: false, ..OrgSettings::default() };
    assert_eq!(literals_of(&device("inGracePeriod"), &[], &settings), "non-compliant in-grace-period");
}

#[test]
fn grace_ends_without_waiting_for_intune() {
    let mut device = device("inGracePeriod");
    device.grace_expires_at = Some(NOW);
    assert_eq!(literals_of(&device, &[], &OrgSettings::default()), "non-compliant");
    device.grace_expires_at = Some(NOW + Duration::SECOND);
    assert_eq!(literals_of(&device, &[], &OrgSettings::default()), "compliant in-grace-period");
    let next = next_change(&device, &[], &OrgSettings::default(), NOW);
    assert_eq!(next, Some(NOW + Duration::SECOND));
}

#[test]
fn age_only_weakens_trust() {
    let settings = OrgSettings::default();
    let aged = |state: &str| DeviceFacts { fetched_at: NOW - Duration::hours(25), ..device(state) };
    assert_eq!(literals_of(&aged("compliant"), &[link(None)], &settings), "unknown stale");
    assert_eq!(literals_of(&aged("noncompliant"), &[link(None)], &settings), "non-compliant stale");
    assert_eq!(literals_of(&aged("inGracePeriod"), &[link(None)], &settings), "unknown stale");
    let over = DeviceFacts { grace_expires_at: Some(NOW - Duration::hours(1)), ..aged("inGracePeriod") };
    assert_eq!(literals_of(&over, &[link(None)], &settings), "non-compliant stale");
}

#[test]
fn a_whole_sweep_confirms_what_it_saw_unchanged() {
    let settings = OrgSettings::default();
    let aged = DeviceFacts { fetched_at: NOW - Duration::days(9), ..device("compliant") };
    let swept = [link(Some(NOW - Duration::minutes(3)))];
    assert_eq!(literals_of(&aged, &swept, &settings), "compliant");
    let missing = DeviceFacts { missing_since: Some(NOW - Duration::minutes(3)), ..aged };
    assert_eq!(literals_of(&missing, &swept, &settings), "unknown stale");
}

#[test]
fn nobody_found_is_not_enrolled_once_a_sweep_has_finished_and_unlinked_before() {
    let settings = OrgSettings::default();
    let nobody = matched(Outcome::NotEnrolled);
    let of = |links: &[LinkFacts], found: &Match<'_>| texts(&assess(found, links, &settings, NOW));
    assert_eq!(of(&[], &nobody), "unknown unlinked");
    assert_eq!(of(&[link(None)], &nobody), "unknown unlinked");
    assert_eq!(of(&[link(Some(NOW))], &nobody), "unknown not-enrolled");
    assert_eq!(of(&[link(Some(NOW))], &matched(Outcome::Ambiguous)), "unknown ambiguous");
}

proptest! {
    #[test]
    fn exactly_one_verdict_holds_always(
        state in "\\PC{0,16}|compliant|noncompliant|inGracePeriod|unknown|error|conflict|configManager",
        fetched_minutes in -10_000i64..10_000,
        confirmed_minutes in proptest::option::of(-10_000i64..10_000),
        grace_minutes in proptest::option::of(-10_000i64..10_000),
        missing in any::<bool>(),
        grace_is_compliant in any::<bool>(),
        which in 0..3,
    ) {
        let at = |minutes: i64| NOW + Duration::minutes(minutes);
        let mut device = device(&state);
        device.fetched_at = at(fetched_minutes);
        device.grace_expires_at = grace_minutes.map(at);
        device.missing_since = missing.then_some(NOW);
        let settings = OrgSettings { grace_is_compliant, ..OrgSettings::default() };
        let outcome = match which {
            0 => Outcome::Device(&device),
            1 => Outcome::NotEnrolled,
            _ => Outcome::Ambiguous,
        };
        let answer = assess(&matched(outcome), &[link(confirmed_minutes.map(at))], &settings, NOW);
        let verdicts = [Literal::Compliant, Literal::NonCompliant, Literal::Unknown];
        prop_assert_eq!(verdicts.iter().filter(|v| answer.has(**v)).count(), 1);
        prop_assert!(answer.literals.is_sorted());
        // Growing older never makes a client more trusted.
        let later = assess(&matched(match which {
            0 => Outcome::Device(&device),
            1 => Outcome::NotEnrolled,
            _ => Outcome::Ambiguous,
        }), &[link(confirmed_minutes.map(at))], &settings, NOW + Duration::days(2));
        prop_assert!(later.verdict != Verdict::Compliant || answer.verdict == Verdict::Compliant);
    }
}
