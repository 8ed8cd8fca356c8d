use axum::http::StatusCode;
use domain::answer::without_facts;
use domain::decision::{Outcome, Reason};
use domain::event::DecisionRecord;
use domain::request::AccessRequest;
use domain::session::session_id;
use domain::time::Ids;
use domain::{DecisionId, SessionId};
use serde_json::{Value, json};

use crate::world::{COMPLIANT, Tenant, World, post};

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

/// What the database takes in no case must not be told for ever, nor keep back what stands beside it.
#[tokio::test]
async fn what_nothing_can_hold_is_refused_for_good() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let long = "x".repeat(20_000);
    let poison = [
        ("/request/user_name", json!("a\0b")),
        ("/request/user_name", json!(long)),
        ("/request/ssid", json!("x".repeat(65))),
        ("/request/hostname", json!("a\u{1}b")),
        ("/request/idp_roles", json!(["a\0b"])),
        ("/request/cert", json!({"cn": "a\0b"})),
        ("/answer/found/device_name", json!("a\0b")),
        ("/answer/found/device_name", json!("x".repeat(257))),
        ("/answer/decision/outcome/role", json!("a\0b")),
    ];
    for (place, value) in poison {
        let mut bad = decided(&world, &tenant, 60, "x");
        let (parent, name) = place.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[name] = value;
        let events = json!({"events": [decided(&world, &tenant, 61, "x"), bad]});
        let answer = process.post("/v1/nac/events", &tenant.token, &events).await;
        assert_eq!((answer.status, &answer.body["taken"]), (StatusCode::OK, &json!(1)), "{place}");
        let refused = &answer.body["refused"];
        assert_eq!((&refused[0]["field"], &refused[1]), (&json!("events[1]"), &Value::Null), "{refused}");
    }
    // What no check knew of: the database is the last to say so.
    sqlx::query("ALTER TABLE event ADD CONSTRAINT unforeseen CHECK (vlan IS DISTINCT FROM 'odd')")
        .execute(&world.admin)
        .await
        .unwrap();
    let events = json!({"events": [decided(&world, &tenant, 60, "x"), decided(&world, &tenant, 60, "odd")]});
    let answer = process.post("/v1/nac/events", &tenant.token, &events).await;
    assert_eq!((answer.status, &answer.body["taken"]), (StatusCode::OK, &json!(1)), "{}", answer.body);
    assert_eq!(answer.body["refused"][0]["code"], "not_storable");
    assert_eq!(answer.body["refused"][0]["field"], "events[1]");
}

/// An edge hears nothing in time and decides by itself; what it had asked arrives all the same. The client got what the
/// edge decided.
#[tokio::test]
async fn what_nobody_heard_does_not_count_whichever_comes_first() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let ask = |name: &str| {
        let body = json!({"mac": COMPLIANT, "auth_type": "mab", "session_id": "s-9"}).to_string();
        let mut request = post("/v1/nac/authorize", &tenant.token, body);
        request.headers_mut().insert("gatehouse-ask", name.parse().unwrap());
        process.send(request)
    };
    let tell = async |names: &[&str], seconds: i64, vlan: &str| {
        let mut events: Vec<Value> = names.iter().map(|_| decided(&world, &tenant, seconds, vlan)).collect();
        for (event, name) in events.iter_mut().zip(names) {
            event["ask"] = json!(name);
        }
        let answer = process.post("/v1/nac/events", &tenant.token, &json!({"events": events})).await;
        assert_eq!(answer.body, json!({"taken": names.len(), "refused": []}));
    };
    let stands = async || {
        let row: (Value, bool) = sqlx::query_as(
            "SELECT outcome -> 'vlan', ended_at IS NULL FROM session WHERE session_key = 's-9'",
        )
        .fetch_one(&world.admin)
        .await
        .unwrap();
        row
    };
    let names: Vec<String> = (0..6).map(|n| format!("0193a000-0000-7000-8000-00000000000{n}")).collect();
    let name = |n: usize| names[n].as_str();

    assert_eq!(ask(name(0)).await.body["vlan"], "30");
    assert_eq!(stands().await, (json!("30"), true), "it was heard");
    world.advance(10);
    // The cloud decides later than the edge, and is told of that last.
    assert_eq!(ask(name(1)).await.body["vlan"], "30");
    tell(&[name(1)], 5, "crit").await;
    assert_eq!(stands().await, (json!("crit"), true));
    let again = "SELECT count(*) FROM outbox WHERE message->>'topic' = 'decisions_recorded_late'";
    assert!(world.count(again).await >= 1, "it is decided again, and moved where that differs");
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let session: SessionId = sqlx::query_scalar::<_, uuid::Uuid>("SELECT id FROM session")
        .fetch_one(&world.admin)
        .await
        .unwrap()
        .into();
    for (n, unheard) in [(0, false), (1, true)] {
        let told = store::sessions::is_unheard(&mut tx, session, name(n).parse().unwrap()).await.unwrap();
        assert_eq!(told, unheard, "{n}");
    }
    drop(tx);
    // The other way round, twice, and late.
    world.advance(10);
    tell(&[name(2), name(3)], 5, "crit-2").await;
    world.advance(10);
    assert_eq!(ask(name(2)).await.body["vlan"], "30");
    assert_eq!(ask(name(3)).await.body["vlan"], "30");
    assert_eq!(stands().await, (json!("crit-2"), true));
    // What is heard counts.
    world.advance(10);
    assert_eq!(ask(name(4)).await.body["vlan"], "30");
    assert_eq!(stands().await, (json!("30"), true));
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'NAC_CLIENT_PERMIT'").await, 8);
}

/// Where the answer that nobody heard was a denial, the session goes on.
#[tokio::test]
async fn a_denial_that_nobody_heard_ends_nothing() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let name = "0193a000-0000-7000-8000-000000000001";
    // Nobody knows this client: the policy denies it.
    let body = json!({"mac": "d4:6e:0e:02:99:99", "auth_type": "mab", "session_id": "s-9"}).to_string();
    let mut request = post("/v1/nac/authorize", &tenant.token, body);
    request.headers_mut().insert("gatehouse-ask", name.parse().unwrap());
    assert_eq!(process.send(request).await.body["action"], "deny");
    let mut event = decided(&world, &tenant, 2, "crit");
    event["ask"] = json!(name);
    process.post("/v1/nac/events", &tenant.token, &json!({"events": [event]})).await;
    let open = "SELECT count(*) FROM session WHERE ended_at IS NULL AND terminate_cause IS NULL
                AND outcome ->> 'vlan' = 'crit'";
    assert_eq!(world.count(open).await, 1);
}

/// Every order of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let with = |order: &Vec<usize>, place| [&order[..place], &[last], &order[place..]].concat();
    orders(last).iter().flat_map(|order| (0..=last).map(move |place| with(order, place))).collect()
}

/// Whatever comes first, alone or together: what the client was told last is what its session stands on.
#[tokio::test]
async fn in_any_order_the_session_stands_on_what_the_client_was_told() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let ask = |n: u128| Some(uuid::Uuid::from_u128(n));
    let made = |key: &str, seconds: i64, vlan: Option<&str>, offline: bool, ask| {
        let at = world.now() - time::Duration::seconds(100 - seconds);
        let id: DecisionId = Ids::system().make(at);
        let outcome = Outcome { permit: vlan.is_some(), vlan: vlan.map(str::to_owned), ..Outcome::default() };
        DecisionRecord {
            org: tenant.org,
            session: session_id(tenant.org, tenant.edge, key),
            session_key: key.to_owned(),
            request: AccessRequest::bare(tenant.edge, tenant.site),
            answer: without_facts(outcome, Reason::SiteFallback, id, at),
            keys: Vec::new(),
            offline,
            ask,
            told_at: None,
        }
    };
    let (mut n, mut wrong) = (0, Vec::new());
    // What an edge decided it tells in order.
    let in_order =
        |order: &Vec<usize>| order.iter().position(|n| *n == 2) < order.iter().position(|n| *n == 4);
    for order in orders(5).into_iter().filter(in_order) {
        for together in [1, 2, 5] {
            n += 1;
            let key = format!("s-{n}");
            let records = [
                made(&key, 0, Some("heard"), false, ask(1)),
                // Two asks that the cloud denied, and that the edge had answered by itself before.
                made(&key, 20, None, false, ask(2)),
                made(&key, 12, Some("edge"), true, ask(2)),
                made(&key, 25, None, false, ask(3)),
                made(&key, 14, Some("edge-last"), true, ask(3)),
            ];
            for batch in order.chunks(together) {
                let batch: Vec<DecisionRecord> = batch.iter().map(|n| records[*n].clone()).collect();
                let mut tx = world.store.org(tenant.org).await.unwrap();
                store::events::record_batch(&mut tx, &batch).await.unwrap();
                tx.commit().await.unwrap();
            }
            let stands: (Option<String>, bool, bool) = sqlx::query_as(
                "SELECT outcome ->> 'vlan', ended_at IS NULL, decided_at = $2 FROM session WHERE session_key = $1",
            )
            .bind(&key)
            .bind(records[4].answer.at)
            .fetch_one(&world.admin)
            .await
            .unwrap();
            if stands != (Some("edge-last".to_owned()), true, true) {
                wrong.push((order.clone(), together, stands));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {n}: {wrong:?}", wrong.len());
}
