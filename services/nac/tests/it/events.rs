use axum::http::StatusCode;
use domain::DecisionId;
use domain::answer::without_facts;
use domain::decision::{Outcome, Reason};
use domain::request::AccessRequest;
use domain::time::Ids;
use serde_json::{Value, json};

use crate::world::{COMPLIANT, Tenant, World};

/// A decision as an edge tells it, made `seconds` ago.
fn decided(world: &World, tenant: &Tenant, seconds: i64, vlan: &str) -> Value {
    let at = world.now() - time::Duration::seconds(seconds);
    let id: DecisionId = Ids::system().make(at);
    let outcome = Outcome { permit: true, vlan: Some(vlan.to_owned()), ..Outcome::default() };
    let request = AccessRequest {
        mac: Some(COMPLIANT.parse().unwrap()),
        session_id: Some("s-9".to_owned()),
        ..AccessRequest::bare(tenant.edge, tenant.site)
    };
    json!({
        "type": "decision", "id": id, "session_key": "s-9", "request": request,
        "answer": without_facts(outcome, Reason::SiteFallback, id, at),
    })
}

#[tokio::test]
async fn what_an_edge_decided_alone_is_recorded_once_and_looked_at_again() {
    let world = World::new().await;
    let (tenant, other) = (world.tenant(1).await, world.tenant(2).await);
    let process = world.process();
    let events =
        json!({"events": [decided(&world, &tenant, 90, "old"), decided(&world, &tenant, 60, "crit")]});
    for _ in 0..2 {
        let answer = process.post("/v1/nac/events", &tenant.token, &events).await;
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &json!({"taken": 2, "refused": []})));
    }
    let told =
        "SELECT count(*) FROM event WHERE kind = 'NAC_CLIENT_PERMIT' AND detail->>'decided_offline' = 'true'";
    assert_eq!(world.count(told).await, 2);
    let session: (String, Value) =
        sqlx::query_as("SELECT session_key, outcome FROM session WHERE org_id = $1")
            .bind(tenant.org.uuid())
            .fetch_one(&world.admin)
            .await
            .unwrap();
    assert_eq!((session.0.as_str(), &session.1["vlan"]), ("s-9", &json!("crit")));
    let again = "SELECT count(*) FROM outbox WHERE message->>'topic' = 'decisions_recorded_late'";
    assert!(world.count(again).await >= 1);
    // Another organization's edge cannot tell it in our name: it becomes its own.
    let answer = process.post("/v1/nac/events", &other.token, &events).await;
    assert_eq!(answer.status, StatusCode::OK);
    let owners =
        "SELECT count(DISTINCT (org_id, edge_id)) FROM event WHERE detail->>'decided_offline' = 'true'";
    assert_eq!(world.count(owners).await, 2);
    assert_eq!(world.count(told).await, 4);
}

/// An edge's clock may run ahead: what it decided must not hide what is decided and told next.
#[tokio::test]
async fn a_decision_from_the_future_counts_from_now() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let events = json!({"events": [
        decided(&world, &tenant, -1_500, "old"), decided(&world, &tenant, -1_800, "crit"),
    ]});
    let tell = async || {
        let answer = process.post("/v1/nac/events", &tenant.token, &events).await;
        assert_eq!(answer.body, json!({"taken": 2, "refused": []}));
    };
    let stands = async || {
        let row: (Value, bool, bool) = sqlx::query_as(
            "SELECT outcome -> 'vlan', decided_at <= $1, ended_at IS NULL FROM session WHERE session_key = 's-9'",
        )
        .bind(world.now())
        .fetch_one(&world.admin)
        .await
        .unwrap();
        row
    };
    tell().await;
    assert_eq!(stands().await, (json!("crit"), true, true), "the last one, and not in the future");
    world.advance(5);
    let online = json!({"mac": COMPLIANT, "auth_type": "mab", "session_id": "s-9"});
    process.authorize(&tenant.token, &online).await;
    assert_eq!(stands().await, (json!("30"), true, true));
    world.advance(5);
    tell().await;
    assert_eq!(stands().await, (json!("30"), true, true), "told again, it takes nothing back");
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'NAC_CLIENT_PERMIT'").await, 3);
    let stop = json!({"status": "stop", "session_id": "s-9"});
    assert_eq!(process.post("/v1/nac/accounting", &tenant.token, &stop).await.status, StatusCode::NO_CONTENT);
    assert!(!stands().await.2);
}

/// An id may carry another time than its decision, up to a second away.
#[tokio::test]
async fn a_decision_is_found_by_its_id_whatever_time_that_carries() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    for milliseconds in [-1_000, -400, 999] {
        let mut event = decided(&world, &tenant, 60, "crit");
        let made = world.now() - time::Duration::seconds(60) + time::Duration::milliseconds(milliseconds);
        let id: DecisionId = Ids::system().make(made);
        (event["id"], event["answer"]["id"]) = (json!(id), json!(id));
        let answer = process.post("/v1/nac/events", &tenant.token, &json!({"events": [event]})).await;
        assert_eq!(answer.body["taken"], 1, "{}", answer.body);
        let mut tx = world.store.org(tenant.org).await.unwrap();
        let found = store::events::find(&mut tx, id).await.unwrap();
        assert_eq!(found.map(|event| event.id), Some(id), "{milliseconds}");
        let (row, _) = store::views::events::one(&mut tx, id).await.unwrap().expect("its page");
        assert_eq!(row.vlan.as_deref(), Some("crit"));
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_the_rest_is_taken() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let mut foreign_id = decided(&world, &tenant, 60, "x");
    foreign_id["id"] = json!("5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42");
    let mut nameless = decided(&world, &tenant, 60, "x");
    nameless["session_key"] = json!("");
    let events = json!({"events": [
        decided(&world, &tenant, -7_200, "x"), decided(&world, &tenant, 91 * 86_400, "x"), foreign_id, nameless,
        {"type": "gossip"}, decided(&world, &tenant, 60, "x"),
    ]});
    let answer = process.post("/v1/nac/events", &tenant.token, &events).await;
    assert_eq!((answer.status, &answer.body["taken"]), (StatusCode::OK, &json!(1)));
    let codes: Vec<&str> =
        answer.body["refused"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["out_of_range", "out_of_range", "invalid_id", "invalid_value", "unknown_type"]);
    for body in [json!({}), json!({"events": vec![json!({}); 501]})] {
        let answer = process.post("/v1/nac/events", &tenant.token, &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
}
