//! How an answer leaves: late, cut short, or not at all.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::header,
    response::Response,
};

use crate::{connection::Scissors, faults::Effect};

/// Bodies of ours are pages of at most a thousand devices; this is far beyond.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Sends `response` the way `effect` wants it, after `latency_ms`.
pub async fn deliver(
    response: Response,
    effect: Option<Effect>,
    latency_ms: u64,
    scissors: &Scissors,
) -> Response {
    let slow = match &effect {
        Some(Effect::Slow { latency_ms }) => *latency_ms,
        _ => 0,
    };
    if latency_ms + slow > 0 {
        tokio::time::sleep(Duration::from_millis(latency_ms + slow)).await;
    }
    match effect {
        Some(Effect::Reset | Effect::ResetAfter) => {
            scissors.cut();
            response
        }
        Some(Effect::Truncate { bytes }) => truncate(response, bytes).await,
        _ => response,
    }
}

/// Announces the whole body and breaks off after `bytes`.
async fn truncate(response: Response, bytes: usize) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let start = body.slice(..bytes.min(body.len().saturating_sub(1)));
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
    // The pause lets the first part leave before the connection is dropped.
    let stream = futures::stream::unfold(0, move |step| {
        let start = start.clone();
        let broken = std::io::Error::new(broken.kind(), "cut short");
        async move {
            match step {
                0 => Some((Ok(start), 1)),
                1 => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Some((Err(broken), 2))
                }
                _ => None,
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(stream))
}
