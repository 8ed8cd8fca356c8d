//! The bus: signals between processes, by Redis pub/sub. A signal may be lost, so every listener also has a slower
//! way to find out; [`BusEvent::Lost`] tells it when that may have happened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::resolver::LookupKey;
use domain::{CredentialId, EdgeId, LinkId, OrgId};
use futures::{Stream, StreamExt};
use redis::{Client, cmd};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

use crate::{Cache, CacheConfig, Result};

/// Something changed that other processes may hold in memory, or wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BusMessage {
    /// The devices under these keys changed.
    Lookups { org: OrgId, keys: Vec<LookupKey> },
    /// Settings, links or the live policy changed.
    Snapshot { org: OrgId },
    /// A credential was made or revoked.
    Credential { org: OrgId, id: CredentialId },
    /// A command waits for the edge.
    Commands { org: OrgId, edge: EdgeId },
    /// There are new events.
    Events { org: OrgId },
    /// A sweep got on.
    SyncProgress { org: OrgId, link: LinkId },
}

/// What a subscriber sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusEvent {
    Message(BusMessage),
    /// Messages may have been missed (the connection is new, or this subscriber was too slow): trust nothing that
    /// only a message would have changed.
    Lost,
}

/// Messages a slow subscriber may be behind before it is told [`BusEvent::Lost`].
const BACKLOG_MAX: usize = 4_096;

#[derive(Debug)]
pub struct Bus {
    channel: String,
    silence: Duration,
    sender: broadcast::Sender<BusEvent>,
    up: Arc<AtomicBool>,
    listener: OnceLock<Listener>,
}

/// Ends with the cache it belongs to.
#[derive(Debug)]
struct Listener(AbortHandle);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bus {
    pub fn new(config: &CacheConfig) -> Self {
        Self {
            channel: format!("{}:bus", config.prefix),
            silence: config.bus_silence,
            sender: broadcast::Sender::new(BACKLOG_MAX),
            up: Arc::new(AtomicBool::new(false)),
            listener: OnceLock::new(),
        }
    }
}

impl Cache {
    /// Tells every process.
    pub async fn publish(&self, message: &BusMessage) -> Result<()> {
        let body = serde_json::to_vec(message)?;
        let mut publish = cmd("PUBLISH");
        publish.arg(&self.inner.bus.channel).arg(body);
        self.run(self.config().command_timeout, &publish).await
    }

    /// Listens, from now on. The connection is kept up for as long as the cache lives; the first event after every
    /// (re)connect is [`BusEvent::Lost`].
    pub fn subscribe(&self) -> impl Stream<Item = BusEvent> + Send + Unpin + use<> {
        let bus = &self.inner.bus;
        let receiver = bus.sender.subscribe();
        bus.listener.get_or_init(|| {
            let ear = Ear {
                client: self.inner.link.client().clone(),
                channel: bus.channel.clone(),
                silence: bus.silence,
                sender: bus.sender.clone(),
                up: Arc::clone(&bus.up),
            };
            Listener(tokio::spawn(ear.run()).abort_handle())
        });
        futures::stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((BusEvent::Lost, receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }

    /// Whether messages arrive at present. While not, whoever waits for one should look for itself now and then.
    #[must_use]
    pub fn bus_is_up(&self) -> bool {
        self.inner.bus.up.load(Ordering::Relaxed)
    }
}

struct Ear {
    client: Client,
    channel: String,
    silence: Duration,
    sender: broadcast::Sender<BusEvent>,
    up: Arc<AtomicBool>,
}

impl Ear {
    async fn run(self) {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.listen().await {
                Ok(()) => pause = Duration::from_millis(100),
                Err(error) => {
                    tracing::debug!(%error, "the bus is not connected");
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
            if self.up.swap(false, Ordering::Relaxed) {
                tracing::warn!("the bus is lost; reconnecting");
                // What changes from now on is not heard of.
                let _ = self.sender.send(BusEvent::Lost);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns once the connection, having worked, is lost.
    async fn listen(&self) -> Result<(), redis::RedisError> {
        let subscribe = async {
            let mut pubsub = self.client.get_async_pubsub().await?;
            pubsub.subscribe(&self.channel).await?;
            Ok::<_, redis::RedisError>(pubsub)
        };
        let pubsub = tokio::time::timeout(self.silence, subscribe)
            .await
            .map_err(|_| redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
        self.up.store(true, Ordering::Relaxed);
        let _ = self.sender.send(BusEvent::Lost);
        let (mut sink, mut stream) = pubsub.split();
        loop {
            match tokio::time::timeout(self.silence, stream.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(message)) => match serde_json::from_slice(message.get_payload_bytes()) {
                    Ok(message) => {
                        let _ = self.sender.send(BusEvent::Message(message));
                    }
                    // A newer release may say things that this one does not know.
                    Err(error) => tracing::debug!(%error, "a bus message was not understood"),
                },
                Err(_) => match tokio::time::timeout(self.silence, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => return Ok(()),
                },
            }
        }
    }
}
