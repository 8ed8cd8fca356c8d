//! A NAS on a real socket, that answers as it is told and remembers what came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use tokio::net::UdpSocket;

/// What the NAS does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Ack,
    Nak(u32),
    /// Says nothing.
    Silent,
    /// Says nothing to the first so many, then acknowledges.
    AckAfter(usize),
    /// Sends answers that somebody without the secret would make, then the true refusal.
    ForgedAckThenNak,
}

#[derive(Clone, Debug)]
pub struct StubNas {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    manner: Arc<Mutex<Manner>>,
}

impl StubNas {
    pub async fn start(secret: &'static str, manner: Manner) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let nas = Self {
            address: socket.local_addr().unwrap(),
            received: Arc::default(),
            manner: Arc::new(Mutex::new(manner)),
        };
        let own = nas.clone();
        tokio::spawn(async move {
            let mut datagram = [0; 4_096];
            while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
                let request = datagram[..length].to_vec();
                let count = {
                    let mut received = own.received.lock().unwrap();
                    received.push(request.clone());
                    received.len()
                };
                let manner = *own.manner.lock().unwrap();
                // 41/42 or 44/45.
                let (ack, nak) = (request[0] + 1, request[0] + 2);
                let answers = match manner {
                    Manner::Ack => vec![response(&request, ack, &[], secret)],
                    Manner::Nak(cause) => vec![response(&request, nak, &error_cause(cause), secret)],
                    Manner::AckAfter(silent) if count > silent => vec![response(&request, ack, &[], secret)],
                    Manner::Silent | Manner::AckAfter(_) => Vec::new(),
                    Manner::ForgedAckThenNak => {
                        let mut garbled = response(&request, ack, &[], secret);
                        garbled[10] ^= 1;
                        let mut elsewhere = response(&request, ack, &[], secret);
                        elsewhere[1] = elsewhere[1].wrapping_add(1);
                        vec![
                            response(&request, ack, &[], "not the secret"),
                            garbled,
                            elsewhere,
                            vec![ack, request[1], 0, 3],
                            response(&request, nak, &error_cause(503), secret),
                        ]
                    }
                };
                for answer in answers {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        nas
    }

    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// What came so far.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received.lock().unwrap().clone()
    }
}

fn error_cause(cause: u32) -> Vec<u8> {
    let mut attribute = vec![101, 6];
    attribute.extend(cause.to_be_bytes());
    attribute
}

/// A response as RFC 5176 3.4 has it, made without the code that is tried here.
fn response(request: &[u8], code: u8, attributes: &[u8], secret: &str) -> Vec<u8> {
    let length = u16::try_from(20 + attributes.len() + 18).unwrap();
    let mut bytes = vec![code, request[1]];
    bytes.extend(length.to_be_bytes());
    bytes.extend(&request[4..20]);
    bytes.extend(attributes);
    bytes.extend([80, 18]);
    bytes.extend([0; 16]);
    let mut mac = Hmac::<Md5>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(&bytes);
    let at = bytes.len() - 16;
    bytes[at..].copy_from_slice(&mac.finalize().into_bytes());
    let mut digest = Md5::new();
    digest.update(&bytes);
    digest.update(secret.as_bytes());
    bytes[4..20].copy_from_slice(&digest.finalize());
    bytes
}

/// Whether a request's Message-Authenticator and Request Authenticator are those of who knows the secret
/// (RFC 5176 3.4, RFC 2866 3).
pub fn is_signed(request: &[u8], secret: &str) -> bool {
    let mut bytes = request.to_vec();
    let mut digest = Md5::new();
    bytes[4..20].fill(0);
    digest.update(&bytes);
    digest.update(secret.as_bytes());
    if digest.finalize()[..] != request[4..20] {
        return false;
    }
    let mut at = 20;
    while at < bytes.len() {
        if bytes[at] == 80 {
            bytes[at + 2..at + 18].fill(0);
            let mut mac = Hmac::<Md5>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(&bytes);
            return mac.finalize().into_bytes()[..] == request[at + 2..at + 18];
        }
        at += usize::from(bytes[at + 1]);
    }
    false
}

/// The value of a request's attribute.
pub fn attribute(request: &[u8], kind: u8) -> Option<Vec<u8>> {
    let mut at = 20;
    while at < request.len() {
        let length = usize::from(request[at + 1]);
        if request[at] == kind {
            return Some(request[at + 2..at + length].to_vec());
        }
        at += length;
    }
    None
}
