//! Asks Microsoft about the devices that sweeps no longer show: deletion is believed only when a single GET says 404.
//!
//! The end of a sweep asks about some, first about those whose clients are on the network. Where there are more, the
//! job goes on with them, a turn at a time, until the next sweep is due: the fleet is not read again for that.

use std::collections::HashSet;
use std::time::Duration;

use domain::DeviceId;
use futures::{StreamExt, stream};
use microsoft::{GraphDevice, GraphError};
use store::devices::MissingPlace;
use store::jobs::{ClaimedJob, Completion, JobKind, LeaseError};
use store::links::{self, LinkRow};
use store::runs::Counts;
use store::{OrgTx, StoreError, devices, jobs};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::ask::Asking;
use super::cursor::Left;
use super::stop::{self, Stop};
use super::sweep::Sweep;
use super::write::Writing;
use crate::Context;
use crate::reconcile::{self, Fetched};

/// Devices whose answers are written together.
const AT_ONCE: usize = 50;

/// What the end of a sweep did not get to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Remaining {
    /// Those that were asked about, the longest missing first, end here.
    pub(crate) after: Option<MissingPlace>,
    /// How long to wait before the next is asked about.
    pub(crate) wait: Duration,
}

/// Looks at missing devices of the link, a bounded number of them. Returns where to go on; `None`: nowhere. Where
/// Microsoft refuses in the middle, the rest waits for the next sweep: this one has seen all pages, and that is what
/// it is for.
pub(crate) async fn missing(sweep: &mut Sweep<'_>, link: &LinkRow) -> Result<Option<Remaining>, Stop> {
    let limit = usize::from(sweep.ctx.config.confirm_max_per_sweep);
    if limit == 0 {
        return Ok(None);
    }
    let most = i64::from(sweep.ctx.config.confirm_max_per_sweep);
    let mut tx = sweep.ctx.store.org(sweep.lease.org).await?;
    let urgent = devices::missing_in_session(&mut tx, link.id, most).await?;
    let longest = devices::missing(&mut tx, link.id, None, most).await?;
    tx.commit().await?;
    let more = longest.len() == limit || urgent.len() == limit;
    let mut seen = HashSet::new();
    let urgent = urgent.into_iter().map(|id| (id, None));
    let all: Vec<_> = urgent
        .chain(longest.into_iter().map(|place| (place.id, Some(place))))
        .filter(|(id, _)| seen.insert(*id))
        .take(limit)
        .collect();
    let mut left = more.then(Remaining::default);
    for some in all.chunks(AT_ONCE) {
        if sweep.turn_is_over() {
            return Ok(Some(left.unwrap_or_default()));
        }
        let ids: Vec<DeviceId> = some.iter().map(|(id, _)| *id).collect();
        let asked = Asked::about(sweep.ctx, &sweep.asking, link, &ids).await;
        let ctx = sweep.ctx;
        let now = ctx.clock.now();
        let mut tx = ctx.store.org(sweep.lease.org).await?;
        jobs::hold(&mut tx, &sweep.lease).await?;
        let counts = asked.write(ctx, &mut tx, link, now).await?;
        sweep.progress(&mut tx, counts, now).await?;
        tx.commit().await?;
        ctx.outbox_filled(sweep.lease.org, link.id);
        match asked.refused {
            None => {}
            Some(stop @ (Stop::Shutdown | Stop::Lease(_))) => return Err(stop),
            Some(Stop::Budget(wait)) => return Ok(Some(Remaining { wait, ..left.unwrap_or_default() })),
            Some(stop @ (Stop::Graph(_) | Stop::Turn)) => {
                tracing::info!(%stop, "the other missing devices wait for the next sweep");
                return Ok(None);
            }
        }
        if let (Some(left), Some(place)) =
            (&mut left, some.iter().filter_map(|(_, place)| *place).next_back())
        {
            left.after = Some(place);
        }
    }
    Ok(left)
}

/// Goes on with what a sweep left over, for a turn; then the job is given back.
pub(crate) async fn go_on(
    ctx: &Context,
    job: &ClaimedJob,
    link: &LinkRow,
    mut left: Left,
    shutdown: &CancellationToken,
) -> Result<(), Stop> {
    let began_at = ctx.clock.now();
    let turn_until = began_at + time::Duration::seconds(ctx.config.sweep_slice_seconds.into());
    let mut asking = ctx.asking(job, link, shutdown).await?;
    let limit = i64::try_from(AT_ONCE).unwrap_or(50);
    loop {
        let mut tx = ctx.store.org(job.lease.org).await?;
        let places = devices::missing(&mut tx, link.id, left.after(), limit).await?;
        // What the sweep found out is as old as that; a device that came back since is not missing any more.
        let link = links::get(&mut tx, link.id).await?.ok_or(LeaseError::Fenced)?;
        tx.commit().await?;
        let Some(last) = places.last().copied() else { break };
        if ctx.clock.now() >= turn_until {
            return Err(Stop::Turn);
        }
        let ids: Vec<DeviceId> = places.iter().map(|place| place.id).collect();
        let asked = Asked::about(ctx, &asking, &link, &ids).await;
        let now = ctx.clock.now();
        let mut tx = ctx.store.org(job.lease.org).await?;
        jobs::hold(&mut tx, &job.lease).await?;
        asked.write(ctx, &mut tx, &link, now).await?;
        // Whoever was not answered is asked about again after the next sweep, and after all others.
        if !matches!(asked.refused, Some(Stop::Budget(_) | Stop::Shutdown)) {
            left.go_on(Some(last));
        }
        asking.lease_until = now + ctx.config.lease();
        jobs::save_cursor(&mut tx, &job.lease, &left.to_value()?, None, asking.lease_until).await?;
        tx.commit().await?;
        ctx.outbox_filled(job.lease.org, link.id);
        match asked.refused {
            None => {}
            Some(Stop::Graph(error)) if !matches!(error, GraphError::Throttled { .. }) => {
                tracing::info!(%error, "the other missing devices wait for the next sweep");
                break;
            }
            Some(stop) => return Err(stop),
        }
    }
    let now = ctx.clock.now();
    let mut tx = ctx.store.org(job.lease.org).await?;
    jobs::hold(&mut tx, &job.lease).await?;
    let Left { began_at, sweep_due_at, .. } = left;
    let done = Completion { began_at, now, next_due_at: sweep_due_at, redecided: false, cursor: None };
    jobs::complete(&mut tx, &job.lease, &done).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether the job is to go on with what a sweep left over, rather than to begin the next one.
pub(crate) async fn is_left(
    tx: &mut OrgTx,
    job: &ClaimedJob,
    link: &LinkRow,
    now: OffsetDateTime,
) -> Result<Option<Left>, StoreError> {
    let Some(left) = Left::resume(job.cursor.as_ref(), now) else { return Ok(None) };
    if stop::is_blocked(link.state) {
        return Ok(None);
    }
    let status = jobs::status(tx, link.id, JobKind::Sweep).await?;
    let requested = status.and_then(|status| status.requested_at).is_some_and(|at| at > left.began_at);
    Ok((!requested).then_some(left))
}

/// What Microsoft said of some devices.
struct Asked {
    gone: Vec<DeviceId>,
    found: Vec<Fetched>,
    /// Why some of them were not answered.
    refused: Option<Stop>,
}

impl Asked {
    /// Asks for each alone, a few at a time.
    async fn about(ctx: &Context, asking: &Asking<'_>, link: &LinkRow, ids: &[DeviceId]) -> Self {
        let asked_at = ctx.clock.now();
        let answers: Vec<(DeviceId, Result<Option<GraphDevice>, Stop>)> = stream::iter(ids.iter().copied())
            .map(|id| async move { (id, asking.ask(1, asking.graph.device(id)).await) })
            .buffer_unordered(usize::from(ctx.config.confirm_concurrency))
            .collect()
            .await;
        let mut asked = Self { gone: Vec::new(), found: Vec::new(), refused: None };
        for (id, answer) in answers {
            match answer {
                Ok(None) => asked.gone.push(id),
                Ok(Some(device)) => asked.found.push(Fetched::of(device, link.id, asked_at)),
                // One odd record must not keep the others from being asked about, now and in every sweep to come.
                Err(Stop::Graph(error @ (GraphError::BadRequest { .. } | GraphError::Protocol { .. }))) => {
                    tracing::warn!(device = %id, %error, "a missing device cannot be asked about");
                }
                Err(stop) => asked.refused = Some(stop),
            }
        }
        asked
    }

    /// Writes it, in a transaction that holds the job.
    async fn write(
        &self,
        ctx: &Context,
        tx: &mut OrgTx,
        link: &LinkRow,
        now: OffsetDateTime,
    ) -> Result<Counts, StoreError> {
        let writing = Writing { ctx, link, kind: JobKind::Sweep, now };
        let deleted = devices::delete_missing(tx, link.id, &self.gone).await?;
        writing.gone(tx, &deleted).await?;

        let ids: Vec<DeviceId> = self.found.iter().map(|one| one.facts.id).collect();
        let stored = devices::stored(tx, link.id, &ids).await?;
        let mut diff = reconcile::page(self.found.clone(), &stored, link.confirmed_at);
        // One that is not stored any more was deleted meanwhile; the next sweep finds it, if it is there.
        diff.new.clear();
        diff.transitions.retain(|change| change.from.is_some());
        let written = writing.diff(tx, diff, true).await?;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Counts {
            pages: 0,
            seen: 0,
            changed: count(written.devices + deleted.len()),
            transitions: count(written.transitions + deleted.len()),
        })
    }
}
