//! The service on a real PostgreSQL: what lint stops, and what goes in and out as a file.

use domain::policy::PolicyDoc;
use domain::policy::edit::Edit;
use domain::policy::lint::Code;
use domain::policy::transfer::Format;
use policy::{EditError, ImportError, PublishError};

use crate::world::{World, world};

const GUIDE: &str = "
format: gatehouse-policy/1
labels:
  - { name: Corp, type: match, match: ssid, values: [Corp] }
  - { name: Guest, type: match, match: ssid, values: [Guest] }
  - { name: VLAN 10, type: vlan, vlan: '10' }
rules:
  - name: Corp
    action: allow
    matching: { labels: [Corp] }
    apply: [VLAN 10]
";

#[tokio::test]
async fn a_policy_goes_in_and_out_as_a_file() {
    let World { service, org, actor, .. } = world().await;
    let revision = service.import(org, &actor, 1, GUIDE, Format::Yaml).await.unwrap();
    assert_eq!(revision, 2);
    let overview = service.overview(org).await.unwrap();
    assert!(overview.findings.iter().any(|finding| finding.code == Code::UnusedLabel));
    for format in [Format::Json, Format::Yaml] {
        let text = service.export(org, None, format).await.unwrap();
        let read = domain::policy::transfer::read(&text, format, &PolicyDoc::default()).unwrap();
        assert_eq!(read, overview.draft.doc);
    }
    let version = service.publish(org, &actor, 2).await.unwrap();
    assert!(service.export(org, Some(version), Format::Yaml).await.unwrap().contains("Guest"));
    assert!(service.export(org, Some(99), Format::Yaml).await.is_err());
    let late = service.import(org, &actor, 1, GUIDE, Format::Yaml).await;
    assert!(matches!(late, Err(ImportError::Edit(EditError::Conflict { current: 2, .. }))), "{late:?}");
    let bad = service.import(org, &actor, 2, "format: gatehouse-policy/2", Format::Yaml).await;
    assert!(matches!(bad, Err(ImportError::File(errors)) if errors[0].path == "format"));
}

#[tokio::test]
async fn errors_of_lint_stop_the_publishing() {
    let World { service, org, actor, .. } = world().await;
    let contradictory = GUIDE.replace("labels: [Corp] }", "labels: [Corp, Guest] }");
    service.import(org, &actor, 1, &contradictory, Format::Yaml).await.unwrap();
    let refused = service.publish(org, &actor, 2).await;
    let Err(PublishError::Lint(findings)) = refused else { panic!("{refused:?}") };
    assert_eq!(findings[0].code, Code::ContradictoryRule);
    let rule = service.overview(org).await.unwrap().draft.doc.rules[0].id;
    service.edit(org, &actor, 2, Edit::SetRuleEnabled { id: rule, enabled: false }).await.unwrap();
    assert_eq!(service.publish(org, &actor, 3).await.unwrap(), 1);
}
