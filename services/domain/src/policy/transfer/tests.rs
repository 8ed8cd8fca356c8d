use proptest::prelude::*;

use super::*;
use crate::policy::generate::any_doc;
use crate::policy::model::{Action, MatchLabelKey};

const GUIDE: &str = r#"
format: gatehouse-policy/1
labels:
  - name: Compliant
    type: match
    match: mdm_status
    values: [compliant]
  - name: Corp VLAN
    type: vlan
    vlan: "10"
rules:
  - name: Corp
    action: allow
    matching:
      auth_types: [eap-tls]
      labels: [compliant]
    apply: [Corp VLAN]
sections:
  - name: Everyone
    before: corp
"#;

fn current() -> PolicyDoc {
    PolicyDoc::default()
}

#[test]
fn a_file_written_by_hand_needs_no_ids() {
    let doc = read(GUIDE, Format::of(GUIDE), &current()).unwrap();
    assert_eq!(doc, read(GUIDE, Format::Yaml, &current()).unwrap(), "the same file gives the same ids");
    assert_eq!(doc.rules[0].matching.labels, [doc.labels[0].id]);
    assert_eq!((doc.rules[0].action, doc.rules[0].enabled, doc.sections[0].at), (Action::Allow, true, 0));
    // A number where text is meant reads as the text that it is.
    let bare = GUIDE.replace("vlan: \"10\"", "vlan: 10");
    assert_eq!(doc, read(&bare, Format::Yaml, &current()).unwrap());
    // Replacing a policy keeps the ids of what has the same name.
    let mut before = doc;
    before.rules[0].id = crate::RuleId(uuid::Uuid::from_u128(77));
    before.rules[0].name = "CORP".into();
    assert_eq!(read(GUIDE, Format::Yaml, &before).unwrap().rules[0].id, before.rules[0].id);
}

#[test]
fn errors_name_their_path() {
    let error = |from: &str, to: &str| -> Vec<String> {
        let text = GUIDE.replace(from, to);
        assert_ne!(text, GUIDE, "{from}");
        let errors = read(&text, Format::Yaml, &current()).unwrap_err();
        errors.iter().map(|e| format!("{}: {}", e.path, e.message)).collect()
    };
    for (from, to, path, says) in [
        ("[compliant]\n  - name", "[complaint]\n  - name", "labels[0].values", "use one of"),
        (
            "labels: [compliant]",
            "labels: [complaint]",
            "rules[0].matching.labels[0]",
            "did you mean “Compliant”?",
        ),
        ("before: corp", "before: xyz", "sections[0].before", "no rule “xyz”"),
        ("vlan: \"10\"", "vlan: \"5000\"", "labels[1].vlan", "1 to 4094"),
        ("    vlan: \"10\"\n", "", "labels[1].vlan", "needs this field"),
        ("    vlan: \"10\"\n", "    vlan: \"10\"\n    gbp_tag: 3\n", "labels[1].gbp_tag", "no such field"),
        ("action: allow", "action: permit", "rules[0].action", "permit"),
        ("auth_types: [eap-tls]", "auth_types: [eap-tsl]", "rules[0].matching.auth_types[0]", "eap-tls"),
        ("auth_types:", "auth_type:", "rules[0].matching", "auth_type"),
        ("policy/1", "policy/9", "format", "gatehouse-policy/1"),
    ] {
        let errors = error(from, to);
        assert!(errors[0].starts_with(path) && errors[0].contains(says), "{to}: {errors:?}");
    }
    let json = r#"{"format":"gatehouse-policy/1","labels":[{"name":"x","type":"vlan","vlan":10}]}"#;
    let errors = read(json, Format::of(json), &current()).unwrap_err();
    assert_eq!((errors[0].path.as_str(), errors[0].place), ("labels[0].vlan", Some((1, 76))));
    assert!(read("{", Format::Json, &current()).is_err());
    assert!(read("a: &a [*a, *a]", Format::Yaml, &current()).is_err());
}

/// Members by name: the order of a map depends on which features of serde_json the whole build asks for.
fn sorted(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(members) => {
            let by_name: std::collections::BTreeMap<_, _> = members.into_iter().collect();
            by_name.into_iter().map(|(name, member)| (name, sorted(member))).collect()
        }
        serde_json::Value::Array(items) => items.into_iter().map(sorted).collect(),
        plain => plain,
    }
}

#[test]
fn the_schema_is_the_types() {
    let schema = serde_json::to_string_pretty(&sorted(schema())).unwrap() + "\n";
    crate::assert_page("policy.schema.json", &schema);
    for key in MatchLabelKey::ALL {
        assert!(schema.contains(&format!("\"{key}\"")), "{key}");
    }
    for kind in LabelKind::TYPES {
        assert!(schema.contains(&format!("\"{kind}\"")), "{kind}");
    }
}

/// Text that a format might take for something else.
fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "yes",
            "no",
            "null",
            "~",
            "1.0",
            "0x1f",
            "1e3",
            "!x",
            "*x",
            "&x",
            "- x",
            "# x",
            "a: b",
            "'",
            "\"",
            "|",
            ">",
            "{x}",
            "[x]",
            "@x",
            "`x",
            "%x",
            "2026-01-01",
            " x ",
            "x\ny",
            "",
            "é”",
            "\u{1F512}",
            "x: ",
            "true",
            "-",
            "---",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_exported_comes_back_exactly(doc in any_doc(), names in proptest::collection::vec(odd_text(), 6)) {
        let mut doc = doc;
        for (rule, name) in doc.rules.iter_mut().zip(&names) {
            rule.name.clone_from(name);
            rule.comment.clone_from(&names[0]);
        }
        for (label, name) in doc.labels.iter_mut().zip(names.iter().rev()) {
            label.name.clone_from(name);
            if let LabelKind::Match { values, .. } = &mut label.kind { values.push(name.clone()); }
        }
        doc.sections.sort_by_key(|section| section.at);
        for format in [Format::Json, Format::Yaml] {
            let text = write(&doc, format).unwrap();
            let back = parse(&text, format, &PolicyDoc::default());
            prop_assert_eq!(back.as_ref().ok(), Some(&doc), "{} {:?}", text, back);
        }
    }

    #[test]
    fn reading_is_total(text in "\\PC{0,200}") {
        for format in [Format::Json, Format::Yaml] {
            let _ = read(&text, format, &PolicyDoc::default());
        }
    }
}
