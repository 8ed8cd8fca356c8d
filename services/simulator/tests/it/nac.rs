use serde_json::json;
use simulator::config::DEFAULT_CLIENT_SECRET;

use crate::support::{CLIENT, CONTOSO, Sim, start};

/// A token for the Intune API, and where discovery says that the service is.
async fn prepared(sim: &Sim) -> (String, String) {
    let roles = json!({"roles": ["get_device_compliance", "Application.Read.All"]});
    sim.post(&format!("/tenants/{CONTOSO}/consent"), roles).await;
    let token = sim.token().await;
    let endpoints = "/v1.0/servicePrincipals/appId=0000000a-0000-0000-c000-000000000000/endpoints";
    let (_, found) = sim.graph(&token, endpoints).await;
    let service = found["value"][0]["uri"].as_str().unwrap().to_owned();
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", DEFAULT_CLIENT_SECRET),
        ("scope", "https://api.manage.microsoft.com//.default"),
    ];
    let (_, body) = sim.token_request(CONTOSO, &fields).await;
    (body["access_token"].as_str().unwrap().to_owned(), service)
}

async fn ask(sim: &Sim, token: &str, url: &str) -> (u16, String) {
    let response = sim.http.get(url).bearer_auth(token).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_device_is_asked_for_by_mac_or_id() {
    let sim = start().await;
    let (token, service) = prepared(&sim).await;
    let (status, info) = ask(&sim, &token, &format!("{service}/ciscoise/mdminfo/?ise_api_version=3")).await;
    assert_eq!(status, 200);
    assert!(info.contains("<query_max_size>100</query_max_size>"), "{info}");
    let devices = format!("{service}/cisco/devices/?paging=0&filter=all");
    let bad = sim.device(3).await;
    for (criteria, value) in [("guid", &bad["id"]), ("macaddress", &bad["wiFiMacAddress"])] {
        let url = format!("{devices}&querycriteria={criteria}&value={}", value.as_str().unwrap());
        let (_, answer) = ask(&sim, &token, &url).await;
        assert!(
            answer.contains("<register_status>true</register_status><Compliance><status>false</status>"),
            "{answer}"
        );
        assert!(answer.contains(bad["id"].as_str().unwrap()), "{answer}");
    }
    let (_, unknown) =
        ask(&sim, &token, &format!("{devices}&querycriteria=macaddress&value=FFFFFFFFFFFF")).await;
    assert!(unknown.contains("<register_status>false</register_status>"), "{unknown}");
    assert_eq!(ask(&sim, &sim.token().await, &devices).await.0, 401, "a token of Graph is none of Intune");
}

#[tokio::test]
async fn the_list_of_noncompliant_devices_comes_once_in_four_hours() {
    let sim = start().await;
    let (token, service) = prepared(&sim).await;
    let list = format!(
        "{service}/cisco/devices/?paging=0&querycriteria=compliance&value=false&deviceidentifier=guid&filter=all"
    );
    let (status, answer) = ask(&sim, &token, &list).await;
    assert_eq!(status, 200);
    assert!(answer.contains(sim.device(3).await["id"].as_str().unwrap()), "{answer}");
    assert_eq!(ask(&sim, &token, &list).await.0, 503);
    sim.post("/clock", json!({"advanceSeconds": 4 * 3_600})).await;
    assert_eq!(ask(&sim, &token, &list).await.0, 200);
}
