//! Peak memory of a worker process: bounded by the page, not by the fleet.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::Machine;
use crate::bed::Bed;
use crate::report::{note, say, table};
use crate::seed;
use crate::sweep::{self, NEVER};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 1_000_000)]
    devices: u64,
    /// What it is compared with.
    #[arg(long, default_value_t = 10_000)]
    small: u64,
}

pub async fn run(machine: &Machine, args: Args) -> anyhow::Result<()> {
    let bed = Bed::start(machine, 1, 1).await?;
    let mut rows = Vec::new();
    for (n, devices) in [args.small, args.devices].into_iter().enumerate() {
        note(&format!("A tenant of {devices} devices"));
        let database = bed.database(&format!("memory{n}")).await?;
        let tenant = bed.control.create_tenant(&format!("memory{n}"), devices).await?;
        let store = database.store()?;
        let more = [("SYNC_SWEEP_INTERVAL_SECONDS".to_owned(), NEVER.to_string())];
        let mut sync = bed.gatehouse(&format!("sync-{devices}"), "sync", &database, &more);
        sync.program.start().await?;
        let idle = megabytes(sync.program.memory_now())?;
        let begun = Instant::now();
        let org = seed::organization(&store, &tenant).await?;
        store.close().await;
        let mut row = vec![devices.to_string(), idle];
        for (phase, since) in [("first", None), ("second", Some(()))] {
            let since = match since {
                Some(()) => Some(sweep::request(&database, &org).await?),
                None => None,
            };
            let run = sweep::swept(&database, org.link.uuid(), since).await?;
            let peak = megabytes(sync.program.peak_memory())?;
            let (seconds, passed) = (run.seconds(), begun.elapsed().as_secs());
            note(&format!(
                "{phase} sweep: {seconds:.0} s, {} changed, peak {peak} MB, after {passed} s",
                run.changed
            ));
            row.extend([format!("{seconds:.0}"), peak]);
        }
        // The relay carries on for a while: its memory counts too.
        database.carried(Duration::from_secs(900)).await?;
        row.push(megabytes(sync.program.peak_memory())?);
        row.push(megabytes(bed.redis.memory_now())?);
        rows.push(row);
        sync.program.end().await;
        bed.forget(&database)?;
        bed.empty_redis()?;
    }
    say("Memory of one sync process (resident, MB). Redis keeps what every device is found by.");
    table(
        &[
            "devices",
            "idle",
            "first sweep, s",
            "peak after",
            "unchanged sweep, s",
            "peak after",
            "peak at the end",
            "Redis",
        ],
        &rows,
    );
    bed.stop().await;
    Ok(())
}

fn megabytes(bytes: Option<u64>) -> anyhow::Result<String> {
    Ok((bytes.context("the process is gone")? / 1_000_000).to_string())
}
