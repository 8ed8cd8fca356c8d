//! Decisions under load, and what becomes of them while something is down.

mod books;
pub mod cold;
pub mod decisions;
mod drive;
pub mod echo;
mod http;
mod journal;
pub mod kills;
pub mod outages;
pub mod radius;
mod radius_client;
mod requests;
mod world;

use std::net::SocketAddr;

use anyhow::Context as _;
use url::Url;

/// The address of a URL.
fn address(url: &Url) -> anyhow::Result<SocketAddr> {
    let addresses = url.socket_addrs(|| None)?;
    addresses.first().copied().context("an address")
}
