//! Reads the whole fleet of a link, page by page.
//!
//! Each page is one short transaction: its devices, their transitions, the cursor, the outbox. Nothing is open
//! across HTTP. Whoever holds the job next goes on from the cursor; whoever lost it writes nothing.

use std::time::Duration;

use domain::link::LinkState;
use roaring::RoaringBitmap;
use store::jobs::{self, ClaimedJob, Completion, JobKind, Lease, LeaseError};
use store::links::{self, LinkRow};
use store::runs::{self, Counts};
use store::{OrgTx, devices, orgs};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::ask::Asking;
use super::confirm::{self, Remaining};
use super::cursor::{self, Cursor, Left, Phase};
use super::failure;
use super::stop::{self, Stop};
use super::write::{self, Writing};
use crate::reconcile::{self, Fetched};
use crate::{Context, breaker};

/// A delta that failed so often in a row is not counted on.
const DELTA_FAILS: u32 = 3;

/// A sweep at work.
pub(crate) struct Sweep<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) lease: Lease,
    pub(crate) asking: Asking<'a>,
    /// When this turn ends.
    turn_until: OffsetDateTime,
    cursor: Cursor,
    seen: RoaringBitmap,
}

/// Works on a claimed sweep until it is done, fails, its turn is over, or it has to stop; then gives the job back.
pub(crate) async fn run(ctx: &Context, job: ClaimedJob, shutdown: &CancellationToken) {
    let result = work(ctx, &job, shutdown).await;
    stop::settle(ctx, &job, result).await;
}

async fn work(ctx: &Context, job: &ClaimedJob, shutdown: &CancellationToken) -> Result<(), Stop> {
    let now = ctx.clock.now();
    let mut tx = ctx.store.org(job.lease.org).await?;
    jobs::hold(&mut tx, &job.lease).await?;
    // `hold` found the job, so the link is there: its job goes with it.
    let link = links::get(&mut tx, job.lease.link).await?.ok_or(LeaseError::Fenced)?;
    if let Some(left) = confirm::is_left(&mut tx, job, &link, now).await? {
        tx.commit().await?;
        return Box::pin(confirm::go_on(ctx, job, &link, left, shutdown)).await;
    }
    let age_max = time::Duration::seconds(ctx.config.cursor_age_max_seconds.into());
    let resumed = Cursor::resume(job.cursor.clone(), job.seen.as_deref(), now, age_max);
    let goes_on = resumed.is_some();
    let (cursor, seen) =
        resumed.unwrap_or_else(|| (Cursor::begin(ctx.ids.uuid(now), now), RoaringBitmap::new()));
    let turn = time::Duration::seconds(ctx.config.sweep_slice_seconds.into());
    let mut sweep = Sweep {
        ctx,
        lease: job.lease,
        asking: ctx.asking(job, &link, shutdown).await?,
        turn_until: now + turn,
        cursor,
        seen,
    };
    if !goes_on {
        runs::start(&mut tx, link.id, sweep.cursor.run, now).await?;
        sweep.save(&mut tx, now).await?;
    }
    tx.commit().await?;
    tracing::debug!(goes_on, pages = sweep.cursor.counts().pages, "sweeping");

    if sweep.cursor.phase == Phase::Pages {
        while sweep.page(&link).await? {}
    }
    sweep.mark_missing(&link).await?;
    let remaining = confirm::missing(&mut sweep, &link).await?;
    sweep.finish(job, &link, remaining).await
}

impl Sweep<'_> {
    pub(crate) fn turn_is_over(&self) -> bool {
        self.ctx.clock.now() >= self.turn_until
    }

    /// Reads and writes one page. False after the last.
    async fn page(&mut self, link: &LinkRow) -> Result<bool, Stop> {
        let asked_at = self.ctx.clock.now();
        if asked_at >= self.turn_until {
            return Err(Stop::Turn);
        }
        let size = self.ctx.config.page_size_max;
        let request = self.asking.graph.devices_page(self.cursor.next.as_ref(), size);
        let page = self.asking.ask(1, request).await?;
        let fetched: Vec<Fetched> =
            page.devices.into_iter().map(|device| Fetched::of(device, link.id, asked_at)).collect();
        let ids: Vec<_> = fetched.iter().map(|one| one.facts.id).collect();

        let now = self.ctx.clock.now();
        let mut tx = self.ctx.store.org(self.lease.org).await?;
        jobs::hold(&mut tx, &self.lease).await?;
        let stored = devices::stored(&mut tx, link.id, &ids).await?;
        let diff = reconcile::page(fetched, &stored, link.confirmed_at);
        drop(stored);
        let known = diff.known.iter().filter(|ordinal| self.seen.insert(**ordinal)).count();
        let tally =
            [("new", diff.new.len()), ("changed", diff.changed.len()), ("unchanged", diff.unchanged.len())];
        let writing = Writing { ctx: self.ctx, link, kind: JobKind::Sweep, now };
        let written = writing.diff(&mut tx, diff, false).await?;
        self.seen.extend(&written.ordinals);
        let counts = Counts {
            pages: 1,
            seen: count(known + written.ordinals.len()),
            changed: count(written.devices),
            transitions: count(written.transitions),
        };
        self.cursor.next = page.next;
        if self.cursor.next.is_none() {
            self.cursor.phase = Phase::Missing;
        }
        self.cursor.add(counts);
        if counts.transitions > 0 {
            let (began_at, seen) = (self.cursor.started_at, self.cursor.counts().seen);
            breaker::after_page(self.ctx, &mut tx, link.id, began_at, seen, now).await?;
        }
        runs::progress(&mut tx, self.cursor.run, self.cursor.counts()).await?;
        self.save(&mut tx, now).await?;
        tx.commit().await?;

        self.ctx.metrics.page(&tally);
        self.ctx.outbox_filled(self.lease.org, link.id);
        Ok(self.cursor.phase == Phase::Pages)
    }

    /// Stores the cursor and renews the lease.
    pub(crate) async fn save(&mut self, tx: &mut OrgTx, now: OffsetDateTime) -> Result<(), LeaseError> {
        self.cursor.saved_at = now;
        self.asking.lease_until = now + self.ctx.config.lease();
        let seen = cursor::serialize(&mut self.seen)?;
        let cursor = self.cursor.to_value()?;
        jobs::save_cursor(tx, &self.lease, &cursor, Some(&seen), self.asking.lease_until).await
    }

    /// Counts work done outside of pages, and stores it.
    pub(crate) async fn progress(
        &mut self,
        tx: &mut OrgTx,
        more: Counts,
        now: OffsetDateTime,
    ) -> Result<(), LeaseError> {
        self.cursor.add(more);
        runs::progress(tx, self.cursor.run, self.cursor.counts()).await?;
        self.save(tx, now).await
    }

    /// Marks the devices that no page showed. Absence proves nothing yet: pages are no snapshot, so each is asked
    /// about before its deletion is believed.
    async fn mark_missing(&mut self, link: &LinkRow) -> Result<(), Stop> {
        let mut tx = self.ctx.store.org(self.lease.org).await?;
        let next = devices::next_ordinal(&mut tx, link.id).await?;
        tx.commit().await?;
        let mut unseen = RoaringBitmap::new();
        unseen.insert_range(0..next);
        unseen -= &self.seen;
        let unseen: Vec<i32> = unseen.into_iter().filter_map(|ordinal| i32::try_from(ordinal).ok()).collect();
        for some in unseen.chunks(5000) {
            let now = self.ctx.clock.now();
            let mut tx = self.ctx.store.org(self.lease.org).await?;
            jobs::hold(&mut tx, &self.lease).await?;
            let (since, until) = (self.cursor.started_at, link.confirmed_at);
            let missing = devices::mark_missing(&mut tx, link.id, some, since, until, now).await?;
            write::announce_touched(self.ctx, &mut tx, link.id, &missing, now).await?;
            if !missing.is_empty() {
                // They go stale by themselves from now on.
                jobs::wake(&mut tx, link.id, JobKind::Clock, now).await?;
            }
            self.save(&mut tx, now).await?;
            tx.commit().await?;
            if !missing.is_empty() {
                tracing::info!(missing = missing.len(), "devices that no page showed");
            }
        }
        Ok(())
    }

    /// The fleet was read whole. The job comes back for the next sweep, or for the missing devices that remain.
    async fn finish(
        &mut self,
        job: &ClaimedJob,
        link: &LinkRow,
        remaining: Option<Remaining>,
    ) -> Result<(), Stop> {
        let ctx = self.ctx;
        let now = ctx.clock.now();
        let mut tx = ctx.store.org(self.lease.org).await?;
        jobs::hold(&mut tx, &self.lease).await?;
        let org = orgs::get(&mut tx).await?.ok_or(LeaseError::Fenced)?;
        let (settings, began_at) = (&org.settings, self.cursor.started_at);
        breaker::at_end(ctx, &mut tx, link.id, began_at, now).await?;
        links::confirmed(&mut tx, link.id, began_at).await?;
        stop::set_state(ctx, &mut tx, link, LinkState::Connected, None, now).await?;
        runs::finish(&mut tx, self.cursor.run, now, None).await?;
        let kept = time::Duration::days(ctx.config.run_retention_days.into());
        runs::forget(&mut tx, link.id, now - kept).await?;

        // A first sweep turns "unlinked" into "not-enrolled" for everyone, and a sweep after an outage turns "stale"
        // back into what Intune says: no device changed, yet every answer may. The rest is thoroughness.
        let stale_after = time::Duration::seconds(settings.stale_after_seconds.into());
        let was_unknown = link.confirmed_at.is_none_or(|confirmed| now - confirmed > stale_after);
        let interval = time::Duration::seconds(ctx.config.redecide_interval_seconds.into());
        let redecide = was_unknown || job.redecided_at.is_none_or(|at| now - at >= interval);
        orgs::changed(&mut tx, &ctx.ids, now, redecide).await?;
        if self.cursor.counts().changed > 0 {
            jobs::wake(&mut tx, link.id, JobKind::Enrich, now).await?;
        }
        jobs::wake(&mut tx, link.id, JobKind::Clock, began_at + stale_after).await?;

        let delta = jobs::status(&mut tx, link.id, JobKind::Delta).await?;
        let interval = if delta.is_some_and(|delta| delta.note.is_some() || delta.fails >= DELTA_FAILS) {
            ctx.config.sweep_without_delta(Duration::try_from(now - began_at).unwrap_or_default())
        } else {
            Duration::from_secs(ctx.config.sweep_interval_seconds.into())
        };
        let interval = failure::jitter(interval, ctx.config.sweep_jitter_percent, ctx.random(now));
        let sweep_due_at = now + interval;
        let (next_due_at, cursor) = match remaining {
            Some(Remaining { after, wait }) => {
                let left = Left::new(began_at, sweep_due_at, after);
                (sweep_due_at.min(now + wait), Some(left.to_value()?))
            }
            None => (sweep_due_at, None),
        };
        let done = Completion { began_at, now, next_due_at, redecided: redecide, cursor };
        jobs::complete(&mut tx, &self.lease, &done).await?;
        tx.commit().await?;

        let Counts { pages, seen, changed, transitions } = self.cursor.counts();
        let seconds = (now - began_at).as_seconds_f64();
        tracing::info!(pages, seen, changed, transitions, seconds, redecide, "swept");
        ctx.outbox_filled(self.lease.org, link.id);
        Ok(())
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
