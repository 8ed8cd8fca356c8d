//! Refusals, lost leases, and kills in the middle.

use std::sync::Arc;

use domain::link::LinkState;
use serde_json::json;

use crate::graph::{Fault, Gate, device_id};
use crate::world::{START, Tenant, World};

async fn small_pages() -> (World, Tenant) {
    let mut world = World::new().await;
    world.config.page_size_max = 10;
    let tenant = world.tenant(1).await;
    for n in 0..35 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    (world, tenant)
}

async fn sweep(world: &World) -> usize {
    world.process().sweep_due().await.unwrap()
}

/// What there is to see of a fleet, for comparing.
async fn fleet(world: &World) -> Vec<(uuid::Uuid, String, Option<String>)> {
    sqlx::query_as("SELECT id, compliance, model FROM device ORDER BY id")
        .fetch_all(&world.admin)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_wait_that_microsoft_asks_for_is_kept_and_the_sweep_goes_on_where_it_was() {
    let (world, tenant) = small_pages().await;
    sweep(&world).await;
    world.graph.asked(tenant.tid);
    world.advance(400);
    let gate = Arc::new(Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((10, gate.clone())));
    let process = world.process();
    let sweeping = tokio::spawn(async move { process.sweep_due().await });
    gate.reached.notified().await;
    world.graph.fault(tenant.tid, Fault::Throttle(Some(120)));
    world.graph.tenant(tenant.tid, |graph| graph.gate = None);
    gate.open.notify_one();
    sweeping.await.unwrap().unwrap();

    let job = world.job(tenant).await;
    assert!(job.not_before.unwrap() >= world.now() + time::Duration::seconds(120));
    assert_eq!(world.link(tenant).await.state, LinkState::Throttled, "two minutes are worth telling");
    world.advance(100);
    world.sync_now(tenant).await;
    assert_eq!(sweep(&world).await, 0, "nobody's wish overrides Microsoft's");
    let mut redis = redis::Client::open(std::env::var("GATEHOUSE_TEST_REDIS_URL").unwrap()).unwrap();
    world.advance(60);
    // Redis keeps its own time, in which the two minutes are not over.
    world.forget_redis(&mut redis);
    assert_eq!(sweep(&world).await, 1);
    let asked = world.graph.asked(tenant.tid);
    assert_eq!(asked, ["page 0", "page 10", "page 10", "page 20", "page 30"]);
    let link = world.link(tenant).await;
    assert_eq!(link.state, LinkState::Connected);
    assert_eq!(link.confirmed_at, Some(START + time::Duration::seconds(400)), "the start, not the end");
}

#[tokio::test]
async fn a_page_that_expired_starts_the_sweep_over() {
    let (world, tenant) = small_pages().await;
    let gate = Arc::new(Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((20, gate.clone())));
    let process = world.process();
    let sweeping = tokio::spawn(async move { process.sweep_due().await });
    gate.reached.notified().await;
    world.graph.fault(tenant.tid, Fault::Status(410));
    world.graph.tenant(tenant.tid, |graph| graph.gate = None);
    gate.open.notify_one();
    sweeping.await.unwrap().unwrap();
    assert_eq!(world.link(tenant).await.confirmed_at, None);
    world.advance(3);
    assert_eq!(sweep(&world).await, 1);
    assert_eq!(world.graph.asked(tenant.tid)[3..], ["page 0", "page 10", "page 20", "page 30"]);
    assert_eq!(world.link(tenant).await.confirmed_at, Some(world.now()));
    assert_eq!(world.count("SELECT count(*) FROM device_transition").await, 35, "nothing twice");
    assert_eq!(world.runs(tenant).await.len(), 2);
}

#[tokio::test]
async fn one_page_that_cannot_be_used_costs_no_more_than_itself() {
    // A page that is none of Graph's, and a token that is refused twice in a row.
    for faults in [vec![Fault::Status(404)], vec![Fault::Status(401), Fault::Status(401)]] {
        let (world, tenant) = small_pages().await;
        let gate = Arc::new(Gate::default());
        world.graph.tenant(tenant.tid, |graph| graph.gate = Some((20, gate.clone())));
        let process = world.process();
        let sweeping = tokio::spawn(async move { process.sweep_due().await });
        gate.reached.notified().await;
        for fault in faults {
            world.graph.fault(tenant.tid, fault);
        }
        world.graph.tenant(tenant.tid, |graph| graph.gate = None);
        gate.open.notify_one();
        sweeping.await.unwrap().unwrap();
        assert_eq!(world.link(tenant).await.state, LinkState::Unreachable);
        world.graph.asked(tenant.tid);
        world.advance(12);
        assert_eq!(sweep(&world).await, 1);
        assert_eq!(world.graph.asked(tenant.tid), ["page 20", "page 30"]);
        assert_eq!(world.link(tenant).await.confirmed_at, Some(START));
        assert_eq!(world.link(tenant).await.state, LinkState::Connected);
        assert_eq!(world.runs(tenant).await.len(), 1);
    }
}

#[tokio::test]
async fn refusals_name_who_must_act_and_our_own_fault_is_not_the_tenants() {
    for (fault, state) in [
        (Fault::Token(7_000_229, 401, "invalid_client"), LinkState::ConsentRevoked),
        (Fault::Token(7_000_112, 400, "unauthorized_client"), LinkState::DisabledByTenant),
        (Fault::Token(7_000_215, 401, "invalid_client"), LinkState::CredentialFailing),
        (Fault::Status(403), LinkState::PermissionMissing),
    ] {
        let world = World::new().await;
        let tenant = world.tenant(1).await;
        world.graph.put(tenant.tid, 1, "compliant");
        world.graph.fault(tenant.tid, fault);
        assert_eq!(sweep(&world).await, 1);
        let link = world.link(tenant).await;
        assert_eq!((link.state, link.confirmed_at), (state, None));
        assert!(link.state_detail.is_some());
        assert!(world.runs(tenant).await[0].error.is_some());
        assert!(world.job(tenant).await.next_due_at > world.now());
        // Whoever must, did. A credential that was refused is left alone for a moment.
        world.advance(6);
        world.sync_now(tenant).await;
        assert_eq!(sweep(&world).await, 1);
        assert_eq!(world.link(tenant).await.state, LinkState::Connected);
        assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'link.state'").await, 2);
    }
}

#[tokio::test]
async fn one_refusal_among_good_answers_is_no_news_and_many_are() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, "compliant");
    world.graph.fault(tenant.tid, Fault::Status(503));
    world.graph.fault(tenant.tid, Fault::Throttle(None));
    sweep(&world).await;
    assert_eq!(world.link(tenant).await.state, LinkState::Connected);
    assert_eq!(world.job(tenant).await.fails, 1);
    world.advance(20);
    assert_eq!(sweep(&world).await, 1);
    assert_eq!(world.link(tenant).await.state, LinkState::Throttled);
    world.advance(40);
    assert_eq!(sweep(&world).await, 1);
    assert_eq!(world.link(tenant).await.state, LinkState::Connected);
    assert_eq!(world.job(tenant).await.fails, 0);
}

#[tokio::test]
async fn who_lost_the_lease_writes_nothing() {
    let (world, tenant) = small_pages().await;
    let gate = Arc::new(Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((10, gate.clone())));
    let process = world.process();
    let stale = tokio::spawn(async move { process.sweep_due().await });
    gate.reached.notified().await;

    // It is paused beyond its lease; another worker takes over and finishes.
    assert_eq!(sweep(&world).await, 0, "the lease holds");
    world.advance(91);
    world.graph.tenant(tenant.tid, |graph| graph.gate = None);
    assert_eq!(sweep(&world).await, 1);
    let (seen, job) = (fleet(&world).await, world.job(tenant).await);
    assert_eq!(seen.len(), 35);

    // What the first worker now hears must change nothing.
    for n in 0..35 {
        world.graph.put_with(tenant.tid, n, "noncompliant", &json!({"model": "changed"}));
    }
    gate.open.notify_one();
    stale.await.unwrap().unwrap();
    assert_eq!(fleet(&world).await, seen);
    assert_eq!(world.job(tenant).await, job);
    assert_eq!(world.count("SELECT count(*) FROM device_transition").await, 35);
    assert_eq!(world.runs(tenant).await[0].counts.seen, 35);
}

#[tokio::test]
async fn a_killed_worker_is_followed_by_one_that_goes_on_from_its_page() {
    let (world, tenant) = small_pages().await;
    let gate = Arc::new(Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((20, gate.clone())));
    let process = world.process();
    let killed = tokio::spawn(async move { process.sweep_due().await });
    gate.reached.notified().await;
    killed.abort();
    assert!(killed.await.unwrap_err().is_cancelled());
    assert_eq!(world.count("SELECT count(*) FROM device").await, 20, "its pages stay");
    world.graph.tenant(tenant.tid, |graph| graph.gate = None);
    world.graph.asked(tenant.tid);
    world.advance(91);
    assert_eq!(sweep(&world).await, 1);
    assert_eq!(world.graph.asked(tenant.tid), ["page 20", "page 30"]);
    assert_eq!(world.link(tenant).await.confirmed_at, Some(START));
    let runs = world.runs(tenant).await;
    assert_eq!((runs.len(), runs[0].counts.pages, runs[0].counts.seen), (1, 4, 35));
    assert_eq!(world.count("SELECT count(*) FROM device WHERE missing_since IS NOT NULL").await, 0);
}

#[tokio::test]
async fn a_cursor_that_is_too_old_is_not_trusted() {
    let (world, tenant) = small_pages().await;
    let gate = Arc::new(Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((20, gate.clone())));
    let process = world.process();
    let killed = tokio::spawn(async move { process.sweep_due().await });
    gate.reached.notified().await;
    killed.abort();
    world.graph.tenant(tenant.tid, |graph| {
        graph.gate = None;
        graph.devices.remove(&device_id(tenant.tid, 3));
    });
    world.graph.asked(tenant.tid);
    world.advance(3600);
    assert_eq!(sweep(&world).await, 1);
    assert_eq!(world.graph.asked(tenant.tid)[0], "page 0");
    assert_eq!(world.link(tenant).await.confirmed_at, Some(world.now()));
    assert_eq!(world.count("SELECT count(*) FROM device").await, 34);
    let errors: Vec<_> = world.runs(tenant).await.into_iter().map(|run| run.error).collect();
    assert_eq!(errors, [None, Some("interrupted; started over".to_owned())]);
}

#[tokio::test]
async fn a_spent_budget_parks_the_sweep_without_blame() {
    let mut world = World::new().await;
    world.config.page_size_max = 10;
    world.config.budget_requests = 2;
    world.config.budget_window_seconds = 20;
    let tenant = world.tenant(1).await;
    for n in 0..35 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    assert_eq!(sweep(&world).await, 1);
    assert_eq!(world.graph.asked(tenant.tid), ["page 0", "page 10"]);
    let job = world.job(tenant).await;
    assert_eq!(job.fails, 0);
    assert!(job.next_due_at > world.now());
    assert_eq!(world.link(tenant).await.state, LinkState::Connected);
}

#[tokio::test]
async fn a_link_that_is_removed_in_the_middle_of_its_sweep_leaves_nothing() {
    let (world, tenant) = small_pages().await;
    let gate = Arc::new(Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((20, gate.clone())));
    let process = world.process();
    let sweeping = tokio::spawn(async move { process.sweep_due().await });
    gate.reached.notified().await;
    let mut tx = world.store.org(tenant.org).await.unwrap();
    store::links::delete(&mut tx, &world.ids, world.now(), tenant.link).await.unwrap();
    store::orgs::changed(&mut tx, &world.ids, world.now(), true).await.unwrap();
    tx.commit().await.unwrap();
    gate.open.notify_one();
    sweeping.await.unwrap().unwrap();
    assert_eq!(world.count("SELECT count(*) FROM device").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM sync_job").await, 0);
}

#[tokio::test]
async fn a_process_that_stops_hands_its_sweep_over_at_once() {
    let (world, tenant) = small_pages().await;
    let gate = Arc::new(Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((20, gate.clone())));
    let stop = tokio_util::sync::CancellationToken::new();
    let deps = world.deps_with(world.cache.clone());
    let running = tokio::spawn(compliance_sync::run(deps, world.config.clone(), stop.clone()));
    gate.reached.notified().await;
    stop.cancel();
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(5), running).await;
    stopped.expect("it does not wait for Microsoft").unwrap().unwrap();
    let job = world.job(tenant).await;
    assert_eq!((job.lease_until, job.fails), (None, 0));
    world.graph.tenant(tenant.tid, |graph| graph.gate = None);
    world.graph.asked(tenant.tid);
    assert_eq!(sweep(&world).await, 1, "no lease to wait for");
    assert_eq!(world.graph.asked(tenant.tid), ["page 20", "page 30"]);
}
