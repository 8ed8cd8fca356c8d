//! What the edge does while Gatehouse is away, talks nonsense, or refuses it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::certs::Authority;
use super::rig::{Rig, mab};
use super::{site, tls, url_of};
use crate::world::{COMPLIANT, NONCOMPLIANT, eventually};

#[tokio::test]
async fn the_last_decision_holds_and_an_unknown_client_stays_out() {
    let mut site = site().await;
    // FreeRADIUS starts also while nobody answers.
    site.wire.cut();
    site.rig.start().await;
    assert!(site.rig.mab(COMPLIANT).await.is_reject());
    site.wire.mend();
    let first = site.rig.mab(COMPLIANT).await;
    assert_eq!(first.vlan(), Some("30"));
    for stalled in [false, true] {
        if stalled {
            site.wire.stall();
        } else {
            site.wire.cut();
        }
        let kept = site.rig.mab(COMPLIANT).await;
        assert_eq!(kept.vlan(), Some("30"), "the last decision");
        assert_eq!(kept.values("Tunnel-Private-Group-Id:0").len(), 1, "once");
        assert_eq!(kept.value("Class"), None, "it names no session that has ended");
        assert!(site.rig.mab(NONCOMPLIANT).await.is_reject(), "nothing is known of it");
        site.wire.mend();
    }
    // Both stores away: the answer is a 503, and the last decision holds.
    site.world.postgres.cut();
    site.world.redis.cut();
    assert_eq!(site.rig.mab(COMPLIANT).await.vlan(), Some("30"));
}

#[tokio::test]
async fn the_last_decision_holds_at_every_access_point_of_the_network() {
    let mut site = site().await;
    site.rig.start().await;
    let wired = mab(COMPLIANT);
    let wireless = wired.replace("Ethernet", "Wireless-802.11");
    let called = |station: &str| format!("{wireless}\nCalled-Station-Id = \"{station}\"");
    let aruba = |station, ssid| format!("{}\nAruba-Essid-Name = \"{ssid}\"", called(station));
    let cisco = |station, ssid| {
        format!("{}\nCisco-AVPair = \"service-type=x\"\nCisco-AVPair += \"ssid={ssid}\"", called(station))
    };
    // What was decided, the same client elsewhere, and in another network.
    let networks = [
        (
            called("5C-5B-35-00-00-01:corp"),
            called("5C-5B-35-00-00-02:corp"),
            Some(called("5C-5B-35-00-00-01:guest")),
        ),
        (
            aruba("5C-5B-35-00-01-01", "lab"),
            aruba("5C-5B-35-00-01-02", "lab"),
            Some(aruba("5C-5B-35-00-01-01", "hall")),
        ),
        (
            cisco("5C-5B-35-00-02-01", "yard"),
            cisco("5C-5B-35-00-02-02", "yard"),
            Some(cisco("5C-5B-35-00-02-01", "roof")),
        ),
        (format!("{wired}\nCalled-Station-Id = \"5C-5B-35-00-03-01\""), wired, None),
    ];
    let ask = async |packet: &str| site.rig.packet(site.rig.auth_port, "auth", packet).await;
    for (here, ..) in &networks {
        assert_eq!(ask(here).await.vlan(), Some("30"), "{here}");
    }
    site.wire.cut();
    for (here, there, other) in &networks {
        for packet in [here, there] {
            assert_eq!(ask(packet).await.vlan(), Some("30"), "{packet}");
        }
        if let Some(other) = other {
            assert!(ask(other).await.is_reject(), "{other}");
        }
    }
}

#[tokio::test]
async fn a_site_may_have_a_vlan_for_the_time_being() {
    let mut site = site().await;
    site.rig.set("critical_vlan", "\"666\"");
    site.wire.cut();
    site.rig.start().await;
    assert_eq!(site.rig.mab(COMPLIANT).await.vlan(), Some("666"));
}

#[tokio::test]
async fn a_revoked_edge_gets_nobody_in() {
    let mut site = site().await;
    site.rig.start().await;
    assert_eq!(site.rig.mab(COMPLIANT).await.vlan(), Some("30"));
    site.world.revoke(&site.tenant).await;
    eventually("the revoked edge is refused", || async { site.rig.mab(COMPLIANT).await.is_reject() }).await;
    assert!(site.rig.log().contains("http_401"));
    // Nor does its memory let anybody in once Gatehouse is away.
    site.wire.cut();
    assert!(site.rig.mab(COMPLIANT).await.is_reject());
}

/// Whatever a proxy, a captive portal or a broken server answers, only an explicit verdict lets anybody in.
#[tokio::test]
async fn nonsense_is_no_verdict_and_a_value_is_no_template() {
    let answer: Arc<Mutex<(StatusCode, &'static str, String)>> =
        Arc::new(Mutex::new((StatusCode::OK, "text/html", "<html>Please log in</html>".to_owned())));
    let told = Arc::clone(&answer);
    let router = Router::new().fallback(move || {
        let (status, kind, body) = told.lock().unwrap().clone();
        async move { (status, [(header::CONTENT_TYPE, kind)], body).into_response() as Response }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = TempDir::new().unwrap();
    let api = Authority::new("API");
    let wire = tls::in_tls(address, folder.path(), &api).await;
    let mut rig = Rig::new(folder, &api, Authority::new("Clients"), &url_of(&wire), "ghe_x");
    rig.start().await;
    let verdict = |more: serde_json::Value| {
        let mut body =
            json!({"control:Gatehouse-Decision": {"op": ":=", "do_xlat": false, "value": "accept"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let ok = StatusCode::OK;
    let json_type = "application/json";
    let nonsense = [
        (ok, "text/html", "<html>Please log in</html>".to_owned()),
        (StatusCode::NO_CONTENT, json_type, String::new()),
        (ok, json_type, String::new()),
        (ok, json_type, "{}".to_owned()),
        (ok, json_type, "[\"accept\"]".to_owned()),
        (ok, json_type, "{\"control:Gatehouse-Decision\": {\"value\": [\"acc".to_owned()),
        (ok, json_type, json!({"reply:Tunnel-Private-Group-Id:0": {"value": "30"}}).to_string()),
        (ok, json_type, json!({"control:Gatehouse-Decision": {"value": "Accept!"}}).to_string()),
        (StatusCode::FOUND, json_type, verdict(json!({}))),
        (StatusCode::FORBIDDEN, json_type, verdict(json!({}))),
        (StatusCode::BAD_GATEWAY, "text/html", "<html>502</html>".to_owned()),
    ];
    for case in nonsense {
        *answer.lock().unwrap() = case.clone();
        assert!(rig.mab(COMPLIANT).await.is_reject(), "{case:?}");
    }
    // What the answer says is sent as it is, and none of it is expanded.
    let name = "%{config:client[localhost].secret} 50% öff";
    let pairs = json!(["url-redirect=https://g.example/?a=%20b", "url-redirect-acl=X"]);
    let more = json!({
        "reply:Filter-Id": {"op": ":=", "do_xlat": false, "value": name},
        "reply:Cisco-AVPair": {"op": "+=", "do_xlat": false, "value": pairs},
    });
    *answer.lock().unwrap() = (ok, json_type, verdict(more));
    let got = rig.mab(COMPLIANT).await;
    assert_eq!(got.value("Filter-Id"), Some(name));
    assert_eq!(got.values("Cisco-AVPair").len(), 2);
    // And once more from memory, when the server has gone mad.
    *answer.lock().unwrap() = (ok, "text/html", "<html>Please log in</html>".to_owned());
    let kept = rig.mab(COMPLIANT).await;
    assert_eq!((kept.value("Filter-Id"), kept.values("Cisco-AVPair").len()), (Some(name), 2));
}
