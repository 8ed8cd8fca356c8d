//! What the page “Connect” gives is taken as it stands: by FreeRADIUS, by the agent, and by the cloud; and the test of
//! the edge then finds all of it at work.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use domain::time::{Ids, SystemClock};
use edge::{Agent, EdgeConfig};
use gatehouse_tests::journey::{self, Journey};
use gatehouse_tests::{Options, TestApp, eventually};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/freeradius/raddb");

/// A copyable text of a page, as a browser would copy it.
#[track_caller]
fn text_of(page: &str, id: &str) -> String {
    let start = format!("<code id=\"{id}\">");
    let from = page.find(&start).unwrap_or_else(|| panic!("no {id} in {page}")) + start.len();
    let html = &page[from..from + page[from..].find("</code>").unwrap()];
    html.replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#38;", "&")
}

/// The path of the journey's edge.
async fn edge_path(journey: &Journey) -> String {
    let mut tx = journey.store.org(journey.org).await.unwrap();
    let edges = store::edges::list_edges(&mut tx).await.unwrap();
    format!("{}/sites/edges/{}", journey.path, edges[0].id)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// The package with this `gatehouse.conf`, in a folder of its own, as FreeRADIUS judges it.
fn checked_by_freeradius(folder: &Path, conf: &str) -> (bool, String) {
    let raddb = folder.join("raddb");
    copy(Path::new(PACKAGE), &raddb);
    for name in ["log", "run", "spool"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let who = |flag: &str| {
        let out = Command::new("id").arg(flag).output().unwrap().stdout;
        String::from_utf8(out).unwrap().trim().to_owned()
    };
    let mut conf = conf.to_owned();
    // Where it lies and whose it is, an installation decides.
    for (name, value) in [
        ("confdir", raddb.display().to_string()),
        ("logdir", folder.join("log").display().to_string()),
        ("run_dir", folder.join("run").display().to_string()),
        ("spooldir", folder.join("spool").display().to_string()),
        ("user", who("-un")),
        ("group", who("-gn")),
    ] {
        let is_it = |line: &&str| line.split('=').next().is_some_and(|key| key.trim() == name);
        let line = conf.lines().find(is_it).unwrap_or_else(|| panic!("no {name} in {conf}")).to_owned();
        conf = conf.replacen(&line, &format!("{name} = \"{value}\""), 1);
    }
    std::fs::write(raddb.join("gatehouse.conf"), conf).unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server =
        CertificateParams::new(vec!["radius.example".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let certs = raddb.join("certs");
    std::fs::write(certs.join("server.pem"), server.pem()).unwrap();
    std::fs::write(certs.join("server.key"), key.serialize_pem()).unwrap();
    std::fs::write(certs.join("clients-ca.pem"), ca.pem()).unwrap();
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let out = Command::new("freeradius")
        .env("PATH", path)
        .args(["-C", "-X", "-n", "radiusd", "-d"])
        .arg(&raddb)
        .output()
        .expect("FreeRADIUS is installed: run the tests with ./dev test, which installs it");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_gives_is_taken_as_it_stands() {
    let settings = vec![("NAC_SEEN_INTERVAL_SECONDS", "1".to_owned())];
    let app = TestApp::start_with(Options { settings, ..Options::default() }).await;
    let journey = journey::begin(&app, "contoso.example").await;
    let device = journey.device("compliant").await;
    journey.edge.authorize(&journey.request(&device, "session-1")).await.unwrap();
    let path = edge_path(&journey).await;
    let site = format!("{}/sites/{}", journey.path, journey.site);
    let form =
        [("name", "HQ"), ("fallback", "vlan"), ("vlan", "critical"), ("age", "7"), ("age_unit", "days")];
    let _ = journey.admin.post(&site, &form).await.redirect();
    let page =
        journey.admin.post(&format!("{path}/credentials/rotate"), &[("overlap", "86400")]).await.page();

    // FreeRADIUS takes its file, and would not take any file.
    let folder = tempfile::tempdir().unwrap();
    let conf = text_of(&page, "gatehouse-conf");
    assert!(conf.contains("critical_vlan = \"critical\""), "{conf}");
    let (holds, said) = checked_by_freeradius(&folder.path().join("good"), &conf);
    assert!(holds, "{said}");
    let broken = conf.replace("\tca_file", "\tca_flie");
    let (holds, _) = checked_by_freeradius(&folder.path().join("bad"), &broken);
    assert!(!holds, "the check checks nothing");

    // The shell takes the commands that write the token.
    let token = text_of(&page, "token");
    let etc = folder.path().join("etc");
    let commands = text_of(&page, "token-file-text").replace("/etc/gatehouse", &etc.display().to_string());
    assert!(Command::new("sh").args(["-euc", &commands]).status().unwrap().success());
    assert_eq!(std::fs::read_to_string(etc.join("edge.token")).unwrap().trim(), token);
    let syntax = Command::new("sh").args(["-nc", &text_of(&page, "container")]).status().unwrap();
    assert!(syntax.success());

    // The agent takes its file, once the NAS's secret lies where it says, and works.
    let toml = text_of(&page, "edge-toml");
    assert!(toml.contains("network = \"192.0.2.10\""), "the NAS that asked is listed: {toml}");
    std::fs::write(etc.join("nas-192.0.2.10.secret"), "s3cret").unwrap();
    let file = etc.join("edge.toml");
    let here = toml
        .replace("/etc/gatehouse", &etc.display().to_string())
        .replace("/var/lib/gatehouse-edge", &etc.join("state").display().to_string())
        .replace("127.0.0.1:8410", "127.0.0.1:0")
        .replace("http://127.0.0.1:8401", app.nac_url.as_str().trim_end_matches('/'));
    std::fs::write(&file, here).unwrap();
    let config = EdgeConfig::read(&file).unwrap();
    assert_eq!((config.nas.len(), config.bundle_keys.len(), config.site), (1, 1, Some(journey.site)));
    let stop = CancellationToken::new();
    let agent = Agent::start(config, Arc::new(SystemClock), Ids::system(), stop.clone()).await.unwrap();

    // The edge's test finds all of it at work.
    let test = format!("{path}/test");
    eventually("the agent to listen and to hold a bundle", || async {
        let page = journey.admin.get(&test).await.page();
        (page.contains("by a stream") && page.contains("It holds bundle")).then_some(())
    })
    .await;
    let _ = journey.admin.post(&test, &[]).await.redirect();
    let page = eventually("the probe to be answered", || async {
        let page = journey.admin.get(&test).await.page();
        page.contains("A command and its answer took").then_some(page)
    })
    .await;
    for text in [
        concat!("gatehouse-edge ", env!("CARGO_PKG_VERSION")),
        "right to the second",
        "nothing waits on its disk",
        "Access-Accept",
        "Tunnel-Private-Group-Id",
    ] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    let steps = &page[page.find("<ol class=\"checks\">").unwrap()..page.find("</ol>").unwrap()];
    assert_eq!(steps.matches("<li class=\"good\">").count(), 5, "{steps}");

    // The edge has changed over; the old token is good until it ends or is revoked.
    let page = journey.admin.get(&path).await.page();
    assert!(page.contains("The edge has changed over."), "{page}");
    journey.edge.authorize(&json!({"mac": device.wifi_mac, "session_id": "s"})).await.unwrap();
    let _ = journey.admin.post(&format!("{path}/credentials/rotate"), &[("overlap", "0")]).await.page();
    eventually("all older tokens to be refused", || async {
        journey.edge.authorize(&json!({"mac": device.wifi_mac})).await.is_err().then_some(())
    })
    .await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(30), agent.wait()).await.unwrap().unwrap();
    app.stop().await;
}
