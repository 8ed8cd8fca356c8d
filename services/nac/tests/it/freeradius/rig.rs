//! The edge of `infra/freeradius`, rendered into a folder of its own and started; supplicants and NASes before it.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use devservers::free_port;
use tempfile::TempDir;

use super::certs::{Authority, Files, Says};

pub const SECRET: &str = "a secret of this test";
const PACKAGE: &str = "infra/freeradius/raddb";

/// FreeRADIUS, and everything around it.
pub struct Rig {
    pub folder: TempDir,
    /// Issues the certificates of clients and of the RADIUS server.
    pub clients: Authority,
    pub radsec: Authority,
    pub auth_port: u16,
    pub acct_port: u16,
    pub radsec_port: u16,
    settings: Vec<(&'static str, String)>,
    server: Option<Child>,
}

/// What a supplicant or a NAS got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Accept(Vec<(String, String)>),
    Reject(Vec<(String, String)>),
    Nothing,
}

impl Got {
    pub fn value(&self, name: &str) -> Option<&str> {
        let (Self::Accept(attributes) | Self::Reject(attributes)) = self else { return None };
        attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn values(&self, name: &str) -> Vec<&str> {
        let (Self::Accept(attributes) | Self::Reject(attributes)) = self else { return Vec::new() };
        attributes.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn vlan(&self) -> Option<&str> {
        assert!(matches!(self, Self::Accept(_)), "{self:?}");
        self.value("Tunnel-Private-Group-Id:0")
    }

    pub const fn is_reject(&self) -> bool {
        matches!(self, Self::Reject(_))
    }
}

/// A program that `./dev test` installs.
pub fn program(name: &str) -> PathBuf {
    let folders = std::env::var("PATH").unwrap_or_default();
    let folders = folders.split(':').chain(["/usr/sbin", "/usr/bin"]);
    let found = folders.map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: run the tests with ./dev test, which installs it")
    })
}

impl Rig {
    /// Renders the package for an API at `url`, whose certificate `api` has issued. Not started yet.
    pub fn new(folder: TempDir, api: &Authority, clients: Authority, url: &str, token: &str) -> Self {
        let ports = (free_port(), free_port(), free_port());
        let user = |flag: &str| {
            let out = Command::new("id").arg(flag).output().unwrap().stdout;
            String::from_utf8(out).unwrap().trim().to_owned()
        };
        let at = |name: &str| format!("{:?}", folder.path().join(name));
        let settings = vec![
            ("confdir", at("raddb")),
            ("logdir", at("log")),
            ("run_dir", at("run")),
            ("spooldir", at("spool")),
            ("url", format!("{url:?}")),
            ("token", format!("{token:?}")),
            ("ca_file", at("api-ca.pem")),
            ("user", user("-un")),
            ("group", user("-gn")),
            ("radius_address", "127.0.0.1".to_owned()),
            ("radius_auth_port", ports.0.to_string()),
            ("radius_acct_port", ports.1.to_string()),
            ("radsec_port", ports.2.to_string()),
        ];
        std::fs::write(folder.path().join("api-ca.pem"), api.pem()).unwrap();
        let rig = Self {
            clients,
            radsec: Authority::new("RadSec"),
            auth_port: ports.0,
            acct_port: ports.1,
            radsec_port: ports.2,
            settings,
            server: None,
            folder,
        };
        rig.render();
        rig
    }

    /// Changes a setting of gatehouse.conf.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.settings.push((name, value.to_owned()));
        self.render();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn render(&self) {
        let raddb = self.path("raddb");
        for folder in ["log", "run", "spool", "raddb/certs"] {
            std::fs::create_dir_all(self.path(folder)).unwrap();
        }
        let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let package = above.map(|folder| folder.join(PACKAGE)).find(|package| package.is_dir()).unwrap();
        copy(&package, &raddb);
        let mut text = std::fs::read_to_string(raddb.join("gatehouse.conf")).unwrap();
        for (name, value) in &self.settings {
            let is_it = |line: &&str| line.split('=').next().is_some_and(|key| key.trim() == *name);
            let line = text.lines().find(is_it).unwrap_or_else(|| panic!("gatehouse.conf has no {name}"));
            text = text.replace(line, &format!("{name} = {value}"));
        }
        std::fs::write(raddb.join("gatehouse.conf"), text).unwrap();
        let clients = std::fs::read_to_string(raddb.join("clients.conf")).unwrap();
        std::fs::write(raddb.join("clients.conf"), clients.replace("change-me", SECRET)).unwrap();
        let mut users = std::fs::read_to_string(raddb.join("users")).unwrap();
        users.push_str("alex\tCleartext-Password := \"pässword\"\n");
        std::fs::write(raddb.join("users"), users).unwrap();
        let certs = raddb.join("certs");
        std::fs::write(certs.join("clients-ca.pem"), self.clients.pem()).unwrap();
        std::fs::write(certs.join("radsec-ca.pem"), self.radsec.pem()).unwrap();
        let says = Says { cn: "radius.example", dns: &["radius.example"], ..Says::default() };
        self.clients.issue(&certs, "server", &says);
        self.radsec.issue(&certs, "radsec", &says);
    }

    /// Takes RadSec, too.
    pub fn with_radsec(&self) {
        let raddb = self.path("raddb");
        std::fs::copy(
            raddb.join("sites-available/gatehouse-radsec"),
            raddb.join("sites-enabled/gatehouse-radsec"),
        )
        .unwrap();
    }

    pub async fn start(&mut self) {
        let log = File::create(self.path("radius.log")).unwrap();
        let child = devservers::dies_with_parent("KILL")
            .arg(program("freeradius"))
            .args(["-f", "-x", "-l", "stdout", "-n", "radiusd", "-d"])
            .arg(self.path("raddb"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(child);
        let started = Instant::now();
        while !self.log().contains("Ready to process requests") {
            let log = self.log();
            assert!(!log.contains("Errors ") && !log.contains("Failed binding"), "{log}");
            assert!(started.elapsed() < Duration::from_secs(30), "FreeRADIUS is not ready: {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("radius.log")).unwrap_or_default()
    }

    /// An access request or accounting message of a NAS, by radclient.
    pub async fn packet(&self, port: u16, kind: &str, attributes: &str) -> Got {
        self.send(port, kind, &format!("{attributes}\nMessage-Authenticator = 0x00\n")).await
    }

    pub async fn send(&self, port: u16, kind: &str, attributes: &str) -> Got {
        let file = self.path(&format!("packet-{}", free_port()));
        std::fs::write(&file, attributes).unwrap();
        let out = tokio::process::Command::new(program("radclient"))
            .args(["-x", "-r", "1", "-t", "8", "-f"])
            .arg(&file)
            .args([&format!("127.0.0.1:{port}"), kind, SECRET])
            .output()
            .await
            .unwrap();
        got(&String::from_utf8_lossy(&out.stdout), "Received ", '\t')
    }

    pub async fn mab(&self, mac: &str) -> Got {
        self.packet(self.auth_port, "auth", &mab(mac)).await
    }

    pub async fn account(&self, attributes: &str) -> Got {
        self.send(self.acct_port, "acct", attributes).await
    }

    /// A supplicant that trusts another authority than the server's: it breaks the handshake off.
    pub async fn eap_distrusting(&self, mac: &str, network: &str, authority: &Path) {
        let text = self.supplicant(self.auth_port, mac, network, authority).await;
        assert!(!text.trim_end().ends_with("SUCCESS"), "{text}");
    }

    /// EAP by eapol_test: what the supplicant is set to, and what it got.
    pub async fn eap(&self, mac: &str, network: &str) -> Got {
        self.eap_to(self.auth_port, mac, network).await
    }

    pub async fn eap_to(&self, port: u16, mac: &str, network: &str) -> Got {
        let text = self.supplicant(port, mac, network, &self.path("raddb/certs/clients-ca.pem")).await;
        let heard = |what: &str| text.contains(&format!("EAP: Received EAP-{what}"));
        if text.trim_end().ends_with("SUCCESS") {
            assert!(heard("Success"), "{text}");
            assert!(text.contains("MS-MPPE-Send-Key"), "an access point needs the keys: {text}");
            return Got::Accept(eapol_attributes(&text));
        }
        if text.contains("code=3") || text.contains("(Access-Reject)") {
            assert!(heard("Failure") && !heard("Success"), "the supplicant must be told: {text}");
            let attributes = eapol_attributes(&text);
            assert!(!attributes.iter().any(|(name, _)| name.starts_with("Tunnel")), "{attributes:?}");
            return Got::Reject(attributes);
        }
        panic!("neither accepted nor rejected: {text}\n{}", self.log())
    }

    /// What eapol_test printed.
    async fn supplicant(&self, port: u16, mac: &str, network: &str, authority: &Path) -> String {
        let file = self.path(&format!("supplicant-{}", free_port()));
        let mut text = "network={\n ssid=\"corp\"\n key_mgmt=WPA-EAP\n".to_owned();
        write!(text, " ca_cert={authority:?}\n{network}\n}}\n").unwrap();
        std::fs::write(&file, text).unwrap();
        let out = tokio::process::Command::new(program("eapol_test"))
            .arg("-c")
            .arg(&file)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-s", SECRET, "-M", mac, "-t", "20"])
            .args(["-N", "30:s:5C-5B-35-00-00-01:corp", "-N", "61:d:19", "-N", "4:x:c0000207"])
            .output()
            .await
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// The supplicant's settings for a certificate.
    pub fn tls(&self, name: &str, identity: &str, says: &Says<'_>) -> String {
        let Files { cert, key } = self.clients.issue(self.folder.path(), name, says);
        format!(" eap=TLS\n identity={identity:?}\n client_cert={cert:?}\n private_key={key:?}")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        if std::thread::panicking() {
            // Beside the message of what failed.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.log().as_bytes());
        }
    }
}

pub fn mab(mac: &str) -> String {
    format!(
        "User-Name = \"{0}\"\nUser-Password = \"{0}\"\nCalling-Station-Id = \"{1}\"\nService-Type = Call-Check\n\
         NAS-Port-Type = Ethernet\nNAS-Port-Id = \"ge-0/0/7\"\nNAS-Identifier = \"switch-1\"",
        mac.replace(':', ""),
        mac.replace(':', "-").to_uppercase(),
    )
}

/// What `radclient -x` printed of the reply.
fn got(text: &str, lead: &str, indent: char) -> Got {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(lead));
    let Some(head) = lines.next() else { return Got::Nothing };
    let attributes = lines
        .take_while(|line| line.starts_with(indent))
        .filter_map(|line| line.trim().split_once(" = "))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect();
    if head.contains("Access-Reject") { Got::Reject(attributes) } else { Got::Accept(attributes) }
}

/// The attributes of the last RADIUS message that eapol_test printed, where they mean something here.
fn eapol_attributes(text: &str) -> Vec<(String, String)> {
    let begins = text.rfind("RADIUS message: code=").unwrap_or(0);
    let mut lines = text[begins..].lines().skip(1).peekable();
    let mut out = Vec::new();
    while let Some(line) = lines.next() {
        let Some(rest) = line.trim_start().strip_prefix("Attribute ") else {
            if line.starts_with(' ') {
                continue;
            }
            break;
        };
        let number = rest.split(' ').next().unwrap_or_default();
        let value = lines.peek().and_then(|line| line.trim().strip_prefix("Value: "));
        let Some(value) = value else { continue };
        let name = match number {
            "1" => "User-Name",
            "64" => "Tunnel-Type:0",
            "81" => "Tunnel-Private-Group-Id:0",
            "80" => "Message-Authenticator",
            other => other,
        };
        let value = if name == "Tunnel-Private-Group-Id:0" { text_of_hex(value) } else { value.to_owned() };
        out.push((name.to_owned(), value.trim_matches('\'').to_owned()));
    }
    out
}

fn text_of_hex(digits: &str) -> String {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| char::from(u8::from_str_radix(pair, 16).unwrap())).filter(|c| !c.is_control()).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
