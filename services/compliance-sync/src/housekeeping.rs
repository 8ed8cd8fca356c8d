//! What must be done now and then, by any process, any number of times.

use std::sync::Arc;
use std::time::Duration;

use store::jobs::{self, JobKind};
use store::{StoreError, commands_edge, events};
use tokio_util::sync::CancellationToken;

use crate::{Context, pause};

pub(crate) async fn run(ctx: Arc<Context>, shutdown: CancellationToken) {
    let period = Duration::from_secs(ctx.config.housekeeping_seconds.into());
    while !shutdown.is_cancelled() {
        once(&ctx).await;
        pause(period, &shutdown).await;
    }
}

/// Each part on its own, so that one that fails does not keep the others from being done.
pub(crate) async fn once(ctx: &Context) {
    let parts = [
        ("partitions ahead", events::ensure_partitions(&ctx.store, ctx.clock.now()).await),
        ("retention of events", drop_old_events(ctx).await),
        ("expiry of commands", expire_commands(ctx).await),
        ("the outbox's lag", measure_lag(ctx).await),
        ("the jobs' lag", measure_jobs(ctx).await),
        ("credentials that end", ctx.apps.tell_expiry().await.map(drop)),
    ];
    for (part, result) in parts {
        if let Err(error) = result {
            tracing::warn!(part, %error, "housekeeping failed; it is tried again");
        }
    }
}

async fn drop_old_events(ctx: &Context) -> Result<(), StoreError> {
    let kept = time::Duration::days(ctx.config.event_retention_days.into());
    let dropped = events::drop_partitions(&ctx.store, ctx.clock.now() - kept).await?;
    if !dropped.is_empty() {
        tracing::info!(?dropped, "events past their retention were dropped");
    }
    Ok(())
}

/// Commands that no edge acknowledged in time, also where no process that talks to edges is up.
async fn expire_commands(ctx: &Context) -> Result<(), StoreError> {
    let now = ctx.clock.now();
    let mut tx = ctx.store.system().await?;
    let orgs = commands_edge::orgs_with_expired(&mut tx, now, 100).await?;
    tx.commit().await?;
    for org in orgs {
        let mut tx = ctx.store.org(org).await?;
        commands_edge::expire_due(&mut tx, &ctx.ids, now, 500).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn measure_lag(ctx: &Context) -> Result<(), StoreError> {
    let mut tx = ctx.store.system().await?;
    let oldest = store::outbox::oldest(&mut tx).await?;
    tx.commit().await?;
    let lag = oldest.map_or(time::Duration::ZERO, |oldest| ctx.clock.now() - oldest);
    ctx.metrics.outbox_lag(lag.as_seconds_f64().max(0.0));
    Ok(())
}

async fn measure_jobs(ctx: &Context) -> Result<(), StoreError> {
    let now = ctx.clock.now();
    let mut tx = ctx.store.system().await?;
    let oldest = jobs::oldest_due(&mut tx, now).await?;
    tx.commit().await?;
    for kind in JobKind::ALL {
        let due = oldest.iter().find(|(of, _)| *of == kind).map_or(now, |(_, due)| *due);
        ctx.metrics.oldest_due(kind, (now - due).as_seconds_f64().max(0.0));
    }
    Ok(())
}
