//! Reads the whole fleet of a link, page by page.
//!
//! Each page is one short transaction: its devices, their transitions, the cursor, the outbox. Nothing is open
//! across HTTP. Whoever holds the job next goes on from the cursor; whoever lost it writes nothing.

use std::future::Future;
use std::time::Duration;

use domain::link::LinkState;
use domain::snapshot::OrgSettings;
use microsoft::{Graph, GraphError};
use roaring::RoaringBitmap;
use store::audit::{self, Actor};
use store::devices::{self, DeviceWrite};
use store::jobs::{self, ClaimedJob, Completion, GiveBack, Lease, LeaseError};
use store::links::{self, LinkRow};
use store::runs::{self, Counts};
use store::{OrgTx, StoreError, orgs};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::cursor::{self, Cursor, Phase};
use super::{confirm, failure, write};
use crate::Context;
use crate::reconcile::{self, Diff, Fetched};

/// A page must be written within its lease: fetching it stops this long before the end.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Why a sweep did not go through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("the budget of the tenant is spent for {} ms", .0.as_millis())]
    Budget(Duration),
    #[error("the process stops")]
    Shutdown,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Lease(LeaseError::Store(error))
    }
}

/// A sweep at work.
pub(crate) struct Sweep<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) lease: Lease,
    lease_until: OffsetDateTime,
    pub(crate) graph: Graph,
    cursor: Cursor,
    seen: RoaringBitmap,
    shutdown: &'a CancellationToken,
}

/// Works on a claimed sweep until it is done, fails, or has to stop; then gives the job back.
pub(crate) async fn run(ctx: &Context, job: ClaimedJob, shutdown: &CancellationToken) {
    let result = match work(ctx, &job, shutdown).await {
        Ok(()) => return,
        Err(Stop::Lease(LeaseError::Fenced)) => {
            tracing::info!("the job went to another worker, or the link is gone");
            return ctx.metrics.sweep("fenced");
        }
        Err(stop) => give_back(ctx, &job, stop).await,
    };
    match result {
        Ok(()) => {}
        Err(LeaseError::Fenced) => tracing::info!("the job is another worker's by now, or the link is gone"),
        // The lease runs out by itself, and the next holder goes on from the cursor.
        Err(error) => tracing::warn!(%error, "the job could not be given back"),
    }
}

async fn work(ctx: &Context, job: &ClaimedJob, shutdown: &CancellationToken) -> Result<(), Stop> {
    let now = ctx.clock.now();
    let mut tx = ctx.store.org(job.lease.org).await?;
    jobs::hold(&mut tx, &job.lease).await?;
    // `hold` found the job, so the link is there: its job goes with it.
    let link = links::get(&mut tx, job.lease.link).await?.ok_or(LeaseError::Fenced)?;
    let age_max = time::Duration::seconds(ctx.config.cursor_age_max_seconds.into());
    let resumed = Cursor::resume(job.cursor.clone(), job.seen.as_deref(), now, age_max);
    let goes_on = resumed.is_some();
    let (cursor, seen) =
        resumed.unwrap_or_else(|| (Cursor::begin(ctx.ids.uuid(now), now), RoaringBitmap::new()));
    let mut sweep = Sweep {
        ctx,
        lease: job.lease,
        lease_until: job.lease_until,
        graph: ctx.microsoft.graph(link.tid),
        cursor,
        seen,
        shutdown,
    };
    if !goes_on {
        runs::start(&mut tx, link.id, sweep.cursor.run, now).await?;
        sweep.save(&mut tx, now).await?;
    }
    tx.commit().await?;
    tracing::debug!(goes_on, pages = sweep.cursor.counts().pages, "sweeping");

    if sweep.cursor.phase == Phase::Pages {
        while sweep.page(link.id).await? {}
    }
    sweep.mark_missing(&link).await?;
    confirm::missing(&mut sweep, link.id).await?;
    sweep.finish(job, &link).await
}

impl Sweep<'_> {
    /// Waits for the budget, then for `request`, for as long as the lease lasts. Call with no transaction open.
    pub(crate) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, GraphError>>,
    ) -> Result<T, Stop> {
        if self.shutdown.is_cancelled() {
            return Err(Stop::Shutdown);
        }
        self.pay().await?;
        let left = Duration::try_from(self.lease_until - self.ctx.clock.now()).unwrap_or_default();
        let left = left.saturating_sub(LEASE_MARGIN);
        // Giving up a request leaves nothing behind: no transaction is open.
        let answer = tokio::select! {
            answer = tokio::time::timeout(left, request) => answer,
            () = self.shutdown.cancelled() => return Err(Stop::Shutdown),
        };
        match answer {
            Ok(Err(error @ GraphError::Forbidden { .. })) => {
                // A token that was minted before consent propagated lacks its roles until it expires.
                self.graph.forget_token().await;
                Err(error.into())
            }
            Ok(answer) => Ok(answer?),
            Err(_) => {
                let detail = format!("no answer within the {} s that were left of the lease", left.as_secs());
                Err(GraphError::Unavailable { retry_after: None, detail }.into())
            }
        }
    }

    /// Takes one request from the tenant's budget, which all processes share. While Redis is away there is no such
    /// count; one link has one sweep, which alone stays far below the limit.
    async fn pay(&self) -> Result<(), Stop> {
        let config = &self.ctx.config;
        let name = format!("graph:{}", self.graph.tid());
        let window = Duration::from_secs(config.budget_window_seconds.into());
        loop {
            match self.ctx.cache.take_budget(&name, 1, config.budget_requests, window).await {
                Ok(cache::Budget::Granted) => return Ok(()),
                Ok(cache::Budget::RetryAfter(wait)) if wait <= Duration::from_secs(1) => {
                    tokio::time::sleep(wait).await;
                }
                Ok(cache::Budget::RetryAfter(wait)) => return Err(Stop::Budget(wait)),
                Err(error) => {
                    tracing::debug!(%error, "the budget cannot be counted");
                    return Ok(());
                }
            }
        }
    }

    /// Reads and writes one page. False after the last.
    async fn page(&mut self, link: domain::LinkId) -> Result<bool, Stop> {
        let asked_at = self.ctx.clock.now();
        let size = self.ctx.config.page_size_max;
        let page = self.ask(self.graph.devices_page(self.cursor.next.as_ref(), size)).await?;
        let fetched: Vec<Fetched> =
            page.devices.into_iter().map(|device| Fetched::new(device.into_facts(link, asked_at))).collect();
        let ids: Vec<_> = fetched.iter().map(|one| one.facts.id).collect();

        let now = self.ctx.clock.now();
        let mut tx = self.ctx.store.org(self.lease.org).await?;
        jobs::hold(&mut tx, &self.lease).await?;
        let stored = devices::stored(&mut tx, link, &ids).await?;
        let diff = reconcile::page(fetched, &stored);
        let known = diff.known.iter().filter(|ordinal| self.seen.insert(**ordinal)).count();
        let counts = Counts {
            pages: 1,
            seen: count(known + diff.new.len()),
            changed: count(diff.new.len() + diff.changed.len()),
            transitions: count(diff.transitions.len()),
        };
        let tally =
            [("new", diff.new.len()), ("changed", diff.changed.len()), ("unchanged", diff.unchanged.len())];
        self.write(&mut tx, link, diff, now).await?;
        self.cursor.next = page.next;
        if self.cursor.next.is_none() {
            self.cursor.phase = Phase::Missing;
        }
        self.cursor.add(counts);
        runs::progress(&mut tx, self.cursor.run, self.cursor.counts()).await?;
        self.save(&mut tx, now).await?;
        tx.commit().await?;

        self.ctx.metrics.page(&tally);
        self.ctx.outbox_filled(self.lease.org, link);
        Ok(self.cursor.phase == Phase::Pages)
    }

    /// Writes what a page came to; unchanged devices are not touched.
    async fn write(
        &mut self,
        tx: &mut OrgTx,
        link: domain::LinkId,
        diff: Diff,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        write::compliance_changes(self.ctx, tx, link, &diff.transitions, now).await?;
        let touched = diff.touched().collect();
        write::announce(self.ctx, tx, link, touched, diff.keys.into_iter().collect(), now).await?;
        let mut rows = Vec::with_capacity(diff.new.len() + diff.changed.len());
        if !diff.new.is_empty() {
            let first = devices::take_ordinals(tx, link, count(diff.new.len())).await?;
            for (ordinal, Fetched { facts, hash }) in (first..).zip(diff.new) {
                self.seen.insert(ordinal);
                rows.push(DeviceWrite { facts, ordinal, content_hash: hash });
            }
        }
        rows.extend(diff.changed.into_iter().map(|changed| {
            let Fetched { facts, hash } = changed.fetched;
            DeviceWrite { facts, ordinal: changed.ordinal, content_hash: hash }
        }));
        devices::upsert(tx, link, &rows).await?;
        Ok(())
    }

    /// Stores the cursor and renews the lease.
    pub(crate) async fn save(&mut self, tx: &mut OrgTx, now: OffsetDateTime) -> Result<(), LeaseError> {
        self.cursor.saved_at = now;
        self.lease_until = now + self.ctx.config.lease();
        let seen = cursor::serialize(&mut self.seen)?;
        jobs::save_cursor(tx, &self.lease, &self.cursor.to_value()?, Some(&seen), self.lease_until).await
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
            self.save(&mut tx, now).await?;
            tx.commit().await?;
            if !missing.is_empty() {
                tracing::info!(missing = missing.len(), "devices that no page showed");
            }
        }
        Ok(())
    }

    async fn finish(&mut self, job: &ClaimedJob, link: &LinkRow) -> Result<(), Stop> {
        let ctx = self.ctx;
        let now = ctx.clock.now();
        let mut tx = ctx.store.org(self.lease.org).await?;
        jobs::hold(&mut tx, &self.lease).await?;
        let org = orgs::get(&mut tx).await?.ok_or(LeaseError::Fenced)?;
        let (settings, began_at) = (&org.settings, self.cursor.started_at);
        time_passed(ctx, &mut tx, job, link, settings, now).await?;
        links::confirmed(&mut tx, link.id, began_at).await?;
        set_state(ctx, &mut tx, link, LinkState::Connected, None, now).await?;
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

        let interval = Duration::from_secs(ctx.config.sweep_interval_seconds.into());
        let interval = failure::jitter(interval, ctx.config.sweep_jitter_percent, ctx.random(now));
        let done =
            Completion { began_at, now, next_due_at: now + interval, redecided: redecide, cursor: None };
        jobs::complete(&mut tx, &self.lease, &done).await?;
        tx.commit().await?;

        let Counts { pages, seen, changed, transitions } = self.cursor.counts();
        let seconds = (now - began_at).as_seconds_f64();
        tracing::info!(pages, seen, changed, transitions, seconds, redecide, "swept");
        ctx.metrics.sweep("done");
        ctx.outbox_filled(self.lease.org, link.id);
        Ok(())
    }
}

/// Gives the job back after a failure, and tells how the link fares.
async fn give_back(ctx: &Context, job: &ClaimedJob, stop: Stop) -> Result<(), LeaseError> {
    let now = ctx.clock.now();
    let random = ctx.random(now);
    let mut how =
        GiveBack { next_due_at: now, not_before: None, failed: false, keep_cursor: true, checked_at: None };
    let mut tx = ctx.store.org(job.lease.org).await?;
    jobs::hold(&mut tx, &job.lease).await?;
    let link = links::get(&mut tx, job.lease.link).await?.ok_or(LeaseError::Fenced)?;
    let result = match &stop {
        Stop::Shutdown => "stopped",
        Stop::Budget(wait) => {
            how.next_due_at = now + failure::jitter(*wait, 10, random);
            "budget"
        }
        Stop::Lease(error) => {
            tracing::warn!(%error, "a sweep could not be written");
            how.failed = true;
            how.next_due_at = now + failure::jitter(failure::backoff(job.fails, &ctx.config), 20, random);
            "store"
        }
        Stop::Graph(error) => {
            let verdict = failure::judge(error, job.fails, &ctx.config);
            tracing::warn!(%error, wait_seconds = verdict.wait.as_secs(), fails = job.fails, "a sweep failed");
            how.failed = true;
            how.keep_cursor = verdict.keep_cursor;
            how.next_due_at = now + verdict.wait + failure::jitter(verdict.wait / 10, 50, random);
            how.not_before = verdict.asked_to_wait.then_some(how.next_due_at);
            if let Some(state) = verdict.state {
                set_state(ctx, &mut tx, &link, state, Some(&error.to_string()), now).await?;
            }
            "failed"
        }
    };
    if how.failed {
        let org = orgs::get(&mut tx).await?.ok_or(LeaseError::Fenced)?;
        if time_passed(ctx, &mut tx, job, &link, &org.settings, now).await? {
            orgs::changed(&mut tx, &ctx.ids, now, true).await?;
        }
        how.checked_at = Some(now);
    }
    // A sweep that has not got past its first page has nothing to go on from, and its failure should be seen.
    let run = runs::recent(&mut tx, link.id, 1).await?.into_iter().find(|run| run.finished_at.is_none());
    if let Some(run) = run.filter(|run| how.failed && (!how.keep_cursor || run.counts.pages == 0)) {
        how.keep_cursor = false;
        runs::finish(&mut tx, run.id, now, Some(&stop.to_string())).await?;
    }
    jobs::give_back(&mut tx, &job.lease, &how).await?;
    tx.commit().await?;
    ctx.metrics.sweep(result);
    ctx.outbox_filled(job.lease.org, link.id);
    Ok(())
}

/// Acts on what time alone changed since it was last looked at: grace that ended, missing devices that went stale.
/// True where the whole link went stale, so that every session must be decided again.
async fn time_passed(
    ctx: &Context,
    tx: &mut OrgTx,
    job: &ClaimedJob,
    link: &LinkRow,
    settings: &OrgSettings,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let from = job.checked_at.unwrap_or(link.linked_at);
    let stale_after = time::Duration::seconds(settings.stale_after_seconds.into());
    let touched = devices::changed_by_time(tx, link.id, from, now, stale_after).await?;
    write::announce_touched(ctx, tx, link.id, &touched, now).await?;
    let stale_at = link.confirmed_at.map(|confirmed| confirmed + stale_after);
    Ok(stale_at.is_some_and(|at| at >= from && at < now))
}

/// Records how the link fares; a change is a line of the audit log.
async fn set_state(
    ctx: &Context,
    tx: &mut OrgTx,
    link: &LinkRow,
    state: LinkState,
    detail: Option<&str>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    if links::set_state(tx, link.id, state, detail, now).await? {
        let said = serde_json::json!({ "from": link.state, "to": state, "detail": detail });
        audit::write(tx, &ctx.ids, now, &Actor::system(), "link.state", &link.tenant_name, said).await?;
    }
    Ok(())
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
