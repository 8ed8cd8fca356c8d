//! A decision in the words of its page. Of a recorded one, everything shown comes from the record: what was seen
//! then, not what is known now.

use std::collections::{HashMap, HashSet};

use domain::decision::{ConditionTrace, Decision, DryRun, RuleTrace, Subject, Trace};
use domain::event::DecisionRecord;
use domain::policy::explain::{NearMiss, explain as explain_again};
use domain::policy::replay::{Facts, Recorded};
use domain::policy::trace::retell;
use domain::policy::{CompiledPolicy, PolicyDoc};
use domain::radius::{RadiusAttribute, attributes_for};
use domain::snapshot::OrgSettings;
use domain::{LabelId, RuleId, SiteId};
use time::OffsetDateTime;

/// Where rules and labels are linked to: what the draft does not hold any more has no page of its own.
pub(crate) struct Links {
    rules: String,
    labels: String,
    known_rules: HashSet<RuleId>,
    known_labels: HashSet<LabelId>,
    sites: HashMap<SiteId, String>,
}

impl Links {
    /// Links into a draft.
    pub(crate) fn new(
        member: &crate::visit::Member,
        draft: &PolicyDoc,
        sites: HashMap<SiteId, String>,
    ) -> Self {
        Self {
            rules: member.path("auth-policies/rules"),
            labels: member.path("labels"),
            known_rules: draft.rules.iter().map(|rule| rule.id).collect(),
            known_labels: draft.labels.iter().map(|label| label.id).collect(),
            sites,
        }
    }

    fn rule(&self, id: RuleId) -> Option<String> {
        self.known_rules.contains(&id).then(|| format!("{}/{id}", self.rules))
    }

    fn label(&self, id: LabelId) -> Option<String> {
        self.known_labels.contains(&id).then(|| format!("{}/{id}", self.labels))
    }

    fn site(&self, id: &str) -> String {
        id.parse().ok().and_then(|id: SiteId| self.sites.get(&id)).map_or(id, String::as_str).to_owned()
    }
}

/// How one rule fared.
pub(crate) struct TraceRow {
    pub link: Option<String>,
    pub position: u32,
    pub name: String,
    pub matched: bool,
    pub disabled: bool,
    pub dry_run: bool,
    /// It decided.
    pub decided: bool,
    pub conditions: Vec<ConditionRow>,
}

/// How one condition fared.
pub(crate) struct ConditionRow {
    pub link: Option<String>,
    pub negated: bool,
    pub subject: String,
    pub wanted: String,
    pub saw: String,
    pub held: bool,
    /// It kept the rule from matching.
    pub stood: bool,
}

/// The rule that would have permitted, and what would have to change.
pub(crate) struct Nearest {
    pub link: Option<String>,
    pub position: u32,
    pub name: String,
    /// What the client would have got.
    pub gets: String,
    /// What was wanted and what was seen, each with what to do at the client.
    pub needs: Vec<(String, &'static str)>,
    /// Block rules before it that match.
    pub in_the_way: Vec<(Option<String>, String)>,
}

/// A rule on trial that matched.
pub(crate) struct Trial {
    pub link: Option<String>,
    pub position: u32,
    pub name: String,
    pub gets: String,
    /// The first of them: it would have decided.
    pub first: bool,
}

/// A decision's trace, its trials, and the rule that came nearest.
pub(crate) struct Told {
    pub meaning: &'static str,
    pub remedy: &'static str,
    pub trace: Vec<TraceRow>,
    pub rule_link: Option<String>,
    pub nearest: Option<Nearest>,
    pub trials: Vec<Trial>,
    /// No rule decided, though rules were asked.
    pub implicit: bool,
    pub attributes: Vec<RadiusAttribute>,
}

impl Told {
    pub(crate) fn of(
        decision: &Decision,
        trace: &[RuleTrace],
        vendor: Option<&str>,
        nearest: Option<NearMiss>,
        links: &Links,
    ) -> Self {
        let (meaning, remedy) = decision.reason.explain();
        let decided = decision.rule.as_ref().map(|rule| rule.id);
        let row = |trace: &RuleTrace| TraceRow {
            link: links.rule(trace.rule.id),
            position: trace.rule.position,
            name: trace.rule.name.clone(),
            matched: trace.matched,
            disabled: trace.disabled,
            dry_run: trace.dry_run,
            decided: decided == Some(trace.rule.id),
            conditions: trace.conditions.iter().map(|condition| condition_row(condition, links)).collect(),
        };
        let first = decision.would_decide().map(|trial| trial.rule.id);
        let trial = |trial: &DryRun| Trial {
            link: links.rule(trial.rule.id),
            position: trial.rule.position,
            name: trial.rule.name.clone(),
            gets: trial.outcome.as_ref().map(gets).unwrap_or_default(),
            first: first == Some(trial.rule.id),
        };
        Self {
            meaning,
            remedy,
            trace: trace.iter().map(row).collect(),
            rule_link: decided.and_then(|rule| links.rule(rule)),
            nearest: nearest.map(|near| nearest_row(near, links)),
            trials: decision.dry_run.iter().filter(|trial| trial.matched).map(trial).collect(),
            implicit: decided.is_none() && !trace.is_empty(),
            attributes: attributes_for(&decision.outcome, vendor),
        }
    }
}

/// What a page says of a recorded decision.
pub(super) struct Explained {
    pub told: Told,
    /// The nearest rule cannot be told: the record is of before device facts were recorded.
    pub lacks_posture: bool,
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
    settings: &OrgSettings,
    links: &Links,
) -> Explained {
    let (answer, decision) = (&record.answer, &record.answer.decision);
    let age = |then: Option<OffsetDateTime>| then.map(|then| crate::format::span((answer.at - then).abs()));
    let compiled =
        policy.map(|doc| CompiledPolicy::compile(decision.policy_version.unwrap_or_default(), doc));
    let recorded = Recorded::of(record, Facts::AsRecorded, settings);
    let looks = compiled.as_ref().is_some_and(CompiledPolicy::looks_at_posture);
    let lacks_posture = recorded.lacks_posture() && looks;
    let trace = match (&compiled, &decision.trace) {
        (Some(compiled), _) => recorded.with(|input| retell(compiled, input, decision)).unwrap_or_default(),
        (None, Trace::Told(told)) => told.clone(),
        (None, Trace::Held(_)) => Vec::new(),
    };
    let nearest = compiled.filter(|_| !lacks_posture).and_then(|compiled| {
        let again = recorded.with(|input| explain_again(Some(&compiled), input));
        // What comes out differently now would explain another decision.
        again.nearest.filter(|_| again.reason == decision.reason)
    });
    Explained {
        told: Told::of(decision, &trace, record.request.nas.vendor.as_deref(), nearest, links),
        lacks_posture: lacks_posture && !decision.outcome.permit,
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

fn condition_row(condition: &ConditionTrace, links: &Links) -> ConditionRow {
    let named = |words: &[String]| -> Vec<String> {
        if condition.subject != Subject::Site {
            return words.to_vec();
        }
        words.iter().map(|id| links.site(id)).collect()
    };
    let (subject, link) = match &condition.subject {
        Subject::AuthType => ("authentication method".to_owned(), None),
        Subject::PortType => ("port type".to_owned(), None),
        Subject::Site => ("site".to_owned(), None),
        Subject::Vendor => ("NAS vendor".to_owned(), None),
        Subject::Label { id, name, key } => (format!("{name} ({key})"), links.label(*id)),
    };
    ConditionRow {
        link,
        negated: condition.negated,
        subject,
        wanted: named(&condition.wanted).join(if condition.all { " and " } else { " or " }),
        saw: named(&condition.saw).join(", "),
        held: condition.held,
        stood: condition.blocked(),
    }
}

fn nearest_row(near: NearMiss, links: &Links) -> Nearest {
    let words = |mut words: String, site: bool| {
        if site {
            for (id, name) in &links.sites {
                words = words.replace(&id.to_string(), name);
            }
        }
        words
    };
    Nearest {
        link: links.rule(near.rule.id),
        position: near.rule.position,
        name: near.rule.name,
        gets: gets(&near.outcome),
        needs: near
            .needs
            .into_iter()
            .map(|need| (words(need.words, need.condition.subject == Subject::Site), need.remedy))
            .collect(),
        in_the_way: near.in_the_way.into_iter().map(|rule| (links.rule(rule.id), rule.name)).collect(),
    }
}

/// An outcome in a few words.
pub(crate) fn gets(outcome: &domain::decision::Outcome) -> String {
    let mut words = vec![if outcome.permit { "permit" } else { "deny" }.to_owned()];
    words.extend(outcome.vlan.as_ref().map(|vlan| format!("VLAN {vlan}")));
    words.extend(outcome.role.as_ref().map(|role| format!("role {role}")));
    words.join(", ")
}
