//! What a process is told: by flags, environment and file, checked as a whole before anything starts.

pub mod master_key;
mod microsoft;
mod reader;
mod remediation;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use compliance_sync::SyncConfig;
use nac::NacConfig;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use wire::bundle::{PublicKey, Signer};

pub use self::microsoft::{CloudConfig, MicrosoftConfig};
pub use self::remediation::RemediationConfig;
pub use reader::{ConfigError, Effective, Origin, PREFIX, Problem, Reader, SecretSource, Sources};

use crate::roles::Roles;
use crate::telemetry::LogFormat;

/// Everything that `gatehouse serve` needs, for the roles it was asked for.
#[derive(Clone, Debug)]
pub struct Config {
    pub roles: Roles,
    pub process: ProcessConfig,
    pub database: DatabaseConfig,
    pub redis: RedisConfig,
    /// Of the roles dashboard and sync.
    pub microsoft: Option<MicrosoftConfig>,
    /// Of the same roles; `None`: organizations bring no app registrations of their own.
    pub master_keys: Option<sealing::MasterKeys>,
    /// Of the roles dashboard and nac; `None`: no client is led to Gatehouse's own page.
    pub remediation: Option<RemediationConfig>,
    /// Where browsers reach the dashboard; `None`: `http://` and the address it listens on.
    pub public_url: Option<Url>,
    pub dashboard: Option<DashboardConfig>,
    pub nac: Option<NacListener>,
    pub sync: Option<SyncConfig>,
}

/// What every process has.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    pub admin_listen: SocketAddr,
    pub log_format: LogFormat,
    pub log_filter: String,
    pub shutdown_grace: Duration,
}

#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    pub url: SecretString,
    pub connections_max: u32,
    pub acquire_timeout: Duration,
    pub statement_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct RedisConfig {
    pub url: SecretString,
    pub prefix: String,
    pub decision_timeout: Duration,
    pub command_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct DashboardConfig {
    pub listen: SocketAddr,
    pub nac_public_url: Url,
    /// What edges know bundles by.
    pub bundle_public_key: Option<String>,
    pub request_timeout: Duration,
    /// The sync's pace, for what a page foretells.
    pub coa_per_edge_per_second: u32,
}

#[derive(Clone, Debug)]
pub struct NacListener {
    pub listen: SocketAddr,
    pub limits: NacConfig,
}

/// The settings as they are, for people.
#[derive(Debug)]
pub struct Checked {
    pub config: Config,
    pub effective: Vec<Effective>,
}

impl Config {
    /// Reads the settings that the roles need, and checks them against each other.
    pub fn read(sources: Sources, roles: Roles) -> Result<Checked, ConfigError> {
        let mut reader = Reader::new(sources);
        let process = process(&mut reader);
        let database = database(&mut reader);
        let redis = redis(&mut reader);
        // Settings of roles that this process has not are read too, so that one file can serve all processes; what
        // they lack is no problem then.
        let microsoft = microsoft::read(&mut reader, roles.dashboard || roles.sync);
        let master_keys = master_key::read(&mut reader);
        let remediation = remediation::read(&mut reader);
        let public_url = public_url(&mut reader);
        let mut dashboard = dashboard(&mut reader);
        let nac = nac(&mut reader);
        let sync = sync(&mut reader);
        dashboard.coa_per_edge_per_second = sync.coa_per_edge_per_second;
        // Who has the signing key need not be told the public one.
        if let Some(signer) = &nac.limits.bundle_signer {
            dashboard.bundle_public_key = Some(signer.public_key().to_string());
        }

        if database.acquire_timeout >= database.statement_timeout {
            reader.problem(
                "DATABASE_ACQUIRE_TIMEOUT_MILLISECONDS",
                "must be less than GATEHOUSE_DATABASE_STATEMENT_TIMEOUT_MILLISECONDS: lower it, or raise the other",
            );
        }
        if redis.decision_timeout > redis.command_timeout {
            reader.problem(
                "REDIS_DECISION_TIMEOUT_MILLISECONDS",
                "must not be more than GATEHOUSE_REDIS_COMMAND_TIMEOUT_MILLISECONDS: lower it",
            );
        }
        if let Some(microsoft) = &microsoft
            && microsoft.request_timeout * 2 > Duration::from_secs(sync.lease_seconds.into())
        {
            reader.problem(
                "SYNC_LEASE_SECONDS",
                "must be at least twice GATEHOUSE_MICROSOFT_REQUEST_TIMEOUT_SECONDS, or a slow page outlives its \
                 lease: raise it",
            );
        }
        if remediation.is_some() && roles.nac {
            remediation::check(&mut reader, public_url.as_ref(), roles.dashboard);
        }
        if roles.dashboard && roles.nac && dashboard.listen == nac.listen && nac.listen.port() != 0 {
            reader.problem("NAC_LISTEN", "is also GATEHOUSE_DASHBOARD_LISTEN: give each a port of its own");
        }
        let effective = reader.finish()?;
        let config = Self {
            process,
            database,
            redis,
            microsoft,
            master_keys,
            remediation,
            public_url,
            dashboard: roles.dashboard.then_some(dashboard),
            nac: roles.nac.then_some(nac),
            sync: roles.sync.then_some(sync),
            roles,
        };
        Ok(Checked { config, effective })
    }
}

fn process(reader: &mut Reader) -> ProcessConfig {
    ProcessConfig {
        admin_listen: reader.value(
            "ADMIN_LISTEN",
            local(9100),
            "address of /healthz, /readyz and /metrics; keep it from the public",
        ),
        log_format: reader.value("LOG_FORMAT", LogFormat::Auto, "auto, pretty or json"),
        log_filter: reader.value(
            "LOG_FILTER",
            "info,sqlx=warn,hyper=warn".to_owned(),
            "which log lines are written, in the form of RUST_LOG",
        ),
        shutdown_grace: seconds(reader.number(
            "SHUTDOWN_GRACE_SECONDS",
            25,
            &(1..=600),
            "how long a process may finish what is under way after SIGTERM",
        )),
    }
}

fn database(reader: &mut Reader) -> DatabaseConfig {
    DatabaseConfig {
        url: reader
            .required_secret("DATABASE_URL", "URL of PostgreSQL, as a role that is NOSUPERUSER NOBYPASSRLS"),
        connections_max: reader.number(
            "DATABASE_CONNECTIONS_MAX",
            8,
            &(2..=200),
            "connections of this process, those that record decisions not among them; two to four per core of the \
             database are best",
        ),
        acquire_timeout: millis(reader.number(
            "DATABASE_ACQUIRE_TIMEOUT_MILLISECONDS",
            3_000,
            &(50..=60_000),
            "how long to wait for a connection",
        )),
        statement_timeout: millis(reader.number(
            "DATABASE_STATEMENT_TIMEOUT_MILLISECONDS",
            15_000,
            &(100..=600_000),
            "PostgreSQL gives up on a statement after this",
        )),
    }
}

fn redis(reader: &mut Reader) -> RedisConfig {
    RedisConfig {
        url: reader.required_secret("REDIS_URL", "URL of Redis"),
        prefix: reader.value("REDIS_PREFIX", "gh".to_owned(), "first part of every key"),
        decision_timeout: millis(reader.number(
            "REDIS_DECISION_TIMEOUT_MILLISECONDS",
            200,
            &(10..=5_000),
            "how long a decision waits for Redis before it goes on without",
        )),
        command_timeout: millis(reader.number(
            "REDIS_COMMAND_TIMEOUT_MILLISECONDS",
            2_000,
            &(50..=30_000),
            "how long everything else waits for Redis",
        )),
    }
}

fn public_url(reader: &mut Reader) -> Option<Url> {
    let public_url: Option<Url> = reader.optional(
        "PUBLIC_URL",
        "where browsers reach the dashboard; default: http:// and the address it listens on",
    );
    if let Some(url) = &public_url
        && (!matches!(url.scheme(), "http" | "https") || url.path() != "/")
    {
        reader.problem("PUBLIC_URL", "must be scheme, host and port alone, as in https://gatehouse.example");
    }
    public_url
}

fn dashboard(reader: &mut Reader) -> DashboardConfig {
    let listen = reader.value("DASHBOARD_LISTEN", local(8400), "address of the dashboard");
    let nac_public_url = reader.value(
        "NAC_PUBLIC_URL",
        url("http://127.0.0.1:8401"),
        "where edges reach the NAC API; shown beside a new edge token",
    );
    let key: Option<String> = reader.optional(
        "BUNDLE_PUBLIC_KEY",
        "what edges know bundles by, for the page that says how to connect one; not needed where the dashboard's \
         process reads GATEHOUSE_BUNDLE_SIGNING_KEY",
    );
    let bundle_public_key = key.as_deref().and_then(|text| {
        let key = PublicKey::parse(text).map(|key| key.to_string());
        if key.is_none() {
            reader.problem("BUNDLE_PUBLIC_KEY", "is no Ed25519 public key: give PEM, or 32 bytes in Base64");
        }
        key
    });
    let request_timeout = seconds(reader.number(
        "DASHBOARD_REQUEST_TIMEOUT_SECONDS",
        60,
        &(5..=600),
        "a page that takes longer is cut off; linking waits up to 20 s for Microsoft",
    ));
    let coa_per_edge_per_second = SyncConfig::default().coa_per_edge_per_second;
    DashboardConfig { listen, nac_public_url, bundle_public_key, request_timeout, coa_per_edge_per_second }
}

fn nac(reader: &mut Reader) -> NacListener {
    let listen = reader.value("NAC_LISTEN", local(8401), "address of the NAC API");
    let default = NacConfig::default();
    let limits = NacConfig {
        body_bytes_max: reader.number(
            "NAC_BODY_BYTES_MAX",
            default.body_bytes_max,
            &(4_096..=16_777_216),
            "longest request body of an edge",
        ),
        request_timeout: seconds(reader.number(
            "NAC_REQUEST_TIMEOUT_SECONDS",
            default.request_timeout.as_secs(),
            &(1..=120),
            "an answer that takes longer is cut off; long polls have their wait on top",
        )),
        memory_ttl: millis(reader.number(
            "NAC_MEMORY_TTL_MILLISECONDS",
            as_millis(default.memory_ttl),
            &(0..=600_000),
            "how long facts are trusted without asking Redis or PostgreSQL again",
        )),
        store_read_timeout: millis(reader.number(
            "NAC_STORE_READ_TIMEOUT_MILLISECONDS",
            as_millis(default.store_read_timeout),
            &(10..=30_000),
            "how long a decision waits for PostgreSQL; with recording, less than the 2 s that edges wait is best",
        )),
        store_write_timeout: millis(reader.number(
            "NAC_STORE_WRITE_TIMEOUT_MILLISECONDS",
            as_millis(default.store_write_timeout),
            &(10..=30_000),
            "how long recording waits for PostgreSQL, before records go to Redis",
        )),
        recorder_connections_max: reader.number(
            "NAC_RECORDER_CONNECTIONS_MAX",
            default.recorder_connections_max,
            &(1..=200),
            "connections of this process to PostgreSQL that record decisions, besides DATABASE_CONNECTIONS_MAX",
        ),
        recorder_queue_max: reader.number(
            "NAC_RECORDER_QUEUE_MAX",
            default.recorder_queue_max,
            &(16..=1_000_000),
            "records of one organization that may wait to be written, and of all for each of those connections; further \
             requests are answered with 503",
        ),
        poll_wait_max: seconds(reader.number(
            "NAC_POLL_WAIT_SECONDS_MAX",
            default.poll_wait_max.as_secs(),
            &(1..=600),
            "longest wait of an edge that polls for commands",
        )),
        polls_max: reader.number(
            "NAC_POLLS_MAX",
            default.polls_max,
            &(1..=1_000_000),
            "edges that may wait for commands at a time",
        ),
        redeliver_after: seconds(reader.number(
            "NAC_REDELIVER_AFTER_SECONDS",
            default.redeliver_after.as_secs(),
            &(1..=3_600),
            "a command that was not acknowledged is handed out again after this",
        )),
        seen_interval: seconds(reader.number(
            "NAC_SEEN_INTERVAL_SECONDS",
            default.seen_interval.as_secs(),
            &(1..=600),
            "how often it is written down which edges called, with what, and how often they decided",
        )),
        edge_requests_per_second: reader.number(
            "NAC_EDGE_REQUESTS_PER_SECOND",
            default.edge_requests_per_second,
            &(const { NonZeroU32::new(1).unwrap() }..=const { NonZeroU32::new(1_000_000).unwrap() }),
            "what one edge may ask of one process over a long time; more is answered with 429",
        ),
        edge_requests_burst: reader.number(
            "NAC_EDGE_REQUESTS_BURST",
            default.edge_requests_burst,
            &(const { NonZeroU32::new(1).unwrap() }..=const { NonZeroU32::new(10_000_000).unwrap() }),
            "what one edge may ask of one process at once",
        ),
        session_silence: seconds(reader.number(
            "NAC_SESSION_SILENCE_SECONDS",
            default.session_silence.as_secs(),
            &(900..=31_536_000),
            "a session of which nothing is heard for this long has ended, where its NAS sends no interim updates",
        )),
        bundle_recent: seconds(
            86_400
                * reader.number(
                    "NAC_BUNDLE_RECENT_DAYS",
                    default.bundle_recent.as_secs() / 86_400,
                    &(1..=365),
                    "clients that a site saw within this are in its bundle, for when this deployment is away",
                ),
        ),
        bundle_clients_max: reader.number(
            "NAC_BUNDLE_CLIENTS_MAX",
            default.bundle_clients_max,
            &(1..=1_000_000),
            "clients in a site's bundle, those seen last first",
        ),
        bundle_interval: seconds(reader.number(
            "NAC_BUNDLE_INTERVAL_SECONDS",
            default.bundle_interval.as_secs(),
            &(1..=86_400),
            "a site's bundle is gathered again after this",
        )),
        ..default
    };
    let signing_key = reader.secret(
        "BUNDLE_SIGNING_KEY",
        "PEM of an Ed25519 private key (openssl genpkey -algorithm ed25519) that signs what edges decide from while \
         this deployment is away; without it they have nothing to decide from",
    );
    let bundle_signer = signing_key.as_ref().and_then(|pem| {
        let signer = Signer::parse(pem.expose_secret());
        if signer.is_none() {
            reader.problem("BUNDLE_SIGNING_KEY", "is no Ed25519 private key in PKCS #8 and PEM");
        }
        signer
    });
    if limits.store_read_timeout + limits.store_write_timeout >= limits.request_timeout {
        reader.problem(
            "NAC_REQUEST_TIMEOUT_SECONDS",
            "must be more than GATEHOUSE_NAC_STORE_READ_TIMEOUT_MILLISECONDS and \
             GATEHOUSE_NAC_STORE_WRITE_TIMEOUT_MILLISECONDS together, or no request outlives an absent PostgreSQL: \
             raise it",
        );
    }
    NacListener { listen, limits: NacConfig { bundle_signer, ..limits } }
}

fn sync(reader: &mut Reader) -> SyncConfig {
    let config =
        reader.numbers("SYNC", SyncConfig::default(), "limits of the sync; the name ends in the unit");
    if let Err(error) = config.check() {
        reader.problem("SYNC", error.to_string());
    }
    config
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

fn url(text: &str) -> Url {
    text.parse().expect("a literal URL parses")
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMUM: [(&str, &str); 4] = [
        ("DATABASE_URL", "postgres://app:pw@db/gatehouse"),
        ("REDIS_URL", "redis://cache"),
        ("MICROSOFT_CLIENT_ID", "5b1d0c55-9a7e-4f3c-8a51-6a7e40053000"),
        ("MICROSOFT_CLIENT_SECRET", "hunter2"),
    ];

    fn read(more: &[(&str, &str)], roles: Roles) -> Result<Checked, ConfigError> {
        Config::read(Sources::of(MINIMUM.iter().chain(more).copied()), roles)
    }

    #[test]
    fn the_minimum_is_enough_and_no_secret_is_shown() {
        let checked = read(&[], Roles::ALL).unwrap();
        let shown: String = checked.effective.iter().map(|line| format!("{line}\n")).collect();
        assert!(shown.contains("GATEHOUSE_SYNC_LEASE_SECONDS=90"), "{shown}");
        for secret in ["pw", "hunter2"] {
            assert!(!shown.contains(secret) && !format!("{:?}", checked.config).contains(secret));
        }
    }

    #[test]
    fn a_role_needs_its_own_settings_alone() {
        let only = |roles| Config::read(Sources::of(MINIMUM[..2].iter().copied()), roles);
        assert!(only(Roles { nac: true, ..Roles::default() }).is_ok());
        let error = only(Roles { sync: true, ..Roles::default() }).unwrap_err().to_string();
        assert!(error.contains("GATEHOUSE_MICROSOFT_CLIENT_ID: is missing"), "{error}");
    }

    #[test]
    fn settings_are_checked_against_each_other() {
        for (settings, key) in [
            (&[("SYNC_LEASE_SECONDS", "40")][..], "GATEHOUSE_SYNC_LEASE_SECONDS"),
            (
                &[("REDIS_DECISION_TIMEOUT_MILLISECONDS", "3000")],
                "GATEHOUSE_REDIS_DECISION_TIMEOUT_MILLISECONDS",
            ),
            (&[("NAC_LISTEN", "127.0.0.1:8400")], "GATEHOUSE_NAC_LISTEN"),
            (&[("MICROSOFT_CLOUD", "custom")], "GATEHOUSE_MICROSOFT_CLOUD"),
            (&[("MICROSOFT_CLOUD", "mars")], "GATEHOUSE_MICROSOFT_CLOUD"),
            (&[("PUBLIC_URL", "https://x.example/gatehouse")], "GATEHOUSE_PUBLIC_URL"),
        ] {
            let error = read(settings, Roles::ALL).unwrap_err();
            assert_eq!(error.0.len(), 1, "{error}");
            assert_eq!(error.0[0].key, key);
        }
    }
}
