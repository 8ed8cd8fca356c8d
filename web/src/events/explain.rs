//! A recorded decision in the words of its page. Everything shown comes from the record: what was seen then, not
//! what is known now.

use std::collections::HashMap;

use domain::decision::{ConditionTrace, Decision, Reason, RuleTrace, Subject};
use domain::event::DecisionRecord;
use domain::policy::{Action, PolicyDoc};
use domain::radius::{RadiusAttribute, attributes};
use domain::{RuleId, SiteId};
use time::OffsetDateTime;

/// How one rule fared.
pub(super) struct TraceRow {
    pub id: RuleId,
    pub position: u32,
    pub name: String,
    pub matched: bool,
    pub disabled: bool,
    /// It decided.
    pub decided: bool,
    pub conditions: Vec<ConditionRow>,
}

/// How one condition fared.
pub(super) struct ConditionRow {
    pub negated: bool,
    pub subject: String,
    pub wanted: String,
    pub saw: String,
    pub held: bool,
    /// It kept the rule from matching.
    pub stood: bool,
}

/// The rule that would have permitted, and what stood in its way.
pub(super) struct Nearest {
    pub id: RuleId,
    pub name: String,
    pub missing: Vec<String>,
}

/// What a page says of a decision.
pub(super) struct Explained {
    pub meaning: &'static str,
    pub remedy: &'static str,
    pub trace: Vec<TraceRow>,
    pub nearest: Option<Nearest>,
    pub attributes: Vec<RadiusAttribute>,
    /// The certificate's subject alternative names that are there, by kind.
    pub alternative_names: Vec<(&'static str, Vec<String>)>,
    /// Ages at the moment of the decision.
    pub check_in_age: Option<String>,
    pub fetched_age: Option<String>,
}

/// Explains a record. `policy` is the version that decided, where it can be read.
pub(super) fn explain(
    record: &DecisionRecord,
    policy: Option<&PolicyDoc>,
    sites: &HashMap<SiteId, String>,
) -> Explained {
    let answer = &record.answer;
    let (meaning, remedy) = answer.decision.reason.explain();
    let age = |then: Option<OffsetDateTime>| then.map(|then| crate::format::span((answer.at - then).abs()));
    let decided = answer.decision.rule.as_ref().map(|rule| rule.id);
    let row = |trace: &RuleTrace| TraceRow {
        id: trace.rule.id,
        position: trace.rule.position,
        name: trace.rule.name.clone(),
        matched: trace.matched,
        disabled: trace.disabled,
        decided: decided == Some(trace.rule.id),
        conditions: trace.conditions.iter().map(|condition| condition_row(condition, sites)).collect(),
    };
    Explained {
        meaning,
        remedy,
        trace: answer.decision.trace.iter().map(row).collect(),
        nearest: policy.and_then(|doc| nearest(&answer.decision, doc, sites)),
        attributes: attributes(&answer.decision.outcome),
        alternative_names: alternative_names(record),
        check_in_age: age(answer.compliance.last_check_in),
        fetched_age: age(answer.compliance.fetched_at),
    }
}

fn alternative_names(record: &DecisionRecord) -> Vec<(&'static str, Vec<String>)> {
    let Some(cert) = &record.request.cert else { return Vec::new() };
    let kinds = [
        ("SAN URI", &cert.san_uri),
        ("SAN DNS", &cert.san_dns),
        ("SAN UPN", &cert.san_upn),
        ("SAN email", &cert.san_email),
    ];
    kinds
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(kind, names)| (kind, names.clone()))
        .collect()
}

fn condition_row(condition: &ConditionTrace, sites: &HashMap<SiteId, String>) -> ConditionRow {
    let named = |words: &[String]| -> Vec<String> {
        if condition.subject != Subject::Site {
            return words.to_vec();
        }
        let name = |id: &String| id.parse().ok().and_then(|id: SiteId| sites.get(&id)).unwrap_or(id).clone();
        words.iter().map(name).collect()
    };
    ConditionRow {
        negated: condition.negated,
        subject: subject(&condition.subject),
        wanted: named(&condition.wanted).join(if condition.all { " and " } else { " or " }),
        saw: named(&condition.saw).join(", "),
        held: condition.held,
        stood: condition.blocked(),
    }
}

fn subject(subject: &Subject) -> String {
    match subject {
        Subject::AuthType => "authentication method".to_owned(),
        Subject::PortType => "port type".to_owned(),
        Subject::Site => "site".to_owned(),
        Subject::Vendor => "NAS vendor".to_owned(),
        Subject::Label { name, key, .. } => format!("{name} ({key})"),
    }
}

/// Of the allow rules that were looked at and did not match, the one with the fewest conditions in its way; told
/// only where they are few enough to act upon.
fn nearest(decision: &Decision, doc: &PolicyDoc, sites: &HashMap<SiteId, String>) -> Option<Nearest> {
    if decision.outcome.permit || !matches!(decision.reason, Reason::ImplicitDeny | Reason::RuleBlock) {
        return None;
    }
    let allows = |trace: &&RuleTrace| {
        !trace.matched
            && !trace.disabled
            && doc.rule(trace.rule.id).is_some_and(|rule| rule.action == Action::Allow)
    };
    let in_the_way = |trace: &RuleTrace| trace.conditions.iter().filter(|c| c.blocked()).count();
    let trace = decision.trace.iter().filter(allows).min_by_key(|trace| in_the_way(trace))?;
    let blocked = trace.conditions.iter().filter(|condition| condition.blocked());
    let missing = blocked.map(|condition| {
        let row = condition_row(condition, sites);
        let saw = if row.saw.is_empty() { "nothing".to_owned() } else { row.saw };
        let wanted = if row.negated { format!("anything but {}", row.wanted) } else { row.wanted };
        format!("{}: it wanted {wanted}, and saw {saw}", row.subject)
    });
    let missing: Vec<String> = missing.collect();
    (1..=3).contains(&missing.len()).then(|| Nearest {
        id: trace.rule.id,
        name: trace.rule.name.clone(),
        missing,
    })
}
