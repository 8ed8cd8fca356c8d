//! NAC edges: clients of the NAC API that hold sessions, poll for commands, carry them out and acknowledge them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::time::{Clock as _, SystemClock};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;
use url::Url;

/// How long a poll waits for a command.
const WAIT_SECONDS: u64 = 30;
const RETRY: Duration = Duration::from_millis(250);

/// What a session was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub vlan: String,
    pub since: OffsetDateTime,
}

/// A command that was carried out.
#[derive(Clone, Debug)]
pub struct Acked {
    pub session: String,
    /// When Gatehouse had taken the acknowledgement.
    pub at: OffsetDateTime,
}

/// What happened at an edge.
#[derive(Debug, Default)]
pub struct Journal {
    /// Every answer to each session, oldest first.
    pub held: HashMap<String, Vec<Held>>,
    pub acked: Vec<Acked>,
}

/// One edge with its sessions.
#[derive(Clone)]
pub struct Edge {
    base: Url,
    token: String,
    http: Client,
    journal: Arc<Mutex<Journal>>,
    /// Which device a session is of.
    devices: Arc<Mutex<HashMap<String, String>>>,
}

#[derive(Deserialize)]
struct Answer {
    action: String,
    vlan: Option<String>,
    recorded: bool,
}

#[derive(Deserialize)]
struct Commands {
    commands: Vec<Command>,
}

#[derive(Deserialize)]
struct Command {
    id: String,
    session: Session,
}

#[derive(Deserialize)]
struct Session {
    session_id: Option<String>,
}

impl Edge {
    pub fn new(base: Url, token: &str) -> anyhow::Result<Self> {
        let http = Client::builder().timeout(Duration::from_secs(WAIT_SECONDS + 15)).build()?;
        Ok(Self { base, token: token.to_owned(), http, journal: Arc::default(), devices: Arc::default() })
    }

    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device joins, with the certificate that Intune gave it; again and again until the answer is recorded.
    pub async fn join(&self, session: &str, device: &str) {
        self.devices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(session.to_owned(), device.to_owned());
        self.authorize(session, device).await;
    }

    async fn authorize(&self, session: &str, device: &str) {
        loop {
            if let Ok(answer) = self.ask(session, device).await {
                let held = Held { vlan: answer.outcome(), since: SystemClock.now() };
                self.journal().held.entry(session.to_owned()).or_default().push(held);
                if answer.recorded {
                    return;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// What a client would be answered now, under a session name of its own.
    pub async fn probe(&self, session: &str, device: &str) -> anyhow::Result<String> {
        Ok(self.ask(session, device).await?.outcome())
    }

    async fn ask(&self, session: &str, device: &str) -> anyhow::Result<Answer> {
        let body = json!({
            "mac": mac(session),
            "auth_type": "eap-tls",
            "ssid": "Corp",
            "session_id": session,
            "cert": { "san_uri": [format!("ID:Microsoft Endpoint Manager:GUID:{device}")] },
        });
        let url = self.base.join("v1/nac/authorize")?;
        let answer = self.http.post(url).bearer_auth(&self.token).json(&body).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Polls for commands, acknowledges each and asks again for its session, until told to stop.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        loop {
            let commands = tokio::select! {
                commands = self.poll() => commands,
                _ = stop.changed() => return,
            };
            let Ok(commands) = commands else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            for command in commands {
                self.carry_out(command).await;
            }
        }
    }

    async fn poll(&self) -> anyhow::Result<Vec<Command>> {
        let mut url = self.base.join("v1/nac/commands")?;
        url.query_pairs_mut().append_pair("wait", &WAIT_SECONDS.to_string());
        let answer = self.http.get(url).bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?.json::<Commands>().await?.commands)
    }

    /// The client is sent away and comes back. An acknowledgement that is lost is told when the command comes again.
    async fn carry_out(&self, command: Command) {
        let Some(session) = command.session.session_id else { return };
        if self.acknowledge(&command.id).await.is_ok() {
            self.journal().acked.push(Acked { session: session.clone(), at: SystemClock.now() });
        }
        let device = self.devices.lock().unwrap_or_else(PoisonError::into_inner).get(&session).cloned();
        if let Some(device) = device {
            self.authorize(&session, &device).await;
        }
    }

    async fn acknowledge(&self, command: &str) -> anyhow::Result<()> {
        let url = self.base.join(&format!("v1/nac/commands/{command}/ack"))?;
        let body = json!({ "result": "ack" });
        self.http.post(url).bearer_auth(&self.token).json(&body).send().await?.error_for_status()?;
        Ok(())
    }
}

impl Answer {
    /// The VLAN, or that there is none.
    fn outcome(&self) -> String {
        match (&self.vlan, self.action.as_str()) {
            (Some(vlan), "allow") => vlan.clone(),
            (_, action) => action.to_owned(),
        }
    }
}

/// A locally administered address, of which nobody concludes anything.
fn mac(session: &str) -> Value {
    let hash = session.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}").into()
}
