//! The agent beside an edge, between a NAS on a real socket and the cloud.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use domain::time::{Ids, SystemClock};
use edge::{Agent, EdgeConfig};
use gatehouse::dev::edge::Edge;
use gatehouse_tests::app::BUNDLE_PUBLIC_KEY;
use gatehouse_tests::journey::{self, Journey};
use gatehouse_tests::nas::{Manner, StubNas, attribute, is_signed};
use gatehouse_tests::processes::{Victim, program};
use gatehouse_tests::{Options, TestApp, eventually};
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

const SECRET: &str = "s3cret";
/// The agent's own file. Requests of the journey come from the NAS 192.0.2.10.
fn config(
    directory: &Path,
    cloud: &Url,
    token: &str,
    listen: SocketAddr,
    nas: SocketAddr,
) -> std::path::PathBuf {
    let text = format!(
        r#"
        listen = "{listen}"
        directory = "{}"
        bundle_public_keys = ["{BUNDLE_PUBLIC_KEY}"]
        [cloud]
        url = "{cloud}"
        token = "{token}"
        [limits]
        answer_milliseconds = 1500
        breaker_failures = 2
        breaker_open_milliseconds = 400
        poll_seconds = 5
        bundle_seconds = 1
        retry_milliseconds = 100
        coa_retransmit_milliseconds = 100
        coa_transmissions_max = 3
        [[nas]]
        network = "192.0.2.0/24"
        address = "{}"
        port = {}
        secret = "{SECRET}"
        vendor = "cisco-ios"
        "#,
        directory.display(),
        nas.ip(),
        nas.port(),
    );
    let path = directory.join("edge.toml");
    std::fs::write(&path, text).unwrap();
    path
}

struct Running {
    agent: Agent,
    stop: CancellationToken,
    edge: Edge,
    url: Url,
}

async fn start(directory: &Path, cloud: &Url, token: &str, nas: &StubNas) -> Running {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = EdgeConfig::read(&config(directory, cloud, token, listen, nas.address)).unwrap();
    let stop = CancellationToken::new();
    let agent = Agent::start(config, Arc::new(SystemClock), Ids::system(), stop.clone()).await.unwrap();
    let url: Url = format!("http://{}", agent.address).parse().unwrap();
    let edge = Edge::new(url.clone(), "FreeRADIUS has no token").unwrap();
    Running { agent, stop, edge, url }
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.agent.wait().await.unwrap();
    }

    async fn status(&self) -> Value {
        reqwest::get(self.url.join("/status").unwrap()).await.unwrap().json().await.unwrap()
    }
}

async fn app() -> TestApp {
    let settings = vec![
        ("NAC_REDELIVER_AFTER_SECONDS", "1".to_owned()),
        ("NAC_BUNDLE_INTERVAL_SECONDS", "1".to_owned()),
        // A device turns twice within a minute here.
        ("SYNC_COA_CALM_SECONDS", "1".to_owned()),
    ];
    TestApp::start_with(Options { settings, ..Options::default() }).await
}

/// What became of the command, as the session's history has it.
async fn states(app: &TestApp) -> Vec<(String, String)> {
    let rows = sqlx::query(
        "SELECT detail->>'state', concat_ws(' ', detail->>'error_cause_name', detail->>'result') FROM event WHERE kind LIKE 'NAC_CLIENT_COA_%'
         AND session_id IS NOT NULL ORDER BY at, id",
    )
    .fetch_all(&mut app.database.superuser().await)
    .await
    .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn finished(app: &TestApp, state: &str) -> String {
    let what = format!("the command to be {state}");
    eventually(&what, || async { states(app).await.into_iter().find(|(now, _)| now == state) }).await.1
}

async fn flip(journey: &Journey, device: &str, to: &str) {
    journey.simulator.set_compliance(&journey.tenant, device, to).await.unwrap();
    journey.sync_now().await;
}

/// Compliance flips at Microsoft; the NAS is told so in its vendor's way, its answer is in the session's history, and
/// the client lands elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_compliance_reaches_the_nas_and_its_answer_comes_back() {
    let app = app().await;
    let journey = journey::begin(&app, "contoso.example").await;
    let directory = tempfile::tempdir().unwrap();
    let nas = StubNas::start(SECRET, Manner::AckAfter(1)).await;
    let running = start(directory.path(), &app.nac_url, &journey.token, &nas).await;

    let device = journey.device("compliant").await;
    let before = running.edge.authorize(&journey.request(&device, "session-1")).await.unwrap();
    assert_eq!((before.vlan.as_deref(), before.recorded), (Some("10"), true));
    flip(&journey, &device.id, "noncompliant").await;
    assert_eq!(finished(&app, "acked").await, "");

    let received = nas.received();
    assert!(
        received.len() >= 2 && received.iter().all(|request| *request == received[0]),
        "repeated as it was"
    );
    let request = &received[0];
    assert!(is_signed(request, SECRET));
    assert_eq!(request[0], 43, "a CoA-Request");
    let text = |kind| String::from_utf8(attribute(request, kind).unwrap()).unwrap();
    assert_eq!(text(44), "session-1");
    assert_eq!(text(31).replace('-', "").to_lowercase(), device.wifi_mac.to_lowercase());
    assert_eq!(attribute(request, 4).unwrap(), [192, 0, 2, 10]);
    assert!(attribute(request, 55).is_some(), "Event-Timestamp");
    assert!(text(26).ends_with("subscriber:command=reauthenticate"));
    let after = running.edge.authorize(&journey.request(&device, "session-1")).await.unwrap();
    assert_eq!(after.vlan.as_deref(), Some("99"));

    // The NAS has forgotten the session, and says so; then it says nothing at all.
    nas.behave(Manner::Nak(503));
    flip(&journey, &device.id, "compliant").await;
    assert_eq!(finished(&app, "failed").await, "Session-Context-Not-Found");
    nas.behave(Manner::Silent);
    let other = journey.device("compliant").await;
    running.edge.authorize(&journey.request(&other, "session-2")).await.unwrap();
    flip(&journey, &other.id, "noncompliant").await;
    eventually("the NAS to be given up on", || async {
        let states = states(&app).await;
        states.iter().any(|(_, said)| said.contains("did not answer 3 transmissions")).then_some(())
    })
    .await;
    running.stop().await;
    app.stop().await;
}

/// A line to the cloud that can be cut.
struct Line {
    url: Url,
    cut: Arc<AtomicBool>,
}

impl Line {
    async fn to(cloud: &Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let (is_cut, target) = (Arc::clone(&cut), format!("127.0.0.1:{}", cloud.port().unwrap()));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (is_cut, target) = (Arc::clone(&is_cut), target.clone());
                tokio::spawn(async move {
                    let Ok(mut far) = tokio::net::TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = async {
                            while !is_cut.load(Ordering::Relaxed) {
                                tokio::time::sleep(Duration::from_millis(10)).await;
                            }
                        } => {}
                    }
                });
            }
        });
        Self { url, cut }
    }
}

async fn ask(running: &Running, path: &str, body: &Value) -> Value {
    let url = running.url.join(path).unwrap();
    let answer = reqwest::Client::new().post(url).json(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    answer.json().await.unwrap()
}

/// All of an answer but what names this very decision.
fn plain(mut answer: Value) -> Value {
    for own in ["decision_id", "at", "recorded", "decided_offline"] {
        answer.as_object_mut().unwrap().remove(own);
    }
    if let Some(compliance) = answer.get_mut("compliance").and_then(Value::as_object_mut) {
        compliance.remove("last_check_in_age_seconds");
        compliance.remove("fetched_age_seconds");
    }
    for own in ["Gatehouse-Decision-Id", "Gatehouse-Recorded", "Gatehouse-Decided-Offline"] {
        answer.as_object_mut().unwrap().remove(&format!("control:{own}"));
    }
    answer
}

/// What rlm_rest sends of a MAC authentication.
fn packet(mac: &str) -> Value {
    let attribute = |text: &str| json!({"type": "string", "value": [text]});
    json!({
        "User-Name": attribute(mac), "Calling-Station-Id": attribute(mac), "Service-Type": attribute("Call-Check"),
        "NAS-IP-Address": attribute("192.0.2.10"), "NAS-Port-Type": attribute("Ethernet"),
        "Acct-Session-Id": attribute("packet-1"),
    })
}

async fn count(app: &TestApp, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut app.database.superuser().await).await.unwrap()
}

/// The cloud goes away in the middle. The edge answers as the cloud did, keeps what it is told, also over a restart of
/// its own, and tells all of it once the cloud is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_goes_on_while_the_cloud_is_away() {
    let app = app().await;
    let journey = journey::begin(&app, "contoso.example").await;
    let directory = tempfile::tempdir().unwrap();
    let nas = StubNas::start(SECRET, Manner::Ack).await;
    let line = Line::to(&app.nac_url).await;
    let running = start(directory.path(), &line.url, &journey.token, &nas).await;

    let (good, bad) = (journey.device("compliant").await, journey.device("noncompliant").await);
    let requests = [journey.request(&good, "good-1"), journey.request(&bad, "bad-1")];
    let mac = good.wifi_mac.clone();
    let mut online = Vec::new();
    for request in &requests {
        online.push(ask(&running, "/v1/nac/authorize", request).await);
    }
    online.push(ask(&running, "/v1/nac/radius/authorize", &packet(&mac)).await);
    assert_eq!((&online[0]["vlan"], &online[1]["vlan"]), (&json!("10"), &json!("99")));
    // Until the bundle holds those clients: a certificate's id, a name and a MAC each, devices, and the policy.
    let seen = running.status().await["bundle"]["version"].as_i64().unwrap_or(0);
    eventually("a bundle with these clients", || async {
        (running.status().await["bundle"]["version"].as_i64()? > seen).then_some(())
    })
    .await;

    line.cut.store(true, Ordering::Relaxed);
    let again = async |running: &Running| {
        let mut answers = Vec::new();
        for request in &requests {
            answers.push(ask(running, "/v1/nac/authorize", request).await);
        }
        answers.push(ask(running, "/v1/nac/radius/authorize", &packet(&mac)).await);
        answers
    };
    for (offline, online) in again(&running).await.into_iter().zip(&online) {
        let marked = offline["decided_offline"] == true
            || offline["control:Gatehouse-Decided-Offline"]["value"] == "yes";
        assert!(marked, "{offline}");
        assert_eq!(plain(offline), plain(online.clone()));
    }
    let stranger = ask(&running, "/v1/nac/authorize", &json!({"mac": "d4:6e:0e:ff:ff:ff"})).await;
    assert_eq!((&stranger["action"], &stranger["reason"]), (&json!("deny"), &json!("site_fallback")));
    // A FreeRADIUS that remembers what the cloud said of a client that came a moment ago goes by that.
    let mut newcomer = packet("d4:6e:0e:ff:ff:ff");
    newcomer["Gatehouse-Remembered"] = json!({"type": "string", "value": ["yes"]});
    let url = running.url.join("/v1/nac/radius/authorize").unwrap();
    let answer = reqwest::Client::new().post(url).json(&newcomer).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    journey_account(&running, "good-1", &mac, "start").await;

    // The edge's own machine starts again meanwhile.
    running.stop().await;
    let running = start(directory.path(), &line.url, &journey.token, &nas).await;
    for (offline, online) in again(&running).await.into_iter().zip(&online) {
        assert_eq!(plain(offline), plain(online.clone()));
    }
    journey_account(&running, "good-1", &mac, "stop").await;
    // Three and three decisions, a stranger's, a start and a stop.
    assert_eq!(running.status().await["waiting"], 9);
    assert_eq!(running.status().await["cloud"], "away");

    line.cut.store(false, Ordering::Relaxed);
    eventually("everything to be told", || async { (running.status().await["waiting"] == 0).then_some(()) })
        .await;
    assert_eq!(running.status().await["refused"], 0);
    assert_eq!(count(&app, "SELECT count(*) FROM event WHERE detail->>'decided_offline' = 'true'").await, 7);
    for kind in ["NAC_SESSION_STARTED", "NAC_SESSION_ENDED"] {
        let told: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM event e JOIN session s ON s.org_id = e.org_id AND s.id = e.session_id
             WHERE e.kind = $1 AND s.session_key = 'good-1'",
        )
        .bind(kind)
        .fetch_one(&mut app.database.superuser().await)
        .await
        .unwrap();
        assert_eq!(told, 1, "{kind}");
    }
    eventually("the cloud to be asked again", || async {
        let answer = ask(&running, "/v1/nac/authorize", &requests[0]).await;
        (answer["decided_offline"].is_null()).then_some(())
    })
    .await;
    running.stop().await;
    app.stop().await;
}

async fn journey_account(running: &Running, session: &str, mac: &str, status: &str) {
    let message = json!({"status": status, "session_id": session, "mac": mac, "framed_ip": "198.51.100.7"});
    running.edge.account(&message).await.unwrap();
}

/// A cloud that can be away, and remembers what it was told.
#[derive(Clone, Default)]
struct StubCloud {
    away: Arc<AtomicBool>,
    told: Arc<Mutex<Vec<u64>>>,
}

impl StubCloud {
    async fn start(&self) -> Url {
        let stub = self.clone();
        let take = async move |body: axum::Json<Value>| {
            if stub.away.load(Ordering::Relaxed) {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            stub.told.lock().unwrap().push(body["bytes_in"].as_u64().unwrap());
            StatusCode::NO_CONTENT
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let router = axum::Router::new().route("/v1/nac/accounting", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn told(&self) -> Vec<u64> {
        self.told.lock().unwrap().clone()
    }
}

/// `kill -9` of the agent while it keeps, and while it delivers: what it said was kept arrives, once and in order.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_survives_kill_9_and_is_told_once_in_order() {
    gatehouse_tests::app::prepare();
    let directory = tempfile::tempdir().unwrap();
    let cloud = StubCloud::default();
    cloud.away.store(true, Ordering::Relaxed);
    let cloud_url = cloud.start().await;
    let listen: SocketAddr = format!("127.0.0.1:{}", devservers::free_port()).parse().unwrap();
    let token = "ghe_AAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAI_x";
    let file = config(directory.path(), &cloud_url, token, listen, "127.0.0.1:9".parse().unwrap());
    let binary = program("gatehouse");
    let url: Url = format!("http://{listen}").parse().unwrap();
    let mut agent = Victim::new("edge", directory.path(), url.join("/status").unwrap(), move || {
        let mut command = std::process::Command::new(&binary);
        command.arg("edge").arg("--config").arg(&file);
        command
    });
    agent.start().await;

    let http = reqwest::Client::new();
    let mut kept = Vec::new();
    for n in 0..300u64 {
        if n % 60 == 59 {
            // In the middle of a request.
            let (http, url) = (http.clone(), url.clone());
            let cut_off = tokio::spawn(async move { tell(&http, &url, n).await });
            tokio::time::sleep(Duration::from_millis(n % 7)).await;
            agent.kill();
            if cut_off.await.unwrap() {
                kept.push(n);
            }
            agent.start().await;
        } else if tell(&http, &url, n).await {
            kept.push(n);
        }
    }
    assert!(kept.len() >= 290, "{}", kept.len());
    assert!(cloud.told().is_empty());

    cloud.away.store(false, Ordering::Relaxed);
    let all = |told: &[u64]| {
        let told: BTreeSet<u64> = told.iter().copied().collect();
        kept.iter().all(|n| told.contains(n))
    };
    for _ in 0..3 {
        let before = cloud.told().len();
        let some = || async {
            let told = cloud.told();
            (told.len() > before || all(&told)).then_some(())
        };
        eventually("some to be delivered", some).await;
        agent.kill_and_start(Duration::from_millis(20)).await;
    }
    eventually("all to be delivered", || async { all(&cloud.told()).then_some(()) }).await;
    agent.kill();
    // A record whose delivery the agent did not live to note is told again, under the same id; put once, they are all
    // there, in the order in which they were kept.
    let mut first = BTreeSet::new();
    let told: Vec<u64> = cloud.told().into_iter().filter(|n| first.insert(*n)).collect();
    assert!(told.is_sorted(), "{told:?}");
    let extra: Vec<&u64> = told.iter().filter(|n| !kept.contains(n)).collect();
    assert!(extra.iter().all(|n| *n % 60 == 59), "only those whose answer was cut off: {extra:?}");
}

async fn tell(http: &reqwest::Client, url: &Url, n: u64) -> bool {
    let body = json!({"status": "interim", "session_id": "s-1", "bytes_in": n});
    let answer = http.post(url.join("/v1/nac/accounting").unwrap()).json(&body).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
