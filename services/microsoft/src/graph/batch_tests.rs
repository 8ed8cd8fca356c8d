use proptest::prelude::*;

use super::*;
use crate::testing::{self, Answer, Stub, TID};

fn ids(count: u128) -> Vec<DeviceId> {
    (1..=count).map(|n| DeviceId(uuid::Uuid::from_u128(n))).collect()
}

fn record(id: DeviceId) -> Value {
    json!({"id": id.to_string(), "deviceName": "LAPTOP01", "complianceState": "compliant"})
}

fn item(n: usize, status: u16, body: &Value) -> Value {
    json!({"id": n.to_string(), "status": status, "headers": {"Content-Type": "application/json"}, "body": body})
}

fn answers(items: &[Value]) -> Answer {
    testing::json(200, &json!({"responses": items}))
}

fn graph_error(code: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message}})
}

async fn stub() -> (Stub, Graph) {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let graph = stub.microsoft().graph(TID);
    (stub, graph)
}

#[tokio::test]
async fn each_item_has_its_own_outcome_whatever_the_order() {
    let (stub, graph) = stub().await;
    let ids = ids(6);
    let busy = json!({
        "id": "3", "status": 429, "headers": {"retry-after": "17"}, "body": graph_error("TooManyRequests", "slow"),
    });
    stub.on(
        BATCH,
        [answers(&[
            item(5, 200, &record(ids[0])),
            busy,
            item(1, 404, &graph_error("ResourceNotFound", "gone")),
            item(2, 403, &graph_error("Forbidden", "Request not applicable to target tenant.")),
            item(0, 200, &record(ids[0])),
            item(7, 200, &record(ids[4])),
        ])],
    );
    let items = graph.devices_batch(&ids).await.unwrap();
    let BatchItem::Found(device) = &items[0] else { panic!("{:?}", items[0]) };
    assert_eq!((device.id, device.name.as_deref()), (ids[0], Some("LAPTOP01")));
    assert_eq!(items[1], BatchItem::Absent);
    assert!(matches!(&items[2], BatchItem::Failed(GraphError::NoIntune { .. })));
    assert_eq!(
        items[3],
        BatchItem::Failed(GraphError::Throttled { retry_after: Some(Duration::from_secs(17)) })
    );
    assert!(matches!(&items[4], BatchItem::Failed(GraphError::Protocol { .. })), "missing");
    assert!(matches!(&items[5], BatchItem::Failed(GraphError::Protocol { .. })), "another device's record");

    let seen = stub.seen_at(BATCH);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), "Bearer token-1");
    assert_eq!(seen[0].header("content-type"), "application/json");
    let sent: Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(sent["requests"].as_array().unwrap().len(), 6);
    assert_eq!(sent["requests"][0]["id"], "0");
    assert_eq!(sent["requests"][0]["method"], "GET");
    let url = sent["requests"][0]["url"].as_str().unwrap();
    let select = device::SELECT;
    assert_eq!(url, format!("/deviceManagement/managedDevices/{}?$select={select}", ids[0]));
}

#[tokio::test]
async fn the_batch_as_such_may_be_refused() {
    let (stub, graph) = stub().await;
    for (status, want) in [(429, "slow down"), (503, "does not answer"), (403, "refuses access")] {
        stub.on(BATCH, [testing::json(status, &graph_error("x", "y")).header("retry-after", "9")]);
        let error = graph.devices_batch(&ids(2)).await.unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
        if status != 403 {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(9)));
        }
    }
    for body in [json!({}), json!([]), json!({"responses": null}), json!("x")] {
        stub.on(BATCH, [testing::json(200, &body)]);
        assert!(matches!(graph.devices_batch(&ids(1)).await, Err(GraphError::Protocol { .. })), "{body}");
    }
}

#[tokio::test]
async fn no_more_than_twenty_and_nothing_for_none() {
    let (stub, graph) = stub().await;
    assert_eq!(graph.devices_batch(&[]).await, Ok(Vec::new()));
    assert!(matches!(graph.devices_batch(&ids(21)).await, Err(GraphError::BadRequest { .. })));
    assert!(stub.seen().is_empty());
    stub.on(BATCH, [answers(&[])]);
    let items = graph.devices_batch(&ids(20)).await.unwrap();
    assert!(items.len() == 20 && items.iter().all(|item| matches!(item, BatchItem::Failed(_))));
}

#[tokio::test]
async fn a_refused_token_and_an_older_schema_are_asked_once_more() {
    let (stub, graph) = stub().await;
    let ids = ids(3);
    let complaint =
        "Parsing OData Select and Expand failed: Could not find a property named 'managementState'.";
    let refused = item(2, 401, &graph_error("InvalidAuthenticationToken", "expired"));
    stub.on(
        BATCH,
        [
            answers(&[
                item(0, 200, &record(ids[0])),
                item(1, 400, &graph_error("BadRequest", complaint)),
                refused,
            ]),
            answers(&[item(1, 200, &record(ids[1])), item(2, 200, &record(ids[2]))]),
        ],
    );
    let items = graph.devices_batch(&ids).await.unwrap();
    assert!(items.iter().all(|item| matches!(item, BatchItem::Found(_))), "{items:?}");
    let seen = stub.seen_at(BATCH);
    assert_eq!(seen[1].header("authorization"), "Bearer token-2");
    let sent: Value = serde_json::from_str(&seen[1].body).unwrap();
    assert_eq!(sent["requests"][0]["url"], format!("/deviceManagement/managedDevices/{}", ids[1]));
    assert!(sent["requests"][1]["url"].as_str().unwrap().contains("$select="));
    assert_eq!(sent["requests"].as_array().unwrap().len(), 2);
    assert_eq!(graph.take_repeats(), 2);

    // What the first round answered is kept, though the second fails.
    stub.on(
        BATCH,
        [
            answers(&[item(0, 200, &record(ids[0])), item(1, 401, &Value::Null), item(2, 404, &Value::Null)]),
            testing::json(503, &json!({})),
        ],
    );
    let items = graph.devices_batch(&ids).await.unwrap();
    assert!(matches!(&items[0], BatchItem::Found(_)));
    assert!(matches!(&items[1], BatchItem::Failed(GraphError::Unavailable { .. })));
    assert_eq!(items[2], BatchItem::Absent);
    // The property was refused once: it is not asked for again, and what is not refused still is.
    let last = |stub: &Stub| stub.seen_at(BATCH).pop().unwrap().body;
    assert!(!last(&stub).contains("$select="));
    graph.adapters_batch(&ids).await.unwrap_err();
    assert!(last(&stub).contains("$select=id,ethernetMacAddress,udid"));
}

#[tokio::test]
async fn adapters_are_what_lists_leave_out() {
    let (stub, graph) = stub().await;
    let ids = ids(3);
    stub.on(
        BATCH,
        [answers(&[
            item(
                0,
                200,
                &json!({"id": ids[0].to_string(), "ethernetMacAddress": "00E04C680002", "udid": " U1 "}),
            ),
            item(1, 200, &json!({"id": ids[1].to_string(), "ethernetMacAddress": "", "udid": null})),
            item(2, 404, &graph_error("ResourceNotFound", "gone")),
        ])],
    );
    let items = graph.adapters_batch(&ids).await.unwrap();
    let adapters = Adapters {
        id: ids[0],
        ethernet_mac: Some("00:e0:4c:68:00:02".parse().unwrap()),
        udid: Some("U1".to_owned()),
    };
    assert_eq!(items[0], BatchItem::Found(adapters));
    assert_eq!(items[1], BatchItem::Found(Adapters { id: ids[1], ethernet_mac: None, udid: None }));
    assert_eq!(items[2], BatchItem::Absent);
    assert!(stub.seen_at(BATCH)[0].body.contains("$select=id,ethernetMacAddress,udid"));
}

proptest! {
    /// Whatever stands where the answers should, it is told as an answer or an error.
    #[test]
    fn any_batch_reads(body in testing::any_json(), items in prop::collection::vec(testing::any_json(), 0..4)) {
        for body in [body, json!({ "responses": items })] {
            let Ok(responses) = responses(&body, testing::NOW) else { continue };
            for (_, answer) in responses {
                if let Ok(answer) = answer {
                    let _ = answer.error();
                    let _ = answer.names_unknown_property();
                    let _ = Adapters::read(&answer.body);
                    let _ = GraphDevice::read(&answer.body);
                }
            }
        }
    }
}

#[tokio::test]
async fn where_there_are_no_batches_each_is_asked_for_alone() {
    for status in [404, 405, 501] {
        let (stub, graph) = stub().await;
        let ids = ids(6);
        let path = |n: usize| format!("/v1.0{MANAGED_DEVICES}/{}", ids[n]);
        stub.on(
            BATCH,
            [testing::json(status, &graph_error("NotFound", "Resource not found for the segment."))],
        );
        for n in [0, 3, 4] {
            stub.on(&path(n), [testing::json(200, &record(ids[n]))]);
        }
        stub.on(&path(1), [testing::json(404, &graph_error("ResourceNotFound", "gone"))]);
        stub.on(&path(2), [testing::json(400, &graph_error("BadRequest", "odd"))]);
        stub.on(&path(5), [testing::json(200, &record(ids[0]))]);
        let items = graph.devices_batch(&ids).await.unwrap();
        for n in [0, 3, 4] {
            assert!(matches!(&items[n], BatchItem::Found(device) if device.id == ids[n]), "{:?}", items[n]);
        }
        assert_eq!(items[1], BatchItem::Absent);
        assert!(matches!(&items[2], BatchItem::Failed(GraphError::BadRequest { .. })));
        assert!(
            matches!(&items[5], BatchItem::Failed(GraphError::Protocol { .. })),
            "another device's record"
        );
        let seen = stub.seen_at(&path(0));
        assert_eq!(seen[0].path_and_query, format!("{}?$select={}", path(0), device::SELECT));
        assert_eq!(seen[0].header("authorization"), "Bearer token-1");
    }
}

#[tokio::test]
async fn without_batches_a_wait_that_microsoft_asks_for_is_kept() {
    let (stub, graph) = stub().await;
    let ids = ids(20);
    stub.on(BATCH, [testing::json(404, &graph_error("NotFound", "x"))]);
    for id in &ids {
        let busy = testing::json(429, &graph_error("TooManyRequests", "slow")).header("retry-after", "17");
        stub.on(&format!("/v1.0{MANAGED_DEVICES}/{id}"), [busy]);
    }
    let items = graph.devices_batch(&ids).await.unwrap();
    let throttled = GraphError::Throttled { retry_after: Some(Duration::from_secs(17)) };
    assert!(items.iter().all(|item| *item == BatchItem::Failed(throttled.clone())), "{items:?}");
    let asked = ids.iter().flat_map(|id| stub.seen_at(&format!("/v1.0{MANAGED_DEVICES}/{id}"))).count();
    assert!(asked <= AT_ONCE, "{asked} requests, of which {AT_ONCE} were on their way");
}
