//! A server that stops in two steps.

use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the server failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("connections were cut because their requests did not end within {} s of the stop", .0.as_secs())]
    Cut(Duration),
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
