//! What lint finds in the draft, for people: how much it weighs, what it means, what to do, and where.

use domain::policy::lint::{Finding, Severity};

use crate::visit::Member;

/// One finding with its links.
pub(super) struct FindingLine {
    pub error: bool,
    pub code: &'static str,
    pub message: String,
    pub meaning: &'static str,
    pub remedy: &'static str,
    /// The rules and labels that it is about: address and name.
    pub links: Vec<(String, String)>,
}

pub(super) fn findings(findings: &[Finding], member: &Member) -> Vec<FindingLine> {
    findings.iter().map(|finding| line(finding, member)).collect()
}

fn line(finding: &Finding, member: &Member) -> FindingLine {
    let rule = |rule: &domain::decision::RuleRef| {
        let path = member.path(&format!("auth-policies/rules/{}", rule.id));
        (path, format!("Rule {} “{}”", rule.position, rule.name))
    };
    let label = |label: &domain::policy::lint::LabelRef| {
        (member.path(&format!("labels/{}", label.id)), format!("Label “{}”", label.name))
    };
    let (_, meaning, remedy) = finding.code.explain();
    FindingLine {
        error: finding.severity == Severity::Error,
        code: finding.code.as_str(),
        message: finding.message.clone(),
        meaning,
        remedy,
        links: finding
            .rule
            .iter()
            .chain(&finding.others)
            .map(rule)
            .chain(finding.labels.iter().map(label))
            .collect(),
    }
}
