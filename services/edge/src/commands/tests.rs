use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::post;
use domain::time::{Clock as _, ManualClock, SystemClock};
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;
use crate::spool::Spool;
use crate::stub_cloud::config;
use crate::testing::{Manner, StubNas, attribute};

type Acks = Arc<Mutex<Vec<(String, Value)>>>;

struct World {
    dispatcher: Arc<Dispatcher>,
    nas: StubNas,
    acks: Acks,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new(manner: Manner) -> Self {
        Self::with(manner, Arc::new(SystemClock), "").await
    }

    /// With a clock of its own, and further limits.
    async fn with(manner: Manner, clock: SharedClock, limits: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let acks = Acks::default();
        let kept = Arc::clone(&acks);
        let take = async move |Path(id): Path<String>, body: axum::Json<Value>| {
            kept.lock().unwrap().push((id, body.0));
            StatusCode::NO_CONTENT
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/nac/commands/{id}/ack", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });

        let nas = StubNas::start("s3cret", manner).await;
        let directory = tempfile::tempdir().unwrap();
        let more = format!(
            r#"
            [limits]
            coa_retransmit_milliseconds = 100
            coa_transmissions_max = 2
            {limits}
            [[nas]]
            network = "192.0.2.7"
            address = "{}"
            port = {}
            secret = "s3cret"
            "#,
            nas.address.ip(),
            nas.address.port(),
        );
        let config = config(directory.path(), &format!("http://{url}"), &more);
        let spool = Spool::open(&directory.path().join("spool.redb"), &config.limits).unwrap();
        let cloud = Arc::new(Cloud::new(&config, Arc::clone(&clock)).unwrap());
        let courier = Courier::new(Arc::clone(&cloud), spool, Arc::clone(&clock), &config.limits);
        let reporter = Reporter::new(cloud, Arc::clone(&courier), None, Arc::clone(&clock), 1);
        Self {
            dispatcher: Dispatcher::new(&config, clock, courier, reporter),
            nas,
            acks,
            _directory: directory,
        }
    }

    /// Waits until the NAS was told of so many sessions.
    async fn told_of(&self, count: usize) {
        for _ in 0..400 {
            if self.told().len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{:?}", self.told());
    }

    async fn acks(&self, count: usize) -> Vec<(String, Value)> {
        for _ in 0..400 {
            let acks = self.acks.lock().unwrap().clone();
            if acks.len() >= count {
                return acks;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{:?}", self.acks.lock().unwrap());
    }

    /// The sessions that the NAS was told of, in order, repetitions left out.
    fn told(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let received = self.nas.received().into_iter().filter(|request| seen.insert(request.clone()));
        received.map(|request| String::from_utf8(attribute(&request, 44).unwrap()).unwrap()).collect()
    }
}

fn command(n: u128, session: u128, nas: &str, lasts: i64) -> Command {
    let expires_at = SystemClock.now() + time::Duration::seconds(lasts);
    serde_json::from_value(json!({
        "id": Uuid::from_u128(n),
        "kind": "disconnect",
        "session": {"id": Uuid::from_u128(session), "session_id": format!("{session}/{n}"), "mac": null,
            "user_name": null, "ssid": null, "nas_ip": nas, "nas_identifier": null, "nas_vendor": null,
            "nas_port_id": null},
        "expires_at": expires_at.format(&time::format_description::well_known::Rfc3339).unwrap(),
    }))
    .unwrap()
}

#[tokio::test]
async fn of_one_session_in_order_and_of_several_at_once() {
    let world = World::new(Manner::Silent).await;
    let here = "192.0.2.7";
    world.dispatcher.accept(vec![command(1, 10, here, 60), command(3, 11, here, 60)]).await;
    world.told_of(2).await;
    world.dispatcher.accept(vec![command(2, 10, here, 60)]).await;
    let acks = world.acks(3).await;
    assert!(acks.iter().all(|(_, body)| body["result"] == "timeout"), "{acks:?}");
    let told = world.told();
    assert_eq!(told.len(), 3);
    assert_eq!(told[2], "10/2", "not before the session's first was given up on: {told:?}");
    assert_eq!(acks[2].0, Uuid::from_u128(2).to_string());
}

#[tokio::test]
async fn a_command_that_comes_again_is_carried_out_once_and_told_again() {
    let world = World::new(Manner::Nak(503)).await;
    let one = command(1, 10, "192.0.2.7", 60);
    world.dispatcher.accept(vec![one.clone(), one.clone()]).await;
    world.acks(1).await;
    world.dispatcher.accept(vec![one]).await;
    let acks = world.acks(2).await;
    let said = json!({"result": "nak", "error_cause": 503, "message": null});
    assert_eq!(acks.iter().map(|(_, body)| body).collect::<Vec<_>>(), [&said, &said]);
    assert_eq!(world.told(), ["10/1"]);
}

#[tokio::test]
async fn what_may_go_better_is_tried_again_when_it_comes_again() {
    let world = World::new(Manner::Nak(506)).await;
    let one = command(1, 10, "192.0.2.7", 60);
    world.dispatcher.accept(vec![one.clone()]).await;
    assert_eq!(world.acks(1).await[0].1["error_cause"], 506);
    world.nas.behave(Manner::Ack);
    world.dispatcher.accept(vec![one.clone()]).await;
    assert_eq!(world.acks(2).await[1].1["result"], "ack");
    world.dispatcher.accept(vec![one]).await;
    assert_eq!(world.acks(3).await[2].1["result"], "ack");
    let requests: HashSet<_> = world.nas.received().into_iter().collect();
    assert_eq!(requests.len(), 2, "what was done is not done again");
}

#[tokio::test]
async fn what_is_over_or_for_nobody_is_not_sent() {
    let world = World::new(Manner::Ack).await;
    world.dispatcher.accept(vec![command(1, 10, "192.0.2.7", -1), command(2, 11, "198.51.100.1", 60)]).await;
    let acks = world.acks(1).await;
    assert_eq!((&acks[0].1["result"], &acks[0].1["error_cause"]), (&json!("nak"), &json!(403)));
    assert!(world.told().is_empty());
    assert_eq!(acks.len(), 1, "the cloud lets it expire by itself");
}

#[tokio::test]
async fn a_wrong_clock_keeps_no_command_back() {
    let ahead = SystemClock.now() + time::Duration::minutes(10);
    let world = World::with(Manner::Ack, Arc::new(ManualClock::new(ahead)), "").await;
    let wanted = |n, seconds| Command { expires_in_seconds: Some(seconds), ..command(n, n, "192.0.2.7", 60) };
    // The first is over already, and one is wanted for longer than there is time.
    world.dispatcher.accept(vec![wanted(1, 0), wanted(2, u64::MAX), wanted(3, 60)]).await;
    world.acks(1).await;
    assert_eq!(world.told(), ["3/3"]);
}

#[tokio::test]
async fn what_waited_for_its_nas_is_looked_at_again() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let world = World::with(Manner::Silent, clock.clone(), "coa_per_nas_max = 1").await;
    let here = "192.0.2.7";
    world.dispatcher.accept(vec![command(1, 10, here, 600)]).await;
    world.told_of(1).await;
    world
        .dispatcher
        .accept(vec![
            command(2, 11, here, 60),
            command(3, 12, here, 600),
            command(4, 13, here, 600),
            command(5, 13, here, 600),
        ])
        .await;
    clock.advance(time::Duration::minutes(2));
    world.nas.behave(Manner::Ack);
    let mut acked: Vec<String> = world.acks(3).await.into_iter().map(|(id, _)| id).collect();
    acked.sort();
    assert_eq!(acked, [1, 3, 5].map(|n| Uuid::from_u128(n).to_string()));
    let mut told = world.told();
    told.sort();
    assert_eq!(told, ["10/1", "12/3", "13/5"], "neither what is over nor what a newer one replaced");
    for request in world.nas.received() {
        let waited = attribute(&request, 44).unwrap() != b"10/1";
        let at = u32::from_be_bytes(attribute(&request, 55).unwrap().try_into().unwrap());
        let now = clock.now().unix_timestamp();
        assert_eq!(i64::from(at) == now, waited, "Event-Timestamp is when it was sent: {at} {now}");
    }
}
