use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use serde_json::{Value, json};
use wire::events;

use super::*;
use crate::disk::testing::Flaky;
use crate::stub_cloud::StubCloud;

const ACCOUNTING: &str = "/v1/nac/accounting";

fn told(n: u64) -> String {
    events::body(&[json!({"n": n})]).to_string()
}

/// The numbers of the events of a body.
fn numbers(body: &Value) -> Vec<u64> {
    body["events"].as_array().unwrap().iter().map(|event| event["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_result_waits_for_nothing_and_is_kept_where_the_cloud_is_away() {
    let away = Arc::new(AtomicBool::new(false));
    let is_away = Arc::clone(&away);
    let stub = StubCloud::start(move |_, _| match is_away.load(Ordering::Relaxed) {
        true => (StatusCode::SERVICE_UNAVAILABLE, json!({})),
        false => (StatusCode::NO_CONTENT, json!({})),
    })
    .await;
    let courier = stub.courier(stub.spool());
    courier.keep(ACCOUNTING.to_owned(), "{}".to_owned()).await.unwrap();
    let result = || courier.deliver_past("/v1/nac/commands/1/ack".to_owned(), "{}".to_owned());
    assert!(matches!(result().await, Ok(Delivered::Said(said)) if said.status == 204));
    assert_eq!(stub.heard(), [("/v1/nac/commands/1/ack".to_owned(), json!({}))]);
    assert_eq!(courier.spool.len().await.unwrap(), 1);
    // What needs its order waits.
    let accounting = courier.deliver(ACCOUNTING.to_owned(), "{}".to_owned()).await;
    assert!(matches!(accounting, Ok(Delivered::Spooled)));
    away.store(true, Ordering::Relaxed);
    assert!(matches!(result().await, Ok(Delivered::Spooled)));
    assert_eq!(courier.spool.len().await.unwrap(), 3);
}

#[tokio::test]
async fn events_go_together_and_what_is_refused_is_put_aside() {
    let stub = StubCloud::start(|path, body| match path {
        events::PATH => {
            let refused: Vec<Value> = numbers(body)
                .iter()
                .enumerate()
                .filter(|(_, n)| **n == 2)
                .map(|(at, _)| json!({"field": format!("events[{at}]"), "code": "out_of_range", "message": "old"}))
                .collect();
            (StatusCode::OK, json!({"taken": 0, "refused": refused}))
        }
        _ => (StatusCode::NO_CONTENT, json!({})),
    })
    .await;
    let courier = stub.courier(stub.spool());
    for n in 1..=3 {
        courier.keep(events::PATH.to_owned(), told(n)).await.unwrap();
    }
    courier.keep(ACCOUNTING.to_owned(), "{}".to_owned()).await.unwrap();
    courier.keep(events::PATH.to_owned(), told(4)).await.unwrap();
    assert!(courier.drain(&mut Settled::default()).await.unwrap());
    let heard = stub.heard();
    assert_eq!(
        heard.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        [events::PATH, ACCOUNTING, events::PATH]
    );
    assert_eq!((numbers(&heard[0].1), numbers(&heard[2].1)), (vec![1, 2, 3], vec![4]));
    assert_eq!((courier.spool.len().await.unwrap(), courier.spool.refused().await.unwrap()), (0, 1));
}

#[tokio::test]
async fn one_that_the_cloud_cannot_read_keeps_no_other_back() {
    let stub = StubCloud::start(|_, body| match numbers(body) {
        numbers if numbers.contains(&3) => (StatusCode::UNPROCESSABLE_ENTITY, json!({"code": "invalid"})),
        numbers => (StatusCode::OK, json!({"taken": numbers.len(), "refused": []})),
    })
    .await;
    let courier = stub.courier(stub.spool());
    for n in 0..6 {
        courier.keep(events::PATH.to_owned(), told(n)).await.unwrap();
    }
    assert!(courier.drain(&mut Settled::default()).await.unwrap());
    assert_eq!((courier.spool.len().await.unwrap(), courier.spool.refused().await.unwrap()), (0, 1));
    let taken: Vec<u64> =
        stub.heard().iter().map(|(_, body)| numbers(body)).filter(|n| !n.contains(&3)).flatten().collect();
    assert_eq!(taken, [0, 1, 2, 4, 5], "once each, in order");
}

#[tokio::test]
async fn what_the_disk_does_not_let_go_of_is_told_once() {
    let stub = StubCloud::start(|_, _| (StatusCode::NO_CONTENT, json!({}))).await;
    let flaky = Flaky::default();
    let courier = stub.courier(Spool::on(flaky.disk(), &stub.config.limits).unwrap());
    for _ in 0..70 {
        courier.keep(ACCOUNTING.to_owned(), "{}".to_owned()).await.unwrap();
    }
    flaky.full.store(true, Ordering::Relaxed);
    let mut settled = Settled::default();
    for _ in 0..3 {
        assert!(matches!(courier.drain(&mut settled).await, Err(SpoolError::Disk(_))));
    }
    flaky.full.store(false, Ordering::Relaxed);
    assert!(courier.drain(&mut settled).await.unwrap());
    assert_eq!(stub.heard().len(), 70);
    assert_eq!(courier.spool.len().await.unwrap(), 0);
}

/// That the cloud cannot keep something now does not say that it decides nothing.
#[tokio::test]
async fn what_cannot_be_delivered_takes_no_client_its_answer() {
    let stub = StubCloud::start(|path, _| match path {
        ACCOUNTING => (StatusCode::SERVICE_UNAVAILABLE, json!({"code": "store_unavailable"})),
        _ => (StatusCode::OK, json!({})),
    })
    .await;
    for _ in 0..10 {
        let reply = stub.cloud.post(ACCOUNTING, Bytes::from("{}"), TIMEOUT).await;
        assert_eq!(reply, Reply::Away);
    }
    assert!(!stub.cloud.is_spared());
    assert!(matches!(stub.cloud.ask("/v1/nac/authorize", Bytes::from("{}"), TIMEOUT).await, Reply::Said(_)));
}
