//! A process of one or more roles, from its configuration.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::serve::ListenerExt as _;
use cache::{Cache, CacheConfig};
use domain::time::{Ids, SharedClock, SystemClock};
use secrecy::ExposeSecret as _;
use store::{Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::config::Config;
use crate::observe::{Observer, observe};

/// Roles that run in this process.
#[derive(Debug)]
pub struct Process {
    pub addresses: Addresses,
    store: Store,
    shutdown: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// Where the process listens; port 0 in the configuration became a real one here.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub admin: SocketAddr,
    pub dashboard: Option<SocketAddr>,
    pub nac: Option<SocketAddr>,
}

/// What a test replaces.
#[derive(Clone)]
pub struct Ambient {
    pub clock: SharedClock,
    pub ids: Ids,
}

impl Default for Ambient {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), ids: Ids::system() }
    }
}

impl Process {
    /// Starts every role of the configuration. PostgreSQL and Redis may be away: `/readyz` says so meanwhile.
    pub async fn start(config: Config, registry: prometheus::Registry) -> anyhow::Result<Self> {
        Self::start_with(config, registry, Ambient::default()).await
    }

    /// The same, with a clock and ids of the caller's.
    pub async fn start_with(
        config: Config,
        registry: prometheus::Registry,
        ambient: Ambient,
    ) -> anyhow::Result<Self> {
        let Config { roles, process, database, redis, microsoft, dashboard, nac, sync } = config;
        let store = Store::connect(&StoreConfig {
            url: database.url.expose_secret().to_owned(),
            connections_max: database.connections_max,
            acquire_timeout: database.acquire_timeout,
            statement_timeout: database.statement_timeout,
        })
        .context("GATEHOUSE_DATABASE_URL cannot be used")?;
        let cache = Cache::connect(
            redis.url.expose_secret(),
            CacheConfig {
                prefix: redis.prefix,
                decision_timeout: redis.decision_timeout,
                command_timeout: redis.command_timeout,
                ..CacheConfig::default()
            },
        )
        .context("GATEHOUSE_REDIS_URL cannot be used")?;

        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (listener, admin_address) = listen(process.admin_listen, "GATEHOUSE_ADMIN_LISTEN").await?;
        let admin = Admin {
            store: store.clone(),
            cache: cache.clone(),
            registry,
            patience: process.readiness_timeout,
        };
        tasks.spawn(serve(listener, admin::router(admin), shutdown.clone()));
        let addresses = Addresses { admin: admin_address, dashboard: None, nac: None };
        tracing::info!(%roles, admin = %addresses.admin, "started");
        Ok(Self { addresses, store, shutdown, tasks })
    }

    /// Waits until `shutdown` is cancelled, or a part of the process ends by itself, which is an error.
    pub async fn wait(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            Some(ended) = self.tasks.join_next() => {
                ended.context("a part of the process panicked")??;
                anyhow::bail!("a part of the process ended by itself")
            }
        }
    }

    /// Takes no new work, finishes what is under way, closes everything.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok(Err(error)) | Err(error) = ended.map_err(anyhow::Error::from) {
                tracing::warn!(error = format!("{error:#}"), "a part of the process did not end well");
            }
        }
        self.store.close().await;
        tracing::info!("stopped");
    }
}

async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: cannot listen on {address}; is another process there?"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Without it, a small answer waits for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await?;
    Ok(())
}

fn observed(router: Router, role: &'static str) -> Router {
    router.layer(axum::middleware::from_fn_with_state(Observer::new(role), observe))
}
