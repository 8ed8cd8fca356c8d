//! Policies and traffic to measure with: the same for every bench, made from numbers alone.

use domain::compliance::{Compliance, assess};
use domain::decision::{Answer, MatchRecord, Trace};
use domain::device::{ComplianceState, DeviceFacts};
use domain::event::DecisionRecord;
use domain::policy::CompiledPolicy;
use domain::policy::decide::{Input, decide};
use domain::policy::model::{
    Action, AuthMatch, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc, Rule,
};
use domain::request::{AccessRequest, AuthType, Certificate, PortType};
use domain::resolver::{Match, MatchKey, Outcome};
use domain::snapshot::OrgSettings;
use domain::{DeviceId, EdgeId, EventId, LabelId, LinkId, Mac, OrgId, RuleId, SessionId, SiteId};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

/// When everything happens.
pub const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

/// A policy of so many allow rules, each for compliant devices with a certificate on a network of its own.
#[must_use]
pub fn policy(rules: u32, vlan_offset: u32) -> PolicyDoc {
    let label = |n: u32, name: String, kind| Label { id: label_id(n), name, kind };
    let matching = |key, value: String| LabelKind::Match { key, values: vec![value], match_all: false };
    let mut doc = PolicyDoc {
        labels: vec![label(0, "Compliant".into(), matching(MatchLabelKey::MdmStatus, "compliant".into()))],
        ..PolicyDoc::default()
    };
    for n in 1..=rules {
        doc.labels.push(label(
            n,
            format!("Network {n}"),
            matching(MatchLabelKey::Ssid, format!("Net-{n}-*")),
        ));
        let vlan = LabelKind::Vlan { vlan: (n % 4000 + vlan_offset).to_string() };
        doc.labels.push(label(10_000 + n, format!("VLAN {n}"), vlan));
        doc.rules.push(Rule {
            id: RuleId(Uuid::from_u128(n.into())),
            name: format!("Rule {n}"),
            comment: String::new(),
            enabled: true,
            dry_run: false,
            action: Action::Allow,
            matching: Conditions {
                auth_types: vec![AuthMatch::Exactly(AuthType::EapTls)],
                port_types: vec![PortType::Wireless],
                labels: vec![label_id(0), label_id(n)],
                ..Conditions::default()
            },
            not_matching: Conditions::default(),
            apply: vec![label_id(10_000 + n)],
        });
    }
    doc
}

fn label_id(n: u32) -> LabelId {
    LabelId(Uuid::from_u128(u128::from(n) + 1))
}

/// A client on the network of one rule.
#[must_use]
pub fn request(rule: u32) -> AccessRequest {
    let mut request = AccessRequest::bare(EdgeId(Uuid::nil()), SiteId(Uuid::nil()));
    request.auth_type = Some(AuthType::EapTls);
    request.nas.port_type = Some(PortType::Wireless);
    request.ssid = Some(format!("Net-{rule}-5G"));
    request.user_name = Some("host/laptop.example.com".into());
    request.cert = Some(Certificate { cn: Some("laptop".into()), ..Certificate::default() });
    request
}

/// A compliant device.
#[must_use]
pub fn device() -> DeviceFacts {
    DeviceFacts::bare(LinkId(Uuid::nil()), DeviceId(Uuid::from_u128(7)), ComplianceState::Compliant, NOW)
}

/// What is known of the client of a device.
pub fn facts(device: &DeviceFacts) -> (Match<'_>, Compliance) {
    let found = Match {
        outcome: Outcome::Device(device),
        key: Some(MatchKey::SanUri),
        mac_mismatch: false,
        wanted: Vec::new(),
    };
    let compliance = assess(&found, &[], &OrgSettings::default(), NOW);
    (found, compliance)
}

/// A recorded decision of one of many clients.
#[must_use]
pub fn record(policy: &CompiledPolicy, rules: u32, client: u32) -> DecisionRecord {
    let device = device();
    let (found, compliance) = facts(&device);
    let mut request = request(client % rules + 1);
    let [a, b, c, d] = client.to_be_bytes();
    request.mac = Some(Mac([0xd4, 0x6e, a, b, c, d]));
    let input = Input { request: &request, found: &found, compliance: &compliance, now: NOW };
    let mut decision = decide(Some(policy), &input);
    // A replay does not read the trace, and a million of them would measure the bench's memory instead.
    decision.trace = Trace::default();
    DecisionRecord {
        org: OrgId(Uuid::nil()),
        session: SessionId(Uuid::nil()),
        session_key: format!("mac:{client}"),
        answer: Answer {
            id: EventId(Uuid::from_u128(client.into())),
            at: NOW,
            decision,
            compliance: compliance.clone(),
            found: MatchRecord::of(&found),
        },
        keys: Vec::new(),
        request,
        offline: false,
        ask: None,
        told_at: None,
    }
}
