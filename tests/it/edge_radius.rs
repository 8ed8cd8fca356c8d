//! A whole site: supplicants, NASes and FreeRADIUS as they are, the agent beside it, and a cloud that goes away.

use std::sync::Arc;

use domain::time::{Clock, Ids, SystemClock};
use edge::{Agent, EdgeConfig};
use gatehouse_tests::app::BUNDLE_PUBLIC_KEY;
use gatehouse_tests::journey::{self, Journey};
use gatehouse_tests::nas::{Manner, StubNas, attribute, is_signed};
use gatehouse_tests::{Options, TestApp, eventually};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::certs::{Authority, Says};
use self::proxy::Proxy;
use self::rig::{Got, Rig};

#[path = "../../services/nac/tests/it/freeradius/certs.rs"]
mod certs;
#[path = "../../services/nac/tests/it/proxy.rs"]
mod proxy;
#[expect(dead_code, reason = "what the tests of the edge package need beyond")]
#[path = "../../services/nac/tests/it/freeradius/rig.rs"]
mod rig;

const SECRET: &str = "s3cret";
/// Of no device.
const STRANGER: &str = "d4:6e:0e:ff:ff:01";

struct Site {
    app: TestApp,
    journey: Journey,
    rig: Rig,
    nas: StubNas,
    /// Between the agent and the cloud.
    wire: Proxy,
    agent: reqwest::Url,
    stop: CancellationToken,
}

async fn site() -> Site {
    let settings = vec![("NAC_BUNDLE_INTERVAL_SECONDS", "1".to_owned())];
    let app = TestApp::start_with(Options { settings, ..Options::default() }).await;
    let journey = journey::begin(&app, "contoso.example").await;
    let nas = StubNas::start(SECRET, Manner::Ack).await;
    let cloud = format!("{}:{}", app.nac_url.host_str().unwrap(), app.nac_url.port().unwrap());
    let wire = Proxy::to(cloud).await;
    let folder = TempDir::new().unwrap();
    // Limits of time are those that an operator gets.
    let text = format!(
        "listen = \"127.0.0.1:0\"\ndirectory = {:?}\nbundle_public_keys = [\"{BUNDLE_PUBLIC_KEY}\"]\n\
         [cloud]\nurl = \"http://{}\"\ntoken = \"{}\"\n\
         [limits]\nbundle_seconds = 1\n\
         [[nas]]\nnetwork = \"192.0.2.0/24\"\naddress = \"{}\"\nport = {}\nsecret = \"{SECRET}\"\n\
         vendor = \"cisco-ios\"\n",
        folder.path().join("agent"),
        wire.address,
        journey.token,
        nas.address.ip(),
        nas.address.port(),
    );
    let file = folder.path().join("edge.toml");
    std::fs::write(&file, text).unwrap();
    let stop = CancellationToken::new();
    let config = EdgeConfig::read(&file).unwrap();
    let agent = Agent::start(config, Arc::new(SystemClock), Ids::system(), stop.clone()).await.unwrap();
    let url = format!("http://{}", agent.address);
    tokio::spawn(agent.wait());
    // Nobody asks for it: FreeRADIUS and the agent are one machine.
    let api = Authority::new("API");
    let mut rig = Rig::new(folder, &api, Authority::new("Clients"), &url, "ghe_of-the-agent-alone");
    rig.start().await;
    Site { app, journey, rig, nas, wire, agent: url.parse().unwrap(), stop }
}

impl Site {
    async fn status(&self) -> serde_json::Value {
        reqwest::get(self.agent.join("/status").unwrap()).await.unwrap().json().await.unwrap()
    }

    async fn told(&self) {
        eventually("everything to be told", || async { (self.status().await["waiting"] == 0).then_some(()) })
            .await;
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.app.database.superuser().await).await.unwrap()
    }
}

/// As an Intune certificate names its device.
fn intune(id: &str) -> String {
    format!("IntuneDeviceId://{id}")
}

/// Twelve digits as a supplicant's MAC.
fn colons(digits: &str) -> String {
    digits.parse::<domain::Mac>().unwrap().to_string()
}

/// A client of this test: its MAC, and what its supplicant is set to.
type Client<'a> = (&'a str, &'a str, String);

async fn all(rig: &Rig, clients: &[Client<'_>]) -> Vec<Got> {
    let mut answers = Vec::new();
    for (_, mac, network) in clients {
        answers.push(if network.is_empty() { rig.mab(mac).await } else { rig.eap(mac, network).await });
    }
    answers
}

/// What a client got, but for what belongs to the one exchange.
fn plain(got: &Got) -> String {
    let (word, attributes) = match got {
        Got::Accept(attributes) => ("accept", attributes),
        Got::Reject(attributes) => ("reject", attributes),
        Got::Nothing => return "nothing".to_owned(),
    };
    // By eapol_test: EAP-Message, keys, Message-Authenticator.
    let own = ["79", "26", "Message-Authenticator"];
    let kept =
        attributes.iter().filter(|(name, _)| !own.contains(&name.as_str()) && !name.starts_with("MS-"));
    format!("{word} {:?}", kept.collect::<Vec<_>>())
}

/// Every kind of client comes in by FreeRADIUS, the agent and the cloud; a change of compliance goes out to the NAS
/// and the device lands elsewhere; then the cloud hangs, and then it is gone, and each client gets what it got.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_real_parts_goes_on_when_the_cloud_does_not() {
    let site = site().await;
    let Site { rig, journey, .. } = &site;
    let (good, bad) = (journey.device("compliant").await, journey.device("noncompliant").await);
    let (good_mac, bad_mac) = (colons(&good.wifi_mac), colons(&bad.wifi_mac));
    let says = |id: &str| [intune(id)];
    let network = |name: &str, identity: &str, uris: &[String]| {
        rig.tls(name, identity, &Says { cn: "a device", uris, ..Says::default() })
    };
    let ttls = " eap=TTLS\n identity=\"alex\"\n anonymous_identity=\"ceo@contoso.example\"\n \
                password=\"pässword\"\n phase2=\"auth=PAP\"";
    let both = [intune(&good.id), intune(&bad.id)];
    let forged = [format!("http://x/, URI:{}", intune(&good.id))];
    let gone = [intune("00000000-0000-4000-8000-000000000007")];
    let clients: [Client<'_>; 7] = [
        ("10", &good_mac, network("good", "ceo@contoso.example", &says(&good.id))),
        ("99", "d4:6e:0e:ff:ff:02", network("bad", "x", &says(&bad.id))),
        ("99", "d4:6e:0e:ff:ff:03", network("ambiguous", "x", &both)),
        ("99", "d4:6e:0e:ff:ff:04", network("forged", "x", &forged)),
        ("99", "d4:6e:0e:ff:ff:05", network("gone", "x", &gone)),
        ("99", "d4:6e:0e:ff:ff:06", ttls.to_owned()),
        ("99", &bad_mac, String::new()),
    ];
    let online = all(rig, &clients).await;
    for ((vlan, mac, _), got) in clients.iter().zip(&online) {
        assert_eq!(got.vlan(), Some(*vlan), "{mac} {}", rig.log());
    }
    assert_eq!(online[5].value("User-Name"), Some("alex"), "not what stands outside of the tunnel");
    // Nobody is asked of either; the agent passes on why they were refused.
    let expired = Says { cn: "x", uris: &says(&good.id), expired: true, ..Says::default() };
    assert!(rig.eap(STRANGER, &rig.tls("expired", "x", &expired)).await.is_reject());
    let files =
        Authority::new("Others").issue(rig.folder.path(), "foreign", &Says { expired: false, ..expired });
    let foreign =
        format!(" eap=TLS\n identity=\"x\"\n client_cert={:?}\n private_key={:?}", files.cert, files.key);
    assert!(rig.eap(STRANGER, &foreign).await.is_reject());
    let refused = "SELECT count(DISTINCT kind) FROM event WHERE mac = 'd4:6e:0e:ff:ff:01'
                   AND kind IN ('NAC_CLIENT_CERT_EXPIRED', 'NAC_CLIENT_CERT_CHECK_FAILURE')";
    assert_eq!(site.count(refused).await, 2, "{}", rig.log());

    // The NAS tells of the stay by Class, and the command names it as the NAS does.
    let class = online[0].value("25").unwrap().to_owned();
    let start = format!("Acct-Status-Type = Start\nAcct-Session-Id = \"stay-1\"\nClass = 0x{class}\n");
    assert_ne!(rig.account(&start).await, Got::Nothing, "{}", rig.log());
    journey.simulator.set_compliance(&journey.tenant, &good.id, "noncompliant").await.unwrap();
    journey.sync_now().await;
    let request = eventually("a command at the NAS", || async { site.nas.received().first().cloned() }).await;
    assert!(is_signed(&request, SECRET));
    assert_eq!((request[0], attribute(&request, 44).unwrap()), (43, b"stay-1".to_vec()));
    let moved = all(rig, &clients[..1]).await;
    assert_eq!(moved[0].vlan(), Some("99"), "{}", rig.log());
    let online = [moved, online[1..].to_vec()].concat();

    // Until the bundle holds all of them.
    let seen = site.status().await["bundle"]["version"].as_i64().unwrap_or(0);
    eventually("a bundle with these clients", || async {
        (site.status().await["bundle"]["version"].as_i64()? > seen).then_some(())
    })
    .await;
    let mut decided = 0;
    for gone in [false, true] {
        if gone {
            site.wire.cut();
        } else {
            site.wire.stall();
        }
        for ((client, before), now) in clients.iter().zip(&online).zip(all(rig, &clients).await) {
            assert_eq!(plain(&now), plain(before), "{} {gone} {}", client.1, rig.log());
        }
        decided += 7;
        assert!(rig.mab(STRANGER).await.is_reject(), "nobody knows it");
        decided += 1;
    }
    let by_the_agent = rig.log().matches("accept by agent: rule_allow").count();
    assert_eq!(by_the_agent, 14, "and not by what FreeRADIUS remembers: {}", rig.log());
    let stay = |status: &str, seconds: i64| {
        let at = SystemClock.now().unix_timestamp() - seconds;
        format!(
            "Acct-Status-Type = {status}\nAcct-Session-Id = \"stay-2\"\nUser-Name = \"jörg \\\"x\\\" 50% %{{q}}\"\n\
             NAS-IP-Address = 192.0.2.7\nCalling-Station-Id = \"D4-6E-0E-FF-FF-09\"\nEvent-Timestamp = {at}\n\
             Acct-Input-Octets = 7\n"
        )
    };
    for message in [stay("Start", 30), stay("Interim-Update", 20), stay("Stop", 10), stay("Start", 30)] {
        assert_ne!(rig.account(&message).await, Got::Nothing, "the NAS is answered");
    }
    assert_eq!(site.count("SELECT count(*) FROM session WHERE acct_session_id = 'stay-2'").await, 0);

    site.wire.mend();
    site.told().await;
    let offline = "SELECT count(*) FROM event WHERE detail->>'decided_offline' = 'true'";
    assert_eq!(site.count(offline).await, decided, "each is told once");
    let ended = "SELECT count(*) FROM session WHERE acct_session_id = 'stay-2' AND ended_at IS NOT NULL
                 AND user_name = 'jörg \"x\" 50% %{q}' AND bytes_in = 7";
    assert_eq!(site.count(ended).await, 1);
    let events = "SELECT count(*) FROM event e JOIN session s ON s.org_id = e.org_id AND s.id = e.session_id
                  WHERE s.acct_session_id = 'stay-2'";
    assert_eq!(site.count(events).await, 2, "it started and it ended");
    site.stop.cancel();
    site.app.stop().await;
}
