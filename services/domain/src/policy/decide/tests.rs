//! The engine against a naive reading of the documentation, and against the cases that matter most.

use proptest::prelude::*;
use time::Duration;
use uuid::Uuid;

use super::*;
use crate::compliance::assess;
use crate::decision::{ConditionTrace, RuleTrace};
use crate::policy::draft;
use crate::policy::generate::{
    NOW, Traffic, any_doc, any_traffic, device, label, link, matching, policy, rule, site,
};
use crate::policy::model::{Action, AuthMatch, Conditions, LabelKind, MatchLabelKey, PolicyDoc, Rule};
use crate::policy::trace::retell;
use crate::policy::value::auth_holds;
use crate::request::Certificate;
use crate::resolver::{MatchKey, Outcome as Found};
use crate::snapshot::{LinkFacts, OrgSettings};
use crate::{EdgeId, RuleId};

fn request() -> AccessRequest {
    let mut request = AccessRequest::bare(EdgeId(Uuid::from_u128(3)), site(1));
    request.auth_type = Some(AuthType::EapTls);
    request.cert = Some(Certificate::default());
    request
}

/// The policy of the guide: compliant devices into Corp, the rest into Quarantine.
fn guide() -> PolicyDoc {
    policy(
        vec![
            matching(1, MatchLabelKey::MdmStatus, &["compliant"]),
            matching(2, MatchLabelKey::MdmStatus, &["non-compliant", "unknown"]),
            label(3, LabelKind::Vlan { vlan: "10".into() }),
            label(4, LabelKind::Vlan { vlan: "99".into() }),
            label(5, LabelKind::RadiusGroup { radius_group: "corp".into() }),
            label(6, LabelKind::SessionTimeout { session_timeout: 3600 }),
        ],
        vec![rule(11, Action::Allow, &[1], &[3, 5, 6]), rule(12, Action::Allow, &[2], &[4])],
    )
}

fn run(doc: &PolicyDoc, request: &AccessRequest, state: Option<&str>) -> Decision {
    told(doc, request, state).0
}

/// A decision, and its trace in words.
fn told(doc: &PolicyDoc, request: &AccessRequest, state: Option<&str>) -> (Decision, Vec<RuleTrace>) {
    let device = state.map(device);
    let outcome = device.as_ref().map_or(Found::NotEnrolled, Found::Device);
    let found = Match { outcome, key: Some(MatchKey::SanUri), mac_mismatch: false, wanted: Vec::new() };
    let links = [LinkFacts { id: link(), confirmed_at: Some(NOW) }];
    let compliance = assess(&found, &links, &OrgSettings::default(), NOW);
    let input = Input { request, found: &found, compliance: &compliance, now: NOW };
    let policy = CompiledPolicy::compile(7, doc);
    let decision = decide(Some(&policy), &input);
    let trace = retell(&policy, &input, &decision).expect("it is of this version");
    (decision, trace)
}

#[test]
fn the_guides_policy_moves_devices_by_compliance() {
    let doc = guide();
    assert_eq!(draft::check(&doc), []);
    let (corp, trace) = told(&doc, &request(), Some("compliant"));
    assert_eq!(corp.reason, Reason::RuleAllow);
    assert_eq!(
        corp.outcome,
        Outcome {
            permit: true,
            vlan: Some("10".into()),
            role: Some("corp".into()),
            session_timeout: Some(3600),
            ..Outcome::DENY
        }
    );
    assert_eq!((corp.policy_version, trace.len()), (Some(7), 1));
    for state in [Some("noncompliant"), Some("unknown"), Some("new state"), None] {
        let (quarantine, trace) = told(&doc, &request(), state);
        assert_eq!(quarantine.outcome.vlan.as_deref(), Some("99"), "{state:?}");
        assert_eq!(trace.len(), 2);
        assert!(trace[0].conditions[0].blocked());
    }
}

#[test]
fn nothing_matches_means_deny_with_the_whole_trace() {
    let mut doc = guide();
    doc.rules.truncate(1);
    let (denied, trace) = told(&doc, &request(), Some("noncompliant"));
    assert_eq!((denied.reason, &denied.outcome, denied.rule), (Reason::ImplicitDeny, &Outcome::DENY, None));
    let condition = &trace[0].conditions[0];
    assert_eq!(condition.wanted, ["compliant"]);
    assert_eq!(condition.saw, ["non-compliant"]);
}

#[test]
fn an_empty_matching_matches_everyone_and_a_disabled_rule_nobody() {
    let mut doc = guide();
    doc.rules = vec![rule(1, Action::Allow, &[], &[3]), rule(2, Action::Block, &[], &[])];
    assert_eq!(run(&doc, &request(), None).outcome.vlan.as_deref(), Some("10"));
    doc.rules[0].enabled = false;
    let (blocked, trace) = told(&doc, &request(), None);
    assert_eq!((blocked.reason, blocked.outcome), (Reason::RuleBlock, Outcome::DENY));
    assert!(trace[0].disabled);
}

#[test]
fn certificates_are_checked_before_the_rules() {
    let doc = guide();
    let mut bare = request();
    bare.cert = None;
    assert_eq!(run(&doc, &bare, Some("compliant")).reason, Reason::CertificateMissing);
    let mut expired = request();
    expired.cert = Some(Certificate { not_after: Some(NOW), ..Certificate::default() });
    assert_eq!(run(&doc, &expired, Some("compliant")).reason, Reason::CertificateExpired);
    expired.cert = Some(Certificate { not_after: Some(NOW + Duration::SECOND), ..Certificate::default() });
    assert_eq!(run(&doc, &expired, Some("compliant")).reason, Reason::RuleAllow);
}

#[test]
fn no_policy_is_a_denial_that_says_so() {
    let found = Match { outcome: Found::NotEnrolled, key: None, mac_mismatch: false, wanted: Vec::new() };
    let compliance = assess(&found, &[], &OrgSettings::default(), NOW);
    let request = request();
    let input = Input { request: &request, found: &found, compliance: &compliance, now: NOW };
    assert_eq!(decide(None, &input).reason, Reason::NoPolicy);
}

#[test]
fn values_read_as_documented() {
    let holds = |key, values: &[&str], request: &AccessRequest| {
        let doc = policy(vec![matching(1, key, values)], vec![rule(2, Action::Allow, &[1], &[])]);
        assert_eq!(draft::check(&doc), [], "{values:?}");
        run(&doc, request, Some("inGracePeriod")).outcome.permit
    };
    let mut r = request();
    r.ssid = Some("Corp-5G".into());
    r.mac = Some("d4:6e:0e:02:28:96".parse().unwrap());
    for (value, want) in [
        ("Corp-5G", true),
        ("corp-5g", false),
        ("Corp*", true),
        ("*5G", true),
        ("*rp-*", true),
        ("Guest", false),
        ("!Guest", true),
        ("!*5G", false),
        ("! Corp*", false),
    ] {
        assert_eq!(holds(MatchLabelKey::Ssid, &[value], &r), want, "{value}");
    }
    for (value, want) in [
        ("D4-6E-0E-02-28-96", true),
        ("d46e0e*", true),
        ("d4:6e:0*", true),
        ("d46e0f*", false),
        ("!d46e0e*", false),
    ] {
        assert_eq!(holds(MatchLabelKey::ClientMac, &[value], &r), want, "{value}");
    }
    for (value, want) in [
        ("compliant", true),
        ("In-Grace-Period", true),
        ("!in-grace-period", false),
        ("non-compliant", false),
        ("!unknown", true),
    ] {
        assert_eq!(holds(MatchLabelKey::MdmStatus, &[value], &r), want, "{value}");
    }
    for (value, want) in [("certificate", true), ("mac", false), ("!mac", true)] {
        assert_eq!(holds(MatchLabelKey::MatchStrength, &[value], &r), want, "{value}");
    }
    for (value, want) in [("eap-tls", true), ("cert", true), ("idp", false), ("mab", false), ("!mab", true)] {
        assert_eq!(holds(MatchLabelKey::AuthType, &[value], &r), want, "{value}");
    }
    // What is absent equals nothing.
    let wired = request();
    assert!(!holds(MatchLabelKey::Ssid, &["Corp"], &wired));
    assert!(holds(MatchLabelKey::Ssid, &["!Corp"], &wired));
}

#[test]
fn a_password_method_is_idp_unless_it_showed_a_certificate() {
    for (method, cert, wanted, want) in [
        (AuthType::EapTtls, false, AuthMatch::Idp, true),
        (AuthType::EapTeap, true, AuthMatch::Cert, true),
        (AuthType::EapTeap, false, AuthMatch::Cert, false),
        (AuthType::EapPeap, true, AuthMatch::Cert, true),
        (AuthType::EapPeap, true, AuthMatch::Idp, false),
        (AuthType::Mab, false, AuthMatch::Idp, false),
        (AuthType::Mab, false, AuthMatch::Exactly(AuthType::Mab), true),
    ] {
        assert_eq!(auth_holds(wanted, method, cert), want, "{method} {cert} {wanted}");
    }
}

#[test]
fn a_rule_on_trial_is_recorded_and_never_decides() {
    let mut doc = guide();
    doc.rules.insert(0, Rule { dry_run: true, ..rule(13, Action::Block, &[1], &[]) });
    doc.rules.insert(0, Rule { dry_run: true, ..rule(14, Action::Block, &[2], &[]) });
    let (decision, trace) = told(&doc, &request(), Some("compliant"));
    assert_eq!((decision.reason, decision.outcome.vlan.as_deref()), (Reason::RuleAllow, Some("10")));
    let fared: Vec<_> = decision.dry_run.iter().map(|t| (t.rule.name.as_str(), t.matched)).collect();
    assert_eq!(fared, [("Rule 14", false), ("Rule 13", true)]);
    assert_eq!(decision.would_decide().and_then(|t| t.outcome.clone()), Some(Outcome::DENY));
    assert!(trace[1].dry_run && trace[1].matched);
}

#[test]
fn requests_and_decisions_recorded_before_read_as_ever() {
    let old = r#"{"edge":"00000000-0000-0000-0000-000000000003","site":"00000000-0000-0000-0000-000000000004",
        "mac":null,"auth_type":"mab","ssid":null,"user_name":null,"session_id":null,"cert":{"cn":"x"}}"#;
    let request: AccessRequest = serde_json::from_str(old).unwrap();
    assert_eq!(request.idp_roles, Vec::<String>::new());
    let old = r#"{"outcome":{"permit":true,"vlan":"10","role":null,"session_timeout":null},"reason":"rule_allow",
        "rule":null,"policy_version":1,"trace":[]}"#;
    let decision: Decision = serde_json::from_str(old).unwrap();
    assert_eq!(decision.outcome.attrs, []);
    // The trace was recorded in words.
    let policy = CompiledPolicy::compile(1, &guide());
    let traffic = Traffic { request, device: None, ambiguous: false, key: MatchKey::Mac, linked: true };
    assert_eq!(traffic.with(|input| retell(&policy, input, &decision)), Some(Vec::new()));
    let words = serde_json::json!([{
        "rule": {"id": RuleId(Uuid::nil()), "name": "Gone", "position": 1}, "matched": true,
        "conditions": [{"subject": {"kind": "auth_type"}, "wanted": ["mab"], "saw": ["mab"], "held": true}],
    }]);
    let decision = Decision { trace: serde_json::from_value(words).unwrap(), ..decision };
    let told = traffic.with(|input| retell(&policy, input, &decision)).unwrap();
    assert_eq!((told[0].rule.name.as_str(), told[0].conditions[0].held), ("Gone", true));
}

#[test]
fn what_held_is_told_of_its_own_version_alone() {
    let (doc, decision) = (guide(), run(&guide(), &request(), Some("noncompliant")));
    assert_eq!(serde_json::to_value(&decision.trace).unwrap(), "4", "the first rule's label did not hold");
    let traffic =
        Traffic { request: request(), device: None, ambiguous: false, key: MatchKey::SanUri, linked: true };
    let told =
        |version, doc| traffic.with(|input| retell(&CompiledPolicy::compile(version, doc), input, &decision));
    let trace = told(7, &doc).unwrap();
    // What held is as it was, whatever would hold now.
    assert_eq!(trace.iter().map(|rule| rule.matched).collect::<Vec<_>>(), [false, true]);
    assert_eq!(told(8, &doc), None);
    assert_eq!(told(7, &PolicyDoc::default()), None);
}

/// The documentation, read word by word and without any preparation.
mod reference;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_engine_equals_the_documentation(doc in any_doc(), traffic in any_traffic()) {
        traffic.with(|input| {
            let compiled = CompiledPolicy::compile(1, &doc);
            let decision = decide(Some(&compiled), input);
            let evaluation = evaluate(Some(&compiled), input);
            prop_assert_eq!(evaluation.reason, decision.reason);
            prop_assume!(decision.reason != Reason::CertificateMissing);
            prop_assert_eq!(decision.rule.as_ref().map(|r| r.id), reference::deciding(&doc, input));
            prop_assert_eq!(evaluation.rule.and_then(|rule| compiled.rule(rule)), decision.rule.as_ref());
            // The trace tells the same story as the decision.
            let trace = retell(&compiled, input, &decision).unwrap();
            for rule in &trace {
                let matched = !rule.disabled && !rule.conditions.iter().any(ConditionTrace::blocked);
                prop_assert_eq!(rule.matched, matched);
                prop_assert_eq!(rule.matched && !rule.dry_run, decision.rule.as_ref() == Some(&rule.rule));
            }
            prop_assert_eq!(decision.rule.is_none(), decision.reason == Reason::ImplicitDeny);
            let tried: Vec<_> = trace.iter().filter(|r| r.dry_run && !r.disabled)
                .map(|r| (&r.rule, r.matched)).collect();
            prop_assert_eq!(tried, decision.dry_run.iter().map(|t| (&t.rule, t.matched)).collect::<Vec<_>>());
            Ok(())
        })?;
    }

    #[test]
    fn the_order_of_values_and_labels_changes_nothing(doc in any_doc(), traffic in any_traffic()) {
        let mut turned = doc.clone();
        for label in &mut turned.labels {
            if let LabelKind::Match { values, .. } = &mut label.kind { values.reverse(); }
        }
        for side in turned.rules.iter_mut().flat_map(|rule| [&mut rule.matching, &mut rule.not_matching]) {
            side.labels.reverse();
            side.auth_types.reverse();
            side.port_types.reverse();
            side.site_ids.reverse();
            side.vendors.reverse();
        }
        turned.labels.reverse();
        traffic.with(|input| {
            let decide = |doc| { let d = decide(Some(&CompiledPolicy::compile(1, doc)), input); (d.rule, d.outcome) };
            prop_assert_eq!(decide(&doc), decide(&turned));
            Ok(())
        })?;
    }

    #[test]
    fn nothing_behind_a_catch_all_decides(doc in any_doc(), at in 0usize..12, traffic in any_traffic()) {
        let mut doc = doc;
        let at = at.min(doc.rules.len());
        doc.rules.insert(at, rule(99, Action::Block, &[], &[]));
        let rule = traffic.with(|input| evaluate(Some(&CompiledPolicy::compile(1, &doc)), input).rule);
        prop_assert!(rule.is_none_or(|rule| rule <= at));
    }

    #[test]
    fn exactly_one_verdict_holds(traffic in any_traffic()) {
        traffic.with(|input| {
            use crate::compliance::Literal::{Compliant, NonCompliant, Unknown};
            let holding = [Compliant, NonCompliant, Unknown].into_iter().filter(|l| input.compliance.has(*l));
            prop_assert_eq!(holding.count(), 1);
            Ok(())
        })?;
    }
}

#[test]
fn long_lists_read_like_short_ones() {
    let many: Vec<String> = (0..200).map(|n| format!("site-{n}")).chain(["!Guest*".into()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let doc = policy(vec![matching(1, MatchLabelKey::Ssid, &many)], vec![rule(1, Action::Allow, &[1], &[])]);
    let permit = |ssid: &str| {
        let traffic = Traffic {
            request: AccessRequest { ssid: Some(ssid.into()), ..request() },
            device: None,
            ambiguous: false,
            key: MatchKey::Mac,
            linked: true,
        };
        traffic.with(|input| decide(Some(&CompiledPolicy::compile(1, &doc)), input).outcome.permit)
    };
    assert!(permit("site-7") && permit("Other") && !permit("Guest-7"));
}
