//! The yardstick: the least that an HTTP service of the same make can do. It reads JSON and writes it again.

use std::net::SocketAddr;

use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use serde_json::Value;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    listen: SocketAddr,
}

/// Serves until it is killed.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/echo", post(async |Json(body): Json<Value>| Json(body)))
        .route("/ready", get(async || "ready"));
    let listener = httpkit::bind(args.listen)?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}
