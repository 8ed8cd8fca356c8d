//! Many tenants, each swept once: how the time falls with the number of worker processes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Machine;
use crate::bed::{Bed, Database};
use crate::report::{cores, note, say, table};
use crate::seed;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 10_000)]
    tenants: usize,
    /// Of each tenant.
    #[arg(long, default_value_t = 100)]
    devices: u64,
    /// Of every answer of the simulator.
    #[arg(long, default_value_t = 150)]
    latency_ms: u32,
    /// Numbers of processes.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    processes: Vec<usize>,
}

pub async fn run(machine: &Machine, args: Args) -> anyhow::Result<()> {
    let bed = Bed::start(machine, args.tenants, args.devices).await?;
    let seeded = bed.database("tenants").await?;
    note("Making the organizations");
    let begun = Instant::now();
    let store = seeded.store()?;
    let tenants = bed.control.tenants().await?;
    seed::organizations(&store, &tenants).await?;
    store.close().await;
    note(&format!("{} organizations in {:.0} s", tenants.len(), begun.elapsed().as_secs_f64()));
    bed.control.settings(&json!({ "latencyMs": args.latency_ms })).await?;
    let mut rows = Vec::new();
    let mut alone = None;
    for processes in &args.processes {
        let database = bed.copy(&seeded, &format!("tenants_{processes}")).await?;
        bed.control.forget_requests().await?;
        let outcome = sweep_all(&bed, &database, *processes).await?;
        let seconds = outcome.took.as_secs_f64();
        let base = *alone.get_or_insert(seconds * f64::from(u32::try_from(args.processes[0])?));
        let efficiency = base / seconds / f64::from(u32::try_from(*processes)?);
        let mut row = vec![
            processes.to_string(),
            format!("{seconds:.0}"),
            format!("{:.0}", f64::from(u32::try_from(tenants.len())?) / seconds),
            format!("{efficiency:.2}"),
        ];
        row.extend(outcome.cores);
        row.push(outcome.requests.to_string());
        rows.push(row);
        database.pool.close().await;
        bed.forget(&database)?;
        bed.empty_redis()?;
    }
    say(&format!(
        "{} tenants of {} devices, {} ms per answer of Microsoft; the time until every tenant was swept once. Efficiency \
         is T1 / TN / N. Cores are CPU seconds per second.",
        args.tenants, args.devices, args.latency_ms
    ));
    table(
        &[
            "processes",
            "seconds",
            "tenants/s",
            "efficiency",
            "workers, cores",
            "PostgreSQL",
            "Redis",
            "simulator",
            "requests to Microsoft",
        ],
        &rows,
    );
    bed.stop().await;
    Ok(())
}

struct Outcome {
    took: Duration,
    cores: Vec<String>,
    requests: u64,
}

async fn sweep_all(bed: &Bed, database: &Database, processes: usize) -> anyhow::Result<Outcome> {
    // As if all links had been made just now, however long seeding took.
    sqlx::query(
        "UPDATE sync_job SET next_due_at = clock_timestamp() + (next_due_at - linked_at)
                 FROM link WHERE (link.org_id, link.id) = (sync_job.org_id, sync_job.link_id)",
    )
    .execute(&database.pool)
    .await?;
    sqlx::query("ANALYZE").execute(&database.pool).await?;
    let mut workers: Vec<_> = (1..=processes)
        .map(|n| bed.gatehouse(&format!("sync-{processes}-{n}"), "sync", database, &[]))
        .collect();
    let before = bed.cpu();
    let begun = Instant::now();
    for worker in &mut workers {
        worker.program.spawn()?;
    }
    let mut told = Instant::now();
    loop {
        let left = database.count("SELECT count(*) FROM link WHERE confirmed_at IS NULL").await?;
        if left == 0 {
            break;
        }
        if told.elapsed() > Duration::from_secs(15) {
            note(&format!("{left} tenants to go after {:.0} s", begun.elapsed().as_secs_f64()));
            told = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let took = begun.elapsed();
    let spent: Vec<Duration> = workers.iter().map(|worker| worker.program.cpu()).collect();
    let mut shares = vec![spent.iter().map(|cpu| cores(*cpu, took)).collect::<Vec<_>>().join(" + ")];
    shares.extend(bed.cpu().into_iter().zip(before).map(|(now, then)| cores(now.saturating_sub(then), took)));
    let counters = bed.control.counters().await?;
    let requests =
        counters.as_object().into_iter().flatten().flat_map(|(_, by_status)| by_status.as_object());
    let requests = requests.flatten().filter_map(|(_, count)| count.as_u64()).sum();
    let devices = database.count("SELECT count(*) FROM device").await?;
    note(&format!("{processes} processes: {:.0} s, {devices} devices", took.as_secs_f64()));
    for worker in &mut workers {
        worker.program.kill();
    }
    Ok(Outcome { took, cores: shares, requests })
}
