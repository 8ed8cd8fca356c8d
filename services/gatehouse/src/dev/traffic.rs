//! The demo edge: a wireless controller and some switch ports at Contoso's headquarters. Part of the fleet comes and
//! goes, commands are obeyed, and now and then a device loses or regains compliance, so that the dashboard lives.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::edge::{Command, Edge};
use super::say;
use super::seed::TENANT;
use super::simulator::{Device, Simulator};

/// Something happens this often.
const TICK_MILLIS: u64 = 1_500;
/// So many ticks between two changes of compliance.
const FLIP_EVERY: u64 = 30;
const POLL_WAIT: Duration = Duration::from_secs(25);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// A person is told after so many failures in a row.
const FAILURES_TOLD: u32 = 10;
/// The demo edge keeps to the fleet from this device on: nobody else touches those before it.
const FLEET_FROM: usize = 30;
const FLEET: usize = 30;
const GUESTS: usize = 4;

/// How a client shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// A certificate that names the Intune device.
    IntuneCertificate,
    /// A certificate that bears the device's name alone.
    NameCertificate,
    /// A switch port that knows nothing but the address.
    Mac,
    /// A phone with a randomized address.
    Guest,
}

#[derive(Debug)]
struct Client {
    number: usize,
    device: Option<Device>,
    means: Means,
    mac: String,
    /// The session under way, and how many ticks old it is.
    session: Option<(String, u64)>,
    /// How many sessions it had.
    stays: u64,
}

/// Drives the demo edge until it is cancelled.
pub async fn drive(edge: Edge, simulator: Simulator, stop: CancellationToken) {
    let Some(clients) = stop.run_until_cancelled(clients(&simulator)).await else { return };
    let clients = Rc::new(RefCell::new(clients));
    let works = async {
        tokio::join!(come_and_go(&edge, &simulator, &clients), obey(&edge, &clients));
    };
    stop.run_until_cancelled(works).await;
}

/// The cast. Waits for the simulator.
async fn clients(simulator: &Simulator) -> Vec<Client> {
    let devices = loop {
        match simulator.devices(TENANT, FLEET_FROM, FLEET).await {
            Ok(devices) => break devices,
            Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
        }
    };
    let fleet = devices.into_iter().enumerate().map(|(number, device)| {
        let means = match number % 6 {
            0..=2 => Means::IntuneCertificate,
            3 => Means::NameCertificate,
            _ if device.wifi_mac.is_empty() => Means::IntuneCertificate,
            _ => Means::Mac,
        };
        // Windows and phones use a random address per network where nobody switched that off.
        let mac = if device.wifi_mac.is_empty() { random_mac(number) } else { device.wifi_mac.clone() };
        Client { number, mac, means, device: Some(device), session: None, stays: 0 }
    });
    let guests = (0..GUESTS).map(|guest| {
        let number = FLEET + guest;
        Client { number, mac: random_mac(number), means: Means::Guest, device: None, session: None, stays: 0 }
    });
    fleet.chain(guests).collect()
}

/// A locally administered address.
fn random_mac(number: usize) -> String {
    let low = spread(number as u64) & 0xff_ffff_ffff;
    format!("da{low:010x}")
}

/// A number that looks random, and is the same at every start.
const fn spread(n: u64) -> u64 {
    let z = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}

impl Client {
    fn request(&self, session: &str) -> Value {
        let wired = self.means == Means::Mac;
        let mut request = json!({
            "mac": self.mac,
            "auth_type": if matches!(self.means, Means::IntuneCertificate | Means::NameCertificate) { "eap-tls" } else { "mab" },
            "session_id": session,
            "nas": if wired {
                json!({ "ip": "192.0.2.20", "identifier": "sw-floor-2", "vendor": "juniper", "port_type": "wired",
                        "port_id": format!("ge-0/0/{}", self.number) })
            } else {
                json!({ "ip": "192.0.2.10", "identifier": "ap-lobby", "vendor": "juniper", "port_type": "wireless" })
            },
        });
        if !wired {
            request["ssid"] =
                json!(if self.means == Means::Guest { "Contoso-Guest" } else { "Contoso-Corp" });
        }
        if let Some(device) = &self.device {
            request["user_name"] = json!(match self.means {
                Means::Mac => self.mac.clone(),
                _ if device.user_principal_name.is_empty() => format!("host/{}", device.device_name),
                _ => device.user_principal_name.clone(),
            });
            let issuer = "CN=Contoso Issuing CA,O=Contoso";
            match self.means {
                Means::IntuneCertificate => {
                    request["cert"] = json!({
                        "cn": device.device_name,
                        "issuer": issuer,
                        "san_uri": [format!("ID:Microsoft Endpoint Manager:GUID:{}", device.id)],
                    });
                }
                Means::NameCertificate => {
                    let name = format!("{}.contoso.example", device.device_name);
                    request["cert"] = json!({ "cn": name, "issuer": issuer, "san_dns": [name] });
                }
                Means::Mac | Means::Guest => {}
            }
        }
        request
    }

    fn accounting(&self, session: &str, status: &str, age: u64) -> Value {
        json!({
            "status": status,
            "session_id": session,
            "mac": self.mac,
            "framed_ip": format!("198.51.100.{}", self.number + 10),
            "bytes_in": age * 181_337,
            "bytes_out": age * 32_191,
            "session_seconds": age * TICK_MILLIS / 1_000,
        })
    }
}

async fn come_and_go(edge: &Edge, simulator: &Simulator, clients: &RefCell<Vec<Client>>) {
    // Sessions of an earlier run have other names.
    let run = format!("{:08x}", std::process::id());
    let mut failures = 0;
    for tick in 0_u64.. {
        tokio::time::sleep(Duration::from_millis(TICK_MILLIS)).await;
        let done = async {
            step(edge, clients, &run, tick).await?;
            if tick % FLIP_EVERY == FLIP_EVERY - 1 {
                flip(simulator, clients, tick / FLIP_EVERY).await?;
            }
            anyhow::Ok(())
        };
        match done.await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                if failures == FAILURES_TOLD {
                    say(&format!("The demo edge gets no answer: {error:#}"));
                }
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

/// One client comes, reports, or goes.
async fn step(edge: &Edge, clients: &RefCell<Vec<Client>>, run: &str, tick: u64) -> anyhow::Result<()> {
    let (chosen, request, accounting) = {
        let mut clients = clients.borrow_mut();
        let count = clients.len() as u64;
        let chosen = usize::try_from(spread(tick) % count)?;
        let client = &mut clients[chosen];
        match &mut client.session {
            None => {
                let session = format!("{run}-{}-{}", client.number, client.stays);
                (chosen, Some((client.request(&session), session)), None)
            }
            Some((session, age)) => {
                *age += count;
                let (session, age) = (session.clone(), *age);
                // Most stay for a while.
                let goes = spread(tick ^ age).is_multiple_of(4);
                let status = if goes { "stop" } else { "interim" };
                let mut message = client.accounting(&session, status, age);
                if goes {
                    message["terminate_cause"] = json!("User-Request");
                    client.session = None;
                    client.stays += 1;
                }
                (chosen, None, Some(message))
            }
        }
    };
    if let Some((request, session)) = request {
        let decision = edge.authorize(&request).await?;
        if decision.action == "allow" {
            let start = {
                let mut clients = clients.borrow_mut();
                clients[chosen].session = Some((session.clone(), 0));
                clients[chosen].accounting(&session, "start", 0)
            };
            edge.account(&start).await?;
        }
    }
    if let Some(message) = accounting {
        edge.account(&message).await?;
    }
    Ok(())
}

/// A device of a session under way loses or regains compliance.
async fn flip(simulator: &Simulator, clients: &RefCell<Vec<Client>>, round: u64) -> anyhow::Result<()> {
    let ids: Vec<String> = {
        let clients = clients.borrow();
        let online = clients.iter().filter(|client| client.session.is_some());
        online.filter_map(|client| Some(client.device.as_ref()?.id.clone())).collect()
    };
    if ids.is_empty() {
        return Ok(());
    }
    let id = &ids[usize::try_from(spread(round) % ids.len() as u64)?];
    // A device that somebody retired is left alone.
    let Some(device) = simulator.device(TENANT, id).await? else { return Ok(()) };
    let to = if device.compliance_state == "compliant" { "noncompliant" } else { "compliant" };
    simulator.set_compliance(TENANT, id, to).await
}

/// Fetches commands and does what they say.
async fn obey(edge: &Edge, clients: &RefCell<Vec<Client>>) {
    loop {
        let commands = match edge.commands(POLL_WAIT).await {
            Ok(commands) => commands,
            Err(_) => {
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                continue;
            }
        };
        for command in commands {
            if carry_out(edge, clients, &command).await.is_err() {
                // It is handed out again.
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

async fn carry_out(edge: &Edge, clients: &RefCell<Vec<Client>>, command: &Command) -> anyhow::Result<()> {
    edge.acknowledge(&command.id).await?;
    let Some(session) = &command.session.session_id else { return Ok(()) };
    let message = {
        let mut clients = clients.borrow_mut();
        let of = |client: &&mut Client| matches!(&client.session, Some((id, _)) if id == session);
        let Some(client) = clients.iter_mut().find(of) else { return Ok(()) };
        if command.kind == "reauth" {
            Err(client.request(session))
        } else {
            let age = client.session.take().map_or(0, |(_, age)| age);
            client.stays += 1;
            Ok(client.accounting(session, "stop", age))
        }
    };
    match message {
        Err(request) => edge.authorize(&request).await.map(drop),
        Ok(stop) => edge.account(&stop).await,
    }
}
