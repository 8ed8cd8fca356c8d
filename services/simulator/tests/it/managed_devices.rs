use std::collections::HashSet;

use serde_json::{Value, json};
use simulator::Config;

use crate::support::{CONTOSO, LIST, ids, start, start_with};

fn filtered(filter: &str) -> String {
    let mut url = url::Url::parse("http://x").unwrap();
    url.query_pairs_mut().append_pair("$filter", filter);
    format!("{LIST}?{}", url.query().unwrap())
}

#[tokio::test]
async fn pages_hold_a_thousand_and_together_every_device_once() {
    let sim = start_with(Config { devices_per_tenant: 2_300, ..Config::default() }).await;
    let token = sim.linked().await;
    let pages = sim.pages(&token, LIST).await;
    let counts: Vec<_> = pages.iter().map(|page| page["@odata.count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1_000, 1_000, 300]);
    let all: HashSet<_> = pages.iter().flat_map(ids).collect();
    assert_eq!(all.len(), 2_300);
    assert!(
        pages[0]["@odata.context"]
            .as_str()
            .unwrap()
            .ends_with("/v1.0/$metadata#deviceManagement/managedDevices")
    );

    let link = pages[0]["@odata.nextLink"].as_str().unwrap();
    assert!(link.starts_with(&format!("{}{LIST}?$skiptoken=", sim.base)), "{link}");
    let (_, small) = sim.graph(&token, &format!("{LIST}?$top=7&$select=id,deviceName")).await;
    assert_eq!(small["@odata.count"], 7);
    let link = small["@odata.nextLink"].as_str().unwrap();
    assert!(link.contains("$top=7") && link.contains("$select=id,deviceName"), "{link}");
}

#[tokio::test]
async fn list_hides_what_single_shows() {
    let sim = start().await;
    let token = sim.linked().await;
    let device = sim.device(0).await;
    let id = device["id"].as_str().unwrap();
    let patch = json!({"ethernetMacAddress": "A0CEC8000001", "notes": "n", "physicalMemoryInBytes": 5,
        "udid": "u", "iccid": "i", "phoneNumber": "", "serialNumber": null,
        "lastSyncDateTime": "2026-11-01T10:00:00.1234567Z"});
    sim.set(id, patch).await;
    let (_, page) = sim.graph(&token, &format!("{LIST}?$top=1")).await;
    let listed = &page["value"][0];
    for hidden in [
        "ethernetMacAddress",
        "notes",
        "udid",
        "iccid",
        "activationLockBypassCode",
        "remoteAssistanceSessionUrl",
    ] {
        assert_eq!(listed[hidden], Value::Null, "{hidden}");
    }
    assert_eq!(listed["physicalMemoryInBytes"], 0);
    assert_eq!(listed["serialNumber"], "");
    assert_eq!(listed["phoneNumber"], "");
    assert_eq!(listed["lastSyncDateTime"], "2026-11-01T10:00:00Z");
    assert_eq!(listed["complianceGracePeriodExpirationDateTime"], "9999-12-31T23:59:59Z");
    assert_eq!(listed["easActivationDateTime"], "0001-01-01T00:00:00Z");
    assert!(listed.get("managementState").is_none());
    assert_eq!(listed["wiFiMacAddress"].as_str().unwrap().len(), 12);

    let (_, single) = sim.graph(&token, &format!("{LIST}/{id}")).await;
    assert_eq!(single["ethernetMacAddress"], "A0CEC8000001");
    assert_eq!(single["physicalMemoryInBytes"], 5);
    assert_eq!(single["serialNumber"], Value::Null);
    assert_eq!(single["phoneNumber"], Value::Null);
    assert_eq!(single["lastSyncDateTime"], "2026-11-01T10:00:00.1234567Z");
    assert_eq!(single["complianceGracePeriodExpirationDateTime"], "9999-12-31T23:59:59.9999999Z");

    let (_, page) = sim.graph(&token, &format!("{LIST}?$top=1&$select=id,ethernetMacAddress")).await;
    assert_eq!(page["value"][0], json!({"id": id, "ethernetMacAddress": null}));
    sim.settings(json!({"listEthernetMac": true})).await;
    let (_, page) = sim.graph(&token, &format!("{LIST}?$top=1&$select=ethernetMacAddress")).await;
    assert_eq!(page["value"][0], json!({"ethernetMacAddress": "A0CEC8000001"}));
}

#[tokio::test]
async fn supported_filters_are_honoured() {
    let sim = start().await;
    let token = sim.linked().await;
    let device = sim.device(0).await;
    let find = async |filter: &str| sim.graph(&token, &filtered(filter)).await.1;
    let text = |name: &str| device[name].as_str().unwrap().to_owned();
    let one = [device["id"].as_str().unwrap().to_owned()];
    for filter in [
        format!("azureADDeviceId eq '{}'", text("azureADDeviceId")),
        format!("serialNumber eq '{}'", text("serialNumber")),
        format!("deviceName eq '{}'", text("deviceName").to_lowercase()),
        format!("complianceState eq 'compliant' and serialNumber eq '{}'", text("serialNumber")),
    ] {
        assert_eq!(ids(&find(&filter).await), one, "{filter}");
    }
    let states = find("complianceState eq 'noncompliant' or complianceState eq 'inGracePeriod'").await;
    let states: HashSet<_> = states["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["complianceState"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, HashSet::from(["noncompliant".to_owned(), "inGracePeriod".to_owned()]));
    let none = find("lastSyncDateTime gt 2099-01-01T00:00:00Z").await;
    assert_eq!(none["@odata.count"], 0);
    assert_eq!(none.get("@odata.nextLink"), None);
    assert_eq!(find("azureADDeviceId eq '00000000-0000-4000-8000-000000000000'").await["@odata.count"], 0);
}

#[tokio::test]
async fn unsupported_filters_are_ignored_without_a_word() {
    let sim = start().await;
    let token = sim.linked().await;
    for filter in [
        "wiFiMacAddress eq 'FFFFFFFFFFFF'",
        "ethernetMacAddress eq 'FFFFFFFFFFFF'",
        "userId eq 'nobody'",
        "id eq 'nothing'",
        "deviceEnrollmentType eq 'nothing'",
        "startswith(serialNumber,'nothing')",
        "complianceState in ('nothing','at all')",
        "complianceState ne 'compliant'",
    ] {
        let (status, page) = sim.graph(&token, &filtered(filter)).await;
        assert_eq!((status.as_u16(), &page["@odata.count"]), (200, &json!(60)), "{filter}");
    }
    assert_eq!(sim.graph(&token, &filtered("this is no filter")).await.0, 400);
    assert_eq!(sim.graph(&token, &format!("{LIST}?$select=nonsense")).await.0, 400);
}

#[tokio::test]
async fn a_skip_token_is_opaque_bound_to_its_tenant_and_expires() {
    let sim = start_with(Config { consented: true, ..Config::default() }).await;
    let token = sim.token().await;
    let (_, page) = sim.graph(&token, &format!("{LIST}?$top=10")).await;
    let link = page["@odata.nextLink"].as_str().unwrap();
    assert_eq!(sim.graph(&token, link).await.0, 200);
    let (_, other) = sim.app_token("fabrikam.example").await;
    assert_eq!(sim.graph(other["access_token"].as_str().unwrap(), link).await.0, 400);
    assert_eq!(sim.graph(&token, &format!("{LIST}?$skiptoken=made-up")).await.0, 400);
    sim.post("/clock", json!({"advanceSeconds": 3_601})).await;
    assert_eq!(sim.graph(&token, link).await.0, 400);
}

#[tokio::test]
async fn a_page_may_be_empty_or_repeat_and_still_go_on() {
    let sim = start().await;
    let token = sim.linked().await;
    sim.settings(json!({"managedDevicesPage": 20, "emptyPageEvery": 2})).await;
    let pages = sim.pages(&token, LIST).await;
    let counts: Vec<_> = pages.iter().map(|page| page["@odata.count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [20, 0, 20, 0, 20]);
    sim.settings(json!({"emptyPageEvery": 0, "repeatAcrossPages": true})).await;
    let pages = sim.pages(&token, LIST).await;
    assert_eq!(ids(&pages[0]).last(), ids(&pages[1]).first());
    let all: HashSet<_> = pages.iter().flat_map(ids).collect();
    assert_eq!(all.len(), 60);
}

#[tokio::test]
async fn a_million_devices_are_listed_page_by_page_and_found_by_id_at_once() {
    let sim = start_with(Config { devices_per_tenant: 1_000_000, ..Config::default() }).await;
    let token = sim.linked().await;
    let (_, page) = sim.graph(&token, &format!("{LIST}?$top=1000")).await;
    assert_eq!(page["@odata.count"], 1_000);
    let path = format!("/_sim/api/tenants/{CONTOSO}/devices?from=999999&limit=1");
    let last: Value = sim.get(&path).await.json().await.unwrap();
    let id = last["devices"][0]["id"].as_str().unwrap();
    assert_eq!(sim.graph(&token, &format!("{LIST}/{id}")).await.0, 200);
    // A rare match: a short page, perhaps empty, and a way to go on.
    let (_, page) = sim.graph(&token, &filtered("serialNumber eq 'not there'")).await;
    assert_eq!(page["@odata.count"], 0);
    assert!(page["@odata.nextLink"].is_string());
}

#[tokio::test]
async fn without_the_role_intune_says_so_in_a_message_that_is_json_itself() {
    let sim = start().await;
    sim.post(&format!("/tenants/{CONTOSO}/consent"), json!({"roles": ["Device.Read.All"]})).await;
    let token = sim.token().await;
    let (status, body) = sim.graph(&token, LIST).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (403, &json!("Forbidden")));
    let nested: Value = serde_json::from_str(body["error"]["message"].as_str().unwrap()).unwrap();
    assert_eq!(nested["_version"], 3);
    assert!(nested["Message"].as_str().unwrap().contains("DeviceManagementManagedDevices.Read.All"));
    assert!(body["error"]["innerError"]["request-id"].is_string());
}

#[tokio::test]
async fn a_retired_device_is_404_and_no_longer_listed() {
    let sim = start().await;
    let token = sim.linked().await;
    let id = sim.device(5).await["id"].as_str().unwrap().to_owned();
    sim.control(reqwest::Method::DELETE, &format!("/tenants/{CONTOSO}/devices/{id}"), json!(null)).await;
    let (status, body) = sim.graph(&token, &format!("{LIST}/{id}")).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (404, &json!("ResourceNotFound")));
    let (_, page) = sim.graph(&token, LIST).await;
    assert_eq!(page["@odata.count"], 59);
    assert!(!ids(&page).contains(&id));
    assert_eq!(sim.graph(&token, &format!("{LIST}/nonsense")).await.0, 404);
}

#[tokio::test]
async fn a_user_s_devices_are_listed_under_the_user() {
    let sim = start().await;
    let token = sim.linked().await;
    let device = sim.device(2).await;
    let (_, page) = sim
        .graph(&token, &format!("/v1.0/users/{}/managedDevices", device["userId"].as_str().unwrap()))
        .await;
    assert!(ids(&page).contains(&device["id"].as_str().unwrap().to_owned()), "{page}");
}
