//! What the simulator is started with: flags, or the environment.

use std::path::PathBuf;

use clap::Parser;
use time::OffsetDateTime;

use crate::fleet::parse_timestamp;

/// The client id of the default app registration.
pub const DEFAULT_CLIENT_ID: &str = "5b1d0c55-9a7e-4f3c-8a51-6a7e40053000";
/// Its secret: made up, public, and good for nothing but the simulator.
pub const DEFAULT_CLIENT_SECRET: &str = "simulator~only~not~a~secret";

/// Microsoft, small: Entra ID, Graph and Intune over HTTP, for tests and demonstrations of Gatehouse.
#[derive(Debug, Clone, Parser)]
#[command(name = "simulator", version)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, env = "SIMULATOR_LISTEN", default_value = "127.0.0.1:4010")]
    pub listen: String,
    /// The base URL that clients see: of the issuer, of endpoints, nextLink and deltaLink. Default:
    /// the address that it listens on.
    #[arg(long, env = "SIMULATOR_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Seed of the fleets, of random faults and of token lifetimes.
    #[arg(long, env = "SIMULATOR_SEED", default_value_t = 1)]
    pub seed: u64,
    /// How many tenants to start with; the first three are Contoso, Fabrikam and Northwind.
    #[arg(long, env = "SIMULATOR_TENANTS", default_value_t = 3)]
    pub tenants: usize,
    #[arg(long, env = "SIMULATOR_DEVICES_PER_TENANT", default_value_t = 60)]
    pub devices_per_tenant: u64,
    /// Start with consent to the default app in every tenant.
    #[arg(long, env = "SIMULATOR_CONSENTED")]
    pub consented: bool,
    /// Client id of the default app registration.
    #[arg(long, env = "SIMULATOR_CLIENT_ID", default_value = DEFAULT_CLIENT_ID)]
    pub client_id: String,
    /// A secret of the default app; repeatable.
    #[arg(long = "client-secret", env = "SIMULATOR_CLIENT_SECRET", default_value = DEFAULT_CLIENT_SECRET)]
    pub client_secrets: Vec<String>,
    /// A PEM file with a certificate of the default app; repeatable.
    #[arg(long = "client-certificate", env = "SIMULATOR_CLIENT_CERTIFICATE")]
    pub client_certificates: Vec<PathBuf>,
    /// A redirect URI of the default app, matched exactly; repeatable, or separated by commas.
    #[arg(long = "redirect-uri", env = "SIMULATOR_REDIRECT_URI", value_delimiter = ',')]
    pub redirect_uris: Vec<String>,
    /// Delay of every answer of Entra and Graph, in milliseconds.
    #[arg(long, env = "SIMULATOR_LATENCY_MS", default_value_t = 0)]
    pub latency_ms: u64,
    /// Keep everything in this file, so that a restart changes nothing.
    #[arg(long, env = "SIMULATOR_STATE")]
    pub state: Option<PathBuf>,
    /// The time at which both clocks start (RFC 3339); default: now.
    #[arg(long, env = "SIMULATOR_NOW", value_parser = rfc3339)]
    pub now: Option<OffsetDateTime>,
}

impl Default for Config {
    /// The defaults of the command line, whatever the environment says: tests are not steered by it.
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:4010".to_owned(),
            public_url: None,
            seed: 1,
            tenants: 3,
            devices_per_tenant: 60,
            consented: false,
            client_id: DEFAULT_CLIENT_ID.to_owned(),
            client_secrets: vec![DEFAULT_CLIENT_SECRET.to_owned()],
            client_certificates: Vec::new(),
            redirect_uris: Vec::new(),
            latency_ms: 0,
            state: None,
            now: None,
        }
    }
}

fn rfc3339(text: &str) -> Result<OffsetDateTime, String> {
    parse_timestamp(text).ok_or_else(|| "not an RFC 3339 time, as in 2026-01-09T02:02:12Z".to_owned())
}
