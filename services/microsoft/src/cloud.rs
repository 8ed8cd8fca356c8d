//! Where each national cloud of Microsoft lives.

use serde::{Deserialize, Serialize};
use url::Url;

/// A cloud of Microsoft, or a stand-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudName {
    /// Commercial, and GCC.
    Global,
    /// US Government L4.
    GccHigh,
    /// US Government L5.
    Dod,
    /// Operated by 21Vianet.
    China,
    /// Base addresses given by the operator, for example the simulator's.
    Custom,
}

/// No cloud has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("“{0}” is no cloud of Microsoft's: use global, gcc_high, dod, china or custom")]
pub struct UnknownCloud(String);

impl CloudName {
    /// As it is stored, and named in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::GccHigh => "gcc_high",
            Self::Dod => "dod",
            Self::China => "china",
            Self::Custom => "custom",
        }
    }
}

impl std::fmt::Display for CloudName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for CloudName {
    type Err = UnknownCloud;

    /// A hyphen serves as well as an underscore.
    fn from_str(name: &str) -> Result<Self, UnknownCloud> {
        let all = [Self::Global, Self::GccHigh, Self::Dod, Self::China, Self::Custom];
        let found = all.into_iter().find(|cloud| cloud.as_str() == name.replace('-', "_"));
        found.ok_or_else(|| UnknownCloud(name.chars().take(40).collect()))
    }
}

/// The endpoints of a cloud. An app registration belongs to exactly one.
/// Source: Microsoft, "National clouds" (authentication-national-cloud).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    name: CloudName,
    login: Url,
    graph: Url,
    graph_resource: String,
    portal: Url,
}

impl Cloud {
    /// Commercial, and GCC.
    #[must_use]
    pub fn global() -> Self {
        Self::known(
            CloudName::Global,
            "https://login.microsoftonline.com",
            "https://graph.microsoft.com",
            "https://portal.manage.microsoft.com",
        )
    }

    /// US Government L4.
    #[must_use]
    pub fn gcc_high() -> Self {
        Self::known(
            CloudName::GccHigh,
            "https://login.microsoftonline.us",
            "https://graph.microsoft.us",
            "https://portal.manage.microsoft.us",
        )
    }

    /// US Government L5.
    #[must_use]
    pub fn dod() -> Self {
        Self::known(
            CloudName::Dod,
            "https://login.microsoftonline.us",
            "https://dod-graph.microsoft.us",
            "https://portal.manage.microsoft.us",
        )
    }

    /// China, operated by 21Vianet.
    #[must_use]
    pub fn china() -> Self {
        Self::known(
            CloudName::China,
            "https://login.partner.microsoftonline.cn",
            "https://microsoftgraph.chinacloudapi.cn",
            "https://portal.manage.microsoftonline.cn",
        )
    }

    /// Base addresses of a stand-in for the global cloud. `login` and `graph` may be the same; a path in them is
    /// kept. The token audience stays the global cloud's.
    #[must_use]
    pub fn custom(login: Url, graph: Url) -> Self {
        Self { name: CloudName::Custom, portal: login.clone(), login, graph, ..Self::global() }
    }

    /// By its name in configuration: `global`, `gcc_high`, `dod` or `china`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::of(name.parse().ok()?)
    }

    /// A cloud of Microsoft's own; `None` for a custom one, whose addresses only the operator knows.
    #[must_use]
    pub fn of(name: CloudName) -> Option<Self> {
        match name {
            CloudName::Global => Some(Self::global()),
            CloudName::GccHigh => Some(Self::gcc_high()),
            CloudName::Dod => Some(Self::dod()),
            CloudName::China => Some(Self::china()),
            CloudName::Custom => None,
        }
    }

    /// The same cloud, reached by other base addresses: through a proxy, or in a test.
    #[must_use]
    pub fn reached_at(self, login: Url, graph: Url) -> Self {
        Self { login, graph, ..self }
    }

    fn known(name: CloudName, login: &'static str, graph: &'static str, portal: &'static str) -> Self {
        Self {
            name,
            login: parse(login),
            graph: parse(graph),
            graph_resource: graph.to_owned(),
            portal: parse(portal),
        }
    }

    #[must_use]
    pub const fn name(&self) -> CloudName {
        self.name
    }

    /// The base address of Entra ID.
    #[must_use]
    pub const fn login(&self) -> &Url {
        &self.login
    }

    /// The base address of Microsoft Graph.
    #[must_use]
    pub const fn graph(&self) -> &Url {
        &self.graph
    }

    /// The resource that Graph tokens are for, without `/.default`.
    #[must_use]
    pub fn graph_resource(&self) -> &str {
        &self.graph_resource
    }

    /// Where people have their device's compliance evaluated again.
    #[must_use]
    pub const fn portal(&self) -> &Url {
        &self.portal
    }

    /// An address below the login base: `path` starts with a slash.
    pub(crate) fn login_url(&self, path: &str) -> Url {
        below(&self.login, path)
    }

    /// An address below the Graph base: `path` starts with a slash.
    pub(crate) fn graph_url(&self, path: &str) -> Url {
        below(&self.graph, path)
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

#[expect(clippy::expect_used, reason = "literals of this file, all parsed by a test")]
fn parse(literal: &'static str) -> Url {
    Url::parse(literal).expect("an address of this file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cloud_has_its_own_addresses() {
        for (name, login, graph) in [
            ("global", "login.microsoftonline.com", "graph.microsoft.com"),
            ("gcc-high", "login.microsoftonline.us", "graph.microsoft.us"),
            ("gcc_high", "login.microsoftonline.us", "graph.microsoft.us"),
            ("dod", "login.microsoftonline.us", "dod-graph.microsoft.us"),
            ("china", "login.partner.microsoftonline.cn", "microsoftgraph.chinacloudapi.cn"),
        ] {
            let cloud = Cloud::by_name(name).unwrap();
            assert_eq!(cloud.login().host_str(), Some(login));
            assert_eq!(cloud.graph().host_str(), Some(graph));
            assert_eq!(cloud.graph_resource(), format!("https://{graph}"));
        }
        assert!(Cloud::by_name("azure").is_none() && Cloud::by_name("custom").is_none());
        for name in ["global", "gcc_high", "dod", "china", "custom"] {
            assert_eq!(name.parse::<CloudName>().unwrap().to_string(), name);
        }
        assert!("Global".parse::<CloudName>().is_err());
    }

    #[test]
    fn a_path_in_a_custom_base_is_kept() {
        let base = Url::parse("http://127.0.0.1:9000/ms/").unwrap();
        let cloud = Cloud::custom(base.clone(), base);
        assert_eq!(cloud.login_url("/common/x").as_str(), "http://127.0.0.1:9000/ms/common/x");
        assert_eq!(cloud.graph_url("/v1.0/x").as_str(), "http://127.0.0.1:9000/ms/v1.0/x");
        assert_eq!(cloud.graph_resource(), "https://graph.microsoft.com");
    }
}
