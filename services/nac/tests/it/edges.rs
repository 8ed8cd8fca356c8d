//! Credentials that end by themselves, edges that are switched off, what is heard of edges, and probes.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use cache::BusMessage;
use domain::CredentialId;
use futures::StreamExt;
use serde_json::{Value, json};
use store::audit::Actor;
use store::edges::{self, change};
use store::views::sites::{self as views, EdgeView};
use store::{edge_status, views::overview::DecisionCount};
use time::OffsetDateTime;
use tower::ServiceExt;

use crate::world::{COMPLIANT, Process, STRANGER, Tenant, World, eventually};

async fn rotate(world: &World, tenant: &Tenant, overlap: time::Duration) -> (String, CredentialId) {
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let (now, actor) = (world.now(), Actor::system());
    let made = change::rotate(&mut tx, &world.ids, now, &actor, tenant.edge, overlap).await.unwrap();
    let (token, id) = made.unwrap();
    tx.commit().await.unwrap();
    (token.reveal().to_owned(), id)
}

async fn status(process: &Process, token: &str) -> StatusCode {
    process.post("/v1/nac/authorize", token, &json!({"mac": COMPLIANT})).await.status
}

async fn view(world: &World, tenant: &Tenant) -> EdgeView {
    let mut tx = world.store.org(tenant.org).await.unwrap();
    views::edge(&mut tx, tenant.edge, world.now()).await.unwrap().unwrap()
}

/// Ends at its moment in every process that knows of the end, without a signal and without any store.
#[tokio::test]
async fn a_replaced_token_ends_by_itself_at_its_moment() {
    let mut world = World::new().await;
    world.config.memory_ttl = Duration::from_secs(600);
    world.config.credential_confirm_after = Duration::from_secs(600);
    let tenant = world.tenant(1).await;
    let process = world.process();
    eventually("the bus is up", || async { process.cache.bus_is_up() }).await;
    assert_eq!(status(&process, &tenant.token).await, StatusCode::OK);
    let (new, _) = rotate(&world, &tenant, time::Duration::hours(24)).await;
    // As the outbox relay does it.
    world.cache.drop_credential(tenant.org, tenant.credential).await.unwrap();
    let message = BusMessage::Credential { org: tenant.org, id: tenant.credential };
    world.cache.publish(&message).await.unwrap();
    // The old one was read anew once the end is in Redis.
    eventually("the end is known", || async {
        let _ = status(&process, &tenant.token).await;
        let cached = world.cache.credential(tenant.org, tenant.credential).await.unwrap();
        cached.is_some_and(|cached| cached.value.expires_at.is_some())
    })
    .await;
    for token in [&tenant.token, &new] {
        assert_eq!(status(&process, token).await, StatusCode::OK, "both are good meanwhile");
    }
    // Nobody is told anything when the time has come.
    world.postgres.cut();
    world.clock.advance(time::Duration::hours(24) - time::Duration::SECOND);
    assert_eq!(status(&process, &tenant.token).await, StatusCode::OK);
    world.advance(1);
    assert_eq!(status(&process, &tenant.token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&process, &new).await, StatusCode::OK);
    assert_eq!(status(&world.process(), &tenant.token).await, StatusCode::UNAUTHORIZED, "another process");
}

#[tokio::test]
async fn a_token_can_be_replaced_at_once_and_given_more_time() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    assert_eq!(status(&process, &tenant.token).await, StatusCode::OK);
    let (second, second_id) = rotate(&world, &tenant, time::Duration::ZERO).await;
    eventually("the first is dead by time alone", || async {
        status(&process, &tenant.token).await == StatusCode::UNAUTHORIZED
    })
    .await;
    assert_eq!(status(&process, &second).await, StatusCode::OK);

    let (third, _) = rotate(&world, &tenant, time::Duration::HOUR).await;
    // A second rotation gives nothing that ends already more time.
    rotate(&world, &tenant, time::Duration::HOUR * 2).await;
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let (now, actor) = (world.now(), Actor::system());
    let ends = edges::credential(&mut tx, second_id).await.unwrap().unwrap().expires_at;
    assert_eq!(ends, Some(now + time::Duration::HOUR));
    let until = now + time::Duration::DAY;
    for (id, done) in [(second_id, true), (second_id, false), (tenant.credential, false)] {
        let extended = change::extend(&mut tx, &world.ids, now, &actor, id, until).await.unwrap();
        assert_eq!(extended, done, "longer only, and not what is revoked");
    }
    tx.commit().await.unwrap();
    world.clock.advance(time::Duration::hours(3));
    eventually("the third has ended, and the second goes on", || async {
        status(&process, &third).await == StatusCode::UNAUTHORIZED
            && status(&process, &second).await == StatusCode::OK
    })
    .await;
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action FROM audit WHERE action LIKE 'edge.credential.%' ORDER BY id")
            .fetch_all(&world.admin)
            .await
            .unwrap();
    for action in ["edge.credential.replace", "edge.credential.issue", "edge.credential.extend"] {
        assert!(actions.iter().any(|known| known == action), "{action} is not among {actions:?}");
    }
}

#[tokio::test]
async fn an_edge_that_is_switched_off_is_refused_until_it_is_on_again() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    assert_eq!(status(&process, &tenant.token).await, StatusCode::OK);
    let (now, actor) = (world.now(), Actor::system());
    for (on, expected) in [(false, StatusCode::UNAUTHORIZED), (true, StatusCode::OK)] {
        let mut tx = world.store.org(tenant.org).await.unwrap();
        for changes in [true, false] {
            let changed = change::switch(&mut tx, &world.ids, now, &actor, tenant.edge, on).await.unwrap();
            assert_eq!(changed, Some(changes), "the second time there is nothing to do");
        }
        tx.commit().await.unwrap();
        eventually("it is so", || async { status(&process, &tenant.token).await == expected }).await;
    }
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action LIKE 'edge.%able'").await, 2);
}

fn with_headers(path: &str, token: &str, program: &str, clock: &str) -> axum::http::request::Builder {
    Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("user-agent", program)
        .header("gatehouse-clock", clock)
}

#[tokio::test]
async fn what_is_heard_of_an_edge_is_written_down() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let (new, new_id) = rotate(&world, &tenant, time::Duration::HOUR).await;
    let process = world.process();
    let told = |seconds: i64| (world.now().unix_timestamp() + seconds).to_string();
    for (token, program, clock, mac) in [
        (&tenant.token, "gatehouse-freeradius/1 (FreeRADIUS 3.2.1)", told(4), COMPLIANT),
        (&new, "gatehouse-freeradius/1 (FreeRADIUS 3.2.1)", told(7), COMPLIANT),
        (&new, "gatehouse-edge/0.1.0", told(3), STRANGER),
    ] {
        let body = json!({"mac": mac, "session_id": "s-1"}).to_string();
        let request = with_headers("/v1/nac/authorize", token, program, &clock);
        let answer = process.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    process.get("/v1/nac/commands", &new).await;
    let report = json!({
        "version": "0.1.0", "started_at": "2026-11-20T11:00:00Z", "channel": "poll", "waiting": 3, "nas": 1,
        "bundle": {"version": 7, "issued_at": "2026-11-20T11:59:00Z", "over": false},
    });
    let answer = process.post("/v1/nac/report", &new, &report).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    let wrong = process.post("/v1/nac/report", &new, &json!({"version": "1", "waiting": "few"})).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    eventually("it is written", || async { view(&world, &tenant).await.report.is_some() }).await;

    let edge = view(&world, &tenant).await;
    assert_eq!(edge.last_seen_at, Some(world.now()));
    assert_eq!(edge.polled_at, Some(world.now()));
    assert_eq!((edge.streamed_at, edge.credentials), (None, 2));
    assert_eq!(edge.skew.map(|(skew, _)| skew), Some(7_000));
    assert_eq!(edge.report.as_ref().unwrap().0.waiting, 3);
    assert!(edge.used_ends_at.is_none(), "it has changed over");
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let mut programs: Vec<String> =
        views::callers(&mut tx, tenant.edge).await.unwrap().into_iter().map(|(name, _)| name).collect();
    programs.sort();
    assert_eq!(programs, ["gatehouse-edge/0.1.0", "gatehouse-freeradius/1 (FreeRADIUS 3.2.1)"]);
    for id in [tenant.credential, new_id] {
        let row = edges::credential(&mut tx, id).await.unwrap().unwrap();
        assert_eq!(row.last_used_at, Some(world.now()));
    }
    let minute = world.now().truncate_to_minute();
    let counts = views::minutes(&mut tx, tenant.edge, minute).await.unwrap();
    assert_eq!(counts, [DecisionCount { at: minute, permits: 2, denies: 1 }]);
    drop(tx);

    // More are added; the present minute is not whole yet.
    assert_eq!(edge.decisions, 0);
    process.mab(&new, COMPLIANT).await;
    world.advance(60);
    eventually("it is added", || async { view(&world, &tenant).await.decisions == 4 }).await;
    // A use of a credential is not written each time.
    process.mab(&new, COMPLIANT).await;
    let used = async || -> Option<OffsetDateTime> {
        let mut tx = world.store.org(tenant.org).await.unwrap();
        edges::credential(&mut tx, new_id).await.unwrap().unwrap().last_used_at
    };
    eventually("it is written after a while", || async { used().await == Some(world.now()) }).await;
    let before = world.now();
    world.advance(29);
    process.mab(&new, COMPLIANT).await;
    eventually("it was seen", || async { view(&world, &tenant).await.last_seen_at == Some(world.now()) })
        .await;
    assert_eq!(used().await, Some(before));
}

#[tokio::test]
async fn decisions_of_an_outage_are_counted_once_it_is_over() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    process.mab(&tenant.token, COMPLIANT).await;
    world.postgres.cut();
    for _ in 0..5 {
        process.mab(&tenant.token, COMPLIANT).await;
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    world.postgres.mend();
    world.advance(60);
    eventually("all are counted", || async { view(&world, &tenant).await.decisions == 6 }).await;
}

#[tokio::test]
async fn what_is_old_is_forgotten() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let now = world.now();
    let heard = |minutes: i64, name: String| edge_status::Heard {
        minutes: vec![(now - time::Duration::minutes(minutes), 1, 0)],
        callers: vec![(name, now - time::Duration::minutes(minutes))],
        ..edge_status::Heard::default()
    };
    let mut tx = world.store.org(tenant.org).await.unwrap();
    for n in 0..12 {
        let mut heard = [(tenant.edge, heard(n * 300, format!("program {n}")))];
        edge_status::note(&mut tx, &mut heard).await.unwrap();
    }
    edge_status::forget(&mut tx, now - time::Duration::DAY).await.unwrap();
    let minutes = views::minutes(&mut tx, tenant.edge, OffsetDateTime::UNIX_EPOCH).await.unwrap();
    assert_eq!(minutes.len(), 5);
    let callers = views::callers(&mut tx, tenant.edge).await.unwrap();
    assert_eq!((callers.len(), callers[0].0.as_str(), callers[7].0.as_str()), (8, "program 0", "program 7"));
    // An edge that is gone meanwhile harms nobody.
    let gone = domain::EdgeId(uuid::Uuid::from_u128(99));
    let mut heard = [(gone, heard(0, "program".to_owned()))];
    edge_status::note(&mut tx, &mut heard).await.unwrap();
}

async fn ask(world: &World, tenant: &Tenant) -> uuid::Uuid {
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let (now, actor) = (world.now(), Actor::system());
    let probe = edge_status::ask_probe(&mut tx, &world.ids, now, &actor, tenant.edge).await.unwrap();
    tx.commit().await.unwrap();
    probe.unwrap()
}

#[tokio::test]
async fn a_probe_goes_out_by_poll_and_its_answer_is_noted() {
    let world = World::new().await;
    let (tenant, other) = (world.tenant(1).await, world.tenant(2).await);
    let process = world.process();
    eventually("the bus is up", || async { process.cache.bus_is_up() }).await;
    // The poll is rung out of its wait, as the relay does it.
    let (answer, probe) = tokio::join!(process.get("/v1/nac/commands?wait=30", &tenant.token), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let probe = ask(&world, &tenant).await;
        let message = BusMessage::Commands { org: tenant.org, edge: tenant.edge };
        world.cache.publish(&message).await.unwrap();
        probe
    });
    assert_eq!(answer.body, json!({"commands": [], "probe": {"id": probe}}));
    let again = process.get("/v1/nac/commands", &tenant.token).await;
    assert_eq!(again.body, json!({"commands": []}), "the edge is at it");
    world.advance(11);
    assert_eq!(process.get("/v1/nac/commands", &tenant.token).await.body["probe"]["id"], json!(probe));
    assert_eq!(process.get("/v1/nac/commands", &other.token).await.body, json!({"commands": []}));

    let ack = format!("/v1/nac/commands/{probe}/ack");
    let said = json!({"result": "ack", "message": "gatehouse-edge 0.1.0"});
    assert_eq!(process.post(&ack, &other.token, &said).await.status, StatusCode::NOT_FOUND);
    assert_eq!(process.post(&ack, &tenant.token, &said).await.status, StatusCode::NO_CONTENT);
    let late = json!({"result": "ack", "message": "once more"});
    assert_eq!(process.post(&ack, &tenant.token, &late).await.status, StatusCode::NO_CONTENT);
    let noted = view(&world, &tenant).await.heard.probe.unwrap();
    assert_eq!((noted.result.as_str(), noted.answered_at), ("gatehouse-edge 0.1.0", Some(world.now())));
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind LIKE 'NAC_CLIENT_COA%'").await, 0);

    // One that nobody fetched in time goes to nobody.
    ask(&world, &tenant).await;
    world.advance(61);
    assert_eq!(process.get("/v1/nac/commands", &tenant.token).await.body, json!({"commands": []}));
}

#[tokio::test]
async fn a_probe_goes_out_by_stream() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    eventually("the bus is up", || async { process.cache.bus_is_up() }).await;
    let first = ask(&world, &tenant).await;
    let request = Request::get("/v1/nac/commands/stream")
        .header("authorization", format!("Bearer {}", tenant.token))
        .header("gatehouse-clock", world.now().unix_timestamp().to_string())
        .body(Body::empty())
        .unwrap();
    let answer = process.router.clone().oneshot(request).await.unwrap();
    let mut body = answer.into_body().into_data_stream();
    let mut probe = async || -> Value {
        loop {
            let chunk = tokio::time::timeout(Duration::from_secs(20), body.next()).await.unwrap();
            let text = String::from_utf8(chunk.unwrap().unwrap().to_vec()).unwrap();
            if text.contains("event: probe\n") {
                let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
                return serde_json::from_str(data).unwrap();
            }
            assert!(text.starts_with(':'), "{text}");
        }
    };
    assert_eq!(probe().await, json!({"id": first}));
    let began = world.now();
    eventually("the stream is seen", || async { view(&world, &tenant).await.streamed_at == Some(began) })
        .await;
    // What the clock said as the stream began is not held against it later.
    world.advance(60);
    let second = ask(&world, &tenant).await;
    let message = BusMessage::Commands { org: tenant.org, edge: tenant.edge };
    world.cache.publish(&message).await.unwrap();
    assert_eq!(probe().await, json!({"id": second}));
    eventually("the stream goes on", || async {
        view(&world, &tenant).await.streamed_at == Some(world.now())
    })
    .await;
    assert_eq!(view(&world, &tenant).await.skew, Some((0, began)));
}
