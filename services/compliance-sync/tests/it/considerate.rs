//! Clients that flap, edges that have their pace, tenants that share relays, and a Redis that was emptied.

use std::time::Duration;

use domain::SessionId;
use domain::coa::CoaKind;
use domain::command::{NasAnswer, NasResult};
use domain::outbox::OutboxMessage;
use domain::resolver::LookupKey;
use store::jobs::JobKind;
use store::{commands_edge, outbox};

use crate::world::{Tenant, World, mac};

async fn sync(world: &World) {
    world.process().work_due(&[JobKind::Sweep]).await.unwrap();
    world.process().relay_all().await.unwrap();
}

async fn sync_now(world: &World, tenant: Tenant) {
    world.sync_now(tenant).await;
    sync(world).await;
}

/// The edge carries out what is due, and the clients come back. Returns how many.
async fn carry_out(world: &World, tenant: Tenant, n: u32) -> usize {
    let (now, again) = (world.now(), Duration::from_secs(30));
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let due = commands_edge::fetch(&mut tx, &world.ids, now, tenant.edge, 500, again).await.unwrap();
    for delivery in &due {
        let ack = NasAnswer { result: NasResult::Ack, error_cause: None };
        commands_edge::ack(&mut tx, &world.ids, now, tenant.edge, delivery.command.id, ack, None)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    if !due.is_empty() {
        world.authenticate(tenant, n, "corp").await;
    }
    due.len()
}

async fn vlan(world: &World, session: SessionId) -> String {
    sqlx::query_scalar("SELECT outcome ->> 'vlan' FROM session WHERE id = $1")
        .bind(session.uuid())
        .fetch_one(&world.admin)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_flapping_device_is_moved_at_once_and_then_seldom() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, "compliant");
    sync(&world).await;
    let session = world.authenticate(tenant, 1, "corp").await;
    let mut moves = Vec::new();
    for round in 0..31 {
        world.graph.put(tenant.tid, 1, if round % 2 == 0 { "noncompliant" } else { "compliant" });
        world.advance(10);
        sync_now(&world, tenant).await;
        assert!(world.count("SELECT count(*) FROM command WHERE state = 'pending'").await <= 1);
        moves.push(carry_out(&world, tenant, 1).await);
    }
    assert_eq!(moves[0], 1, "the first move goes at once");
    let total: usize = moves.iter().sum();
    assert!((2..=6).contains(&total), "at most one in a minute: {moves:?}");
    // It stays non-compliant, and that is where its client ends up.
    for _ in 0..7 {
        world.advance(10);
        sync_now(&world, tenant).await;
        carry_out(&world, tenant, 1).await;
    }
    assert_eq!(vlan(&world, session).await, "30");
}

#[tokio::test]
async fn a_second_change_waits_for_calm_and_goes_away_with_its_reason() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, "compliant");
    sync(&world).await;
    let session = world.authenticate(tenant, 1, "corp").await;
    let turn = |state: &'static str| world.graph.put(tenant.tid, 1, state);
    turn("noncompliant");
    world.advance(5);
    sync_now(&world, tenant).await;
    assert_eq!(carry_out(&world, tenant, 1).await, 1);
    let calm = world.now() + time::Duration::seconds(60);
    turn("compliant");
    world.advance(5);
    sync_now(&world, tenant).await;
    let waits: time::OffsetDateTime =
        sqlx::query_scalar("SELECT not_before FROM command WHERE state = 'pending'")
            .fetch_one(&world.admin)
            .await
            .unwrap();
    assert_eq!(waits, calm);
    assert_eq!(carry_out(&world, tenant, 1).await, 0);
    turn("noncompliant");
    world.advance(5);
    sync_now(&world, tenant).await;
    assert_eq!(world.count("SELECT count(*) FROM command WHERE state = 'pending'").await, 0);
    turn("compliant");
    world.advance(5);
    sync_now(&world, tenant).await;
    world.advance(45);
    assert_eq!(carry_out(&world, tenant, 1).await, 1, "calm does not grow with every flap");
    assert_eq!(vlan(&world, session).await, "10");
}

#[tokio::test]
async fn a_client_that_comes_back_as_another_session_is_left_in_calm_as_well() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, "compliant");
    sync(&world).await;
    world.authenticate(tenant, 1, "corp").await;
    world.graph.put(tenant.tid, 1, "noncompliant");
    world.advance(5);
    sync_now(&world, tenant).await;
    carry_out(&world, tenant, 1).await;
    world.advance(2);
    // A disconnect, and a new Acct-Session-Id.
    let mut request = crate::world::request(tenant, 1, "corp");
    request.session_id = Some("corp-1-again".to_owned());
    let answer = world.decide(tenant, &request).await;
    let second = world.record(tenant, request, answer).await;
    world.graph.put(tenant.tid, 1, "compliant");
    world.advance(5);
    sync_now(&world, tenant).await;
    let waits: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM not_before - created_at)::float8 FROM command WHERE session_id = $1",
    )
    .bind(second.uuid())
    .fetch_one(&world.admin)
    .await
    .unwrap();
    assert!((52.0..54.0).contains(&waits), "{waits}");
}

#[tokio::test]
async fn an_edge_that_was_away_is_told_at_its_pace_what_it_missed() {
    const CLIENTS: u32 = 60;
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for n in 0..CLIENTS {
        world.graph.put(tenant.tid, n, "noncompliant");
    }
    sync(&world).await;
    for n in 0..CLIENTS {
        world.authenticate(tenant, n, "corp").await;
        world.graph.put(tenant.tid, n, "compliant");
    }
    world.advance(5);
    sync_now(&world, tenant).await;
    // Five minutes later it is back.
    world.advance(300);
    let mut told = Vec::new();
    for _ in 0..100 {
        let mut tx = world.store.org(tenant.org).await.unwrap();
        let (now, again) = (world.now(), Duration::from_secs(30));
        let due = commands_edge::fetch(&mut tx, &world.ids, now, tenant.edge, 500, again).await.unwrap();
        assert!(due.iter().all(|delivery| delivery.command.expires_at > now));
        told.push(due.len());
        let next = commands_edge::next_due(&mut tx, tenant.edge, now).await.unwrap();
        tx.commit().await.unwrap();
        assert!(next.is_none_or(|next| next - now <= time::Duration::seconds(1)), "the poll is told when");
        world.clock.advance(time::Duration::milliseconds(100));
    }
    assert_eq!(told.iter().sum::<usize>(), CLIENTS as usize);
    assert!(told.windows(10).all(|second| second.iter().sum::<usize>() <= 10), "ten a second: {told:?}");
    assert!(told[..60].iter().all(|some| *some == 1), "and no slower: {told:?}");
}

#[tokio::test]
async fn a_relay_that_dies_on_the_way_is_repeated_without_harm() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for n in 0..10 {
        world.graph.put(tenant.tid, n, "compliant");
    }
    sync(&world).await;
    for n in 0..10 {
        world.authenticate(tenant, n, "corp").await;
    }
    for n in 0..10 {
        world.graph.put(tenant.tid, n, "noncompliant");
    }
    world.advance(400);
    world.process().work_due(&[JobKind::Sweep]).await.unwrap();
    let claim = || async {
        let mut tx = world.store.system().await.unwrap();
        let until = world.now() + time::Duration::seconds(30);
        let claimed = outbox::claim(&mut tx, world.now(), until, &[tenant.org], 100).await.unwrap();
        tx.commit().await.unwrap();
        claimed
    };
    // One dies with its claim; another after all was done and before it could say so.
    let claimed = claim().await;
    assert!(!claimed.is_empty());
    assert_eq!(world.process().relay_all().await.unwrap(), 0);
    world.advance(31);
    world.process().relay_all().await.unwrap();
    let mut tx = world.store.org(tenant.org).await.unwrap();
    for message in claimed {
        let message = message.message.unwrap();
        outbox::enqueue(&mut tx, &world.ids, world.now(), &message).await.unwrap();
    }
    tx.commit().await.unwrap();
    world.process().relay_all().await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM command").await, 10);
    assert_eq!(
        world.count("SELECT count(DISTINCT not_before) FROM command WHERE state = 'pending'").await,
        10
    );
    let noticed = world
        .count("SELECT count(*) FROM command WHERE noticed_at IS NOT NULL AND noticed_at < created_at")
        .await;
    assert_eq!(noticed, 10, "since the change was committed, and not since it was carried");
}

#[tokio::test]
async fn a_backlog_of_one_delays_no_other() {
    let world = World::new().await;
    let (busy, quiet) = (world.tenant(1).await, world.tenant(2).await);
    world.process().relay_all().await.unwrap();
    let fill = |tenant: Tenant, count: u32| {
        let world = &world;
        async move {
            let mut tx = world.store.org(tenant.org).await.unwrap();
            for n in 0..count {
                let keys = vec![LookupKey::Mac(mac(n))];
                let message = OutboxMessage::DevicesChanged { link: tenant.link, devices: Vec::new(), keys };
                outbox::enqueue(&mut tx, &world.ids, world.now(), &message).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
    };
    fill(busy, 500).await;
    fill(quiet, 1).await;
    let left = |tenant: Tenant| {
        let admin = &world.admin;
        async move {
            let left: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE org_id = $1")
                .bind(tenant.org.uuid())
                .fetch_one(admin)
                .await
                .unwrap();
            left
        }
    };
    world.process().relay_due().await.unwrap();
    assert_eq!(left(quiet).await, 0);
    assert_eq!(left(busy).await, 480);
    world.process().relay_all().await.unwrap();
    assert_eq!(left(busy).await, 0);
}

#[tokio::test]
async fn turns_go_round_where_there_are_more_tenants_than_one_claim_takes() {
    let mut world = World::new().await;
    world.config.relay_batch_max = 2;
    let mut tenants = Vec::new();
    for n in 1..=7 {
        tenants.push(world.tenant(n).await);
    }
    // What is set aside for later does not end a round.
    world.config.settle_millis = 60_000;
    world.process().relay_all().await.unwrap();
    let late = tenants[6];
    let mut tx = world.store.org(late.org).await.unwrap();
    let message = OutboxMessage::CommandReady { edge: late.edge };
    outbox::enqueue(&mut tx, &world.ids, world.now(), &message).await.unwrap();
    tx.commit().await.unwrap();
    assert!(world.count("SELECT count(*) FROM outbox WHERE settling").await >= 6);
    assert_eq!(world.process().relay_due().await.unwrap(), 1);
}

#[tokio::test]
async fn an_emptied_redis_is_filled_again() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, "compliant");
    sync(&world).await;
    world.authenticate(tenant, 1, "corp").await;
    assert!(world.process().warm().await.unwrap(), "nobody has said yet that all is there");
    assert!(!world.process().warm().await.unwrap());

    let mut client = redis::Client::open(std::env::var("GATEHOUSE_TEST_REDIS_URL").unwrap()).unwrap();
    world.forget_redis(&mut client);
    let key = LookupKey::Mac(mac(1));
    assert_eq!(world.cache.lookups(tenant.org, std::slice::from_ref(&key)).await.unwrap(), [None]);
    // Meanwhile the relay put what is newer.
    let other = LookupKey::Name("laptop-1".to_owned());
    world.cache.put_lookups(tenant.org, &[(other.clone(), Vec::new())]).await.unwrap();
    assert!(world.process().warm().await.unwrap());
    let found = world.cache.lookups(tenant.org, &[key, other]).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().len(), 1);
    assert_eq!(found[1].as_ref().unwrap().len(), 0);
    let snapshot = world.cache.snapshot(tenant.org).await.unwrap().unwrap();
    assert_eq!(snapshot.settings.coa, CoaKind::Reauth);

    // Emptied once more while somebody fills it: what is there is not all there is.
    world.forget_redis(&mut client);
    assert!(world.cache.begin_warming("one", Duration::from_secs(60)).await.unwrap());
    assert!(!world.process().warm().await.unwrap(), "one is enough");
    world.forget_redis(&mut client);
    assert!(!world.cache.keep_warming("one", Duration::from_secs(60)).await.unwrap());
    assert!(!world.cache.finish_warming("one").await.unwrap());
    assert!(world.process().warm().await.unwrap());
}
