//! Devices per second of a full sweep, against COPY of the same rows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Machine;
use crate::bed::{Bed, Database, Served};
use crate::report::{as_f64, cores, median, note, say, table};
use crate::seed::{self, Organization};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 100_000)]
    devices: u64,
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Nothing comes due by itself.
pub const NEVER: u32 = 1_000_000;

/// One sweep, as the product's own record of it says.
#[derive(Debug, sqlx::FromRow)]
pub struct Run {
    started_at: OffsetDateTime,
    finished_at: OffsetDateTime,
    pub seen: i32,
    pub changed: i32,
    error: Option<String>,
}

impl Run {
    pub fn seconds(&self) -> f64 {
        (self.finished_at - self.started_at).as_seconds_f64()
    }
}

/// What one phase of one run came to.
struct Phase {
    name: &'static str,
    /// Devices per second.
    rate: f64,
    changed: i32,
    /// Of the worker, PostgreSQL, Redis and the simulator, in cores.
    cores: [String; 4],
}

pub async fn run(machine: &Machine, args: Args) -> anyhow::Result<()> {
    let bed = Bed::start(machine, 1, 1).await?;
    let database = bed.database("sweeps").await?;
    let more = [("SYNC_SWEEP_INTERVAL_SECONDS".to_owned(), NEVER.to_string())];
    let mut sync = bed.gatehouse("sync", "sync", &database, &more);
    sync.program.start().await?;
    let fleet = usize::try_from(args.devices)?;
    let (mut phases, mut copies, mut pages) = (Vec::new(), Vec::new(), Vec::new());
    for n in 1..=args.runs {
        note(&format!("Run {n} of {}", args.runs));
        let outcome = measure(&bed, &database, &sync, n, args.devices).await?;
        copies.push(as_f64(fleet) / outcome.copy.as_secs_f64());
        pages.push(outcome.pages);
        phases.push(outcome.phases);
    }
    sync.program.end().await;
    let copy = median(&copies);
    let page = median(&pages);
    say(&format!(
        "{} devices, median of {} runs. COPY into an identical table: {copy:.0} rows/s (of {}). The simulator gives \
         a bare client that reads the same pages {page:.0} devices/s (of {}).",
        args.devices,
        args.runs,
        list(&copies),
        list(&pages),
    ));
    let mut rows = Vec::new();
    for at in 0..phases.first().map_or(0, Vec::len) {
        let rates: Vec<f64> = phases.iter().map(|run| run[at].rate).collect();
        let last = &phases[phases.len() - 1][at];
        let rate = median(&rates);
        let mut row = vec![
            last.name.to_owned(),
            last.changed.to_string(),
            format!("{rate:.0}"),
            format!("{:.2}", rate / copy),
            format!("{:.2}", rate / page),
        ];
        row.extend(last.cores.iter().cloned());
        row.push(list(&rates));
        rows.push(row);
    }
    table(
        &[
            "sweep",
            "changed",
            "devices/s",
            "of COPY",
            "of bare paging",
            "worker cores",
            "PostgreSQL",
            "Redis",
            "simulator",
            "each run",
        ],
        &rows,
    );
    bed.stop().await;
    Ok(())
}

fn list(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.0}")).collect::<Vec<_>>().join(", ")
}

struct Outcome {
    phases: Vec<Phase>,
    copy: Duration,
    pages: f64,
}

async fn measure(
    bed: &Bed,
    database: &Database,
    sync: &Served,
    n: usize,
    devices: u64,
) -> anyhow::Result<Outcome> {
    let control = &bed.control;
    let tenant = control.create_tenant(&format!("fleet{n}"), devices).await?;
    let store = database.store()?;
    let mut phases = Vec::new();

    let meter = Meter::start(bed, sync);
    let org = seed::organization(&store, &tenant).await?;
    put_off_others(database, &org).await?;
    let run = swept(database, org.link.uuid(), None).await?;
    phases.push(meter.phase("new", &run));
    store.close().await;
    let path = control.list_request().await?;
    let fleet = usize::try_from(devices)?;
    for (name, share) in [("unchanged", None), ("a tenth changed", Some(10)), ("all changed", Some(1))] {
        database.carried(Duration::from_secs(600)).await?;
        if let Some(share) = share {
            let wanted = fleet / share;
            if share == 1 {
                rename_all(bed, tenant.id).await?;
            } else {
                let flipped = control.flip(tenant.id, "compliant", "noncompliant", wanted).await?;
                if flipped != wanted {
                    bail!("only {flipped} devices could be flipped");
                }
            }
        }
        let meter = Meter::start(bed, sync);
        let run = swept(database, org.link.uuid(), Some(request(database, &org).await?)).await?;
        phases.push(meter.phase(name, &run));
    }
    database.carried(Duration::from_secs(600)).await?;
    let (paged, took) = control.page_through(tenant.id, &path).await?;
    if paged != fleet {
        bail!("a bare client saw {paged} devices of {fleet}");
    }
    let copy = copy(bed, database, &org).await?;
    Ok(Outcome { phases, copy, pages: as_f64(paged) / took.as_secs_f64() })
}

/// Every device changes in some way: all states turn around.
async fn rename_all(bed: &Bed, tenant: Uuid) -> anyhow::Result<()> {
    let all = usize::MAX >> 1;
    bed.control.flip(tenant, "noncompliant", "conflict", all).await?;
    bed.control.flip(tenant, "compliant", "noncompliant", all).await?;
    for from in ["inGracePeriod", "unknown", "error", "configManager"] {
        bed.control.flip(tenant, from, "compliant", all).await?;
    }
    Ok(())
}

/// Only sweeps are measured: the link's other kinds of work are taken away, also from whoever is at them.
async fn put_off_others(database: &Database, org: &Organization) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM sync_job WHERE link_id = $1 AND kind <> 'sweep'")
        .bind(org.link.uuid())
        .execute(&database.pool)
        .await?;
    Ok(())
}

/// Makes a sweep due; returns when.
pub async fn request(database: &Database, org: &Organization) -> anyhow::Result<OffsetDateTime> {
    sqlx::query_scalar(
        "UPDATE sync_job SET next_due_at = clock_timestamp(), requested_at = clock_timestamp()
         WHERE link_id = $1 AND kind = 'sweep' RETURNING next_due_at",
    )
    .bind(org.link.uuid())
    .fetch_one(&database.pool)
    .await
    .context("the sweep could not be asked for")
}

/// Waits for the first sweep of a link that began since then to have gone through.
pub async fn swept(database: &Database, link: Uuid, since: Option<OffsetDateTime>) -> anyhow::Result<Run> {
    let since = since.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    loop {
        let run: Option<Run> = sqlx::query_as(
            "SELECT started_at, finished_at, seen, changed, error FROM sync_run
             WHERE link_id = $1 AND started_at >= $2 AND finished_at IS NOT NULL ORDER BY started_at LIMIT 1",
        )
        .bind(link)
        .bind(since)
        .fetch_optional(&database.pool)
        .await?;
        match run {
            Some(Run { error: Some(error), .. }) => bail!("a sweep failed: {error}"),
            Some(run) => return Ok(run),
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The link's device rows, out of the table and into one that is made like it: same columns, same indexes.
async fn copy(bed: &Bed, database: &Database, org: &Organization) -> anyhow::Result<Duration> {
    let mut url: url::Url = bed.servers.superuser_url().parse()?;
    url.set_path(&database.name);
    let mut connection = PgConnection::connect(url.as_str()).await?;
    // What PostgreSQL makes itself is made again by both.
    let columns: String = sqlx::query_scalar(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = 'device'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
    )
    .fetch_one(&mut connection)
    .await?;
    let (from, to) = (
        format!(
            "COPY (SELECT {columns} FROM device WHERE link_id = '{}') TO STDOUT (FORMAT binary)",
            org.link.uuid()
        ),
        format!("COPY device_copy ({columns}) FROM STDIN (FORMAT binary)"),
    );
    connection
        .execute("DROP TABLE IF EXISTS device_copy; CREATE TABLE device_copy (LIKE device INCLUDING ALL)")
        .await?;
    connection.execute("CHECKPOINT").await?;
    let rows = {
        use futures::TryStreamExt as _;
        let mut out = connection.copy_out_raw(&from).await?;
        let mut rows = Vec::new();
        while let Some(chunk) = out.try_next().await? {
            rows.extend_from_slice(&chunk);
        }
        rows
    };
    let begun = Instant::now();
    let mut copy = connection.copy_in_raw(&to).await?;
    for chunk in rows.chunks(1 << 16) {
        copy.send(chunk).await?;
    }
    copy.finish().await?;
    let took = begun.elapsed();
    connection.execute("DROP TABLE device_copy").await?;
    connection.close().await?;
    Ok(took)
}

/// CPU time of a phase.
struct Meter<'a> {
    bed: &'a Bed,
    sync: &'a Served,
    before: [Duration; 4],
    begun: Instant,
}

impl<'a> Meter<'a> {
    fn start(bed: &'a Bed, sync: &'a Served) -> Self {
        Self { bed, sync, before: Self::now(bed, sync), begun: Instant::now() }
    }

    fn now(bed: &Bed, sync: &Served) -> [Duration; 4] {
        let [postgres, redis, simulator] = bed.cpu();
        [sync.program.cpu(), postgres, redis, simulator]
    }

    fn phase(&self, name: &'static str, run: &Run) -> Phase {
        let wall = self.begun.elapsed();
        let mut spent = Self::now(self.bed, self.sync).into_iter().zip(self.before);
        let cores = std::array::from_fn(|_| {
            spent.next().map_or_else(String::new, |(now, before)| cores(now.saturating_sub(before), wall))
        });
        note(&format!("{name}: {} devices, {} changed, in {:.1} s", run.seen, run.changed, run.seconds()));
        Phase { name, rate: f64::from(run.seen) / run.seconds(), changed: run.changed, cores }
    }
}
