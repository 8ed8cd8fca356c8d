//! Keeps processes alive: what dies is started again, and nothing outlives this process.

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::say;

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Who lived this long died of something new.
const SETTLED: Duration = Duration::from_secs(10);
/// Who does not end within this is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// A process to keep.
pub struct Spec {
    pub name: &'static str,
    /// Makes the command anew for every start. Must send itself a signal when its parent dies.
    pub command: Box<dyn Fn() -> StdCommand>,
    /// Asks it to end.
    pub stop: Signal,
    pub log_dir: PathBuf,
}

/// A process that is kept.
pub struct Kept {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Kept {
    /// Starts it, and starts it again whenever it ends, until it is stopped. Call from the main thread: the
    /// kernel ties the child's life to the thread that started it.
    pub fn start(spec: Spec) -> anyhow::Result<Self> {
        let child = spawn(&spec)?;
        let stop = CancellationToken::new();
        Ok(Self { name: spec.name, task: tokio::task::spawn_local(keep(spec, child, stop.clone())), stop })
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            say(&format!("{} could not be stopped", self.name));
        }
    }
}

async fn keep(spec: Spec, mut child: Child, stop: CancellationToken) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let started = Instant::now();
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = stop.cancelled() => return end(&spec, &mut child).await,
        };
        if started.elapsed() > SETTLED {
            backoff = BACKOFF_MIN;
        }
        say(&format!("{} ended ({}); starting it again", spec.name, describe(ended)));
        loop {
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = stop.cancelled() => return,
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
            match spawn(&spec) {
                Ok(new) => {
                    child = new;
                    break;
                }
                Err(error) => say(&format!("{} does not start: {error:#}", spec.name)),
            }
        }
    }
}

fn spawn(spec: &Spec) -> anyhow::Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_file(&spec.log_dir, spec.name))
        .context("its log cannot be written")?;
    let mut command = Command::from((spec.command)());
    command
        // A group of its own: Ctrl-C in the terminal reaches this process alone, which stops them in order.
        .process_group(0)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    command.spawn().with_context(|| format!("{} cannot be run", spec.name))
}

/// Where a process's output goes.
pub fn log_file(log_dir: &Path, name: &str) -> PathBuf {
    log_dir.join(format!("{name}.log"))
}

async fn end(spec: &Spec, child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), spec.stop);
    }
    if tokio::time::timeout(STOP_PATIENCE, child.wait()).await.is_err() {
        say(&format!("{} does not end; killing it", spec.name));
        let _ = child.kill().await;
    }
}

fn describe(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Asks until the answer is yes; says after a while what it waits for.
pub async fn wait_until<F, Fut>(
    what: &str,
    log: &Path,
    patience: Duration,
    mut ready: F,
) -> anyhow::Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let started = Instant::now();
    let mut told = false;
    while !ready().await {
        if started.elapsed() > patience {
            anyhow::bail!(
                "{what} did not become ready within {} s; its log: {}",
                patience.as_secs(),
                log.display()
            );
        }
        if !told && started.elapsed() > Duration::from_secs(5) {
            say(&format!("still waiting for {what}; its log: {}", log.display()));
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    Ok(())
}
