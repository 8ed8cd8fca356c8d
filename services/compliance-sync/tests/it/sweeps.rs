//! What a sweep leaves behind.

use domain::link::LinkState;
use domain::resolver::LookupKey;
use serde_json::json;
use time::Duration;
use uuid::Uuid;

use crate::graph::device_id;
use crate::world::{START, Tenant, World, mac};

async fn rows(world: &World) -> Vec<(Uuid, String)> {
    sqlx::query_as("SELECT id, xmin::text FROM device ORDER BY id").fetch_all(&world.admin).await.unwrap()
}

async fn swept(world: &World, tenant: Tenant) {
    assert_eq!(world.process().sweep_due().await.unwrap(), 1);
    let run = &world.runs(tenant).await[0];
    assert_eq!(run.error, None);
    assert!(run.finished_at.is_some());
}

async fn next_sweep(world: &World, tenant: Tenant) {
    world.advance(400);
    swept(world, tenant).await;
}

#[tokio::test]
async fn a_fleet_is_read_whole() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for n in 0..2500 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    world.graph.tenant(tenant.tid, |tenant| tenant.repeat_first = true);
    swept(&world, tenant).await;

    assert_eq!(world.graph.asked(tenant.tid), ["page 0", "page 1000", "page 2000"]);
    assert_eq!(world.count("SELECT count(*) FROM device").await, 2500);
    assert_eq!(world.count("SELECT count(DISTINCT ordinal) FROM device").await, 2500);
    assert_eq!(world.count("SELECT count(*) FROM device_transition WHERE from_state IS NULL").await, 2500);
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'NAC_MDM_COMPLIANCE_CHANGED'").await, 0);
    let link = world.link(tenant).await;
    assert_eq!((link.state, link.confirmed_at), (LinkState::Connected, Some(START)));
    let counts = world.runs(tenant).await[0].counts;
    assert_eq!((counts.pages, counts.seen, counts.changed, counts.transitions), (3, 2500, 2500, 2500));
    let due_in = world.job(tenant).await.next_due_at - START;
    assert!((Duration::seconds(270)..=Duration::seconds(330)).contains(&due_in), "{due_in}");

    world.process().relay_all().await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, 0);
    let keys = [LookupKey::Mac(mac(7)), LookupKey::Name("laptop-2499".to_owned())];
    let found = world.cache.lookups(tenant.org, &keys).await.unwrap();
    assert!(found.iter().all(|devices| devices.as_ref().is_some_and(|devices| devices.len() == 1)));
    let snapshot = world.cache.snapshot(tenant.org).await.unwrap().unwrap();
    assert_eq!(snapshot.links[0].confirmed_at, Some(START));
}

#[tokio::test]
async fn an_unchanged_fleet_is_confirmed_without_a_write_to_any_device() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for n in 0..300 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    swept(&world, tenant).await;
    world.process().relay_all().await.unwrap();
    let before = rows(&world).await;
    next_sweep(&world, tenant).await;
    assert_eq!(rows(&world).await, before);
    assert_eq!(world.link(tenant).await.confirmed_at, Some(world.now()));
    assert_eq!(world.runs(tenant).await[0].counts.changed, 0);
    assert_eq!(
        world.count("SELECT count(*) FROM outbox WHERE message->>'topic' = 'devices_changed'").await,
        0
    );

    // One that changed is written alone.
    world.graph.put(tenant.tid, 7, "noncompliant");
    next_sweep(&world, tenant).await;
    let after = rows(&world).await;
    let differing: Vec<Uuid> = before.iter().zip(&after).filter(|(a, b)| a != b).map(|(a, _)| a.0).collect();
    assert_eq!(differing, [device_id(tenant.tid, 7)]);
    let event: (String, String) =
        sqlx::query_as("SELECT mac::text, summary FROM event WHERE kind LIKE '%COMPLIANCE%'")
            .fetch_one(&world.admin)
            .await
            .unwrap();
    assert_eq!(event, ("d4:6e:0e:00:00:07".to_owned(), "LAPTOP-7: compliant → noncompliant".to_owned()));
}

#[tokio::test]
async fn names_are_found_in_any_script_and_case() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.put_with(tenant.tid, 1, "compliant", &json!({"deviceName": "MÜLLER-ÖPC"}));
    swept(&world, tenant).await;
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let key = LookupKey::Name("müller-öpc".to_owned());
    let found = store::devices::by_keys(&mut tx, std::slice::from_ref(&key), 8).await.unwrap();
    assert_eq!(found[&key].len(), 1);
}

#[tokio::test]
async fn a_device_that_is_not_listed_is_gone_only_when_microsoft_says_so() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for n in 0..5 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    swept(&world, tenant).await;
    world.graph.asked(tenant.tid);

    // Device 1 is not on any page, but there; device 2 was retired.
    let (here, gone) = (device_id(tenant.tid, 1), device_id(tenant.tid, 2));
    world.graph.tenant(tenant.tid, |tenant| {
        tenant.unlisted.push(here);
        tenant.devices.remove(&gone);
    });
    next_sweep(&world, tenant).await;
    let mut asked = world.graph.asked(tenant.tid);
    asked.sort();
    let mut wanted = vec![format!("device {here}"), format!("device {gone}"), "page 0".to_owned()];
    wanted.sort();
    assert_eq!(asked, wanted);
    assert_eq!(world.count("SELECT count(*) FROM device").await, 4);
    assert_eq!(world.count("SELECT count(*) FROM device WHERE missing_since IS NOT NULL").await, 0);
    let ended: Vec<(Uuid, Option<String>)> =
        sqlx::query_as("SELECT device_id, to_state FROM device_transition WHERE from_state IS NOT NULL")
            .fetch_all(&world.admin)
            .await
            .unwrap();
    assert_eq!(ended, [(gone, None)]);
    // What only a single GET tells is kept by later sweeps.
    world.graph.tenant(tenant.tid, |tenant| tenant.unlisted.clear());
    world.graph.put_with(tenant.tid, 1, "compliant", &json!({"model": "Book 4"}));
    next_sweep(&world, tenant).await;
    let wired: String = sqlx::query_scalar("SELECT ethernet_mac::text FROM device WHERE id = $1")
        .bind(here)
        .fetch_one(&world.admin)
        .await
        .unwrap();
    assert_eq!(wired, "00:11:22:33:44:55");

    world.process().relay_all().await.unwrap();
    let key = LookupKey::IntuneId(gone);
    assert_eq!(world.cache.lookups(tenant.org, &[key]).await.unwrap(), [Some(Vec::new())]);
}

#[tokio::test]
async fn a_mass_deletion_is_confirmed_without_reading_the_fleet_again() {
    let mut world = World::new().await;
    world.config.confirm_max_per_sweep = 10;
    let tenant = world.tenant(1).await;
    for n in 0..130 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    swept(&world, tenant).await;
    let first = world.authenticate(tenant, 119, "corp").await;
    // Most are gone; of one nobody can say it, as what comes cannot be read.
    let odd = device_id(tenant.tid, 0);
    world.graph.tenant(tenant.tid, |graph| {
        graph.devices.retain(|id, _| (120..130).any(|n| *id == device_id(tenant.tid, n)));
        graph.unlisted.push(odd);
        graph.devices.insert(odd, json!({"id": 7}));
    });
    world.advance(400);
    world.graph.asked(tenant.tid);
    assert_eq!(world.process().sweep_due().await.unwrap(), 1);
    let asked = world.graph.asked(tenant.tid);
    assert_eq!(asked.len(), 11, "a page, and ten of the missing");
    let at_first = format!("device {}", device_id(tenant.tid, 119));
    assert!(asked[1..5].contains(&at_first), "whose client is on the network: {asked:?}");
    assert_eq!(world.link(tenant).await.confirmed_at, Some(world.now()), "the fleet was read whole");
    let next_sweep = world.now() + Duration::seconds(250);
    // The job goes on with the others, at once.
    assert_eq!(world.process().sweep_due().await.unwrap(), 1);
    let asked = world.graph.asked(tenant.tid);
    assert!(asked.iter().all(|one| one.starts_with("device ")), "{asked:?}");
    assert!((109..=111).contains(&asked.len()), "each of the others: {}", asked.len());
    assert_eq!(world.count("SELECT count(*) FROM device").await, 11);
    assert_eq!(world.count("SELECT count(*) FROM device WHERE missing_since IS NOT NULL").await, 1);
    assert_eq!(world.process().sweep_due().await.unwrap(), 0);
    assert!(world.job(tenant).await.next_due_at > next_sweep, "then the next sweep");
    assert_eq!(world.runs(tenant).await.len(), 2);
    world.process().relay_all().await.unwrap();
    assert_eq!(world.commands(tenant, first).await[0].1, "50");
}

#[tokio::test]
async fn somebody_who_asks_for_a_sweep_need_not_wait_for_what_another_left() {
    let mut world = World::new().await;
    world.config.confirm_max_per_sweep = 1;
    let tenant = world.tenant(1).await;
    for n in 0..5 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    swept(&world, tenant).await;
    world.graph.tenant(tenant.tid, |graph| graph.devices.retain(|id, _| *id == device_id(tenant.tid, 0)));
    next_sweep(&world, tenant).await;
    assert_eq!(world.count("SELECT count(*) FROM device").await, 4);
    world.advance(1);
    world.sync_now(tenant).await;
    world.graph.asked(tenant.tid);
    assert_eq!(world.process().sweep_due().await.unwrap(), 1);
    assert_eq!(world.graph.asked(tenant.tid)[0], "page 0");
    assert_eq!(world.process().sweep_due().await.unwrap(), 1);
    assert_eq!(world.count("SELECT count(*) FROM device").await, 1);
    assert_eq!(world.process().sweep_due().await.unwrap(), 0);
}

#[tokio::test]
async fn a_missing_device_keeps_the_trust_it_had_until_it_goes_stale() {
    let mut world = World::new().await;
    world.config.confirm_max_per_sweep = 0;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, "compliant");
    swept(&world, tenant).await;
    // Two days of sweeps that see it unchanged, then one that does not.
    for _ in 0..2 {
        world.advance(86_400);
        swept(&world, tenant).await;
    }
    let last_seen = world.now();
    world.graph.tenant(tenant.tid, |graph| graph.unlisted.push(device_id(tenant.tid, 1)));
    next_sweep(&world, tenant).await;
    let (fetched_at, missing_since): (time::OffsetDateTime, Option<time::OffsetDateTime>) =
        sqlx::query_as("SELECT fetched_at, missing_since FROM device").fetch_one(&world.admin).await.unwrap();
    assert_eq!(fetched_at, last_seen, "it was seen as it is until then");
    assert_eq!(missing_since, Some(world.now()));
    let session = world.authenticate(tenant, 1, "corp").await;
    world.process().relay_all().await.unwrap();
    assert_eq!(world.commands(tenant, session).await, []);
    // A day later it is stale: nobody changed anything, and yet the session moves.
    world.advance(86_400);
    swept(&world, tenant).await;
    world.process().relay_all().await.unwrap();
    assert_eq!(world.commands(tenant, session).await[0].1, "40");
}

#[tokio::test]
async fn sync_now_during_a_sweep_is_followed_by_another() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, "compliant");
    let gate = std::sync::Arc::new(crate::graph::Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((0, gate.clone())));
    let process = world.process();
    let sweep = tokio::spawn(async move { process.sweep_due().await.unwrap() });
    gate.reached.notified().await;
    world.advance(1);
    world.sync_now(tenant).await;
    assert_eq!(world.process().sweep_due().await.unwrap(), 0, "it is being worked on");
    world.graph.tenant(tenant.tid, |graph| graph.gate = None);
    gate.open.notify_one();
    sweep.await.unwrap();
    swept(&world, tenant).await;
    assert_eq!(world.process().sweep_due().await.unwrap(), 0);
    assert_eq!(world.job(tenant).await.requested_at, None);
}

#[tokio::test]
async fn keys_find_their_bearers_within_the_organization_and_the_limit() {
    let world = World::new().await;
    let (tenant, other) = (world.tenant(1).await, world.tenant(2).await);
    for n in 0..12 {
        world.graph.put_with(tenant.tid, n, "compliant", &json!({"deviceName": "iPhone"}));
        world.graph.put(other.tid, n, "noncompliant");
    }
    assert_eq!(world.process().sweep_due().await.unwrap(), 2);
    let id = device_id(tenant.tid, 3);
    let keys = [
        LookupKey::Name("iphone".to_owned()),
        LookupKey::Mac(mac(3)),
        LookupKey::Serial("sn000003".to_owned()),
        LookupKey::IntuneId(id),
        LookupKey::EntraId(Uuid::from_u128(id.as_u128() ^ 0xffff)),
        LookupKey::IntuneId(device_id(other.tid, 3)),
        LookupKey::Mac(mac(3)),
    ];
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let found = store::devices::by_keys(&mut tx, &keys, 8).await.unwrap();
    assert_eq!(found[&keys[0]].len(), 8);
    for key in &keys[1..5] {
        let ids: Vec<Uuid> = found[key].iter().map(|device| device.id.uuid()).collect();
        assert_eq!(ids, [id], "{key}");
    }
    assert_eq!(found[&keys[5]], [], "another organization's device is nobody here");
    assert_eq!(found.len(), 6);
}
