use domain::device::ComplianceState;
use serde_json::{Value, json};
use store::events;

use crate::world::{COMPLIANT, NONCOMPLIANT, STRANGER, World, device_id};

#[tokio::test]
async fn the_policy_decides_and_the_answer_says_why() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();

    let allowed = process.mab(&tenant.token, COMPLIANT).await;
    assert_eq!((&allowed["action"], &allowed["reason"]), (&json!("allow"), &json!("rule_allow")));
    assert_eq!(allowed["rule"]["name"], "Compliant devices");
    assert_eq!((&allowed["vlan"], &allowed["policy_version"]), (&json!("30"), &json!(1)));
    assert_eq!(
        allowed["radius_attributes"],
        json!([
            {"name": "Tunnel-Type", "value": "VLAN"},
            {"name": "Tunnel-Medium-Type", "value": "IEEE-802"},
            {"name": "Tunnel-Private-Group-Id", "value": "30"},
        ])
    );
    assert_eq!(
        allowed["compliance"],
        json!({
            "state": "compliant", "verdict": "compliant", "literals": ["compliant"],
            "last_check_in": "2026-11-20T11:12:00Z", "last_check_in_age_seconds": 2880,
            "fetched_at": "2026-11-20T12:00:00Z", "fetched_age_seconds": 0,
            "device": {"id": device_id(1), "name": "LAPTOP-0001"},
        })
    );
    assert_eq!(
        allowed["match"],
        json!({"outcome": "matched", "key": "mac", "strength": "mac", "mac_mismatch": false})
    );
    assert_eq!(allowed["recorded"], true);

    let quarantined = process.mab(&tenant.token, NONCOMPLIANT).await;
    assert_eq!((&quarantined["action"], &quarantined["vlan"]), (&json!("allow"), &json!("99")));

    let denied = process.mab(&tenant.token, STRANGER).await;
    assert_eq!((&denied["action"], &denied["reason"]), (&json!("deny"), &json!("implicit_deny")));
    assert_eq!((&denied["rule"], &denied["radius_attributes"]), (&Value::Null, &json!([])));
    assert_eq!(denied["compliance"]["literals"], json!(["unknown", "not-enrolled"]));

    // Recorded before the answer left, and found by id alone.
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let id = allowed["decision_id"].as_str().unwrap().parse().unwrap();
    let event = events::find(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(event.kind.as_str(), "NAC_CLIENT_PERMIT");
    assert_eq!(event.summary, "Permitted by rule 1 “Compliant devices”, VLAN 30");
    // One rule with one condition was looked at, which held.
    assert_eq!(event.detail["answer"]["decision"]["trace"], "8");
}

#[tokio::test]
async fn whatever_an_edge_does_not_know_is_left_out() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    for body in [
        json!({}),
        json!({"mac": null, "auth_type": "", "nas": null, "cert": null, "something": {"new": [1]}}),
        json!({"nas": {}, "cert": {"cn": "", "san_uri": ["", null], "san_dns": ""}}),
    ] {
        let answer = process.authorize(&tenant.token, &body).await;
        assert_eq!(
            (&answer["action"], &answer["reason"]),
            (&json!("deny"), &json!("implicit_deny")),
            "{body}"
        );
    }
    for mac in ["D4-6E-0E-02-28-96", "d46e.0e02.2896", "D46E0E022896"] {
        assert_eq!(process.authorize(&tenant.token, &json!({"mac": mac})).await["vlan"], "30", "{mac}");
    }
}

#[tokio::test]
async fn certificates_tell_their_story() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let uri = |id: &dyn std::fmt::Display| format!("ID:Microsoft Endpoint Manager:GUID:{id}");

    let by_id = json!({
        "auth_type": "eap-tls", "mac": NONCOMPLIANT,
        "cert": {"cn": "LAPTOP-0001", "not_after": "271120120000Z", "san_uri": [uri(&device_id(1))]},
    });
    let answer = process.authorize(&tenant.token, &by_id).await;
    assert_eq!(answer["vlan"], "30");
    assert_eq!(
        answer["match"],
        json!({"outcome": "matched", "key": "san-uri", "strength": "certificate", "mac_mismatch": true})
    );

    // A retired device's certificate does not borrow another device's MAC.
    let retired =
        json!({"auth_type": "eap-tls", "mac": COMPLIANT, "cert": {"san_uri": [uri(&device_id(77))]}});
    let answer = process.authorize(&tenant.token, &retired).await;
    assert_eq!((&answer["action"], &answer["match"]["key"]), (&json!("deny"), &json!("san-uri")));

    let expired =
        json!({"auth_type": "eap-tls", "cert": {"cn": "LAPTOP-0001", "not_after": "2026-11-20T11:59:59Z"}});
    assert_eq!(process.authorize(&tenant.token, &expired).await["reason"], "certificate_expired");

    let resumed = json!({"auth_type": "eap-tls", "mac": COMPLIANT, "cert": {"cn": ""}});
    assert_eq!(process.authorize(&tenant.token, &resumed).await["reason"], "certificate_missing");

    let mut history = world.history(&tenant).await;
    history.sort();
    assert_eq!(
        history,
        [
            "NAC_CLIENT_CERT_EXPIRED",
            "NAC_CLIENT_DENY",
            "NAC_CLIENT_DENY",
            "NAC_CLIENT_DENY",
            "NAC_CLIENT_PERMIT",
            "NAC_MDM_DEVICE_NOT_ENROLLED"
        ]
    );
}

#[tokio::test]
async fn a_change_is_seen_when_the_bus_tells_of_it() {
    let mut world = World::new().await;
    // Time alone would not do it within this test.
    world.config.memory_ttl = std::time::Duration::from_secs(600);
    let tenant = world.tenant(1).await;
    let process = world.process();
    crate::world::eventually("the bus is up", || async { process.cache.bus_is_up() }).await;
    assert_eq!(process.mab(&tenant.token, COMPLIANT).await["vlan"], "30");

    let device = world.device(&tenant, 1, COMPLIANT, ComplianceState::Noncompliant).await;
    assert_eq!(process.mab(&tenant.token, COMPLIANT).await["vlan"], "30", "nobody told it yet");
    // As the outbox relay does it: first the value, then the word.
    let keys = domain::resolver::keys_of(&device);
    let entries: Vec<_> = keys.iter().map(|key| (key.clone(), vec![device.clone()])).collect();
    world.cache.put_lookups(tenant.org, &entries).await.unwrap();
    world.cache.publish(&cache::BusMessage::Lookups { org: tenant.org, keys }).await.unwrap();
    crate::world::eventually("the device is seen to have changed", || async {
        process.mab(&tenant.token, COMPLIANT).await["vlan"] == "99"
    })
    .await;
}

#[tokio::test]
async fn a_day_that_begins_without_a_partition_gets_one_with_its_events() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    crate::world::eventually("the days around are ready", || async {
        world.count("SELECT count(*) FROM pg_inherits WHERE inhparent = 'event'::regclass").await > 10
    })
    .await;
    // Beyond all of them.
    world.advance(20 * 86_400);
    let body = json!({"mac": COMPLIANT, "user_name": "Ada"});
    assert_eq!(process.authorize(&tenant.token, &body).await["recorded"], true);
    assert_eq!(world.count("SELECT count(*) FROM event_default").await, 1);
    events::ensure_partitions(&world.store, world.now()).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM event_default").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM event WHERE user_key = 'ada'").await, 1);
}
