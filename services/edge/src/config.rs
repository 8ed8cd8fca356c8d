//! The agent's own file: TOML, because it lists NASes, and on site, because it holds their secrets.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{OrgId, SiteId};
use ipnetwork::IpNetwork;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use crate::vendor::{MacFormat, Vendor};
use wire::bundle::PublicKey;

/// The port of RFC 5176 2.1.
const COA_PORT: u16 = 3_799;

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    NotToml(PathBuf, Box<toml::de::Error>),
    /// Everything that is wrong with it.
    #[error("the configuration cannot be used:\n  {}", .0.join("\n  "))]
    Invalid(Vec<String>),
}

/// Everything that the agent is told.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    pub cloud: CloudConfig,
    /// Where the local FreeRADIUS asks.
    pub listen: SocketAddr,
    /// Bundle and spool are kept here.
    pub directory: PathBuf,
    /// Any of these may have signed a bundle; none: the agent keeps none.
    pub bundle_keys: Vec<PublicKey>,
    /// The site whose bundles are taken; `None`: that of the first one.
    pub site: Option<SiteId>,
    pub limits: Limits,
    pub nas: Vec<NasConfig>,
}

/// How the cloud is reached.
#[derive(Clone, Debug)]
pub struct CloudConfig {
    pub url: Url,
    pub token: SecretString,
    /// The token names it.
    pub org: OrgId,
    /// Certificates (PEM) that vouch for the cloud, beside the system's.
    pub ca: Option<Vec<u8>>,
}

/// Limits, each with a unit in its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How long connecting to the cloud may take, milliseconds.
    pub connect_milliseconds: u64,
    /// How long the cloud may take to answer an access request, milliseconds; then the bundle answers. FreeRADIUS
    /// itself waits for two seconds (`timeout` in its gatehouse.conf), so this must leave time for that.
    pub answer_milliseconds: u64,
    /// After this many failures in a row the cloud is not asked at all …
    pub breaker_failures: u32,
    /// … for this long, milliseconds.
    pub breaker_open_milliseconds: u64,
    /// Longest wait of a poll for commands, seconds.
    pub poll_seconds: u64,
    /// How often a newer bundle is asked for, seconds.
    pub bundle_seconds: u64,
    /// How often the cloud is told how the agent stands, seconds.
    pub report_seconds: u64,
    /// Longest body that is taken from FreeRADIUS, bytes.
    pub body_bytes_max: usize,
    /// Bodies that are kept while the cloud is away; further ones are refused.
    pub spool_records_max: u64,
    /// Bytes of bodies that are kept while the cloud is away.
    pub spool_bytes_max: u64,
    /// Pause between attempts to deliver, milliseconds; doubled up to a minute.
    pub retry_milliseconds: u64,
    /// RFC 5080 2.2.1: the first retransmission comes after this, milliseconds.
    pub coa_retransmit_milliseconds: u64,
    /// RFC 5080 2.2.1: the longest pause between retransmissions, milliseconds.
    pub coa_retransmit_milliseconds_max: u64,
    /// RFC 5080 2.2.1: transmissions of one request at most.
    pub coa_transmissions_max: u32,
    /// RFC 5080 2.2.1: an answer is waited for this long altogether, milliseconds.
    pub coa_wait_milliseconds_max: u64,
    /// Requests that wait for one NAS at a time.
    pub coa_per_nas_max: u8,
    /// Results that are remembered, so that a command handed out twice is carried out once.
    pub coa_results_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_milliseconds: 1_000,
            answer_milliseconds: 1_500,
            breaker_failures: 3,
            breaker_open_milliseconds: 5_000,
            poll_seconds: 30,
            bundle_seconds: 60,
            report_seconds: 60,
            body_bytes_max: 64 * 1024,
            spool_records_max: 1_000_000,
            spool_bytes_max: 1 << 30,
            retry_milliseconds: 500,
            coa_retransmit_milliseconds: 2_000,
            coa_retransmit_milliseconds_max: 8_000,
            coa_transmissions_max: 5,
            coa_wait_milliseconds_max: 25_000,
            coa_per_nas_max: 8,
            coa_results_max: 10_000,
        }
    }
}

impl Limits {
    #[must_use]
    pub const fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.answer_milliseconds)
    }
}

/// A NAS, or all NASes of a network, that take CoA.
#[derive(Clone, Debug)]
pub struct NasConfig {
    /// NAS-IP-Address is within it; `None` where the NAS is known by its identifier alone.
    pub network: Option<IpNetwork>,
    /// NAS-Identifier.
    pub identifier: Option<String>,
    /// Where it takes CoA; NAS-IP-Address itself where this is left out.
    pub address: Option<IpAddr>,
    pub port: u16,
    pub secret: SecretString,
    /// Left out: as the session has it.
    pub vendor: Option<Vendor>,
    /// How Calling-Station-Id is written; left out: as the vendor writes it.
    pub mac_format: Option<MacFormat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cloud: CloudFile,
    #[serde(default = "listen")]
    listen: SocketAddr,
    directory: PathBuf,
    #[serde(default)]
    bundle_public_keys: Vec<String>,
    site: Option<Uuid>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    nas: Vec<NasFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudFile {
    url: Url,
    token: Option<SecretString>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NasFile {
    network: Option<String>,
    identifier: Option<String>,
    address: Option<IpAddr>,
    #[serde(default = "coa_port")]
    port: u16,
    secret: Option<SecretString>,
    secret_file: Option<PathBuf>,
    vendor: Option<String>,
    mac_format: Option<String>,
}

const fn coa_port() -> u16 {
    COA_PORT
}

const fn listen() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8_410)
}

impl EdgeConfig {
    /// Reads the file, and the files of secrets that it names.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Unreadable(path.to_owned(), e))?;
        let file: File =
            toml::from_str(&text).map_err(|e| ConfigError::NotToml(path.to_owned(), Box::new(e)))?;
        let mut problems = Vec::new();
        let config = Self::check(file, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Invalid(problems)),
        }
    }

    fn check(file: File, problems: &mut Vec<String>) -> Option<Self> {
        let File { cloud, listen, directory, bundle_public_keys, site, limits, nas } = file;
        if !matches!(cloud.url.scheme(), "http" | "https") || cloud.url.path() != "/" {
            problems.push("cloud.url: scheme, host and port alone, as in https://nac.example".to_owned());
        }
        if !listen.ip().is_loopback() {
            problems.push(
                "listen: an address of this machine alone, as in 127.0.0.1:8410, because whoever reaches it speaks \
                 for the edge"
                    .to_owned(),
            );
        }
        for (name, value, from, to) in [
            ("connect_milliseconds", limits.connect_milliseconds, 50, 60_000),
            ("answer_milliseconds", limits.answer_milliseconds, 50, 60_000),
            ("breaker_failures", limits.breaker_failures.into(), 1, 1_000),
            ("breaker_open_milliseconds", limits.breaker_open_milliseconds, 100, 600_000),
            ("poll_seconds", limits.poll_seconds, 1, 60),
            ("bundle_seconds", limits.bundle_seconds, 1, 86_400),
            ("report_seconds", limits.report_seconds, 1, 86_400),
            ("spool_records_max", limits.spool_records_max, 1, 100_000_000),
            ("spool_bytes_max", limits.spool_bytes_max, 4_096, 1 << 40),
            ("retry_milliseconds", limits.retry_milliseconds, 10, 60_000),
            ("coa_retransmit_milliseconds", limits.coa_retransmit_milliseconds, 10, 60_000),
            ("coa_retransmit_milliseconds_max", limits.coa_retransmit_milliseconds_max, 10, 60_000),
            ("coa_transmissions_max", limits.coa_transmissions_max.into(), 1, 20),
            ("coa_wait_milliseconds_max", limits.coa_wait_milliseconds_max, 10, 600_000),
            ("coa_per_nas_max", limits.coa_per_nas_max.into(), 1, 250),
        ] {
            if !(from..=to).contains(&value) {
                problems.push(format!("limits.{name}: {value} is out of bounds: use {from} to {to}"));
            }
        }
        let token = secret("cloud.token", cloud.token, cloud.token_file.as_deref(), problems);
        let ca = cloud.ca_file.as_deref().and_then(|path| {
            std::fs::read(path)
                .map_err(|e| problems.push(format!("cloud.ca_file: {}: {e}", path.display())))
                .ok()
        });
        let mut bundle_keys = Vec::new();
        for text in &bundle_public_keys {
            match PublicKey::parse(text) {
                Some(key) => bundle_keys.push(key),
                None => problems.push(format!(
                    "bundle_public_keys: “{text}” is no Ed25519 public key: give PEM, or 32 bytes in Base64"
                )),
            }
        }
        let nas = nas.into_iter().enumerate().filter_map(|(n, nas)| nas.check(n, problems)).collect();
        let token = token?;
        let Some(org) = org_of(token.expose_secret()) else {
            problems.push("cloud.token: no edge token, as in ghe_…".to_owned());
            return None;
        };
        let cloud = CloudConfig { url: cloud.url, token, org, ca };
        Some(Self { cloud, listen, directory, bundle_keys, site: site.map(SiteId), limits, nas })
    }
}

impl NasFile {
    fn check(self, n: usize, problems: &mut Vec<String>) -> Option<NasConfig> {
        let at = format!("nas[{n}]");
        let network = self.network.as_deref().and_then(|text| {
            let network = text.parse().ok();
            if network.is_none() {
                problems.push(format!("{at}.network: “{text}” is neither an address nor a network"));
            }
            network
        });
        if self.network.is_none() && self.identifier.is_none() {
            problems.push(format!("{at}: give network (of NAS-IP-Address) or identifier (NAS-Identifier)"));
        }
        if self.network.is_none() && self.address.is_none() {
            problems.push(format!("{at}.address: where it takes CoA, as nothing else says so"));
        }
        let vendor = self.vendor.as_deref().and_then(|text| {
            let vendor = Vendor::parse(text);
            if vendor.is_none() {
                problems.push(format!("{at}.vendor: use one of {}", Vendor::NAMES.join(", ")));
            }
            vendor
        });
        let mac_format = self.mac_format.as_deref().and_then(|text| {
            let format = MacFormat::parse(text);
            if format.is_none() {
                problems.push(format!("{at}.mac_format: use one of {}", MacFormat::NAMES.join(", ")));
            }
            format
        });
        let secret = secret(&format!("{at}.secret"), self.secret, self.secret_file.as_deref(), problems)?;
        Some(NasConfig {
            network,
            identifier: self.identifier,
            address: self.address,
            port: self.port,
            secret,
            vendor,
            mac_format,
        })
    }
}

/// A token is `ghe_<organization ++ credential>_<secret>`, in Base64.
fn org_of(token: &str) -> Option<OrgId> {
    let place = token.strip_prefix("ghe_")?.get(..43)?;
    let bytes = URL_SAFE_NO_PAD.decode(place).ok()?;
    Some(OrgId(Uuid::from_slice(bytes.get(..16)?).ok()?))
}

fn secret(
    name: &str,
    given: Option<SecretString>,
    file: Option<&Path>,
    problems: &mut Vec<String>,
) -> Option<SecretString> {
    match (given, file) {
        (Some(secret), None) => Some(secret),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) if !text.trim().is_empty() => Some(text.trim().to_owned().into()),
            Ok(_) => {
                problems.push(format!("{name}_file: {} is empty", path.display()));
                None
            }
            Err(error) => {
                problems.push(format!("{name}_file: {}: {error}", path.display()));
                None
            }
        },
        _ => {
            problems.push(format!("{name}: give either {name} or {name}_file"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<EdgeConfig, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edge.toml");
        std::fs::write(&path, text).unwrap();
        EdgeConfig::read(&path)
    }

    #[test]
    fn a_file_is_read_whole_and_shows_no_secret() {
        let config = read(
            r#"
            directory = "/var/lib/gatehouse-edge"
            bundle_public_keys = ["11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]
            [cloud]
            url = "https://nac.example"
            token = "ghe_AAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAI_hunter2"
            [limits]
            answer_milliseconds = 1500
            [[nas]]
            network = "192.0.2.0/24"
            secret = "swordfish"
            vendor = "cisco-ios"
            [[nas]]
            identifier = "ap-lobby"
            address = "198.51.100.3"
            port = 1700
            secret = "swordfish"
            mac_format = "colon-lower"
            "#,
        )
        .unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8410");
        assert_eq!((config.limits.answer_milliseconds, config.limits.connect_milliseconds), (1_500, 1_000));
        assert_eq!(config.cloud.org, OrgId(Uuid::from_u128(1)));
        assert_eq!((config.nas[0].port, config.nas[1].port), (3_799, 1_700));
        assert_eq!(config.nas[0].vendor, Some(Vendor::CiscoIos));
        let shown = format!("{config:?}");
        assert!(!shown.contains("swordfish") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_example_holds() {
        let readme = include_str!("../README.md");
        let example = readme.split_once("```toml").unwrap().1.split_once("```").unwrap().0;
        let directory = tempfile::tempdir().unwrap();
        let mut text = example.to_owned();
        for (file, holds) in [
            ("edge.token", "ghe_AAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAI_x"),
            ("switches.secret", "one"),
            ("wlc.secret", "two"),
        ] {
            let path = directory.path().join(file);
            std::fs::write(&path, format!("{holds}\n")).unwrap();
            text = text.replace(&format!("/etc/gatehouse/{file}"), &path.display().to_string());
        }
        let config = read(&text).unwrap();
        assert_eq!((config.nas.len(), config.bundle_keys.len()), (2, 1));
        assert_eq!(config.nas[1].secret.expose_secret(), "two");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let error = read(
            r#"
            directory = "/x"
            listen = "0.0.0.0:8410"
            bundle_public_keys = ["nonsense"]
            [cloud]
            url = "https://nac.example/path"
            token_file = "/nowhere"
            [limits]
            poll_seconds = 900
            [[nas]]
            secret = "x"
            vendor = "acme"
            [[nas]]
            network = "not one"
            "#,
        )
        .unwrap_err()
        .to_string();
        for wrong in [
            "listen:",
            "bundle_public_keys:",
            "cloud.url:",
            "cloud.token_file:",
            "limits.poll_seconds:",
            "nas[0]:",
            "nas[0].address:",
            "nas[0].vendor:",
            "nas[1].network:",
            "nas[1].secret:",
        ] {
            assert!(error.contains(wrong), "{wrong} is not in {error}");
        }
        assert!(matches!(read("typo = 1"), Err(ConfigError::NotToml(..))));
    }
}
