//! Mass changes: what is held, what is not, and what an admin's word does.

use std::sync::Arc;
use std::time::Duration;

use domain::SessionId;
use domain::coa::hold::{Hold, HoldState};
use domain::command::CommandState::{self, Acked, Held, Pending, Superseded};
use domain::command::{NasAnswer, NasResult};
use domain::outbox::OutboxMessage;
use store::jobs::JobKind;
use store::{commands_edge, holds, outbox};

use crate::graph::Gate;
use crate::world::{Tenant, World};

async fn sync(world: &World) {
    world.process().work_due(&[JobKind::Sweep, JobKind::Clock]).await.unwrap();
    world.process().relay_all().await.unwrap();
}

async fn sync_later(world: &World) {
    world.advance(400);
    sync(world).await;
}

fn put(world: &World, tenant: Tenant, devices: std::ops::Range<u32>, state: &str) {
    for n in devices {
        world.graph.put(tenant.tid, n, state);
    }
}

/// So many compliant devices, the first of them on the network.
async fn fleet(world: &World, devices: u32, sessions: u32) -> (Tenant, Vec<SessionId>) {
    let tenant = world.tenant(1).await;
    put(world, tenant, 0..devices, "compliant");
    sync(world).await;
    let mut ids = Vec::new();
    for n in 0..sessions {
        ids.push(world.authenticate(tenant, n, "corp").await);
    }
    (tenant, ids)
}

/// The state of the last command of each session that has one.
async fn states(world: &World, tenant: Tenant, sessions: &[SessionId]) -> Vec<CommandState> {
    let mut states = Vec::new();
    for session in sessions {
        states.extend(world.commands(tenant, *session).await.last().map(|(state, _)| *state));
    }
    states
}

async fn all_holds(world: &World) -> Vec<(String, i32, i32)> {
    sqlx::query_as("SELECT state, worse, fleet FROM hold ORDER BY id").fetch_all(&world.admin).await.unwrap()
}

/// What an admin's word writes.
async fn decide(world: &World, tenant: Tenant, state: HoldState) {
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let active = holds::active(&mut tx).await.unwrap();
    let mut hold: Hold = holds::lock(&mut tx, active[0].id).await.unwrap().unwrap();
    (hold.state, hold.decided_at) = (state, Some(world.now()));
    holds::save(&mut tx, &hold).await.unwrap();
    holds::forget_turns(&mut tx, tenant.link, None).await.unwrap();
    let message = OutboxMessage::HoldChanged { link: tenant.link };
    outbox::enqueue(&mut tx, &world.ids, world.now(), &message).await.unwrap();
    tx.commit().await.unwrap();
    world.process().relay_all().await.unwrap();
}

async fn redecide(world: &World, tenant: Tenant) {
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let message = OutboxMessage::SnapshotChanged { redecide: true };
    outbox::enqueue(&mut tx, &world.ids, world.now(), &message).await.unwrap();
    tx.commit().await.unwrap();
    world.process().relay_all().await.unwrap();
}

/// The edge carries out what is due. Returns how many.
async fn carry_out(world: &World, tenant: Tenant) -> usize {
    let (now, again) = (world.now(), Duration::from_secs(30));
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let due = commands_edge::fetch(&mut tx, &world.ids, now, tenant.edge, 500, again).await.unwrap();
    for delivery in &due {
        let ack = NasAnswer { result: NasResult::Ack, error_cause: None };
        let known =
            commands_edge::ack(&mut tx, &world.ids, now, tenant.edge, delivery.command.id, ack, None).await;
        assert!(known.unwrap());
    }
    tx.commit().await.unwrap();
    due.len()
}

#[tokio::test]
async fn a_few_that_turn_worse_are_not_held() {
    let world = World::new().await;
    let (tenant, sessions) = fleet(&world, 60, 2).await;
    put(&world, tenant, 0..1, "noncompliant");
    sync_later(&world).await;
    assert_eq!(states(&world, tenant, &sessions).await, [Pending]);
    // Forty of sixty are a large share, and yet fewer than an admin is bothered for.
    put(&world, tenant, 1..41, "noncompliant");
    sync_later(&world).await;
    assert_eq!(states(&world, tenant, &sessions).await, [Pending, Pending]);
    assert_eq!(all_holds(&world).await, []);
}

#[tokio::test]
async fn a_mass_change_is_held_until_it_is_released() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    put(&world, tenant, 0..200, "compliant");
    world.graph.put(tenant.tid, 199, "noncompliant");
    sync(&world).await;
    let better = world.authenticate(tenant, 199, "corp").await;
    let mut sessions = Vec::new();
    for n in 0..60 {
        sessions.push(world.authenticate(tenant, n, "corp").await);
    }
    put(&world, tenant, 0..60, "noncompliant");
    world.graph.put(tenant.tid, 199, "compliant");
    sync_later(&world).await;
    assert_eq!(all_holds(&world).await, [("open".to_owned(), 60, 200)]);
    assert_eq!(states(&world, tenant, &sessions).await, [Held; 60]);
    assert_eq!(states(&world, tenant, &[better]).await, [Pending], "a move to a better state is not held");
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'NAC_COA_HELD'").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'hold.open'").await, 1);
    world.advance(10);
    assert_eq!(carry_out(&world, tenant).await, 1);

    // Whatever passes meanwhile: nothing is doubled, and nothing gets out.
    sync_later(&world).await;
    redecide(&world, tenant).await;
    world.advance(7200);
    world.process().housekeep().await;
    assert_eq!(world.count("SELECT count(*) FROM command WHERE state = 'held'").await, 60);
    assert_eq!(world.count("SELECT count(*) FROM command").await, 61);
    assert_eq!(all_holds(&world).await.len(), 1);

    decide(&world, tenant, HoldState::Released).await;
    assert_eq!(states(&world, tenant, &sessions).await, [Pending; 60]);
    let closest: f64 = sqlx::query_scalar(
        "SELECT min(gap)::float8 FROM (SELECT extract(epoch FROM not_before - lag(not_before) OVER (ORDER BY not_before))
         AS gap FROM command WHERE state = 'pending') gaps",
    )
    .fetch_one(&world.admin)
    .await
    .unwrap();
    assert!(closest >= 0.0999, "ten in a second, and no more: {closest}");
    assert!(carry_out(&world, tenant).await < 60, "they wait for their turns");
    let mut carried = 0;
    while carried < 60 && world.now() < crate::world::START + time::Duration::hours(4) {
        world.advance(1);
        let some = carry_out(&world, tenant).await;
        assert!(some <= 11, "{some} in a second");
        carried = sessions.len()
            - usize::try_from(world.count("SELECT count(*) FROM command WHERE state = 'pending'").await)
                .unwrap();
    }
    assert_eq!(states(&world, tenant, &sessions).await, [Acked; 60]);
    // The admin has decided: the same devices raise no new alarm.
    sync_later(&world).await;
    assert_eq!(all_holds(&world).await, [("released".to_owned(), 60, 200)]);
}

#[tokio::test]
async fn what_is_discarded_stays_away_until_the_device_changes() {
    let world = World::new().await;
    let (tenant, sessions) = fleet(&world, 200, 60).await;
    put(&world, tenant, 0..60, "noncompliant");
    sync_later(&world).await;
    decide(&world, tenant, HoldState::Discarded).await;
    assert_eq!(states(&world, tenant, &sessions).await, [Superseded; 60]);
    for _ in 0..3 {
        world.advance(3600);
        redecide(&world, tenant).await;
        sync(&world).await;
    }
    assert_eq!(world.count("SELECT count(*) FROM command").await, 60, "none came back");

    // One device comes back and goes again; another takes another way; a third authenticates again.
    put(&world, tenant, 0..1, "compliant");
    put(&world, tenant, 1..2, "error");
    sync_later(&world).await;
    put(&world, tenant, 0..1, "noncompliant");
    sync_later(&world).await;
    world.authenticate(tenant, 2, "corp").await;
    redecide(&world, tenant).await;
    assert_eq!(states(&world, tenant, &sessions[..4]).await, [Pending, Pending, Superseded, Superseded]);
    assert_eq!(world.count("SELECT count(*) FROM command WHERE state = 'pending'").await, 2);
}

/// Pages of twenty, and a gate before the page at `offset`.
async fn halfway(
    fleet_size: u32,
    offset: usize,
    worse: u32,
    meanwhile: Option<CommandState>,
) -> (World, Tenant, Vec<SessionId>) {
    let mut world = World::new().await;
    world.config.page_size_max = 20;
    let (tenant, sessions) = fleet(&world, fleet_size, 80).await;
    put(&world, tenant, 0..worse, "noncompliant");
    world.advance(400);
    let gate = Arc::new(Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((offset, gate.clone())));
    let process = world.process();
    let sweep = tokio::spawn(async move { process.work_due(&[JobKind::Sweep]).await });
    gate.reached.notified().await;
    world.process().relay_all().await.unwrap();
    if let Some(state) = meanwhile {
        let seen = states(&world, tenant, &sessions).await;
        assert!(!seen.is_empty() && seen.iter().all(|one| *one == state), "{seen:?}");
    }
    world.graph.tenant(tenant.tid, |graph| graph.gate = None);
    gate.open.notify_one();
    sweep.await.unwrap().unwrap();
    world.process().relay_all().await.unwrap();
    (world, tenant, sessions)
}

#[tokio::test]
async fn a_suspicion_that_comes_to_little_is_cleared() {
    // Eighty of the first hundred, and of four hundred at the end: a fifth, and not more.
    let (world, tenant, sessions) = halfway(400, 100, 80, Some(Held)).await;
    assert_eq!(all_holds(&world).await, [("cleared".to_owned(), 80, 400)]);
    assert_eq!(states(&world, tenant, &sessions).await, [Pending; 80]);
    assert_eq!(
        world.count("SELECT count(*) FROM audit WHERE action LIKE 'hold.%'").await,
        0,
        "nobody was asked"
    );
}

#[tokio::test]
async fn what_no_edge_was_told_of_is_held_once_it_is_too_much() {
    // At the gate two pages are read, and their moves wait for their turns; then come three more.
    let (world, tenant, sessions) = halfway(300, 40, 100, Some(Pending)).await;
    assert_eq!(all_holds(&world).await, [("open".to_owned(), 100, 300)]);
    assert_eq!(states(&world, tenant, &sessions).await, [Held; 80]);
}

#[tokio::test]
async fn a_hold_whose_devices_turn_back_is_cleared() {
    let world = World::new().await;
    let (tenant, sessions) = fleet(&world, 200, 60).await;
    put(&world, tenant, 0..60, "noncompliant");
    sync_later(&world).await;
    put(&world, tenant, 0..58, "compliant");
    sync_later(&world).await;
    assert_eq!(all_holds(&world).await, [("cleared".to_owned(), 2, 200)]);
    let states = states(&world, tenant, &sessions).await;
    assert_eq!((&states[..58], &states[58..]), (&[Superseded; 58][..], &[Pending; 2][..]));
}

#[tokio::test]
async fn a_suspicion_does_not_outlive_a_sweep_that_never_ends() {
    let mut world = World::new().await;
    world.config.page_size_max = 20;
    let (tenant, sessions) = fleet(&world, 400, 80).await;
    put(&world, tenant, 0..80, "noncompliant");
    world.advance(400);
    let gate = Arc::new(Gate::default());
    world.graph.tenant(tenant.tid, |graph| graph.gate = Some((100, gate.clone())));
    let process = world.process();
    let sweep = tokio::spawn(async move { process.work_due(&[JobKind::Sweep]).await });
    gate.reached.notified().await;
    sweep.abort();
    world.process().relay_all().await.unwrap();
    assert_eq!(states(&world, tenant, &sessions).await, [Held; 80]);
    world.advance(i64::from(world.config.coa_suspect_seconds_max));
    world.process().work_due(&[JobKind::Clock]).await.unwrap();
    world.process().relay_all().await.unwrap();
    assert_eq!(all_holds(&world).await, [("cleared".to_owned(), 80, 400)]);
    assert_eq!(states(&world, tenant, &sessions).await, [Pending; 80]);
}

#[tokio::test]
async fn what_is_held_goes_with_the_account() {
    let world = World::new().await;
    let (tenant, sessions) = fleet(&world, 60, 2).await;
    put(&world, tenant, 0..60, "noncompliant");
    sync_later(&world).await;
    assert_eq!(states(&world, tenant, &sessions).await, [Held; 2]);
    world.advance(1);
    let mut tx = world.store.org(tenant.org).await.unwrap();
    store::links::delete(&mut tx, &world.ids, world.now(), tenant.link).await.unwrap();
    store::orgs::changed(&mut tx, &world.ids, world.now(), true).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(states(&world, tenant, &sessions).await, [Superseded; 2]);
    world.process().relay_all().await.unwrap();
    assert_eq!(states(&world, tenant, &sessions).await, [Pending; 2], "nobody knows them any more");
    assert_eq!(all_holds(&world).await, []);
}
