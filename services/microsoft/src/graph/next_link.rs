//! `@odata.nextLink`: opaque, but never a way out of Graph.

use serde::{Deserialize, Serialize};
use url::Url;

use super::GraphError;

/// The address of a next page, as Graph gave it. May be stored as a cursor; it is checked before each use, so that
/// neither Graph's answer nor a stored value can send the bearer token elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NextLink(String);

impl NextLink {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same address, if it has the scheme, host, port and path of `base` and no credentials of its own.
    pub(crate) fn pinned_to(&self, base: &Url) -> Result<Url, GraphError> {
        const LENGTH_MAX: usize = 16 * 1024;
        let refused = || GraphError::protocol("the next page's address leaves Microsoft Graph");
        let url = Url::parse(&self.0).map_err(|_| refused())?;
        let same = self.0.len() <= LENGTH_MAX
            && url.scheme() == base.scheme()
            && url.host() == base.host()
            && url.port_or_known_default() == base.port_or_known_default()
            && url.path() == base.path()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        if same { Ok(url) } else { Err(refused()) }
    }
}

impl From<String> for NextLink {
    fn from(link: String) -> Self {
        Self(link)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Url {
        Url::parse("https://graph.microsoft.com/v1.0/deviceManagement/managedDevices").unwrap()
    }

    #[test]
    fn only_the_same_collection_of_the_same_host() {
        let good = "https://graph.microsoft.com/v1.0/deviceManagement/managedDevices?$skiptoken=Last%3d'a%2fb'&$top=9";
        let url = NextLink(good.to_owned()).pinned_to(&base()).unwrap();
        assert_eq!(url.as_str(), good.replace('\'', "%27"), "the token is not touched");
        for bad in [
            "http://graph.microsoft.com/v1.0/deviceManagement/managedDevices?$skiptoken=x",
            "https://graph.microsoft.com.evil.example/v1.0/deviceManagement/managedDevices?$skiptoken=x",
            "https://graph.microsoft.com@evil.example/v1.0/deviceManagement/managedDevices?$skiptoken=x",
            "https://user:pass@graph.microsoft.com/v1.0/deviceManagement/managedDevices?$skiptoken=x",
            "https://graph.microsoft.com:444/v1.0/deviceManagement/managedDevices?$skiptoken=x",
            "https://graph.microsoft.com/v1.0/deviceManagement/managedDevices/../../users?$skiptoken=x",
            "https://graph.microsoft.com/v1.0/users?$skiptoken=x",
            "https://graph.microsoft.com/beta/deviceManagement/managedDevices?$skiptoken=x",
            "/v1.0/deviceManagement/managedDevices?$skiptoken=x",
            "",
        ] {
            assert!(NextLink(bad.to_owned()).pinned_to(&base()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_leads_elsewhere(text in "(https://|http://|//)?[a-z@:/.?#\\\\-]{0,60}") {
            if let Ok(url) = NextLink(text).pinned_to(&base()) {
                prop_assert_eq!(url.host_str(), Some("graph.microsoft.com"));
                prop_assert_eq!(url.scheme(), "https");
            }
        }
    }
}
