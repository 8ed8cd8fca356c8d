//! Fills Redis again where it lost everything, while decisions go on: snapshots, credentials, and the devices of
//! active sessions. All else is found in PostgreSQL when it is asked for.
//!
//! It is a reader: what the relay put meanwhile is newer, and stays. One process does it, page by page.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cache::{CacheError, CachedCredential};
use domain::OrgId;
use domain::device::DeviceFacts;
use domain::resolver::LookupKey;
use store::devices::{self, CANDIDATES_MAX};
use store::{StoreError, edges, orgs, sessions};
use tokio_util::sync::CancellationToken;

use crate::{Context, pause};

/// The claim of a process that does not come back runs out after this.
const LEASE: Duration = Duration::from_secs(60);
const ORGS_AT_ONCE: i64 = 200;
const SESSIONS_AT_ONCE: i64 = 500;

#[derive(Debug, thiserror::Error)]
pub(crate) enum WarmError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

pub(crate) async fn run(ctx: Arc<Context>, shutdown: CancellationToken) {
    let period = Duration::from_secs(ctx.config.warm_check_seconds.into());
    while !shutdown.is_cancelled() {
        match once(&ctx, &shutdown).await {
            Ok(None) => {}
            Ok(Some(orgs)) => tracing::info!(orgs, "Redis was empty, and is filled again"),
            // Redis or PostgreSQL is away; whoever decides finds out by itself.
            Err(error) => tracing::debug!(%error, "Redis could not be filled"),
        }
        pause(period, &shutdown).await;
    }
}

/// Fills Redis if it is empty and nobody else is at it. Returns for how many organizations; `None`: it did not come to
/// that.
pub(crate) async fn once(ctx: &Context, shutdown: &CancellationToken) -> Result<Option<u64>, WarmError> {
    if ctx.cache.is_warm().await? || !ctx.cache.begin_warming(&ctx.owner, LEASE).await? {
        return Ok(None);
    }
    let mut after = None;
    let mut count = 0;
    loop {
        let mut tx = ctx.store.system().await?;
        let some = orgs::ids_after(&mut tx, after, ORGS_AT_ONCE).await?;
        tx.commit().await?;
        let Some(last) = some.last() else { break };
        after = Some(*last);
        for org in some {
            if shutdown.is_cancelled() || !warm_org(ctx, org).await? {
                return Ok(None);
            }
            count += 1;
        }
    }
    Ok(ctx.cache.finish_warming(&ctx.owner).await?.then_some(count))
}

/// False where the claim was lost.
async fn warm_org(ctx: &Context, org: OrgId) -> Result<bool, WarmError> {
    let mut tx = ctx.store.org(org).await?;
    let snapshot = orgs::snapshot(&mut tx).await?;
    let edges = edges::list_edges(&mut tx).await?;
    let mut credentials = Vec::new();
    for edge in edges {
        credentials.extend(edges::credentials_of(&mut tx, edge.id).await?);
    }
    tx.commit().await?;
    if let Some(snapshot) = snapshot {
        ctx.cache.put_snapshot(&snapshot).await?;
    }
    for row in credentials {
        let credential = CachedCredential {
            org,
            id: row.id,
            edge: row.edge,
            site: row.site,
            token_hash: row.token_hash,
            revoked: row.is_off(),
            expires_at: row.expires_at,
        };
        ctx.cache.put_credential(&credential).await?;
    }
    let mut after = None;
    loop {
        let mut tx = ctx.store.org(org).await?;
        let some = sessions::active_keys(&mut tx, after, SESSIONS_AT_ONCE).await?;
        let Some((last, _)) = some.last() else { break };
        after = Some(*last);
        let keys: BTreeSet<LookupKey> = some.into_iter().flat_map(|(_, keys)| keys).collect();
        let keys: Vec<LookupKey> = keys.into_iter().collect();
        let found = devices::by_keys(&mut tx, &keys, CANDIDATES_MAX).await?;
        tx.commit().await?;
        let entries: Vec<(&LookupKey, &[DeviceFacts])> =
            found.iter().map(|(key, devices)| (key, devices.as_slice())).collect();
        ctx.cache.fill_lookups(org, &entries).await?;
        if !ctx.cache.keep_warming(&ctx.owner, LEASE).await? {
            return Ok(false);
        }
    }
    Ok(ctx.cache.keep_warming(&ctx.owner, LEASE).await?)
}
