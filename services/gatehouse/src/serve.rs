//! A process of one or more roles, from its configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use apps::{Apps, AppsDeps};
use axum::Router;
use cache::{Cache, CacheConfig};
use compliance_sync::SyncDeps;
use domain::time::{Ids, SharedClock, SystemClock};
use httpkit::FrontLayer;
use linking::{Linking, LinkingConfig, LinkingDeps};
use microsoft::{HttpLimits, Microsoft, MicrosoftClouds};
use nac::{Nac, NacDeps, RemediationPages};
use policy::Policies;
use secrecy::ExposeSecret as _;
use store::{Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;
use web::{WebConfig, WebDeps};

use crate::admin;
use crate::clock::Follower;
use crate::config::{CloudConfig, Config, MicrosoftConfig, RemediationConfig};
use crate::credentials;
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
    /// The machine's; what the process goes by is put right by PostgreSQL's.
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
        let Config {
            roles,
            process,
            database,
            redis,
            microsoft,
            master_keys,
            remediation,
            public_url,
            dashboard,
            nac,
            sync,
        } = config;
        let connect = |connections_max| {
            Store::connect(&StoreConfig {
                url: database.url.expose_secret().to_owned(),
                connections_max,
                acquire_timeout: database.acquire_timeout,
                statement_timeout: database.statement_timeout,
            })
            .context("GATEHOUSE_DATABASE_URL cannot be used")
        };
        let store = connect(database.connections_max)?;
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
        let (admin_listener, admin_address) = listen(process.admin_listen, "GATEHOUSE_ADMIN_LISTEN")?;
        let mut addresses = Addresses { admin: admin_address, dashboard: None, nac: None };
        let Ambient { clock, ids } = ambient;
        let mut follower = Follower::new(store.clone(), clock);
        follower.begin().await;
        let clock = follower.clock();
        let followed = follower.run(shutdown.clone());
        tasks.spawn(async move {
            followed.await;
            Ok(())
        });
        let clouds = microsoft.map(|config| microsoft_clouds(config, &clock, &ids)).transpose()?;
        if let Some(clouds) = &clouds {
            let watched = credentials::watch(clouds.clone(), clock.clone(), shutdown.clone());
            tasks.spawn(async move {
                watched.await;
                Ok(())
            });
        }
        let apps = clouds.map(|clouds| {
            let (store, clock, ids) = (store.clone(), clock.clone(), ids.clone());
            Apps::new(AppsDeps { store, clouds, master_keys, clock, ids })
        });

        // The dashboard's own address is what clients are led to where nobody says another.
        let dashboard = match dashboard {
            Some(config) => {
                let listening = listen(config.listen, "GATEHOUSE_DASHBOARD_LISTEN")?;
                Some((config, listening))
            }
            None => None,
        };
        let public_url = match (public_url, &dashboard) {
            (Some(url), _) => Some(url),
            (None, Some((_, (_, address)))) => Some(format!("http://{address}").parse()?),
            (None, None) => None,
        };

        if let Some(mut config) = nac {
            let (listener, address) = listen(config.listen, "GATEHOUSE_NAC_LISTEN")?;
            config.limits.remediation = remediation_pages(remediation.as_ref(), public_url.as_ref())?;
            let deps = NacDeps {
                store: store.clone(),
                recorder: connect(config.limits.recorder_connections_max)?,
                cache: cache.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
            };
            if let Some(signer) = &config.limits.bundle_signer {
                tracing::info!(public_key = %signer.public_key(), "bundles for edges are signed");
            }
            let nac = Nac::start(deps, config.limits, shutdown.clone());
            let served = http(listener, observed(nac.router(), "nac"), &shutdown, process.shutdown_grace);
            tasks.spawn(async move {
                let served = served.await;
                // Whatever was answered meanwhile is written before the process ends.
                nac.drain().await;
                served
            });
            addresses.nac = Some(address);
        }
        if let (Some(config), Some(apps)) = (sync, &apps) {
            let deps = SyncDeps {
                store: store.clone(),
                cache: cache.clone(),
                apps: apps.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
            };
            let worked = compliance_sync::run(deps, config, shutdown.clone());
            tasks.spawn(async move {
                worked.await?;
                Ok(())
            });
        }
        if let (Some((config, (listener, address))), Some(apps), Some(public_url)) =
            (dashboard, apps, public_url)
        {
            let client_id = apps.clouds().default_cloud().client_id();
            let redirects = LinkingConfig::new(
                public_url.join(web::SIGN_IN_CALLBACK)?,
                public_url.join(web::LINK_CALLBACK)?,
            );
            let linking = LinkingDeps { store: store.clone(), apps, clock: clock.clone(), ids: ids.clone() };
            let deps = WebDeps {
                store: store.clone(),
                cache: cache.clone(),
                linking: Linking::new(linking, redirects),
                policies: Policies::new(store.clone(), clock.clone(), ids.clone()),
                clock: clock.clone(),
                ids: ids.clone(),
                shutdown: shutdown.clone(),
            };
            let router = web::router(
                deps,
                WebConfig {
                    public_url,
                    nac_url: config.nac_public_url,
                    bundle_public_key: config.bundle_public_key,
                    client_id,
                    coa_per_edge_per_second: config.coa_per_edge_per_second,
                    page_keys: remediation.map(|remediation| remediation.keys),
                },
            )
            .context("GATEHOUSE_PUBLIC_URL cannot be used")?
            .layer(FrontLayer::new(clock, ids, config.request_timeout));
            tasks.spawn(http(listener, observed(router, "dashboard"), &shutdown, process.shutdown_grace));
            addresses.dashboard = Some(address);
        }
        // The last: who is told that it is ready finds every role there.
        let router = admin::router(roles, &store, &cache, registry);
        tasks.spawn(http(admin_listener, router, &shutdown, process.shutdown_grace));
        tracing::info!(
            %roles,
            admin = %addresses.admin,
            dashboard = addresses.dashboard.map(tracing::field::display),
            nac = addresses.nac.map(tracing::field::display),
            "started"
        );
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

/// Microsoft, as the configuration has it.
pub fn microsoft_clouds(
    config: MicrosoftConfig,
    clock: &SharedClock,
    ids: &Ids,
) -> anyhow::Result<MicrosoftClouds> {
    let limits = HttpLimits { request_timeout: config.request_timeout, ..HttpLimits::default() };
    let mut clouds = config.clouds.into_iter();
    let CloudConfig { cloud, app } = clouds.next().context("no cloud of Microsoft is configured")?;
    let default = Microsoft::new(cloud, app, clock.clone(), ids.clone(), limits)?;
    let others: Vec<_> = clouds.map(|CloudConfig { cloud, app }| default.with_cloud(cloud, app)).collect();
    Ok(MicrosoftClouds::new(default, others))
}

/// Where the NAC role leads clients to; `None` without a key.
fn remediation_pages(
    config: Option<&RemediationConfig>,
    public_url: Option<&Url>,
) -> anyhow::Result<Option<RemediationPages>> {
    let (Some(RemediationConfig { keys, lifetime }), Some(url)) = (config, public_url) else {
        return Ok(None);
    };
    let base = url.join(web::REMEDIATION_PATH)?.to_string();
    Ok(Some(RemediationPages { base, keys: keys.clone(), lifetime: *lifetime }))
}

fn http(
    listener: TcpListener,
    router: Router,
    shutdown: &CancellationToken,
    grace: Duration,
) -> impl Future<Output = anyhow::Result<()>> + use<> {
    let served = httpkit::serve(listener, router, shutdown.clone(), grace);
    async move { Ok(served.await?) }
}

fn listen(address: SocketAddr, key: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = httpkit::bind(address)
        .with_context(|| format!("{key}: cannot listen on {address}; is another process there?"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn observed(router: Router, role: &'static str) -> Router {
    router.layer(axum::middleware::from_fn_with_state(Observer::new(role), observe))
}
