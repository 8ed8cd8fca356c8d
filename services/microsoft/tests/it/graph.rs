//! Batches, filters and delta.

use domain::DeviceId;
use microsoft::{
    BatchItem, DeltaItem, DeltaNext, DeltaStart, DeviceFilter, Graph, GraphError, RemovedReason,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{CONTOSO, Sim};

fn id(device: &Value) -> DeviceId {
    device["id"].as_str().unwrap().parse().unwrap()
}

fn entra(device: &Value) -> Uuid {
    device["azureADDeviceId"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_batch_tells_found_from_gone_and_refused() {
    let sim = Sim::start().await;
    let graph = sim.microsoft().graph(CONTOSO);
    let (first, second) = (sim.device(CONTOSO, 0).await, sim.device(CONTOSO, 1).await);
    let gone = DeviceId(Uuid::from_u128(7));
    let items = graph.devices_batch(&[id(&first), gone, id(&second)]).await.unwrap();
    let [BatchItem::Found(one), BatchItem::Absent, BatchItem::Found(two)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!((one.id, two.id), (id(&first), id(&second)));
    assert_eq!(one.raw["deviceName"], first["deviceName"]);
    assert_eq!(Some(one), graph.device(id(&first)).await.unwrap().as_ref(), "as a single GET has it");

    let adapters = graph.adapters_batch(&[id(&first), gone]).await.unwrap();
    let [BatchItem::Found(found), BatchItem::Absent] = adapters.as_slice() else { panic!("{adapters:?}") };
    assert_eq!((found.ethernet_mac, &found.udid), (one.ethernet_mac, &one.udid));

    let fault = json!({
        "endpoint": "managedDevices.get", "pathContains": id(&second).to_string(),
        "effect": {"kind": "status", "status": 429, "retryAfter": 21},
    });
    sim.api("POST", "faults", &fault).await;
    let items = graph.devices_batch(&[id(&first), id(&second)]).await.unwrap();
    assert!(matches!(&items[0], BatchItem::Found(_)), "{items:?}");
    let BatchItem::Failed(error) = &items[1] else { panic!("{items:?}") };
    assert_eq!(error.retry_after().unwrap().as_secs(), 21);
    let fault = json!({"endpoint": "batch", "effect": {"kind": "status", "status": 503, "retryAfter": 3}});
    sim.api("POST", "faults", &fault).await;
    let error = graph.devices_batch(&[id(&first)]).await.unwrap_err();
    assert!(matches!(error, GraphError::Unavailable { retry_after: Some(_), .. }), "{error}");
}

#[tokio::test]
async fn twenty_at_once_and_tokens_that_are_revoked_meanwhile() {
    let sim = Sim::start().await;
    let graph = sim.microsoft().graph(CONTOSO);
    let listed = sim.get(&format!("tenants/{CONTOSO}/devices?limit=20")).await;
    let ids: Vec<_> = listed["devices"].as_array().unwrap().iter().map(id).collect();
    for _ in 0..2 {
        let items = graph.devices_batch(&ids).await.unwrap();
        let found: Vec<_> = items
            .iter()
            .map(|item| match item {
                BatchItem::Found(device) => device.id,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, ids, "in the order asked for");
        sim.api("POST", &format!("tenants/{CONTOSO}/tokens/revoke"), &Value::Null).await;
    }
}

#[tokio::test]
async fn devices_are_found_by_what_graph_filters() {
    let sim = Sim::start().await;
    let graph = sim.microsoft().graph(CONTOSO);
    let path = format!("tenants/{CONTOSO}/devices");
    let body = json!({"deviceName": "Bob's PC & Co + 1", "serialNumber": "SN'42"});
    let made = sim.api("POST", &path, &body).await;
    for by in [
        DeviceFilter::Name("bob's pc & co + 1"),
        DeviceFilter::Serial("sn'42"),
        DeviceFilter::EntraId(entra(&made)),
    ] {
        let found = graph.find_devices(by).await.unwrap();
        assert_eq!(found.iter().map(|device| device.id).collect::<Vec<_>>(), [id(&made)], "{by:?}");
    }
    assert_eq!(graph.find_devices(DeviceFilter::Serial("nobody's")).await, Ok(Vec::new()));

    let second = sim.device(CONTOSO, 1).await;
    let nobody = Uuid::from_u128(9);
    let items = graph.find_devices_batch(&[entra(&made), nobody, entra(&second)]).await.unwrap();
    let counts: Vec<_> = items
        .iter()
        .map(|item| match item {
            BatchItem::Found(devices) => devices.iter().map(|device| device.id).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [vec![id(&made)], vec![], vec![id(&second)]]);
}

async fn round(graph: &Graph, start: DeltaStart, from: Option<&DeltaNext>) -> (Vec<DeltaItem>, DeltaNext) {
    let (mut items, mut next) = (Vec::new(), from.cloned());
    loop {
        let page = graph.entra_devices_delta(start, next.as_ref().map(DeltaNext::link)).await.unwrap();
        assert_eq!(page.unreadable, 0);
        items.extend(page.items);
        match page.next {
            DeltaNext::Page(_) => next = Some(page.next),
            DeltaNext::Round(_) => return (items, page.next),
        }
    }
}

#[tokio::test]
async fn delta_tells_everything_once_and_then_what_changed() {
    let sim = Sim::start().await;
    let graph = sim.microsoft().graph(CONTOSO);
    let (whole, _) = round(&graph, DeltaStart::Whole, None).await;
    assert!(whole.len() >= 50, "{}", whole.len());
    let (nothing, now) = round(&graph, DeltaStart::Latest, None).await;
    assert!(nothing.is_empty());

    sim.settings(json!({"repeatInDelta": true, "devicesPage": 1})).await;
    let (turned, left) = (sim.device(CONTOSO, 0).await, sim.device(CONTOSO, 1).await);
    let device = |device: &Value| format!("tenants/{CONTOSO}/devices/{}", id(device));
    sim.api("PATCH", &device(&turned), &json!({"complianceState": "noncompliant"})).await;
    sim.api("DELETE", &device(&left), &Value::Null).await;
    let (items, now) = round(&graph, DeltaStart::Latest, Some(&now)).await;
    let changed = items.iter().filter_map(|item| match item {
        DeltaItem::Changed { device_id, is_compliant, .. } => Some((device_id.unwrap(), *is_compliant)),
        DeltaItem::Removed { .. } => None,
    });
    let changed: Vec<_> = changed.collect();
    assert!(
        !changed.is_empty() && changed.iter().all(|item| *item == (entra(&turned), Some(false))),
        "{items:?}"
    );
    let object: Uuid = left["_sim"]["entraObjectId"].as_str().unwrap().parse().unwrap();
    let removed = DeltaItem::Removed { object_id: object, reason: RemovedReason::Deleted };
    assert!(items.contains(&removed), "{items:?}");

    sim.api("POST", &format!("tenants/{CONTOSO}/delta/expire"), &Value::Null).await;
    let error = graph.entra_devices_delta(DeltaStart::Latest, Some(now.link())).await.unwrap_err();
    assert_eq!(error, GraphError::DeltaExpired);
}

#[tokio::test]
async fn without_the_directory_permission_intune_answers_all_the_same() {
    let sim = Sim::start().await;
    let roles = json!({"roles": ["DeviceManagementManagedDevices.Read.All"]});
    sim.api("POST", &format!("tenants/{CONTOSO}/revoke"), &json!({"kind": "roles"})).await;
    sim.api("POST", &format!("tenants/{CONTOSO}/consent"), &roles).await;
    let graph = sim.microsoft().graph(CONTOSO);
    let error = graph.entra_devices_delta(DeltaStart::Whole, None).await.unwrap_err();
    assert!(matches!(error, GraphError::DirectoryForbidden { .. }), "{error}");
    assert_eq!(error.link_state(), None);
    graph.probe().await.unwrap();
    sim.api("POST", &format!("tenants/{CONTOSO}/revoke"), &json!({"kind": "roles"})).await;
    sim.microsoft().graph(CONTOSO).probe().await.map_or_else(
        |error| assert!(matches!(error, GraphError::Forbidden { .. }), "{error}"),
        |()| panic!("no permission is left"),
    );
}
