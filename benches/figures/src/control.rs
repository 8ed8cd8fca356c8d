//! The simulator's control API, and a bare client of its Graph.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

/// The simulator's fixed app registration.
pub const CLIENT_ID: &str = "5b1d0c55-9a7e-4f3c-8a51-6a7e40053000";
pub const CLIENT_SECRET: &str = "simulator~only~not~a~secret";

#[derive(Clone)]
pub struct Control {
    pub base: Url,
    http: Client,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Tenant {
    pub id: Uuid,
    pub name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    pub id: String,
    pub compliance_state: String,
}

/// A change of compliance in the simulator's own log.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    pub sequence: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub device_id: String,
    pub from: String,
    pub to: String,
}

impl Control {
    pub fn new(base: Url) -> anyhow::Result<Self> {
        Ok(Self { base, http: Client::builder().timeout(Duration::from_secs(300)).build()? })
    }

    pub async fn tenants(&self) -> anyhow::Result<Vec<Tenant>> {
        let answer = self.get("tenants?limit=1000000").await?;
        Ok(serde_json::from_value(answer["tenants"].clone())?)
    }

    /// A tenant that has consented.
    pub async fn create_tenant(&self, name: &str, devices: u64) -> anyhow::Result<Tenant> {
        let body = json!({ "name": name, "domain": format!("{name}.example"), "devices": devices, "consented": true });
        Ok(serde_json::from_value(self.post("tenants", &body).await?)?)
    }

    /// The devices that Intune lists.
    pub async fn devices(&self, tenant: Uuid) -> anyhow::Result<Vec<Device>> {
        let mut devices = Vec::new();
        let mut from = Some(0);
        while let Some(number) = from {
            let answer = self.get(&format!("tenants/{tenant}/devices?limit=1000&from={number}")).await?;
            devices.extend(serde_json::from_value::<Vec<Device>>(answer["devices"].clone())?);
            from = answer["next"].as_u64();
        }
        Ok(devices)
    }

    /// Changes properties of a device.
    pub async fn change(&self, tenant: Uuid, device: &str, body: &Value) -> anyhow::Result<()> {
        let url = self.url(&format!("tenants/{tenant}/devices/{device}"))?;
        told(self.http.patch(url).json(body).send().await?).await.map(drop)
    }

    pub async fn set_compliance(&self, tenant: Uuid, device: &str, state: &str) -> anyhow::Result<()> {
        self.change(tenant, device, &json!({ "complianceState": state })).await
    }

    /// Up to so many devices in one state go into another; returns how many.
    pub async fn flip(&self, tenant: Uuid, from: &str, to: &str, count: usize) -> anyhow::Result<usize> {
        let body = json!({ "from": from, "to": to, "count": count });
        let answer = self.post(&format!("tenants/{tenant}/devices/flip"), &body).await?;
        answer["flipped"].as_u64().and_then(|n| usize::try_from(n).ok()).context("no count of flips")
    }

    /// Enrols a device; returns its Intune id.
    pub async fn enrol(&self, tenant: Uuid, name: &str, state: &str) -> anyhow::Result<String> {
        let body = json!({ "deviceName": name, "complianceState": state });
        let answer = self.post(&format!("tenants/{tenant}/devices"), &body).await?;
        answer["id"].as_str().map(str::to_owned).context("no id of the new device")
    }

    /// Retires a device.
    pub async fn retire(&self, tenant: Uuid, device: &str, keep_entra: bool) -> anyhow::Result<()> {
        let url = self.url(&format!("tenants/{tenant}/devices/{device}?keepEntra={keep_entra}"))?;
        told(self.http.delete(url).send().await?).await.map(drop)
    }

    /// Adds a fault; returns its number.
    pub async fn fault(&self, body: &Value) -> anyhow::Result<u64> {
        self.post("faults", body).await?["id"].as_u64().context("no number of the fault")
    }

    pub async fn heal(&self, fault: u64) -> anyhow::Result<()> {
        told(self.http.delete(self.url(&format!("faults/{fault}"))?).send().await?).await.map(drop)
    }

    pub async fn heal_all(&self) -> anyhow::Result<()> {
        told(self.http.delete(self.url("faults")?).send().await?).await.map(drop)
    }

    pub async fn settings(&self, body: &Value) -> anyhow::Result<()> {
        told(self.http.patch(self.url("settings")?).json(body).send().await?).await.map(drop)
    }

    pub async fn revoke_tokens(&self, tenant: Uuid) -> anyhow::Result<()> {
        self.post(&format!("tenants/{tenant}/tokens/revoke"), &json!({})).await.map(drop)
    }

    pub async fn expire_delta(&self, tenant: Uuid) -> anyhow::Result<()> {
        self.post(&format!("tenants/{tenant}/delta/expire"), &json!({})).await.map(drop)
    }

    /// Everything after number `since`.
    pub async fn transitions(&self, mut since: u64) -> anyhow::Result<Vec<Transition>> {
        let mut all = Vec::new();
        loop {
            let answer = self.get(&format!("transitions?since={since}&limit=1000")).await?;
            let some: Vec<Transition> = serde_json::from_value(answer["transitions"].clone())?;
            let Some(last) = some.last() else { return Ok(all) };
            since = last.sequence;
            all.extend(some);
        }
    }

    /// How often each endpoint was asked, and what it answered.
    pub async fn counters(&self) -> anyhow::Result<Value> {
        Ok(self.get("counters").await?["counters"].clone())
    }

    pub async fn forget_requests(&self) -> anyhow::Result<()> {
        told(self.http.delete(self.url("requests")?).send().await?).await.map(drop)
    }

    /// Path and query of the last first page of a fleet that somebody asked for.
    pub async fn list_request(&self) -> anyhow::Result<String> {
        let answer = self.get("requests?endpoint=managedDevices.list").await?;
        let requests = answer["requests"].as_array().cloned().unwrap_or_default();
        let path = requests.iter().rev().filter_map(|request| request["path"].as_str());
        path.map(str::to_owned).find(|path| !path.contains("skiptoken")).context("no list was asked for")
    }

    /// Pages through a fleet as a bare client: reads every page whole and does nothing with it. Returns devices and
    /// how long it took.
    pub async fn page_through(&self, tenant: Uuid, path: &str) -> anyhow::Result<(usize, Duration)> {
        let form = [
            ("client_id", CLIENT_ID),
            ("client_secret", CLIENT_SECRET),
            ("grant_type", "client_credentials"),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        let token_url = self.base.join(&format!("{tenant}/oauth2/v2.0/token"))?;
        let answer: Value = self.http.post(token_url).form(&form).send().await?.json().await?;
        let token = answer["access_token"].as_str().context("no token")?;
        let mut next = Some(self.base.join(path)?);
        let mut devices = 0;
        let begun = Instant::now();
        while let Some(url) = next {
            let answer = self.http.get(url).bearer_auth(token).send().await?.error_for_status()?;
            let text = answer.text().await?;
            devices += text.matches("\"deviceName\":").count();
            // Without parsing the page: the link is the one property of the envelope that is looked for.
            next = text
                .split_once("\"@odata.nextLink\":\"")
                .and_then(|(_, rest)| rest.split_once('"'))
                .map(|(link, _)| link.parse())
                .transpose()?;
        }
        Ok((devices, begun.elapsed()))
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = told(self.http.get(self.url(path)?).send().await?).await?;
        Ok(answer.json().await?)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = told(self.http.post(self.url(path)?).json(body).send().await?).await?;
        if answer.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let text = answer.text().await?;
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    fn url(&self, path: &str) -> anyhow::Result<Url> {
        Ok(self.base.join(&format!("/_sim/api/{path}"))?)
    }
}

async fn told(answer: reqwest::Response) -> anyhow::Result<reqwest::Response> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let (status, url) = (answer.status(), answer.url().clone());
    bail!("{url}: {status}: {}", answer.text().await.unwrap_or_default())
}
