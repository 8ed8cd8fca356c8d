//! The one binary of Gatehouse. See `gatehouse --help`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use domain::time::{Ids, SystemClock};
use edge::{Agent, EdgeConfig};
use gatehouse::cli::{Cli, Command, ConfigCommand, MasterKeyCommand, RemediationKeyCommand, SettingArgs};
use gatehouse::config::{Config, Reader};
use gatehouse::roles::Roles;
use gatehouse::serve::Process;
use gatehouse::telemetry::{LogFormat, Telemetry};
use gatehouse::{dev, lifecycle, master_key};
use secrecy::ExposeSecret as _;

/// A CoA under way may take as long as its NAS is waited for.
const EDGE_GRACE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    // Before anything builds a TLS client.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    match command {
        Command::Serve { role, settings } => {
            let config = Config::read(settings.sources()?, role.into_iter().collect())?.config;
            threads.enable_all().build()?.block_on(serve(config))
        }
        Command::Edge { config, check, log_filter } => {
            let config = EdgeConfig::read(&config)?;
            if check {
                print("The configuration holds.");
                return Ok(());
            }
            threads.enable_all().build()?.block_on(edge(config, &log_filter))
        }
        Command::Migrate { settings } => threads.enable_all().build()?.block_on(migrate(&settings)),
        Command::Config { command: ConfigCommand::Check { role, settings } } => {
            let checked = Config::read(settings.sources()?, role.into_iter().collect::<Roles>())?;
            checked.effective.iter().for_each(print);
            Ok(())
        }
        Command::MasterKey { command: MasterKeyCommand::New } => {
            print(sealing::MasterKeys::generate()?.expose_secret());
            Ok(())
        }
        Command::MasterKey { command: MasterKeyCommand::Rotate { settings } } => {
            print(threads.enable_all().build()?.block_on(master_key::rotate(settings.sources()?))?);
            Ok(())
        }
        Command::RemediationKey { command: RemediationKeyCommand::New } => {
            print(sealing::PageKeys::generate()?.expose_secret());
            Ok(())
        }
        Command::Dev(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, dev::run(args))
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let registry = prometheus::Registry::new();
    let service = format!("gatehouse-{}", config.roles);
    let process = &config.process;
    let _telemetry = Telemetry::start(process.log_format, &process.log_filter, &service, &registry)?;
    let shutdown = lifecycle::on_signal(process.shutdown_grace)?;
    let mut process = Process::start(config, registry).await?;
    let outcome = process.wait(&shutdown).await;
    process.stop().await;
    outcome
}

async fn edge(config: EdgeConfig, log_filter: &str) -> anyhow::Result<()> {
    let registry = prometheus::Registry::new();
    let _telemetry = Telemetry::start(LogFormat::Auto, log_filter, "gatehouse-edge", &registry)?;
    let stop = lifecycle::on_signal(EDGE_GRACE)?;
    let agent = Agent::start(config, Arc::new(SystemClock), Ids::system(), stop).await?;
    Ok(agent.wait().await?)
}

async fn migrate(settings: &SettingArgs) -> anyhow::Result<()> {
    let mut reader = Reader::new(settings.sources()?);
    let url =
        reader.required_secret("OWNER_DATABASE_URL", "URL of PostgreSQL, as the role that owns the schema");
    // The same file may serve the other commands.
    if let Some(problem) = reader.problems().first() {
        anyhow::bail!("{problem}");
    }
    let store = store::Store::connect(&store::StoreConfig::new(url.expose_secret()))?;
    store.migrate().await.context("the schema could not be brought up to date")?;
    store.close().await;
    print("The schema is up to date.");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command for people")]
fn print(line: impl std::fmt::Display) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a command for people, and logging may not be set up yet")]
fn complain(error: &anyhow::Error) {
    eprintln!("gatehouse: {error:#}");
}
