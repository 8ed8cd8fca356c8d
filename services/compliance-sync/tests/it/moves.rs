//! From a change in Intune to a command for the edge, and nothing more than that.

use domain::command::CommandState::{Acked, Expired, Failed, Pending, Superseded};
use domain::command::{NasAnswer, NasResult};
use domain::outbox::OutboxMessage;
use domain::resolver::LookupKey;
use domain::time::Clock as _;
use serde_json::json;
use store::jobs::JobKind;
use store::{commands_edge, links, outbox};
use time::format_description::well_known::Rfc3339;

use crate::world::{Tenant, World, mac, request};

async fn sync(world: &World) {
    world.process().work_due(&[JobKind::Clock, JobKind::Sweep]).await.unwrap();
    world.process().relay_all().await.unwrap();
}

async fn sync_later(world: &World) {
    world.advance(400);
    sync(world).await;
}

async fn with_a_device(world: &World, state: &str) -> Tenant {
    let tenant = world.tenant(1).await;
    world.graph.put(tenant.tid, 1, state);
    sync(world).await;
    tenant
}

/// The edge carries out everything that waits.
async fn carry_out(world: &World, tenant: Tenant) {
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let now = world.now();
    let commands =
        commands_edge::fetch(&mut tx, &world.ids, now, tenant.edge, 10, std::time::Duration::from_secs(30))
            .await;
    for command in commands.unwrap() {
        let acked = NasAnswer { result: NasResult::Ack, error_cause: None };
        commands_edge::ack(&mut tx, &world.ids, now, tenant.edge, command.command.id, acked, None)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn only_sessions_whose_answer_would_differ_are_moved() {
    let world = World::new().await;
    let tenant = with_a_device(&world, "compliant").await;
    world.graph.put(tenant.tid, 2, "compliant");
    sync_later(&world).await;
    let moved = world.authenticate(tenant, 1, "corp").await;
    let guest = world.authenticate(tenant, 1, "guest").await;
    let other = world.authenticate(tenant, 2, "corp").await;
    sync_later(&world).await;
    assert_eq!(world.count("SELECT count(*) FROM command").await, 0);

    world.graph.put(tenant.tid, 1, "noncompliant");
    sync_later(&world).await;
    assert_eq!(world.commands(tenant, moved).await, [(Pending, "30".to_owned())]);
    assert_eq!(world.commands(tenant, guest).await, []);
    assert_eq!(world.commands(tenant, other).await, []);
    let cause: String =
        sqlx::query_scalar("SELECT cause FROM command").fetch_one(&world.admin).await.unwrap();
    assert_eq!(cause, "compliance_changed");
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'NAC_CLIENT_COA_REAUTH'").await, 1);
    // Redis was told before the edge could be.
    let facts = world.cache.lookups(tenant.org, &[LookupKey::Mac(mac(1))]).await.unwrap();
    assert_eq!(facts[0].as_ref().unwrap()[0].compliance.as_str(), "noncompliant");

    // Carried out, the client comes back, and all is well.
    carry_out(&world, tenant).await;
    world.authenticate(tenant, 1, "corp").await;
    sync_later(&world).await;
    assert_eq!(world.commands(tenant, moved).await, [(Acked, "30".to_owned())]);
}

#[tokio::test]
async fn a_device_that_turns_back_is_left_where_it_is() {
    let world = World::new().await;
    let tenant = with_a_device(&world, "compliant").await;
    let session = world.authenticate(tenant, 1, "corp").await;
    for state in ["noncompliant", "compliant", "noncompliant", "error"] {
        world.graph.put(tenant.tid, 1, state);
        sync_later(&world).await;
    }
    let commands = world.commands(tenant, session).await;
    let wanted = [(Superseded, "30"), (Superseded, "30"), (Pending, "40")];
    assert_eq!(commands, wanted.map(|(state, vlan)| (state, vlan.to_owned())));
    assert_eq!(world.count("SELECT count(*) FROM event WHERE summary LIKE '%no longer wanted%'").await, 2);
}

#[tokio::test]
async fn the_same_word_twice_or_late_does_no_harm() {
    let world = World::new().await;
    let tenant = with_a_device(&world, "compliant").await;
    let session = world.authenticate(tenant, 1, "corp").await;
    world.graph.put(tenant.tid, 1, "noncompliant");
    sync_later(&world).await;
    let again = || async {
        let mut tx = world.store.org(tenant.org).await.unwrap();
        let keys = vec![LookupKey::Mac(mac(1))];
        let message = OutboxMessage::DevicesChanged { link: tenant.link, devices: Vec::new(), keys };
        for message in [&message, &message, &OutboxMessage::SnapshotChanged { redecide: true }] {
            outbox::enqueue(&mut tx, &world.ids, world.now(), message).await.unwrap();
        }
        tx.commit().await.unwrap();
        world.process().relay_all().await.unwrap();
    };
    again().await;
    assert_eq!(world.commands(tenant, session).await, [(Pending, "30".to_owned())]);
    // Carried out, while the client has not come back yet.
    carry_out(&world, tenant).await;
    world.advance(5);
    again().await;
    assert_eq!(world.commands(tenant, session).await, [(Acked, "30".to_owned())]);
}

#[tokio::test]
async fn a_command_that_nobody_took_expires_and_is_planned_anew() {
    let world = World::new().await;
    let tenant = with_a_device(&world, "compliant").await;
    let session = world.authenticate(tenant, 1, "corp").await;
    world.graph.put(tenant.tid, 1, "noncompliant");
    sync_later(&world).await;
    world.advance(700);
    world.process().housekeep().await;
    assert_eq!(world.commands(tenant, session).await, [(Expired, "30".to_owned())]);
    // The edge is back, and is given what it missed.
    world.process().relay_all().await.unwrap();
    let commands = world.commands(tenant, session).await;
    assert_eq!(commands, [(Expired, "30".to_owned()), (Pending, "30".to_owned())]);
    // It stays away: each new command comes later than the one before.
    let mut planned = vec![world.now()];
    for _ in 0..200 {
        world.advance(60);
        world.process().housekeep().await;
        world.process().relay_all().await.unwrap();
        if world.commands(tenant, session).await.len() > planned.len() + 1 {
            planned.push(world.now());
        }
    }
    let gaps: Vec<i64> = planned.windows(2).map(|pair| (pair[1] - pair[0]).whole_minutes()).collect();
    assert!(gaps.len() >= 4 && gaps.windows(2).all(|pair| pair[0] <= pair[1]), "{gaps:?}");
    assert!(gaps[0] >= 10 && gaps[gaps.len() - 1] <= 42, "{gaps:?}");
}

#[tokio::test]
async fn a_move_that_the_nas_did_not_answer_is_planned_anew_after_a_while() {
    let world = World::new().await;
    let tenant = with_a_device(&world, "compliant").await;
    let session = world.authenticate(tenant, 1, "corp").await;
    world.graph.put(tenant.tid, 1, "noncompliant");
    sync_later(&world).await;
    // It is asked until there is no time left for another try.
    let mut tries = 0;
    while world.commands(tenant, session).await[0].0.is_open() {
        let mut tx = world.store.org(tenant.org).await.unwrap();
        let (now, again) = (world.now(), std::time::Duration::from_secs(1));
        let due = commands_edge::fetch(&mut tx, &world.ids, now, tenant.edge, 10, again).await.unwrap();
        for delivery in due {
            let silent = NasAnswer { result: NasResult::Timeout, error_cause: None };
            let id = delivery.command.id;
            assert!(
                commands_edge::ack(&mut tx, &world.ids, now, tenant.edge, id, silent, None).await.unwrap()
            );
            tries += 1;
        }
        tx.commit().await.unwrap();
        world.advance(10);
    }
    assert!(tries > 3, "{tries}");
    assert_eq!(world.commands(tenant, session).await, [(Failed, "30".to_owned())]);
    world.process().relay_all().await.unwrap();
    assert_eq!(world.commands(tenant, session).await.len(), 1, "not at once");
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, 1);
    world.advance(600);
    world.process().relay_all().await.unwrap();
    let commands = world.commands(tenant, session).await;
    assert_eq!(commands, [(Failed, "30".to_owned()), (Pending, "30".to_owned())]);
    assert_eq!(world.count("SELECT count(*) FROM outbox WHERE message->>'topic' = 'sessions_due'").await, 0);
}

#[tokio::test]
async fn the_first_sweep_moves_those_it_does_not_know() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let session = world.authenticate(tenant, 77, "corp").await;
    world.process().relay_all().await.unwrap();
    assert_eq!(world.commands(tenant, session).await, []);
    // No device changed under any of its keys: "unlinked" became "not enrolled".
    sync(&world).await;
    assert_eq!(world.commands(tenant, session).await, [(Pending, "50".to_owned())]);
}

#[tokio::test]
async fn after_an_outage_stale_sessions_move_and_come_back() {
    let world = World::new().await;
    let tenant = with_a_device(&world, "compliant").await;
    let session = world.authenticate(tenant, 1, "corp").await;
    // Microsoft is away for more than a day; the failing sweeps notice that the records went stale.
    for _ in 0..4 {
        world.graph.fault(tenant.tid, crate::graph::Fault::Status(503));
        world.advance(8 * 3600);
        sync(&world).await;
    }
    assert_eq!(world.commands(tenant, session).await, [(Pending, "40".to_owned())]);
    carry_out(&world, tenant).await;
    world.authenticate(tenant, 1, "corp").await;
    // It is back, and says what it said before: no device changes.
    sync_later(&world).await;
    let commands = world.commands(tenant, session).await;
    assert_eq!(commands, [(Acked, "40".to_owned()), (Pending, "10".to_owned())]);
}

#[tokio::test]
async fn grace_that_ends_moves_without_a_word_from_intune() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let ends = (world.now() + time::Duration::minutes(10)).format(&Rfc3339).unwrap();
    let grace = json!({"complianceGracePeriodExpirationDateTime": ends});
    world.graph.put_with(tenant.tid, 1, "inGracePeriod", &grace);
    sync(&world).await;
    let session = world.authenticate(tenant, 1, "corp").await;
    sync_later(&world).await;
    assert_eq!(world.commands(tenant, session).await, []);
    sync_later(&world).await;
    assert_eq!(world.commands(tenant, session).await, [(Pending, "30".to_owned())]);
}

#[tokio::test]
async fn a_decision_that_was_on_its_way_is_looked_at_again() {
    let mut world = World::new().await;
    world.config.settle_millis = 3000;
    let tenant = with_a_device(&world, "compliant").await;
    // Decided from what was known, not recorded yet.
    let request = request(tenant, 1, "corp");
    let answer = world.decide(tenant, &request).await;
    world.graph.put(tenant.tid, 1, "noncompliant");
    world.advance(10);
    world.sync_now(tenant).await;
    sync(&world).await;
    let session = world.record(tenant, request, answer).await;
    world.process().relay_all().await.unwrap();
    assert_eq!(world.commands(tenant, session).await, []);
    world.advance(4);
    world.process().relay_all().await.unwrap();
    assert_eq!(world.commands(tenant, session).await, [(Pending, "30".to_owned())]);
    assert_eq!(world.count("SELECT count(*) FROM outbox WHERE settling").await, 0);
}

#[tokio::test]
async fn without_redis_sessions_move_and_redis_follows_later() {
    let world = World::new().await;
    let tenant = with_a_device(&world, "compliant").await;
    let session = world.authenticate(tenant, 1, "corp").await;
    world.graph.put(tenant.tid, 1, "noncompliant");
    world.advance(400);
    let without = world.process_with(World::dead_cache());
    without.sweep_due().await.unwrap();
    without.relay_all().await.unwrap();
    assert_eq!(world.commands(tenant, session).await, [(Pending, "30".to_owned())]);
    assert!(world.count("SELECT count(*) FROM outbox").await > 0, "they wait for Redis");

    world.advance(60);
    world.process().relay_all().await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, 0);
    let facts = world.cache.lookups(tenant.org, &[LookupKey::Mac(mac(1))]).await.unwrap();
    assert_eq!(facts[0].as_ref().unwrap()[0].compliance.as_str(), "noncompliant");
    assert_eq!(world.commands(tenant, session).await, [(Pending, "30".to_owned())]);
}

#[tokio::test]
async fn what_unlinking_takes_away_is_taken_from_redis_and_from_sessions() {
    let world = World::new().await;
    let tenant = with_a_device(&world, "compliant").await;
    let session = world.authenticate(tenant, 1, "corp").await;
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let now = world.clock.now();
    assert_eq!(links::delete(&mut tx, &world.ids, now, tenant.link).await.unwrap(), Some(1));
    store::orgs::changed(&mut tx, &world.ids, now, true).await.unwrap();
    tx.commit().await.unwrap();
    world.process().relay_all().await.unwrap();
    let facts = world.cache.lookups(tenant.org, &[LookupKey::Mac(mac(1))]).await.unwrap();
    assert_eq!(facts, [Some(Vec::new())]);
    assert_eq!(world.commands(tenant, session).await, [(Pending, "40".to_owned())]);
}
