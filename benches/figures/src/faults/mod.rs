//! The fault run: everything that can go wrong does, at random by a seed; then the books are compared.
//!
//! Time may be compressed: by `--factor`, every interval of the product that is given in seconds is divided, so that
//! an hour of its life takes `60 / factor` minutes. Leases have a floor, below which the product refuses to start.

mod changes;
mod chaos;
mod check;

use std::time::{Duration, Instant};

use anyhow::bail;
use domain::time::{Clock as _, SystemClock};
use futures::{StreamExt as _, stream};
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::Machine;
use crate::bed::{Bed, Database};
use crate::edges::Edge;
use crate::report::{note, say};
use crate::seed::{self, Organization};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long things go wrong, in minutes of the product's life.
    #[arg(long, default_value_t = 60)]
    minutes: u32,
    /// Intervals are divided by this.
    #[arg(long, default_value_t = 6)]
    factor: u32,
    #[arg(long, default_value_t = 20)]
    tenants: usize,
    #[arg(long, default_value_t = 45)]
    devices: u64,
    /// Sessions of each tenant.
    #[arg(long, default_value_t = 15)]
    sessions: usize,
    /// Changes at Microsoft per second that passes here.
    #[arg(long, default_value_t = 3.0)]
    rate: f64,
    /// Worker processes.
    #[arg(long, default_value_t = 3)]
    processes: usize,
    /// Of all requests that fail all along, in percent, besides the storms.
    #[arg(long, default_value_t = 5.0)]
    failing: f64,
    /// Of everything that is random. Default: from the clock.
    #[arg(long)]
    seed: Option<u64>,
}

/// Intervals of the run, in seconds that pass here.
#[derive(Clone, Debug)]
pub struct Scale {
    pub settings: Vec<(String, String)>,
    pub lease: Duration,
    pub sweep: Duration,
    /// A state that stood longer must have been seen, whatever went wrong meanwhile.
    pub visible: Duration,
    /// Longer still, and the session's client must have been moved.
    pub moved: Duration,
}

/// A session and the device that it is of.
#[derive(Clone, Debug)]
pub struct Seat {
    pub tenant: usize,
    pub device: String,
    pub session: String,
}

pub async fn run(machine: &Machine, args: Args) -> anyhow::Result<bool> {
    let seed = args.seed.unwrap_or_else(|| SystemClock.now().unix_timestamp().unsigned_abs());
    let mut bed = Bed::start(machine, args.tenants, args.devices).await?;
    let database = bed.database("faults").await?;
    let scale = scale(&bed, &database, &args)?;
    let passes = Duration::from_secs(u64::from(args.minutes) * 60) / args.factor;
    say(&format!(
        "Seed {seed}. {} minutes at {} times their speed: {} s here; sweeps every {} s, leases of {} s. {} tenants of {} \
         devices, {} sessions each, {} worker processes, {} changes/s, {} % of requests failing.",
        args.minutes,
        args.factor,
        passes.as_secs(),
        scale.sweep.as_secs(),
        scale.lease.as_secs(),
        args.tenants,
        args.devices,
        args.sessions,
        args.processes,
        args.rate,
        args.failing,
    ));
    let tenants = bed.control.tenants().await?;
    let store = database.store()?;
    let organizations = seed::organizations(&store, &tenants).await?;
    store.close().await;
    let mut nac = bed.gatehouse("nac", "nac", &database, &scale.settings);
    nac.program.start().await?;
    let mut workers = Vec::new();
    // Half as many again wait outside, to join.
    for n in 1..=args.processes + args.processes.div_ceil(2) {
        let mut worker = bed.gatehouse(&format!("sync-{n}"), "sync", &database, &scale.settings).program;
        if n <= args.processes {
            worker.start().await?;
        }
        workers.push(worker);
    }
    first_sweeps(&database).await?;
    let seats = seats(&bed, &organizations, args.sessions).await?;
    let edges = join(&nac.nac_url, &organizations, &seats).await?;
    let (stop, stopped) = watch::channel(false);
    let serving: Vec<_> =
        edges.iter().map(|edge| tokio::spawn(edge.clone().serve(stopped.clone()))).collect();

    bed.control.settings(&json!({ "latencyMs": 20 })).await?;
    let started_at = SystemClock.now();
    let (control, until) = (bed.control.clone(), Instant::now() + passes);
    let changing = changes::drive(&control, &organizations, &seats, args.rate, seed, until);
    let raging = chaos::rage(&mut bed, &mut workers, &organizations, &scale, args.failing, seed, until);
    let (journal, deeds) = tokio::join!(changing, raging);
    let (journal, deeds) = (journal?, deeds?);
    say(&format!("What was done: {}.", deeds.summary()));
    let ended_at = SystemClock.now();
    quiesce(&database, &scale, ended_at).await?;

    let found = check::all(&check::Books {
        control: &bed.control,
        database: &database,
        organizations: &organizations,
        edges: &edges,
        seats: &seats,
        journal: &journal,
        scale: &scale,
        started_at,
        ended_at,
    })
    .await?;
    let _ = stop.send(true);
    for task in serving {
        let _ = task.await;
    }
    for worker in &mut workers {
        worker.end().await;
    }
    nac.program.end().await;
    for line in &found.figures {
        say(line);
    }
    for violation in found.violations.iter().take(40) {
        say(&format!("VIOLATION: {violation}"));
    }
    let holds = found.violations.is_empty();
    say(&format!("{} violations. Seed {seed}.", found.violations.len()));
    bed.stop().await;
    Ok(holds)
}

/// Every interval that the product names in seconds, divided.
fn scale(bed: &Bed, database: &Database, args: &Args) -> anyhow::Result<Scale> {
    let factor = u64::from(args.factor.max(1));
    let mut settings = Vec::new();
    let (mut lease, mut sweep) = (30, 300);
    for (key, value) in bed.sync_settings(database)? {
        let scaled = key.starts_with("SYNC_") || key == "MICROSOFT_REQUEST_TIMEOUT_SECONDS";
        // How long a process may take to end is no rhythm, and budgets are the simulator's, whose clock is ours.
        let kept = key == "SYNC_DRAIN_SECONDS" || key.ends_with("_WINDOW_SECONDS");
        if !scaled || kept || !(key.ends_with("_SECONDS") || key.ends_with("_SECONDS_MAX")) {
            continue;
        }
        let Ok(seconds) = value.parse::<u64>() else { continue };
        let mut less = (seconds / factor).max(u64::from(seconds > 0));
        match key.as_str() {
            "SYNC_LEASE_SECONDS" => {
                less = less.max(30);
                lease = less;
            }
            "SYNC_SWEEP_INTERVAL_SECONDS" => sweep = less,
            _ => {}
        }
        settings.push((key, less.to_string()));
    }
    if settings.is_empty() {
        bail!("the product names no intervals");
    }
    settings.push(("NAC_REDELIVER_AFTER_SECONDS".to_owned(), (30 / factor).max(1).to_string()));
    let (lease, sweep) = (Duration::from_secs(lease), Duration::from_secs(sweep));
    // Two leases in a row may be lost to a paused and a killed worker, a storm makes a retry or two wait.
    let visible = sweep * 6 / 5 + lease * 2 + Duration::from_secs(20);
    Ok(Scale { settings, lease, sweep, visible, moved: visible + Duration::from_secs(30) })
}

async fn first_sweeps(database: &Database) -> anyhow::Result<()> {
    note("Waiting for every tenant to be swept once");
    while database.count("SELECT count(*) FROM link WHERE confirmed_at IS NULL").await? > 0 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    database.carried(Duration::from_secs(120)).await
}

/// The first devices of each tenant have a session.
async fn seats(bed: &Bed, organizations: &[Organization], each: usize) -> anyhow::Result<Vec<Seat>> {
    let mut seats = Vec::new();
    for (tenant, organization) in organizations.iter().enumerate() {
        let devices = bed.control.devices(organization.tid).await?;
        seats.extend(devices.into_iter().take(each).map(|device| Seat {
            tenant,
            session: format!("{tenant}-{}", device.id),
            device: device.id,
        }));
    }
    Ok(seats)
}

async fn join(nac: &url::Url, organizations: &[Organization], seats: &[Seat]) -> anyhow::Result<Vec<Edge>> {
    let edges: Vec<Edge> = organizations
        .iter()
        .map(|organization| Edge::new(nac.clone(), &organization.token))
        .collect::<anyhow::Result<_>>()?;
    stream::iter(seats)
        .for_each_concurrent(8, |seat| edges[seat.tenant].join(&seat.session, &seat.device))
        .await;
    Ok(edges)
}

/// Waits until every link was swept whole after the last change, and everything that followed from it was done.
async fn quiesce(database: &Database, scale: &Scale, ended_at: OffsetDateTime) -> anyhow::Result<()> {
    note("Everything is well again; waiting for the sync to come to rest");
    let patience = scale.visible * 2 + Duration::from_secs(240);
    let begun = Instant::now();
    let mut calm = 0;
    while calm < 5 {
        let behind: i64 =
            sqlx::query_scalar("SELECT count(*) FROM link WHERE confirmed_at IS NULL OR confirmed_at < $1")
                .bind(ended_at)
                .fetch_one(&database.pool)
                .await?;
        let waiting = database.count("SELECT count(*) FROM outbox").await?;
        let open =
            database.count("SELECT count(*) FROM command WHERE state IN ('pending', 'delivered')").await?;
        calm = if behind + waiting + open == 0 { calm + 1 } else { 0 };
        if begun.elapsed() > patience {
            say(&format!(
                "It did not come to rest within {} s: {behind} links are not swept, {waiting} messages and {open} \
                 commands wait.",
                patience.as_secs()
            ));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    say(&format!("It came to rest {} s after the last fault.", begun.elapsed().as_secs()));
    Ok(())
}
