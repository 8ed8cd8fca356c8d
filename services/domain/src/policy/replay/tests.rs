use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::decision::{Answer, MatchRecord};
use crate::policy::decide::decide;
use crate::policy::generate::{
    NOW, Traffic, any_doc, any_traffic, device, label, matching, policy, rule, site,
};
use crate::policy::model::{Action, LabelKind, MatchLabelKey as Key, PolicyDoc};
use crate::policy::trace::retell;
use crate::request::AuthType;
use crate::{EdgeId, EventId, OrgId, SessionId};

fn record(policy: &CompiledPolicy, traffic: &Traffic, n: u64) -> DecisionRecord {
    traffic.with(|input| DecisionRecord {
        org: OrgId(Uuid::nil()),
        session: SessionId(Uuid::nil()),
        session_key: "mac:x".into(),
        request: traffic.request.clone(),
        answer: Answer {
            id: EventId(Uuid::from_u64_pair(0, n)),
            at: input.now,
            decision: decide(Some(policy), input),
            compliance: input.compliance.clone(),
            found: MatchRecord::of(input.found),
        },
        keys: Vec::new(),
        offline: false,
        ask: None,
        told_at: None,
    })
}

fn laptop(state: &str, last: u8) -> Traffic {
    let mut request = AccessRequest::bare(EdgeId(Uuid::nil()), site(1));
    request.auth_type = Some(AuthType::Mab);
    request.mac = Some(crate::Mac([0xd4, 0x6e, 0x0e, 0, 0, last]));
    let device = DeviceFacts { os: Some("Windows".into()), ..device(state) };
    Traffic { request, device: Some(device), ambiguous: false, key: MatchKey::Mac, linked: true }
}

fn guide(corp: &str) -> PolicyDoc {
    policy(
        vec![
            matching(1, Key::MdmStatus, &["compliant"]),
            label(3, LabelKind::Vlan { vlan: corp.into() }),
            label(4, LabelKind::Vlan { vlan: "99".into() }),
        ],
        vec![rule(11, Action::Allow, &[1], &[3]), rule(12, Action::Allow, &[], &[4])],
    )
}

#[test]
fn clients_that_would_move_are_grouped_by_rule() {
    let live = CompiledPolicy::compile(1, &guide("10"));
    let draft = CompiledPolicy::compile(2, &guide("20"));
    let mut replay = Replay::new(&draft, Options::default());
    for (n, (state, last)) in
        [("compliant", 1), ("compliant", 2), ("compliant", 1), ("noncompliant", 3)].iter().enumerate()
    {
        replay.push(&record(&live, &laptop(state, *last), n as u64));
    }
    assert_eq!(replay.progress(), (4, 3));
    let report = replay.finish();
    assert_eq!((report.clients, report.clients_changed, report.groups.len()), (3, 2, 1));
    let group = &report.groups[0];
    assert_eq!(
        (group.before.to_string(), group.after.to_string()),
        ("allow, VLAN 10".into(), "allow, VLAN 20".into())
    );
    assert_eq!((group.decisions, group.samples.len()), (3, 2));
}

#[test]
fn without_intune_trust_weakens() {
    let live = CompiledPolicy::compile(1, &guide("10"));
    let recorded = record(&live, &laptop("compliant", 1), 1);
    let vlan = |facts| {
        let mut replay = Replay::new(&live, Options { facts, ..Options::default() });
        replay.push(&recorded).map(|moved| moved.after.vlan.unwrap())
    };
    assert_eq!(vlan(Facts::AsRecorded), None);
    assert_eq!(vlan(Facts::IntuneUnreachable { seconds: 3_600 }), None);
    assert_eq!(vlan(Facts::IntuneUnreachable { seconds: 90_000 }).as_deref(), Some("99"));
    assert_eq!(vlan(Facts::Stale).as_deref(), Some("99"));
}

#[test]
fn records_without_posture_are_not_guessed_at() {
    let live = CompiledPolicy::compile(1, &guide("10"));
    let mut old = record(&live, &laptop("compliant", 1), 1);
    let text = serde_json::to_string(&old).unwrap();
    assert_eq!(serde_json::from_str::<DecisionRecord>(&text).unwrap(), old);
    old.answer.found.posture = None;
    let mut doc = guide("10");
    doc.labels.push(matching(5, Key::Os, &["Windows"]));
    doc.rules.insert(0, rule(13, Action::Block, &[5], &[]));
    let draft = CompiledPolicy::compile(2, &doc);
    let mut replay = Replay::new(&draft, Options::default());
    assert_eq!(replay.push(&old), None);
    assert_eq!(replay.finish().undecidable, 1);
}

#[test]
fn limits_hold() {
    let live = CompiledPolicy::compile(1, &guide("10"));
    let draft = CompiledPolicy::compile(2, &guide("20"));
    let options = Options { clients_max: 2, groups_max: 0, ..Options::default() };
    let mut replay = Replay::new(&draft, options);
    for last in 0..5 {
        replay.push(&record(&live, &laptop("compliant", last), last.into()));
    }
    let report = replay.finish();
    assert_eq!((report.clients, report.beyond_clients_max, report.beyond_groups_max), (2, 3, 5));
}

#[test]
fn a_line_of_csv_cannot_run() {
    let live = CompiledPolicy::compile(1, &guide("10"));
    let draft = CompiledPolicy::compile(2, &guide("20"));
    let mut traffic = laptop("compliant", 1);
    traffic.request.user_name = Some("=cmd|' /C calc'!A0,\"".into());
    let moved = Replay::new(&draft, Options::default()).push(&record(&live, &traffic, 1)).unwrap();
    let line = moved.csv();
    assert!(line.contains(r#""'=cmd|' /C calc'!A0,""""#), "{line}");
    let columns = CSV_HEADER.split(',').count();
    assert_eq!(line.matches("\",\"").count() + 1, columns);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// What is recorded is enough to make the decision again.
    #[test]
    fn the_same_policy_changes_nothing(doc in any_doc(), traffic in any_traffic()) {
        let compiled = CompiledPolicy::compile(1, &doc);
        let record = record(&compiled, &traffic, 1);
        let record: DecisionRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        let recorded = Recorded::of(&record, Facts::AsRecorded, &OrgSettings::default());
        prop_assert_eq!(recorded.with(|input| decide(Some(&compiled), input)), record.answer.decision.clone());
        // And to tell how each rule fared, to the last word.
        let told = |input: &Input<'_>| retell(&compiled, input, &record.answer.decision);
        prop_assert_eq!(recorded.with(told), traffic.with(told));
        let mut replay = Replay::new(&compiled, Options::default());
        prop_assert_eq!(replay.push(&record), None);
        prop_assert_eq!(replay.finish().changed, 0);
        prop_assert_eq!(record.answer.at, NOW);
    }
}
