//! PostgreSQL or Redis goes away for a while under steady load: no decision fails, no event is lost or doubled, and
//! what waited is written once it is back.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::address;
use super::books::{self, Books};
use super::drive::{Length, Load, Pace};
use super::journal::Journal;
use super::world::{self, Size};
use crate::Machine;
use crate::bed::{Bed, Database, Served};
use crate::report::{note, say, table};

/// Windows in which latency is looked at.
const WINDOW: Duration = Duration::from_millis(500);
/// So many good ones in a row, and it is well again.
const CALM: usize = 6;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    size: Size,
    #[arg(long, default_value_t = 5_000)]
    clients: u32,
    /// Requests per second, at random moments.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// How long it is away.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Before, for comparison.
    #[arg(long, default_value_t = 15)]
    before: u64,
    /// Afterwards, to see it recover.
    #[arg(long, default_value_t = 30)]
    after: u64,
    #[arg(long, default_value_t = 2)]
    processes: usize,
    /// A decision that takes longer has failed: rlm_rest of `infra/freeradius` gives up after 2 s.
    #[arg(long, default_value_t = 2_000)]
    patience_ms: u64,
    /// What goes away, and how.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "postgres-stopped,postgres-frozen,redis-stopped,redis-frozen"
    )]
    outages: Vec<Outage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Outage {
    /// Its connections are closed, new ones are refused.
    PostgresStopped,
    /// It answers nothing, but its connections stand.
    PostgresFrozen,
    RedisStopped,
    RedisFrozen,
    /// Both are gone: answers may say `recorded: false`, and clients never seen before are denied.
    BothStopped,
}

/// One outage, in figures.
struct Seen {
    journal: Journal,
    away_at: Duration,
    back_at: Duration,
    /// From its return until nothing waited in Redis any more.
    drained: Duration,
    most_waiting: u64,
    books: Books,
}

pub async fn run(machine: &Machine, args: Args) -> anyhow::Result<bool> {
    let mut holds = true;
    let mut rows = Vec::new();
    say(&format!(
        "{} requests/s at random moments to {} processes, {} clients, {} rules. Away for {} s. A decision that takes \
         longer than {} ms has failed.",
        args.rate, args.processes, args.clients, args.size.rules, args.seconds, args.patience_ms
    ));
    let mut bed = Bed::start(machine, 1, 1).await?;
    for outage in &args.outages {
        let name = format!("{outage:?}");
        note(&format!("Outage: {name}"));
        let database = bed.database(&name.to_lowercase()).await?;
        let seen = one(&mut bed, &database, *outage, &args).await?;
        // Where both are gone, an answer may be of no use, but there is one.
        holds &= seen.journal.failed.is_empty() && seen.books.hold();
        holds &= seen.books.unrecorded == 0 || *outage == Outage::BothStopped;
        rows.push(row(&name, &seen));
        say(&format!("{name}: attempts that failed: {}.", seen.journal.failures()));
        seen.books.tell();
        bed.forget(&database)?;
    }
    let head = [
        "away",
        "answered",
        "failed",
        "not recorded",
        "lost",
        "doubled",
        "p99 before, ms",
        "while away",
        "longest",
        "well again after, s",
        "most waiting",
        "drained after, s",
    ];
    table(&head, &rows);
    bed.stop().await;
    Ok(holds)
}

async fn one(bed: &mut Bed, database: &Database, outage: Outage, args: &Args) -> anyhow::Result<Seen> {
    let clients = world::seed(database, args.size, args.clients).await?;
    let mut nacs: Vec<Served> =
        (1..=args.processes).map(|n| bed.gatehouse(&format!("nac-{n}"), "nac", database, &[])).collect();
    for nac in &mut nacs {
        nac.program.start().await?;
    }
    let targets = nacs.iter().map(|nac| address(&nac.nac_url)).collect::<anyhow::Result<Vec<_>>>()?;
    let requests = world::requests(&clients);
    // Everybody was here before, at every process.
    let mut first = 0;
    let mut journal = Journal::default();
    for target in &targets {
        let load = Load::new(vec![*target], &requests, Length::Requests(u64::from(args.clients)));
        journal.add(Load { first, ..load }.run().await?);
        first += u64::from(args.clients);
    }
    let load = Load::new(targets, &requests, Length::Endless);
    let patience = Duration::from_millis(args.patience_ms);
    let load = Load { connections: 1_024, pace: Pace::Open(args.rate), first, patience, ..load };
    let running = load.start();
    tokio::time::sleep(Duration::from_secs(args.before)).await;

    let away_at = running.elapsed();
    leave(bed, outage).await;
    note("Away");
    tokio::time::sleep((away_at + Duration::from_secs(args.seconds)).saturating_sub(running.elapsed())).await;
    let back_at = running.elapsed();
    come_back(bed, outage).await?;
    note("Back");
    let returned = Instant::now();
    let (mut drained, mut most_waiting) = (None, 0);
    while returned.elapsed() < Duration::from_secs(args.after) || drained.is_none() {
        let waiting = bed.spilled(database).unwrap_or(0);
        most_waiting = waiting.max(most_waiting);
        if waiting == 0 {
            drained.get_or_insert_with(|| returned.elapsed());
        } else {
            drained = None;
        }
        if returned.elapsed() > Duration::from_secs(args.after + 120) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    running.stop();
    let load = running.finish().await?;
    let (answered, failed) = (load.answered.len(), load.failed.len());
    note(&format!("{answered} answered, {failed} failed"));
    let mut all = journal;
    let warm = all.answered.len();
    all.answered.extend(load.answered);
    all.failed.extend(load.failed);
    let books = books::compare(bed, database, &all).await?;
    for nac in &mut nacs {
        nac.program.end().await;
    }
    // The figures are of the load alone.
    all.answered.drain(..warm);
    let drained = drained.unwrap_or_else(|| returned.elapsed());
    Ok(Seen { journal: all, away_at, back_at, drained, most_waiting, books })
}

async fn leave(bed: &mut Bed, outage: Outage) {
    match outage {
        Outage::PostgresStopped => bed.postgres.end().await,
        Outage::RedisStopped => bed.redis.end().await,
        Outage::PostgresFrozen => bed.postgres.signal_all(Signal::SIGSTOP),
        Outage::RedisFrozen => bed.redis.signal_all(Signal::SIGSTOP),
        Outage::BothStopped => {
            bed.redis.end().await;
            bed.postgres.end().await;
        }
    }
}

async fn come_back(bed: &mut Bed, outage: Outage) -> anyhow::Result<()> {
    match outage {
        Outage::PostgresStopped => bed.postgres.spawn()?,
        Outage::RedisStopped => bed.redis.spawn()?,
        Outage::PostgresFrozen => bed.postgres.signal_all(Signal::SIGCONT),
        Outage::RedisFrozen => bed.redis.signal_all(Signal::SIGCONT),
        Outage::BothStopped => {
            bed.redis.spawn()?;
            bed.postgres.spawn()?;
        }
    }
    bed.postgres_ready().await
}

fn row(name: &str, seen: &Seen) -> Vec<String> {
    let before = seen.journal.latency_between(Duration::ZERO, seen.away_at);
    let away = seen.journal.latency_between(seen.away_at, seen.back_at);
    let well = well_again(&seen.journal, seen.back_at, before.at(99.0));
    vec![
        name.to_owned(),
        seen.journal.answered.len().to_string(),
        seen.journal.failed.len().to_string(),
        seen.journal.unrecorded().to_string(),
        seen.books.lost.len().to_string(),
        seen.books.doubled.len().to_string(),
        format!("{:.1}", before.at(99.0)),
        format!("{:.1}", away.at(99.0)),
        format!("{:.0}", seen.journal.latency().at(100.0)),
        well.map_or_else(|| "not".to_owned(), |well| format!("{:.1}", well.as_secs_f64())),
        seen.most_waiting.to_string(),
        format!("{:.1}", seen.drained.as_secs_f64()),
    ]
}

/// From its return until the first of several windows in a row in which p99 is near what it was before.
fn well_again(journal: &Journal, back_at: Duration, before: f64) -> Option<Duration> {
    let limit = (before * 3.0).max(before + 20.0);
    let last = journal.answered.iter().map(|answer| answer.due).max()?;
    let (mut good, mut from) = (0, back_at);
    while from + WINDOW <= last {
        let window = journal.latency_between(from, from + WINDOW);
        good = if window.count() > 0 && window.at(99.0) <= limit { good + 1 } else { 0 };
        from += WINDOW;
        if good == CALM {
            let began = from - WINDOW * u32::try_from(CALM).unwrap_or(1);
            return Some(began.saturating_sub(back_at));
        }
    }
    None
}
