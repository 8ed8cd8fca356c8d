use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{self, Answer, Stub, TID};

const OBJECT: &str = "3a1f0000-0000-4000-8000-000000000001";
const DEVICE: &str = "e266c39a-0000-4000-8000-000000000001";

fn page(items: &[Value], link: (&str, &str)) -> Answer {
    testing::json(200, &json!({"@odata.context": "x", "value": items, link.0: link.1}))
}

async fn stub() -> (Stub, Graph) {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let graph = stub.microsoft().graph(TID);
    (stub, graph)
}

fn link(stub: &Stub, path_and_query: &str) -> String {
    format!("{}v1.0/devices/{path_and_query}", stub.base)
}

#[tokio::test]
async fn a_round_ends_where_the_next_begins() {
    let (stub, graph) = stub().await;
    let (skip, delta) = (link(&stub, "delta?$skiptoken=a%3d"), link(&stub, "delta?$deltatoken=b"));
    let changed = json!({"id": OBJECT, "deviceId": DEVICE, "isCompliant": false, "isManaged": null});
    let removed = json!({"id": OBJECT, "@removed": {"reason": "deleted"}});
    stub.on(
        DELTA,
        [
            page(&[changed.clone(), changed, json!({"deviceId": DEVICE})], ("@odata.nextLink", &skip)),
            page(&[removed], ("@odata.deltaLink", &delta)),
        ],
    );
    let first = graph.entra_devices_delta(DeltaStart::Whole, None).await.unwrap();
    let item = DeltaItem::Changed {
        object_id: OBJECT.parse().unwrap(),
        device_id: Some(DEVICE.parse().unwrap()),
        is_compliant: Some(false),
        is_managed: None,
    };
    assert_eq!(
        (first.items.as_slice(), first.unreadable),
        ([item, item].as_slice(), 1),
        "repeats are harmless"
    );
    let DeltaNext::Page(cursor) = first.next else { panic!("{:?}", first.next) };
    let stored: DeltaLink = serde_json::from_value(serde_json::to_value(cursor).unwrap()).unwrap();
    let second = graph.entra_devices_delta(DeltaStart::Whole, Some(&stored)).await.unwrap();
    let removed = DeltaItem::Removed { object_id: OBJECT.parse().unwrap(), reason: RemovedReason::Deleted };
    assert_eq!(second.items, [removed]);
    assert!(matches!(second.next, DeltaNext::Round(_)));

    let seen = stub.seen_at(DELTA);
    assert_eq!(seen[0].path_and_query, "/v1.0/devices/delta?$select=id,deviceId,isCompliant,isManaged");
    assert_eq!(seen[1].path_and_query, "/v1.0/devices/delta?$skiptoken=a%3d", "opaque");
    assert!(seen.iter().all(|seen| seen.header("prefer") == "odata.maxpagesize=999"));
}

#[tokio::test]
async fn from_now_on() {
    let (stub, graph) = stub().await;
    // As Graph spells it at times.
    let delta = link(&stub, "microsoft.graph.delta()?$deltatoken=now");
    stub.on(DELTA, [page(&[], ("@odata.deltaLink", &delta))]);
    let page = graph.entra_devices_delta(DeltaStart::Latest, None).await.unwrap();
    assert!(page.items.is_empty());
    assert!(stub.seen_at(DELTA)[0].path_and_query.ends_with("&$deltatoken=latest"));
    let path = "/v1.0/devices/microsoft.graph.delta()";
    stub.on(path, [self::page(&[], ("@odata.deltaLink", &delta))]);
    graph.entra_devices_delta(DeltaStart::Latest, Some(page.next.link())).await.unwrap();
    assert_eq!(stub.seen_at(path).len(), 1);
}

#[tokio::test]
async fn the_token_goes_nowhere_else() {
    let (stub, graph) = stub().await;
    for path in ["delta/../../users?$skiptoken=x", "x?$deltatoken=x", "delta()/x?$deltatoken=x"] {
        stub.on(DELTA, [page(&[], ("@odata.deltaLink", &link(&stub, path)))]);
        let error = graph.entra_devices_delta(DeltaStart::Latest, None).await.unwrap_err();
        assert!(matches!(error, GraphError::Protocol { .. }), "{path}: {error}");
    }
    let before = stub.seen().len();
    let stored: DeltaLink =
        serde_json::from_value(json!("https://evil.example/v1.0/devices/delta?$deltatoken=x")).unwrap();
    assert!(graph.entra_devices_delta(DeltaStart::Latest, Some(&stored)).await.is_err());
    assert_eq!(stub.seen().len(), before, "nothing was sent");
}

#[tokio::test]
async fn what_a_refusal_means() {
    let (stub, graph) = stub().await;
    let stored: DeltaLink = serde_json::from_value(json!(link(&stub, "delta?$deltatoken=old"))).unwrap();
    let error = |code: &str| json!({"error": {"code": code, "message": "x"}});
    for (status, code, cursor, want) in [
        (410, "syncStateNotFound", Some(&stored), GraphError::DeltaExpired),
        (400, "Request_BadRequest", Some(&stored), GraphError::DeltaExpired),
        (400, "x", None, GraphError::BadRequest { detail: "x: x".to_owned() }),
        (
            403,
            "Authorization_RequestDenied",
            None,
            GraphError::DirectoryForbidden { detail: "Authorization_RequestDenied: x".to_owned() },
        ),
        (
            403,
            "Forbidden",
            Some(&stored),
            GraphError::DirectoryForbidden { detail: "Forbidden: x".to_owned() },
        ),
        (404, "x", None, GraphError::DirectoryWithoutDelta { detail: "x: x".to_owned() }),
        (501, "x", Some(&stored), GraphError::DirectoryWithoutDelta { detail: "x: x".to_owned() }),
        (429, "x", Some(&stored), GraphError::Throttled { retry_after: None }),
    ] {
        stub.on(DELTA, [testing::json(status, &error(code))]);
        let refused = graph.entra_devices_delta(DeltaStart::Latest, cursor).await.unwrap_err();
        assert_eq!(refused, want);
    }
    assert_eq!(GraphError::DirectoryForbidden { detail: String::new() }.link_state(), None);
    assert_eq!(GraphError::DirectoryWithoutDelta { detail: String::new() }.link_state(), None);
    assert_eq!(GraphError::DeltaExpired.link_state(), None);
    for body in [json!({"value": []}), json!({"@odata.deltaLink": "x"}), json!([])] {
        stub.on(DELTA, [testing::json(200, &body)]);
        let error = graph.entra_devices_delta(DeltaStart::Latest, None).await.unwrap_err();
        assert!(matches!(error, GraphError::Protocol { .. }), "{body}");
    }
}

proptest! {
    /// Whatever comes, it reads as a page or is refused as none.
    #[test]
    fn any_page_reads(body in testing::any_json(), items in prop::collection::vec(testing::any_json(), 0..4)) {
        let _ = DeltaPage::read(&body);
        let count = items.len();
        let page = DeltaPage::read(&json!({"value": items, "@odata.deltaLink": "x"})).unwrap();
        prop_assert_eq!(page.items.len() + page.unreadable as usize, count);
    }
}
