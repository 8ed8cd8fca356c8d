use reqwest::Method;
use serde_json::{Value, json};
use simulator::Config;

use crate::support::{CONTOSO, LIST, start_with};

#[tokio::test]
async fn a_restart_keeps_flips_consent_keys_and_log() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        Config { state: Some(folder.path().join("state.json")), devices_per_tenant: 30, ..Config::default() };
    let sim = start_with(config.clone()).await;
    let token = sim.linked().await;
    let device = sim.device(0).await;
    let id = device["id"].as_str().unwrap();
    sim.set(id, json!({"complianceState": "noncompliant"})).await;
    sim.post(&format!("/tenants/{CONTOSO}/devices"), json!({"id": "7809c88c-b33b-4c1c-94e0-00ce3175037b"}))
        .await;
    sim.post(
        &format!("/tenants/{CONTOSO}/users"),
        json!({"givenName": "Nia", "surname": "Cole", "role": "user"}),
    )
    .await;
    let (_, delta) = sim.graph(&token, "/v1.0/devices/delta?$deltatoken=latest").await;
    let link = delta["@odata.deltaLink"].as_str().unwrap().split_once("/v1.0").unwrap().1.to_owned();
    sim.stop().await;

    // Other flags: what the file holds wins.
    let sim = start_with(Config { devices_per_tenant: 99, seed: 1, tenants: 1, ..config }).await;
    let (status, single) = sim.graph(&token, &format!("{LIST}/{id}")).await;
    assert_eq!((status.as_u16(), &single["complianceState"]), (200, &json!("noncompliant")));
    assert_eq!(single["deviceName"], device["deviceName"]);
    let (_, page) = sim.graph(&token, LIST).await;
    assert_eq!(page["@odata.count"], 31);
    assert_eq!(sim.graph(&token, &format!("{LIST}/7809c88c-b33b-4c1c-94e0-00ce3175037b")).await.0, 200);
    assert_eq!(sim.app_token(CONTOSO).await.0, 200);
    let log = sim.control(Method::GET, "/transitions", json!(null)).await;
    assert_eq!(log["transitions"].as_array().unwrap().len(), 1);
    let users = sim.control(Method::GET, &format!("/tenants/{CONTOSO}/users"), json!(null)).await;
    assert!(
        users["users"]
            .as_array()
            .unwrap()
            .iter()
            .any(|user| user["userPrincipalName"] == "nia@contoso.example")
    );
    sim.set(id, json!({"complianceState": "compliant"})).await;
    let (_, delta) = sim.graph(&token, &format!("/v1.0{link}")).await;
    assert_eq!(delta["value"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn changes_reach_the_file_without_a_farewell() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let sim = start_with(Config { state: Some(path.clone()), ..Config::default() }).await;
    sim.grant().await;
    for _ in 0..100 {
        let kept = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        if kept.is_some_and(|kept| !kept["tenants"][0]["state"]["principals"].as_object().unwrap().is_empty())
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the state file was not written");
}
