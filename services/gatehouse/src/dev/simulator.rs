//! What the demo does to the Microsoft simulator: signs people in, consents, lists devices, flips their compliance.

use anyhow::{Context as _, bail};
use reqwest::{Client, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use url::Url;

/// A browser at the simulator's pages, and a hand on its control API.
#[derive(Clone, Debug)]
pub struct Simulator {
    base: Url,
    http: Client,
}

/// A device of a fleet, as far as an edge would see of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    pub id: String,
    #[serde(default)]
    pub device_name: String,
    #[serde(default)]
    pub user_principal_name: String,
    /// Twelve digits, or empty.
    #[serde(default, rename = "wiFiMacAddress")]
    pub wifi_mac: String,
    #[serde(default)]
    pub compliance_state: String,
}

#[derive(Deserialize)]
struct Devices {
    devices: Vec<Device>,
}

impl Simulator {
    /// Cookies are kept, as one browser would.
    pub fn new(base: Url) -> anyhow::Result<Self> {
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .cookie_store(true)
            .timeout(std::time::Duration::from_secs(30))
            .build()?;
        Ok(Self { base, http })
    }

    /// Picks `user` on the sign-in page at `url`; returns where Microsoft sends the browser back to.
    pub async fn sign_in(&self, url: &Url, user: &str) -> anyhow::Result<Url> {
        self.submit(url, &[("user", user)]).await
    }

    /// Accepts on the admin consent page at `url`, as whoever signed in last.
    pub async fn consent(&self, url: &Url) -> anyhow::Result<Url> {
        self.submit(url, &[("decision", "approve")]).await
    }

    async fn submit(&self, url: &Url, form: &[(&str, &str)]) -> anyhow::Result<Url> {
        let answer = self.http.post(url.clone()).form(form).send().await?;
        let status = answer.status();
        let Some(location) = answer.headers().get(header::LOCATION) else {
            bail!(
                "the simulator's page went nowhere ({status}): {}",
                answer.text().await.unwrap_or_default()
            );
        };
        Ok(url.join(location.to_str()?)?)
    }

    /// Up to `limit` devices of a tenant, which is named by its id or domain, from number `from` on.
    pub async fn devices(&self, tenant: &str, from: usize, limit: usize) -> anyhow::Result<Vec<Device>> {
        let url = self.api(&["tenants", tenant, "devices"])?;
        let answer =
            self.http.get(url).query(&[("from", from), ("limit", limit)]).send().await?.error_for_status()?;
        Ok(answer.json::<Devices>().await?.devices)
    }

    /// A device, by its Intune id.
    pub async fn device(&self, tenant: &str, id: &str) -> anyhow::Result<Option<Device>> {
        let answer = self.http.get(self.api(&["tenants", tenant, "devices", id])?).send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.error_for_status()?.json().await?))
    }

    /// Sets a device's compliance, in Graph's words: `compliant`, `noncompliant`, `inGracePeriod`, …
    pub async fn set_compliance(&self, tenant: &str, id: &str, state: &str) -> anyhow::Result<()> {
        self.patch(&["tenants", tenant, "devices", id], &json!({ "complianceState": state })).await
    }

    /// Any change by the control API.
    pub async fn patch(&self, path: &[&str], body: &serde_json::Value) -> anyhow::Result<()> {
        self.http.patch(self.api(path)?).json(body).send().await?.error_for_status()?;
        Ok(())
    }

    /// Any action by the control API.
    pub async fn post(&self, path: &[&str], body: &serde_json::Value) -> anyhow::Result<serde_json::Value> {
        let answer = self.http.post(self.api(path)?).json(body).send().await?.error_for_status()?;
        let text = answer.text().await?;
        Ok(if text.is_empty() { serde_json::Value::Null } else { serde_json::from_str(&text)? })
    }

    fn api(&self, path: &[&str]) -> anyhow::Result<Url> {
        let mut url = self.base.join("/_sim/api")?;
        url.path_segments_mut().ok().context("the simulator's URL cannot be one")?.extend(path);
        Ok(url)
    }
}
