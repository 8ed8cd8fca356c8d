//! Decisions per second and their latency, with everything in memory and every event durable; against an echo of the
//! same requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use devservers::free_port;
use nix::sys::signal::Signal;

use super::drive::{Length, Load, Pace};
use super::journal::Journal;
use super::requests::Requests;
use super::world::{self, Client, Size};
use super::{address, books};
use crate::Machine;
use crate::bed::{Bed, Database, Served, local};
use crate::program::{Program, own_cpu};
use crate::report::{cores, median, note, say, table};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    size: Size,
    /// Each with a device of its own; few enough to be in memory.
    #[arg(long, default_value_t = 2_000)]
    clients: u32,
    /// Closed loop: connections, each of which asks again as soon as it was answered.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    connections: Vec<usize>,
    /// Of each round.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Echo and decisions take turns so often; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Open loop: requests per second, in percent of what the closed loop reached at most.
    #[arg(long, value_delimiter = ',', default_value = "25,50,75,90")]
    percent: Vec<f64>,
    /// Open loop: requests per second.
    #[arg(long, value_delimiter = ',')]
    rates: Vec<f64>,
    /// Processes of Gatehouse that decide.
    #[arg(long, default_value_t = 1)]
    processes: usize,
}

/// Everything that runs.
struct Rig {
    bed: Bed,
    database: Database,
    nacs: Vec<Served>,
    echo: Program,
    decisions: Side,
    echoes: Side,
}

/// Whom to ask, and what.
#[derive(Clone)]
struct Side {
    targets: Vec<SocketAddr>,
    requests: Arc<Requests>,
    decisions: bool,
}

/// A round, and the cores that each party had meanwhile.
struct Round {
    journal: Journal,
    cores: Vec<String>,
}

pub async fn run(machine: &Machine, args: Args) -> anyhow::Result<bool> {
    let mut rig = Rig::start(machine, &args).await?;
    let mut number = 0;
    note("Warming up");
    let mut books = rig.round(&rig.decisions, Pace::Closed, 64, 3, &mut number).await?.journal;
    rig.round(&rig.echoes, Pace::Closed, 64, 1, &mut 0).await?;
    say(&format!(
        "{} rules, {} clients of {} organizations with {} edges each, everything in memory; a request is {} bytes with \
         its head.",
        args.size.rules,
        args.clients,
        args.size.organizations,
        args.size.edges,
        rig.decisions.requests.bytes(),
    ));
    let most = closed(&rig, &args, &mut number, &mut books).await?;
    open(&rig, &args, most, &mut number, &mut books).await?;
    let found = books::compare(&rig.bed, &rig.database, &books).await?;
    found.tell();
    say(&format!("Attempts that failed: {}.", books.failures()));
    let holds = found.hold() && found.unrecorded == 0 && books.failed.is_empty();
    for nac in &mut rig.nacs {
        nac.program.end().await;
    }
    rig.echo.end().await;
    rig.bed.stop().await;
    Ok(holds)
}

/// Closed loop; returns the most decisions per second.
async fn closed(rig: &Rig, args: &Args, number: &mut u64, books: &mut Journal) -> anyhow::Result<f64> {
    let mut rows = Vec::new();
    let mut most: f64 = 0.0;
    for connections in &args.connections {
        let (mut rates, mut echoes) = (Vec::new(), Vec::new());
        let (mut asked, mut echoed) = (Journal::default(), Journal::default());
        let mut shares = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            let echo = rig.round(&rig.echoes, Pace::Closed, *connections, args.seconds, &mut 0).await?;
            echoes.push(echo.journal.per_second());
            echoed.add(echo.journal);
            let round = rig.round(&rig.decisions, Pace::Closed, *connections, args.seconds, number).await?;
            rates.push(round.journal.per_second());
            asked.add(round.journal);
            shares = (echo.cores, round.cores);
        }
        let (rate, echo) = (median(&rates), median(&echoes));
        most = most.max(rate);
        for (what, rate, ratio, journal, cores) in [
            ("echo", echo, String::new(), &echoed, shares.0),
            ("decisions", rate, format!("{:.3}", rate / echo), &asked, shares.1),
        ] {
            let mut row = vec![connections.to_string(), what.to_owned(), format!("{rate:.0}"), ratio];
            row.extend(journal.latency().cells());
            row.extend(cores);
            rows.push(row);
        }
        books.add(asked);
    }
    say("\nClosed loop: each connection asks again once it was answered.");
    let head = ["connections", "", "/s (median)", "of echo", "p50, ms", "p99", "p99.9", "longest"];
    table(&[&head[..], &PARTIES].concat(), &rows);
    Ok(most)
}

/// Open loop: latency counts from the moment that a request was due.
async fn open(
    rig: &Rig,
    args: &Args,
    most: f64,
    number: &mut u64,
    books: &mut Journal,
) -> anyhow::Result<()> {
    let rates: Vec<f64> = if args.rates.is_empty() {
        args.percent.iter().map(|percent| (most * percent / 100.0).round()).collect()
    } else {
        args.rates.clone()
    };
    let mut rows = Vec::new();
    for rate in rates {
        for (what, side) in [("echo", &rig.echoes), ("decisions", &rig.decisions)] {
            let round = rig.round(side, Pace::Open(rate), 512, args.seconds, number).await?;
            let mut row =
                vec![format!("{rate:.0}"), what.to_owned(), format!("{:.0}", round.journal.per_second())];
            row.extend(round.journal.latency().cells());
            row.extend(round.cores);
            rows.push(row);
            if side.decisions {
                books.add(round.journal);
            }
        }
    }
    say("\nOpen loop: requests are due at random moments, and latency counts from then.");
    let head = ["due/s", "", "answered/s", "p50, ms", "p99", "p99.9", "longest"];
    table(&[&head[..], &PARTIES].concat(), &rows);
    Ok(())
}

const PARTIES: [&str; 4] = ["cores: asked", "PostgreSQL", "Redis", "generator"];

impl Rig {
    async fn start(machine: &Machine, args: &Args) -> anyhow::Result<Self> {
        let bed = Bed::start(machine, 1, 1).await?;
        let database = bed.database("decisions").await?;
        let clients = world::seed(&database, args.size, args.clients).await?;
        let mut nacs: Vec<Served> =
            (1..=args.processes).map(|n| bed.gatehouse(&format!("nac-{n}"), "nac", &database, &[])).collect();
        for nac in &mut nacs {
            nac.program.start().await?;
        }
        let (mut echo, echo_address) = echo(&bed)?;
        echo.start().await?;
        let targets = nacs.iter().map(|nac| address(&nac.nac_url)).collect::<anyhow::Result<_>>()?;
        let decisions = Side { targets, requests: world::requests(&clients), decisions: true };
        let echoes =
            Side { targets: vec![echo_address], requests: echo_requests(&clients), decisions: false };
        Ok(Self { bed, database, nacs, echo, decisions, echoes })
    }

    async fn round(
        &self,
        side: &Side,
        pace: Pace,
        connections: usize,
        seconds: u64,
        number: &mut u64,
    ) -> anyhow::Result<Round> {
        let before = self.cpu(side);
        let length = Length::For(Duration::from_secs(seconds));
        let load = Load::new(side.targets.clone(), &side.requests, length);
        let load = Load { connections, pace, first: *number, decisions: side.decisions, ..load };
        let journal = load.run().await?;
        let last = journal.answered.iter().map(|answer| answer.number).max().unwrap_or(0);
        *number = last.max(*number) + 1;
        let spent = self.cpu(side).into_iter().zip(before);
        let cores = spent.map(|(now, then)| cores(now.saturating_sub(then), journal.wall)).collect();
        Ok(Round { journal, cores })
    }

    /// CPU time so far of those asked, PostgreSQL, Redis and this process.
    fn cpu(&self, side: &Side) -> Vec<Duration> {
        let asked = if side.decisions {
            self.nacs.iter().map(|nac| nac.program.cpu()).sum()
        } else {
            self.echo.cpu()
        };
        let [postgres, redis, _] = self.bed.cpu();
        vec![asked, postgres, redis, own_cpu()]
    }
}

fn echo(bed: &Bed) -> anyhow::Result<(Program, SocketAddr)> {
    let (port, program) = (free_port(), std::env::current_exe()?);
    let url = local(port);
    let program = Program::new("echo", &bed.dir, Some(url.join("ready")?), Signal::SIGTERM, move || {
        let mut command = devservers::dies_with_parent("KILL");
        command.arg(&program).args(["echo", "--listen", &format!("127.0.0.1:{port}")]);
        command
    });
    Ok((program, address(&url)?))
}

/// The same requests, to the echo.
fn echo_requests(clients: &[Client]) -> Arc<Requests> {
    let mut requests = Requests::default();
    for client in clients {
        requests.add("/echo", &client.token, &client.body());
    }
    Arc::new(requests)
}
