//! NASes that authenticate stations by their MAC: Access-Requests with Message-Authenticator, as RFC 2865 and 3579
//! have them, so many under way at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::journal::{Answered, Failed, Journal, Why};
use super::world::Client;

const HEADER: usize = 20;
const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const PATIENCE: Duration = Duration::from_secs(5);

/// Types of attributes.
mod attribute {
    pub const USER_NAME: u8 = 1;
    pub const NAS_IP_ADDRESS: u8 = 4;
    pub const SERVICE_TYPE: u8 = 6;
    pub const CALLED_STATION_ID: u8 = 30;
    pub const CALLING_STATION_ID: u8 = 31;
    pub const NAS_IDENTIFIER: u8 = 32;
    pub const NAS_PORT_TYPE: u8 = 61;
    pub const MESSAGE_AUTHENTICATOR: u8 = 80;
}

/// RFC 2865 5.6: Call-Check.
const CALL_CHECK: u32 = 10;
/// RFC 2865 5.41: Wireless - IEEE 802.11.
const WIRELESS: u32 = 19;

/// A server, and those who ask it.
#[derive(Clone)]
pub struct Nases {
    pub server: SocketAddr,
    pub secret: Arc<[u8]>,
    pub clients: Arc<[Client]>,
    /// Requests under way at once, each from a port of its own.
    pub under_way: usize,
}

impl Nases {
    /// Asks for one client after the other for so long.
    pub async fn ask(&self, length: Duration) -> anyhow::Result<Journal> {
        let (reply, done) = oneshot::channel();
        let nases = self.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let outcome = runtime
                .map_err(anyhow::Error::from)
                .and_then(|runtime| runtime.block_on(nases.drive(length)));
            let _ = reply.send(outcome);
        });
        done.await.context("the load generator panicked")?
    }

    async fn drive(self, length: Duration) -> anyhow::Result<Journal> {
        let (begun, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..self.under_way {
            tasks.spawn(self.clone().lane(u64::try_from(lane)?, begun, length, Arc::clone(&next)));
        }
        let mut journal = Journal::default();
        while let Some(lane) = tasks.join_next().await {
            journal.add(lane??);
        }
        journal.wall = begun.elapsed();
        Ok(journal)
    }

    async fn lane(
        self,
        seed: u64,
        begun: Instant,
        length: Duration,
        next: Arc<AtomicU64>,
    ) -> anyhow::Result<Journal> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
        socket.connect(self.server).await?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut journal = Journal::default();
        let (mut identifier, mut buffer) = (0_u8, vec![0; 4_096]);
        while begun.elapsed() < length {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let clients = u64::try_from(self.clients.len())?;
            let client = &self.clients[usize::try_from(number % clients)?];
            let mut authenticator = [0; 16];
            random.fill_bytes(&mut authenticator);
            let request = request(client, identifier, &authenticator, &self.secret);
            let due = begun.elapsed();
            match self.exchange(&socket, &request, &mut buffer).await {
                Ok(()) => {
                    let took = begun.elapsed() - due;
                    let answered = Answered { number, due, took, decision: Uuid::nil(), recorded: true };
                    journal.answered.push(answered);
                }
                Err(why) => {
                    journal.failed.push(Failed { number, attempt: 0, why });
                    journal.given_up += 1;
                }
            }
            identifier = identifier.wrapping_add(1);
        }
        Ok(journal)
    }

    /// Sends and waits for the answer to this very request.
    async fn exchange(&self, socket: &UdpSocket, request: &[u8], buffer: &mut [u8]) -> Result<(), Why> {
        let asked = async {
            socket.send(request).await?;
            loop {
                let length = socket.recv(buffer).await?;
                let reply = &buffer[..length];
                if is_answer(reply, request, &self.secret) {
                    return io::Result::Ok(reply[0]);
                }
            }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(ACCESS_ACCEPT)) => Ok(()),
            Ok(Ok(code)) => Err(Why::Status(code.into())),
            Ok(Err(_)) => Err(Why::Connection),
            Err(_) => Err(Why::Late),
        }
    }
}

fn request(client: &Client, identifier: u8, authenticator: &[u8; 16], secret: &[u8]) -> Vec<u8> {
    let digits = client.mac.to_string().replace([':', '-'], "");
    let dashed: Vec<String> = client.mac.0.iter().map(|byte| format!("{byte:02X}")).collect();
    let mut packet = vec![ACCESS_REQUEST, identifier, 0, 0];
    packet.extend(authenticator);
    let mut add = |kind: u8, value: &[u8]| {
        packet.extend([kind, u8::try_from(value.len() + 2).unwrap_or(u8::MAX)]);
        packet.extend(value);
    };
    add(attribute::MESSAGE_AUTHENTICATOR, &[0; 16]);
    add(attribute::USER_NAME, digits.as_bytes());
    add(attribute::CALLING_STATION_ID, dashed.join("-").as_bytes());
    add(attribute::CALLED_STATION_ID, format!("5C-5B-35-00-00-01:{}", client.ssid).as_bytes());
    add(attribute::SERVICE_TYPE, &CALL_CHECK.to_be_bytes());
    add(attribute::NAS_PORT_TYPE, &WIRELESS.to_be_bytes());
    add(attribute::NAS_IP_ADDRESS, &[192, 0, 2, 7]);
    add(attribute::NAS_IDENTIFIER, b"ap-lobby");
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let signature = hmac_md5(secret, &packet);
    packet[HEADER + 2..HEADER + 18].copy_from_slice(&signature);
    packet
}

/// RFC 2865 3: the Response Authenticator proves that the server read this request and knows the secret.
fn is_answer(reply: &[u8], request: &[u8], secret: &[u8]) -> bool {
    if reply.len() < HEADER || reply[1] != request[1] {
        return false;
    }
    let mut digest = Md5::new();
    for part in [&reply[..4], &request[4..HEADER], &reply[HEADER..], secret] {
        digest.update(part);
    }
    digest.finalize()[..] == reply[4..HEADER]
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn hmac_md5(secret: &[u8], packet: &[u8]) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(packet);
    mac.finalize().into_bytes().into()
}
