use std::time::{Duration, Instant};

use axum::http::StatusCode;
use cache::BusMessage;
use nac::NacConfig;
use serde_json::{Value, json};

use crate::world::{COMPLIANT, Process, Tenant, World, eventually};

async fn fetch(process: &Process, tenant: &Tenant, wait: u32) -> Vec<Value> {
    let answer = process.get(&format!("/v1/nac/commands?wait={wait}"), &tenant.token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["commands"].as_array().unwrap().clone()
}

async fn session(process: &Process, tenant: &Tenant) -> uuid::Uuid {
    let body = json!({
        "mac": COMPLIANT, "session_id": "s-1", "user_name": "ada",
        "nas": {"ip": "192.0.2.7", "identifier": "ap-1", "vendor": "juniper"},
    });
    process.authorize(&tenant.token, &body).await["session_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_command_is_handed_out_until_it_is_acknowledged() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let session = session(&process, &tenant).await;
    let id = world.command(&tenant, session).await;

    let commands = fetch(&process, &tenant, 0).await;
    assert_eq!(commands.len(), 1);
    let command = &commands[0];
    assert_eq!(command["id"], json!(id));
    assert_eq!((&command["kind"], &command["cause"]), (&json!("reauth"), &json!("compliance_changed")));
    assert_eq!(
        command["session"],
        json!({"id": session, "session_id": "s-1", "mac": COMPLIANT, "user_name": "ada", "ssid": null,
               "nas_ip": "192.0.2.7", "nas_identifier": "ap-1", "nas_vendor": "juniper", "nas_port_id": null})
    );
    assert_eq!(command["to"]["vlan"], "99");
    assert_eq!(command["expires_in_seconds"], 600);
    assert!(fetch(&process, &tenant, 0).await.is_empty(), "the edge is at it");
    world.advance(31);
    let again = fetch(&process, &tenant, 0).await;
    assert_eq!(again.len(), 1, "nothing was heard of it");
    assert_eq!(again[0]["expires_in_seconds"], 569);

    let ack = format!("/v1/nac/commands/{id}/ack");
    let nak = json!({"result": "nak", "error_cause": 503, "message": "Session Context Not Found"});
    for body in [nak.clone(), nak, json!({"result": "ack"})] {
        let answer = process.post(&ack, &tenant.token, &body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    world.advance(31);
    assert!(fetch(&process, &tenant, 0).await.is_empty());
    let command: (String, String, i64, Option<String>) =
        sqlx::query_as("SELECT state, answer, error_cause, result FROM command")
            .fetch_one(&world.admin)
            .await
            .unwrap();
    assert_eq!(command, ("failed".to_owned(), "nak".to_owned(), 503, None));
    let (summary, detail): (String, Value) = sqlx::query_as(
        "SELECT summary, detail FROM event WHERE kind = 'NAC_CLIENT_COA_REAUTH' AND detail->>'state' = 'failed'",
    )
    .fetch_one(&world.admin)
    .await
    .unwrap();
    assert_eq!(
        summary,
        "Re-authentication found nobody to move: the NAS refused: Session-Context-Not-Found (503)"
    );
    assert_eq!((&detail["answer"], &detail["error_cause"]), (&json!("nak"), &json!(503)));
    assert_eq!(detail["error_cause_name"], "Session-Context-Not-Found");
    assert!(detail["remedy"].as_str().unwrap().contains("decided on anew"), "{detail}");
    let states: Vec<String> = sqlx::query_scalar(
        "SELECT detail->>'state' FROM event WHERE kind = 'NAC_CLIENT_COA_REAUTH' AND session_id = $1 ORDER BY at, id",
    )
    .bind(session)
    .fetch_all(&world.admin)
    .await
    .unwrap();
    let states: Vec<&str> = states.iter().map(String::as_str).filter(|state| *state != "pending").collect();
    assert_eq!(states, ["delivered", "failed"]);
    for unknown in ["x", "5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42"] {
        let path = format!("/v1/nac/commands/{unknown}/ack");
        let answer = process.post(&path, &tenant.token, &json!({"result": "ack"})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_session_is_named_to_the_nas_as_it_was_answered() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let session = session(&process, &tenant).await;
    let id = world.command(&tenant, session).await;
    sqlx::query(
        "UPDATE command SET from_outcome = from_outcome || '{\"user_name\": \"LAPTOP-0001\"}' WHERE id = $1",
    )
    .bind(id.uuid())
    .execute(&world.admin)
    .await
    .unwrap();
    let commands = fetch(&process, &tenant, 0).await;
    assert_eq!(commands[0]["session"]["user_name"], "LAPTOP-0001", "not ada, with whom it asked");
}

async fn say(process: &Process, tenant: &Tenant, id: &Value, body: &Value) {
    let path = format!("/v1/nac/commands/{}/ack", id.as_str().unwrap());
    let answer = process.post(&path, &tenant.token, body).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
}

#[tokio::test]
async fn what_the_nas_did_not_answer_or_had_no_resources_for_goes_out_again_while_it_is_wanted() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let session = session(&process, &tenant).await;
    world.command(&tenant, session).await;
    let stands = || async {
        let found: (String, String, Option<i64>, i32) =
            sqlx::query_as("SELECT state, answer, error_cause, answers FROM command")
                .fetch_one(&world.admin)
                .await
                .unwrap();
        found
    };
    let silence = json!({"result": "timeout", "message": "192.0.2.7:3799 did not answer 5 transmissions"});
    let busy = json!({"result": "nak", "error_cause": 506});

    let id = fetch(&process, &tenant, 0).await[0]["id"].clone();
    for _ in 0..2 {
        say(&process, &tenant, &id, &silence).await;
    }
    assert_eq!(
        stands().await,
        ("delivered".to_owned(), "timeout".to_owned(), None, 1),
        "told twice, counts once"
    );
    world.advance(29);
    assert!(fetch(&process, &tenant, 0).await.is_empty());
    world.advance(2);
    assert_eq!(fetch(&process, &tenant, 0).await[0]["id"], id);
    say(&process, &tenant, &id, &busy).await;
    assert_eq!(stands().await, ("delivered".to_owned(), "nak".to_owned(), Some(506), 2));
    world.advance(59);
    assert!(fetch(&process, &tenant, 0).await.is_empty(), "it rests twice as long");
    world.advance(2);
    assert_eq!(fetch(&process, &tenant, 0).await.len(), 1);
    say(&process, &tenant, &id, &json!({"result": "ack"})).await;
    assert_eq!(stands().await.0, "acked");
    say(&process, &tenant, &id, &silence).await;
    assert_eq!(stands().await.0, "acked", "it is over");

    // Nobody answers until the next time would be too late.
    world.command(&tenant, session).await;
    let mut times = 0;
    for _ in 0..60 {
        for command in fetch(&process, &tenant, 0).await {
            times += 1;
            say(&process, &tenant, &command["id"], &silence).await;
        }
        world.advance(10);
    }
    assert_eq!(times, 5, "after 0, 30, 90, 210 and 450 s of 600");
    let (state, answer): (String, String) =
        sqlx::query_as("SELECT state, answer FROM command ORDER BY created_at DESC, id DESC LIMIT 1")
            .fetch_one(&world.admin)
            .await
            .unwrap();
    assert_eq!((state.as_str(), answer.as_str()), ("failed", "timeout"));
    let again = "SELECT count(*) FROM event WHERE summary LIKE '%is tried again: the NAS did not answer%'";
    assert_eq!(world.count(again).await, 5);
}

#[tokio::test]
async fn a_waiting_poll_is_woken_by_the_bus() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let session = session(&process, &tenant).await;
    eventually("the bus is up", || async { process.cache.bus_is_up() }).await;
    let started = Instant::now();
    let (commands, ()) = tokio::join!(fetch(&process, &tenant, 30), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.command(&tenant, session).await;
        let message = BusMessage::Commands { org: tenant.org, edge: tenant.edge };
        world.cache.publish(&message).await.unwrap();
    });
    assert_eq!(commands.len(), 1);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn without_the_bus_a_waiting_poll_looks_for_itself() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.redis.cut();
    let process = world.process();
    let session = session(&process, &tenant).await;
    let started = Instant::now();
    let (commands, _) = tokio::join!(fetch(&process, &tenant, 30), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.command(&tenant, session).await
    });
    assert_eq!(commands.len(), 1);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn polls_that_wait_hold_no_connection() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    session(&process, &tenant).await;
    let polls = (0..100).map(|_| fetch(&process, &tenant, 3));
    let decisions = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        let started = Instant::now();
        for _ in 0..20 {
            assert_eq!(process.mab(&tenant.token, COMPLIANT).await["recorded"], true);
        }
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    };
    let (answers, ()) = tokio::join!(futures::future::join_all(polls), decisions);
    assert!(answers.iter().all(Vec::is_empty));
}

#[tokio::test]
async fn a_stop_ends_the_wait() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let started = Instant::now();
    let (commands, ()) = tokio::join!(fetch(&process, &tenant, 60), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        process.stop.cancel();
    });
    assert!(commands.is_empty());
    assert!(started.elapsed() < Duration::from_secs(5));
    process.nac.drain().await;
    let answer = process.post("/v1/nac/authorize", &tenant.token, &json!({})).await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("overloaded"))
    );
}

#[tokio::test]
async fn a_command_expires() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let session = session(&process, &tenant).await;
    world.command(&tenant, session).await;
    world.advance(601);
    assert!(fetch(&process, &tenant, 0).await.is_empty());
    eventually("it has expired", || async {
        world.count("SELECT count(*) FROM event WHERE detail->>'state' = 'expired'").await == 1
    })
    .await;
    eventually("the edge was seen", || async {
        world.count("SELECT count(*) FROM edge WHERE last_seen_at IS NOT NULL").await == 1
    })
    .await;
}

#[tokio::test]
async fn a_command_is_handed_out_when_its_turn_comes() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let (first, second) = (session(&process, &tenant).await, uuid::Uuid::from_u128(2));
    let later = world.command_at(&tenant, first, 2).await;
    let soon = world.command_at(&tenant, second, 1).await;
    assert!(fetch(&process, &tenant, 0).await.is_empty());
    // The poll looks again when the first one's turn comes, long before it would by itself.
    let clock = world.clock.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        clock.advance(time::Duration::seconds(1));
    });
    let started = Instant::now();
    let ids = |commands: &[Value]| commands.iter().map(|command| command["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&fetch(&process, &tenant, 30).await), [json!(soon)]);
    assert!(started.elapsed() < Duration::from_secs(9), "the poll slept past its turn");
    assert!(fetch(&process, &tenant, 0).await.is_empty());
    world.advance(1);
    assert_eq!(ids(&fetch(&process, &tenant, 0).await), [json!(later)]);
}

#[tokio::test]
async fn what_is_held_is_handed_to_nobody() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let session = session(&process, &tenant).await;
    let id = world.command(&tenant, session).await;
    let hold = domain::HoldId(uuid::Uuid::from_u128(9));
    let session = domain::SessionId(session);
    let mut tx = world.store.org(tenant.org).await.unwrap();
    assert!(store::commands::hold(&mut tx, &world.ids, world.now(), session, hold).await.unwrap());
    tx.commit().await.unwrap();
    assert!(fetch(&process, &tenant, 0).await.is_empty());
    let ack = format!("/v1/nac/commands/{id}/ack");
    process.post(&ack, &tenant.token, &json!({"result": "ack"})).await;
    // However long an admin takes, it does not expire.
    world.advance(7200);
    let mut tx = world.store.org(tenant.org).await.unwrap();
    assert_eq!(store::commands_edge::expire_due(&mut tx, &world.ids, world.now(), 10).await.unwrap(), 0);
    let (now, expires) = (world.now(), world.now() + time::Duration::minutes(10));
    assert!(store::commands::release(&mut tx, &world.ids, now, session, now, expires).await.unwrap());
    tx.commit().await.unwrap();
    world.advance(1);
    assert_eq!(fetch(&process, &tenant, 0).await[0]["id"], json!(id));
    let states: Vec<String> = sqlx::query_scalar(
        "SELECT detail->>'state' FROM event WHERE kind = 'NAC_CLIENT_COA_REAUTH' ORDER BY id",
    )
    .fetch_all(&world.admin)
    .await
    .unwrap();
    assert_eq!(states, ["pending", "held", "pending", "delivered"]);
}

#[tokio::test]
async fn an_edge_that_is_revoked_while_it_waits_is_told_no_more() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process =
        world.process_with(NacConfig { poll_recheck: Duration::from_millis(100), ..world.config.clone() });
    let session = session(&process, &tenant).await;
    let waits = process.get("/v1/nac/commands?wait=20", &tenant.token);
    let revoked = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.revoke(&tenant).await;
    };
    let started = Instant::now();
    let (answer, ()) = tokio::join!(waits, revoked);
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    world.command(&tenant, session).await;
    assert_eq!(process.get("/v1/nac/commands", &tenant.token).await.status, StatusCode::UNAUTHORIZED);
}
