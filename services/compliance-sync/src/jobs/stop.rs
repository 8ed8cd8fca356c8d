//! What happens to a job that did not go through, and to its link.

use domain::event::{Event, EventKind};
use domain::link::LinkState;
use microsoft::GraphError;
use std::time::Duration;
use store::audit::{self, Actor};
use store::jobs::{self, ClaimedJob, GiveBack, JobKind, LeaseError};
use store::links::{self, LinkRow};
use store::{OrgTx, StoreError, events, runs};
use time::OffsetDateTime;

use super::ask::Api;
use super::failure::{self, Verdict};
use crate::Context;

/// Why a job did not go through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("the budget of the tenant is spent for {} ms", .0.as_millis())]
    Budget(Duration),
    /// It worked for as long as one turn lasts.
    #[error("others are next")]
    Turn,
    #[error("the process stops")]
    Shutdown,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Lease(LeaseError::Store(error))
    }
}

/// Gives the job back, where it did not go through, and counts what became of it.
pub(crate) async fn settle(ctx: &Context, job: &ClaimedJob, result: Result<(), Stop>) {
    let kind = job.lease.kind;
    let given_back = match result {
        Ok(()) => return ctx.metrics.job(kind, "done"),
        Err(Stop::Lease(LeaseError::Fenced)) => {
            tracing::info!("the job went to another worker, or the link is gone");
            return ctx.metrics.job(kind, "fenced");
        }
        Err(stop) => give_back(ctx, job, stop).await,
    };
    match given_back {
        Ok(()) => {}
        Err(LeaseError::Fenced) => tracing::info!("the job is another worker's by now, or the link is gone"),
        // The lease runs out by itself, and the next holder goes on from the cursor.
        Err(error) => tracing::warn!(%error, "the job could not be given back"),
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
        Stop::Turn => "turn",
        Stop::Budget(wait) => {
            how.next_due_at = now + failure::jitter(*wait, 10, random);
            "budget"
        }
        Stop::Lease(error) => {
            tracing::warn!(%error, "a job could not be written");
            how.failed = true;
            how.next_due_at = now + failure::jitter(failure::backoff(job.fails, &ctx.config), 20, random);
            "store"
        }
        Stop::Graph(error) => {
            let verdict = failure::judge(error, job.fails, &ctx.config);
            tracing::warn!(%error, wait_seconds = verdict.wait.as_secs(), fails = job.fails, "a job failed");
            how.failed = true;
            // Only a sweep's pages lose their order; where the directory or a search stands is good for days.
            how.keep_cursor = verdict.keep_cursor || job.lease.kind != JobKind::Sweep;
            how.next_due_at = now + verdict.wait + failure::jitter(verdict.wait / 10, 50, random);
            if verdict.asked_to_wait {
                how.not_before = Some(how.next_due_at);
                // Its siblings ask the same, and would be refused as well.
                let kinds = match error {
                    GraphError::Token(_) => &JobKind::MICROSOFT[..],
                    _ => Api::of(job.lease.kind).kinds(),
                };
                jobs::park_link(&mut tx, link.id, kinds, how.next_due_at).await?;
                ctx.metrics.parked(job.lease.kind);
            }
            if let Some(state) = told(job.lease.kind, error, &verdict) {
                set_state(ctx, &mut tx, &link, state, Some(&error.to_string()), now).await?;
            }
            "failed"
        }
    };
    if job.lease.kind == JobKind::Sweep {
        // A sweep that has not got past its first page has nothing to go on from, and its failure should be seen.
        let run = runs::recent(&mut tx, link.id, 1).await?.into_iter().find(|run| run.finished_at.is_none());
        if let Some(run) = run.filter(|run| how.failed && (!how.keep_cursor || run.counts.pages == 0)) {
            how.keep_cursor = false;
            runs::finish(&mut tx, run.id, now, Some(&stop.to_string())).await?;
        }
    }
    jobs::give_back(&mut tx, &job.lease, &how).await?;
    tx.commit().await?;
    ctx.metrics.job(job.lease.kind, result);
    ctx.outbox_filled(job.lease.org, link.id);
    Ok(())
}

/// The state that a failure means for the link. What the directory says of itself says nothing about Intune; and
/// whether Microsoft can be reached is the sweep's to tell, or one odd device would make the link's page flicker.
fn told(kind: JobKind, error: &GraphError, verdict: &Verdict) -> Option<LinkState> {
    let state = verdict.state?;
    let of_token = matches!(error, GraphError::Token(_));
    match kind {
        JobKind::Sweep => Some(state),
        _ if state == LinkState::Unreachable => None,
        JobKind::Delta if !of_token => None,
        _ => Some(state),
    }
}

/// Whether somebody must act before asking makes sense. The sweep alone goes on trying then.
pub(crate) const fn is_blocked(state: LinkState) -> bool {
    !matches!(state, LinkState::Connected | LinkState::Throttled | LinkState::Unreachable)
}

/// Records how the link fares. A change is a line of the audit log and an event; and what waited for the link to be
/// well again comes due.
pub(crate) async fn set_state(
    ctx: &Context,
    tx: &mut OrgTx,
    link: &LinkRow,
    state: LinkState,
    detail: Option<&str>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    if !links::set_state(tx, link.id, state, detail, now).await? {
        return Ok(());
    }
    let said = serde_json::json!({ "from": link.state, "to": state, "detail": detail });
    audit::write(tx, &ctx.ids, now, &Actor::system(), "link.state", &link.tenant_name, said).await?;
    let words = state.words();
    let line = Event {
        org: tx.org(),
        id: ctx.ids.make(now),
        at: now,
        kind: EventKind::NacMdmLinkStateChanged,
        mac: None,
        session: None,
        edge: None,
        site: None,
        summary: format!("{}: {}. {}", link.tenant_name, words.title, words.cause),
        detail: serde_json::json!({
            "link": link.id,
            "tenant": link.tid,
            "tenant_name": link.tenant_name,
            "from": link.state,
            "to": state,
            "cause": words.cause,
            "remedy": words.remedy,
            "action_by": words.action_by,
            "detail": detail,
        }),
    };
    events::append(tx, &line).await?;
    if state == LinkState::Connected {
        for kind in JobKind::MICROSOFT {
            if kind != JobKind::Sweep {
                jobs::wake(tx, link.id, kind, now).await?;
            }
        }
    }
    ctx.metrics.link_state(state.as_str());
    Ok(())
}
