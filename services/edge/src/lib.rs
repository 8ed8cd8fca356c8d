//! The agent beside an edge, between the local FreeRADIUS and the cloud. It has no database; it carries out Changes
//! of Authorization, keeps what the cloud cannot take now, and answers from a signed bundle while the cloud is away.
//!
//! Invariants: what was answered to FreeRADIUS as kept is on disk, or the cloud has it; nothing overtakes what waits,
//! results of commands excepted; a command is carried out once however often it is handed out, of one session in order;
//! an answer is decided by the same functions as in the cloud, and marked where the cloud did not give it; whose
//! credential is revoked decides nothing. It must not know any store, and secrets of NASes never leave it.

mod batch;
mod bundle;
mod cloud;
mod commands;
pub mod config;
mod deliver;
mod disk;
mod dynauth;
mod radius;
mod report;
mod server;
mod spool;
#[cfg(test)]
mod stub_cloud;
#[cfg(test)]
#[path = "../../../tests/src/nas.rs"]
mod testing;
mod vendor;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::time::{Ids, SharedClock};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::bundle::Trust;

use crate::bundle::{Bundles, RenewError};
use crate::cloud::Cloud;
use crate::commands::Dispatcher;
pub use crate::config::{ConfigError, EdgeConfig};
use crate::deliver::Courier;
use crate::report::Reporter;
use crate::server::Shared;
use crate::spool::{Spool, SpoolError};

/// Requests of FreeRADIUS may end for this long after the stop.
const GRACE: Duration = Duration::from_secs(10);

/// Where a revoked credential's bundle could not be given up, it is tried again after this.
const FORGET_AGAIN: Duration = Duration::from_secs(2);

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("{0} cannot be made: {1}")]
    Directory(std::path::PathBuf, std::io::Error),
    #[error("the cloud cannot be asked: {0}")]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the bundle's file cannot be used: {0}")]
    Bundle(#[from] redb::Error),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error(transparent)]
    Serve(#[from] httpkit::ServeError),
    #[error("a part of the agent was lost: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

/// The running agent.
#[derive(Debug)]
pub struct Agent {
    /// Where FreeRADIUS asks; port 0 in the configuration became a real one here.
    pub address: SocketAddr,
    tasks: JoinSet<Result<(), EdgeError>>,
}

impl Agent {
    /// Starts everything. The cloud may be away.
    pub async fn start(
        config: EdgeConfig,
        clock: SharedClock,
        ids: Ids,
        stop: CancellationToken,
    ) -> Result<Self, EdgeError> {
        let directory = config.directory.clone();
        std::fs::create_dir_all(&directory)
            .map_err(|error| EdgeError::Directory(directory.clone(), error))?;
        let cloud = Arc::new(Cloud::new(&config, Arc::clone(&clock))?);
        let spool = Spool::open(&directory.join("spool.redb"), &config.limits)?;
        let bundles = if config.bundle_keys.is_empty() {
            tracing::warn!("no bundle_public_keys: while the cloud is away every client is denied");
            None
        } else {
            let trust = Trust { keys: config.bundle_keys.clone(), org: config.cloud.org, site: config.site };
            Some(Arc::new(Bundles::open(&directory.join("bundle.redb"), trust)?))
        };
        let courier = Courier::new(Arc::clone(&cloud), spool, Arc::clone(&clock), &config.limits);
        let reporter = Reporter::new(
            Arc::clone(&cloud),
            Arc::clone(&courier),
            bundles.clone(),
            Arc::clone(&clock),
            config.nas.len(),
        );
        let dispatcher =
            Dispatcher::new(&config, Arc::clone(&clock), Arc::clone(&courier), Arc::clone(&reporter));
        let listener =
            httpkit::bind(config.listen).map_err(|error| EdgeError::Listen(config.listen, error))?;
        let address = listener.local_addr().map_err(|error| EdgeError::Listen(config.listen, error))?;
        let shared = Arc::new(Shared {
            cloud: Arc::clone(&cloud),
            courier: Arc::clone(&courier),
            reporter: Arc::clone(&reporter),
            bundles: bundles.clone(),
            clock,
            ids,
            limits: config.limits.clone(),
            org: config.cloud.org,
        });

        let mut tasks = JoinSet::new();
        let served = httpkit::serve(listener, server::router(shared), stop.clone(), GRACE);
        tasks.spawn(async move { Ok(served.await?) });
        if let Some(bundles) = bundles {
            let (cloud, stop) = (Arc::clone(&cloud), stop.clone());
            let interval = Duration::from_secs(config.limits.bundle_seconds);
            tasks.spawn(async move {
                stop.run_until_cancelled(renew(&bundles, &cloud, interval)).await;
                Ok(())
            });
        }
        let (told, interval) = (stop.clone(), Duration::from_secs(config.limits.report_seconds));
        tasks.spawn(async move {
            told.run_until_cancelled(reporter.run(interval)).await;
            Ok(())
        });
        let poll = Duration::from_secs(config.limits.poll_seconds);
        let listening = stop.clone();
        tasks.spawn(async move {
            dispatcher.run(&cloud, poll, &listening).await;
            Ok(())
        });
        tasks.spawn(async move {
            courier.run(&stop).await;
            Ok(())
        });
        tracing::info!(%address, "the agent listens");
        Ok(Self { address, tasks })
    }

    /// Waits until every part has ended.
    pub async fn wait(mut self) -> Result<(), EdgeError> {
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn renew(bundles: &Bundles, cloud: &Cloud, interval: Duration) {
    loop {
        match bundles.renew(cloud).await {
            Ok(()) => {}
            Err(RenewError::Away) => tracing::debug!("the bundle could not be renewed"),
            Err(error) => tracing::error!(%error, "the bundle could not be renewed"),
        }
        // What is to be forgotten is not left lying until the next time.
        let pause = if cloud.is_revoked() && bundles.ready().is_some() { FORGET_AGAIN } else { interval };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Asked again, the cloud says so here too, and the bundle is forgotten, before anybody starts anew with it.
            () = cloud.disowned.notified() => {}
        }
    }
}
