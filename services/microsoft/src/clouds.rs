//! The clouds that this Gatehouse is registered in, each with an app registration of its own.

use std::sync::Arc;

use crate::{AppRegistration, Cloud, CloudName, Microsoft};

/// Every configured cloud. Cheap to clone.
///
/// A custom cloud stands in for the global one: where it is configured and the global one is not, it answers for both.
#[derive(Clone, Debug)]
pub struct MicrosoftClouds(Arc<Vec<Microsoft>>);

impl MicrosoftClouds {
    /// `default` is the one that serves where nobody says which; of two with one name, the first counts.
    #[must_use]
    pub fn new(default: Microsoft, others: impl IntoIterator<Item = Microsoft>) -> Self {
        Self(Arc::new(std::iter::once(default).chain(others).collect()))
    }

    /// The cloud that serves where nobody says which.
    #[must_use]
    pub fn default_cloud(&self) -> &Microsoft {
        // There is one by construction.
        &self.0[0]
    }

    /// A cloud, as Gatehouse's own app registration there; `None` where it has none.
    #[must_use]
    pub fn get(&self, name: CloudName) -> Option<&Microsoft> {
        let named = |name: CloudName| self.0.iter().find(|one| one.cloud().name() == name);
        match name {
            CloudName::Global => named(name).or_else(|| named(CloudName::Custom)),
            name => named(name),
        }
    }

    /// A cloud as another app registration: an organization's own. It needs none of Gatehouse's there. `None` for a
    /// custom cloud that is not configured.
    #[must_use]
    pub fn with_app(&self, name: CloudName, app: AppRegistration) -> Option<Microsoft> {
        match self.get(name) {
            Some(microsoft) => Some(microsoft.with_app(app)),
            None => Some(self.default_cloud().with_cloud(Cloud::of(name)?, app)),
        }
    }

    /// All of them, the default first.
    pub fn iter(&self) -> impl Iterator<Item = &Microsoft> {
        self.0.iter()
    }
}

impl From<Microsoft> for MicrosoftClouds {
    fn from(only: Microsoft) -> Self {
        Self::new(only, [])
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use url::Url;
    use uuid::Uuid;

    use super::*;
    use crate::Credential;
    use crate::testing::Stub;

    fn app(n: u128) -> AppRegistration {
        AppRegistration::new(Uuid::from_u128(n), Credential::Secret(SecretString::from("s")))
    }

    #[tokio::test]
    async fn each_cloud_has_its_own_app() {
        let custom = Stub::start().await.microsoft();
        let clouds = MicrosoftClouds::new(custom.clone(), [custom.with_cloud(Cloud::gcc_high(), app(2))]);
        assert_eq!(clouds.default_cloud().cloud().name(), CloudName::Custom);
        assert_eq!(clouds.get(CloudName::GccHigh).unwrap().client_id(), Uuid::from_u128(2));
        assert_eq!(clouds.get(CloudName::Global).unwrap().cloud().name(), CloudName::Custom);
        assert!(clouds.get(CloudName::China).is_none());
        let own = clouds.with_app(CloudName::China, app(3)).unwrap();
        assert_eq!(own.cloud().graph().host_str(), Some("microsoftgraph.chinacloudapi.cn"));
        assert_eq!(own.client_id(), Uuid::from_u128(3));
        let own = clouds.with_app(CloudName::GccHigh, app(4)).unwrap();
        assert_eq!(own.cloud().name(), CloudName::GccHigh);

        let global = MicrosoftClouds::from(custom.with_cloud(Cloud::global(), app(5)));
        assert!(global.with_app(CloudName::Custom, app(6)).is_none());
        let base = Url::parse("http://127.0.0.1:1").unwrap();
        let proxied = Cloud::dod().reached_at(base.clone(), base.clone());
        assert_eq!(
            (proxied.name(), proxied.graph_resource()),
            (CloudName::Dod, "https://dod-graph.microsoft.us")
        );
        assert_eq!(proxied.graph(), &base);
    }
}
