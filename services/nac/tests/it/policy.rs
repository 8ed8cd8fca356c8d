//! The whole policy through the wire: what every match key looks at, every result, and rules on trial.

use domain::decision::DryRun;
use domain::event::DecisionRecord;
use domain::policy::replay::{Facts, Recorded};
use domain::policy::trace::retell;
use domain::policy::transfer::{self, Format};
use domain::policy::{CompiledPolicy, MatchLabelKey as Key, PolicyDoc, decide};
use domain::snapshot::OrgSettings;
use serde_json::{Value, json};
use store::{events, policies};

use crate::world::{COMPLIANT, STRANGER, Tenant, World, device_id};

fn policy(yaml: &str) -> PolicyDoc {
    transfer::read(yaml, Format::Yaml, &PolicyDoc::default()).unwrap()
}

impl World {
    async fn publish(&self, tenant: &Tenant, doc: &PolicyDoc) {
        let mut tx = self.store.org(tenant.org).await.unwrap();
        policies::publish(&mut tx, doc, "Ada", self.now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn record(&self, tenant: &Tenant, answer: &Value) -> DecisionRecord {
        let mut tx = self.store.org(tenant.org).await.unwrap();
        let id = answer["decision_id"].as_str().unwrap().parse().unwrap();
        let event = events::find(&mut tx, id).await.unwrap().unwrap();
        serde_json::from_value(event.detail).unwrap()
    }
}

/// A value of each key that holds for [`full_request`].
fn value_of(key: Key) -> &'static str {
    match key {
        Key::MdmStatus => "compliant",
        Key::AuthType => "cert",
        Key::Ssid => "corp*",
        Key::UserName => "ada@Contoso.example",
        Key::Realm => "contoso.example",
        Key::ClientMac => "d66e0e*",
        Key::UsermacLabel => "printer",
        Key::Hostname => "LOBBY-*",
        Key::CertCn => "LAPTOP-0001",
        Key::CertIssuer => "*CN=Contoso Issuing CA*",
        Key::CertSan => "*Microsoft Endpoint Manager*",
        Key::CertSerial => "4D:00:00:2F",
        Key::CertSub => "*O=Contoso*",
        Key::CertEku => "1.3.6.1.5.5.7.3.2",
        Key::CertTemplate => "1.3.6.1.4.1.311.*",
        Key::NasIp => "192.0.2.0/24",
        Key::IngressVlan => "30",
        Key::RadiusGroup => "employees",
        Key::GbpTag => ">=100",
        Key::IdpRole => "grp-net-*",
        Key::MatchStrength => "certificate",
        Key::Os => "windows",
        Key::OsVersion => ">=10.0.22631",
        Key::Owner => "company",
        Key::Encrypted => "true",
        Key::Jailbroken => "false",
        Key::ThreatState => "secured",
        Key::DeviceCategory => "Kiosk",
        Key::Manufacturer => "Dell*",
        Key::Model => "Latitude 7450",
        Key::LastCheckInDays => "<=7",
        Key::RandomMac => "true",
    }
}

fn full_request() -> Value {
    json!({
        "mac": "d6:6e:0e:02:28:96",
        "auth_type": "eap-tls",
        "ssid": "corp-1",
        "user_name": "ada@Contoso.example",
        "hostname": "lobby-tv-3",
        "ingress_vlan": 30,
        "radius_group": "employees",
        "gbp_tag": "100",
        "idp_roles": ["staff", "grp-net-berlin"],
        "usermac_labels": ["", "printer"],
        "nas": {"ip": "192.0.2.7", "vendor": "cisco-ios", "port_type": "wireless"},
        "cert": {
            "cn": "LAPTOP-0001",
            "subject": "CN=LAPTOP-0001,O=Contoso",
            "issuer": "CN=Contoso Issuing CA",
            "serial": "4d00002f",
            "san_uri": [format!("ID:Microsoft Endpoint Manager:GUID:{}", device_id(1))],
            "ekus": ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
            "template": "1.3.6.1.4.1.311.21.8.1234567.7654321",
        },
    })
}

/// One rule on trial for every key: the record tells which of them hold.
#[tokio::test]
async fn every_match_key_is_reached_through_the_wire() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    sqlx::query(
        "UPDATE device SET os = 'Windows', os_version = '10.0.22631.1', owner = 'company', encrypted = true,
                jailbroken = false, threat_state = 'secured', category = 'Kiosk', manufacturer = 'Dell Inc.',
                model = 'Latitude 7450'
         WHERE id = $1",
    )
    .bind(device_id(1).uuid())
    .execute(&world.admin)
    .await
    .unwrap();
    let (mut labels, mut rules) = (String::new(), String::new());
    for key in Key::ALL {
        let value = value_of(*key);
        labels.push_str(&format!("  - {{ name: {key}, type: match, match: {key}, values: ['{value}'] }}\n"));
        rules.push_str(&format!(
            "  - {{ name: try {key}, dry_run: true, action: allow, matching: {{ labels: [{key}] }} }}\n"
        ));
    }
    let doc = policy(&format!("format: gatehouse-policy/1\nlabels:\n{labels}rules:\n{rules}"));
    world.publish(&tenant, &doc).await;
    let process = world.process();

    let answer = process.authorize(&tenant.token, &full_request()).await;
    assert_eq!((&answer["action"], &answer["reason"]), (&json!("deny"), &json!("implicit_deny")));
    let record = world.record(&tenant, &answer).await;
    let trials = &record.answer.decision.dry_run;
    assert_eq!(trials.len(), Key::ALL.len());
    let missed: Vec<&DryRun> = trials.iter().filter(|trial| !trial.matched).collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert!(trials.iter().all(|trial| trial.outcome.as_ref().is_some_and(|outcome| outcome.permit)));

    // What was recorded is enough to decide again, to the last word of the trace.
    let compiled = CompiledPolicy::compile(2, &doc);
    let recorded = Recorded::of(&record, Facts::AsRecorded, &OrgSettings::default());
    assert!(!recorded.lacks_posture());
    assert_eq!(recorded.with(|input| decide(Some(&compiled), input)), record.answer.decision);
    let trace = recorded.with(|input| retell(&compiled, input, &record.answer.decision)).unwrap();
    for condition in trace.iter().flat_map(|rule| &rule.conditions) {
        assert!(condition.held && !condition.saw.is_empty(), "{condition:?}");
    }
    // And none of it is the edge's business.
    let told = answer.to_string();
    for secret in ["dry_run", "posture", "trace", "Kiosk", "try "] {
        assert!(!told.contains(secret), "{told}");
    }

    let nothing = process.authorize(&tenant.token, &json!({})).await;
    let record = world.record(&tenant, &nothing).await;
    let held: Vec<&DryRun> = record.answer.decision.dry_run.iter().filter(|trial| trial.matched).collect();
    assert!(held.is_empty(), "{held:?}");
}

const TRIAL: &str = "
format: gatehouse-policy/1
labels:
  - { name: Compliant, type: match, match: mdm_status, values: [compliant] }
  - { name: Lab, type: vlan, vlan: '77' }
  - { name: Corp, type: vlan, vlan: '30' }
rules:
  - { name: To the lab, dry_run: true, action: allow, matching: { labels: [Compliant] }, apply: [Lab] }
  - { name: Corp, action: allow, matching: { labels: [Compliant] }, apply: [Corp] }
  - { name: Behind it, dry_run: true, action: block }
";

#[tokio::test]
async fn a_rule_on_trial_is_recorded_and_never_enforced() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let doc = policy(TRIAL);
    world.publish(&tenant, &doc).await;
    let process = world.process();
    let answer = process.mab(&tenant.token, COMPLIANT).await;
    assert_eq!((&answer["vlan"], &answer["rule"]["name"]), (&json!("30"), &json!("Corp")));
    let decision = world.record(&tenant, &answer).await.answer.decision;
    assert_eq!(decision.dry_run.len(), 1, "those behind the deciding rule were not asked");
    let trial = decision.would_decide().unwrap();
    assert_eq!(trial.rule.name, "To the lab");
    assert_eq!(trial.outcome.as_ref().unwrap().vlan.as_deref(), Some("77"));

    let denied = process.mab(&tenant.token, STRANGER).await;
    assert_eq!(denied["reason"], "implicit_deny");
    let decision = world.record(&tenant, &denied).await.answer.decision;
    let matched: Vec<(&str, bool)> =
        decision.dry_run.iter().map(|trial| (trial.rule.name.as_str(), trial.matched)).collect();
    assert_eq!(matched, [("To the lab", false), ("Behind it", true)]);

    let id_of = |name: &str| doc.rules.iter().find(|rule| rule.name == name).unwrap().id;
    let rules = ["To the lab", "Corp", "Behind it"].map(id_of);
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let hits = store::views::hits::hits(&mut tx, world.now(), &rules, true).await.unwrap();
    let counts = rules.map(|rule| (hits.of(rule).count, hits.of(rule).dry_run));
    assert_eq!(counts, [(0, 1), (1, 0), (0, 1)]);
    assert_eq!(hits.of(rules[2]).dry_run_last, Some(world.now()));
}

const RESULTS: &str = "
format: gatehouse-policy/1
labels:
  - { name: Corp, type: vlan, vlan: '30' }
  - { name: Trunk, type: egress_vlan_names, egress_vlan_names: [1voice, 2data] }
  - { name: Tag, type: gbp_tag, gbp_tag: 4000 }
  - { name: Name, type: username_attr, username_attr: cn }
  - { name: Page, type: redirect_url, redirect_url: 'https://example.com/fix' }
  - { name: Further, type: radius_attrs, radius_attrs: [Idle-Timeout=600] }
rules:
  - { name: All of it, action: allow, apply: [Corp, Trunk, Tag, Name, Page, Further] }
";

fn attributes(answer: &Value) -> Vec<String> {
    let text = |attribute: &Value, field: &str| attribute[field].as_str().unwrap().to_owned();
    let all = answer["radius_attributes"].as_array().unwrap().iter();
    all.map(|one| format!("{}={}", text(one, "name"), text(one, "value"))).collect()
}

#[tokio::test]
async fn results_go_out_in_the_words_of_the_nas() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.publish(&tenant, &policy(RESULTS)).await;
    let process = world.process();
    let ask = async |vendor: Value| {
        let body = json!({"mac": COMPLIANT, "auth_type": "eap-tls", "session_id": format!("s-{vendor}"),
                          "nas": {"vendor": vendor}, "cert": {"cn": "LAPTOP-0001"}});
        process.authorize(&tenant.token, &body).await
    };
    let common = [
        "User-Name=LAPTOP-0001",
        "Tunnel-Type=VLAN",
        "Tunnel-Medium-Type=IEEE-802",
        "Tunnel-Private-Group-Id=30",
        "Egress-VLAN-Name=1voice",
        "Egress-VLAN-Name=2data",
    ];
    for (vendor, tag, page) in [
        (
            json!("cisco-meraki"),
            "Cisco-AVPair=cts:security-group-tag=0fa0-00",
            "Cisco-AVPair=url-redirect=https://example.com/fix",
        ),
        (
            json!("Juniper"),
            "Juniper-Switching-Filter=apply action gbp-tag 4000",
            "Juniper-CWA-Redirect=https://example.com/fix",
        ),
        (
            json!(null),
            "Juniper-Switching-Filter=apply action gbp-tag 4000",
            "WISPr-Redirection-URL=https://example.com/fix",
        ),
    ] {
        let answer = ask(vendor.clone()).await;
        let wanted: Vec<&str> = common.iter().copied().chain([tag, page, "Idle-Timeout=600"]).collect();
        assert_eq!(attributes(&answer), wanted, "{vendor}");
        assert_eq!(answer["egress_vlan_names"], json!(["1voice", "2data"]));
        assert_eq!((&answer["gbp_tag"], &answer["user_name"]), (&json!(4000), &json!("LAPTOP-0001")));
        assert_eq!(answer["redirect_url"], "https://example.com/fix");
    }

    // Commands speak to the same NAS.
    let answer = ask(json!("cisco-meraki")).await;
    let session = answer["session_id"].as_str().unwrap().parse().unwrap();
    let to = world.record(&tenant, &answer).await.answer.decision.outcome;
    world.command_to(&tenant, session, to).await;
    let commands = process.get("/v1/nac/commands", &tenant.token).await.body;
    let to = &commands["commands"][0]["to"];
    assert_eq!(attributes(to), attributes(&answer));
    for field in ["egress_vlan_names", "gbp_tag", "user_name", "redirect_url"] {
        assert_eq!(to[field], answer[field], "{field}");
    }
}

/// Sessions and decisions that were written before the policy could give more than VLAN, role and timeout.
#[tokio::test]
async fn what_older_releases_recorded_is_still_read() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let answer = process.mab(&tenant.token, COMPLIANT).await;
    sqlx::query(
        r#"UPDATE session SET
               outcome = '{"permit": true, "vlan": "30", "role": null, "session_timeout": null}',
               request = request - 'hostname' - 'ingress_vlan' - 'idp_roles'"#,
    )
    .execute(&world.admin)
    .await
    .unwrap();
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let sessions = store::sessions::active_page(&mut tx, None, 10).await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].outcome, world.record(&tenant, &answer).await.answer.decision.outcome);

    let mut event: Value = serde_json::to_value(world.record(&tenant, &answer).await).unwrap();
    event["answer"]["found"].as_object_mut().unwrap().remove("posture");
    let record: DecisionRecord = serde_json::from_value(event).unwrap();
    assert!(Recorded::of(&record, Facts::AsRecorded, &OrgSettings::default()).lacks_posture());
}
