use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::post;
use domain::time::{Clock as _, SystemClock};
use tokio::net::TcpListener;

use super::*;
use crate::spool::Spool;
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
        let file = directory.path().join("edge.toml");
        let text = format!(
            r#"
            directory = "{}"
            [cloud]
            url = "http://{url}"
            token = "ghe_AAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAI_x"
            [limits]
            coa_retransmit_milliseconds = 100
            coa_transmissions_max = 2
            [[nas]]
            network = "192.0.2.7"
            address = "{}"
            port = {}
            secret = "s3cret"
            "#,
            directory.path().display(),
            nas.address.ip(),
            nas.address.port(),
        );
        std::fs::write(&file, text).unwrap();
        let config = EdgeConfig::read(&file).unwrap();
        let clock: SharedClock = Arc::new(SystemClock);
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
    world
        .dispatcher
        .accept(vec![command(1, 10, here, 60), command(2, 10, here, 60), command(3, 11, here, 60)])
        .await;
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
    let said = json!({"result": "nak", "error_cause": 503, "message": "Session Context Not Found"});
    assert_eq!(acks.iter().map(|(_, body)| body).collect::<Vec<_>>(), [&said, &said]);
    assert_eq!(world.told(), ["10/1"]);
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
