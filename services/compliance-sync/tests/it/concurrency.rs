//! Many processes at once: nothing is lost, nothing is done twice.

use std::collections::HashMap;
use std::time::Duration;

use domain::SessionId;
use domain::command::CommandState;
use domain::resolver::LookupKey;
use store::jobs::JobKind;
use uuid::Uuid;

use crate::graph::device_id;
use crate::world::{Tenant, World, mac};

const TENANTS: u128 = 6;
const DEVICES: u32 = 40;
const STATES: [&str; 4] = ["compliant", "noncompliant", "error", "unknown"];

/// A repeatable sequence.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The VLAN of a client whose device is in this state.
fn vlan(state: &str) -> &'static str {
    match state {
        "compliant" => "10",
        "noncompliant" => "30",
        _ => "40",
    }
}

struct Fleet {
    world: World,
    tenants: Vec<Tenant>,
    states: HashMap<(u128, u32), &'static str>,
    sessions: HashMap<(u128, u32), (SessionId, &'static str)>,
}

impl Fleet {
    async fn new() -> Self {
        let mut world = World::new().await;
        world.config.page_size_max = 7;
        world.config.relay_batch_max = 5;
        world.config.plan_page_max = 3;
        let mut tenants = Vec::new();
        let mut states = HashMap::new();
        for n in 0..TENANTS {
            let tenant = world.tenant(n).await;
            for device in 0..DEVICES {
                world.graph.put(tenant.tid, device, "compliant");
                states.insert((n, device), "compliant");
            }
            tenants.push(tenant);
        }
        Self { world, tenants, states, sessions: HashMap::new() }
    }

    /// Processes work until there is nothing left to do.
    async fn settle(&self, processes: usize) {
        let work = (0..processes).map(|_| {
            let process = self.world.process();
            tokio::spawn(async move {
                let mut quiet = 0;
                while quiet < 3 {
                    let worked = process.work_due(&JobKind::ALL).await.unwrap();
                    let did = worked + process.relay_due().await.unwrap();
                    quiet = if did == 0 { quiet + 1 } else { 0 };
                    tokio::task::yield_now().await;
                }
            })
        });
        for task in work.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }

    fn flip(&mut self, dice: &mut Dice, count: usize) {
        for _ in 0..count {
            let n = usize::try_from(dice.roll(self.tenants.len() as u64)).unwrap();
            let device = u32::try_from(dice.roll(DEVICES.into())).unwrap();
            let state = STATES[usize::try_from(dice.roll(4)).unwrap()];
            self.world.graph.put(self.tenants[n].tid, device, state);
            // The directory tells of most changes, and looks race with sweeps.
            if dice.roll(4) > 0 {
                self.world.graph.tell(self.tenants[n].tid, device);
            }
            self.states.insert((n as u128, device), state);
        }
    }

    async fn authenticate_all(&mut self) {
        for (n, tenant) in (0..).zip(&self.tenants) {
            for device in 0..DEVICES {
                let session = self.world.authenticate(*tenant, device, "corp").await;
                self.sessions.insert((n, device), (session, vlan(self.states[&(n, device)])));
            }
        }
    }

    /// What Graph has is what PostgreSQL and Redis have; each device's transitions are a chain that ends there; and
    /// a session has one open command where its answer would differ, and none otherwise.
    async fn check(&self) {
        let world = &self.world;
        assert_eq!(world.count("SELECT count(*) FROM outbox").await, 0);
        let chains: Vec<(Uuid, Uuid, Option<String>, Option<String>)> = sqlx::query_as(
            "SELECT org_id, device_id, from_state, to_state FROM device_transition ORDER BY org_id, device_id, at, id",
        )
        .fetch_all(&world.admin)
        .await
        .unwrap();
        let mut ends: HashMap<(Uuid, Uuid), Option<String>> = HashMap::new();
        for (org, device, from, to) in chains {
            assert_eq!(
                ends.get(&(org, device)).cloned().flatten(),
                from,
                "a transition follows the one before"
            );
            ends.insert((org, device), to);
        }
        for (n, tenant) in (0..).zip(&self.tenants) {
            let stored: Vec<(Uuid, String)> =
                sqlx::query_as("SELECT id, compliance FROM device WHERE org_id = $1 ORDER BY id")
                    .bind(tenant.org.uuid())
                    .fetch_all(&world.admin)
                    .await
                    .unwrap();
            assert_eq!(stored.len(), usize::try_from(DEVICES).unwrap());
            let stored: HashMap<Uuid, String> = stored.into_iter().collect();
            let keys: Vec<LookupKey> = (0..DEVICES).map(|device| LookupKey::Mac(mac(device))).collect();
            let cached = world.cache.lookups(tenant.org, &keys).await.unwrap();
            for (device, cached) in (0..DEVICES).zip(cached) {
                let (id, state) = (device_id(tenant.tid, device), self.states[&(n, device)]);
                assert_eq!(stored[&id], state);
                assert_eq!(ends[&(tenant.org.uuid(), id)].as_deref(), Some(state));
                assert_eq!(cached.unwrap()[0].compliance.as_str(), state);
                let Some((session, answered)) = self.sessions.get(&(n, device)) else { continue };
                let commands = world.commands(*tenant, *session).await;
                let open: Vec<_> = commands.iter().filter(|(command, _)| command.is_open()).collect();
                if *answered == vlan(state) {
                    assert!(open.is_empty(), "{commands:?}");
                } else {
                    assert_eq!(open.len(), 1, "{commands:?}");
                    assert_eq!(open[0].1, vlan(state));
                }
                let closed = commands.iter().filter(|(command, _)| !command.is_open());
                assert!(closed.into_iter().all(|(command, _)| *command == CommandState::Superseded));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_and_relays_neither_lose_nor_double() {
    let mut fleet = Fleet::new().await;
    fleet.settle(3).await;
    fleet.check().await;
    fleet.authenticate_all().await;
    let mut dice = Dice(42);
    for _ in 0..4 {
        fleet.flip(&mut dice, 60);
        fleet.world.advance(400);
        fleet.settle(3).await;
        fleet.check().await;
    }
    assert_eq!(fleet.world.count("SELECT count(*) FROM sync_run WHERE error IS NOT NULL").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_are_killed_at_any_moment_lose_and_double_nothing() {
    let mut fleet = Fleet::new().await;
    fleet.settle(2).await;
    fleet.authenticate_all().await;
    let mut dice = Dice(7);
    for _ in 0..12 {
        fleet.flip(&mut dice, 30);
        fleet.world.advance(400);
        let killed: Vec<_> = (0..3)
            .map(|_| {
                let process = fleet.world.process();
                tokio::spawn(async move {
                    loop {
                        let _ = process.work_due(&JobKind::ALL).await;
                        let _ = process.relay_due().await;
                    }
                })
            })
            .collect();
        for task in killed {
            tokio::time::sleep(Duration::from_millis(dice.roll(60))).await;
            task.abort();
        }
    }
    // Leases and claims run out; whoever is left finishes.
    for _ in 0..3 {
        fleet.world.advance(400);
        fleet.settle(2).await;
    }
    fleet.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_emptied_redis_is_filled_by_whatever_changes_next() {
    let mut fleet = Fleet::new().await;
    fleet.settle(2).await;
    let tenant = fleet.tenants[0];
    let mut redis = redis::Client::open(std::env::var("GATEHOUSE_TEST_REDIS_URL").unwrap()).unwrap();
    fleet.world.forget_redis(&mut redis);
    let key = [LookupKey::Mac(mac(1))];
    assert_eq!(fleet.world.cache.lookups(tenant.org, &key).await.unwrap(), [None]);
    fleet.world.graph.put(tenant.tid, 1, "noncompliant");
    fleet.states.insert((0, 1), "noncompliant");
    fleet.world.advance(400);
    fleet.settle(2).await;
    let found = fleet.world.cache.lookups(tenant.org, &key).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap()[0].compliance.as_str(), "noncompliant");
    assert!(fleet.world.cache.snapshot(tenant.org).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_whole_process_runs_and_stops() {
    let fleet = Fleet::new().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let deps = fleet.world.deps_with(fleet.world.cache.clone());
    let config = compliance_sync::SyncConfig { worker_poll_millis: 20, ..fleet.world.config.clone() };
    let running = tokio::spawn(compliance_sync::run(deps, config, stop.clone()));
    let done = async {
        loop {
            let swept = fleet.world.count("SELECT count(*) FROM link WHERE confirmed_at IS NOT NULL").await;
            // The first delta of a link asks for a sweep once more.
            let at_work = fleet
                .world
                .count(
                    "SELECT count(*) FROM sync_job WHERE lease_until IS NOT NULL OR requested_at IS NOT NULL
                     OR (kind = 'delta' AND finished_at IS NULL)",
                )
                .await;
            let waiting = fleet.world.count("SELECT count(*) FROM outbox").await;
            if (swept, at_work, waiting) == (i64::try_from(TENANTS).unwrap(), 0, 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), done)
        .await
        .expect("every link is swept and every message carried");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("it stops").unwrap().unwrap();
    fleet.check().await;
}
