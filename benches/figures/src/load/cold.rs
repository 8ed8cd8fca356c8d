//! Decisions about clients whose facts are not at hand: in PostgreSQL alone, in Redis, in memory; and a burst of many
//! unknown clients at once.

use std::time::Duration;

use super::address;
use super::books;
use super::drive::{Length, Load};
use super::journal::Journal;
use super::world::{self, Client, Size};
use crate::Machine;
use crate::bed::{Bed, Database, Served};
use crate::program::own_cpu;
use crate::report::{cores, note, say, table};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    size: Size,
    /// Distinct clients, each with a device of its own and asked for once per pass.
    #[arg(long, default_value_t = 100_000)]
    clients: u32,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Clients that come in the same moment, each on a connection of its own.
    #[arg(long, default_value_t = 2_000)]
    burst: usize,
}

pub async fn run(machine: &Machine, args: Args) -> anyhow::Result<bool> {
    let bed = Bed::start(machine, 1, 1).await?;
    let database = bed.database("cold").await?;
    let clients = world::seed(&database, args.size, args.clients).await?;
    let mut nac = bed.gatehouse("nac", "nac", &database, &[]);
    say(&format!(
        "{} distinct clients of {} organizations, {} rules, {} connections; each pass asks once for each client.",
        args.clients, args.size.organizations, args.size.rules, args.connections
    ));
    let mut pass =
        Pass { bed: &bed, clients: &clients, books: Journal::default(), rows: Vec::new(), next: 0 };
    let all = Length::Requests(u64::from(args.clients));
    for (what, forget_redis, restart) in
        [("in PostgreSQL alone", true, true), ("in Redis", false, true), ("in memory", false, false)]
    {
        if restart {
            nac.program.end().await;
        }
        if forget_redis {
            bed.empty_redis()?;
        }
        if restart {
            nac.program.start().await?;
        }
        note(&format!("A pass with facts {what}"));
        pass.run(what, &nac, args.connections, all).await?;
        settle(&bed, &database).await?;
    }
    let burst = Length::Requests(u64::try_from(args.burst)?);
    for (what, forget_redis) in [("a burst, in PostgreSQL alone", true), ("a burst, in Redis", false)] {
        nac.program.end().await;
        if forget_redis {
            bed.empty_redis()?;
        }
        nac.program.start().await?;
        note(&format!("Facts: {what}"));
        pass.run(what, &nac, args.burst, burst).await?;
        settle(&bed, &database).await?;
    }
    let Pass { books, rows, .. } = pass;
    let head = [
        "facts",
        "asked",
        "/s",
        "p50, ms",
        "p99",
        "p99.9",
        "longest",
        "memory",
        "Redis",
        "PostgreSQL",
        "written",
        "spilled",
        "peak, MB",
        "cores: nac",
        "PostgreSQL",
        "Redis",
        "generator",
    ];
    table(&head, &rows);
    say(&format!("Attempts that failed: {}.", books.failures()));
    let found = books::compare(&bed, &database, &books).await?;
    found.tell();
    let holds = found.hold() && found.unrecorded == 0 && books.failed.is_empty();
    nac.program.end().await;
    bed.stop().await;
    Ok(holds)
}

/// Passes over the clients.
struct Pass<'a> {
    bed: &'a Bed,
    clients: &'a [Client],
    books: Journal,
    rows: Vec<Vec<String>>,
    next: u64,
}

/// What the process counts.
const COUNTED: [(&str, &[&str]); 5] = [
    ("nac_facts_total", &["kind=\"lookup\"", "tier=\"memory\""]),
    ("nac_facts_total", &["kind=\"lookup\"", "tier=\"redis\""]),
    ("nac_facts_total", &["kind=\"lookup\"", "tier=\"postgres\""]),
    ("nac_records_total", &["became=\"written\""]),
    ("nac_records_total", &["became=\"spilled\""]),
];

impl Pass<'_> {
    async fn run(
        &mut self,
        what: &str,
        nac: &Served,
        connections: usize,
        length: Length,
    ) -> anyhow::Result<()> {
        let counted = async || -> anyhow::Result<Vec<f64>> {
            let page = nac.metrics().await?;
            Ok(COUNTED.iter().map(|(name, labels)| page.sum(name, labels)).collect())
        };
        let cpu = || {
            let [postgres, redis, _] = self.bed.cpu();
            [nac.program.cpu(), postgres, redis, own_cpu()]
        };
        let (counts, before) = (counted().await?, cpu());
        let requests = world::requests(self.clients);
        let load = Load::new(vec![address(&nac.nac_url)?], &requests, length);
        // Every pass begins at the first client.
        let clients = u64::try_from(self.clients.len())?;
        let first = self.next.div_ceil(clients) * clients;
        let journal = Load { connections, first, ..load }.run().await?;
        self.next = first + u64::try_from(journal.answered.len() + journal.failed.len())?;
        let (counts_after, after) = (counted().await?, cpu());
        let mut row =
            vec![what.to_owned(), journal.answered.len().to_string(), format!("{:.0}", journal.per_second())];
        row.extend(journal.latency().cells());
        row.extend(counts_after.iter().zip(counts).map(|(now, then)| format!("{:.0}", now - then)));
        row.push(format!("{:.0}", nac.program.peak_memory().map_or(f64::NAN, megabytes)));
        row.extend(after.iter().zip(before).map(|(now, then)| cores(now.saturating_sub(then), journal.wall)));
        self.rows.push(row);
        self.books.add(journal);
        Ok(())
    }
}

/// What waits in Redis is written before the next pass.
async fn settle(bed: &Bed, database: &Database) -> anyhow::Result<()> {
    books::drained(bed, database, Duration::from_secs(120)).await
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
