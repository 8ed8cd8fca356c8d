//! The demo organization's policy: Mist's Intune guide, with a rule on trial before it.

use domain::LabelId;
use domain::decision::Redirect;
use domain::policy::edit::Edit;
use domain::policy::model::{Action, Conditions, Label, LabelKind, MatchLabelKey, Rule};
use domain::time::Ids;
use time::OffsetDateTime;

/// Compliant devices into Corp VLAN, everyone else into Quarantine, where a page says why; on trial, that a MAC address alone is not enough.
pub fn edits(ids: &Ids, now: OffsetDateTime) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut label = |name: &str, kind: LabelKind| {
        let id: LabelId = ids.make(now);
        edits.push(Edit::PutLabel(Label { id, name: name.to_owned(), kind }));
        id
    };
    let matching = |key, values: &[&str]| LabelKind::Match {
        key,
        values: values.iter().map(ToString::to_string).collect(),
        match_all: false,
    };
    let vlan = |vlan: &str| LabelKind::Vlan { vlan: vlan.to_owned() };
    let role = |role: &str| LabelKind::RadiusGroup { radius_group: role.to_owned() };
    let compliant = label("MDM compliant", matching(MatchLabelKey::MdmStatus, &["compliant"]));
    label("MDM non-compliant or unknown", matching(MatchLabelKey::MdmStatus, &["non-compliant", "unknown"]));
    let by_mac = label("Known by MAC address only", matching(MatchLabelKey::MatchStrength, &["mac"]));
    let corp = label("Corp VLAN", vlan("10"));
    let quarantine = label("Quarantine VLAN", vlan("99"));
    let employee = label("Employee role", role("employee"));
    let restricted = label("Restricted role", role("restricted"));
    let remediation =
        label("Remediation page", LabelKind::RedirectUrl { redirect_url: Redirect::REMEDIATION.to_owned() });
    let mut rule = |name: &str, labels: Vec<LabelId>, apply: Vec<LabelId>, comment: &str| {
        edits.push(Edit::PutRule(Box::new(Rule {
            id: ids.make(now),
            name: name.to_owned(),
            comment: comment.to_owned(),
            enabled: true,
            dry_run: !comment.is_empty(),
            action: Action::Allow,
            matching: Conditions { labels, ..Conditions::default() },
            not_matching: Conditions::default(),
            apply,
        })));
    };
    rule(
        "MAC address alone to Quarantine",
        vec![compliant, by_mac],
        vec![quarantine, restricted],
        "On trial: whoever copies a compliant device's MAC address gets what it gets. See whom this would move \
         before it is enforced.",
    );
    rule("Compliant devices to Corp", vec![compliant], vec![corp, employee], "");
    rule("Everyone else to Quarantine", Vec::new(), vec![quarantine, restricted, remediation], "");
    edits.push(Edit::AddSection { name: "Everyone else".to_owned(), row: 3 });
    edits
}

#[cfg(test)]
mod tests {
    use domain::policy::edit::apply;
    use domain::policy::lint::{Known, blocks, lint};
    use domain::policy::{PolicyDoc, Row, draft};
    use time::macros::datetime;

    use super::*;

    #[test]
    fn it_can_be_published() {
        let mut doc = PolicyDoc::default();
        for edit in edits(&Ids::seeded(1), datetime!(2026-11-20 12:00 UTC)) {
            doc = apply(&doc, edit).unwrap().0;
        }
        assert_eq!(draft::check(&doc), []);
        let findings = lint(&doc, &Known::default());
        assert!(!blocks(&findings), "{findings:?}");
        let rows = doc.rows();
        assert!(matches!(rows[0], Row::Rule { rule, .. } if rule.dry_run && !rule.comment.is_empty()));
        assert!(matches!(rows[2], Row::Section(section) if section.name == "Everyone else"));
        assert_eq!(rows.len(), 4);
    }
}
