//! Nobody's trouble is anybody else's.

use std::time::Duration;

use domain::resolver::LookupKey;
use store::Store;
use store::jobs::{self, Claim, JobClass, JobKind};
use store::looks::WishReason;

use crate::graph::device_id;
use crate::world::World;

fn claim(world: &World, class: JobClass, per_link: i64) -> Claim<'static> {
    Claim {
        owner: "test",
        class,
        now: world.now(),
        until: world.now() + time::Duration::seconds(90),
        limit: 20,
        troubled_limit: 1,
        per_link,
        kinds: &[],
    }
}

async fn claimed(world: &World, claim: Claim<'_>) -> Vec<jobs::ClaimedJob> {
    let mut tx = world.store.system().await.unwrap();
    let jobs = jobs::claim(&mut tx, claim).await.unwrap();
    tx.commit().await.unwrap();
    jobs
}

fn kinds(jobs: &[jobs::ClaimedJob]) -> Vec<JobKind> {
    let mut kinds: Vec<JobKind> = jobs.iter().map(|job| job.lease.kind).collect();
    kinds.sort_unstable();
    kinds
}

#[tokio::test]
async fn a_link_has_only_so_many_jobs_at_work_and_long_ones_leave_room() {
    let world = World::new().await;
    world.tenant(1).await;
    let long = claimed(&world, claim(&world, JobClass::Long, 2)).await;
    assert_eq!(long.len(), 1, "a sweep and an enrichment would leave no room for a look");
    let hot = claimed(&world, claim(&world, JobClass::Hot, 2)).await;
    assert_eq!(hot.len(), 2, "{:?}: the clock asks Microsoft nothing and does not count", kinds(&hot));
    assert!(kinds(&hot).contains(&JobKind::Clock));
    assert_eq!(claimed(&world, claim(&world, JobClass::Hot, 2)).await, []);
    assert_eq!(claimed(&world, claim(&world, JobClass::Long, 2)).await, []);
    assert_eq!(claimed(&world, claim(&world, JobClass::Hot, 3)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_claim_at_once_do_not_fill_the_same_room_twice() {
    let world = std::sync::Arc::new(World::new().await);
    for n in 0..12 {
        world.tenant(n).await;
    }
    let claims = (0..24).map(|n| {
        let world = std::sync::Arc::clone(&world);
        let class = if n % 2 == 0 { JobClass::Hot } else { JobClass::Long };
        tokio::spawn(async move { claimed(&world, claim(&world, class, 2)).await.len() })
    });
    for task in claims.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let most: Option<i64> = sqlx::query_scalar(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM sync_job
         WHERE lease_until IS NOT NULL AND kind <> 'clock' GROUP BY link_id) AS held",
    )
    .fetch_one(&world.admin)
    .await
    .unwrap();
    assert_eq!(most, Some(2));
}

#[tokio::test]
async fn those_that_failed_take_few_places() {
    let world = World::new().await;
    for n in 0..4 {
        world.tenant(n).await;
    }
    sqlx::query("UPDATE sync_job SET fails = 3, next_due_at = next_due_at - interval '1 hour' WHERE org_id <> (SELECT org_id FROM org ORDER BY org_id LIMIT 1)")
        .execute(&world.admin)
        .await
        .unwrap();
    let hot = claimed(&world, claim(&world, JobClass::Hot, 9)).await;
    assert_eq!(hot.iter().filter(|job| job.fails == 0).count(), 3);
    assert_eq!(hot.iter().filter(|job| job.fails > 0).count(), 1, "though they have been due for long");
}

#[tokio::test]
async fn a_job_that_is_woken_while_it_is_held_comes_due_again() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let held = claimed(&world, claim(&world, JobClass::Hot, 9)).await;
    let look = held.iter().find(|job| job.lease.kind == JobKind::Look).unwrap();
    let mut tx = world.store.org(tenant.org).await.unwrap();
    jobs::wake(&mut tx, tenant.link, JobKind::Look, world.now()).await.unwrap();
    tx.commit().await.unwrap();
    let later = world.now() + time::Duration::HOUR;
    let done = jobs::Completion {
        began_at: world.now(),
        now: world.now(),
        next_due_at: later,
        redecided: false,
        cursor: None,
    };
    for (job, expected) in [(look, world.now()), (&held[0], later)] {
        let mut tx = world.store.org(tenant.org).await.unwrap();
        jobs::complete(&mut tx, &job.lease, &done).await.unwrap();
        tx.commit().await.unwrap();
        if job.lease.kind == JobKind::Look {
            assert_eq!(world.job_of(tenant, JobKind::Look).await.next_due_at, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn neither_a_large_fleet_nor_silence_delays_anybody_elses_look() {
    let mut world = World::new().await;
    world.config.page_size_max = 5;
    world.config.sweep_workers = 1;
    world.config.hot_workers = 4;
    world.config.sweep_slice_seconds = 1;
    world.config.worker_poll_millis = 20;
    world.config.hot_request_seconds = 80;
    let (large, silent, small) = (world.tenant(1).await, world.tenant(2).await, world.tenant(3).await);
    for n in 0..2000 {
        world.graph.put(large.tid, n, "compliant");
    }
    world.graph.put(small.tid, 1, "compliant");
    let process = world.process();
    assert!(process.sweep_due().await.unwrap() > 0, "all but the silent tenant are known");
    world.graph.tenant(silent.tid, |graph| graph.silent = true);
    world.graph.put(small.tid, 1, "noncompliant");
    for tenant in [large, silent, small] {
        world.sync_now(tenant).await;
        world.wish(tenant, LookupKey::IntuneId(device_id(tenant.tid, 1)), WishReason::Admin).await;
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let deps = world.deps_with(world.cache.clone());
    let running = tokio::spawn(compliance_sync::run(deps, world.config.clone(), stop.clone()));
    let seen = async {
        while world.state(small, 1).await.as_deref() != Some("noncompliant") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Far below the time after which a request to the silent one is given up.
    tokio::time::timeout(Duration::from_secs(25), seen).await.expect("nobody is waited for");
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_sweep_gives_its_worker_back_when_its_turn_is_over() {
    let mut world = World::new().await;
    world.config.page_size_max = 10;
    world.config.sweep_slice_seconds = 20;
    let tenant = world.tenant(1).await;
    for n in 0..35 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    let gate = std::sync::Arc::new(crate::graph::Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((10, gate.clone())));
    let process = world.process();
    let sweeping = tokio::spawn(async move { process.sweep_due().await });
    gate.reached.notified().await;
    world.advance(21);
    world.graph.tenant(tenant.tid, |graph| graph.gate = None);
    gate.open.notify_one();
    sweeping.await.unwrap().unwrap();
    let job = world.job(tenant).await;
    assert_eq!((job.fails, job.lease_until), (0, None));
    assert_eq!(world.graph.asked(tenant.tid), ["page 0", "page 10"]);
    assert_eq!(world.work(JobKind::Sweep).await, 1, "it is due at once, after those that were due before");
    assert_eq!(world.graph.asked(tenant.tid), ["page 20", "page 30"]);
    assert_eq!(world.link(tenant).await.confirmed_at, Some(crate::world::START));
}

#[tokio::test]
async fn a_sweep_leaves_part_of_the_budget_to_looks() {
    let mut world = World::new().await;
    world.config.page_size_max = 1;
    world.config.budget_requests = 20;
    world.config.budget_window_seconds = 600;
    world.config.low_priority_percent = 50;
    let tenant = world.tenant(1).await;
    for n in 0..30 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    assert_eq!(world.work(JobKind::Sweep).await, 1);
    assert_eq!(world.graph.asked(tenant.tid).len(), 10, "half of it");
    let job = world.job(tenant).await;
    assert_eq!((job.fails, job.not_before), (0, None));
    assert!(job.next_due_at > world.now());
    world.graph.put(tenant.tid, 25, "noncompliant");
    world.wish(tenant, LookupKey::IntuneId(device_id(tenant.tid, 25)), WishReason::Admin).await;
    assert_eq!(world.work(JobKind::Look).await, 1);
    assert_eq!(world.state(tenant, 25).await.as_deref(), Some("noncompliant"));
    let name = cache::intune_budget(uuid::Uuid::from_u128(0xc11e), tenant.tid);
    let used = world.cache.budget_used(&name).await.unwrap().unwrap();
    assert_eq!((used.used, used.capacity), (11, 20), "for the page of the link");
}

#[tokio::test]
async fn a_tenant_that_does_not_answer_is_asked_ever_less_often() {
    let mut world = World::new().await;
    world.config.hot_request_seconds = 1;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, "compliant");
    assert_eq!(world.work(JobKind::Sweep).await, 1);
    world.graph.tenant(tenant.tid, |graph| graph.silent = true);
    world.wish(tenant, LookupKey::IntuneId(device_id(tenant.tid, 1)), WishReason::Client).await;
    let mut waits = Vec::new();
    for fails in 1..=3 {
        assert_eq!(world.work(JobKind::Look).await, 1);
        let job = world.job_of(tenant, JobKind::Look).await;
        assert_eq!((job.fails, job.lease_until), (fails, None));
        let wait = job.next_due_at - world.now();
        waits.push(wait.whole_seconds());
        world.advance(wait.whole_seconds() + 1);
    }
    assert!(waits[0] >= 10 && waits[1] >= 20 && waits[2] >= 40, "{waits:?}");
    assert_eq!(world.link(tenant).await.state, domain::link::LinkState::Connected, "sweeps tell that");
    // It answers again: nothing was lost.
    world.graph.tenant(tenant.tid, |graph| graph.silent = false);
    assert_eq!(world.work(JobKind::Look).await, 1);
    assert_eq!(world.count("SELECT count(*) FROM look_wish").await, 0);
    assert_eq!(world.job_of(tenant, JobKind::Look).await.fails, 0);
}

#[tokio::test]
async fn a_claim_reads_a_handful_of_jobs_however_many_are_due() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for fill in [
        "INSERT INTO link (org_id, id, provider, tid, tenant_name, state, state_since, linked_by, linked_by_name,
                           linked_at)
         SELECT org_id, md5('l' || n)::uuid, provider, md5('t' || n)::uuid, tenant_name, state, state_since, linked_by,
                linked_by_name, linked_at FROM link, generate_series(1, 4000) n WHERE org_id = $1",
        "INSERT INTO sync_job (org_id, link_id, kind, next_due_at, fails)
         SELECT l.org_id, l.id, k, l.linked_at - interval '1 hour', (k IN ('look', 'enrich'))::int
         FROM link l, unnest(ARRAY['sweep', 'enrich', 'delta', 'look', 'clock']) k WHERE l.org_id = $1
         ON CONFLICT DO NOTHING",
    ] {
        sqlx::query(fill).bind(tenant.org.uuid()).execute(&world.admin).await.unwrap();
    }
    sqlx::query("ANALYZE sync_job").execute(&world.admin).await.unwrap();
    // One connection, so that what it read is known at once.
    let pool = world.app_pool(1).await;
    let store = Store::from_pool(pool.clone());
    for class in [JobClass::Hot, JobClass::Long] {
        // The first executions of a statement are planned for their values, later ones perhaps for all.
        for n in 0..8 {
            sqlx::query("SELECT pg_stat_reset()").execute(&world.admin).await.unwrap();
            let mut tx = store.system().await.unwrap();
            let claim = Claim { limit: 4, ..claim(&world, class, 3) };
            assert_eq!(jobs::claim(&mut tx, claim).await.unwrap().len(), 4);
            tx.commit().await.unwrap();
            sqlx::query("SELECT pg_stat_force_next_flush()").execute(&pool).await.unwrap();
            let read: i64 = sqlx::query_scalar(
                "SELECT (seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_user_tables WHERE relname = 'sync_job'",
            )
            .fetch_one(&world.admin)
            .await
            .unwrap();
            assert!((4..300).contains(&read), "{class:?}, claim {n}: {read} rows were read of 20,000");
        }
    }
}

#[tokio::test]
async fn who_asks_again_keeps_the_place_in_the_line() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let due = world.job(tenant).await.next_due_at;
    world.advance(100);
    let mut tx = world.store.org(tenant.org).await.unwrap();
    assert!(jobs::request_sweep(&mut tx, tenant.link, world.now()).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(world.job(tenant).await.next_due_at, due, "it waits already");
}
