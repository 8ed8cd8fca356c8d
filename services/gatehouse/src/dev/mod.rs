//! `gatehouse dev`: everything on one machine, for people who try it and people who work on it.
//!
//! A supervisor: it prepares `.data/`, starts a private PostgreSQL and Redis, the Microsoft simulator and every
//! role as a process of its own, seeds a demo organization, and keeps all of it alive until Ctrl-C.

mod app_certificate;
mod data;
mod env_file;
mod stack;
mod supervise;

use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use data::Data;
use stack::Stack;

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
    let Some(data) = Data::open(&args.data)? else {
        let settings = env_file::read(&args.data.join("demo.env"));
        say("It already runs. Stop it with Ctrl-C there, or with ./dev down.");
        for (name, value) in
            settings.iter().filter(|(name, _)| name.ends_with("_URL") && name.contains("GATEHOUSE"))
        {
            say(&format!("  {name}  {value}"));
        }
        return Ok(());
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let mut stack = Stack::default();
    let outcome = tokio::select! {
        outcome = async {
            let _started = stack.start(&data).await?;
            say("Ready");
            std::future::pending::<anyhow::Result<()>>().await
        } => outcome.context("./dev up could not finish"),
        () = stopped => Ok(()),
    };
    say("Stopping");
    stack.stop().await;
    outcome
}

/// A line for the person in front of the terminal.
#[expect(clippy::print_stderr, reason = "a command for people")]
fn say(line: &str) {
    eprintln!("{line}");
}
