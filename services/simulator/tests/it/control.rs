use reqwest::Method;
use serde_json::{Value, json};
use simulator::Config;

use crate::support::{CLIENT, CONTOSO, FABRIKAM, LIST, Sim, start, start_with};

async fn transitions(sim: &Sim, since: u64) -> Value {
    sim.control(Method::GET, &format!("/transitions?since={since}&tenant=contoso.example"), json!(null)).await
}

#[tokio::test]
async fn every_flip_is_logged_under_a_number() {
    let sim = start().await;
    let device = sim.device(0).await;
    let id = device["id"].as_str().unwrap();
    sim.set(id, json!({"complianceState": "noncompliant"})).await;
    sim.set(id, json!({"complianceState": "noncompliant"})).await;
    sim.set(id, json!({"deviceName": "other"})).await;
    sim.post(&format!("/tenants/{CONTOSO}/devices/{id}/checkin"), json!({"complianceState": "compliant"}))
        .await;
    let log = transitions(&sim, 0).await;
    let entries = log["transitions"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (&entries[0]["sequence"], &entries[0]["from"], &entries[0]["to"]),
        (&json!(1), &json!("compliant"), &json!("noncompliant"))
    );
    assert_eq!(
        (&entries[1]["cause"], &entries[1]["azureADDeviceId"]),
        (&json!("checkIn"), &device["azureADDeviceId"])
    );
    assert_eq!(transitions(&sim, 1).await["transitions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn graces_end_by_themselves_on_the_fleets_clock() {
    let sim = start().await;
    let token = sim.linked().await;
    let id = sim.device(0).await["id"].as_str().unwrap().to_owned();
    let set = sim.set(&id, json!({"complianceState": "inGracePeriod"})).await;
    assert_ne!(set["complianceGracePeriodExpirationDateTime"], "9999-12-31T23:59:59.9999999Z");
    assert_eq!(set["_sim"]["isCompliant"], true);
    sim.post("/clock", json!({"advanceSeconds": 3 * 86_400 + 1})).await;
    let (_, device) = sim.graph(&token, &format!("{LIST}/{id}")).await;
    assert_eq!(device["complianceState"], "noncompliant");
    let log = transitions(&sim, 0).await;
    let ended: Vec<_> = log["transitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["cause"] == "graceExpired")
        .collect();
    assert!(ended.iter().any(|entry| entry["deviceId"] == id.as_str()), "{log}");
    // Generated graces end as well: device number 7 within two weeks.
    sim.post("/clock", json!({"advanceSeconds": 14 * 86_400})).await;
    assert_eq!(sim.device(7).await["complianceState"], "noncompliant");
}

#[tokio::test]
async fn a_silent_device_is_judged_after_thirty_days() {
    let sim = start().await;
    let id = sim.device(0).await["id"].as_str().unwrap().to_owned();
    let clock: Value = sim.get("/_sim/api/clock").await.json().await.unwrap();
    sim.set(&id, json!({"lastSyncDateTime": clock["now"]})).await;
    sim.post("/clock", json!({"advanceSeconds": 29 * 86_400})).await;
    assert_eq!(sim.device(0).await["complianceState"], "compliant");
    sim.post("/clock", json!({"advanceSeconds": 86_401})).await;
    assert_eq!(sim.device(0).await["complianceState"], "noncompliant");
    let log = transitions(&sim, 0).await;
    assert!(log["transitions"].as_array().unwrap().iter().any(|entry| entry["cause"] == "inactive"));
}

#[tokio::test]
async fn devices_are_created_found_flipped_in_bulk_and_refused_when_wrong() {
    let sim = start().await;
    let path = format!("/tenants/{CONTOSO}/devices");
    let id = "7809c88c-b33b-4c1c-94e0-00ce3175037b";
    let new = json!({"id": id, "deviceName": "KIOSK-1", "wiFiMacAddress": "D46E0E022896", "azureADDeviceId": "e266c39a-0000-4000-8000-000000000001"});
    sim.post(&path, new.clone()).await;
    for search in ["kiosk-1", "d4:6e:0e:02:28:96", id, "e266c39a-0000-4000-8000-000000000001"] {
        let found = sim.control(Method::GET, &format!("{path}?search={search}"), json!(null)).await;
        assert_eq!(found["devices"][0]["id"], id, "{search}");
        assert_eq!(found["devices"].as_array().unwrap().len(), 1, "{search}");
    }
    let url = sim.url(&format!("/_sim/api{path}"));
    assert_eq!(sim.http.post(&url).json(&new).send().await.unwrap().status(), 409);
    assert_eq!(sim.http.post(&url).json(&json!({"nonsense": 1})).send().await.unwrap().status(), 400);
    assert_eq!(sim.get(&format!("/_sim/api{path}/none")).await.status(), 404);
    let flipped = sim
        .post(&format!("{path}/flip"), json!({"from": "compliant", "to": "noncompliant", "count": 30}))
        .await;
    assert_eq!(flipped["flipped"], 30);
    sim.post(&format!("{path}/generate"), json!({"count": 1_000})).await;
    let total = sim.control(Method::GET, &format!("{path}?limit=1"), json!(null)).await["total"].clone();
    assert_eq!(total, 1_061);
}

#[tokio::test]
async fn tenants_come_and_go() {
    let sim = start().await;
    let made = sim
        .post(
            "/tenants",
            json!({"name": "Adatum", "domain": "adatum.example", "devices": 5, "consented": true}),
        )
        .await;
    let (status, body) = sim.app_token("adatum.example").await;
    assert_eq!(status, 200, "{body}");
    let (_, page) = sim.graph(body["access_token"].as_str().unwrap(), LIST).await;
    assert_eq!(page["@odata.count"], 5);
    sim.control(Method::DELETE, &format!("/tenants/{}", made["id"].as_str().unwrap()), json!(null)).await;
    let (status, body) = sim.app_token("adatum.example").await;
    assert_eq!((status.as_u16(), &body["error_codes"]), (400, &json!([90_002])));

    sim.post("/tenants", json!({"count": 500, "devices": 100})).await;
    let all = sim.control(Method::GET, "/tenants?limit=2", json!(null)).await;
    assert_eq!((&all["total"], all["tenants"].as_array().unwrap().len()), (&json!(503), 2));
}

#[tokio::test]
async fn apps_are_registered_and_reset_brings_the_start_back() {
    let sim = start().await;
    let app =
        sim.post("/apps", json!({"name": "Other", "secrets": [{"value": "s"}], "requiredRoles": []})).await;
    let id = app["clientId"].as_str().unwrap();
    sim.post(&format!("/tenants/{FABRIKAM}/consent"), json!({"clientId": id})).await;
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", id),
        ("client_secret", "s"),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    assert_eq!(sim.token_request(FABRIKAM, &fields).await.0, 200);
    sim.set(sim.device(0).await["id"].as_str().unwrap(), json!({"complianceState": "error"})).await;
    sim.post("/reset", json!({})).await;
    assert_eq!(sim.token_request(FABRIKAM, &fields).await.0, 400);
    assert_eq!(sim.device(0).await["complianceState"], "compliant");
    assert_eq!(transitions(&sim, 0).await["sequence"], 0);
    let apps = sim.control(Method::GET, "/apps", json!(null)).await;
    assert_eq!(apps["apps"][0]["clientId"], CLIENT);
}

#[tokio::test]
async fn the_pages_work_without_script() {
    let sim = start().await;
    let text = async |path: &str| {
        let response = sim.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    };
    assert!(text("/_sim").await.contains("Northwind"));
    assert!(text("/_sim?search=fabr").await.contains("1 tenants"));
    let page = format!("/_sim/tenants/{CONTOSO}");
    let device = sim.device(0).await["id"].as_str().unwrap().to_owned();
    assert!(text(&page).await.contains(&device));
    let flip = sim
        .http
        .post(sim.url(&format!("{page}/devices/{device}")))
        .form(&[("state", "noncompliant"), ("back", "search=x")]);
    let response = flip.send().await.unwrap();
    assert_eq!(response.status(), 303);
    assert_eq!(response.headers()["location"], format!("{page}?search=x"));
    assert_eq!(sim.device(0).await["complianceState"], "noncompliant");
    sim.http.post(sim.url(&format!("{page}/consent"))).form(&[("action", "grant")]).send().await.unwrap();
    assert_eq!(sim.app_token(CONTOSO).await.0, 200);
    assert!(text(&page).await.contains("consented"));
    let fault = [("endpoint", "token"), ("effect", "503"), ("percent", "100")];
    sim.http.post(sim.url("/_sim/faults")).form(&fault).send().await.unwrap();
    assert_eq!(sim.app_token(CONTOSO).await.0, 503);
    assert!(text("/_sim/faults").await.contains("retryAfter"));
    sim.http.post(sim.url("/_sim/faults")).form(&[("clear", "all")]).send().await.unwrap();
    let uri = [("client_id", CLIENT), ("redirect_uri", "http://127.0.0.1:8/cb")];
    sim.http.post(sim.url("/_sim/apps")).form(&uri).send().await.unwrap();
    assert!(text("/_sim/apps").await.contains("http://127.0.0.1:8/cb"));
    assert_eq!(sim.get("/_sim/tenants/none.example").await.status(), 404);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_fleet() {
    let first = start_with(Config { seed: 5, ..Config::default() }).await;
    let second = start_with(Config { seed: 5, ..Config::default() }).await;
    let other = start_with(Config { seed: 6, ..Config::default() }).await;
    let names = async |sim: &Sim| {
        let list = sim.control(Method::GET, &format!("/tenants/{CONTOSO}/devices"), json!(null)).await;
        list["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|device| format!("{} {}", device["id"], device["deviceName"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&first).await, names(&second).await);
    assert_ne!(names(&first).await, names(&other).await);
}
