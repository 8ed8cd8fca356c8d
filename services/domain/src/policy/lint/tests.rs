use proptest::prelude::*;

use super::*;
use crate::policy::compile::CompiledPolicy;
use crate::policy::decide::evaluate;
use crate::policy::generate::{
    Traffic, any_doc, any_doc_of, any_traffic, device, label, matching, policy, rule, site,
};
use crate::policy::model::{Action, Conditions, LabelKind, MatchLabelKey as Key};
use crate::request::{AccessRequest, AuthType, Certificate, PortType};
use crate::resolver::MatchKey;

fn codes(doc: &PolicyDoc) -> Vec<(Code, Option<u32>, Vec<u32>)> {
    let found = lint(doc, &Known::default());
    found
        .iter()
        .map(|f| (f.code, f.rule.as_ref().map(|r| r.position), f.others.iter().map(|r| r.position).collect()))
        .collect()
}

fn has(doc: &PolicyDoc, code: Code, rule: u32) -> bool {
    codes(doc).iter().any(|(c, r, _)| *c == code && *r == Some(rule))
}

fn vlan(n: u128, id: &str) -> Label {
    label(n, LabelKind::Vlan { vlan: id.into() })
}

#[test]
fn a_sound_policy_has_no_findings() {
    let doc = policy(
        vec![
            matching(1, Key::MdmStatus, &["compliant"]),
            matching(2, Key::MdmStatus, &["non-compliant", "unknown"]),
            matching(3, Key::MatchStrength, &["certificate"]),
            vlan(8, "10"),
            vlan(9, "99"),
        ],
        vec![
            rule(1, Action::Allow, &[1, 3], &[8]),
            rule(2, Action::Allow, &[1], &[9]),
            rule(3, Action::Allow, &[2], &[9]),
        ],
    );
    assert_eq!(lint(&doc, &Known { sites: Some(&[]), vendors: Some(&[]) }), []);
}

#[test]
fn what_shadows_is_named() {
    let mut doc = policy(
        vec![
            matching(1, Key::Ssid, &["Corp*"]),
            matching(2, Key::Ssid, &["Corp-5G", "Corp-2G"]),
            matching(3, Key::NasIp, &["10.0.0.0/8"]),
            matching(4, Key::NasIp, &["10.1.0.0/16"]),
            matching(5, Key::OsVersion, &[">=17"]),
            matching(6, Key::OsVersion, &[">=17.5"]),
            matching(7, Key::ClientMac, &["d46e0e*"]),
            matching(8, Key::ClientMac, &["d4:6e:0e:00:00:01"]),
        ],
        Vec::new(),
    );
    for (wide, narrow) in [(1, 2), (3, 4), (5, 6), (7, 8)] {
        doc.rules = vec![rule(1, Action::Block, &[wide], &[]), rule(2, Action::Block, &[narrow], &[])];
        assert!(codes(&doc).contains(&(Code::ShadowedRule, Some(2), vec![1])), "{narrow}");
        doc.rules.reverse();
        assert!(!has(&doc, Code::ShadowedRule, 2), "{narrow}");
        doc.rules.reverse();
        doc.rules[0].dry_run = true;
        assert!(!has(&doc, Code::ShadowedRule, 2), "a rule on trial shadows nothing");
    }
}

#[test]
fn several_rules_may_cover_one_together() {
    let doc = policy(
        vec![
            matching(1, Key::LastCheckInDays, &["<7"]),
            matching(2, Key::LastCheckInDays, &[">=7"]),
            matching(3, Key::Os, &["Windows"]),
            matching(4, Key::LastCheckInDays, &["<30", ">=30"]),
        ],
        vec![
            rule(1, Action::Allow, &[1], &[]),
            rule(2, Action::Block, &[2], &[]),
            rule(3, Action::Allow, &[3, 4], &[]),
        ],
    );
    assert!(codes(&doc).contains(&(Code::UnreachableRule, Some(3), vec![1, 2])));
}

#[test]
fn contradictions_name_their_labels() {
    let doc = policy(
        vec![
            matching(1, Key::Ssid, &["Corp"]),
            matching(2, Key::Ssid, &["Guest*"]),
            matching(3, Key::MdmStatus, &["not-enrolled"]),
            matching(4, Key::Encrypted, &["true"]),
            matching(5, Key::CertCn, &["*.example.com"]),
        ],
        vec![
            rule(1, Action::Allow, &[1, 2], &[]),
            rule(2, Action::Allow, &[3, 4], &[]),
            Rule {
                matching: Conditions { auth_types: vec!["mab".parse().unwrap()], ..Conditions::default() },
                not_matching: Conditions {
                    auth_types: vec!["mab".parse().unwrap()],
                    ..Conditions::default()
                },
                ..rule(3, Action::Block, &[], &[])
            },
            Rule { dry_run: true, ..rule(4, Action::Allow, &[1, 2, 5], &[]) },
        ],
    );
    let found = lint(&doc, &Known::default());
    let of = |position: u32| {
        let mut found = found.iter();
        found
            .find(|f| {
                f.code == Code::ContradictoryRule && f.rule.as_ref().is_some_and(|r| r.position == position)
            })
            .unwrap()
    };
    assert_eq!(of(1).message, "Rule “Rule 1” can never match: “Label 1” and “Label 2” exclude each other.");
    assert_eq!(of(2).labels.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["Label 3", "Label 4"]);
    assert_eq!((of(3).severity, of(4).severity), (Severity::Error, Severity::Warning));
    assert_eq!(of(4).labels.len(), 2);
    assert!(blocks(&found));
}

#[test]
fn each_habit_that_hurts_is_found() {
    let mut doc = policy(
        vec![
            matching(1, Key::MdmStatus, &["compliant"]),
            matching(2, Key::MdmStatus, &["!non-compliant"]),
            matching(3, Key::Ssid, &["!Corp", "!Guest"]),
            matching(4, Key::Ssid, &["corp"]),
            matching(5, Key::UsermacLabel, &["Compliant"]),
            vlan(8, "10"),
            vlan(9, "10"),
        ],
        vec![
            rule(1, Action::Allow, &[1], &[8]),
            rule(2, Action::Allow, &[2, 4], &[]),
            rule(3, Action::Block, &[3], &[9]),
            rule(4, Action::Allow, &[], &[8]),
        ],
    );
    doc.rules[0].matching.site_ids = vec![site(1)];
    doc.rules[0].matching.vendors = vec!["Cisco".into()];
    let found = lint(&doc, &Known { sites: Some(&[site(2)]), vendors: Some(&["juniper".to_owned()]) });
    for code in [
        Code::WeakMatch,
        Code::NegatedCompliance,
        Code::AllowWithoutVlan,
        Code::BlockWithResults,
        Code::AlwaysTrueLabel,
        Code::CaseMistake,
        Code::UnusedLabel,
        Code::DuplicateLabel,
        Code::MatchesEveryone,
        Code::UnknownSite,
        Code::UnknownVendor,
    ] {
        assert!(found.iter().any(|f| f.code == code), "{code}: {found:#?}");
    }
    assert_eq!(found.iter().filter(|f| f.code == Code::CaseMistake).count(), 2);
    assert!(!blocks(&found));
    doc.rules.truncate(1);
    let found = lint(&doc, &Known::default());
    let unknown = found.iter().find(|f| f.code == Code::UnknownUnhandled).unwrap();
    assert!(unknown.message.contains("stale, not-enrolled, ambiguous, unlinked"), "{}", unknown.message);
    doc.labels.clear();
    assert!(lint(&doc, &Known::default()).iter().any(|f| f.code == Code::UnknownLabel));
}

#[test]
fn a_redirect_wants_something_that_keeps_the_client_apart() {
    let page = LabelKind::RedirectUrl { redirect_url: "gatehouse".into() };
    let timeout = LabelKind::SessionTimeout { session_timeout: 600 };
    let labels =
        vec![matching(1, Key::MdmStatus, &["unknown"]), label(2, page), label(3, timeout), vlan(4, "99")];
    let alone = |action, apply: &[u128]| {
        let doc = policy(labels.clone(), vec![rule(1, action, &[1], apply)]);
        let found = lint(&doc, &Known::default());
        let has = |code| found.iter().any(|f| f.code == code);
        (has(Code::RedirectUnconfined), has(Code::BlockWithResults))
    };
    assert_eq!(alone(Action::Allow, &[2, 3]), (true, false));
    assert_eq!(alone(Action::Allow, &[2, 4]), (false, false));
    assert_eq!(alone(Action::Allow, &[3]), (false, false));
    assert_eq!(alone(Action::Block, &[2]), (false, true));
}

fn never_decides(doc: &PolicyDoc) -> Vec<usize> {
    let found = lint(doc, &Known::default()).into_iter();
    let of_reach = [Code::ShadowedRule, Code::UnreachableRule, Code::ContradictoryRule];
    found.filter(|f| of_reach.contains(&f.code)).map(|f| f.rule.unwrap().position as usize - 1).collect()
}

/// Every client, as far as the finite keys tell clients apart.
fn everyone() -> Vec<Traffic> {
    let mut out = Vec::new();
    let methods = AuthType::ALL.iter().map(|m| Some(*m)).chain([None]);
    for method in methods {
        for (cert, port) in
            [(true, None), (false, None), (true, Some(PortType::Wired)), (false, Some(PortType::Wired))]
        {
            for state in
                ["compliant", "noncompliant", "inGracePeriod", "unknown", "error", "none", "ambiguous"]
            {
                for (key, encrypted, at) in [
                    (MatchKey::SanUri, None, 1),
                    (MatchKey::SanUri, Some(true), 1),
                    (MatchKey::Mac, Some(false), 2),
                    (MatchKey::DeviceName, Some(true), 3),
                    (MatchKey::Mac, Some(true), 1),
                    (MatchKey::Mac, None, 1),
                    (MatchKey::SanUri, Some(false), 2),
                ] {
                    let mut request = AccessRequest::bare(crate::EdgeId(uuid::Uuid::nil()), site(at));
                    request.auth_type = method;
                    request.nas.port_type = port;
                    request.cert = cert.then(Certificate::default);
                    let known = (state != "none").then(|| {
                        let mut device = device(if state == "ambiguous" { "error" } else { state });
                        device.encrypted = encrypted;
                        device
                    });
                    out.push(Traffic {
                        request,
                        device: known,
                        ambiguous: state == "ambiguous",
                        key,
                        linked: true,
                    });
                }
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_never_decides_is_never_hit(doc in any_doc(), traffic in proptest::collection::vec(any_traffic(), 60)) {
        let never = never_decides(&doc);
        let compiled = CompiledPolicy::compile(1, &doc);
        for client in &traffic {
            if let Some(rule) = client.with(|input| evaluate(Some(&compiled), input).rule) {
                prop_assert!(!never.contains(&rule), "rule {} was hit by {:?}", rule + 1, client);
            }
        }
    }

    #[test]
    fn the_same_for_policies_of_few_keys(
        doc in any_doc_of(&[Key::Ssid, Key::OsVersion, Key::NasIp, Key::LastCheckInDays, Key::IdpRole, Key::MdmStatus], 10),
        traffic in proptest::collection::vec(any_traffic(), 80),
    ) {
        let never = never_decides(&doc);
        let compiled = CompiledPolicy::compile(1, &doc);
        for client in &traffic {
            if let Some(rule) = client.with(|input| evaluate(Some(&compiled), input).rule) {
                prop_assert!(!never.contains(&rule), "rule {} was hit by {:?}", rule + 1, client);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn over_finite_keys_no_rule_that_is_hit_is_named(
        doc in any_doc_of(&[Key::MdmStatus, Key::MatchStrength, Key::AuthType, Key::Encrypted], 8),
    ) {
        let never = never_decides(&doc);
        let compiled = CompiledPolicy::compile(1, &doc);
        for client in everyone() {
            if let Some(rule) = client.with(|input| evaluate(Some(&compiled), input).rule) {
                prop_assert!(!never.contains(&rule), "rule {} was hit by {:?}", rule + 1, client);
            }
        }
    }
}

#[test]
fn every_state_of_compliance_has_its_cell() {
    let seen = std::cell::RefCell::new(std::collections::HashSet::new());
    proptest!(ProptestConfig::with_cases(2_000), |(traffic in any_traffic())| {
        let literals = traffic.with(|input| input.compliance.literals.clone());
        let mut states = space::STATES.iter();
        prop_assert!(states.any(|(state, matched)| literals.iter().all(|l| state.contains(l))
            && state.len() == literals.len() && *matched == (traffic.device.is_some() && !traffic.ambiguous)));
        seen.borrow_mut().insert(literals);
    });
    assert!(seen.borrow().len() >= 12);
}

#[test]
fn the_generated_policies_put_soundness_to_the_test() {
    let count = std::cell::Cell::new((0, 0));
    proptest!(ProptestConfig::with_cases(300), |(doc in any_doc())| {
        let (never, rules) = count.get();
        count.set((never + never_decides(&doc).len(), rules + doc.rules.len()));
    });
    let (never, rules) = count.get();
    assert!(never * 20 > rules, "only {never} of {rules} rules never decide");
}
