//! The whole way of a client that is kept apart: the answer leads it to its page, the page has its device looked at
//! again, and a Change of Authorization lets it in.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::radius::vendor::PROFILES;
use gatehouse_tests::journey::{self, Journey};
use gatehouse_tests::visitor::{Visitor, hidden};
use gatehouse_tests::{Options, TestApp, eventually};
use serde_json::{Value, json};
use store::policies;
use url::Url;

async fn app() -> TestApp {
    // A device turns twice within a minute here.
    let settings = vec![("SYNC_COA_CALM_SECONDS", "1".to_owned())];
    TestApp::start_with(Options { settings, ..Options::default() }).await
}

/// Gives the journey's rule for everybody who is not compliant Gatehouse's page, and publishes it.
async fn lead_to_the_page(journey: &Journey) {
    let Journey { admin, path, store, org, .. } = journey;
    let labels = format!("{path}/labels");
    let form = admin.get(&format!("{labels}/new?kind=redirect_url")).await.page();
    let label = [
        ("revision", &*hidden(&form, "revision")),
        ("kind", "redirect_url"),
        ("name", "Remediation"),
        ("redirect_to", "gatehouse"),
    ];
    let _ = admin.post(&labels, &label).await.redirect();
    let mut tx = store.org(*org).await.unwrap();
    let doc = policies::draft(&mut tx).await.unwrap().doc;
    drop(tx);
    let id = |name: &str| doc.labels.iter().find(|label| label.name == name).unwrap().id.to_string();
    let rule = doc.rules.iter().find(|rule| rule.name == "Others to Quarantine").unwrap().id;
    let at = format!("{path}/auth-policies/rules/{rule}");
    let form = admin.get(&at).await.page();
    let (revision, matching) = (hidden(&form, "revision"), id("MDM not compliant"));
    let (vlan, page) = (id("Quarantine VLAN"), id("Remediation"));
    let sent = [
        ("revision", &*revision),
        ("name", "Others to Quarantine"),
        ("action", "allow"),
        ("enabled", "on"),
        ("m_label", &matching),
        ("apply_vlan", &vlan),
        ("apply_redirect_url", &page),
    ];
    let _ = admin.post(&at, &sent).await.redirect();
    let publish = format!("{path}/auth-policies/publish");
    let revision = hidden(&admin.get(&publish).await.page(), "revision");
    let _ = admin.post(&publish, &[("revision", &revision)]).await.redirect();
    journey::carried(store).await;
}

/// Asks until the new policy decides.
async fn led_away(journey: &Journey, device: &gatehouse::dev::simulator::Device, session: &str) -> Url {
    eventually("an answer that leads to the page", || async {
        let answer = journey.authorize(device, session).await;
        assert_eq!((answer.action.as_str(), answer.vlan.as_deref()), ("allow", Some("99")), "{answer:?}");
        answer.redirect_url.map(|url| url.parse().unwrap())
    })
    .await
}

async fn commands(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM command")
        .fetch_one(&mut app.database.superuser().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_kept_apart_mends_itself_and_is_let_in() {
    let app = app().await;
    let journey = journey::begin(&app, "contoso.example").await;
    lead_to_the_page(&journey).await;
    let device = journey.device("noncompliant").await;
    let page = led_away(&journey, &device, "session-1").await;
    journey.account(&device, "session-1", "start").await;
    assert_eq!(page.origin(), app.url.origin());
    assert!(page.path().starts_with("/r/"));
    let person = Visitor::new(app.url.clone());
    let shown = person.get(page.as_str()).await.page();
    assert!(shown.contains("It does not meet your organization’s security requirements"), "{shown}");
    assert!(shown.contains(&device.device_name), "{shown}");

    // Nothing was mended: the check says so, and nobody is moved.
    let to = person.post(page.as_str(), &[]).await.redirect();
    eventually("the check to be done", || async {
        let shown = person.get(to.as_str()).await.page();
        shown.contains("nothing has changed yet").then_some(())
    })
    .await;
    assert_eq!(commands(&app).await, 0);

    // It is mended.
    journey.simulator.set_compliance(&journey.tenant, &device.id, "compliant").await.unwrap();
    let to = person.post(page.as_str(), &[]).await.redirect();
    let command = journey.command().await;
    assert_eq!((command.kind.as_str(), command.session.session_id.as_deref()), ("reauth", Some("session-1")));
    let shown = person.get(to.as_str()).await.page();
    assert!(shown.contains("your device is being let in"), "{shown}");
    journey.edge.acknowledge(&command.id).await.unwrap();
    let after = journey.authorize(&device, "session-1").await;
    assert_eq!((after.vlan.as_deref(), after.redirect_url.as_deref()), (Some("10"), None), "{after:?}");
    eventually("the page to know", || async {
        let shown = person.get(to.as_str()).await.page();
        shown.contains("This device is not held back").then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_moves_nobody() {
    let app = app().await;
    let journey = journey::begin(&app, "contoso.example").await;
    lead_to_the_page(&journey).await;
    let device = journey.device("noncompliant").await;
    led_away(&journey, &device, "session-1").await;
    journey.account(&device, "session-1", "start").await;
    // Each answer has an address of its own; what was decided is the same.
    let mut addresses = BTreeSet::new();
    for _ in 0..3 {
        addresses.insert(journey.authorize(&device, "session-1").await.redirect_url.unwrap());
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    let mut connection = app.database.superuser().await;
    let outcomes: Vec<Value> =
        sqlx::query_scalar("SELECT outcome FROM session").fetch_all(&mut connection).await.unwrap();
    assert_eq!(
        outcomes,
        [
            json!({ "permit": true, "vlan": "99", "role": null, "session_timeout": null, "redirect_url": "gatehouse" })
        ]
    );
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM event WHERE detail::text LIKE '%/r/%'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, 0, "an address is in the history");

    // From one way of not being compliant to another, through a whole sync and a decision of all sessions anew.
    journey.simulator.set_compliance(&journey.tenant, &device.id, "error").await.unwrap();
    journey.sync_now().await;
    journey::carried(&app.store).await;
    assert_eq!(commands(&app).await, 0);
    // Nor where every session is decided again, because the settings changed.
    let settings = [
        ("name", "Journey"),
        ("stale_after", "25"),
        ("stale_unit", "hours"),
        ("grace_is_compliant", "on"),
        ("coa", "reauth"),
        ("mass_change_percent", "20"),
        ("mass_change_min", "50"),
    ];
    let _ = journey.admin.post(&format!("{}/settings", journey.path), &settings).await.redirect();
    journey::carried(&app.store).await;
    assert_eq!(commands(&app).await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vendors_words_lead_to_the_page_over_radius() {
    let app = app().await;
    let journey = journey::begin(&app, "contoso.example").await;
    lead_to_the_page(&journey).await;
    let device = journey.device("noncompliant").await;
    led_away(&journey, &device, "session-0").await;
    let http = reqwest::Client::new();
    let person = Visitor::new(app.url.clone());
    let text = |value: &str| json!({ "type": "string", "value": [value] });
    for profile in PROFILES {
        let packet = json!({
            "User-Name": text("host/lab"),
            "Calling-Station-Id": text(&device.wifi_mac),
            "NAS-IP-Address": { "type": "ipaddr", "value": ["192.0.2.10"] },
            "NAS-Port-Type": { "type": "integer", "value": ["Ethernet"] },
            "Acct-Session-Id": text(&format!("radius-{}", profile.name)),
            "Gatehouse-NAS-Vendor": text(profile.name),
            "EAP-Type": { "type": "integer", "value": ["TLS"] },
            "TLS-Client-Cert-Common-Name": text(&device.device_name),
            "TLS-Client-Cert-Subject-Alt-Name-Uri": text(&format!("ID:Intune:GUID:{}", device.id)),
        });
        let url = app.nac_url.join("/v1/nac/radius/authorize").unwrap();
        let answer: Value = http
            .post(url)
            .bearer_auth(&journey.token)
            .json(&packet)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(answer["control:Gatehouse-Decision"]["value"], "accept", "{answer}");
        assert_eq!(answer["reply:Tunnel-Private-Group-Id:0"]["value"], "99", "{answer}");
        let told = answer.as_object().unwrap().values();
        let values = told.flat_map(|told| match &told["value"] {
            Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        });
        let texts: Vec<String> = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
        let led = texts.iter().find(|text| text.contains("/r/")).unwrap_or_else(|| panic!("{answer}"));
        assert!(led.len() <= 247, "{led}");
        let address = &led[led.find("http").unwrap()..];
        let shown = person.get(address).await.page();
        assert!(shown.contains("security requirements"), "{shown}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_the_rest_of_the_answer_holds() {
    let app = TestApp::start_with(Options {
        settings: vec![("REMEDIATION_KEY", String::new())],
        ..Options::default()
    })
    .await;
    let journey = journey::begin(&app, "contoso.example").await;
    lead_to_the_page(&journey).await;
    let device = journey.device("noncompliant").await;
    let answer = journey.authorize(&device, "session-1").await;
    assert_eq!((answer.vlan.as_deref(), answer.redirect_url), (Some("99"), None));
    let person = Visitor::new(app.url.clone());
    assert_eq!(person.get(&format!("/r/{}", "A".repeat(78))).await.status, 404);
    let form = journey.admin.get(&format!("{}/labels/new?kind=redirect_url", journey.path)).await.page();
    assert!(form.contains("GATEHOUSE_REMEDIATION_KEY"), "{form}");
    app.stop().await;
}
