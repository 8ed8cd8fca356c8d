//! What runs, in the order in which it starts; it stops in the opposite order.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use devservers::{Durability, Servers, dies_with_parent};
use nix::sys::signal::Signal;
use store::{Store, StoreConfig};

use super::app_certificate::AppCertificate;
use super::bundle_key::BundleKey;
use super::data::Data;
use super::supervise::{Kept, Spec, log_file, wait_until};
use super::{env_file, say};
use crate::config::{CloudConfig, MicrosoftConfig};

const OWNER: &str = "gatehouse_owner";
const APP: &str = "gatehouse_app";
const DATABASE: &str = "gatehouse";
const PATIENCE: Duration = Duration::from_secs(60);
/// Client id of the simulator's default app registration.
const CLIENT_ID: &str = "5b1d0c55-9a7e-4f3c-8a51-6a7e40053000";

/// Short, so that people see what changes.
const SWEEP_SECONDS: &str = "30";

const ROLES: [&str; 3] = ["dashboard", "nac", "sync"];

/// Everything that was started, newest last.
#[derive(Default)]
pub struct Stack {
    kept: Vec<Kept>,
}

/// Where everything answers.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub dashboard: String,
    pub nac: String,
    pub simulator: String,
    /// In the order of [`ROLES`].
    admin: Vec<(&'static str, u16)>,
}

impl Stack {
    /// Starts everything; returns when it is ready for people.
    pub async fn start(&mut self, data: &Data) -> anyhow::Result<Started> {
        let servers = self.servers(data).await?;
        let app_password = data.secret("app.password")?;
        let owner_password = data.secret("owner.password")?;
        make_database(&servers, &app_password, &owner_password)?;
        let database_url = servers.database_url(APP, &app_password, DATABASE);
        say("Bringing the schema up to date");
        let owner =
            Store::connect(&StoreConfig::new(servers.database_url(OWNER, &owner_password, DATABASE)))?;
        owner.migrate().await?;
        owner.close().await;

        let ports = Ports::choose(data)?;
        let addresses = ports.addresses();
        let certificate = AppCertificate::ensure(data)?;
        let bundle_key = BundleKey::ensure(data)?;
        let master_key = data.master_key()?;
        let remediation_key = data.remediation_key()?;
        say("Starting the Microsoft simulator and every role of Gatehouse");
        self.simulator(data, &ports, &certificate)?;
        let redis_url = servers.redis_url();
        for (role, admin_port) in &addresses.admin {
            let settings = vec![
                ("DATABASE_URL", database_url.clone()),
                ("REDIS_URL", redis_url.clone()),
                ("ADMIN_LISTEN", format!("127.0.0.1:{admin_port}")),
                ("LOG_FORMAT", "pretty".to_owned()),
                ("DASHBOARD_LISTEN", format!("127.0.0.1:{}", ports.dashboard)),
                ("NAC_LISTEN", format!("127.0.0.1:{}", ports.nac)),
                ("PUBLIC_URL", addresses.dashboard.clone()),
                ("NAC_PUBLIC_URL", addresses.nac.clone()),
                ("MICROSOFT_CLOUD", "custom".to_owned()),
                ("MICROSOFT_LOGIN_URL", addresses.simulator.clone()),
                ("MICROSOFT_GRAPH_URL", addresses.simulator.clone()),
                ("MICROSOFT_CLIENT_ID", CLIENT_ID.to_owned()),
                ("MICROSOFT_CLIENT_CERTIFICATE_FILE", certificate.with_key.display().to_string()),
                ("BUNDLE_SIGNING_KEY_FILE", bundle_key.path.display().to_string()),
                ("MASTER_KEY_FILE", master_key.display().to_string()),
                ("REMEDIATION_KEY_FILE", remediation_key.display().to_string()),
                ("SYNC_SWEEP_INTERVAL_SECONDS", SWEEP_SECONDS.to_owned()),
            ];
            self.role(data, role, settings)?;
        }
        let http = reqwest::Client::builder().timeout(Duration::from_secs(3)).build()?;
        let ready = |url: String| {
            let http = http.clone();
            async move { http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) }
        };
        let log = log_file(&data.log_dir(), "simulator");
        wait_until("the simulator", &log, PATIENCE, || {
            ready(format!("{}/_sim/healthz", addresses.simulator))
        })
        .await?;
        for (role, port) in &addresses.admin {
            let log = log_file(&data.log_dir(), role);
            wait_until(role, &log, PATIENCE, || ready(format!("http://127.0.0.1:{port}/readyz"))).await?;
        }
        let microsoft = microsoft(&addresses, &certificate)?;
        let bundle_public_key = bundle_key.public;
        Ok(Started { addresses, database_url, redis_url, microsoft, bundle_public_key })
    }

    /// Stops everything, newest first.
    pub async fn stop(&mut self) {
        while let Some(kept) = self.kept.pop() {
            kept.stop().await;
        }
    }

    async fn servers(&mut self, data: &Data) -> anyhow::Result<std::rc::Rc<Servers>> {
        let dir = data.path("servers");
        say(if dir.exists() {
            "Starting PostgreSQL and Redis"
        } else {
            "Making a private PostgreSQL and Redis"
        });
        let servers = std::rc::Rc::new(Servers::prepare(&dir, Durability::Kept)?);
        let (for_postgres, for_redis) = (servers.clone(), servers.clone());
        self.keep(data, "postgres", Signal::SIGINT, move || for_postgres.postgres())?;
        self.keep(data, "redis", Signal::SIGTERM, move || for_redis.redis())?;
        let log = log_file(&data.log_dir(), "postgres");
        wait_until("PostgreSQL", &log, PATIENCE, || std::future::ready(servers.postgres_is_ready())).await?;
        let log = log_file(&data.log_dir(), "redis");
        wait_until("Redis", &log, PATIENCE, || std::future::ready(servers.redis_is_ready())).await?;
        Ok(servers)
    }

    fn simulator(&mut self, data: &Data, ports: &Ports, certificate: &AppCertificate) -> anyhow::Result<()> {
        let program = sibling("simulator")?;
        let state = data.path("simulator.json");
        let listen = format!("127.0.0.1:{}", ports.simulator);
        let dashboard = ports.addresses().dashboard;
        let certificate = certificate.public.clone();
        self.keep(data, "simulator", Signal::SIGTERM, move || {
            let mut command = dies_with_parent("TERM");
            command.arg(&program).arg("--listen").arg(&listen).arg("--state").arg(&state);
            command.arg("--client-certificate").arg(&certificate);
            for path in [web::SIGN_IN_CALLBACK, web::LINK_CALLBACK] {
                command.arg("--redirect-uri").arg(format!("{dashboard}{path}"));
            }
            command
        })
    }

    fn role(
        &mut self,
        data: &Data,
        role: &'static str,
        settings: Vec<(&'static str, String)>,
    ) -> anyhow::Result<()> {
        let program = std::env::current_exe()?;
        self.keep(data, role, Signal::SIGTERM, move || {
            let mut command = dies_with_parent("TERM");
            command.arg(&program).args(["serve", "--role", role]);
            command.envs(settings.iter().map(|(name, value)| (format!("GATEHOUSE_{name}"), value)));
            command
        })
    }

    fn keep(
        &mut self,
        data: &Data,
        name: &'static str,
        stop: Signal,
        command: impl Fn() -> Command + 'static,
    ) -> anyhow::Result<()> {
        self.kept.push(Kept::start(Spec {
            name,
            command: Box::new(command),
            stop,
            log_dir: data.log_dir(),
        })?);
        Ok(())
    }
}

/// What seeding and the demo edge need.
#[derive(Debug)]
pub struct Started {
    pub addresses: Addresses,
    pub database_url: String,
    pub redis_url: String,
    /// Of the demo's own app registration.
    pub microsoft: MicrosoftConfig,
    /// What edges know bundles by.
    pub bundle_public_key: String,
}

impl Started {
    /// Writes `demo.env`.
    pub fn write_env(&self, data: &Data, org: &str, edge_token: &str) -> anyhow::Result<PathBuf> {
        let text = env_file::render(&[
            ("GATEHOUSE_URL", self.addresses.dashboard.clone()),
            ("GATEHOUSE_NAC_URL", self.addresses.nac.clone()),
            ("GATEHOUSE_ORG_ID", org.to_owned()),
            ("GATEHOUSE_EDGE_TOKEN", edge_token.to_owned()),
            ("GATEHOUSE_BUNDLE_PUBLIC_KEY", self.bundle_public_key.clone()),
            ("SIMULATOR_URL", self.addresses.simulator.clone()),
            ("DATABASE_URL", self.database_url.clone()),
            ("REDIS_URL", self.redis_url.clone()),
        ]);
        data.write("demo.env", &text)
    }
}

struct Ports {
    dashboard: u16,
    nac: u16,
    simulator: u16,
    admin: [u16; 3],
}

impl Ports {
    fn choose(data: &Data) -> anyhow::Result<Self> {
        Ok(Self {
            dashboard: data.port("dashboard", 8400)?,
            nac: data.port("nac", 8401)?,
            simulator: data.port("simulator", 8402)?,
            // Not 8410, where an agent beside a FreeRADIUS on this machine listens; nor under a name that may remember it.
            admin: [
                data.port("dashboard-admin", 8420)?,
                data.port("nac-admin", 8421)?,
                data.port("sync-admin", 8422)?,
            ],
        })
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            // Another host name than the simulator's: to a browser they are two sites, as Microsoft is another.
            dashboard: format!("http://localhost:{}", self.dashboard),
            nac: format!("http://localhost:{}", self.nac),
            simulator: format!("http://127.0.0.1:{}", self.simulator),
            admin: ROLES.into_iter().zip(self.admin).collect(),
        }
    }
}

fn microsoft(addresses: &Addresses, certificate: &AppCertificate) -> anyhow::Result<MicrosoftConfig> {
    let base: url::Url = addresses.simulator.parse()?;
    let files = microsoft::CredentialFiles::certificates([certificate.with_key.clone()]);
    let app = microsoft::AppRegistration::from_files(CLIENT_ID.parse()?, files)?;
    let cloud = microsoft::Cloud::custom(base.clone(), base);
    Ok(MicrosoftConfig { clouds: vec![CloudConfig { cloud, app }], request_timeout: Duration::from_secs(30) })
}

fn make_database(servers: &Servers, app_password: &str, owner_password: &str) -> anyhow::Result<()> {
    let mut sql = String::new();
    for (role, password, more) in
        [(OWNER, owner_password, ""), (APP, app_password, "NOSUPERUSER NOBYPASSRLS")]
    {
        sql.push_str(&format!(
            "SELECT 'CREATE ROLE {role}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec\n\
             ALTER ROLE {role} LOGIN {more} PASSWORD '{password}';\n"
        ));
    }
    sql.push_str(&format!(
        "SELECT 'CREATE DATABASE {DATABASE} OWNER {OWNER}'
         WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec\n"
    ));
    servers.psql("postgres", &sql).context("cannot make the database")?;
    Ok(())
}

/// A program that was built beside this one.
fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let program = here.parent().unwrap_or(Path::new("")).join(name);
    anyhow::ensure!(
        program.is_file(),
        "{} is missing: build it with cargo build -p {name}",
        program.display()
    );
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_port_is_left_to_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        let data = Data::open(directory.path()).unwrap().unwrap();
        // What an earlier release remembered.
        for (name, port) in [("admin-dashboard", "8410"), ("admin-nac", "8411"), ("admin-sync", "8412")] {
            std::fs::write(data.path("ports").join(name), port).unwrap();
        }
        let ports = Ports::choose(&data).unwrap();
        let all = [&[ports.dashboard, ports.nac, ports.simulator][..], &ports.admin].concat();
        assert!(!all.contains(&8_410), "{all:?}");
    }
}
