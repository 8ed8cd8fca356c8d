//! Gatehouse and the simulator as real processes, to be killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gatehouse::dev::simulator::Simulator;
use url::Url;

use crate::app::{prepare, redirect_uris, settings};
use crate::database::Database;
use crate::eventually;

/// A program that was built beside this test.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    // target/<profile>/deps/<test>
    let test = std::env::current_exe().expect("this test is a file");
    let profile = test.parent().and_then(Path::parent).expect("it lies in target/<profile>/deps");
    let program = profile.join(name);
    assert!(program.is_file(), "{} is missing: run the tests with ./dev test", program.display());
    program
}

/// A process that can be killed and started again, with the same addresses.
pub struct Victim {
    name: String,
    make: Box<dyn Fn() -> Command + Send + Sync>,
    ready: Url,
    log: PathBuf,
    child: Option<Child>,
}

impl Victim {
    /// `make` makes the command; `ready` is asked until it answers well.
    pub fn new(
        name: &str,
        dir: &Path,
        ready: Url,
        make: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Self {
        let log = dir.join(format!("{name}.log"));
        Self { name: name.to_owned(), make: Box::new(make), ready, log, child: None }
    }

    /// Starts it, without waiting until it is ready.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let mut command = (self.make)();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.child = Some(command.spawn().expect("the process starts"));
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    pub async fn ready(&self) {
        let what = format!("{} to be ready; its log: {}", self.name, self.log.display());
        eventually(&what, || async {
            let answer = reqwest::get(self.ready.clone()).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// SIGKILL: it has no time for anything.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process can be killed");
            child.wait().expect("the process ends");
        }
    }

    /// Kills it, leaves it dead for a while, and starts it again.
    pub async fn kill_and_start(&mut self, dead_for: Duration) {
        self.kill();
        tokio::time::sleep(dead_for).await;
        self.start().await;
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Every role as a process of its own, and the simulator.
pub struct Processes {
    pub database: Database,
    pub simulator: Simulator,
    pub url: Url,
    pub nac_url: Url,
    pub dashboard: Victim,
    pub nac: Victim,
    pub sync: Victim,
    pub microsoft: Victim,
    _dir: tempfile::TempDir,
}

impl Processes {
    /// Starts everything; `more` are further settings of Gatehouse, without their prefix.
    pub async fn start(more: &[(&'static str, String)]) -> Self {
        prepare();
        let database = Database::fresh().await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = devservers::free_port;
        let (dashboard_port, nac_port, simulator_port) = (port(), port(), port());
        let local = |port: u16| -> Url { format!("http://127.0.0.1:{port}").parse().expect("a URL") };
        let url: Url = format!("http://localhost:{dashboard_port}").parse().expect("a URL");
        let simulator_url = local(simulator_port);

        let state = dir.path().join("simulator.json");
        let uris = redirect_uris(&url).join(",");
        let mut microsoft = Victim::new(
            "simulator",
            dir.path(),
            simulator_url.join("/_sim/healthz").expect("a URL"),
            move || {
                let mut command = devservers::dies_with_parent("KILL");
                command.arg(program("simulator")).args(["--listen", &format!("127.0.0.1:{simulator_port}")]);
                command.arg("--state").arg(&state).args(["--redirect-uri", &uris]);
                command
            },
        );
        microsoft.start().await;

        let mut settings = settings(&database, &simulator_url);
        settings.extend([
            ("DASHBOARD_LISTEN", format!("127.0.0.1:{dashboard_port}")),
            ("NAC_LISTEN", format!("127.0.0.1:{nac_port}")),
            ("PUBLIC_URL", url.to_string()),
        ]);
        settings.extend(more.iter().cloned());
        let role = |name: &'static str| {
            let admin = port();
            let settings = settings.clone();
            let ready = local(admin).join("/readyz").expect("a URL");
            Victim::new(name, dir.path(), ready, move || {
                let mut command = devservers::dies_with_parent("KILL");
                command.arg(program("gatehouse")).args(["serve", "--role", name]);
                command.env("GATEHOUSE_ADMIN_LISTEN", format!("127.0.0.1:{admin}"));
                command.envs(settings.iter().map(|(key, value)| (format!("GATEHOUSE_{key}"), value)));
                command
            })
        };
        let (mut dashboard, mut nac, mut sync) = (role("dashboard"), role("nac"), role("sync"));
        for victim in [&mut dashboard, &mut nac, &mut sync] {
            victim.spawn();
        }
        for victim in [&dashboard, &nac, &sync] {
            victim.ready().await;
        }
        let simulator = Simulator::new(simulator_url).expect("an HTTP client");
        Self {
            database,
            simulator,
            url,
            nac_url: local(nac_port),
            dashboard,
            nac,
            sync,
            microsoft,
            _dir: dir,
        }
    }
}
