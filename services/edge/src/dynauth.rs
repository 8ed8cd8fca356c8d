//! Sends CoA-Requests and Disconnect-Requests, and waits for who answers them.
//!
//! One socket per NAS. A request is sent again as it is, under the same identifier, as RFC 5080 2.2.1 has it, so that
//! a NAS knows a repetition by itself. What comes back counts only where its authenticator shows that its sender
//! knows the secret and this very request; everything else is passed over as if it had never come.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::radius::{PACKET_BYTES_MAX, Packet, Request, code};
use crate::vendor::Order;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    Ack,
    /// The NAS refused, and perhaps said why.
    Nak {
        error_cause: Option<u32>,
        message: Option<String>,
    },
    /// Nobody who knows the secret answered.
    Timeout {
        /// How often it was sent.
        transmissions: u32,
    },
}

/// When a request is sent again (RFC 5080 2.2.1).
#[derive(Clone, Copy, Debug)]
struct Pace {
    first: Duration,
    longest: Duration,
    transmissions_max: u32,
    wait_max: Duration,
}

/// All NASes that were talked to.
#[derive(Debug)]
pub struct DynAuth {
    peers: Mutex<HashMap<SocketAddr, Arc<Peer>>>,
    pace: Pace,
    per_nas_max: u8,
    /// Ends those who listen.
    over: CancellationToken,
}

impl Drop for DynAuth {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// One NAS.
#[derive(Debug)]
struct Peer {
    socket: UdpSocket,
    slots: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By identifier.
    requests: HashMap<u8, (Request, Vec<u8>, oneshot::Sender<Answered>)>,
    next: u8,
}

impl DynAuth {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let pace = Pace {
            first: Duration::from_millis(limits.coa_retransmit_milliseconds),
            longest: Duration::from_millis(limits.coa_retransmit_milliseconds_max),
            transmissions_max: limits.coa_transmissions_max,
            wait_max: Duration::from_millis(limits.coa_wait_milliseconds_max),
        };
        Self {
            peers: Mutex::default(),
            pace,
            per_nas_max: limits.coa_per_nas_max,
            over: CancellationToken::new(),
        }
    }

    /// Waits until a NAS may be asked once more. An error is the machine's own: no socket.
    pub async fn turn(&self, nas: SocketAddr) -> std::io::Result<Turn> {
        let peer = self.peer(nas).await?;
        let Ok(slot) = Arc::clone(&peer.slots).acquire_owned().await else {
            return Err(std::io::Error::other("the agent ends"));
        };
        Ok(Turn { peer, slot, pace: self.pace })
    }

    async fn peer(&self, nas: SocketAddr) -> std::io::Result<Arc<Peer>> {
        if let Some(peer) = self.lock().get(&nas) {
            return Ok(Arc::clone(peer));
        }
        let any: IpAddr =
            if nas.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        // From here on, datagrams of others do not even reach us.
        socket.connect(nas).await?;
        let slots = Arc::new(Semaphore::new(self.per_nas_max.into()));
        let peer = Arc::new(Peer { socket, slots, waiting: Mutex::default() });
        let mut peers = self.lock();
        // Somebody else may have been quicker.
        let kept = Arc::clone(peers.entry(nas).or_insert_with(|| Arc::clone(&peer)));
        if Arc::ptr_eq(&kept, &peer) {
            tokio::spawn(self.over.clone().run_until_cancelled_owned(listen(peer)));
        }
        Ok(kept)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to ask a NAS something now. It may have been waited for, so what is asked is made up afterwards.
#[derive(Debug)]
pub struct Turn {
    peer: Arc<Peer>,
    slot: OwnedSemaphorePermit,
    pace: Pace,
}

impl Turn {
    /// Sends an order and waits for its answer, or until there will be none.
    pub async fn send(self, order: &Order, secret: &[u8]) -> Answered {
        Call::begin(&self.peer, order, secret, self.slot).run(self.pace).await
    }
}

/// A request under way; its identifier is given back when it is dropped.
struct Call {
    peer: Arc<Peer>,
    request: Request,
    answered: oneshot::Receiver<Answered>,
    _slot: OwnedSemaphorePermit,
}

impl Call {
    fn begin(peer: &Arc<Peer>, order: &Order, secret: &[u8], slot: OwnedSemaphorePermit) -> Self {
        let (reply, answered) = oneshot::channel();
        let mut waiting = peer.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // The slots are fewer than the identifiers, so one is free. The one that was free for longest is taken: a late
        // answer to the request before must not find it in use again at once.
        let mut identifier = waiting.next;
        while waiting.requests.contains_key(&identifier) {
            identifier = identifier.wrapping_add(1);
        }
        waiting.next = identifier.wrapping_add(1);
        let request = Request::new(order.code, identifier, &order.attributes, secret);
        waiting.requests.insert(identifier, (request.clone(), secret.to_vec(), reply));
        Self { peer: Arc::clone(peer), request, answered, _slot: slot }
    }

    async fn run(mut self, pace: Pace) -> Answered {
        let over = Instant::now() + pace.wait_max;
        let mut pause = pace.first;
        let mut transmissions = 0;
        loop {
            if transmissions < pace.transmissions_max {
                transmissions += 1;
                // A NAS that is away may refuse the datagram (ICMP); it may be back for the next one.
                if let Err(error) = self.peer.socket.send(&self.request.bytes).await {
                    tracing::debug!(%error, "a datagram could not be sent");
                }
            }
            let until = over.min(Instant::now() + pause);
            tokio::select! {
                answered = &mut self.answered => {
                    return answered.unwrap_or(Answered::Timeout { transmissions });
                }
                () = tokio::time::sleep_until(until) => {}
            }
            // After the last transmission, its own pause is waited for.
            if Instant::now() >= over || transmissions >= pace.transmissions_max {
                return Answered::Timeout { transmissions };
            }
            pause = (pause * 2).min(pace.longest);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut waiting = self.peer.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.requests.remove(&self.request.identifier());
    }
}

async fn listen(peer: Arc<Peer>) {
    let mut datagram = [0; PACKET_BYTES_MAX];
    loop {
        let length = match peer.socket.recv(&mut datagram).await {
            Ok(length) => length,
            Err(error) => {
                // ICMP says that nobody listens; the request's own pace decides when to give up.
                tracing::debug!(%error, "a NAS could not be heard");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        match Packet::read(&datagram[..length]) {
            Ok(packet) => peer.take(&packet),
            Err(error) => tracing::debug!(%error, "a datagram is passed over"),
        }
    }
}

impl Peer {
    fn take(&self, packet: &Packet<'_>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let identifier = packet.identifier();
        let Some((request, secret, _)) = waiting.requests.get(&identifier) else { return };
        let answered = match (request.bytes[0], packet.code()) {
            (code::COA_REQUEST, code::COA_ACK) | (code::DISCONNECT_REQUEST, code::DISCONNECT_ACK) => {
                Answered::Ack
            }
            (code::COA_REQUEST, code::COA_NAK) | (code::DISCONNECT_REQUEST, code::DISCONNECT_NAK) => {
                Answered::Nak {
                    error_cause: packet.error_cause(),
                    message: packet.reply_message().map(str::to_owned),
                }
            }
            _ => return,
        };
        if !request.is_answered_by(packet, secret) {
            tracing::warn!(identifier, "an answer that does not know the secret is passed over");
            return;
        }
        if let Some((_, _, reply)) = waiting.requests.remove(&identifier) {
            // Whoever waited may have given up this very moment.
            let _ = reply.send(answered);
        }
    }
}

#[cfg(test)]
mod tests;
