//! Things that go wrong, one after the other and at the same time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::Scale;
use crate::bed::Bed;
use crate::program::Program;
use crate::report::note;
use crate::seed::Organization;

/// How often each thing was done.
#[derive(Debug, Default)]
pub struct Deeds(BTreeMap<&'static str, u32>);

impl Deeds {
    pub fn summary(&self) -> String {
        self.0.iter().map(|(what, times)| format!("{what} {times}")).collect::<Vec<_>>().join(", ")
    }
}

/// What is to be put right, and when.
enum Undo {
    Start(usize),
    Continue(usize),
    Heal(u64),
}

struct Chaos<'a> {
    bed: &'a mut Bed,
    workers: &'a mut [Program],
    organizations: &'a [Organization],
    scale: &'a Scale,
    random: ChaCha8Rng,
    paused: Vec<usize>,
    undo: Vec<(Instant, Undo)>,
    /// Redis is not emptied just after PostgreSQL was away: decisions that wait to be written wait there, and the
    /// product promises them to survive one of the two, not both.
    postgres_back: Instant,
    deeds: Deeds,
}

/// Rages until then, then puts everything right.
pub async fn rage(
    bed: &mut Bed,
    workers: &mut [Program],
    organizations: &[Organization],
    scale: &Scale,
    failing: f64,
    seed: u64,
    until: Instant,
) -> anyhow::Result<Deeds> {
    let third = failing / 300.0;
    for effect in [
        json!({ "kind": "status", "status": 429, "retryAfter": 1 }),
        json!({ "kind": "status", "status": 503 }),
        json!({ "kind": "reset" }),
    ] {
        bed.control.fault(&json!({ "probability": third, "effect": effect })).await?;
    }
    let random = ChaCha8Rng::seed_from_u64(seed ^ 0xf0e1);
    let mut chaos = Chaos {
        bed,
        workers,
        organizations,
        scale,
        random,
        paused: Vec::new(),
        undo: Vec::new(),
        postgres_back: Instant::now(),
        deeds: Deeds::default(),
    };
    let mut next = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        chaos.put_right(Instant::now()).await?;
        if Instant::now() >= next {
            chaos.strike().await?;
            next = Instant::now() + chaos.seconds(2..9);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    chaos.put_right(until + Duration::from_secs(3600)).await?;
    chaos.bed.control.heal_all().await?;
    for n in 0..chaos.workers.len() {
        if chaos.workers[n].runs() {
            chaos.workers[n].ready().await?;
        }
    }
    if !chaos.workers.iter().any(Program::runs) {
        chaos.workers[0].start().await?;
    }
    Ok(chaos.deeds)
}

impl Chaos<'_> {
    fn seconds(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range.start * 1000..range.end * 1000))
    }

    fn done(&mut self, what: &'static str) {
        *self.deeds.0.entry(what).or_default() += 1;
    }

    async fn put_right(&mut self, now: Instant) -> anyhow::Result<()> {
        let (due, later) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| *at <= now);
        self.undo = later;
        for (_, undo) in due {
            match undo {
                Undo::Start(n) if !self.workers[n].runs() => self.workers[n].spawn()?,
                Undo::Start(_) => {}
                Undo::Continue(n) => {
                    self.workers[n].signal(Signal::SIGCONT);
                    self.paused.retain(|paused| *paused != n);
                }
                Undo::Heal(fault) => self.bed.control.heal(fault).await?,
            }
        }
        Ok(())
    }

    async fn strike(&mut self) -> anyhow::Result<()> {
        let awake: Vec<usize> =
            (0..self.workers.len()).filter(|n| self.workers[*n].runs() && !self.paused.contains(n)).collect();
        let away: Vec<usize> = (0..self.workers.len()).filter(|n| !self.workers[*n].runs()).collect();
        let one = awake.choose(&mut self.random).copied();
        match (self.random.random_range(0..100), one) {
            (0..18, Some(n)) => {
                self.done("kill -9");
                self.workers[n].kill();
                let back = Instant::now() + self.seconds(0..10);
                self.undo.push((back, Undo::Start(n)));
            }
            (18..30, Some(n)) if awake.len() > 1 => {
                self.done("paused beyond the lease");
                let time = self.scale.lease + self.seconds(2..10);
                self.pause(n, time);
            }
            (30..38, Some(n)) => {
                self.done("paused within the lease");
                let time = self.seconds(1..15);
                self.pause(n, time);
            }
            (38..45, Some(n)) if awake.len() > 1 => {
                self.done("left");
                self.workers[n].end().await;
            }
            (45..54, _) if !away.is_empty() => {
                self.done("joined");
                self.workers[away[0]].spawn()?;
            }
            (54..60, _) if self.postgres_back.elapsed() > Duration::from_secs(10) => {
                self.done("Redis emptied");
                self.bed.empty_redis()?;
            }
            (60..64, _) => {
                self.done("PostgreSQL restarted");
                self.restart(Signal::SIGINT).await?;
            }
            (64..66, _) => {
                self.done("PostgreSQL crashed");
                self.restart(Signal::SIGQUIT).await?;
            }
            (66..70, _) => {
                self.done("tokens revoked");
                let tid = self.tenant();
                self.bed.control.revoke_tokens(tid).await?;
            }
            (70..74, _) => {
                self.done("delta tokens expired");
                let tid = self.tenant();
                self.bed.control.expire_delta(tid).await?;
            }
            _ => self.storm().await?,
        }
        Ok(())
    }

    fn pause(&mut self, n: usize, time: Duration) {
        self.workers[n].signal(Signal::SIGSTOP);
        self.paused.push(n);
        self.undo.push((Instant::now() + time, Undo::Continue(n)));
    }

    async fn restart(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.bed.postgres.end_by(signal).await;
        tokio::time::sleep(self.seconds(0..3)).await;
        self.bed.postgres.spawn()?;
        self.bed.postgres_ready().await?;
        self.postgres_back = Instant::now();
        Ok(())
    }

    fn tenant(&mut self) -> uuid::Uuid {
        self.organizations.choose(&mut self.random).map(|organization| organization.tid).unwrap_or_default()
    }

    /// Many requests of one kind fail for a while, of everybody or of one tenant.
    async fn storm(&mut self) -> anyhow::Result<()> {
        let status = |status: u16| json!({ "kind": "status", "status": status });
        let slow = self.random.random_range(1_000..9_000);
        let storms: [(&'static str, Option<&str>, Value); 11] = [
            ("429 with Retry-After", None, json!({ "kind": "status", "status": 429, "retryAfter": 3 })),
            ("429 without", Some("managedDevices"), status(429)),
            ("503", None, status(503)),
            ("504", None, status(504)),
            ("500", Some("batch"), status(500)),
            ("resets", None, json!({ "kind": "reset" })),
            ("answers lost", None, json!({ "kind": "resetAfter" })),
            ("slow answers", None, json!({ "kind": "slow", "latencyMs": slow })),
            ("pages cut off", Some("managedDevices"), json!({ "kind": "truncate", "bytes": 500 })),
            ("410 of delta", Some("devices.delta"), status(410)),
            ("token errors", Some("token"), json!({ "kind": "status", "status": 503, "aadsts": 90033 })),
        ];
        let Some((what, endpoint, effect)) = storms.choose(&mut self.random).cloned() else { return Ok(()) };
        let mut fault = json!({ "probability": self.random.random_range(0.1..0.6), "effect": effect });
        if let Some(endpoint) = endpoint {
            fault["endpoint"] = endpoint.into();
        }
        if self.random.random_bool(0.3) {
            fault["tenantId"] = self.tenant().to_string().into();
        }
        let number = self.bed.control.fault(&fault).await?;
        let over = Instant::now() + self.seconds(3..15);
        self.undo.push((over, Undo::Heal(number)));
        self.done(what);
        note(&format!("Storm: {what}"));
        Ok(())
    }
}
