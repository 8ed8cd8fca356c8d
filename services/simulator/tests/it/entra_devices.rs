use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{CONTOSO, LIST, Sim, ids, start};

const DELTA: &str = "/v1.0/devices/delta";

/// Follows a round to its end: all items, and the link to the next round.
async fn round(sim: &Sim, token: &str, path: &str) -> (Vec<Value>, String) {
    let pages = sim.pages(token, path).await;
    let link = pages.last().unwrap()["@odata.deltaLink"].as_str().unwrap().to_owned();
    (pages.iter().flat_map(|page| page["value"].as_array().unwrap().clone()).collect(), link)
}

#[tokio::test]
async fn a_directory_device_points_to_its_managed_device() {
    let sim = start().await;
    let token = sim.linked().await;
    let device = sim.device(3).await;
    let entra_id = device["azureADDeviceId"].as_str().unwrap();
    let (_, page) = sim.graph(&token, &format!("/v1.0/devices?$filter=deviceId eq '{entra_id}'")).await;
    let found = &page["value"][0];
    assert_eq!(found["deviceId"], entra_id);
    assert_ne!(found["id"], entra_id);
    assert_eq!((&found["isCompliant"], &found["isManaged"]), (&json!(false), &json!(true)));
    for path in [
        format!("/v1.0/devices/{}", found["id"].as_str().unwrap()),
        format!("/v1.0/devices(deviceId='{entra_id}')"),
    ] {
        let (status, single) = sim.graph(&token, &format!("{path}?$select=deviceId,isCompliant")).await;
        assert_eq!(status, 200);
        assert_eq!(single["deviceId"], entra_id);
        assert_eq!(single.get("displayName"), None);
    }
    let (status, body) = sim.graph(&token, "/v1.0/devices/11111111-2222-4333-8444-555555555555").await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (404, &json!("Request_ResourceNotFound")));
    assert_eq!(sim.graph(&token, "/v1.0/devices?$filter=model eq 'x'").await.0, 400);
    assert_eq!(sim.graph(&token, "/v1.0/devices?$top=1000").await.0, 400);
}

#[tokio::test]
async fn the_first_round_tells_everything_and_the_next_only_changes() {
    let sim = start().await;
    let token = sim.linked().await;
    sim.settings(json!({"devicesPage": 25})).await;
    let (all, link) = round(&sim, &token, &format!("{DELTA}?$select=deviceId,isCompliant")).await;
    let distinct: HashSet<_> = all.iter().map(|item| item["id"].to_string()).collect();
    assert_eq!(distinct.len(), all.len());
    assert!(all.len() >= 58, "{}", all.len());
    let (none, link) = round(&sim, &token, &link).await;
    assert!(none.is_empty());

    let flipped = sim.device(0).await;
    let id = flipped["id"].as_str().unwrap();
    sim.set(id, json!({"complianceState": "noncompliant"})).await;
    sim.set(sim.device(1).await["id"].as_str().unwrap(), json!({"deviceName": "renamed"})).await;
    let (changed, link) = round(&sim, &token, &link).await;
    assert_eq!(changed.len(), 1, "a rename is not among the selected properties: {changed:?}");
    assert_eq!(changed[0]["id"], flipped["_sim"]["entraObjectId"]);
    assert_eq!(changed[0]["deviceId"], flipped["azureADDeviceId"]);
    assert_eq!(changed[0]["isCompliant"], false);
    assert_eq!(changed[0].get("displayName"), None);

    sim.settings(json!({"repeatInDelta": true})).await;
    sim.control(Method::DELETE, &format!("/tenants/{CONTOSO}/devices/{id}"), json!(null)).await;
    let (changed, _) = round(&sim, &token, &link).await;
    assert_eq!(changed.len(), 2);
    assert_eq!(changed[0], changed[1]);
    assert_eq!(changed[0]["@removed"]["reason"], "deleted");
}

#[tokio::test]
async fn latest_skips_the_first_round() {
    let sim = start().await;
    let token = sim.linked().await;
    let (none, link) = round(&sim, &token, &format!("{DELTA}?$deltatoken=latest")).await;
    assert!(none.is_empty());
    sim.post(&format!("/tenants/{CONTOSO}/devices/generate"), json!({"count": 3})).await;
    let (new, _) = round(&sim, &token, &link).await;
    assert!((1..=3).contains(&new.len()), "{new:?}");
}

#[tokio::test]
async fn an_old_token_is_gone() {
    let sim = start().await;
    let token = sim.linked().await;
    let (_, link) = round(&sim, &token, DELTA).await;
    sim.post(&format!("/tenants/{CONTOSO}/delta/expire"), json!({})).await;
    let (status, body) = sim.graph(&token, &link).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (410, &json!("syncStateNotFound")));
    let (_, link) = round(&sim, &token, DELTA).await;
    sim.post("/clock", json!({"advanceSeconds": 8 * 86_400})).await;
    assert_eq!(sim.graph(&token, &link).await.0, 410);
    assert_eq!(sim.graph(&token, &format!("{DELTA}?$top=5")).await.0, 400);
}

#[tokio::test]
async fn what_changes_during_a_round_is_told_in_the_next() {
    let sim = start().await;
    let token = sim.linked().await;
    sim.settings(json!({"devicesPage": 30})).await;
    let (_, first) = sim.graph(&token, DELTA).await;
    let device = sim.device(0).await;
    sim.set(device["id"].as_str().unwrap(), json!({"complianceState": "error"})).await;
    let (_, link) = round(&sim, &token, first["@odata.nextLink"].as_str().unwrap()).await;
    let (changed, _) = round(&sim, &token, &link).await;
    assert_eq!(changed.len(), 1);
}

#[tokio::test]
async fn partner_managed_devices_live_in_the_directory_alone() {
    let sim = start().await;
    let token = sim.linked().await;
    let new = json!({"deviceName": "jamf-1", "partnerManaged": true, "complianceState": "compliant"});
    let device = sim.post(&format!("/tenants/{CONTOSO}/devices"), new).await;
    let (_, page) = sim.graph(&token, LIST).await;
    assert!(!ids(&page).contains(&device["id"].as_str().unwrap().to_owned()));
    let (_, found) = sim
        .graph(
            &token,
            &format!("/v1.0/devices?$filter=deviceId eq '{}'", device["azureADDeviceId"].as_str().unwrap()),
        )
        .await;
    assert_eq!(found["value"][0]["isCompliant"], true);
    assert_ne!(found["value"][0]["mdmAppId"], "0000000a-0000-0000-c000-000000000000");
}

#[tokio::test]
async fn devices_without_the_role_are_refused_in_the_directorys_words() {
    let sim = start().await;
    let roles = json!({"roles": ["DeviceManagementManagedDevices.Read.All"]});
    sim.post(&format!("/tenants/{CONTOSO}/consent"), roles).await;
    let token = sim.token().await;
    for path in ["/v1.0/devices", DELTA, "/v1.0/organization"] {
        let (status, body) = sim.graph(&token, path).await;
        assert_eq!(
            (status.as_u16(), &body["error"]["code"]),
            (403, &json!("Authorization_RequestDenied")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn pages_of_the_directory_follow_their_links() {
    let sim = start().await;
    let token = sim.linked().await;
    let pages = sim.pages(&token, "/v1.0/devices?$top=25&$select=id").await;
    let all: HashSet<_> = pages.iter().flat_map(ids).collect();
    assert!(pages.len() == 3 && all.len() >= 58, "{} pages, {} devices", pages.len(), all.len());
}
