//! `gatehouse dev`: everything on one machine, for people who try it and people who work on it.
//!
//! A supervisor: it prepares `.data/`, starts a private PostgreSQL and Redis, the Microsoft simulator and every
//! role as a process of its own, seeds a demo organization, and keeps all of it alive until Ctrl-C.

mod app_certificate;
mod bundle_key;
mod data;
mod demo_policy;
pub mod edge;
mod env_file;
mod seed;
pub mod simulator;
mod stack;
mod supervise;
mod traffic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use data::Data;
use edge::Edge;
use seed::{Seed, Seeded};
use simulator::Simulator;
use stack::{Stack, Started};

/// `gatehouse dev`
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// Let no demo edge authenticate devices.
    #[arg(long)]
    no_traffic: bool,
    /// Where everything is kept.
    #[arg(long, env = "GATEHOUSE_DATA_DIR", default_value = ".data")]
    data: PathBuf,
}

/// Runs until SIGINT or SIGTERM. Call it on the main thread, in a current-thread runtime: the children die with
/// the thread that started them.
pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let Some(data) = Data::open(&args.data)? else {
        say("It runs already. Stop it with Ctrl-C where it runs, or with ./dev down.");
        for (name, value) in env_file::read(&args.data.join("demo.env")) {
            if name.ends_with("_URL") && !name.contains("DATABASE") && !name.contains("REDIS") {
                say(&format!("  {value}  ({name})"));
            }
        }
        return Ok(());
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let mut stack = Stack::default();
    let outcome = tokio::select! {
        outcome = up(&mut stack, &data, !args.no_traffic, begun, &stop) => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    say("Stopping");
    stop.cancel();
    tokio::select! {
        () = stack.stop() => {}
        // Whoever asks twice does not want to wait; the children die with this process.
        _ = interrupt.recv() => say("Stopped without waiting"),
    }
    outcome
}

async fn up(
    stack: &mut Stack,
    data: &Data,
    traffic: bool,
    begun: Instant,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let started = stack.start(data).await?;
    let simulator = Simulator::new(started.addresses.simulator.parse()?)?;
    let seeded = plant(data, &started, simulator.clone()).await?;
    let env = started.write_env(data, &seeded.org.to_string(), &seeded.lab_token)?;
    welcome(&started, &env, traffic, begun.elapsed());
    if traffic {
        let edge = Edge::new(started.addresses.nac.parse()?, seeded.traffic_token)?;
        traffic::drive(edge, simulator, stop.clone()).await;
    }
    std::future::pending().await
}

async fn plant(data: &Data, started: &Started, simulator: Simulator) -> anyhow::Result<Seeded> {
    let seed = Seed::new(data, started, simulator)?;
    let seeded = seed.plant().await.context("the demo organization could not be made")?;
    seed.close().await;
    Ok(seeded)
}

fn welcome(started: &Started, env: &std::path::Path, traffic: bool, took: Duration) {
    let addresses = &started.addresses;
    let env = std::env::current_dir().ok().and_then(|here| env.strip_prefix(here).ok()).unwrap_or(env);
    say(&format!(
        "
Ready after {:.1} s.

  Dashboard   {}
  NAC API     {}  (OpenAPI: {}/v1/openapi.json)
  Microsoft   {}/_sim  (the simulator: flip a device's compliance there)

  Sign in with Entra ID as one of the simulator's people:
    ada@contoso.example    Global Administrator of Contoso, whose organization is set up already
    ada@fabrikam.example   Global Administrator of Fabrikam: begin from nothing, link, write a policy
    umar@fabrikam.example  a plain user: sees what an administrator has to do

  For curl and scripts:  set -a; . {}; set +a
  {}
  Logs are in .data/log/. Ctrl-C stops everything; the data stays.",
        took.as_secs_f32(),
        addresses.dashboard,
        addresses.nac,
        addresses.nac,
        addresses.simulator,
        env.display(),
        if traffic {
            "A demo edge lets devices come and go; --no-traffic switches it off."
        } else {
            "No demo traffic."
        },
    ));
}

/// A line for the person in front of the terminal.
#[expect(clippy::print_stderr, reason = "a command for people")]
fn say(line: &str) {
    eprintln!("{line}");
}
