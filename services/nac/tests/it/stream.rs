use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use cache::BusMessage;
use futures::StreamExt;
use nac::NacConfig;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{COMPLIANT, Process, Tenant, World, eventually};

/// An edge's connection.
struct Connection {
    body: BodyDataStream,
    text: String,
}

/// One event: its id and what it says.
type Told = (String, Value);

impl Connection {
    async fn open(process: &Process, tenant: &Tenant, last: Option<&str>) -> Self {
        let mut request = Request::get("/v1/nac/commands/stream")
            .header("authorization", format!("Bearer {}", tenant.token));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = process.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body().into_data_stream(), text: String::new() }
    }

    /// The next block of lines; `None` where the stream ended.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.body.next()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    async fn command(&mut self) -> Option<Told> {
        loop {
            let block = self.block().await?;
            let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if line("event:") == Some("command") {
                return Some((line("id:")?.to_owned(), serde_json::from_str(line("data:")?).unwrap()));
            }
            assert!(block.starts_with(':'), "{block}");
        }
    }
}

async fn session(process: &Process, tenant: &Tenant, name: &str) -> uuid::Uuid {
    let body = json!({"mac": COMPLIANT, "session_id": name});
    process.authorize(&tenant.token, &body).await["session_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn commands_come_as_they_are_made_and_again_from_where_the_edge_lost_them() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    eventually("the bus is up", || async { process.cache.bus_is_up() }).await;
    let (one, two) = (session(&process, &tenant, "s-1").await, session(&process, &tenant, "s-2").await);
    let first = world.command(&tenant, one).await.to_string();
    let mut connection = Connection::open(&process, &tenant, None).await;
    let (id, command) = connection.command().await.unwrap();
    assert_eq!((id, &command["id"]), (first.clone(), &json!(first)));
    let polled = process.get("/v1/nac/commands", &tenant.token).await.body["commands"][0].clone();
    assert_eq!(polled, Value::Null, "the edge is at it");

    let second = world.command(&tenant, two).await.to_string();
    world.cache.publish(&BusMessage::Commands { org: tenant.org, edge: tenant.edge }).await.unwrap();
    assert_eq!(connection.command().await.unwrap().0, second);
    drop(connection);

    // The second may have been lost on the way: it comes again at once, and the first does not.
    let mut connection = Connection::open(&process, &tenant, Some(&first)).await;
    let (id, again) = connection.command().await.unwrap();
    assert_eq!(id, second);
    drop(connection);
    // The same command as the long poll has it.
    world.advance(31);
    let mut polled = process.get("/v1/nac/commands", &tenant.token).await.body["commands"][1].take();
    // But for the time that it has left.
    let left = |command: &Value| command["expires_in_seconds"].as_i64().unwrap();
    assert_eq!(left(&again) - left(&polled), 31);
    polled["expires_in_seconds"] = again["expires_in_seconds"].clone();
    assert_eq!(polled, again);

    // Who remembers nothing is given everything that is open, in order.
    let mut connection = Connection::open(&process, &tenant, None).await;
    assert_eq!(connection.command().await.unwrap().0, first);
    assert_eq!(connection.command().await.unwrap().0, second);
    let ack = json!({"result": "nak", "error_cause": 503});
    let answer = process.post(&format!("/v1/nac/commands/{first}/ack"), &tenant.token, &ack).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let mut connection = Connection::open(&process, &tenant, None).await;
    assert_eq!(connection.command().await.unwrap().0, second);
    // Handed out three times, and told once in the history.
    let told = "SELECT count(*) FROM event WHERE detail->>'state' = 'delivered'";
    assert_eq!(world.count(told).await, 2);
}

#[tokio::test]
async fn a_stream_brings_a_command_when_its_turn_comes_and_resumes_in_that_order() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    // Nothing but its turn brings a command in time.
    let slow = Duration::from_secs(60);
    let process = world.process_with(NacConfig {
        stream_recheck: slow,
        poll_recheck_without_bus: slow,
        ..world.config.clone()
    });
    let (one, two) = (session(&process, &tenant, "s-1").await, session(&process, &tenant, "s-2").await);
    let late = world.command_at(&tenant, one, 2).await.to_string();
    let soon = world.command_at(&tenant, two, 1).await.to_string();
    let clock = world.clock.clone();
    let mut connection = Connection::open(&process, &tenant, None).await;
    let passing = tokio::spawn(async move {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            clock.advance(time::Duration::seconds(1));
        }
    });
    let (id, _) = connection.command().await.unwrap();
    assert_eq!(id, soon, "the longest due first");
    // Its id is the smaller one, and yet it went out after the other.
    assert_eq!(connection.command().await.unwrap().0, late);
    passing.await.unwrap();
    drop(connection);
    let mut connection = Connection::open(&process, &tenant, Some(&soon)).await;
    assert_eq!(connection.command().await.unwrap().0, late);
    drop(connection);
    // What was told stays told, so that planning does not take it for a command that no edge knows.
    assert_eq!(world.count("SELECT count(*) FROM command WHERE state = 'delivered'").await, 2);

    // Neither does a stream that begins bring what is not due.
    let third = session(&process, &tenant, "s-3").await;
    let third = world.command_at(&tenant, third, 3_600).await.to_string();
    let mut connection = Connection::open(&process, &tenant, Some(&late)).await;
    let silence = tokio::time::timeout(Duration::from_millis(500), connection.command()).await;
    assert!(silence.is_err(), "{third} is not due");
}

#[tokio::test]
async fn a_newer_command_takes_the_place_of_the_one_before() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let session = session(&process, &tenant, "s-1").await;
    world.command(&tenant, session).await;
    let mut connection = Connection::open(&process, &tenant, None).await;
    connection.command().await.unwrap();
    world.command(&tenant, session).await;
    let newest = world.command(&tenant, session).await.to_string();
    let mut connection = Connection::open(&process, &tenant, None).await;
    assert_eq!(connection.command().await.unwrap().0, newest);
}

#[tokio::test]
async fn a_waiting_stream_says_so_and_ends_in_time() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process_with(NacConfig {
        stream_heartbeat: Duration::from_millis(50),
        stream_max: Duration::from_millis(600),
        ..world.config.clone()
    });
    let mut connection = Connection::open(&process, &tenant, None).await;
    assert!(connection.block().await.unwrap().starts_with(':'));
    assert_eq!(connection.command().await, None);

    let process = world.process();
    let mut connection = Connection::open(&process, &tenant, None).await;
    process.stop.cancel();
    assert_eq!(connection.command().await, None);
}

#[tokio::test]
async fn a_revoked_edge_is_told_no_more() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process =
        world.process_with(NacConfig { stream_recheck: Duration::from_millis(100), ..world.config.clone() });
    let mut connection = Connection::open(&process, &tenant, None).await;
    world.revoke(&tenant).await;
    assert_eq!(connection.command().await, None);
}

#[tokio::test]
async fn streams_have_a_limit() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process_with(NacConfig { polls_max: 1, ..world.config.clone() });
    let connection = Connection::open(&process, &tenant, None).await;
    let answer = process.get("/v1/nac/commands/stream", &tenant.token).await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("overloaded"))
    );
    drop(connection);
    Connection::open(&process, &tenant, None).await;
}
