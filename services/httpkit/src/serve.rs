//! A server that stops in two steps.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the server failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("connections were cut because their requests did not end within {} s of the stop", .0.as_secs())]
    Cut(Duration),
}

/// How many connections may wait to be taken. With the 128 of a plain bind, a burst (a site's access points after a
/// power cut) finds the queue full, and TCP tries again only a second later, then two, then four. Linux cuts this
/// to `net.core.somaxconn`, 4096 unless set.
const WAITING_CONNECTIONS_MAX: u32 = 4_096;

/// Listens on `address`, with a queue that takes a burst of connections.
///
/// # Errors
/// Where the address is taken, not this machine's, or not allowed.
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As a plain bind does: a restart need not wait until old connections are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_CONNECTIONS_MAX)
}

/// Serves until `stop`; then takes no new connections, lets running requests end for at most `grace`, and cuts what
/// is left.
///
/// TCP_NODELAY is on: an answer in two writes would cost the caller about 40 ms of delayed ACK.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    grace: Duration,
) -> Result<(), ServeError> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    let graceful = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        ended = graceful => Ok(ended?),
        () = too_late => Err(ServeError::Cut(grace)),
    }
}
