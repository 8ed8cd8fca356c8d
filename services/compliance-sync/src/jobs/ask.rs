//! Asks Microsoft for a job: within the budgets that all processes share, within the lease, and for no longer than
//! it is worth.

use std::future::Future;
use std::time::Duration;

use cache::{Bucket, Budget};
use microsoft::{Graph, GraphError};
use store::jobs::{ClaimedJob, JobClass, JobKind};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::stop::Stop;
use crate::Context;

/// A page must be written within its lease: fetching it stops this long before the end.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// A budget that is free again within this is waited for.
const BUDGET_PATIENCE: Duration = Duration::from_secs(1);

/// Whose budget a request takes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Intune,
    Directory,
}

impl Api {
    /// What a kind of work asks.
    pub(crate) const fn of(kind: JobKind) -> Self {
        match kind {
            JobKind::Delta => Self::Directory,
            JobKind::Sweep | JobKind::Look | JobKind::Enrich | JobKind::Clock => Self::Intune,
        }
    }

    /// The kinds of work that ask it: what makes one wait makes all of them wait.
    pub(crate) const fn kinds(self) -> &'static [JobKind] {
        match self {
            Self::Intune => &JobKind::INTUNE,
            Self::Directory => &[JobKind::Delta],
        }
    }
}

/// Asks for one job.
pub(crate) struct Asking<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) graph: Graph,
    pub(crate) kind: JobKind,
    /// Moves on with every renewal.
    pub(crate) lease_until: OffsetDateTime,
    budgets: [(String, Bucket); 2],
    shutdown: &'a CancellationToken,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(
        ctx: &'a Context,
        job: &ClaimedJob,
        microsoft: &microsoft::Microsoft,
        tid: uuid::Uuid,
        shutdown: &'a CancellationToken,
    ) -> Self {
        let (kind, config, app) = (job.lease.kind, &ctx.config, microsoft.client_id());
        let bucket = |capacity: u32, seconds: u32| {
            let others = match kind.class() {
                JobClass::Hot => 0,
                JobClass::Long => 100 - u32::from(config.low_priority_percent),
            };
            let kept = u32::try_from(u64::from(capacity) * u64::from(others) / 100).unwrap_or(0);
            Bucket { capacity, window: Duration::from_secs(seconds.into()), kept }
        };
        let tenant = match Api::of(kind) {
            Api::Intune => {
                (cache::intune_budget(app, tid), bucket(config.budget_requests, config.budget_window_seconds))
            }
            Api::Directory => (
                cache::directory_budget(app, tid),
                bucket(config.directory_units, config.directory_window_seconds),
            ),
        };
        let host = microsoft.cloud().graph().host_str().unwrap_or_default().to_owned();
        let everywhere =
            (cache::app_budget(app, &host), bucket(config.app_requests, config.app_window_seconds));
        Self {
            ctx,
            graph: microsoft.graph(tid),
            kind,
            lease_until: job.lease_until,
            budgets: [tenant, everywhere],
            shutdown,
        }
    }

    /// Waits for the budgets, then for `request`, which costs `cost` requests, for as long as the lease lasts and
    /// somebody waits for it. Call with no transaction open.
    pub(crate) async fn ask<T>(
        &self,
        cost: usize,
        request: impl Future<Output = Result<T, GraphError>>,
    ) -> Result<T, Stop> {
        if self.shutdown.is_cancelled() {
            return Err(Stop::Shutdown);
        }
        self.pay(u32::try_from(cost).unwrap_or(u32::MAX)).await?;
        let left = Duration::try_from(self.lease_until - self.ctx.clock.now()).unwrap_or_default();
        let mut left = left.saturating_sub(LEASE_MARGIN);
        if self.kind.class() == JobClass::Hot {
            left = left.min(Duration::from_secs(self.ctx.config.hot_request_seconds.into()));
        }
        // Giving up a request leaves nothing behind: no transaction is open.
        let answer = tokio::select! {
            answer = tokio::time::timeout(left, request) => answer,
            () = self.shutdown.cancelled() => return Err(Stop::Shutdown),
        };
        let answer = answer.unwrap_or_else(|_| {
            let detail = format!("no answer within {} s", left.as_secs());
            Err(GraphError::Unavailable { retry_after: None, detail })
        });
        self.ctx.metrics.request(self.kind, outcome(answer.as_ref().err()));
        self.charge(self.graph.take_repeats()).await;
        if let Err(error) = &answer {
            self.heed(error).await;
        }
        if let Err(GraphError::Forbidden { .. } | GraphError::DirectoryForbidden { .. }) = answer {
            // A token that was minted before consent propagated lacks its roles until it expires.
            self.graph.forget_token().await;
        }
        Ok(answer?)
    }

    /// Where Microsoft asked to wait, nobody asks this API for this tenant meanwhile: jobs that are at work elsewhere
    /// stop, too. An answer of a batch says it as well as an answer to the whole.
    pub(crate) async fn heed(&self, error: &GraphError) {
        if !matches!(error, GraphError::Throttled { .. } | GraphError::Unavailable { .. }) {
            return;
        }
        let Some(wait) = error.retry_after() else { return };
        let (tenant, _) = &self.budgets[0];
        if let Err(error) = self.ctx.cache.park_budget(tenant, wait).await {
            tracing::debug!(%error, "the budget cannot be parked");
        }
    }

    /// Counts requests that were made beyond what was paid for, where the budgets still hold so many.
    async fn charge(&self, repeats: u32) {
        if repeats == 0 {
            return;
        }
        for (name, bucket) in &self.budgets {
            if let Err(error) = self.ctx.cache.take_from(name, repeats, *bucket).await {
                tracing::debug!(%error, "the budget cannot be counted");
            }
        }
    }

    /// Takes `cost` from the tenant's budget and from that of the app in all tenants together. While Redis is away
    /// there is no such count; the few jobs that a link has at once stay far below the limits.
    async fn pay(&self, cost: u32) -> Result<(), Stop> {
        for (name, bucket) in &self.budgets {
            loop {
                match self.ctx.cache.take_from(name, cost, *bucket).await {
                    Ok(Budget::Granted) => break,
                    Ok(Budget::RetryAfter(wait)) if wait <= BUDGET_PATIENCE => {
                        tokio::time::sleep(wait).await;
                    }
                    Ok(Budget::RetryAfter(wait)) => {
                        self.ctx.metrics.budget_refusal(self.kind);
                        return Err(Stop::Budget(wait));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the budget cannot be counted");
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A word for the metrics.
pub(crate) const fn outcome(error: Option<&GraphError>) -> &'static str {
    match error {
        None => "ok",
        Some(GraphError::Token(_)) => "token",
        Some(GraphError::Throttled { .. }) => "throttled",
        Some(GraphError::Unavailable { .. }) => "unavailable",
        Some(
            GraphError::Unauthorized { .. }
            | GraphError::Forbidden { .. }
            | GraphError::DirectoryForbidden { .. }
            | GraphError::DirectoryWithoutDelta { .. }
            | GraphError::NoIntune { .. },
        ) => "refused",
        Some(GraphError::PageExpired | GraphError::DeltaExpired) => "expired",
        Some(
            GraphError::FilterIgnored { .. }
            | GraphError::Unfinished { .. }
            | GraphError::BadRequest { .. }
            | GraphError::Protocol { .. },
        ) => "odd",
    }
}
