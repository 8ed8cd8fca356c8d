//! Looks at single devices, what Entra ID tells, and what lists leave out.

use std::sync::Arc;

use domain::DeviceId;
use domain::link::LinkState;
use domain::resolver::LookupKey;
use serde_json::json;
use store::jobs::JobKind;
use store::looks::WishReason;
use time::Duration;
use time::format_description::well_known::Rfc3339;

use crate::graph::{Fault, Gate, SINGLES, device_id, entra_id};
use crate::world::{Tenant, World};

/// A fleet that was swept and enriched, and told nothing since.
async fn swept(devices: u32) -> (World, Tenant) {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for n in 0..devices {
        world.graph.put(tenant.tid, n, "compliant");
    }
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.work(JobKind::Sweep).await, 1);
    assert_eq!(world.work(JobKind::Enrich).await, 1);
    world.graph.asked(tenant.tid);
    (world, tenant)
}

fn intune(tenant: Tenant, n: u32) -> LookupKey {
    LookupKey::IntuneId(device_id(tenant.tid, n))
}

async fn wishes(world: &World) -> i64 {
    world.count("SELECT count(*) FROM look_wish").await
}

#[tokio::test]
async fn a_device_that_an_admin_asks_about_is_looked_at_alone() {
    let (world, tenant) = swept(3).await;
    world.graph.put(tenant.tid, 1, "noncompliant");
    world.advance(10);
    world.wish(tenant, intune(tenant, 1), WishReason::Admin).await;
    assert_eq!(world.work(JobKind::Look).await, 1);
    assert_eq!(world.graph.asked(tenant.tid), [format!("device {}", device_id(tenant.tid, 1))]);
    assert_eq!(world.state(tenant, 1).await.as_deref(), Some("noncompliant"));
    assert_eq!(wishes(&world).await, 0);
    let (by, before): (String, time::OffsetDateTime) = sqlx::query_as(
        "SELECT noticed_by, visible_after FROM device_transition WHERE from_state IS NOT NULL",
    )
    .fetch_one(&world.admin)
    .await
    .unwrap();
    assert_eq!((by.as_str(), before), ("look", crate::world::START), "the sweep did not show it yet");
    // Nothing is due; the job comes back by itself.
    let job = world.job_of(tenant, JobKind::Look).await;
    assert!(job.next_due_at > world.now() + Duration::seconds(100) && job.finished_at.is_some());
}

#[tokio::test]
async fn what_entra_id_tells_is_looked_at_twenty_at_a_time() {
    let (world, tenant) = swept(30).await;
    for n in 0..25 {
        world.graph.put(tenant.tid, n, "noncompliant");
        world.graph.tell(tenant.tid, n);
    }
    world.advance(90);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.graph.asked(tenant.tid).len(), 13, "pages of two");
    assert_eq!(wishes(&world).await, 25, "repeats and removals ask for nothing more");
    assert_eq!(world.work(JobKind::Look).await, 1);
    assert_eq!(world.graph.asked(tenant.tid), ["batch 20", "batch 5"]);
    assert_eq!(world.count("SELECT count(*) FROM device WHERE compliance = 'noncompliant'").await, 25);
    assert_eq!(wishes(&world).await, 0);
    // The next round goes on where this one ended.
    world.graph.tell(tenant.tid, 7);
    world.advance(90);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.graph.asked(tenant.tid), ["delta 25"]);
    assert_eq!(wishes(&world).await, 1);
}

#[tokio::test]
async fn a_delta_that_expired_begins_anew_and_has_the_fleet_swept() {
    let (world, tenant) = swept(3).await;
    world.graph.put(tenant.tid, 1, "noncompliant");
    world.graph.tenant(tenant.tid, |graph| graph.delta_from = 1);
    world.graph.tell(tenant.tid, 1);
    world.advance(90);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.work(JobKind::Sweep).await, 1, "it comes due at once");
    assert_eq!(world.state(tenant, 1).await.as_deref(), Some("noncompliant"));
    world.advance(2);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.graph.asked(tenant.tid), ["delta 0", "page 0", "delta latest"]);
    assert_eq!(world.link(tenant).await.state, LinkState::Connected);
    assert_eq!(wishes(&world).await, 0);
}

#[tokio::test]
async fn a_tenant_without_the_directory_permission_just_has_no_delta() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.tenant(tenant.tid, |graph| graph.directory_forbidden = true);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    let job = world.job_of(tenant, JobKind::Delta).await;
    assert!(job.note.unwrap().contains("Device.Read.All"));
    assert_eq!(job.fails, 0);
    assert!(job.next_due_at > world.now() + Duration::minutes(50));
    assert_eq!(world.link(tenant).await.state, LinkState::Connected);
    world.graph.tenant(tenant.tid, |graph| graph.directory_forbidden = false);
    world.advance(4000);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.job_of(tenant, JobKind::Delta).await.note, None);
}

#[tokio::test]
async fn a_fleet_whose_changes_nobody_tells_is_swept_more_often() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 0, "compliant");
    let soon = Duration::seconds(70);
    assert_eq!(world.work(JobKind::Sweep).await, 1);
    assert!(world.job_of(tenant, JobKind::Sweep).await.next_due_at > world.now() + Duration::minutes(4));
    world.graph.tenant(tenant.tid, |graph| graph.directory_forbidden = true);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    for _ in 0..2 {
        let due = world.job_of(tenant, JobKind::Sweep).await.next_due_at;
        assert!(due > world.now() + Duration::seconds(50) && due < world.now() + soon, "{due}");
        world.advance(70);
        assert_eq!(world.work(JobKind::Sweep).await, 1);
    }
    world.graph.tenant(tenant.tid, |graph| graph.directory_forbidden = false);
    world.advance(4000);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.work(JobKind::Sweep).await, 1);
    assert!(world.job_of(tenant, JobKind::Sweep).await.next_due_at > world.now() + Duration::minutes(4));
}

#[tokio::test]
async fn a_directory_that_tells_no_changes_is_asked_seldom_and_fails_nothing() {
    for status in [404, 501] {
        let world = World::new().await;
        let tenant = world.tenant(1).await;
        world.graph.fault(tenant.tid, Fault::Status(status));
        assert_eq!(world.work(JobKind::Delta).await, 1);
        let job = world.job_of(tenant, JobKind::Delta).await;
        assert!(job.note.unwrap().contains("does not tell"));
        assert_eq!(job.fails, 0);
        assert!(job.next_due_at > world.now() + Duration::minutes(50));
        assert_eq!(world.link(tenant).await.state, LinkState::Connected);
    }
}

#[tokio::test]
async fn one_that_is_refused_within_a_batch_is_asked_for_again_and_the_others_are_written() {
    let (world, tenant) = swept(6).await;
    for n in 0..6 {
        world.graph.put(tenant.tid, n, "noncompliant");
        world.graph.tell(tenant.tid, n);
    }
    world.graph.tenant(tenant.tid, |graph| {
        graph.odd.insert(device_id(tenant.tid, 2), (429, Some(30)));
        graph.odd.insert(device_id(tenant.tid, 3), (503, None));
    });
    world.advance(90);
    world.work(JobKind::Delta).await;
    world.work(JobKind::Look).await;
    assert_eq!(world.count("SELECT count(*) FROM device WHERE compliance = 'noncompliant'").await, 4);
    assert_eq!(wishes(&world).await, 2);
    // All that asks Intune for this tenant waits as long as it was asked to, and nobody's wish overrides it.
    for kind in JobKind::INTUNE {
        let job = world.job_of(tenant, kind).await;
        assert!(job.not_before.unwrap() >= world.now() + Duration::seconds(30), "{kind:?}");
        assert!(job.next_due_at >= job.not_before.unwrap(), "{kind:?}");
    }
    assert_eq!(
        world.job_of(tenant, JobKind::Delta).await.not_before,
        None,
        "the directory asked for nothing"
    );
    world.wish(tenant, intune(tenant, 5), WishReason::Admin).await;
    assert_eq!(world.work(JobKind::Look).await, 0);
    // Whoever is at work elsewhere is granted nothing meanwhile.
    let budget = cache::intune_budget(uuid::Uuid::from_u128(0xc11e), tenant.tid);
    let window = std::time::Duration::from_secs(20);
    let granted = world.cache.take_budget(&budget, 1, 2000, window).await.unwrap();
    let cache::Budget::RetryAfter(wait) = granted else { panic!("{granted:?}") };
    assert!((20..=30).contains(&wait.as_secs()), "{wait:?}");
    let mut redis = redis::Client::open(std::env::var("GATEHOUSE_TEST_REDIS_URL").unwrap()).unwrap();
    world.graph.tenant(tenant.tid, |graph| graph.odd.clear());
    world.advance(120);
    // Redis keeps its own time, in which the wait is not over.
    world.forget_redis(&mut redis);
    assert_eq!(world.work(JobKind::Look).await, 1);
    assert_eq!(world.count("SELECT count(*) FROM device WHERE compliance = 'noncompliant'").await, 6);
    assert_eq!(wishes(&world).await, 0);
}

#[tokio::test]
async fn a_deletion_is_believed_when_a_request_of_its_own_says_so() {
    let (world, tenant) = swept(4).await;
    let (shy, gone) = (device_id(tenant.tid, 1), device_id(tenant.tid, 2));
    world.graph.tenant(tenant.tid, |graph| {
        graph.shy.push(shy);
        graph.devices.remove(&gone);
    });
    world.advance(10);
    world.wish(tenant, intune(tenant, 1), WishReason::Admin).await;
    world.wish(tenant, intune(tenant, 2), WishReason::Admin).await;
    world.work(JobKind::Look).await;
    let mut asked = world.graph.asked(tenant.tid);
    asked.sort();
    let mut alone = [format!("device {shy}"), format!("device {gone}")];
    alone.sort();
    assert_eq!(asked, ["batch 2", &alone[0], &alone[1]]);
    assert_eq!(world.state(tenant, 1).await.as_deref(), Some("compliant"));
    assert_eq!(world.state(tenant, 2).await, None);
    assert_eq!(world.count("SELECT count(*) FROM device_transition WHERE to_state IS NULL").await, 1);
    assert_eq!(wishes(&world).await, 0);
}

#[tokio::test]
async fn a_device_that_nobody_knew_is_found_once_it_exists() {
    let (world, tenant) = swept(2).await;
    world.advance(10);
    let keys = [
        intune(tenant, 7),
        LookupKey::EntraId(entra_id(tenant.tid, 7)),
        LookupKey::Serial("sn000007".to_owned()),
        LookupKey::Name("laptop-7".to_owned()),
        LookupKey::Name("nobody".to_owned()),
    ];
    let mut tx = world.store.org(tenant.org).await.unwrap();
    assert_eq!(store::looks::wish_unmatched(&mut tx, &keys, world.now(), 100).await.unwrap(), 5);
    tx.commit().await.unwrap();
    world.work(JobKind::Look).await;
    assert_eq!(world.graph.asked(tenant.tid).len(), 5, "an id, an Entra id, a serial number and two names");
    assert_eq!(wishes(&world).await, 5, "none of them is there yet");
    // Asking on changes nothing before its time.
    assert_eq!(world.work(JobKind::Look).await, 0);

    world.graph.put(tenant.tid, 7, "noncompliant");
    world.advance(130);
    world.work(JobKind::Look).await;
    assert_eq!(world.state(tenant, 7).await.as_deref(), Some("noncompliant"));
    assert_eq!(wishes(&world).await, 1, "nobody is still nobody");
    for _ in 0..8 {
        world.advance(4000);
        world.work(JobKind::Look).await;
    }
    assert_eq!(wishes(&world).await, 0, "given up");
    assert_eq!(world.count("SELECT count(*) FROM device").await, 3);
}

#[tokio::test]
async fn whoever_is_on_the_network_and_not_trusted_is_watched_every_minute_or_two() {
    let (world, tenant) = swept(3).await;
    world.graph.put(tenant.tid, 1, "noncompliant");
    world.graph.put(tenant.tid, 2, "noncompliant");
    world.advance(400);
    assert_eq!(world.work(JobKind::Sweep).await, 1);
    world.authenticate(tenant, 1, "corp").await;
    world.graph.asked(tenant.tid);
    let mut waits = Vec::new();
    let mut last = None;
    for _ in 0..200 {
        world.advance(10);
        world.work(JobKind::Look).await;
        for asked in world.graph.asked(tenant.tid) {
            assert_eq!(asked, format!("device {}", device_id(tenant.tid, 1)), "nobody waits for the others");
            waits.extend(last.map(|last: time::OffsetDateTime| (world.now() - last).whole_seconds()));
            last = Some(world.now());
        }
    }
    assert_eq!(waits[..5], [120; 5], "{waits:?}");
    // What it turns into is known as soon as it is looked at, and then nobody asks any more.
    world.graph.put(tenant.tid, 1, "compliant");
    world.advance(310);
    world.work(JobKind::Look).await;
    assert_eq!(world.state(tenant, 1).await.as_deref(), Some("compliant"));
    world.graph.asked(tenant.tid);
    world.advance(400);
    world.work(JobKind::Look).await;
    assert_eq!(world.graph.asked(tenant.tid), [""; 0]);
}

#[tokio::test]
async fn whoever_is_on_the_network_by_grace_alone_is_watched_too() {
    let (world, tenant) = swept(3).await;
    let ends = (world.now() + Duration::days(3)).format(&Rfc3339).unwrap();
    for n in 1..=2 {
        let grace = json!({"complianceGracePeriodExpirationDateTime": ends});
        world.graph.put_with(tenant.tid, n, "inGracePeriod", &grace);
    }
    world.advance(400);
    assert_eq!(world.work(JobKind::Sweep).await, 1);
    world.graph.asked(tenant.tid);
    world.work(JobKind::Look).await;
    assert_eq!(world.graph.asked(tenant.tid), [""; 0], "nobody is on the network");
    // It comes long before its grace is about to end.
    world.authenticate(tenant, 1, "corp").await;
    let mut asked = Vec::new();
    for _ in 0..60 {
        world.advance(10);
        world.work(JobKind::Look).await;
        let seen = world.graph.asked(tenant.tid);
        assert!(seen.iter().all(|one| *one == format!("device {}", device_id(tenant.tid, 1))), "{seen:?}");
        asked.extend(seen);
    }
    assert!((4..=7).contains(&asked.len()), "every minute or two of ten: {}", asked.len());
    world.graph.put(tenant.tid, 1, "compliant");
    world.advance(120);
    world.work(JobKind::Look).await;
    assert_eq!(world.state(tenant, 1).await.as_deref(), Some("compliant"));
}

#[tokio::test]
async fn a_device_that_was_enrolled_anew_is_found_beside_its_old_record() {
    let (world, tenant) = swept(3).await;
    // Another Intune record under the same Entra id; the old one stays as it was.
    let entra = json!({"azureADDeviceId": entra_id(tenant.tid, 1)});
    world.graph.put_with(tenant.tid, 9, "noncompliant", &entra);
    world.graph.tell(tenant.tid, 1);
    // Of this one the record that is known shows the change.
    world.graph.put(tenant.tid, 2, "noncompliant");
    world.graph.tell(tenant.tid, 2);
    world.advance(90);
    world.work(JobKind::Delta).await;
    world.graph.asked(tenant.tid);
    assert_eq!(world.work(JobKind::Look).await, 1);
    let asked = world.graph.asked(tenant.tid);
    assert_eq!(
        asked,
        ["batch 2".to_owned(), format!("filter azureADDeviceId eq '{}'", entra_id(tenant.tid, 1))]
    );
    assert_eq!(world.state(tenant, 9).await.as_deref(), Some("noncompliant"));
    assert_eq!(wishes(&world).await, 0);
    // Told again, and nothing is new: asked once, and no more.
    world.graph.tell(tenant.tid, 0);
    world.advance(90);
    world.work(JobKind::Delta).await;
    assert_eq!(world.work(JobKind::Look).await, 1);
    assert_eq!(wishes(&world).await, 0);
}

#[tokio::test]
async fn what_is_removed_from_the_directory_has_the_fleet_swept_soon() {
    let (world, tenant) = swept(3).await;
    let due = world.job(tenant).await.next_due_at;
    assert!(due > world.now() + Duration::seconds(200));
    // The stand-in tells of a removal beside every change.
    let gone = device_id(tenant.tid, 2);
    world.graph.tenant(tenant.tid, |graph| graph.devices.remove(&gone));
    world.graph.tell(tenant.tid, 1);
    world.advance(40);
    assert_eq!(world.work(JobKind::Delta).await, 0, "once a minute");
    world.advance(50);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.work(JobKind::Sweep).await, 1, "the last one was a minute ago");
    assert_eq!(world.state(tenant, 2).await, None);
    // Told again at once: not before another minute is over.
    world.graph.tell(tenant.tid, 1);
    world.advance(70);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.work(JobKind::Sweep).await, 1);
    world.graph.tell(tenant.tid, 1);
    {
        let mut tx = world.store.org(tenant.org).await.unwrap();
        store::jobs::wake(&mut tx, tenant.link, JobKind::Delta, world.now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.work(JobKind::Sweep).await, 0);
    assert_eq!(world.job(tenant).await.next_due_at, world.now() + Duration::seconds(60));
}

#[tokio::test]
async fn a_sweep_follows_once_the_directory_has_said_where_to_begin() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, "compliant");
    let gate = Arc::new(Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((0, gate.clone())));
    let process = world.process();
    let sweeping = tokio::spawn(async move { process.sweep_due().await });
    gate.reached.notified().await;
    // While the page is on its way: what changes before this moment is told by nobody.
    world.advance(5);
    world.graph.tenant(tenant.tid, |graph| graph.gate = None);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    gate.open.notify_one();
    sweeping.await.unwrap().unwrap();
    world.graph.put(tenant.tid, 1, "noncompliant");
    assert_eq!(world.work(JobKind::Sweep).await, 1, "it follows the one at work");
    assert_eq!(world.state(tenant, 1).await.as_deref(), Some("noncompliant"));
    assert_eq!(world.work(JobKind::Sweep).await, 0, "once");
    // Later rounds ask for none.
    world.advance(90);
    assert_eq!(world.work(JobKind::Delta).await, 1);
    assert_eq!(world.work(JobKind::Sweep).await, 0);
}

#[tokio::test]
async fn an_older_answer_overwrites_nothing_newer_and_brings_nobody_back() {
    let (world, tenant) = swept(30).await;
    world.advance(400);
    let gate = Arc::new(Gate::default());
    // A page is asked for and not answered; meanwhile a look sees one change and another go.
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((0, gate.clone())));
    let process = world.process();
    let sweeping = tokio::spawn(async move { process.sweep_due().await });
    gate.reached.notified().await;
    let old = world.graph.tenant(tenant.tid, |graph| (graph.devices.clone(), graph.gate.take()).0);
    world.advance(5);
    world.graph.put(tenant.tid, 1, "noncompliant");
    let gone = device_id(tenant.tid, 2);
    world.graph.tenant(tenant.tid, |graph| graph.devices.remove(&gone));
    world.wish(tenant, intune(tenant, 1), WishReason::Admin).await;
    world.wish(tenant, intune(tenant, 2), WishReason::Admin).await;
    assert_eq!(world.work(JobKind::Look).await, 1);
    assert_eq!(world.state(tenant, 2).await, None);
    // The page shows the fleet as it was when it was asked for.
    world.graph.tenant(tenant.tid, |graph| graph.devices = old);
    world.advance(5);
    gate.open.notify_one();
    assert_eq!(sweeping.await.unwrap().unwrap(), 1);
    assert_eq!(world.state(tenant, 1).await.as_deref(), Some("noncompliant"));
    assert_eq!(world.state(tenant, 2).await, None);
    assert_eq!(world.count("SELECT count(*) FROM device_transition WHERE from_state IS NOT NULL").await, 2);
}

#[tokio::test]
async fn a_look_delta_or_enrichment_that_lost_its_lease_writes_nothing() {
    for kind in [JobKind::Look, JobKind::Enrich, JobKind::Delta] {
        let world = World::new().await;
        let tenant = world.tenant(1).await;
        for n in 0..3 {
            world.graph.put(tenant.tid, n, "compliant");
        }
        world.work(JobKind::Sweep).await;
        if kind == JobKind::Look {
            for n in 0..3 {
                world.wish(tenant, intune(tenant, n), WishReason::Admin).await;
            }
        }
        let gate = Arc::new(Gate::default());
        world.graph.tenant(tenant.tid, |graph| graph.gate = Some((SINGLES, gate.clone())));
        let process = world.process();
        let stale = tokio::spawn(async move { process.work_due(&[kind]).await });
        gate.reached.notified().await;
        assert_eq!(world.work(kind).await, 0, "the lease holds");

        // It is paused beyond its lease; another worker takes over, sees something newer, and finishes.
        world.graph.tenant(tenant.tid, |graph| graph.gate = None);
        world.advance(91);
        world.graph.put_with(tenant.tid, 1, "noncompliant", &json!({}));
        assert_eq!(world.work(kind).await, 1);
        let rows = "SELECT md5(string_agg(d::text, ',' ORDER BY id)) FROM device d";
        let before: String = sqlx::query_scalar(rows).fetch_one(&world.admin).await.unwrap();
        let job = world.job_of(tenant, kind).await;
        gate.open.notify_one();
        stale.await.unwrap().unwrap();
        let after: String = sqlx::query_scalar(rows).fetch_one(&world.admin).await.unwrap();
        assert_eq!(before, after, "{kind:?}");
        assert_eq!(world.job_of(tenant, kind).await, job);
    }
}

#[tokio::test]
async fn what_lists_leave_out_is_fetched_once_and_finds_the_device() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for n in 0..45 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    world.work(JobKind::Sweep).await;
    world.graph.asked(tenant.tid);
    assert_eq!(world.work(JobKind::Enrich).await, 1);
    assert_eq!(world.graph.asked(tenant.tid), ["batch 20", "batch 20", "batch 5"]);
    assert_eq!(
        world
            .count("SELECT count(*) FROM device WHERE udid = 'UDID-1' AND ethernet_mac = '00:11:22:33:44:55'")
            .await,
        45
    );
    world.process().relay_all().await.unwrap();
    let key = LookupKey::Mac("001122334455".parse().unwrap());
    let found = world.cache.lookups(tenant.org, &[key]).await.unwrap();
    assert!(!found[0].as_ref().unwrap().is_empty());

    // Only what may have another adapter now is asked about again.
    world.graph.put_with(tenant.tid, 3, "compliant", &json!({"model": "Book 4"}));
    world.graph.put_with(tenant.tid, 4, "noncompliant", &json!({}));
    world.advance(400);
    world.work(JobKind::Sweep).await;
    world.graph.asked(tenant.tid);
    assert_eq!(world.work(JobKind::Enrich).await, 1);
    assert_eq!(world.graph.asked(tenant.tid), ["batch 1"]);
    assert_eq!(world.count("SELECT count(*) FROM device WHERE udid IS NULL").await, 0);
}

#[tokio::test]
async fn a_link_that_somebody_must_mend_is_asked_by_its_sweep_alone() {
    let (world, tenant) = swept(2).await;
    world.graph.fault(tenant.tid, Fault::Status(403));
    world.advance(400);
    world.work(JobKind::Sweep).await;
    assert_eq!(world.link(tenant).await.state, LinkState::PermissionMissing);
    let event: (String, serde_json::Value) =
        sqlx::query_as("SELECT summary, detail FROM event WHERE kind = 'NAC_MDM_LINK_STATE_CHANGED'")
            .fetch_one(&world.admin)
            .await
            .unwrap();
    assert!(event.0.contains("Permission missing"), "{}", event.0);
    assert!(event.1["remedy"].as_str().unwrap().contains("Link the account again"));
    world.graph.asked(tenant.tid);
    world.wish(tenant, intune(tenant, 1), WishReason::Admin).await;
    for kind in [JobKind::Look, JobKind::Delta, JobKind::Enrich] {
        world.work(kind).await;
    }
    assert_eq!(world.graph.asked(tenant.tid), [""; 0]);
    // It is mended: what waited goes on at once.
    world.sync_now(tenant).await;
    assert_eq!(world.work(JobKind::Sweep).await, 1);
    assert_eq!(world.work(JobKind::Look).await, 1);
    assert_eq!(wishes(&world).await, 0);
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'NAC_MDM_LINK_STATE_CHANGED'").await, 2);
}

#[tokio::test]
async fn records_are_kept_as_they_came() {
    let (world, tenant) = swept(1).await;
    let raw: serde_json::Value =
        sqlx::query_scalar("SELECT raw FROM device").fetch_one(&world.admin).await.unwrap();
    assert_eq!(raw["deviceName"], "LAPTOP-0");
    let id = DeviceId(device_id(tenant.tid, 0));
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let stored = store::devices::stored(&mut tx, tenant.link, &[id]).await.unwrap();
    assert_eq!(stored[&id].idle_looks, 0);
}
