use std::collections::HashSet;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use nac::NacConfig;
use serde_json::{Value, json};

use crate::world::{COMPLIANT, NONCOMPLIANT, World, eventually, post};

#[tokio::test]
async fn postgres_away_decisions_go_on_and_none_is_lost_or_doubled() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    process.mab(&tenant.token, COMPLIANT).await;
    process.mab(&tenant.token, NONCOMPLIANT).await;

    world.postgres.cut();
    let mut ids = HashSet::new();
    for n in 0..40 {
        world.advance(1);
        let mac = if n % 2 == 0 { COMPLIANT } else { NONCOMPLIANT };
        let answer = process.mab(&tenant.token, mac).await;
        assert_eq!(answer["recorded"], true, "{n}: {answer}");
        assert_eq!(answer["vlan"], if n % 2 == 0 { "30" } else { "99" });
        ids.insert(answer["decision_id"].as_str().unwrap().to_owned());
    }
    let started = Instant::now();
    process.mab(&tenant.token, COMPLIANT).await;
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "nobody waits for a database that is known to be away"
    );

    // A process that was just started takes its facts, and the credential, from Redis.
    let fresh = world.process();
    let answer = fresh.mab(&tenant.token, COMPLIANT).await;
    assert_eq!((&answer["vlan"], &answer["recorded"]), (&json!("30"), &json!(true)));
    assert_eq!(world.count("SELECT count(*) FROM event").await, 2);
    assert_eq!(world.cache.spill_depth().await.unwrap(), 42);

    world.postgres.mend();
    eventually("the spill is drained", || async { world.cache.spill_depth().await.unwrap() == 0 }).await;
    assert_eq!(world.count("SELECT count(*) FROM event").await, 44);
    assert_eq!(world.count("SELECT count(DISTINCT id) FROM event").await, 44);
    let written: HashSet<String> = sqlx::query_scalar("SELECT id::text FROM event")
        .fetch_all(&world.admin)
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert!(ids.is_subset(&written));
    // What changed meanwhile was planned without these decisions: planning is asked to look at their clients again.
    let late = "SELECT count(*) FROM outbox WHERE message ->> 'topic' = 'decisions_recorded_late'
                AND message ->> 'keys' LIKE '%mac:%'";
    assert!(world.count(late).await > 0);
    // The session stands on the last decision, whatever the order in which they were written.
    let session: time::OffsetDateTime =
        sqlx::query_scalar("SELECT decided_at FROM session").fetch_one(&world.admin).await.unwrap();
    assert_eq!(session, world.now());
    let answer = process.mab(&tenant.token, COMPLIANT).await;
    assert_eq!(answer["recorded"], true);
}

#[tokio::test]
async fn a_stalled_postgres_is_given_up_on_in_time() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let hasty = Duration::from_millis(700);
    let process = world.process_with(NacConfig {
        store_read_timeout: hasty,
        store_write_timeout: hasty,
        ..world.config.clone()
    });
    process.mab(&tenant.token, COMPLIANT).await;
    world.postgres.stall();
    let started = Instant::now();
    let answer = process.mab(&tenant.token, COMPLIANT).await;
    assert_eq!(answer["recorded"], true);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    world.postgres.mend();
    eventually("both are written, each once", || async {
        world.count("SELECT count(*) FROM event").await == 2 && world.cache.spill_depth().await.unwrap() == 0
    })
    .await;
}

#[tokio::test]
async fn redis_away_costs_speed_alone() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.redis.cut();
    let process = world.process();
    assert_eq!(process.mab(&tenant.token, COMPLIANT).await["vlan"], "30");
    assert_eq!(process.mab(&tenant.token, NONCOMPLIANT).await["recorded"], true);
    world.redis.mend();
    eventually("the bus is up", || async { process.cache.bus_is_up() }).await;

    // Stalled is worse than refused: each answer must come within the small time-out.
    world.redis.stall();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(450)).await;
        let started = Instant::now();
        assert_eq!(process.mab(&tenant.token, COMPLIANT).await["vlan"], "30");
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    }
    assert_eq!(world.count("SELECT count(*) FROM event").await, 7);
}

#[tokio::test]
async fn with_both_away_memory_decides_and_says_that_it_is_not_recorded() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    process.mab(&tenant.token, COMPLIANT).await;
    world.postgres.cut();
    world.redis.cut();
    // Long after memory is fresh.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let answer = process.mab(&tenant.token, COMPLIANT).await;
    assert_eq!((&answer["vlan"], &answer["recorded"]), (&json!("30"), &json!(false)));
    // What was never seen cannot be decided, and says so.
    let answer = process.mab(&tenant.token, NONCOMPLIANT).await;
    assert_eq!((&answer["action"], &answer["reason"]), (&json!("deny"), &json!("facts_unavailable")));
    assert_eq!(answer["recorded"], false);

    // A process that knows nothing: a denial, not an error. What cannot be done without a store is a 503.
    let fresh = world.process();
    let answer = fresh.mab(&tenant.token, COMPLIANT).await;
    assert_eq!((&answer["action"], &answer["reason"]), (&json!("deny"), &json!("facts_unavailable")));
    assert_eq!((&answer["recorded"], &answer["session_id"]), (&json!(false), &Value::Null));
    let body = json!({"status": "start", "session_id": "s-1"});
    for process in [&process, &fresh] {
        let answer = process.post("/v1/nac/accounting", &tenant.token, &body).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers["retry-after"], "1");
        let answer = process.get("/v1/nac/commands", &tenant.token).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("store_unavailable"))
        );
    }
    world.postgres.mend();
    world.redis.mend();
    eventually("it decides again", || async {
        let answer = fresh.mab(&tenant.token, NONCOMPLIANT).await;
        answer["vlan"] == "99" && answer["recorded"] == true
    })
    .await;
}

#[tokio::test]
async fn what_was_recorded_nowhere_is_told_again_by_the_edge_and_is_there_once() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let plain = json!({"mac": COMPLIANT, "auth_type": "mab", "session_id": "s-1"});
    let attribute = |text: &str| json!({"type": "string", "value": [text]});
    let packet = json!({
        "User-Name": attribute(COMPLIANT), "Calling-Station-Id": attribute(COMPLIANT),
        "Service-Type": attribute("Call-Check"), "Acct-Session-Id": attribute("s-2"),
    });
    let asked = [("/v1/nac/authorize", plain), ("/v1/nac/radius/authorize", packet)];
    for (path, body) in &asked {
        assert_eq!(process.post(path, &tenant.token, body).await.status, StatusCode::OK);
    }
    let before = world.count("SELECT count(*) FROM event").await;
    world.postgres.cut();
    world.redis.cut();
    let mut events = Vec::new();
    for (path, body) in &asked {
        world.advance(1);
        let answer = process.post(path, &tenant.token, body).await.body;
        assert_eq!(answer.get("unrecorded"), None, "nobody asked for it: {answer}");
        let mut request = post(path, &tenant.token, body.to_string());
        request.headers_mut().insert("gatehouse-tells-later", "yes".parse().unwrap());
        let answer = process.send(request).await.body;
        let id = answer.get("decision_id").unwrap_or(&answer["control:Gatehouse-Decision-Id"]["value"]);
        assert_eq!((&answer["unrecorded"]["type"], &answer["unrecorded"]["id"]), (&json!("decision"), id));
        events.push(answer["unrecorded"].clone());
    }
    let told = json!({"events": events});
    let again = process.post("/v1/nac/events", &tenant.token, &told).await;
    assert_eq!(again.status, StatusCode::SERVICE_UNAVAILABLE, "{}", again.body);
    world.postgres.mend();
    world.redis.mend();
    for _ in 0..2 {
        eventually("it is taken", || async {
            let answer = process.post("/v1/nac/events", &tenant.token, &told).await;
            answer.status == StatusCode::OK && answer.body == json!({"taken": 2, "refused": []})
        })
        .await;
    }
    // PostgreSQL may have been taken for away a moment longer.
    eventually("the spill is drained", || async {
        world.cache.spill_depth().await.is_ok_and(|depth| depth == 0)
    })
    .await;
    assert_eq!(world.count("SELECT count(*) FROM event").await, before + 2);
    for event in &events {
        // As it would have been written then: under its id, at its moment.
        let there: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM event WHERE id = $1::uuid AND at = $2::timestamptz AND permit AND vlan = '30'",
        )
        .bind(event["id"].as_str())
        .bind(event["answer"]["at"].as_str())
        .fetch_one(&world.admin)
        .await
        .unwrap();
        assert_eq!(there, 1, "{event}");
    }
}

#[tokio::test]
async fn a_spilled_record_that_nobody_takes_is_set_aside() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    process.mab(&tenant.token, COMPLIANT).await;
    world.postgres.cut();
    process.mab(&tenant.token, COMPLIANT).await;
    // As no edge can send it: PostgreSQL takes no NUL.
    let poison = domain::session::Accounting {
        org: tenant.org,
        id: uuid::Uuid::nil().into(),
        edge: tenant.edge,
        site: tenant.site,
        session: uuid::Uuid::nil().into(),
        session_key: "a\u{0}b".to_owned(),
        acct_session_id: None,
        status: domain::session::AccountingStatus::Start,
        at: world.now(),
        mac: None,
        user_name: None,
        framed_ip: None,
        bytes_in: None,
        bytes_out: None,
        session_seconds: None,
        terminate_cause: None,
    };
    world.cache.spill_push(&[cache::SpilledRecord::Accounting(Box::new(poison))]).await.unwrap();
    process.mab(&tenant.token, COMPLIANT).await;
    world.postgres.mend();
    eventually("the spill is drained", || async { world.cache.spill_depth().await.unwrap() == 0 }).await;
    assert_eq!(world.count("SELECT count(*) FROM event").await, 3);
}

/// A process that has just started knows no credential and has no connection yet. Whoever asks first waits for that;
/// nobody is denied for it.
#[tokio::test]
async fn a_process_that_has_just_started_denies_nobody_for_it() {
    let world = World::new().await;
    let mut tenants = Vec::new();
    for n in 1..=12 {
        tenants.push(world.tenant(n).await);
    }
    let patience = Duration::from_secs(30);
    let process = world.process_with(NacConfig {
        store_read_timeout: patience,
        store_write_timeout: patience,
        ..world.config.clone()
    });
    world.postgres.stall();
    let asked = futures::future::join_all(tenants.iter().map(|t| process.mab(&t.token, COMPLIANT)));
    let (answers, ()) = tokio::join!(asked, async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        world.postgres.mend();
    });
    for answer in answers {
        assert_eq!((&answer["vlan"], &answer["recorded"]), (&json!("30"), &json!(true)), "{answer}");
    }
}

/// A missing grant is no fault of the record: it waits until it can be written.
#[tokio::test]
async fn what_cannot_be_written_for_no_fault_of_its_own_is_kept() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    process.mab(&tenant.token, COMPLIANT).await;
    let run = async |sql: &'static str| sqlx::query(sql).execute(&world.admin).await.unwrap();
    run("REVOKE INSERT ON event FROM gatehouse_app").await;
    let answer = process.mab(&tenant.token, COMPLIANT).await;
    assert_eq!((&answer["vlan"], &answer["recorded"]), (&json!("30"), &json!(true)));
    let accounting = json!({"status": "start", "session_id": "s-1"});
    let told = process.post("/v1/nac/accounting", &tenant.token, &accounting).await;
    assert_eq!(told.status, StatusCode::NO_CONTENT, "it is not refused for good: {}", told.body);
    assert_eq!(world.count("SELECT count(*) FROM event").await, 1);
    run("GRANT INSERT ON event TO gatehouse_app").await;
    eventually("they are written", || async {
        world
            .count("SELECT count(*) FROM event WHERE kind IN ('NAC_CLIENT_PERMIT', 'NAC_SESSION_STARTED')")
            .await
            == 3
    })
    .await;
}
