//! Figures of the compliance sync and of decisions, measured from outside: private servers, the simulator, and the processes that an
//! operator runs, asked over HTTP and SQL. See `docs/figures.md`.

mod bed;
mod control;
mod edges;
mod faults;
mod latency;
mod load;
mod memory;
mod program;
mod report;
mod seed;
mod sweep;
mod tenants;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Gatehouse.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    machine: Machine,
    #[command(subcommand)]
    figure: Figure,
}

/// What all figures share.
#[derive(Clone, Debug, clap::Args)]
pub struct Machine {
    /// Where the programs `gatehouse` and `simulator` lie. Default: beside this one.
    #[arg(long, global = true)]
    programs: Option<PathBuf>,
    /// Where servers and logs are kept while it runs. Default: `figures` beside the programs.
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// A setting of Gatehouse's processes, without its prefix: `SYNC_SWEEP_WORKERS=8`. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true, value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Let PostgreSQL not wait for the disk.
    #[arg(long, global = true)]
    scratch: bool,
    /// Say at the end which statements PostgreSQL spent its time on (needs its pg_stat_statements).
    #[arg(long, global = true)]
    statements: bool,
    /// Keep what the servers hold, and the logs.
    #[arg(long, global = true)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
enum Figure {
    /// Devices per second of a full sweep, as a ratio to COPY of the same rows.
    Sweep(sweep::Args),
    /// Peak memory of a worker at a large tenant, against a small one.
    Memory(memory::Args),
    /// Time until each of many tenants was swept once, with 1, 2 and 4 worker processes.
    Tenants(tenants::Args),
    /// From a change at Microsoft to the acknowledged Change of Authorization.
    Latency(latency::Args),
    /// Kills, pauses, outages and faults at random; then every transition and every move is checked.
    Faults(faults::Args),
    /// Decisions per second and their latency, as a ratio to a bare echo.
    Decisions(load::decisions::Args),
    /// Decisions about clients whose facts are not in memory, or not even in Redis.
    Cold(load::cold::Args),
    /// Decisions through FreeRADIUS, as a ratio to the same with a static answer.
    Radius(load::radius::Args),
    /// PostgreSQL or Redis away under load: decisions failed, events lost or doubled, time to recover.
    Outages(load::outages::Args),
    /// `kill -9` of processes under load: acknowledged events lost.
    #[command(name = "kill9")]
    Kills(load::kills::Args),
    /// The echo that decisions are compared with.
    #[command(hide = true)]
    Echo(load::echo::Args),
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.trim_start_matches("GATEHOUSE_").to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    // The children die with the thread that started them, so everything is started from this one.
    let runtime = if let Figure::Echo(_) = cli.figure {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    };
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(cli)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::note(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// False where something was not as it must be.
async fn run(cli: Cli) -> anyhow::Result<bool> {
    let Cli { machine, figure } = cli;
    match figure {
        Figure::Sweep(args) => Box::pin(sweep::run(&machine, args)).await.map(|()| true),
        Figure::Memory(args) => Box::pin(memory::run(&machine, args)).await.map(|()| true),
        Figure::Tenants(args) => Box::pin(tenants::run(&machine, args)).await.map(|()| true),
        Figure::Latency(args) => Box::pin(latency::run(&machine, args)).await,
        Figure::Faults(args) => Box::pin(faults::run(&machine, args)).await,
        Figure::Decisions(args) => Box::pin(load::decisions::run(&machine, args)).await,
        Figure::Cold(args) => Box::pin(load::cold::run(&machine, args)).await,
        Figure::Radius(args) => Box::pin(load::radius::run(&machine, args)).await,
        Figure::Outages(args) => Box::pin(load::outages::run(&machine, args)).await,
        Figure::Kills(args) => Box::pin(load::kills::run(&machine, args)).await,
        Figure::Echo(args) => load::echo::run(args).await.map(|()| true),
    }
}
