use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::testing::{self, Answer, Stub, TID, token_path};
use crate::{Credential, HttpLimits, TokenErrorKind};

const ID: &str = "7809c88c-b33b-4c1c-94e0-00ce3175037b";

fn record(id: &str) -> Value {
    json!({"id": id, "deviceName": "LAPTOP01", "complianceState": "compliant"})
}

fn page(devices: &[Value], next: Option<&str>) -> Answer {
    let mut body = json!({"@odata.context": "x", "@odata.count": devices.len(), "value": devices});
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
async fn pages_follow_each_other() {
    let (stub, graph) = stub().await;
    let next = format!("{}v1.0/deviceManagement/managedDevices?$skiptoken=Last%3d'a%2fb'", stub.base);
    stub.on(DEVICES, [page(&[record(ID)], Some(&next)), page(&[], Some(&next)), page(&[record(ID)], None)]);
    let first = graph.devices_page(None, 9999).await.unwrap();
    assert_eq!(first.devices[0].id.to_string(), ID);
    let cursor: NextLink =
        serde_json::from_value(serde_json::to_value(first.next.unwrap()).unwrap()).unwrap();
    let second = graph.devices_page(Some(&cursor), 1000).await.unwrap();
    assert!(second.devices.is_empty() && second.next.is_some(), "an empty page is not the last");
    assert_eq!(graph.devices_page(second.next.as_ref(), 1000).await.unwrap().next, None);

    let seen = stub.seen_at(DEVICES);
    let query: Vec<_> = seen[0].path_and_query.split_once('?').unwrap().1.split('&').collect();
    assert!(
        query[0].starts_with("%24select=id%2CdeviceName%2C") || query[0].starts_with("$select="),
        "{query:?}"
    );
    assert!(query[1].ends_with("top=1000"), "{query:?}");
    assert!(seen[1].path_and_query.contains("Last%3d") && seen[1].path_and_query.contains("a%2fb"), "opaque");
    assert!(seen.iter().all(|seen| seen.header("authorization") == "Bearer token-1"));
    assert!(seen.iter().all(|seen| !seen.header("client-request-id").is_empty()));
}

#[tokio::test]
async fn the_token_goes_nowhere_else() {
    let (stub, graph) = stub().await;
    for next in
        ["https://evil.example/v1.0/deviceManagement/managedDevices?$skiptoken=x", "http://127.0.0.1:1/x"]
    {
        stub.on(DEVICES, [page(&[record(ID)], Some(next))]);
        let error = graph.devices_page(None, 1000).await.unwrap_err();
        assert!(matches!(error, GraphError::Protocol { .. }), "{error}");
        let stored = NextLink::from(next.to_owned());
        let before = stub.seen().len();
        assert!(graph.devices_page(Some(&stored), 1000).await.is_err());
        assert_eq!(stub.seen().len(), before, "nothing was sent");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (stub, graph) = stub().await;
    let there = format!("{}elsewhere", stub.base);
    stub.on(DEVICES, [testing::json(302, &json!({})).header("location", &there)]);
    assert!(matches!(graph.devices_page(None, 1).await, Err(GraphError::Protocol { .. })));
    assert!(stub.seen_at("/elsewhere").is_empty());
}

#[tokio::test]
async fn records_without_an_id_are_counted_not_fatal() {
    let (stub, graph) = stub().await;
    stub.on(DEVICES, [page(&[json!({"id": null}), record(ID), json!("junk")], None)]);
    let page = graph.devices_page(None, 1000).await.unwrap();
    assert_eq!((page.devices.len(), page.unreadable), (1, 2));
}

#[tokio::test]
async fn an_expired_page_begins_again() {
    let (stub, graph) = stub().await;
    let next = NextLink::from(format!("{}v1.0/deviceManagement/managedDevices?$skiptoken=old", stub.base));
    for status in [400, 410] {
        stub.on(
            DEVICES,
            [testing::json(
                status,
                &json!({"error": {"code": "BadRequest", "message": "Skip token is not valid"}}),
            )],
        );
        assert_eq!(graph.devices_page(Some(&next), 1000).await, Err(GraphError::PageExpired));
    }
}

#[tokio::test]
async fn an_older_schema_gets_no_select() {
    let (stub, graph) = stub().await;
    let complaint = "Parsing OData Select and Expand failed: Could not find a property named 'managementState' on type \
                     'microsoft.graph.managedDevice'.";
    let refusal = testing::json(400, &json!({"error": {"code": "BadRequest", "message": complaint}}));
    stub.on(DEVICES, [refusal.clone(), page(&[record(ID)], None)]);
    assert_eq!(graph.devices_page(None, 1000).await.unwrap().devices.len(), 1);
    assert!(!stub.seen_at(DEVICES)[1].path_and_query.contains("select"));
    assert_eq!((graph.take_repeats(), graph.take_repeats()), (1, 0), "one more than was asked for");
    // It would refuse the next one as well, of whatever kind.
    let path = format!("{DEVICES}/{ID}");
    stub.on(&path, [testing::json(200, &record(ID))]);
    assert!(graph.device(ID.parse().unwrap()).await.unwrap().is_some());
    stub.on(DEVICES, [page(&[record(ID)], None)]);
    graph.devices_page(None, 1000).await.unwrap();
    graph.find_devices(DeviceFilter::Serial("SN1")).await.unwrap_err();
    assert_eq!(graph.take_repeats(), 0);
    let asked = stub.seen();
    assert!(asked[asked.len() - 3..].iter().all(|seen| !seen.path_and_query.contains("select")), "{asked:?}");
    // Clouds are updated.
    stub.clock.advance(time::Duration::DAY);
    stub.on(&path, [refusal, testing::json(200, &record(ID))]);
    stub.issues_tokens();
    assert!(graph.device(ID.parse().unwrap()).await.unwrap().is_some());
    assert_eq!(graph.take_repeats(), 1);
}

#[tokio::test]
async fn one_device() {
    let (stub, graph) = stub().await;
    let id: DeviceId = ID.parse().unwrap();
    assert_eq!(graph.device(id).await.unwrap(), None, "404: gone");
    let path = format!("{DEVICES}/{ID}");
    stub.on(&path, [testing::json(200, &record(ID))]);
    assert_eq!(graph.device(id).await.unwrap().unwrap().id, id);
    stub.on(&path, [testing::json(200, &record("8809c88c-b33b-4c1c-94e0-00ce3175037b"))]);
    assert!(matches!(graph.device(id).await, Err(GraphError::Protocol { .. })), "another device's record");
}

#[tokio::test]
async fn not_every_404_says_that_a_device_is_gone() {
    let (stub, graph) = stub().await;
    let id: DeviceId = ID.parse().unwrap();
    let path = format!("{DEVICES}/{ID}");
    let unlicensed =
        json!({"error": {"code": "NotFound", "message": "Request not applicable to target tenant."}});
    stub.on(&path, [testing::json(404, &unlicensed)]);
    assert!(matches!(graph.device(id).await, Err(GraphError::NoIntune { .. })));
    stub.on(&path, [testing::text(404, "<html>Nothing is served here</html>")]);
    assert!(matches!(graph.device(id).await, Err(GraphError::Protocol { .. })), "a proxy's page");
}

#[tokio::test]
async fn one_new_token_after_a_401() {
    let (stub, graph) = stub().await;
    let refused =
        testing::json(401, &json!({"error": {"code": "InvalidAuthenticationToken", "message": "expired"}}));
    stub.on(DEVICES, [refused.clone(), page(&[], None)]);
    graph.devices_page(None, 1000).await.unwrap();
    let bearers: Vec<_> =
        stub.seen_at(DEVICES).iter().map(|seen| seen.header("authorization").to_owned()).collect();
    assert_eq!(bearers, ["Bearer token-1", "Bearer token-2"]);
    stub.on(DEVICES, [refused]);
    assert!(matches!(graph.devices_page(None, 1000).await, Err(GraphError::Unauthorized { .. })));
    assert_eq!(stub.seen_at(DEVICES).len(), 4, "once, not for ever");
}

#[tokio::test]
async fn waits_are_told() {
    let (stub, graph) = stub().await;
    let busy = |status| testing::json(status, &json!({"error": {"code": "x", "message": "y"}}));
    for (answer, wait) in [
        (busy(429).header("retry-after", "7"), Some(7)),
        (busy(429), None),
        (busy(503).header("retry-after", "Fri, 20 Nov 2026 12:00:30 GMT"), Some(30)),
        (busy(504), None),
    ] {
        stub.on(DEVICES, [answer]);
        let error = graph.devices_page(None, 1000).await.unwrap_err();
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs), "{error}");
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn limits_on_size_and_time() {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let limits = HttpLimits {
        request_timeout: Duration::from_millis(400),
        body_bytes_max: 4096,
        ..HttpLimits::default()
    };
    let graph = stub.microsoft_with(Credential::Secret("s".into()), limits).graph(TID);
    stub.on(DEVICES, [page(&[json!({"id": ID, "notes": "x".repeat(5000)})], None)]);
    assert!(matches!(graph.devices_page(None, 1000).await, Err(GraphError::Protocol { .. })), "too large");
    stub.on(DEVICES, [page(&[], None).after(Duration::from_secs(5))]);
    assert!(matches!(graph.devices_page(None, 1000).await, Err(GraphError::Unavailable { .. })), "too slow");
    stub.on(DEVICES, [page(&[], None).truncated()]);
    assert!(matches!(graph.devices_page(None, 1000).await, Err(GraphError::Unavailable { .. })), "truncated");
    stub.on(DEVICES, [testing::json(200, &json!("no page"))]);
    assert!(matches!(graph.devices_page(None, 1000).await, Err(GraphError::Protocol { .. })), "no page");
}

#[tokio::test]
async fn a_refused_token_is_told_as_such() {
    let (stub, graph) = stub().await;
    stub.on(
        &token_path(),
        [testing::json(401, &json!({"error": "invalid_client", "error_codes": [7_000_229]}))],
    );
    let Err(GraphError::Token(error)) = graph.probe().await else { panic!() };
    assert_eq!(error.kind, TokenErrorKind::ConsentRevoked);
    assert!(stub.seen_at(DEVICES).is_empty());
}

#[tokio::test]
async fn the_tenants_name_is_a_nicety() {
    let (stub, graph) = stub().await;
    let path = "/v1.0/organization";
    stub.on(path, [testing::json(200, &json!({"value": [{"id": TID, "displayName": " Contoso "}]}))]);
    assert_eq!(graph.organization().await.unwrap().unwrap().display_name, "Contoso");
    stub.on(
        path,
        [testing::json(403, &json!({"error": {"code": "Authorization_RequestDenied", "message": "x"}}))],
    );
    assert_eq!(graph.organization().await.unwrap(), None);
}
