//! A NAC edge, small: a client of the NAC API as a wireless controller would be one.

use std::time::Duration;

use anyhow::Context as _;
use domain::time::{Clock as _, SystemClock};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

/// One edge with its token.
#[derive(Clone, Debug)]
pub struct Edge {
    base: Url,
    token: String,
    http: Client,
}

/// An answer to an access request, as far as an edge acts on it.
#[derive(Clone, Debug, Deserialize)]
pub struct Decision {
    pub decision_id: String,
    /// `allow` or `deny`.
    pub action: String,
    pub reason: String,
    #[serde(default)]
    pub vlan: Option<String>,
    #[serde(default)]
    pub role: Option<String>,
    #[serde(default)]
    pub session_timeout: Option<u32>,
    #[serde(default)]
    pub redirect_url: Option<String>,
    pub recorded: bool,
    pub compliance: Value,
    #[serde(rename = "match")]
    pub found: Value,
}

/// What an edge is asked to do.
#[derive(Clone, Debug, Deserialize)]
pub struct Command {
    pub id: String,
    /// `reauth`, `disconnect` or `port_bounce`.
    pub kind: String,
    pub session: Session,
}

/// The session that a command moves.
#[derive(Clone, Debug, Deserialize)]
pub struct Session {
    /// The edge's own name of it.
    pub session_id: Option<String>,
}

#[derive(Deserialize)]
struct Commands {
    commands: Vec<Command>,
    /// A command that does nothing.
    probe: Option<Probe>,
}

#[derive(Deserialize)]
struct Probe {
    id: String,
}

impl Edge {
    pub fn new(base: Url, token: impl Into<String>) -> anyhow::Result<Self> {
        let http = Client::builder().user_agent("gatehouse-demo").timeout(Duration::from_secs(90)).build()?;
        Ok(Self { base, token: token.into(), http })
    }

    /// `POST /v1/nac/authorize`
    pub async fn authorize(&self, request: &Value) -> anyhow::Result<Decision> {
        Ok(self.post("/v1/nac/authorize", request).await?.json().await?)
    }

    /// `POST /v1/nac/accounting`
    pub async fn account(&self, message: &Value) -> anyhow::Result<()> {
        self.post("/v1/nac/accounting", message).await?;
        Ok(())
    }

    /// `GET /v1/nac/commands`: waits until there is one, or the time is over.
    pub async fn commands(&self, wait: Duration) -> anyhow::Result<Vec<Command>> {
        let url = self.base.join("/v1/nac/commands")?;
        let query = [("wait", wait.as_secs())];
        let answer = self.signed(self.http.get(url).query(&query)).send().await?;
        let Commands { commands, probe } = told(answer).await?.json().await?;
        if let Some(probe) = probe {
            self.acknowledge(&probe.id).await?;
        }
        Ok(commands)
    }

    /// `POST /v1/nac/commands/{id}/ack`: the NAS did it.
    pub async fn acknowledge(&self, command: &str) -> anyhow::Result<()> {
        self.post(&format!("/v1/nac/commands/{command}/ack"), &json!({ "result": "ack" })).await?;
        Ok(())
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<reqwest::Response> {
        let url = self.base.join(path)?;
        told(self.signed(self.http.post(url)).json(body).send().await?).await
    }

    /// With its credential, and what its clock says.
    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        let clock = SystemClock.now().unix_timestamp().to_string();
        request.bearer_auth(&self.token).header("gatehouse-clock", clock)
    }
}

/// An error with what the API said.
async fn told(answer: reqwest::Response) -> anyhow::Result<reqwest::Response> {
    let Err(error) = answer.error_for_status_ref() else { return Ok(answer) };
    let body = answer.text().await.unwrap_or_default();
    Err(error).context(body)
}
