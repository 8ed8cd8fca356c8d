//! Live lists: new rows come by themselves.

use std::time::Duration;

use axum::body::Body;
use cache::BusMessage;
use domain::event::{Event, EventKind};
use domain::{EventId, Mac};
use tokio_stream::StreamExt as _;
use tower::ServiceExt as _;

use crate::world::World;

#[tokio::test]
async fn new_events_appear_in_a_live_list() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let list = browser.get(&format!("/orgs/{}/events", tenant.org)).await;
    let from = list.body.find("data-live-rows=\"").expect("a live list") + 16;
    let path = list.body[from..].split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
    let request = browser.request("GET", &path).body(Body::empty()).unwrap();
    let response = browser.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();

    let now = world.now() + time::Duration::seconds(1);
    let id: EventId = world.ids.make(now);
    let event = Event {
        org: tenant.org,
        id,
        at: now,
        kind: EventKind::NacSessionEnded,
        mac: Some(Mac([0xd4, 0x6e, 0x0e, 1, 2, 3])),
        session: None,
        edge: None,
        site: None,
        summary: "<i>gone</i>".to_owned(),
        detail: serde_json::json!({}),
    };
    let mut tx = world.store.org(tenant.org).await.unwrap();
    store::events::append(&mut tx, &event).await.unwrap();
    tx.commit().await.unwrap();
    world.cache.publish(&BusMessage::Events { org: tenant.org }).await.unwrap();

    let mut text = String::new();
    let arrived = tokio::time::timeout(Duration::from_secs(20), async {
        while let Some(Ok(bytes)) = stream.next().await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
            if text.contains(&id.to_string()) {
                return true;
            }
        }
        false
    });
    assert!(arrived.await.unwrap_or(false), "{text}");
    assert!(text.contains("&#60;i&#62;gone") && text.contains("id: "), "{text}");
    // What the page shows already is not sent again.
    assert!(!text.contains(&tenant.events[0].to_string()), "{text}");
}

#[tokio::test]
async fn a_stream_ends_for_who_signed_out_or_is_no_longer_a_member() {
    for ends in ["DELETE FROM browser_session", "DELETE FROM member"] {
        let world = World::new().await;
        let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
        let mut streams = Vec::new();
        for path in ["events/live".to_owned(), format!("sites/edges/{}/test/live", tenant.edge)] {
            let request = browser.request("GET", &format!("/orgs/{}/{path}", tenant.org));
            let response =
                browser.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            streams.push((path, response.into_body().into_data_stream()));
        }
        for (is_over, patience) in [(false, Duration::from_secs(1)), (true, Duration::from_secs(8))] {
            if is_over {
                sqlx::query(ends).execute(&world.admin).await.unwrap();
            }
            world.cache.publish(&BusMessage::Events { org: tenant.org }).await.unwrap();
            for (path, stream) in &mut streams {
                let end = async { while stream.next().await.is_some() {} };
                let ended = tokio::time::timeout(patience, end).await.is_ok();
                assert_eq!(ended, is_over, "{ends}: {path}");
            }
        }
    }
}
