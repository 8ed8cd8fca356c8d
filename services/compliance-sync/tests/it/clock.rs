//! What changes by the passing of time alone happens at its moment, without a word from Microsoft.

use domain::command::CommandState::{Held, Pending, Superseded};
use domain::resolver::LookupKey;
use serde_json::json;
use store::jobs::{self, JobKind};
use store::looks::WishReason;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::graph::{Fault, device_id};
use crate::world::{START, Tenant, World};

async fn sync(world: &World) {
    world.process().work_due(&[JobKind::Sweep]).await.unwrap();
    world.process().relay_all().await.unwrap();
}

/// Only the clock. Returns how many jobs were due.
async fn tick(world: &World) -> usize {
    let due = world.process().work_due(&[JobKind::Clock]).await.unwrap();
    world.process().relay_all().await.unwrap();
    due
}

async fn due_at(world: &World, tenant: Tenant) -> OffsetDateTime {
    let mut tx = world.store.org(tenant.org).await.unwrap();
    jobs::status(&mut tx, tenant.link, JobKind::Clock).await.unwrap().unwrap().next_due_at
}

fn put_in_grace(world: &World, tenant: Tenant, n: u32, ends: OffsetDateTime) {
    let grace = json!({"complianceGracePeriodExpirationDateTime": ends.format(&Rfc3339).unwrap()});
    world.graph.put_with(tenant.tid, n, "inGracePeriod", &grace);
}

#[tokio::test]
async fn grace_ends_at_its_moment() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let ends = START + Duration::minutes(10);
    put_in_grace(&world, tenant, 1, ends);
    put_in_grace(&world, tenant, 2, ends + Duration::hours(5));
    sync(&world).await;
    tick(&world).await;
    assert_eq!(due_at(&world, tenant).await, ends);
    let first = world.authenticate(tenant, 1, "corp").await;
    let second = world.authenticate(tenant, 2, "corp").await;
    world.advance(599);
    assert_eq!(tick(&world).await, 0);
    assert_eq!(world.commands(tenant, first).await, []);
    world.advance(1);
    assert_eq!(tick(&world).await, 1);
    assert_eq!(world.commands(tenant, first).await, [(Pending, "30".to_owned())]);
    assert_eq!(world.commands(tenant, second).await, []);
    // Somebody comes with a grace that ends sooner than anything that was waited for.
    put_in_grace(&world, tenant, 3, world.now() + Duration::minutes(2));
    world.sync_now(tenant).await;
    sync(&world).await;
    assert_eq!(due_at(&world, tenant).await, world.now() + Duration::minutes(2));
}

#[tokio::test]
async fn records_go_stale_at_their_moment_while_microsoft_is_away() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, "compliant");
    sync(&world).await;
    let session = world.authenticate(tenant, 1, "corp").await;
    // The clock comes by each hour for nothing.
    for _ in 0..24 {
        tick(&world).await;
        assert_eq!(world.commands(tenant, session).await, []);
        world.advance(3600);
    }
    tick(&world).await;
    assert_eq!(world.commands(tenant, session).await, [], "up to a day it is fresh");
    world.advance(1);
    assert_eq!(tick(&world).await, 1);
    assert_eq!(world.commands(tenant, session).await, [(Pending, "40".to_owned())]);
}

#[tokio::test]
async fn what_was_looked_at_since_the_last_sweep_goes_stale_on_its_own() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for n in 1..=2 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    sync(&world).await;
    let swept = world.authenticate(tenant, 1, "corp").await;
    let looked = world.authenticate(tenant, 2, "corp").await;
    // Two minutes after the sweep began somebody looks at one of them; then Microsoft is away.
    world.advance(120);
    let key = LookupKey::IntuneId(device_id(tenant.tid, 2));
    world.wish(tenant, key, WishReason::Admin).await;
    assert_eq!(world.work(JobKind::Look).await, 1);
    let day = START + Duration::hours(24);
    world.clock.set(day + Duration::SECOND);
    tick(&world).await;
    assert_eq!(world.commands(tenant, swept).await, [(Pending, "40".to_owned())]);
    assert_eq!(world.commands(tenant, looked).await, []);
    // Everybody was decided again, and so is when time changes something next.
    assert_eq!(tick(&world).await, 1);
    let stale_at = day + Duration::seconds(120) + Duration::MICROSECOND;
    assert_eq!(due_at(&world, tenant).await, stale_at);
    world.clock.set(stale_at - Duration::MICROSECOND);
    assert_eq!(tick(&world).await, 0);
    world.clock.set(stale_at);
    assert_eq!(tick(&world).await, 1);
    assert_eq!(world.commands(tenant, looked).await, [(Pending, "40".to_owned())]);
    assert_eq!(world.count("SELECT count(*) FROM turned_worse").await, 1, "counted for the breaker");
    // Nothing is left to go stale.
    assert_eq!(due_at(&world, tenant).await, world.now() + Duration::hours(1));
}

#[tokio::test]
async fn a_missing_device_goes_stale_on_its_own() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let gone = world.graph.put(tenant.tid, 1, "compliant");
    world.graph.put(tenant.tid, 2, "compliant");
    sync(&world).await;
    let session = world.authenticate(tenant, 1, "corp").await;
    // Nobody can say whether it is gone: no list shows it, and what a single GET brings cannot be read.
    world.graph.tenant(tenant.tid, |graph| {
        graph.unlisted.push(gone);
        graph.devices.insert(gone, json!({"id": 7}));
    });
    world.advance(400);
    sync(&world).await;
    assert_eq!(world.count("SELECT count(*) FROM device WHERE missing_since IS NOT NULL").await, 1);
    tick(&world).await;
    assert_eq!(
        due_at(&world, tenant).await,
        world.now() + Duration::hours(1),
        "long before anything changes"
    );
    // Sweeps go on, so that nothing else goes stale.
    world.clock.advance(START + Duration::hours(24) - world.now());
    sync(&world).await;
    tick(&world).await;
    assert_eq!(world.commands(tenant, session).await, []);
    world.advance(1);
    assert_eq!(tick(&world).await, 1);
    assert_eq!(world.commands(tenant, session).await, [(Pending, "40".to_owned())]);
}

#[tokio::test]
async fn graces_that_end_together_are_held() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let ends = START + Duration::minutes(10);
    for n in 0..100 {
        match n {
            0..60 => put_in_grace(&world, tenant, n, ends),
            _ => drop(world.graph.put(tenant.tid, n, "compliant")),
        }
    }
    sync(&world).await;
    let session = world.authenticate(tenant, 1, "corp").await;
    world.advance(600);
    tick(&world).await;
    assert_eq!(world.commands(tenant, session).await, [(Held, "30".to_owned())]);
    let hold: (String, i32, i32) =
        sqlx::query_as("SELECT state, worse, fleet FROM hold").fetch_one(&world.admin).await.unwrap();
    assert_eq!(hold, ("open".to_owned(), 60, 100));
}

#[tokio::test]
async fn a_fleet_that_goes_stale_is_held_until_microsoft_is_back() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for n in 0..60 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    sync(&world).await;
    let session = world.authenticate(tenant, 1, "corp").await;
    world.advance(24 * 3600 + 1);
    world.graph.fault(tenant.tid, Fault::Status(503));
    sync(&world).await;
    tick(&world).await;
    assert_eq!(world.commands(tenant, session).await, [(Held, "40".to_owned())]);
    world.advance(1800);
    sync(&world).await;
    tick(&world).await;
    assert_eq!(world.commands(tenant, session).await, [(Superseded, "40".to_owned())]);
    assert_eq!(world.count("SELECT count(*) FROM hold WHERE state = 'cleared'").await, 1);
}
