//! Asks Entra ID which devices changed since the last time: a request or two for a whole tenant.
//!
//! What changed is wished for as looks, by Entra device id; Intune alone says what it became. Items that repeat or
//! come again wish for the same look. What was removed is named by an id that nobody here knows, so that a sweep must
//! find out. A tenant that has not granted `Device.Read.All` has no delta, and no harm done:
//! its sweeps and looks go on.

use std::time::Duration;

use domain::resolver::LookupKey;
use microsoft::{DeltaItem, DeltaLink, DeltaNext, DeltaStart, GraphError};
use serde::{Deserialize, Serialize};
use store::jobs::{self, ClaimedJob, Completion, JobKind, LeaseError};
use store::links::{self, LinkRow};
use store::looks::{self, WishReason};
use store::runs::{self, SyncRun};
use store::{StoreError, devices};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ask::Asking;
use super::stop::{self, Stop};
use super::{failure, look};
use crate::Context;
use crate::config::SyncConfig;

/// What the page of a link says where the permission is missing.
const FORBIDDEN: &str = "The tenant has not granted Device.Read.All, so Entra ID cannot tell which devices changed. \
The fleet is swept more often instead; consent given anew brings it back.";
/// The same where there is no such thing.
const WITHOUT_DELTA: &str = "Microsoft Graph does not tell which of this tenant's devices changed. The fleet is \
swept more often instead, and it is asked again now and then.";

/// Where the next question goes on. Whatever cannot be read starts over.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cursor {
    link: DeltaLink,
    /// Of the round at hand, where there is one.
    round: Option<Round>,
}

/// A round whose pages are being read.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Round {
    #[serde(with = "time::serde::rfc3339")]
    began_at: OffsetDateTime,
    /// It only finds out where to begin: what it tells is no news.
    initial: bool,
    /// Devices that were wished for.
    wished: u32,
}

/// Works on a claimed delta, then gives it back.
pub(crate) async fn run(ctx: &Context, job: ClaimedJob, shutdown: &CancellationToken) {
    let result = work(ctx, &job, shutdown).await;
    stop::settle(ctx, &job, result).await;
}

async fn work(ctx: &Context, job: &ClaimedJob, shutdown: &CancellationToken) -> Result<(), Stop> {
    let now = ctx.clock.now();
    let mut tx = ctx.store.org(job.lease.org).await?;
    jobs::hold(&mut tx, &job.lease).await?;
    let link = links::get(&mut tx, job.lease.link).await?.ok_or(LeaseError::Fenced)?;
    if stop::is_blocked(link.state) {
        return look::wait_for_the_link(ctx, tx, job, now).await;
    }
    tx.commit().await?;
    let mut delta = Delta {
        ctx,
        job,
        asking: ctx.asking(job, &link, shutdown).await?,
        turn_until: now + time::Duration::seconds(ctx.config.sweep_slice_seconds.into()),
        link,
    };
    let cursor = job.cursor.clone().and_then(|cursor| serde_json::from_value::<Cursor>(cursor).ok());
    match delta.rounds(cursor, now).await {
        Err(Stop::Graph(GraphError::DirectoryForbidden { detail })) => {
            tracing::info!(detail, "the tenant's directory cannot be asked");
            delta.go_without(FORBIDDEN).await
        }
        Err(Stop::Graph(error @ GraphError::DirectoryWithoutDelta { .. })) => {
            tracing::info!(%error, "sweeps and looks see what the directory does not tell");
            delta.go_without(WITHOUT_DELTA).await
        }
        // What changed meanwhile cannot be told any more: a sweep sees it, and delta begins anew.
        Err(Stop::Graph(error @ GraphError::DeltaExpired)) => {
            tracing::info!(%error, "a sweep sees what the directory no longer tells");
            delta.expired().await
        }
        other => other,
    }
}

struct Delta<'a> {
    ctx: &'a Context,
    job: &'a ClaimedJob,
    asking: Asking<'a>,
    /// When this turn ends.
    turn_until: OffsetDateTime,
    link: LinkRow,
}

impl Delta<'_> {
    /// Reads pages until the round is over.
    async fn rounds(&mut self, cursor: Option<Cursor>, now: OffsetDateTime) -> Result<(), Stop> {
        let began = |initial| Round { began_at: now, initial, wished: 0 };
        let (mut link, mut round) = match cursor {
            Some(Cursor { link, round }) => (Some(link), round.unwrap_or_else(|| began(false))),
            None => (None, began(true)),
        };
        loop {
            if self.ctx.clock.now() >= self.turn_until {
                return Err(Stop::Turn);
            }
            let request = self.asking.graph.entra_devices_delta(DeltaStart::Latest, link.as_ref());
            let page = match self.asking.ask(1, request).await {
                Err(Stop::Graph(GraphError::BadRequest { .. })) if link.is_none() => {
                    // A directory that does not know `latest` tells everything once.
                    let whole = self.asking.graph.entra_devices_delta(DeltaStart::Whole, None);
                    self.asking.ask(1, whole).await?
                }
                page => page?,
            };
            match self.write(&page.items, page.next, &mut round).await? {
                Some(next) => link = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Writes what a page told. Returns the next page of the round.
    async fn write(
        &mut self,
        items: &[DeltaItem],
        next: DeltaNext,
        round: &mut Round,
    ) -> Result<Option<DeltaLink>, Stop> {
        let (ctx, link) = (self.ctx, self.link.id);
        let now = ctx.clock.now();
        let mut tx = ctx.store.org(self.job.lease.org).await?;
        jobs::hold(&mut tx, &self.job.lease).await?;
        let mut woken = false;
        if !round.initial {
            let changed = changed(items);
            let told: Vec<Uuid> = changed.iter().map(|(id, _)| *id).collect();
            let known = devices::with_entra_ids(&mut tx, link, &told).await?;
            let worth = changed.into_iter().filter(|(id, managed)| *managed || known.contains_key(id));
            let keys: Vec<LookupKey> = worth.map(|(id, _)| LookupKey::EntraId(id)).collect();
            let before = round.wished;
            round.wished = before.saturating_add(u32::try_from(keys.len()).unwrap_or(u32::MAX));
            if round.wished > ctx.config.delta_changes_max {
                // A sweep costs a request for a thousand devices, and a look one for each.
                woken = jobs::request_sweep(&mut tx, link, now).await?;
            } else if !keys.is_empty() {
                looks::wish_all(&mut tx, link, &keys, WishReason::Entra, now).await?;
                woken = jobs::wake(&mut tx, link, JobKind::Look, now).await?;
            }
            if items.iter().any(|item| matches!(item, DeltaItem::Removed { .. })) {
                let last = runs::recent(&mut tx, link, 1).await?;
                let due = sweep_after_removal(last.first(), &ctx.config, now);
                woken |= jobs::wake(&mut tx, link, JobKind::Sweep, due).await?;
            }
            ctx.metrics.told(items.len());
        }
        let next = match next {
            DeltaNext::Page(next) => {
                self.asking.lease_until = now + ctx.config.lease();
                let cursor = store_cursor(&Cursor { link: next.clone(), round: Some(*round) })?;
                jobs::save_cursor(&mut tx, &self.job.lease, &cursor, None, self.asking.lease_until).await?;
                Some(next)
            }
            DeltaNext::Round(next) => {
                let interval = Duration::from_secs(ctx.config.delta_interval_seconds.into());
                let wait = failure::jitter(interval, ctx.config.sweep_jitter_percent, ctx.random(now));
                let done = Completion {
                    began_at: round.began_at,
                    now,
                    next_due_at: now + wait,
                    redecided: false,
                    cursor: Some(store_cursor(&Cursor { link: next, round: None })?),
                };
                jobs::set_note(&mut tx, link, JobKind::Delta, None).await?;
                jobs::complete(&mut tx, &self.job.lease, &done).await?;
                if round.initial {
                    // What changed since a sweep read its page and before now is told by nobody.
                    woken = jobs::request_sweep(&mut tx, link, now).await?;
                }
                None
            }
        };
        tx.commit().await?;
        if woken {
            ctx.work_woken();
        }
        Ok(next)
    }

    /// Says why where people look, and tries again when an admin may have acted.
    async fn go_without(&self, note: &str) -> Result<(), Stop> {
        let now = self.ctx.clock.now();
        let interval = Duration::from_secs(self.ctx.config.delta_forbidden_interval_seconds.into());
        let wait = failure::jitter(interval, self.ctx.config.sweep_jitter_percent, self.ctx.random(now));
        let mut tx = self.ctx.store.org(self.job.lease.org).await?;
        jobs::hold(&mut tx, &self.job.lease).await?;
        jobs::set_note(&mut tx, self.link.id, JobKind::Delta, Some(note)).await?;
        let done = Completion { began_at: now, now, next_due_at: now + wait, redecided: false, cursor: None };
        jobs::complete(&mut tx, &self.job.lease, &done).await?;
        // Whoever does not tell what changed is asked for everything, more often.
        let soon = self.ctx.config.sweep_without_delta(Duration::ZERO);
        let soon = failure::jitter(soon, self.ctx.config.sweep_jitter_percent, self.ctx.random(now));
        jobs::wake(&mut tx, self.link.id, JobKind::Sweep, now + soon).await?;
        tx.commit().await?;
        self.ctx.outbox_filled(self.job.lease.org, self.link.id);
        Ok(())
    }

    /// Begins anew at once, and has the fleet swept.
    async fn expired(&self) -> Result<(), Stop> {
        let now = self.ctx.clock.now();
        let mut tx = self.ctx.store.org(self.job.lease.org).await?;
        jobs::hold(&mut tx, &self.job.lease).await?;
        // One that runs has read pages before the gap: it is followed by another.
        jobs::request_sweep(&mut tx, self.link.id, now).await?;
        // A directory that expires every token at once is not asked in a circle.
        let wait = if self.job.cursor.is_some() {
            Duration::from_secs(1)
        } else {
            failure::backoff(3, &self.ctx.config)
        };
        let done = Completion { began_at: now, now, next_due_at: now + wait, redecided: false, cursor: None };
        jobs::complete(&mut tx, &self.job.lease, &done).await?;
        tx.commit().await?;
        self.ctx.work_woken();
        Ok(())
    }
}

/// When the fleet is to be swept because something was removed from the directory: soon, and not so soon after the
/// last sweep, or the one at work, that sweeping is all there is; a sweep that takes long is left in peace for longer.
fn sweep_after_removal(last: Option<&SyncRun>, config: &SyncConfig, now: OffsetDateTime) -> OffsetDateTime {
    let Some(last) = last else { return now };
    let ended_at = last.finished_at.unwrap_or(now);
    let took = Duration::try_from(ended_at - last.started_at).unwrap_or_default();
    (ended_at + config.sweep_without_delta(took * 3)).max(now)
}

/// Entra device ids that changed, once each, and whether the directory says that they are managed. What was removed
/// there is named by another id.
fn changed(items: &[DeltaItem]) -> Vec<(Uuid, bool)> {
    let mut changed: Vec<(Uuid, bool)> = items
        .iter()
        .filter_map(|item| match item {
            DeltaItem::Changed { device_id, is_managed, .. } => {
                Some(((*device_id)?, *is_managed != Some(false)))
            }
            DeltaItem::Removed { .. } => None,
        })
        .collect();
    // Of a device that is told twice, either word makes it worth a look.
    changed.sort_unstable_by_key(|(id, managed)| (*id, !managed));
    changed.dedup_by_key(|(id, _)| *id);
    changed
}

fn store_cursor(cursor: &Cursor) -> Result<serde_json::Value, StoreError> {
    serde_json::to_value(cursor).map_err(|error| StoreError::corrupt("sync_job.cursor", error))
}

#[cfg(test)]
mod tests {
    use microsoft::RemovedReason;
    use store::runs::Counts;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_removal_has_the_fleet_swept_soon_and_not_all_the_time() {
        let now = datetime!(2026-11-20 12:00 UTC);
        let config = SyncConfig::default();
        let wait = |began: i64, ended: Option<i64>| {
            let ago = |seconds| now - time::Duration::seconds(seconds);
            let run = SyncRun {
                id: Uuid::nil(),
                link: domain::LinkId(Uuid::nil()),
                started_at: ago(began),
                finished_at: ended.map(ago),
                counts: Counts::default(),
                error: None,
            };
            (sweep_after_removal(Some(&run), &config, now) - now).whole_seconds()
        };
        assert_eq!(sweep_after_removal(None, &config, now), now);
        for (began, ended, wanted) in [
            // A small fleet: once a minute.
            (101, Some(100), 0),
            (11, Some(10), 50),
            (1, None, 60),
            // One that takes 40 s: two minutes after its end.
            (50, Some(10), 110),
            (40, None, 120),
            // Never later than by itself.
            (2000, Some(10), 290),
        ] {
            assert_eq!(wait(began, ended), wanted, "{began} to {ended:?} seconds ago");
        }
    }

    #[test]
    fn repeats_count_once_and_removals_not_at_all() {
        let id = |n: u128| Uuid::from_u128(n);
        let item = |device: Option<u128>, is_managed| DeltaItem::Changed {
            object_id: id(99),
            device_id: device.map(id),
            is_compliant: Some(false),
            is_managed,
        };
        let items = [
            item(Some(2), Some(false)),
            item(Some(1), None),
            item(Some(2), Some(true)),
            item(None, Some(true)),
            DeltaItem::Removed { object_id: id(3), reason: RemovedReason::Deleted },
            item(Some(4), Some(false)),
        ];
        assert_eq!(changed(&items), [(id(1), true), (id(2), true), (id(4), false)]);
    }
}
