use axum::body::to_bytes;
use axum::http::Request;
use tower::ServiceExt as _;

use super::*;
use crate::stub_cloud::{StubCloud, clock};

const ID: &str = "01936f2a-6c5e-7d2b-9a57-3f1f0e6c1a42";

struct World {
    stub: StubCloud,
    router: Router,
    courier: Arc<Courier>,
}

impl World {
    /// An agent without a bundle, whose cloud answers so.
    async fn new(answer: Value) -> Self {
        Self::with(StatusCode::OK, answer).await
    }

    async fn with(status: StatusCode, answer: Value) -> Self {
        let stub = StubCloud::start(move |_, _| (status, answer.clone())).await;
        let courier = stub.courier(stub.spool());
        let cloud = Arc::clone(&stub.cloud);
        let reporter = Reporter::new(Arc::clone(&cloud), Arc::clone(&courier), None, clock(), 0);
        let router = router(Arc::new(Shared {
            cloud,
            courier: Arc::clone(&courier),
            reporter,
            bundles: None,
            clock: clock(),
            ids: Ids::system(),
            limits: stub.config.limits.clone(),
            org: stub.config.cloud.org,
        }));
        Self { stub, router, courier }
    }

    async fn ask(&self, path: &str) -> Value {
        let request = Request::post(path).header("content-type", "application/json");
        let answer = self.router.clone().oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 20).await.unwrap()).unwrap()
    }

    /// The bodies that wait for the cloud.
    async fn waiting(&self) -> Vec<Value> {
        let records = self.courier.spool.first(9).await.unwrap();
        assert!(records.iter().all(|(_, record)| record.path == events::PATH));
        records.iter().map(|(_, record)| serde_json::from_str(&record.body).unwrap()).collect()
    }
}

/// What a cloud without stores answers, in both ways: a decision, and the event of it.
fn unrecorded() -> [(&'static str, &'static str, Value); 2] {
    let event = json!({"type": "decision", "id": ID});
    let control = |value: &str| json!({"op": ":=", "do_xlat": false, "value": value});
    [
        (
            AUTHORIZE,
            "/recorded",
            json!({"decision_id": ID, "action": "allow", "reason": "rule_allow", "recorded": false,
                "unrecorded": event}),
        ),
        (
            RADIUS_AUTHORIZE,
            "/control:Gatehouse-Recorded/value",
            json!({"control:Gatehouse-Decision": control("accept"), "control:Gatehouse-Decision-Id": control(ID),
                "control:Gatehouse-Recorded": control("no"), "unrecorded": event}),
        ),
    ]
}

#[tokio::test]
async fn what_the_cloud_could_not_record_is_kept_to_be_told_again() {
    for (path, mark, told) in unrecorded() {
        let world = World::new(told.clone()).await;
        let answer = world.ask(path).await;
        let yes = if path == AUTHORIZE { json!(true) } else { json!("yes") };
        assert_eq!(answer.pointer(mark), Some(&yes), "{answer}");
        let mut expected = told;
        *expected.pointer_mut(mark).unwrap() = yes;
        expected.as_object_mut().unwrap().remove("unrecorded");
        assert_eq!(answer, expected, "all else as the cloud said it, and the event is not FreeRADIUS's");
        assert_eq!(world.waiting().await, [json!({"events": [{"type": "decision", "id": ID}]})]);
        assert!(world.stub.last_headers().contains_key(events::TELLS_LATER));
    }
}

#[tokio::test]
async fn what_cannot_be_told_again_is_answered_as_it_is() {
    for (path, mark, mut told) in unrecorded() {
        // As an older cloud has it.
        told.as_object_mut().unwrap().remove("unrecorded");
        let world = World::new(told.clone()).await;
        assert_eq!(world.ask(path).await, told);
        assert!(world.waiting().await.is_empty());
        // And what is recorded is not told again.
        *told.pointer_mut(mark).unwrap() = if path == AUTHORIZE { json!(true) } else { json!("yes") };
        let world = World::new(told.clone()).await;
        assert_eq!(world.ask(path).await, told);
        assert!(world.waiting().await.is_empty());
    }
}

/// The cloud may hear what it was asked, and decide, though nobody waits any more.
#[tokio::test]
async fn what_was_asked_in_vain_is_told_with_its_name() {
    for path in [AUTHORIZE, RADIUS_AUTHORIZE] {
        let world = World::with(StatusCode::SERVICE_UNAVAILABLE, json!({})).await;
        world.ask(path).await;
        let told = world.waiting().await;
        let ask = world.stub.last_headers()[events::ASK].to_str().unwrap().to_owned();
        assert_eq!(told[0]["events"][0]["ask"], json!(ask));
        // Once the cloud is known to be away it hears nothing.
        for _ in 0..5 {
            world.ask(path).await;
        }
        let told = world.waiting().await;
        assert_eq!((told.len(), &told[5]["events"][0]["ask"]), (6, &Value::Null));
    }
}
