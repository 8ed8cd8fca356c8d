use std::collections::HashMap;

use domain::LinkId;
use proptest::prelude::*;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::*;

const LINK: LinkId = LinkId(Uuid::from_u128(1));
const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

fn id(n: u8) -> DeviceId {
    DeviceId(Uuid::from_u128(u128::from(n) + 100))
}

fn facts(n: u8, state: &str, name: &str) -> DeviceFacts {
    let bare = DeviceFacts::bare(LINK, id(n), state.parse().unwrap(), NOW);
    DeviceFacts { name: Some(name.to_owned()), ..bare }
}

/// What the store would hold after this record was written.
fn store(facts: &DeviceFacts, ordinal: u32) -> StoredDevice {
    StoredDevice {
        id: facts.id,
        ordinal,
        content_hash: content_hash(facts).to_vec(),
        compliance: facts.compliance.clone(),
        fetched_at: facts.fetched_at,
        missing_since: facts.missing_since,
        last_check_in: facts.last_check_in,
        ethernet_mac: facts.ethernet_mac,
        udid: None,
        idle_looks: 0,
        keys: keys_of(facts),
        mac: facts.wifi_mac,
    }
}

fn stored(devices: &[StoredDevice]) -> HashMap<DeviceId, StoredDevice> {
    devices.iter().map(|device| (device.id, device.clone())).collect()
}

#[test]
fn a_renamed_device_is_announced_under_both_names() {
    let was = facts(1, "compliant", "OLD");
    let is = DeviceFacts { fetched_at: NOW + Duration::minutes(5), ..facts(1, "compliant", "New") };
    let diff = page(vec![Fetched::new(is)], &stored(&[store(&was, 7)]), None);
    assert_eq!(diff.changed.len(), 1);
    assert_eq!(diff.changed[0].ordinal, 7);
    assert!(diff.transitions.is_empty());
    assert!(diff.keys.contains(&LookupKey::Name("old".to_owned())));
    assert!(diff.keys.contains(&LookupKey::Name("new".to_owned())));
}

#[test]
fn a_missing_device_that_comes_back_is_written_though_nothing_differs() {
    let was = StoredDevice { missing_since: Some(NOW), ..store(&facts(1, "compliant", "A"), 3) };
    let diff = page(vec![Fetched::new(facts(1, "compliant", "A"))], &stored(&[was]), None);
    assert_eq!((diff.changed.len(), diff.transitions.len()), (1, 0));
}

#[test]
fn a_record_that_was_fetched_later_stays() {
    let newer = DeviceFacts { fetched_at: NOW + Duration::seconds(1), ..facts(1, "noncompliant", "A") };
    let diff = page(vec![Fetched::new(facts(1, "compliant", "A"))], &stored(&[store(&newer, 3)]), None);
    assert_eq!((diff.changed.len(), diff.transitions.len(), diff.known), (0, 0, vec![3]));
}

#[test]
fn the_last_of_repeats_counts() {
    let page_of = vec![
        Fetched::new(facts(1, "compliant", "A")),
        Fetched::new(facts(2, "compliant", "B")),
        Fetched::new(facts(1, "noncompliant", "A")),
    ];
    let diff = page(page_of, &HashMap::new(), None);
    assert_eq!(diff.new.len(), 2);
    let change = diff.transitions.iter().find(|change| change.device == id(1)).unwrap();
    assert_eq!((change.from.as_ref(), change.to.as_ref()), (None, Some(&ComplianceState::Noncompliant)));
}

#[test]
fn parts_do_not_run_into_each_other() {
    let a = DeviceFacts { name: Some("ab".into()), serial: Some("c".into()), ..facts(1, "compliant", "") };
    let b = DeviceFacts { name: Some("a".into()), serial: Some("bc".into()), ..facts(1, "compliant", "") };
    let c = DeviceFacts { name: None, serial: Some("abc".into()), ..facts(1, "compliant", "") };
    assert_ne!(content_hash(&a), content_hash(&b));
    assert_ne!(content_hash(&b), content_hash(&c));
}

fn any_facts() -> impl Strategy<Value = DeviceFacts> {
    let state = prop::sample::select(vec!["compliant", "noncompliant", "unknown", "inGracePeriod", "later"]);
    let name = prop::sample::select(vec!["A", "b", "ÄÖ"]);
    let mac = prop::option::of(any::<[u8; 6]>().prop_map(Mac));
    (0..6_u8, state, name, mac, any::<Option<bool>>(), 0..5_i64).prop_map(
        |(n, state, name, wifi_mac, encrypted, age)| {
            let fetched_at = NOW + Duration::seconds(age);
            DeviceFacts { wifi_mac, encrypted, fetched_at, ..facts(n, state, name) }
        },
    )
}

proptest! {
    /// Whatever was stored, writing what the diff says leaves the store as the page has it, and the transitions are
    /// exactly the changes of compliance on the way there.
    #[test]
    fn applying_a_diff_leads_to_the_page(
        before in prop::collection::vec(any_facts(), 0..6),
        missing in prop::collection::vec(any::<bool>(), 6),
        fetched in prop::collection::vec(any_facts(), 0..12),
    ) {
        let mut was: HashMap<DeviceId, StoredDevice> = HashMap::new();
        for (ordinal, facts) in (0..).zip(&before) {
            let gone = missing[usize::try_from(ordinal).unwrap()];
            let device = store(facts, ordinal);
            was.insert(facts.id, StoredDevice { missing_since: gone.then_some(NOW), ..device });
        }
        let last: HashMap<DeviceId, DeviceFacts> =
            fetched.iter().map(|facts| (facts.id, facts.clone())).collect();

        let diff = page(fetched.into_iter().map(Fetched::new).collect(), &was, None);

        // Every device of the page is in exactly one of the three lists.
        let mut ids: Vec<DeviceId> = diff.touched().chain(diff.unchanged.iter().copied()).collect();
        ids.sort_unstable();
        let mut wanted: Vec<DeviceId> = last.keys().copied().collect();
        wanted.sort_unstable();
        prop_assert_eq!(ids, wanted);

        let mut after = was.clone();
        for new in &diff.new {
            prop_assert!(!was.contains_key(&new.facts.id));
            after.insert(new.facts.id, store(&new.facts, 99));
        }
        for changed in &diff.changed {
            let old = &was[&changed.fetched.facts.id];
            prop_assert_eq!(changed.ordinal, old.ordinal);
            for key in old.keys.iter().chain(&keys_of(&changed.fetched.facts)) {
                prop_assert!(diff.keys.contains(key));
            }
            after.insert(old.id, store(&changed.fetched.facts, changed.ordinal));
        }
        for (id, facts) in &last {
            let now = &after[id];
            let stays = was.get(id).is_some_and(|old| old.fetched_at > facts.fetched_at);
            if !stays {
                prop_assert_eq!(&now.content_hash, &content_hash(facts).to_vec());
                prop_assert_eq!(now.missing_since, None);
            }
            let from = was.get(id).map(|old| old.compliance.clone());
            let moved = from.as_ref() != Some(&now.compliance);
            let told: Vec<_> = diff.transitions.iter().filter(|change| change.device == *id).collect();
            prop_assert_eq!(told.len(), usize::from(moved));
            for change in told {
                prop_assert_eq!(&change.from, &from);
                prop_assert_eq!(change.to.as_ref(), Some(&now.compliance));
            }
        }

        // The same page again finds nothing to do.
        let again = page(last.into_values().map(Fetched::new).collect(), &after, None);
        prop_assert!(again.new.is_empty() && again.changed.is_empty() && again.transitions.is_empty());
        prop_assert!(again.keys.is_empty());
    }

    /// What is not in LIST, or is our own, is not content.
    #[test]
    fn our_own_fields_are_not_content(facts in any_facts(), mac: [u8; 6]) {
        let other = DeviceFacts {
            link: LinkId(Uuid::from_u128(9)),
            ethernet_mac: Some(Mac(mac)),
            fetched_at: NOW + Duration::days(1),
            missing_since: Some(NOW),
            ..facts.clone()
        };
        prop_assert_eq!(content_hash(&facts), content_hash(&other));
    }
}
