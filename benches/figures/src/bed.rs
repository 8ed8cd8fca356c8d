//! The machine under measurement: private PostgreSQL and Redis, the simulator, and Gatehouse's processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use devservers::{Durability, Servers, free_port};
use nix::sys::signal::Signal;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use store::{Store, StoreConfig};
use url::Url;

use crate::Machine;
use crate::control::{CLIENT_ID, CLIENT_SECRET, Control};
use crate::program::Program;
use crate::report::note;

const PASSWORD: &str = "figures";
const PATIENCE: Duration = Duration::from_secs(60);
/// What a small production server would have; the defaults are for a laptop of long ago.
const POSTGRES: [&str; 4] =
    ["shared_buffers=1GB", "max_wal_size=1GB", "checkpoint_timeout=15min", "max_connections=300"];

/// Everything that a figure needs. Stopped when dropped: whoever uses the servers first.
pub struct Bed {
    pub simulator: Program,
    pub control: Control,
    pub redis: Program,
    pub postgres: Program,
    pub servers: Rc<Servers>,
    programs: PathBuf,
    pub dir: PathBuf,
    settings: Vec<(String, String)>,
    statements: bool,
    keep: bool,
}

/// A migrated database of its own.
#[derive(Clone)]
pub struct Database {
    pub name: String,
    /// Sees everything.
    pub pool: PgPool,
    app_url: String,
}

impl Database {
    /// A store as a running process has it, except that it does not wait for the disk: for seeding.
    pub fn store(&self) -> anyhow::Result<Store> {
        let url = format!("{}?options=-csynchronous_commit%3Doff", self.app_url);
        Ok(Store::connect(&StoreConfig { connections_max: 8, ..StoreConfig::new(url) })?)
    }

    /// One number.
    pub async fn count(&self, sql: &'static str) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    /// Waits until every message of the outbox was carried, but for those that are repeated later.
    pub async fn carried(&self, patience: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.count("SELECT count(*) FROM outbox").await? > 0 {
            if begun.elapsed() > patience {
                bail!("the outbox of {} is not empty after {} s", self.name, patience.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

impl Bed {
    /// Starts the servers and the simulator, whose tenants have all consented.
    pub async fn start(machine: &Machine, tenants: usize, devices: u64) -> anyhow::Result<Self> {
        let programs = match &machine.programs {
            Some(dir) => dir.canonicalize()?,
            None => std::env::current_exe()?.parent().context("this program lies in a folder")?.to_owned(),
        };
        for name in ["gatehouse", "simulator"] {
            if !programs.join(name).is_file() {
                bail!(
                    "{} is missing: build it, or name its folder with --programs",
                    programs.join(name).display()
                );
            }
        }
        let dir =
            machine.dir.clone().unwrap_or_else(|| programs.join(format!("figures-{}", std::process::id())));
        fs::create_dir_all(&dir)?;
        let dir = dir.canonicalize()?;
        note(&format!("Starting; logs are in {}", dir.display()));
        let durability = if machine.scratch { Durability::Scratch } else { Durability::Kept };
        let servers = Rc::new(Servers::prepare(&dir.join("servers"), durability)?);
        let mut postgres = postgres(&dir, &servers, machine.statements);
        let mut redis = redis(&dir, &servers);
        postgres.spawn()?;
        redis.spawn()?;
        servers.wait_ready(&dir, PATIENCE)?;
        if machine.statements {
            servers.psql("postgres", "CREATE EXTENSION pg_stat_statements")?;
        }
        let (mut simulator, control) = simulator(&programs, &dir, tenants, devices)?;
        simulator.start().await?;
        let settings = machine.settings.clone();
        Ok(Self {
            simulator,
            control,
            redis,
            postgres,
            servers,
            programs,
            dir,
            settings,
            statements: machine.statements,
            keep: machine.keep,
        })
    }

    /// A migrated, empty database.
    pub async fn database(&self, name: &str) -> anyhow::Result<Database> {
        for (role, more) in [("gatehouse_owner", ""), ("gatehouse_app", "NOSUPERUSER NOBYPASSRLS")] {
            self.servers.psql(
                "postgres",
                &format!(
                    "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
                     CREATE ROLE {role}; END IF; END $$;
                     ALTER ROLE {role} LOGIN {more} PASSWORD '{PASSWORD}';"
                ),
            )?;
        }
        self.servers.psql("postgres", &format!("CREATE DATABASE {name} OWNER gatehouse_owner"))?;
        let owner = self.servers.database_url("gatehouse_owner", PASSWORD, name);
        let store = Store::connect(&StoreConfig::new(owner))?;
        store.migrate().await?;
        store.close().await;
        self.open(name).await
    }

    /// A copy of a database that nobody is connected to.
    pub async fn copy(&self, of: &Database, name: &str) -> anyhow::Result<Database> {
        of.pool.close().await;
        self.servers.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {}", of.name))?;
        self.open(name).await
    }

    pub fn forget(&self, database: &Database) -> anyhow::Result<()> {
        self.servers.psql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", database.name))?;
        Ok(())
    }

    async fn open(&self, name: &str) -> anyhow::Result<Database> {
        let options = PgConnectOptions::from_str(&self.servers.superuser_url())?.database(name);
        let pool = PgPoolOptions::new().max_connections(4).connect_with(options).await?;
        let app_url = self.servers.database_url("gatehouse_app", PASSWORD, name);
        Ok(Database { name: name.to_owned(), pool, app_url })
    }

    /// A process of one role, and where it listens: `/metrics` and the like, and the NAC API where it has that role.
    pub fn gatehouse(
        &self,
        name: &str,
        role: &'static str,
        database: &Database,
        more: &[(String, String)],
    ) -> Served {
        let (admin, nac) = (free_port(), free_port());
        let mut settings = self.common(database);
        settings.push(("ADMIN_LISTEN".to_owned(), format!("127.0.0.1:{admin}")));
        settings.push(("NAC_LISTEN".to_owned(), format!("127.0.0.1:{nac}")));
        settings.extend(more.iter().cloned());
        settings.extend(self.settings.iter().cloned());
        let program = self.programs.join("gatehouse");
        let ready = local(admin).join("readyz").ok();
        let program = Program::new(name, &self.dir, ready, Signal::SIGTERM, move || {
            let mut command = devservers::dies_with_parent("KILL");
            command.arg(&program).args(["serve", "--role", role]);
            command.envs(settings.iter().map(|(key, value)| (format!("GATEHOUSE_{key}"), value)));
            command
        });
        Served { program, nac_url: local(nac), admin_url: local(admin) }
    }

    /// Every setting of a sync process with its value, as the product itself tells them.
    pub fn sync_settings(&self, database: &Database) -> anyhow::Result<Vec<(String, String)>> {
        let output = std::process::Command::new(self.programs.join("gatehouse"))
            .args(["config", "check", "--role", "sync"])
            .envs(self.common(database).into_iter().map(|(key, value)| (format!("GATEHOUSE_{key}"), value)))
            .output()?;
        if !output.status.success() {
            bail!("gatehouse config check: {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.strip_prefix("GATEHOUSE_")?.split_once('='));
        Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn common(&self, database: &Database) -> Vec<(String, String)> {
        [
            ("DATABASE_URL", database.app_url.clone()),
            ("REDIS_URL", self.servers.redis_url()),
            ("REDIS_PREFIX", database.name.clone()),
            ("MICROSOFT_CLOUD", "custom".to_owned()),
            ("MICROSOFT_LOGIN_URL", self.control.base.to_string()),
            ("MICROSOFT_GRAPH_URL", self.control.base.to_string()),
            ("MICROSOFT_CLIENT_ID", CLIENT_ID.to_owned()),
            ("MICROSOFT_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec()
    }

    /// Waits until PostgreSQL answers again.
    pub async fn postgres_ready(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.servers.postgres_is_ready() {
            if begun.elapsed() > PATIENCE {
                bail!("PostgreSQL does not come back");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Redis loses everything.
    pub fn empty_redis(&self) -> anyhow::Result<()> {
        match self.ask_redis("FLUSHALL")?.as_str() {
            "+OK" => Ok(()),
            other => bail!("Redis says {other}"),
        }
    }

    /// How many records of the database wait in Redis for PostgreSQL.
    pub fn spilled(&self, database: &Database) -> anyhow::Result<u64> {
        let answer = self.ask_redis(&format!("XLEN {}:{{spill}}:records", database.name))?;
        let length = answer.strip_prefix(':').and_then(|number| number.parse().ok());
        length.with_context(|| format!("Redis says {answer}"))
    }

    /// The first line of Redis's answer to a command.
    fn ask_redis(&self, command: &str) -> anyhow::Result<String> {
        use std::io::{BufRead as _, BufReader, Write as _};
        let url: Url = self.servers.redis_url().parse()?;
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", url.port().context("a port")?))?;
        // A million keys take a while.
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let password = url.password().context("a password")?;
        stream.write_all(format!("AUTH {password}\r\n{command}\r\n").as_bytes())?;
        let mut lines = BufReader::new(stream).lines();
        let (authenticated, answer) = (lines.next(), lines.next());
        if authenticated.context("no answer")?? != "+OK" {
            bail!("Redis takes the password no more");
        }
        Ok(answer.context("no answer")??)
    }

    /// CPU time so far of Postgres, Redis and the simulator.
    pub fn cpu(&self) -> [Duration; 3] {
        [&self.postgres, &self.redis, &self.simulator].map(Program::cpu)
    }

    /// What PostgreSQL spent its time on, the longest first.
    fn statements(&self) -> anyhow::Result<String> {
        let text = self.servers.psql(
            "postgres",
            "SELECT round(total_exec_time)::bigint || ' ms in ' || calls || ' calls, ' || rows || ' rows: '
                    || left(regexp_replace(query, '[[:space:]]+', ' ', 'g'), 150)
             FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 25",
        )?;
        Ok(text)
    }

    /// Stops everything, and removes what it kept.
    pub async fn stop(mut self) {
        if self.statements {
            match self.statements() {
                Ok(statements) => note(&statements),
                Err(error) => note(&format!("no statements: {error:#}")),
            }
        }
        for program in [&mut self.simulator, &mut self.redis, &mut self.postgres] {
            program.end().await;
        }
        self.servers.forget();
        if !self.keep {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A process of Gatehouse.
pub struct Served {
    pub program: Program,
    pub nac_url: Url,
    admin_url: Url,
}

impl Served {
    /// What it counts.
    pub async fn metrics(&self) -> anyhow::Result<Metrics> {
        let answer = reqwest::get(self.admin_url.join("metrics")?).await?.error_for_status()?;
        Ok(Metrics(answer.text().await?))
    }
}

/// A page of Prometheus.
pub struct Metrics(String);

impl Metrics {
    /// The sum of all series of that name that have these labels.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(name));
        let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

fn postgres(dir: &Path, servers: &Rc<Servers>, statements: bool) -> Program {
    let servers = Rc::clone(servers);
    Program::new("postgres", dir, None, Signal::SIGINT, move || {
        let mut command = servers.postgres();
        if statements {
            command.args(["-c", "shared_preload_libraries=pg_stat_statements"]);
        }
        for setting in POSTGRES {
            command.args(["-c", setting]);
        }
        command
    })
}

fn redis(dir: &Path, servers: &Rc<Servers>) -> Program {
    let servers = Rc::clone(servers);
    Program::new("redis", dir, None, Signal::SIGTERM, move || servers.redis())
}

fn simulator(
    programs: &Path,
    dir: &Path,
    tenants: usize,
    devices: u64,
) -> anyhow::Result<(Program, Control)> {
    let port = free_port();
    let url = local(port);
    let program = programs.join("simulator");
    let program =
        Program::new("simulator", dir, Some(url.join("_sim/healthz")?), Signal::SIGTERM, move || {
            let mut command = devservers::dies_with_parent("KILL");
            command.arg(&program).args(["--listen", &format!("127.0.0.1:{port}"), "--consented"]);
            command.args(["--tenants", &tenants.to_string(), "--devices-per-tenant", &devices.to_string()]);
            command
        });
    Ok((program, Control::new(url)?))
}

/// A port of this machine.
pub fn local(port: u16) -> Url {
    let mut url: Url = "http://127.0.0.1/".parse().unwrap_or_else(|_| unreachable!("a literal URL parses"));
    let _ = url.set_port(Some(port));
    url
}
