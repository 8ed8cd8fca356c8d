use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{LIST, Sim, start};

async fn batch(sim: &Sim, token: &str, requests: &[Value]) -> (u16, Value) {
    let body = json!({"requests": requests});
    let response =
        sim.http.post(sim.url("/v1.0/$batch")).bearer_auth(token).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn get(id: &str, url: &str) -> Value {
    json!({"id": id, "method": "GET", "url": url})
}

fn answer<'a>(body: &'a Value, id: &str) -> &'a Value {
    body["responses"].as_array().unwrap().iter().find(|response| response["id"] == id).unwrap()
}

#[tokio::test]
async fn items_are_answered_by_id_in_no_order_each_with_its_status() {
    let sim = start().await;
    let token = sim.linked().await;
    let device = sim.device(0).await["id"].as_str().unwrap().to_owned();
    let single = format!("/deviceManagement/managedDevices/{device}?$select=id,ethernetMacAddress");
    let (status, body) = batch(
        &sim,
        &token,
        &[get("1", &single), get("2", "/deviceManagement/managedDevices/none"), get("3", "organization")],
    )
    .await;
    assert_eq!(status, 200);
    let order: Vec<_> = body["responses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|response| response["id"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["3", "2", "1"]);
    assert_eq!(answer(&body, "1")["body"]["id"], device.as_str());
    assert_eq!(answer(&body, "2")["status"], 404);
    assert_eq!(answer(&body, "3")["body"]["value"][0]["displayName"], "Contoso");
}

#[tokio::test]
async fn twenty_is_the_most_ids_are_unique_and_dependants_fail_along() {
    let sim = start().await;
    let token = sim.linked().await;
    let many: Vec<_> = (0..21).map(|n| get(&n.to_string(), "/organization")).collect();
    assert_eq!(batch(&sim, &token, &many).await.0, 400);
    let (status, body) = batch(&sim, &token, &many[..20]).await;
    let ids: HashSet<_> = body["responses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|response| response["id"].clone().to_string())
        .collect();
    assert_eq!((status, ids.len()), (200, 20));
    assert_eq!(batch(&sim, &token, &[get("1", "/organization"), get("1", "/organization")]).await.0, 400);
    let mut dependant = get("b", "/organization");
    dependant["dependsOn"] = json!(["a"]);
    let (_, body) = batch(&sim, &token, &[get("a", "/devices/none"), dependant]).await;
    assert_eq!(answer(&body, "b")["status"], 424);
}

#[tokio::test]
async fn an_item_is_throttled_by_itself() {
    let sim = start().await;
    let token = sim.linked().await;
    sim.settings(json!({"intuneBudget": {"limit": 2.0, "perSeconds": 20.0}})).await;
    let list = LIST.trim_start_matches("/v1.0");
    let items: Vec<_> = ["1", "2", "3"].map(|id| get(id, &format!("{list}?$top=1"))).into();
    let (status, body) = batch(&sim, &token, &items).await;
    assert_eq!(status, 200);
    assert_eq!(answer(&body, "2")["status"], 200);
    let third = answer(&body, "3");
    assert_eq!(third["status"], 429);
    assert!(third["headers"]["Retry-After"].as_str().unwrap().parse::<u32>().unwrap() >= 1);
}
