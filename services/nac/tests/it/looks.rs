//! Decisions that found nobody, or nobody to trust, have the sync look.

use serde_json::json;
use store::jobs::{self, JobKind};

use crate::world::{COMPLIANT, NONCOMPLIANT, STRANGER, Tenant, World, eventually};

async fn wishes(world: &World) -> Vec<(String, String)> {
    sqlx::query_as("SELECT key, reason FROM look_wish ORDER BY key").fetch_all(&world.admin).await.unwrap()
}

/// The link's looks are far from due.
async fn asleep(world: &World, tenant: &Tenant) {
    let mut tx = world.store.org(tenant.org).await.unwrap();
    jobs::create(&mut tx, tenant.link, JobKind::Look, world.now() + time::Duration::HOUR).await.unwrap();
    tx.commit().await.unwrap();
}

async fn wakes(world: &World, tenant: &Tenant) {
    eventually("the link's looks are due", || async {
        let mut tx = world.store.org(tenant.org).await.unwrap();
        let job = jobs::status(&mut tx, tenant.link, JobKind::Look).await.unwrap().unwrap();
        job.next_due_at <= world.now()
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_nobody_bears_is_looked_for() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    asleep(&world, &tenant).await;
    let process = world.process();
    let id = "5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42";
    let body = json!({
        "mac": STRANGER, "auth_type": "eap-tls",
        "cert": {"cn": "Lobby-TV.contoso.example", "subject": "CN=Lobby-TV,serialNumber=PF3XY",
                 "san_dns": [id]},
    });
    for _ in 0..2 {
        let answer = process.authorize(&tenant.token, &body).await;
        assert_eq!(answer["compliance"]["literals"], json!(["unknown", "not-enrolled"]));
        assert_eq!(answer["recorded"], true);
    }
    let wished = wishes(&world).await;
    let keys: Vec<&str> = wished.iter().map(|(key, _)| key.as_str()).collect();
    let (entra, intune) = (format!("entra:{id}"), format!("intune:{id}"));
    assert_eq!(
        keys,
        [&entra, &intune, "name:lobby-tv", "name:lobby-tv.contoso.example", "serial:pf3xy"],
        "once each, and never by MAC"
    );
    assert!(wished.iter().all(|(_, reason)| reason == "unmatched"));
    wakes(&world, &tenant).await;
}

#[tokio::test]
async fn who_is_known_is_not_looked_for_and_who_is_not_trusted_is_watched() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    asleep(&world, &tenant).await;
    let process = world.process();
    process.mab(&tenant.token, COMPLIANT).await;
    process.mab(&tenant.token, STRANGER).await;
    assert_eq!(wishes(&world).await, []);
    process.mab(&tenant.token, NONCOMPLIANT).await;
    wakes(&world, &tenant).await;
    assert_eq!(wishes(&world).await, []);
}

#[tokio::test]
async fn a_flood_of_strange_certificates_is_bounded() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let config = nac::NacConfig { unmatched_looks_max: 10, ..nac::NacConfig::default() };
    let process = world.process_with(config);
    for n in 0..40 {
        let body = json!({"auth_type": "eap-tls", "cert": {"cn": format!("STRANGER-{n}")}, "session_id": format!("{n}")});
        assert_eq!(process.authorize(&tenant.token, &body).await["recorded"], true);
    }
    assert_eq!(wishes(&world).await.len(), 10);
}

#[tokio::test]
async fn a_link_that_is_being_removed_holds_up_no_decision() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let body = json!({"auth_type": "eap-tls", "cert": {"cn": "STRANGER"}});
    // What the decision is made from is in memory before the link's row is locked.
    assert_eq!(process.authorize(&tenant.token, &body).await["recorded"], true);
    let mut tx = world.store.org(tenant.org).await.unwrap();
    store::links::delete(&mut tx, &world.ids, world.now(), tenant.link).await.unwrap().unwrap();
    let other = json!({"auth_type": "eap-tls", "cert": {"cn": "STRANGER-2"}});
    let answer =
        tokio::time::timeout(std::time::Duration::from_secs(20), process.authorize(&tenant.token, &other))
            .await
            .unwrap();
    assert_eq!(answer["recorded"], true);
    assert_eq!(
        world.count("SELECT count(*) FROM event WHERE kind = 'NAC_CLIENT_DENY'").await,
        2,
        "not spilled"
    );
    tx.commit().await.unwrap();
    assert_eq!(wishes(&world).await, []);
}
