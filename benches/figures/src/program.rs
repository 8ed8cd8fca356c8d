//! A child process: started, paused, killed, and what it costs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use url::Url;

/// Ticks of the CPU times in /proc, per second: 100 on every Linux (USER_HZ).
const TICKS: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that can be started again, with the same addresses.
pub struct Program {
    pub name: String,
    make: Box<dyn Fn() -> Command>,
    ready: Option<Url>,
    log: PathBuf,
    /// Ends it in an orderly way.
    end: Signal,
    child: Option<Child>,
    /// What earlier lives of it have cost.
    spent: Duration,
}

impl Program {
    pub fn new(
        name: &str,
        dir: &Path,
        ready: Option<Url>,
        end: Signal,
        make: impl Fn() -> Command + 'static,
    ) -> Self {
        let log = dir.join(format!("{name}.log"));
        Self {
            name: name.to_owned(),
            make: Box::new(make),
            ready,
            log,
            end,
            child: None,
            spent: Duration::ZERO,
        }
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        use std::os::unix::process::CommandExt as _;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = (self.make)();
        // A group of its own: Ctrl-C in the terminal ends this process first, and that one its children.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("{} does not start", self.name))?);
        Ok(())
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.ready().await
    }

    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let Some(url) = self.ready.clone() else { return Ok(()) };
        let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        let begun = Instant::now();
        loop {
            if let Ok(answer) = http.get(url.clone()).send().await
                && answer.status().is_success()
            {
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("{} ended ({status}); its log: {}", self.name, self.log.display());
            }
            if begun.elapsed() > PATIENCE {
                bail!("{} is not ready; its log: {}", self.name, self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends a signal, where it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// SIGKILL: it has no time for anything.
    pub fn kill(&mut self) {
        self.spent = self.cpu();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end, and waits.
    pub async fn end(&mut self) {
        self.end_by(self.end).await;
    }

    /// Sends a signal that ends it, and waits.
    pub async fn end_by(&mut self, signal: Signal) {
        self.spent = self.cpu();
        self.signal(signal);
        let Some(mut child) = self.child.take() else { return };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Sends a signal to it and to its children.
    pub fn signal_all(&self, signal: Signal) {
        self.signal(signal);
        for child in self.pid().into_iter().flat_map(children) {
            let _ = kill(Pid::from_raw(child.pid), signal);
        }
    }

    fn pid(&self) -> Option<i32> {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    /// CPU time of it, of all its lives and of its children.
    pub fn cpu(&self) -> Duration {
        let Some(pid) = self.pid() else { return self.spent };
        let mut ticks = 0;
        if let Some(own) = Stat::of(pid) {
            ticks += own.ticks + own.children;
        }
        ticks += children(pid).map(|stat| stat.ticks).sum::<u64>();
        self.spent + time_of(ticks)
    }

    /// The most memory that it ever held, in bytes (`VmHWM`).
    pub fn peak_memory(&self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    /// What it holds now, in bytes (`VmRSS`).
    pub fn memory_now(&self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    fn memory(&self, field: &str) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A stopped process takes SIGKILL, but no other signal.
        self.signal(Signal::SIGCONT);
        if let Some(pid) = self.pid() {
            let _ = kill(Pid::from_raw(pid), self.end);
        }
        let Some(mut child) = self.child.take() else { return };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(15) {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// CPU time of this process.
pub fn own_cpu() -> Duration {
    let own = i32::try_from(std::process::id()).ok().and_then(Stat::of);
    own.map_or(Duration::ZERO, |own| time_of(own.ticks))
}

const fn time_of(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// The processes whose parent it is.
fn children(pid: i32) -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(Stat::of).filter(move |stat| stat.parent == pid)
}

/// `/proc/<pid>/stat`, as far as it counts here.
struct Stat {
    pid: i32,
    parent: i32,
    ticks: u64,
    /// Of children that have ended.
    children: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything; it ends at the last parenthesis.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            ticks: number(11)? + number(12)?,
            children: number(13)? + number(14)?,
        })
    }
}
