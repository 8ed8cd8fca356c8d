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
