//! From the moment a device's compliance changed at Microsoft to the acknowledged Change of Authorization.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use domain::time::{Clock as _, SystemClock};
use futures::{StreamExt as _, stream};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::Machine;
use crate::bed::{Bed, Database};
use crate::control::{Control, Tenant};
use crate::edges::Edge;
use crate::report::{as_f64, cores, note, percentile, say, table};
use crate::seed::{self, Organization};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 200)]
    tenants: usize,
    /// Of each tenant.
    #[arg(long, default_value_t = 50)]
    devices: u64,
    #[arg(long, default_value_t = 1000)]
    changes: usize,
    /// The changes are spread over this long.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Of all requests, in percent; a third each 429, 503 and resets.
    #[arg(long, default_value_t = 5.0)]
    failing: f64,
    #[arg(long, default_value_t = 150)]
    latency_ms: u32,
    /// Worker processes.
    #[arg(long, default_value_t = 2)]
    processes: usize,
    /// How long after the last change an acknowledgement still counts.
    #[arg(long, default_value_t = 420)]
    patience: u64,
    /// What must hold at the 99th percentile.
    #[arg(long, default_value_t = 120.0)]
    target: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A device that will change, with its session.
struct Subject {
    tenant: usize,
    device: String,
    session: String,
    /// The state that it changes to.
    to: &'static str,
}

pub async fn run(machine: &Machine, args: Args) -> anyhow::Result<bool> {
    // One tenant more: it hangs, and nothing of it is measured.
    let bed = Bed::start(machine, args.tenants + 1, args.devices).await?;
    let database = bed.database("latency").await?;
    let tenants = bed.control.tenants().await?;
    let mut subjects = subjects(&bed.control, &tenants[1..], &args).await?;
    let store = database.store()?;
    let organizations = seed::organizations(&store, &tenants).await?;
    store.close().await;
    bed.control.settings(&json!({ "latencyMs": args.latency_ms })).await?;
    let mut workers: Vec<_> =
        (1..=args.processes).map(|n| bed.gatehouse(&format!("sync-{n}"), "sync", &database, &[])).collect();
    let mut nac = bed.gatehouse("nac", "nac", &database, &[]);
    for worker in &mut workers {
        worker.program.start().await?;
    }
    nac.program.start().await?;
    note("Waiting for every tenant to be swept once");
    while database.count("SELECT count(*) FROM link WHERE confirmed_at IS NULL").await? > 0 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    database.carried(Duration::from_secs(120)).await?;

    let (stop, stopped) = watch::channel(false);
    let edges = join_all(&nac.nac_url, &organizations[1..], &subjects).await?;
    let serving: Vec<_> =
        edges.iter().map(|edge| tokio::spawn(edge.clone().serve(stopped.clone()))).collect();
    misbehave(&bed.control, &tenants[0], args.failing).await?;
    note(&format!("{} sessions; {} changes over {} s", subjects.len(), args.changes, args.seconds));
    // The faults and the hanging tenant have the workers in their grip when the first change comes.
    tokio::time::sleep(Duration::from_secs(30)).await;

    let mut random = ChaCha8Rng::seed_from_u64(args.seed);
    subjects.shuffle(&mut random);
    let before: Vec<Duration> = workers.iter().map(|worker| worker.program.cpu()).collect();
    let servers_before = bed.cpu();
    let begun = Instant::now();
    let flipped =
        change_all(&bed.control, &tenants[1..], &subjects, Duration::from_secs(args.seconds)).await?;
    let waits = wait(&edges, &subjects, &flipped, Duration::from_secs(args.patience)).await;
    let wall = begun.elapsed();
    let _ = stop.send(true);
    for task in serving {
        let _ = task.await;
    }
    let spent: Vec<String> = workers
        .iter()
        .zip(before)
        .map(|(worker, before)| cores(worker.program.cpu().saturating_sub(before), wall))
        .collect();
    let servers: Vec<String> = bed
        .cpu()
        .into_iter()
        .zip(servers_before)
        .map(|(now, then)| cores(now.saturating_sub(then), wall))
        .collect();
    let holds = report(&args, &subjects, &waits, &database).await?;
    say(&format!(
        "Cores: workers {}; PostgreSQL, Redis, simulator {}.",
        spent.join(" + "),
        servers.join(", ")
    ));
    for program in workers.iter_mut().chain([&mut nac]) {
        program.program.end().await;
    }
    bed.stop().await;
    Ok(holds)
}

/// Spread evenly over the tenants; three of ten turn from noncompliant to compliant, the others the other way.
async fn subjects(control: &Control, tenants: &[Tenant], args: &Args) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    let each = args.changes.div_ceil(tenants.len());
    for (n, tenant) in tenants.iter().enumerate() {
        let devices = control.devices(tenant.id).await?;
        let compliant = devices.iter().filter(|device| device.compliance_state == "compliant");
        for device in compliant.take(each.min(args.changes - subjects.len())) {
            let better = subjects.len() % 10 < 3;
            if better {
                control.set_compliance(tenant.id, &device.id, "noncompliant").await?;
            }
            subjects.push(Subject {
                tenant: n,
                session: format!("{n}-{}", device.id),
                device: device.id.clone(),
                to: if better { "compliant" } else { "noncompliant" },
            });
        }
    }
    Ok(subjects)
}

async fn join_all(
    nac: &url::Url,
    organizations: &[Organization],
    subjects: &[Subject],
) -> anyhow::Result<Vec<Edge>> {
    let edges: Vec<Edge> = organizations
        .iter()
        .map(|organization| Edge::new(nac.clone(), &organization.token))
        .collect::<anyhow::Result<_>>()?;
    stream::iter(subjects)
        .for_each_concurrent(8, |subject| edges[subject.tenant].join(&subject.session, &subject.device))
        .await;
    Ok(edges)
}

/// Requests of everybody fail now and then, and one tenant never answers.
async fn misbehave(control: &Control, hanging: &Tenant, failing: f64) -> anyhow::Result<()> {
    control
        .fault(&json!({ "tenantId": hanging.id, "effect": { "kind": "slow", "latencyMs": 3_600_000 } }))
        .await?;
    let third = failing / 300.0;
    for effect in [
        json!({ "kind": "status", "status": 429, "retryAfter": 5 }),
        json!({ "kind": "status", "status": 503 }),
        json!({ "kind": "reset" }),
    ] {
        control.fault(&json!({ "probability": third, "effect": effect })).await?;
    }
    Ok(())
}

/// Changes one device after the other, evenly over the time; returns when each was changed.
async fn change_all(
    control: &Control,
    tenants: &[Tenant],
    subjects: &[Subject],
    over: Duration,
) -> anyhow::Result<HashMap<String, OffsetDateTime>> {
    let mut flipped = HashMap::new();
    let mut tick = tokio::time::interval(over / u32::try_from(subjects.len().max(1))?);
    for subject in subjects {
        tick.tick().await;
        // Before the change, so that no wait looks shorter than it was.
        flipped.insert(subject.session.clone(), SystemClock.now());
        let tenant: Uuid = tenants[subject.tenant].id;
        control.set_compliance(tenant, &subject.device, subject.to).await?;
    }
    Ok(flipped)
}

/// Seconds from each change to the first acknowledged command of its session.
async fn wait(
    edges: &[Edge],
    subjects: &[Subject],
    flipped: &HashMap<String, OffsetDateTime>,
    patience: Duration,
) -> HashMap<String, f64> {
    let begun = Instant::now();
    let mut told = Instant::now();
    loop {
        let mut waits = HashMap::new();
        for edge in edges {
            for acked in &edge.journal().acked {
                let Some(since) = flipped.get(&acked.session).filter(|since| **since <= acked.at) else {
                    continue;
                };
                waits.entry(acked.session.clone()).or_insert((acked.at - *since).as_seconds_f64());
            }
        }
        if waits.len() == subjects.len() || begun.elapsed() > patience {
            return waits;
        }
        if told.elapsed() > Duration::from_secs(15) {
            note(&format!("{} of {} acknowledged", waits.len(), subjects.len()));
            told = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// True where the target holds, and every change led to a command.
async fn report(
    args: &Args,
    subjects: &[Subject],
    waits: &HashMap<String, f64>,
    database: &Database,
) -> anyhow::Result<bool> {
    let missing: HashSet<&str> = subjects
        .iter()
        .map(|subject| subject.session.as_str())
        .filter(|session| !waits.contains_key(*session))
        .collect();
    say(&format!(
        "{} changes in {} tenants of {} devices over {} s, {} % of requests failing, one more tenant hanging, {} ms per \
         answer, {} worker processes. Never acknowledged: {}.",
        subjects.len(),
        args.tenants,
        args.devices,
        args.seconds,
        args.failing,
        args.latency_ms,
        args.processes,
        missing.len()
    ));
    let mut rows = Vec::new();
    let mut overall = f64::INFINITY;
    for (name, to) in
        [("all", None), ("to noncompliant", Some("noncompliant")), ("to compliant", Some("compliant"))]
    {
        let chosen: Vec<&Subject> = subjects.iter().filter(|one| to.is_none_or(|to| one.to == to)).collect();
        // One that never came counts as the longest of all.
        let values: Vec<f64> = chosen
            .iter()
            .map(|subject| waits.get(&subject.session).copied().unwrap_or(f64::INFINITY))
            .collect();
        let rank = |percent| format!("{:.1}", percentile(&values, percent));
        rows.push(vec![
            name.to_owned(),
            values.len().to_string(),
            rank(50.0),
            rank(90.0),
            rank(99.0),
            rank(100.0),
        ]);
        if to.is_none() {
            overall = percentile(&values, 99.0);
        }
    }
    table(&["changes", "count", "p50, s", "p90, s", "p99, s", "longest, s"], &rows);
    let noticed: Vec<(Option<String>, i64)> = sqlx::query_as(
        "SELECT noticed_by, count(*) FROM device_transition WHERE from_state IS NOT NULL GROUP BY 1 ORDER BY 2 DESC",
    )
    .fetch_all(&database.pool)
    .await?;
    let noticed = noticed.iter().map(|(kind, count)| format!("{} {count}", kind.as_deref().unwrap_or("?")));
    say(&format!("Changes were noticed by: {}.", noticed.collect::<Vec<_>>().join(", ")));
    let share = as_f64(subjects.len() - missing.len()) / as_f64(subjects.len().max(1)) * 100.0;
    say(&format!("{share:.1} % acknowledged; p99 {overall:.1} s against a target of {} s.", args.target));
    Ok(missing.is_empty() && overall <= args.target)
}
