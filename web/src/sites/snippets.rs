//! What stands in the files of an edge, made from what Gatehouse knows of it. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use domain::SiteId;
use domain::request::AccessRequest;

/// The package's own file, so that what is shown is what it reads.
const GATEHOUSE_CONF: &str = include_str!("../../../infra/freeradius/raddb/gatehouse.conf");
/// Where the agent listens unless its file says otherwise.
pub(super) const AGENT_URL: &str = "http://127.0.0.1:8410";
/// What stands in the place of a token that cannot be shown any more.
const NO_TOKEN: &str = "ghe_PASTE-THE-TOKEN-HERE";
const NAS_MAX: usize = 12;

/// What is known of an edge that is to be connected.
pub(super) struct Known<'a> {
    /// Without a slash at its end.
    pub nac_url: &'a str,
    /// A token that was just made.
    pub token: Option<&'a str>,
    pub site: SiteId,
    pub critical_vlan: Option<&'a str>,
    /// What bundles are known by; `None`: this deployment signs none, or does not say.
    pub bundle_key: Option<&'a str>,
    /// NASes that the edge asked for lately.
    pub nases: &'a [IpAddr],
}

impl Known<'_> {
    fn token(&self) -> &str {
        self.token.unwrap_or(NO_TOKEN)
    }

    /// `gatehouse.conf` of the FreeRADIUS package.
    pub fn gatehouse_conf(&self) -> String {
        let settings = [
            ("url", self.nac_url),
            ("token", self.token()),
            ("critical_vlan", self.critical_vlan.unwrap_or_default()),
        ];
        let mut out = String::with_capacity(GATEHOUSE_CONF.len() + 256);
        for line in GATEHOUSE_CONF.lines() {
            let key = line.split('=').next().unwrap_or_default();
            match settings.iter().find(|(name, _)| *name == key.trim()) {
                Some((name, value)) => {
                    let indent = &key[..key.len() - key.trim_start().len()];
                    let _ = writeln!(out, "{indent}{name} = \"{}\"", quoted(value));
                }
                None => {
                    let _ = writeln!(out, "{line}");
                }
            }
        }
        out
    }

    /// The token into a file that nobody else reads.
    pub fn token_file(&self) -> String {
        format!(
            "install -d -m 0755 /etc/gatehouse\n(umask 077; printf '%s\\n' '{}' > /etc/gatehouse/edge.token)\n",
            self.token()
        )
    }

    /// The package as a container.
    pub fn container(&self) -> String {
        let vlan =
            self.critical_vlan.map(|vlan| format!("  -e GATEHOUSE_CRITICAL_VLAN={} \\\n", shell(vlan)));
        format!(
            "podman build -t gatehouse-freeradius infra/freeradius\n\
             podman run -d --restart=always --name gatehouse-freeradius --network host \\\n  \
             -e GATEHOUSE_URL={} \\\n{}  \
             -v /etc/gatehouse/edge.token:/run/secrets/token:ro -e GATEHOUSE_TOKEN_FILE=/run/secrets/token \\\n  \
             -v ./certs:/etc/freeradius/gatehouse/certs:ro \\\n  \
             -v ./clients.conf:/etc/freeradius/gatehouse/clients.conf:ro \\\n  \
             -v gatehouse-spool:/var/lib/freeradius/gatehouse \\\n  \
             gatehouse-freeradius\n",
            shell(self.nac_url),
            vlan.unwrap_or_default(),
        )
    }

    /// The agent's own file.
    pub fn edge_toml(&self) -> String {
        let mut out = String::from(
            "# Where FreeRADIUS asks; an address of this machine alone.\n\
             listen = \"127.0.0.1:8410\"\n\
             # Spool and bundle are kept here.\n\
             directory = \"/var/lib/gatehouse-edge\"\n",
        );
        match self.bundle_key {
            Some(key) => {
                let _ = write!(
                    out,
                    "# What bundles of this Gatehouse are known by.\nbundle_public_keys = [\"{}\"]\n",
                    quoted(key)
                );
            }
            None => out.push_str(
                "# Ask whoever runs Gatehouse for its bundle key; without it the agent decides nothing by itself.\n\
                 #bundle_public_keys = [\"…\"]\n",
            ),
        }
        let _ = write!(
            out,
            "# This edge's site.\nsite = \"{}\"\n\n[cloud]\nurl = \"{}\"\ntoken_file = \"/etc/gatehouse/edge.token\"\n\n",
            self.site,
            quoted(self.nac_url),
        );
        out.push_str(
            "# Who takes Changes of Authorization, with the secret that it shares with this machine.\n",
        );
        if self.nases.is_empty() {
            out.push_str(
                "#[[nas]]\n#network = \"192.0.2.0/24\"\n#secret_file = \"/etc/gatehouse/nas.secret\"\n",
            );
        }
        for nas in self.nases {
            let _ = write!(
                out,
                "[[nas]]\nnetwork = \"{nas}\"\nsecret_file = \"/etc/gatehouse/nas-{nas}.secret\"\n\n"
            );
        }
        out
    }

    /// One question, asked with curl.
    pub fn curl(&self) -> String {
        format!(
            "curl -s {}/v1/nac/authorize \\\n  \
             -H 'Authorization: Bearer {}' \\\n  \
             -H 'Content-Type: application/json' \\\n  \
             -d '{{\"mac\":\"d4:6e:0e:02:28:96\",\"auth_type\":\"mab\",\"session_id\":\"try-1\",\"nas\":{{\"port_type\":\"wired\",\"vendor\":\"juniper\"}}}}'",
            self.nac_url,
            self.token(),
        )
    }
}

/// The NASes of requests, each once, in their order.
pub(super) fn nases(requests: &[AccessRequest]) -> Vec<IpAddr> {
    let mut nases = Vec::new();
    for ip in requests.iter().filter_map(|request| request.nas.ip) {
        if !nases.contains(&ip) && nases.len() < NAS_MAX {
            nases.push(ip);
        }
    }
    nases
}

/// For a text in double quotes, in FreeRADIUS's configuration and in TOML.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// One word of a shell, whatever is in it.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/');
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_packages_own_file_is_filled_in() {
        let known = Known {
            nac_url: "https://nac.example:8443",
            token: Some("ghe_secret"),
            site: SiteId(Uuid::nil()),
            critical_vlan: Some("it's critical"),
            bundle_key: None,
            nases: &[],
        };
        let conf = known.gatehouse_conf();
        for line in [
            "\turl = \"https://nac.example:8443\"",
            "\ttoken = \"ghe_secret\"",
            "\tcritical_vlan = \"it's critical\"",
        ] {
            assert_eq!(conf.lines().filter(|have| *have == line).count(), 1, "{line} in {conf}");
        }
        assert_eq!(conf.lines().count(), GATEHOUSE_CONF.lines().count());
        assert!(known.container().contains(r"-e GATEHOUSE_CRITICAL_VLAN='it'\''s critical' \"));
        let none = Known { token: None, critical_vlan: None, ..known };
        assert!(none.gatehouse_conf().contains("\tcritical_vlan = \"\"\n"));
        assert!(none.curl().contains("Bearer ghe_PASTE-THE-TOKEN-HERE'"));
        assert!(!none.container().contains("CRITICAL"));
    }
}
