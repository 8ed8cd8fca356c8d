//! Microsoft, small: Entra ID, Microsoft Graph and Intune over HTTP, for the tests and the demonstration of
//! Gatehouse.
//!
//! One listener serves all hosts: the login host below `/{tenant|organizations|common}/…`, Graph below
//! `/v1.0/…`, and a control page and API below `/_sim`. See README.md for their use.
//!
//! Invariants:
//! - It imports nothing of Gatehouse: it is the outside world, and agrees with Gatehouse only where both agree
//!   with Microsoft.
//! - A fleet costs no memory until it is changed (`fleet`); a page of a list costs its own size.
//! - The same seed gives the same tenants, people, devices and random faults.

mod clock;
pub mod config;
mod connection;
mod control;
mod directory;
mod faults;
mod fleet;
mod graph;
mod keys;
mod login;
mod nac;
mod pages;
mod persistence;
mod requests;
mod settings;
mod throttle;
mod transport;
mod world;

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::{Router, middleware, routing::get};
pub use config::Config;
use tokio::net::TcpListener;
pub use world::StartError;
use world::World;

use crate::connection::{Doors, Scissors};

/// How often a changed world is written to the state file.
const SAVE_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the listener failed: {0}")]
    Listen(#[from] io::Error),
}

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, config: Config) -> Result<(), ServeError> {
    serve_until(listener, config, std::future::pending()).await
}

/// Serves until `shutdown` is ready, then writes the state file a last time.
pub async fn serve_until(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    // Keys are generated and perhaps a large state is read: not on a thread that others wait for.
    let world = tokio::task::spawn_blocking(move || World::new(config, &public_url))
        .await
        .map_err(io::Error::other)??;
    let world = Arc::new(world);
    tracing::info!(%address, public_url = %world.public_url, tenants = world.directory().len(), "simulator is up");
    let saver = tokio::spawn(save_changes(Arc::clone(&world)));
    let router = router(Arc::clone(&world));
    axum::serve(Doors(listener), router.into_make_service_with_connect_info::<Scissors>())
        .with_graceful_shutdown(shutdown)
        .await?;
    saver.abort();
    world.save()?;
    Ok(())
}

/// All routes over one world.
fn router(world: Arc<World>) -> Router {
    let login = login::routes().layer(middleware::from_fn_with_state(Arc::clone(&world), login::guard));
    Router::new()
        .merge(login)
        .merge(graph::routes())
        .merge(nac::routes())
        .merge(control::routes())
        .merge(pages::routes())
        .route("/_sim/healthz", get(|| async { "ok" }))
        .with_state(world)
}

async fn save_changes(world: Arc<World>) {
    if world.config.state.is_none() {
        return;
    }
    loop {
        tokio::time::sleep(SAVE_EVERY).await;
        if !world.take_dirty() {
            continue;
        }
        let saved = tokio::task::spawn_blocking({
            let world = Arc::clone(&world);
            move || world.save()
        })
        .await
        .map_err(io::Error::other)
        .and_then(|saved| saved);
        if let Err(error) = saved {
            tracing::error!(%error, "the state file could not be written; trying again with the next change");
        }
    }
}
