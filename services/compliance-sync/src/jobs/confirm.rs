//! Asks Microsoft about the devices that sweeps no longer show: deletion is believed only when a single GET says 404.

use domain::DeviceId;
use futures::{StreamExt, stream};
use microsoft::{GraphDevice, GraphError};
use store::jobs::JobKind;
use store::links::LinkRow;
use store::runs::Counts;
use store::{devices, jobs};

use super::stop::Stop;
use super::sweep::Sweep;
use super::write::Writing;
use crate::reconcile::{self, Fetched};

/// Looks at the longest missing devices of the link, a bounded number of them. Where Microsoft refuses in the
/// middle, the rest waits for the next sweep: this one has seen all pages, and that is what it is for.
pub(crate) async fn missing(sweep: &mut Sweep<'_>, link: &LinkRow) -> Result<(), Stop> {
    let (limit, abreast) = {
        let config = &sweep.ctx.config;
        (config.confirm_max_per_sweep, usize::from(config.confirm_concurrency))
    };
    let mut tx = sweep.ctx.store.org(sweep.lease.org).await?;
    let ids = devices::missing(&mut tx, link.id, limit.into()).await?;
    tx.commit().await?;
    for some in ids.chunks(50) {
        let asked_at = sweep.ctx.clock.now();
        let asking = &*sweep;
        let answers: Vec<(DeviceId, Result<Option<GraphDevice>, Stop>)> = stream::iter(some.iter().copied())
            .map(|id| async move { (id, asking.asking.ask(1, asking.asking.graph.device(id)).await) })
            .buffer_unordered(abreast)
            .collect()
            .await;
        let (mut gone, mut found, mut refused) = (Vec::new(), Vec::new(), None);
        for (id, answer) in answers {
            match answer {
                Ok(None) => gone.push(id),
                Ok(Some(device)) => found.push(Fetched::of(device, link.id, asked_at)),
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
            Some(stop @ (Stop::Graph(_) | Stop::Budget(_) | Stop::Turn)) => {
                tracing::info!(%stop, "the other missing devices wait for the next sweep");
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn write_answers(
    sweep: &mut Sweep<'_>,
    link: &LinkRow,
    gone: &[DeviceId],
    found: Vec<Fetched>,
) -> Result<(), Stop> {
    let ctx = sweep.ctx;
    let now = ctx.clock.now();
    let mut tx = ctx.store.org(sweep.lease.org).await?;
    jobs::hold(&mut tx, &sweep.lease).await?;

    let writing = Writing { ctx, link, kind: JobKind::Sweep, now };
    let deleted = devices::delete_missing(&mut tx, link.id, gone).await?;
    writing.gone(&mut tx, &deleted).await?;

    let ids: Vec<DeviceId> = found.iter().map(|one| one.facts.id).collect();
    let stored = devices::stored(&mut tx, link.id, &ids).await?;
    let mut diff = reconcile::page(found, &stored, link.confirmed_at);
    // One that is not stored any more was deleted meanwhile; the next sweep finds it, if it is there.
    diff.new.clear();
    diff.transitions.retain(|change| change.from.is_some());
    let written = writing.diff(&mut tx, diff, true).await?;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let counts = Counts {
        pages: 0,
        seen: 0,
        changed: count(written.devices + deleted.len()),
        transitions: count(written.transitions + deleted.len()),
    };
    sweep.progress(&mut tx, counts, now).await?;
    tx.commit().await?;
    ctx.outbox_filled(sweep.lease.org, link.id);
    Ok(())
}
