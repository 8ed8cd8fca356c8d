//! Asks Microsoft about the devices that sweeps no longer show: deletion is believed only when a single GET says 404.

use domain::{DeviceId, LinkId};
use futures::{StreamExt, stream};
use microsoft::{GraphDevice, GraphError};
use store::devices::{self, DeviceWrite};
use store::jobs;
use store::runs::Counts;

use super::sweep::{Stop, Sweep};
use super::write;
use crate::reconcile::{self, ComplianceChange, Fetched};

/// Looks at the longest missing devices of the link, a bounded number of them. Where Microsoft refuses in the
/// middle, the rest waits for the next sweep: this one has seen all pages, and that is what it is for.
pub(crate) async fn missing(sweep: &mut Sweep<'_>, link: LinkId) -> Result<(), Stop> {
    let (limit, abreast) = {
        let config = &sweep.ctx.config;
        (config.confirm_max_per_sweep, usize::from(config.confirm_concurrency))
    };
    let mut tx = sweep.ctx.store.org(sweep.lease.org).await?;
    let ids = devices::missing(&mut tx, link, limit.into()).await?;
    tx.commit().await?;
    for some in ids.chunks(50) {
        let asked_at = sweep.ctx.clock.now();
        let asking = &*sweep;
        let answers: Vec<(DeviceId, Result<Option<GraphDevice>, Stop>)> = stream::iter(some.iter().copied())
            .map(|id| async move { (id, asking.ask(asking.graph.device(id)).await) })
            .buffer_unordered(abreast)
            .collect()
            .await;
        let (mut gone, mut found, mut refused) = (Vec::new(), Vec::new(), None);
        for (id, answer) in answers {
            match answer {
                Ok(None) => gone.push(id),
                Ok(Some(device)) => found.push(Fetched::new(device.into_facts(link, asked_at))),
                // One odd record must not keep the others from being asked about, now and in every sweep to come.
                Err(Stop::Graph(error @ (GraphError::BadRequest { .. } | GraphError::Protocol { .. }))) => {
                    tracing::warn!(device = %id, %error, "a missing device cannot be asked about");
                }
                Err(stop) => refused = Some(stop),
            }
        }
        write_answers(sweep, link, &gone, found).await?;
        match refused {
            None => {}
            Some(stop @ (Stop::Shutdown | Stop::Lease(_))) => return Err(stop),
            Some(stop @ (Stop::Graph(_) | Stop::Budget(_))) => {
                tracing::info!(%stop, "the other missing devices wait for the next sweep");
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn write_answers(
    sweep: &mut Sweep<'_>,
    link: LinkId,
    gone: &[DeviceId],
    found: Vec<Fetched>,
) -> Result<(), Stop> {
    let ctx = sweep.ctx;
    let now = ctx.clock.now();
    let mut tx = ctx.store.org(sweep.lease.org).await?;
    jobs::hold(&mut tx, &sweep.lease).await?;

    let deleted = devices::delete_missing(&mut tx, link, gone).await?;
    let ended: Vec<ComplianceChange> = deleted
        .iter()
        .map(|device| ComplianceChange {
            device: device.id,
            name: device.name.clone(),
            mac: device.mac,
            from: Some(device.compliance.clone()),
            to: None,
        })
        .collect();
    write::compliance_changes(ctx, &mut tx, link, &ended, now).await?;
    write::announce_touched(ctx, &mut tx, link, &deleted, now).await?;

    let ids: Vec<DeviceId> = found.iter().map(|one| one.facts.id).collect();
    let stored = devices::stored(&mut tx, link, &ids).await?;
    let mut diff = reconcile::page(found, &stored);
    // One that is not stored any more was deleted meanwhile; the next sweep finds it, if it is there.
    diff.new.clear();
    diff.transitions.retain(|change| change.from.is_some());
    let counts = Counts {
        pages: 0,
        seen: 0,
        changed: u32::try_from(diff.changed.len() + deleted.len()).unwrap_or(u32::MAX),
        transitions: u32::try_from(diff.transitions.len() + ended.len()).unwrap_or(u32::MAX),
    };
    write::compliance_changes(ctx, &mut tx, link, &diff.transitions, now).await?;
    let touched = diff.touched().collect();
    write::announce(ctx, &mut tx, link, touched, diff.keys.into_iter().collect(), now).await?;
    let rows: Vec<DeviceWrite> = diff
        .changed
        .into_iter()
        .map(|changed| {
            let Fetched { facts, hash } = changed.fetched;
            DeviceWrite { facts, ordinal: changed.ordinal, content_hash: hash }
        })
        .collect();
    devices::upsert(&mut tx, link, &rows).await?;
    sweep.progress(&mut tx, counts, now).await?;
    tx.commit().await?;
    ctx.outbox_filled(sweep.lease.org, link);
    Ok(())
}
