//! The main job, clicked through in a real browser: every step as an admin takes it, and every page looked at, light
//! and dark (`target/screenshots/`). Each step needs the one before, so none can be skipped.

use std::time::Duration;

use gatehouse::dev::edge::Edge;
use gatehouse_tests::TestApp;
use gatehouse_tests::browser::Browser;
use serde_json::json;
use url::Url;

const TENANT: &str = "contoso.example";
const ADMIN: &str = "ada@contoso.example";

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_end_to_end() {
    let app = TestApp::start().await;
    let browser = Browser::start().await;

    let org = sign_in_and_make_an_organization(&app, &browser).await;
    let page = |path: &str| -> Url { format!("{org}{path}").parse().unwrap() };
    link_by_consent(&browser, &page).await;
    make_labels(&browser, &page).await;
    write_rules_and_publish(&browser, &page).await;
    let token = make_an_edge(&browser, &page).await;

    // A device that Intune calls compliant authenticates with its Intune certificate: Corp.
    let devices = app.simulator.devices(TENANT, 0, 60).await.unwrap();
    let device = devices.iter().find(|device| device.compliance_state == "compliant").unwrap();
    let edge = Edge::new(app.nac_url.clone(), &token).unwrap();
    let request = json!({
        "mac": device.wifi_mac,
        "auth_type": "eap-tls",
        "ssid": "Contoso-Corp",
        "user_name": device.user_principal_name,
        "session_id": "8f3a-0001",
        "nas": { "ip": "192.0.2.10", "identifier": "ap-lobby", "vendor": "juniper", "port_type": "wireless" },
        "cert": { "cn": device.device_name, "san_uri": [format!("IntuneDeviceId://{}", device.id)] },
    });
    let accounting = |status: &str| json!({ "status": status, "session_id": "8f3a-0001", "mac": device.wifi_mac, "framed_ip": "198.51.100.7" });
    let before = edge.authorize(&request).await.unwrap();
    assert_eq!((before.action.as_str(), before.vlan.as_deref()), ("allow", Some("10")), "{before:?}");
    assert_eq!(before.found["key"], "san-uri", "{before:?}");
    edge.account(&accounting("start")).await.unwrap();

    browser.go(&page("/clients")).await;
    browser.see(&device.user_principal_name).await;
    browser.see("active").await;
    browser.screenshots("clients").await;

    // It loses compliance in Intune, as an operator would see it on Microsoft's side.
    app.simulator.set_compliance(TENANT, &device.id, "noncompliant").await.unwrap();
    browser.go(&page("/identity-providers")).await;
    browser.screenshots("identity-providers").await;
    browser.click("main tbody th a").await;
    browser.click("#sync-now").await;
    // The command comes by itself, because the answer for the session would differ now.
    let commands = edge.commands(Duration::from_secs(20)).await.unwrap();
    assert_eq!(commands.len(), 1, "{commands:?}");
    let command = &commands[0];
    assert_eq!((command.kind.as_str(), command.session.session_id.as_deref()), ("reauth", Some("8f3a-0001")));
    browser.see_after_reload("went through").await;
    browser.screenshots("link-synced").await;
    edge.acknowledge(&command.id).await.unwrap();

    // The client authenticates again: Quarantine.
    let after = edge.authorize(&request).await.unwrap();
    assert_eq!((after.action.as_str(), after.vlan.as_deref()), ("allow", Some("99")), "{after:?}");
    assert_ne!(after.decision_id, before.decision_id);
    edge.account(&accounting("interim")).await.unwrap();

    read_the_story(&browser, &page, &after.decision_id).await;
    test_the_edge(&browser, &page, &edge).await;
    look_at_the_rest(&browser, &page, &edge).await;

    browser.click("#sign-out").await;
    browser.see("signed out").await;
    browser.screenshots("signed-out").await;
    browser.go(&page("")).await;
    browser.see("Sign in, and you come back to this page").await;
    browser.screenshots("page-of-the-signed-out").await;
    browser.click(".error-page .primary").await;
    browser.find("#sign-in").await;

    browser.close().await;
    app.stop().await;
}

async fn sign_in_and_make_an_organization(app: &TestApp, browser: &Browser) -> Url {
    browser.go(&app.url).await;
    browser.find("#sign-in").await;
    browser.screenshots("sign-in").await;
    browser.click("#sign-in").await;
    // Microsoft's page, which is the simulator's.
    browser.click(&format!("[data-user='{ADMIN}']")).await;
    browser.find("#create-organization").await;
    browser.screenshots("organizations").await;
    browser.fill("#name", "Contoso").await;
    browser.click("#create").await;
    browser.find("#next-steps").await;
    browser.screenshots("overview-new").await;
    let mut org = browser.url().await;
    org.set_query(None);
    assert!(org.path().starts_with("/orgs/"), "{org}");
    org
}

async fn link_by_consent(browser: &Browser, page: &impl Fn(&str) -> Url) {
    browser.go(&page("/identity-providers")).await;
    browser.screenshots("identity-providers-none").await;
    browser.click("#link-account").await;
    browser.find("#consent").await;
    browser.screenshots("link").await;
    browser.click("#consent").await;
    // Microsoft's consent page.
    browser.click("#approve").await;
    browser.find("#sync-now").await;
    browser.see("Ada Lindqvist").await;
    browser.see_after_reload("went through").await;
    browser.see("60").await;
    browser.screenshots("link-status").await;
}

async fn make_labels(browser: &Browser, page: &impl Fn(&str) -> Url) {
    browser.go(&page("/labels")).await;
    browser.screenshots("labels-none").await;
    let labels: [(&str, &str, &[&str]); 2] = [
        ("MDM compliant", "mdm_status", &["compliant"]),
        ("MDM non-compliant or unknown", "mdm_status", &["non-compliant", "unknown"]),
    ];
    for (number, (name, kind, values)) in labels.into_iter().enumerate() {
        browser.go(&page("/labels")).await;
        browser.click("#new-label").await;
        if number == 0 {
            browser.screenshots("label-kinds").await;
        }
        browser.click(&format!("#kind-{kind}")).await;
        browser.fill("#name", name).await;
        for value in values {
            browser.click(&format!("#value-{value}")).await;
        }
        if number == 0 {
            browser.screenshots("label-mdm").await;
        }
        browser.click("#save").await;
        browser.see(&format!("“{name}”")).await;
    }
    for (name, vlan) in [("Corp VLAN", "10"), ("Quarantine VLAN", "99")] {
        browser.go(&page("/labels/new")).await;
        browser.click("#kind-vlan").await;
        browser.fill("#name", name).await;
        // What is typed wrongly is told beside its field, and stays.
        if vlan == "10" {
            browser.fill("#vlan", "4095").await;
            browser.click("#save").await;
            browser.see("A VLAN id is a number from 1 to 4094").await;
            browser.screenshots("label-error").await;
        }
        browser.fill("#vlan", vlan).await;
        browser.click("#save").await;
        browser.see(&format!("“{name}”")).await;
    }
    browser.screenshots("labels").await;
}

async fn write_rules_and_publish(browser: &Browser, page: &impl Fn(&str) -> Url) {
    browser.go(&page("/auth-policies")).await;
    browser.screenshots("auth-policies-none").await;
    for (number, (name, label, vlan)) in [
        ("Compliant devices to Corp", "MDM compliant", "Corp VLAN"),
        ("Everyone else to Quarantine", "MDM non-compliant or unknown", "Quarantine VLAN"),
    ]
    .into_iter()
    .enumerate()
    {
        browser.click("#new-rule").await;
        browser.fill("#name", name).await;
        browser.click("#action-allow").await;
        browser.check_label("m_label", label).await;
        browser.choose("#apply_vlan", vlan).await;
        if number == 0 {
            browser.screenshots("rule").await;
        }
        browser.click("#save").await;
        browser.see(name).await;
    }
    browser.screenshots("auth-policies-draft").await;
    browser.click("#publish").await;
    browser.find("#confirm").await;
    browser.screenshots("publish").await;
    browser.click("#confirm").await;
    browser.see("Version 1 is live").await;
    browser.screenshots("auth-policies").await;
    browser.go(&page("/auth-policies/versions")).await;
    browser.screenshots("versions").await;
    browser.click_text("Version 1").await;
    browser.screenshots("version").await;
}

async fn make_an_edge(browser: &Browser, page: &impl Fn(&str) -> Url) -> String {
    browser.go(&page("/sites")).await;
    browser.fill("#name", "Headquarters").await;
    browser.click("#create-site").await;
    browser.see("Headquarters").await;
    browser.screenshots("sites").await;
    browser.click("#new-edge").await;
    browser.fill("#name", "Campus controller").await;
    browser.choose("#site", "Headquarters").await;
    browser.screenshots("edge-new").await;
    browser.click("#create-edge").await;
    let token = browser.find("#token").await.text().await.unwrap();
    assert!(token.starts_with("ghe_"), "{token}");
    browser.screenshots("edge-token").await;
    // It is shown once.
    browser.go(&page("/sites")).await;
    browser.click_text("Campus controller").await;
    browser.find("#new-credential").await;
    assert!(!browser.text().await.contains(&token));
    browser.screenshots("edge").await;
    token
}

async fn read_the_story(browser: &Browser, page: &impl Fn(&str) -> Url, decision: &str) {
    browser.go(&page("/events")).await;
    for kind in
        ["NAC_CLIENT_PERMIT", "NAC_SESSION_STARTED", "NAC_MDM_COMPLIANCE_CHANGED", "NAC_CLIENT_COA_REAUTH"]
    {
        browser.see_after_reload(kind).await;
    }
    let story = browser.text().await;
    let (corp, quarantine) =
        (story.rfind("Compliant devices to Corp"), story.find("Everyone else to Quarantine"));
    assert!(corp.is_some() && quarantine < corp, "newest first:\n{story}");
    browser.screenshots("events").await;

    browser.go(&page(&format!("/events/{decision}"))).await;
    browser.see("Everyone else to Quarantine").await;
    browser.see("did not match").await;
    browser.see("non-compliant").await;
    assert_eq!(browser.find("#vlan").await.text().await.unwrap(), "99");
    browser.screenshots("event").await;

    browser.go(&page("/clients")).await;
    browser.see("99").await;
    browser.click("main tbody th a").await;
    browser.find("#reauthenticate").await;
    browser.screenshots("client").await;
}

async fn test_the_edge(browser: &Browser, page: &impl Fn(&str) -> Url, edge: &Edge) {
    browser.go(&page("/sites")).await;
    browser.click_text("Campus controller").await;
    browser.click("#connect").await;
    browser.see("network = \"192.0.2.10\"").await;
    browser.screenshots("edge-connect").await;
    browser.click("#test").await;
    browser.see("Access-Accept").await;
    browser.click("#test-now").await;
    browser.see("The command waits for the edge to fetch it").await;
    // It is answered, and the page shows it by itself.
    assert!(edge.commands(Duration::from_secs(20)).await.unwrap().is_empty());
    browser.see("A command and its answer took").await;
    browser.screenshots("edge-test").await;
}

async fn look_at_the_rest(browser: &Browser, page: &impl Fn(&str) -> Url, edge: &Edge) {
    browser.go(&page("")).await;
    browser.find("#fleet").await;
    browser.screenshots("overview").await;
    browser.go(&page("/settings")).await;
    browser.find("#org-id").await;
    browser.screenshots("settings").await;
    browser.go(&page("/audit")).await;
    for action in ["policy.publish", "edge.create"] {
        browser.see(action).await;
    }
    browser.screenshots("audit").await;
    browser.go(&page("/no-such-page")).await;
    browser.see("404").await;
    browser.screenshots("not-found").await;
    // The live tail shows what happens without a reload.
    browser.go(&page("/events")).await;
    browser.find("#live[aria-pressed='true']").await;
    let guest =
        json!({ "mac": "da:a1:19:00:00:01", "auth_type": "mab", "user_name": "guest-of-the-live-tail" });
    edge.authorize(&guest).await.unwrap();
    browser.see("guest-of-the-live-tail").await;
    browser.screenshots("events-live").await;
}
