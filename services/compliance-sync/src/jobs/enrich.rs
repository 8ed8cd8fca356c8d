//! Fetches what lists leave out of devices: Ethernet MAC and UDID, by batches of single GETs, with what the budget
//! leaves.

use std::time::Duration;

use domain::DeviceId;
use microsoft::{BATCH_MAX, BatchItem, GraphError};
use serde::{Deserialize, Serialize};
use store::devices::{self, Enriched};
use store::jobs::{self, ClaimedJob, Completion, LeaseError};
use store::{StoreError, links};
use tokio_util::sync::CancellationToken;

use super::stop::{self, Stop};
use super::{failure, look, write};
use crate::Context;

/// How far this round came: devices that could not be asked about wait for the next.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cursor {
    after: DeviceId,
}

/// Works on a claimed enrichment, then gives it back.
pub(crate) async fn run(ctx: &Context, job: ClaimedJob, shutdown: &CancellationToken) {
    let result = work(ctx, &job, shutdown).await;
    stop::settle(ctx, &job, result).await;
}

async fn work(ctx: &Context, job: &ClaimedJob, shutdown: &CancellationToken) -> Result<(), Stop> {
    let began_at = ctx.clock.now();
    let mut tx = ctx.store.org(job.lease.org).await?;
    jobs::hold(&mut tx, &job.lease).await?;
    let link = links::get(&mut tx, job.lease.link).await?.ok_or(LeaseError::Fenced)?;
    if stop::is_blocked(link.state) {
        return look::wait_for_the_link(ctx, tx, job, began_at).await;
    }
    tx.commit().await?;
    let turn_until = began_at + time::Duration::seconds(ctx.config.sweep_slice_seconds.into());
    let mut asking = ctx.asking(job, &link, shutdown).await?;
    let cursor = job.cursor.clone().and_then(|cursor| serde_json::from_value::<Cursor>(cursor).ok());
    let mut after = cursor.map(|cursor| cursor.after);
    loop {
        let mut tx = ctx.store.org(job.lease.org).await?;
        let batch = i64::try_from(BATCH_MAX).unwrap_or(20);
        let ids = devices::unenriched(&mut tx, link.id, after, batch).await?;
        tx.commit().await?;
        let Some(last) = ids.last().copied() else { break };
        if ctx.clock.now() >= turn_until {
            return Err(Stop::Turn);
        }
        let asked_at = ctx.clock.now();
        let items = asking.ask(ids.len(), asking.graph.adapters_batch(&ids)).await?;
        let (mut found, mut refused) = (Vec::new(), None::<GraphError>);
        for (id, item) in ids.iter().zip(items) {
            match item {
                BatchItem::Found(adapters) => {
                    found.push(Enriched {
                        id: *id,
                        ethernet_mac: adapters.ethernet_mac,
                        udid: adapters.udid,
                    });
                }
                // Whether it is gone is the sweep's to find out.
                BatchItem::Absent => {}
                // Of several waits the longest counts.
                BatchItem::Failed(error) if look::concerns_all(&error) => {
                    let longer =
                        refused.as_ref().is_none_or(|known| known.retry_after() < error.retry_after());
                    if longer {
                        refused = Some(error);
                    }
                }
                BatchItem::Failed(error) => tracing::debug!(device = %id, %error, "not enriched"),
            }
        }
        if let Some(error) = &refused {
            asking.heed(error).await;
        }
        // Those that were refused with others are asked about again first.
        if refused.is_none() {
            after = Some(last);
        }
        let now = ctx.clock.now();
        asking.lease_until = now + ctx.config.lease();
        let mut tx = ctx.store.org(job.lease.org).await?;
        jobs::hold(&mut tx, &job.lease).await?;
        let touched = devices::enriched(&mut tx, link.id, &found, asked_at).await?;
        write::announce_touched(ctx, &mut tx, link.id, &touched, now).await?;
        if let Some(after) = after {
            let cursor = serde_json::to_value(Cursor { after })
                .map_err(|error| StoreError::corrupt("sync_job.cursor", error))?;
            jobs::save_cursor(&mut tx, &job.lease, &cursor, None, asking.lease_until).await?;
        } else {
            jobs::renew(&mut tx, &job.lease, asking.lease_until).await?;
        }
        tx.commit().await?;
        if !touched.is_empty() {
            ctx.outbox_filled(job.lease.org, link.id);
        }
        if let Some(error) = refused {
            return Err(GraphError::into(error));
        }
    }
    let now = ctx.clock.now();
    let interval = Duration::from_secs(ctx.config.enrich_interval_seconds.into());
    let wait = failure::jitter(interval, ctx.config.sweep_jitter_percent, ctx.random(now));
    let mut tx = ctx.store.org(job.lease.org).await?;
    jobs::hold(&mut tx, &job.lease).await?;
    let done = Completion { began_at, now, next_due_at: now + wait, redecided: false, cursor: None };
    jobs::complete(&mut tx, &job.lease, &done).await?;
    tx.commit().await?;
    Ok(())
}
