//! Two steps to the end: the first signal drains, the second does not wait.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancelled by the first SIGTERM or SIGINT: take no new work, finish what is under way. The second signal, or
/// `grace` after the first, ends the process at once; whatever was under way is then found again by its lease.
pub fn on_signal(grace: Duration) -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let drain = token.clone();
    tokio::spawn(async move {
        wait(&mut terminate, &mut interrupt).await;
        tracing::info!(grace_seconds = grace.as_secs(), "draining; a second signal ends at once");
        drain.cancel();
        let why = tokio::select! {
            () = wait(&mut terminate, &mut interrupt) => "second signal",
            () = tokio::time::sleep(grace) => "grace is over",
        };
        tracing::warn!(why, "ending without draining");
        std::process::exit(130);
    });
    Ok(token)
}

async fn wait(terminate: &mut tokio::signal::unix::Signal, interrupt: &mut tokio::signal::unix::Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
