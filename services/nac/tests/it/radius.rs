//! The endpoints for rlm_rest, without FreeRADIUS.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Answer, COMPLIANT, Process, STRANGER, Tenant, World, eventually, post};

const AUTHORIZE: &str = "/v1/nac/radius/authorize";
const ACCOUNTING: &str = "/v1/nac/radius/accounting";

fn mab(mac: &str) -> Value {
    json!({
        "User-Name": {"type": "string", "value": [mac.replace(':', "")]},
        "Calling-Station-Id": {"type": "string", "value": [mac]},
        "NAS-IP-Address": {"type": "ipaddr", "value": ["192.0.2.7"]},
        "Service-Type": {"type": "integer", "value": ["Call-Check"]},
    })
}

async fn verdict(process: &Process, tenant: &Tenant, mac: &str) -> Answer {
    process.post(AUTHORIZE, &tenant.token, &mab(mac)).await
}

#[tokio::test]
async fn a_denial_is_a_200_with_an_explicit_verdict() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let accepted = verdict(&process, &tenant, COMPLIANT).await;
    assert_eq!(accepted.status, StatusCode::OK);
    assert_eq!(accepted.headers["content-type"], "application/json");
    assert_eq!(accepted.body["control:Gatehouse-Decision"]["value"], "accept");
    assert_eq!(accepted.body["reply:Tunnel-Private-Group-Id:0"]["value"], "30");
    world.advance(1);
    let rejected = verdict(&process, &tenant, STRANGER).await;
    assert_eq!(rejected.status, StatusCode::OK);
    assert_eq!(rejected.body["control:Gatehouse-Decision"]["value"], "reject");
    assert_eq!(rejected.body["control:Gatehouse-Recorded"]["value"], "yes");
    assert!(rejected.body.as_object().unwrap().keys().all(|name| name.starts_with("control:")));
    assert_eq!(world.history(&tenant).await, ["NAC_CLIENT_PERMIT", "NAC_CLIENT_DENY"]);
}

/// A deny that nothing is known behind would throw clients out whom the edge still has an answer for.
#[tokio::test]
async fn where_nothing_is_known_the_edge_is_told_to_go_by_what_it_has() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    world.postgres.cut();
    world.redis.cut();
    let answer = verdict(&process, &tenant, COMPLIANT).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_packets_half_certificate_is_refused_and_other_nonsense_is_not() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let mut packet = mab(COMPLIANT);
    packet["Reply-Message"] = json!({"value": ["\u{0}", {"a": 1}, null]});
    packet["Calling-Station-Id"] = json!({"value": ["198.51.100.7"]});
    assert_eq!(process.post(AUTHORIZE, &tenant.token, &packet).await.status, StatusCode::OK);
    packet["TLS-Client-Cert-Common-Name"] = json!({"value": ["\u{0}"]});
    let refused = process.post(AUTHORIZE, &tenant.token, &packet).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.body["errors"][0]["field"], "TLS-Client-Cert-Common-Name");
    let long = post(AUTHORIZE, &tenant.token, format!("{{\"a\":\"{}\"}}", "x".repeat(70_000)));
    assert_eq!(process.send(long).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn accounting_finds_its_session_by_class() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let class = verdict(&process, &tenant, COMPLIANT).await.body["reply:Class"]["value"].clone();
    let account = async |status: &str, at: i64, more: Value| {
        let mut packet = json!({
            "Acct-Status-Type": {"value": [status]}, "Acct-Session-Id": {"value": ["8f3a"]},
            "Class": {"type": "octets", "value": [class]}, "NAS-Identifier": {"value": ["sw-1"]},
            "Gatehouse-Event-Time": {"value": [world.now().unix_timestamp() + at]},
        });
        packet.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = process.post(ACCOUNTING, &tenant.token, &packet).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    };
    world.advance(3_600);
    account("Start", -3_000, json!({})).await;
    account("Interim-Update", -2_400, json!({"Framed-IP-Address": {"value": ["10.1.30.42"]}})).await;
    account(
        "Stop",
        -1_800,
        json!({"Acct-Output-Octets": {"value": [5]}, "Acct-Output-Gigawords": {"value": [1]}}),
    )
    .await;
    // Late, twice, and stamped by a NAS without a clock: none of it opens the session again.
    account("Interim-Update", -2_400, json!({})).await;
    account("Start", -600, json!({})).await;
    account("Accounting-On", 0, json!({})).await;
    let row: (String, Option<i64>, bool, Option<String>) = sqlx::query_as(
        "SELECT host(framed_ip), bytes_out, ended_at IS NOT NULL, acct_session_id FROM session WHERE org_id = $1",
    )
    .bind(tenant.org.uuid())
    .fetch_one(&world.admin)
    .await
    .unwrap();
    assert_eq!(row, ("10.1.30.42".to_owned(), Some((1 << 32) + 5), true, Some("8f3a".to_owned())));
    let history = world.history(&tenant).await;
    for kind in ["NAC_CLIENT_PERMIT", "NAC_SESSION_STARTED", "NAC_CLIENT_IP_ASSIGNED", "NAC_SESSION_ENDED"] {
        assert_eq!(history.iter().filter(|known| *known == kind).count(), 1, "{history:?}");
    }
}

/// What it had going on is over, whoever was connected; other NASes of the edge, and what came later, go on.
#[tokio::test]
async fn a_nas_that_restarts_ends_its_sessions_once() {
    let world = World::new().await;
    let (tenant, other) = (world.tenant(1).await, world.tenant(2).await);
    let process = world.process();
    let connect = async |tenant: &Tenant, session: &str, nas: (&str, &str)| {
        let mut packet = mab(COMPLIANT);
        packet["Acct-Session-Id"] = json!({"value": [session]});
        packet["NAS-IP-Address"] = json!({"value": [nas.0]});
        packet["NAS-Identifier"] = json!({"value": [nas.1]});
        let answer = process.post(AUTHORIZE, &tenant.token, &packet).await;
        assert_eq!(answer.body["control:Gatehouse-Decision"]["value"], "accept");
    };
    let (one, two) = (("192.0.2.7", "sw-1"), ("192.0.2.7", "sw-2"));
    for n in 0..3 {
        connect(&tenant, &format!("a{n}"), one).await;
    }
    connect(&tenant, "b", two).await;
    connect(&tenant, "c", ("192.0.2.8", "sw-1")).await;
    connect(&other, "a0", one).await;
    world.advance(60);
    let restarted = world.now().unix_timestamp();
    let tell = async |status: &str, more: Value| {
        let mut packet = json!({
            "Acct-Status-Type": {"value": [status]}, "NAS-IP-Address": {"value": ["192.0.2.7"]},
            "Gatehouse-Event-Time": {"value": [restarted]},
        });
        packet.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = process.post(ACCOUNTING, &tenant.token, &packet).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    };
    let ended = "SELECT count(*) FROM session WHERE ended_at IS NOT NULL";
    tell("Accounting-On", json!({"NAS-Identifier": {"value": ["sw-9"]}})).await;
    tell("Accounting-On", json!({"NAS-IP-Address": {"value": []}})).await;
    assert_eq!(world.count(ended).await, 0, "of another NAS, and of none");
    world.advance(60);
    connect(&tenant, "d", one).await;
    for status in ["Accounting-Off", "Accounting-On", "Accounting-On"] {
        tell(status, json!({"NAS-Identifier": {"value": ["sw-1"]}})).await;
    }
    assert_eq!(world.count(ended).await, 3);
    let as_told =
        "SELECT count(*) FROM session WHERE terminate_cause = 'NAS-Reboot' AND session_key LIKE '%/a_'
                   AND extract(epoch FROM ended_at) = extract(epoch FROM decided_at) + 60";
    assert_eq!(world.count(as_told).await, 3);
    let told = "SELECT count(*) FROM event WHERE kind = 'NAC_SESSION_ENDED' AND mac IS NOT NULL
                AND detail->>'terminate_cause' = 'NAS-Reboot'";
    assert_eq!(world.count(told).await, 3, "each is told once");
    // It does not say which one it is among those at its address.
    tell("Accounting-On", json!({})).await;
    assert_eq!(world.count(ended).await, 4);
}

#[tokio::test]
async fn what_the_edge_refused_by_itself_is_told_once_a_minute() {
    let world = World::new().await;
    let (tenant, other) = (world.tenant(1).await, world.tenant(2).await);
    let process = world.process();
    let refused = async |tenant: &Tenant, mac: &str, said: &str| {
        let mut packet = mab(mac);
        packet.as_object_mut().unwrap().remove("Service-Type");
        packet["User-Password"] = json!({"value": ["hunter2"]});
        packet["Module-Failure-Message"] =
            json!({"value": [said, "eap: Failed continuing EAP TLS (13) session"]});
        let answer = process.post("/v1/nac/radius/refused", &tenant.token, &packet).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    };
    let expired = "eap_tls: (TLS) OpenSSL says error 10 : certificate has expired";
    let foreign = "eap_tls: (TLS) OpenSSL says error 20 : unable to get local issuer certificate";
    for _ in 0..3 {
        refused(&tenant, COMPLIANT, expired).await;
        world.advance(10);
    }
    assert_eq!(world.history(&tenant).await, ["NAC_CLIENT_CERT_EXPIRED"]);
    refused(&tenant, COMPLIANT, foreign).await;
    refused(&tenant, STRANGER, expired).await;
    refused(&other, COMPLIANT, expired).await;
    world.advance(60);
    refused(&tenant, COMPLIANT, expired).await;
    let mut history = world.history(&tenant).await;
    history.sort();
    assert_eq!(
        history,
        [
            "NAC_CLIENT_CERT_CHECK_FAILURE",
            "NAC_CLIENT_CERT_EXPIRED",
            "NAC_CLIENT_CERT_EXPIRED",
            "NAC_CLIENT_CERT_EXPIRED"
        ]
    );
    assert_eq!(world.history(&other).await.len(), 1);
    assert_eq!(world.count("SELECT count(*) FROM event WHERE detail::text LIKE '%hunter2%'").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM session").await, 0);
    // Where it cannot be kept, nobody is made to tell it again.
    world.postgres.cut();
    world.advance(120);
    refused(&tenant, COMPLIANT, expired).await;
}

#[tokio::test]
async fn a_revoked_credential_dies_everywhere_within_seconds() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let processes = [world.process(), world.process()];
    for process in &processes {
        assert_eq!(verdict(process, &tenant, COMPLIANT).await.status, StatusCode::OK);
    }
    world.revoke(&tenant).await;
    for process in &processes {
        eventually("a revoked credential is refused", || async {
            let refused = verdict(process, &tenant, COMPLIANT).await;
            refused.status == StatusCode::UNAUTHORIZED && refused.headers["www-authenticate"] == "Bearer"
        })
        .await;
    }
}

/// Lost stops: with interim updates after three of their intervals, without any after a longer while.
#[tokio::test]
async fn a_session_that_fell_silent_ends_and_goes_on_when_it_is_heard_again() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let config = nac::NacConfig {
        session_silence_interval: std::time::Duration::from_millis(50),
        ..world.config.clone()
    };
    let process = world.process_with(config);
    let account = async |session: &str, status: &str| {
        let packet = json!({
            "Acct-Status-Type": status, "Acct-Session-Id": session, "NAS-Identifier": "sw-1",
            "Gatehouse-Event-Time": world.now().unix_timestamp(),
        });
        assert_eq!(process.post(ACCOUNTING, &tenant.token, &packet).await.status, StatusCode::NO_CONTENT);
    };
    let open = async || world.count("SELECT count(*) FROM session WHERE ended_at IS NULL").await;
    account("with", "Start").await;
    account("without", "Start").await;
    world.advance(600);
    account("with", "Interim-Update").await;
    world.advance(1_799);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(open().await, 2, "three intervals have not passed");
    world.advance(2);
    eventually("the one with interim updates ends", || async { open().await == 1 }).await;
    let cause =
        "SELECT count(*) FROM session WHERE terminate_cause = 'Lost-Stop' AND ended_at = accounted_at";
    assert_eq!(world.count(cause).await, 1);
    assert_eq!(world.history(&tenant).await.last().unwrap(), "NAC_SESSION_ENDED");
    account("with", "Interim-Update").await;
    assert_eq!(open().await, 2, "it was only silent");
    world.advance(2 * 86_400 + 1);
    eventually("without interim updates it takes longer", || async { open().await == 0 }).await;
    let ended = "SELECT count(*) FROM event WHERE kind = 'NAC_SESSION_ENDED'";
    assert_eq!(world.count(ended).await, 3, "each end is told once");
}

/// One edge that runs wild is slowed down, and no other.
#[tokio::test]
async fn an_edge_may_ask_so_much_and_no_more() {
    let world = World::new().await;
    let (one, two) = (world.tenant(1).await, world.tenant(2).await);
    let config = nac::NacConfig {
        edge_requests_per_second: 1.try_into().unwrap(),
        edge_requests_burst: 3.try_into().unwrap(),
        ..world.config.clone()
    };
    let process = world.process_with(config);
    let asked = (0..30).map(|_| verdict(&process, &one, COMPLIANT));
    let answers = futures::future::join_all(asked).await;
    let refused: Vec<&Answer> =
        answers.iter().filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).collect();
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|answer| answer.headers["retry-after"] == "1"));
    assert_eq!(refused[0].body["code"], "too_many_requests");
    assert_eq!(verdict(&process, &two, COMPLIANT).await.status, StatusCode::OK);
    // A slower edge is served again.
    eventually("it is served again", || async {
        verdict(&process, &one, COMPLIANT).await.status == StatusCode::OK
    })
    .await;
}
