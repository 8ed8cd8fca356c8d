//! What is wrong with a policy before anybody publishes it.
//!
//! Reasoning about what rules match is exact over methods, ports, sites, vendors, compliance, match strength, posture
//! flags and owners, numbers, versions and networks, and careful over text: what lint calls unreachable is never hit;
//! what it does not name may still be unreachable where text patterns overlap in ways that it does not follow.

mod checks;
mod reach;
mod set;
mod space;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::model::{Label, PolicyDoc, Rule};
use crate::decision::RuleRef;
use crate::request::words;
use crate::{LabelId, SiteId};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Blocks publishing.
    Error,
    Warning,
}

words!(Severity, "severity", Severity::Error => "error", Severity::Warning => "warning",);

/// What was found, for machines. Stable: a code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    UnknownLabel,
    ContradictoryRule,
    ContradictoryLabel,
    ShadowedRule,
    UnreachableRule,
    MatchesEveryone,
    AlwaysTrueLabel,
    UnknownSite,
    UnknownVendor,
    AllowWithoutVlan,
    BlockWithResults,
    RedirectUnconfined,
    WeakMatch,
    UnknownUnhandled,
    NegatedCompliance,
    CaseMistake,
    UnusedLabel,
    DuplicateLabel,
}

words!(Code, "lint code",
    Code::UnknownLabel => "unknown_label", Code::ContradictoryRule => "contradictory_rule",
    Code::ContradictoryLabel => "contradictory_label", Code::ShadowedRule => "shadowed_rule",
    Code::UnreachableRule => "unreachable_rule", Code::MatchesEveryone => "matches_everyone",
    Code::AlwaysTrueLabel => "always_true_label", Code::UnknownSite => "unknown_site",
    Code::UnknownVendor => "unknown_vendor", Code::AllowWithoutVlan => "allow_without_vlan",
    Code::BlockWithResults => "block_with_results", Code::RedirectUnconfined => "redirect_unconfined",
    Code::WeakMatch => "weak_match",
    Code::UnknownUnhandled => "unknown_unhandled", Code::NegatedCompliance => "negated_compliance",
    Code::CaseMistake => "case_mistake", Code::UnusedLabel => "unused_label",
    Code::DuplicateLabel => "duplicate_label",
);

impl Code {
    /// How much it weighs, what it means, and what to do, for people.
    #[must_use]
    pub const fn explain(self) -> (Severity, &'static str, &'static str) {
        use Severity::{Error, Warning};
        match self {
            Self::UnknownLabel => (
                Error,
                "A rule names a label that does not exist.",
                "Take the label out of the rule, or choose another.",
            ),
            Self::ContradictoryRule => (
                Error,
                "The conditions of a rule exclude each other, so it can never match. On a rule that is disabled or \
                 on trial this is a warning.",
                "Take one of the conditions out; put alternatives into one label as several values.",
            ),
            Self::ContradictoryLabel => (
                Warning,
                "The values of a label exclude each other, so it can never hold.",
                "Turn “match all” off, or take values out.",
            ),
            Self::ShadowedRule => (
                Warning,
                "An earlier rule matches every client that this rule matches, so this rule never decides.",
                "Move the rule before the one that shadows it, narrow that one, or delete this one.",
            ),
            Self::UnreachableRule => (
                Warning,
                "Earlier rules together match every client that this rule matches, so this rule never decides.",
                "Move the rule up, narrow the earlier ones, or delete it.",
            ),
            Self::MatchesEveryone => (
                Warning,
                "An allow rule without conditions lets every client in.",
                "Name conditions, or make it a block rule.",
            ),
            Self::AlwaysTrueLabel => (
                Warning,
                "The values of a label hold for every client, as several negated values do that are OR-ed.",
                "Turn “match all” on, or take values out.",
            ),
            Self::UnknownSite => {
                (Warning, "A rule names a site that does not exist.", "Take the site out of the rule.")
            }
            Self::UnknownVendor => (
                Warning,
                "A rule names a vendor that no edge of the organization reports.",
                "Check the spelling against the vendor names that your edges send.",
            ),
            Self::AllowWithoutVlan => (
                Warning,
                "An allow rule gives no VLAN while other allow rules do: its clients get the port's or SSID's own.",
                "Apply a VLAN label, if the default is not what you want.",
            ),
            Self::BlockWithResults => (
                Warning,
                "A block rule applies labels, which a denial (Access-Reject) does not carry: no VLAN, no redirect.",
                "Take the labels out, or make it an allow rule: a client can be led to a page only where it is let into \
                 a quarantine VLAN, role or access list.",
            ),
            Self::RedirectUnconfined => (
                Warning,
                "A rule leads clients to a page, and gives no VLAN, role or attribute that keeps them apart: they are \
                 in the port's or SSID's own network, whether they read the page or not.",
                "Apply a quarantine VLAN, role or access list beside the redirect.",
            ),
            Self::WeakMatch => (
                Warning,
                "A rule trusts a device's compliance where only a MAC address ties the client to the device, and \
                 gives what a certificate match gives. Whoever copies that MAC address gets it too.",
                "Add a label “match strength: certificate”, or give MAC matches less.",
            ),
            Self::UnknownUnhandled => (
                Warning,
                "The policy looks at MDM compliance, but some clients whose compliance is unknown meet no rule: the \
                 implicit last rule denies them.",
                "Add a rule for “MDM compliance: unknown”, for example into a quarantine VLAN.",
            ),
            Self::NegatedCompliance => (
                Warning,
                "An allow rule asks that a client be not non-compliant, which lets in every client of which nothing \
                 is known.",
                "Match “compliant” instead.",
            ),
            Self::CaseMistake => (
                Warning,
                "Two values differ only in case where case matters, or a compliance word stands under another key.",
                "Write both alike, or use the key “MDM compliance”.",
            ),
            Self::UnusedLabel => (Warning, "No rule uses the label.", "Use it in a rule, or delete it."),
            Self::DuplicateLabel => {
                (Warning, "Two labels say the same.", "Use one of them in every rule, and delete the other.")
            }
        }
    }
}

/// A label that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelRef {
    pub id: LabelId,
    pub name: String,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    pub code: Code,
    /// The rule it is about, where it is about one.
    pub rule: Option<RuleRef>,
    /// The rules that cause it: those that shadow, or give the same.
    pub others: Vec<RuleRef>,
    pub labels: Vec<LabelRef>,
    pub message: String,
    pub remedy: &'static str,
}

/// What the organization has. `None`: not known, so nothing is said about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    pub sites: Option<&'a [SiteId]>,
    /// NAS vendors that edges have reported.
    pub vendors: Option<&'a [String]>,
}

/// Looks a policy over. Errors first, then in the order of the rules.
#[must_use]
pub fn lint(doc: &PolicyDoc, known: &Known<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    let map = reach::Map::of(doc);
    reach::rules(doc, &map, &mut out);
    checks::labels(doc, &map, &mut out);
    checks::rules(doc, known, &mut out);
    checks::compliance(doc, &map, &mut out);
    out.sort_by_key(|finding| {
        (finding.severity, finding.rule.as_ref().map_or(u32::MAX, |rule| rule.position))
    });
    out
}

/// Whether the findings block publishing.
#[must_use]
pub fn blocks(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

impl Finding {
    fn new(code: Code, message: impl Into<String>) -> Self {
        let (severity, _, remedy) = code.explain();
        let (others, labels) = (Vec::new(), Vec::new());
        Self { severity, code, rule: None, others, labels, message: message.into(), remedy }
    }

    fn rule(mut self, doc: &PolicyDoc, index: usize) -> Self {
        self.rule = Some(rule_ref(&doc.rules[index], index));
        self
    }

    fn others(mut self, doc: &PolicyDoc, indexes: &[usize]) -> Self {
        self.others = indexes.iter().map(|index| rule_ref(&doc.rules[*index], *index)).collect();
        self
    }

    fn label(mut self, label: &Label) -> Self {
        self.labels.push(LabelRef { id: label.id, name: label.name.clone() });
        self
    }
}

fn rule_ref(rule: &Rule, index: usize) -> RuleRef {
    RuleRef { id: rule.id, name: rule.name.clone(), position: u32::try_from(index + 1).unwrap_or(u32::MAX) }
}
