//! Everything in one process: all roles of Gatehouse on free ports, and the simulator.

use std::path::PathBuf;

use domain::time::{Ids, SharedClock};
use gatehouse::config::{Config, Sources};
use gatehouse::dev::simulator::Simulator;
use gatehouse::roles::Roles;
use gatehouse::serve::{Ambient, Process};
use store::Store;
use tokio::net::TcpListener;
use url::Url;

use crate::database::{Database, required};

/// How a [`TestApp`] is made.
#[derive(Clone)]
pub struct Options {
    pub roles: Roles,
    /// Of each of the simulator's tenants.
    pub devices_per_tenant: u64,
    /// Further settings of Gatehouse, without their prefix.
    pub settings: Vec<(&'static str, String)>,
    /// Instead of the machine's clock.
    pub clock: Option<SharedClock>,
    /// Where the simulator keeps its state.
    pub simulator_state: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            roles: Roles::ALL,
            devices_per_tenant: 60,
            settings: Vec::new(),
            clock: None,
            simulator_state: None,
        }
    }
}

/// A running Gatehouse with a Microsoft of its own.
pub struct TestApp {
    pub database: Database,
    /// As a running process has it.
    pub store: Store,
    pub simulator: Simulator,
    pub simulator_url: Url,
    /// The dashboard.
    pub url: Url,
    /// The NAC API.
    pub nac_url: Url,
    /// `/healthz`, `/readyz`, `/metrics`.
    pub admin_url: Url,
    process: Process,
}

impl TestApp {
    /// All roles, a fleet of sixty, the machine's clock.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        prepare();
        let database = Database::fresh().await;
        let dashboard_port = devservers::free_port();
        // Another host name than the simulator's: to a browser they are two sites, as Microsoft is another.
        let url: Url = format!("http://localhost:{dashboard_port}").parse().expect("a URL");
        let (simulator, simulator_url) = start_simulator(&options, &url).await;
        let mut settings = settings(&database, &simulator_url);
        settings.extend([
            ("ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            ("DASHBOARD_LISTEN", format!("127.0.0.1:{dashboard_port}")),
            ("NAC_LISTEN", "127.0.0.1:0".to_owned()),
            ("PUBLIC_URL", url.to_string()),
        ]);
        settings.extend(options.settings);
        let config =
            Config::read(Sources::of(settings), options.roles).expect("the configuration holds").config;
        let mut ambient = Ambient::default();
        if let Some(clock) = options.clock {
            ambient = Ambient { clock, ids: Ids::system() };
        }
        let process = Process::start_with(config, prometheus::Registry::new(), ambient)
            .await
            .expect("Gatehouse starts");
        let local = |port: u16| format!("http://127.0.0.1:{port}").parse().expect("a URL");
        Self {
            store: database.store(),
            database,
            simulator,
            simulator_url,
            url,
            nac_url: local(process.addresses.nac.map_or(0, |address| address.port())),
            admin_url: local(process.addresses.admin.port()),
            process,
        }
    }

    /// Drains and stops all roles.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

/// Signs bundles for edges: the key of RFC 8410 10.3.
const BUNDLE_SIGNING_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----";
/// What edges know those bundles by.
pub const BUNDLE_PUBLIC_KEY: &str = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
/// Makes the addresses of remediation pages.
pub const REMEDIATION_KEY: &str = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";
/// Wraps the data keys of tests.
pub const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What all processes of a test share.
#[must_use]
pub fn settings(database: &Database, simulator: &Url) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", database.app_url()),
        ("REDIS_URL", required("GATEHOUSE_TEST_REDIS_URL")),
        // The server is shared by all tests.
        ("REDIS_PREFIX", database.name.clone()),
        ("MICROSOFT_CLOUD", "custom".to_owned()),
        ("MICROSOFT_LOGIN_URL", simulator.to_string()),
        ("MICROSOFT_GRAPH_URL", simulator.to_string()),
        ("MICROSOFT_CLIENT_ID", simulator::config::DEFAULT_CLIENT_ID.to_owned()),
        ("MICROSOFT_CLIENT_SECRET", simulator::config::DEFAULT_CLIENT_SECRET.to_owned()),
        ("BUNDLE_SIGNING_KEY", BUNDLE_SIGNING_KEY.to_owned()),
        ("MASTER_KEY", MASTER_KEY.to_owned()),
        ("REMEDIATION_KEY", REMEDIATION_KEY.to_owned()),
        // Sweeps come when tests ask for them.
        ("SYNC_SWEEP_INTERVAL_SECONDS", "3600".to_owned()),
        ("SYNC_WORKER_POLL_MILLIS", "50".to_owned()),
        ("SYNC_RELAY_POLL_MILLIS", "25".to_owned()),
    ]
}

async fn start_simulator(options: &Options, dashboard: &Url) -> (Simulator, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let url: Url = format!("http://{address}").parse().expect("a URL");
    let config = simulator::Config {
        redirect_uris: redirect_uris(dashboard),
        devices_per_tenant: options.devices_per_tenant,
        state: options.simulator_state.clone(),
        ..simulator::Config::default()
    };
    tokio::spawn(async move {
        if let Err(error) = simulator::serve(listener, config).await {
            panic!("the simulator stopped: {error}");
        }
    });
    (Simulator::new(url.clone()).expect("an HTTP client"), url)
}

/// Where Microsoft sends browsers back to.
#[must_use]
pub fn redirect_uris(dashboard: &Url) -> Vec<String> {
    [web::SIGN_IN_CALLBACK, web::LINK_CALLBACK]
        .map(|path| dashboard.join(path).expect("a URL").to_string())
        .to_vec()
}

/// What main does first; logs go to the test's output where RUST_LOG asks for them.
pub fn prepare() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}
