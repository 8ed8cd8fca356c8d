use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{self, Answer, Stub, TID};

const ENTRA: Uuid = Uuid::from_u128(0xe266c39a_0000_4000_8000_000000000001);

fn record(n: u128, entra: Uuid, serial: &str, name: &str) -> Value {
    json!({
        "id": Uuid::from_u128(n).to_string(), "azureADDeviceId": entra.to_string(), "serialNumber": serial,
        "deviceName": name, "complianceState": "compliant",
    })
}

fn page(devices: &[Value], next: Option<&str>) -> Answer {
    let mut body = json!({"value": devices});
    if let Some(next) = next {
        body["@odata.nextLink"] = json!(next);
    }
    testing::json(200, &body)
}

async fn stub() -> (Stub, Graph) {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let graph = stub.microsoft().graph(TID);
    (stub, graph)
}

#[tokio::test]
async fn every_filter_is_quoted_and_checked_again() {
    let (stub, graph) = stub().await;
    let other = Uuid::from_u128(5);
    stub.on(DEVICES, [page(&[record(1, ENTRA, "S'1", "Bob's PC"), record(2, other, "x", "y")], None)]);
    for (by, filter) in [
        (
            DeviceFilter::EntraId(ENTRA),
            "$filter=azureADDeviceId%20eq%20%27e266c39a-0000-4000-8000-000000000001%27",
        ),
        (DeviceFilter::Serial("s'1"), "$filter=serialNumber%20eq%20%27s%27%271%27"),
        (DeviceFilter::Name(" BOB'S PC "), "$filter=deviceName%20eq%20%27BOB%27%27S%20PC%27"),
    ] {
        let devices = graph.find_devices(by).await.unwrap();
        assert_eq!(devices.iter().map(|device| device.id.0.as_u128()).collect::<Vec<_>>(), [1], "{by:?}");
        let seen = stub.seen_at(DEVICES).pop().unwrap();
        let query = seen.path_and_query.split_once('?').unwrap().1;
        assert!(query.starts_with(&format!("{filter}&$select=id,")), "{query}");
    }
}

#[tokio::test]
async fn an_ignored_filter_is_no_answer() {
    let (stub, graph) = stub().await;
    let next = format!("{}v1.0/deviceManagement/managedDevices?$skiptoken=x", stub.base);
    stub.on(DEVICES, [page(&[record(1, ENTRA, "A", "B")], Some(&next))]);
    let error = graph.find_devices(DeviceFilter::Serial("C")).await.unwrap_err();
    assert_eq!(error, GraphError::FilterIgnored { property: "serialNumber" });
    assert_eq!(error.link_state(), None);
    assert_eq!(stub.seen_at(DEVICES).len(), 1, "the fleet is not read through");
}

#[tokio::test]
async fn none_and_several_are_answers_too() {
    let (stub, graph) = stub().await;
    stub.on(DEVICES, [page(&[], None)]);
    assert_eq!(graph.find_devices(DeviceFilter::Name("x")).await, Ok(Vec::new()));
    stub.on(DEVICES, [page(&[record(1, ENTRA, "A", "twin"), record(2, ENTRA, "B", "TWIN")], None)]);
    assert_eq!(graph.find_devices(DeviceFilter::Name("twin")).await.unwrap().len(), 2);
    let before = stub.seen().len();
    for by in [
        DeviceFilter::Serial("0"),
        DeviceFilter::Serial(""),
        DeviceFilter::Serial("System Serial Number"),
        DeviceFilter::Name("  "),
        DeviceFilter::Name("a\0b"),
        DeviceFilter::EntraId(Uuid::nil()),
    ] {
        assert_eq!(graph.find_devices(by).await, Ok(Vec::new()), "{by:?}");
    }
    assert_eq!(stub.seen().len(), before, "nothing was asked for what fits nobody");
}

#[tokio::test]
async fn an_empty_page_is_followed_once() {
    let (stub, graph) = stub().await;
    let next = format!("{}v1.0/deviceManagement/managedDevices?$skiptoken=x", stub.base);
    stub.on(DEVICES, [page(&[], Some(&next)), page(&[record(1, ENTRA, "A", "B")], Some(&next))]);
    assert_eq!(graph.find_devices(DeviceFilter::Serial("A")).await.unwrap().len(), 1);
    stub.on(DEVICES, [page(&[], Some(&next))]);
    let before = stub.seen_at(DEVICES).len();
    assert_eq!(
        graph.find_devices(DeviceFilter::Serial("A")).await,
        Err(GraphError::Unfinished { property: "serialNumber" })
    );
    assert_eq!(stub.seen_at(DEVICES).len(), before + 2);
    stub.on(DEVICES, [page(&[], Some("https://evil.example/x"))]);
    assert!(matches!(graph.find_devices(DeviceFilter::Serial("A")).await, Err(GraphError::Protocol { .. })));
}

#[tokio::test]
async fn several_entra_ids_in_one_request() {
    let (stub, graph) = stub().await;
    let ids: Vec<Uuid> = (1..=4).map(Uuid::from_u128).collect();
    let item = |n: usize, body: Value| json!({"id": n.to_string(), "status": 200, "body": body});
    stub.on(
        "/v1.0/$batch",
        [testing::json(
            200,
            &json!({"responses": [
                item(3, json!({"value": "x"})),
                item(2, json!({"value": [record(9, ids[0], "A", "B")]})),
                item(1, json!({"value": []})),
                item(0, json!({"value": [record(7, ids[0], "A", "B"), record(8, ids[0], "A", "B")]})),
            ]}),
        )],
    );
    let items = graph.find_devices_batch(&ids).await.unwrap();
    let BatchItem::Found(devices) = &items[0] else { panic!("{:?}", items[0]) };
    assert_eq!(devices.len(), 2);
    assert_eq!(items[1], BatchItem::Found(Vec::new()));
    assert_eq!(items[2], BatchItem::Failed(GraphError::FilterIgnored { property: "azureADDeviceId" }));
    assert!(matches!(&items[3], BatchItem::Failed(GraphError::Protocol { .. })));
    let sent: Value = serde_json::from_str(&stub.seen_at("/v1.0/$batch")[0].body).unwrap();
    let url = sent["requests"][1]["url"].as_str().unwrap();
    let filter = "$filter=azureADDeviceId%20eq%20%2700000000-0000-0000-0000-000000000002%27&$select=id,";
    assert!(url.starts_with(&format!("/deviceManagement/managedDevices?{filter}")), "{url}");
}

proptest! {
    /// No text leaves its literal.
    #[test]
    fn a_literal_holds_any_text(text in "\\PC{0,40}") {
        for by in [DeviceFilter::Serial(&text), DeviceFilter::Name(&text)] {
            let Some(filter) = by.odata() else { continue };
            let inside = filter.split_once(" eq '").unwrap().1.strip_suffix('\'').unwrap();
            prop_assert!(!inside.replace("''", "").contains('\''));
            prop_assert_eq!(inside.replace("''", "'"), text.trim());
        }
    }

    #[test]
    fn any_page_reads(body in testing::any_json()) {
        if let Ok(page) = serde_json::from_value(body) {
            let _ = fitting(DeviceFilter::Name("x"), &page);
        }
    }
}
