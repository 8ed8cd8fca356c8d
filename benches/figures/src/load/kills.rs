//! `kill -9` of processes under load: what was acknowledged as recorded is there, once. PostgreSQL goes away now and
//! then, so that processes die with records on their way through Redis, too.

use std::time::{Duration, Instant};

use domain::time::{Clock as _, SystemClock};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::address;
use super::books;
use super::drive::{Length, Load, Pace};
use super::world::{self, Size};
use crate::Machine;
use crate::bed::{Bed, Served};
use crate::report::{note, say, table};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    size: Size,
    #[arg(long, default_value_t = 5_000)]
    clients: u32,
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Requests per second, at random moments.
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Of which one at a time is killed.
    #[arg(long, default_value_t = 2)]
    processes: usize,
    /// PostgreSQL is stopped for a few kills after so many; 0: never.
    #[arg(long, default_value_t = 20)]
    outage_every: u32,
    /// A process lives for up to so long before it is killed again.
    #[arg(long, default_value_t = 1_500)]
    life_ms: u64,
    /// Of everything that is random. Default: from the clock.
    #[arg(long)]
    seed: Option<u64>,
}

/// Kills for which PostgreSQL stays away.
const OUTAGE_KILLS: u32 = 3;

pub async fn run(machine: &Machine, args: Args) -> anyhow::Result<bool> {
    let seed = args.seed.unwrap_or_else(|| SystemClock.now().unix_timestamp().unsigned_abs());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut bed = Bed::start(machine, 1, 1).await?;
    let database = bed.database("kills").await?;
    let clients = world::seed(&database, args.size, args.clients).await?;
    let mut nacs: Vec<Served> =
        (1..=args.processes).map(|n| bed.gatehouse(&format!("nac-{n}"), "nac", &database, &[])).collect();
    for nac in &mut nacs {
        nac.program.start().await?;
    }
    let targets = nacs.iter().map(|nac| address(&nac.nac_url)).collect::<anyhow::Result<Vec<_>>>()?;
    let load = Load::new(targets, &world::requests(&clients), Length::Endless);
    let load = Load {
        connections: 256,
        pace: Pace::Open(args.rate),
        patience: Duration::from_secs(5),
        attempts: 100,
        ..load
    };
    let running = load.start();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut ready, mut outages, mut stopped) = (Vec::new(), 0, false);
    for kill in 0..args.kills {
        let due = args.outage_every > 0 && kill % args.outage_every == args.outage_every - 1;
        if due && !stopped {
            bed.postgres.end().await;
            (stopped, outages) = (true, outages + 1);
        }
        let which = usize::try_from(kill)? % nacs.len();
        nacs[which].program.kill();
        let begun = Instant::now();
        nacs[which].program.spawn()?;
        if stopped {
            // It is ready to serve, but says that PostgreSQL is away.
            tokio::time::sleep(Duration::from_millis(500)).await;
        } else {
            nacs[which].program.ready().await?;
            ready.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        if stopped && kill % args.outage_every == (OUTAGE_KILLS - 1).min(args.outage_every - 1) {
            bed.postgres.spawn()?;
            bed.postgres_ready().await?;
            stopped = false;
        }
        if kill % 10 == 9 {
            note(&format!("{} kills", kill + 1));
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..=args.life_ms))).await;
    }
    if stopped {
        bed.postgres.spawn()?;
        bed.postgres_ready().await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    running.stop();
    let journal = running.finish().await?;
    let found = books::compare(&bed, &database, &journal).await?;
    say(&format!(
        "{} kills of one of {} processes, PostgreSQL stopped {outages} times, {} requests/s. A process was ready again \
         after {:.0} ms (median). Seed {seed}.",
        args.kills,
        args.processes,
        args.rate,
        crate::report::median(&ready),
    ));
    let latency = journal.latency();
    let mut row = vec![
        journal.answered.len().to_string(),
        journal.failed.len().to_string(),
        journal.given_up.to_string(),
        found.unrecorded.to_string(),
        found.lost.len().to_string(),
        found.doubled.len().to_string(),
    ];
    row.extend(latency.cells());
    table(
        &[
            "answered",
            "attempts made again",
            "never answered",
            "not recorded",
            "lost",
            "doubled",
            "p50, ms",
            "p99",
            "p99.9",
            "longest",
        ],
        &[row],
    );
    say(&format!("Attempts that failed: {}.", journal.failures()));
    found.tell();
    let holds = found.hold() && journal.given_up == 0;
    for nac in &mut nacs {
        nac.program.end().await;
    }
    bed.stop().await;
    Ok(holds)
}
