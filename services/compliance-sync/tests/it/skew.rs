//! Machines whose clocks are wrong: they go by PostgreSQL's.

use std::sync::Arc;

use compliance_sync::Stepper;
use domain::resolver::LookupKey;
use domain::time::follow::FollowingClock;
use domain::time::{Clock, SystemClock};
use serde_json::json;
use store::jobs::JobKind;
use store::looks::WishReason;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::graph::device_id;
use crate::world::{Tenant, World};

/// A machine's clock that is off by so much.
struct Skewed(Duration);

impl Clock for Skewed {
    fn now(&self) -> OffsetDateTime {
        SystemClock.now() + self.0
    }
}

/// A process on such a machine, once it has asked PostgreSQL for the time.
async fn process(world: &World, off: Duration) -> (Stepper, Arc<FollowingClock>) {
    let clock = Arc::new(FollowingClock::new(Arc::new(Skewed(off))));
    let readings = world.store.read_time(&*clock.own()).await.unwrap();
    clock.follow(&readings).unwrap();
    let mut deps = world.deps_with(world.cache.clone());
    deps.clock = clock.clone();
    (Stepper::new(deps, world.config.clone()), clock)
}

/// In the present: PostgreSQL's clock cannot be moved.
async fn tenant(world: &World) -> Tenant {
    world.clock.set(SystemClock.now());
    world.tenant(1).await
}

#[tokio::test]
async fn processes_agree_on_the_time_whatever_their_machines_say() {
    let world = World::new().await;
    for off in [Duration::minutes(5), Duration::minutes(-5), Duration::days(400), Duration::ZERO] {
        let (_, clock) = process(&world, off).await;
        let said: OffsetDateTime =
            sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&world.admin).await.unwrap();
        let difference = clock.now() - said;
        assert!(difference.abs() < Duration::SECOND, "off by {off}: {difference}");
        assert!((clock.ahead() + off).abs() < Duration::SECOND, "off by {off}: {}", clock.ahead());
    }
}

#[tokio::test]
async fn what_a_slow_machine_hears_last_is_the_newest() {
    let world = World::new().await;
    let tenant = tenant(&world).await;
    world.graph.put(tenant.tid, 1, "compliant");
    let (honest, _) = process(&world, Duration::ZERO).await;
    assert_eq!(honest.sweep_due().await.unwrap(), 1);
    world.graph.put(tenant.tid, 1, "noncompliant");
    world.wish(tenant, LookupKey::IntuneId(device_id(tenant.tid, 1)), WishReason::Admin).await;
    let (slow, _) = process(&world, Duration::minutes(-5)).await;
    assert_eq!(slow.work_due(&[JobKind::Look]).await.unwrap(), 1);
    assert_eq!(world.state(tenant, 1).await.as_deref(), Some("noncompliant"));
    assert_eq!(world.count("SELECT count(*) FROM look_wish").await, 0);
}

#[tokio::test]
async fn a_fast_machine_ends_nothing_before_its_time() {
    let world = World::new().await;
    let tenant = tenant(&world).await;
    let ends = world.now() + Duration::minutes(10);
    let grace = json!({"complianceGracePeriodExpirationDateTime": ends.format(&Rfc3339).unwrap()});
    world.graph.put_with(tenant.tid, 1, "inGracePeriod", &grace);
    world.graph.put(tenant.tid, 2, "compliant");
    let (honest, _) = process(&world, Duration::ZERO).await;
    honest.sweep_due().await.unwrap();
    let graced = world.authenticate(tenant, 1, "corp").await;
    let moved = world.authenticate(tenant, 2, "corp").await;
    world.graph.put(tenant.tid, 2, "noncompliant");
    world.sync_now(tenant).await;
    honest.sweep_due().await.unwrap();
    honest.relay_all().await.unwrap();
    assert_eq!(world.commands(tenant, moved).await.len(), 1);

    let (fast, _) = process(&world, Duration::hours(1)).await;
    fast.work_due(&[JobKind::Clock]).await.unwrap();
    fast.housekeep().await;
    fast.relay_all().await.unwrap();
    assert_eq!(world.commands(tenant, graced).await, [], "its grace lasts");
    assert!(world.commands(tenant, moved).await[0].0.is_open(), "and so does the command");
    let due = world.job_of(tenant, JobKind::Clock).await.next_due_at;
    assert!((due - ends).abs() < Duration::SECOND, "{due} for {ends}");
}
