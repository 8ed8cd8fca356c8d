//! Plans Changes of Authorization: decides active sessions again, from PostgreSQL alone, and sends a command only
//! where the answer would differ.
//!
//! Level-triggered: it compares what a session was answered with what it would be answered now, whatever brought it
//! here. One planner at a time works on an organization, so that older facts never overrule newer ones.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use domain::coa::{CoaCause, CoaKind, CoaPlan, plan};
use domain::compliance::assess;
use domain::decision::Outcome;
use domain::device::DeviceFacts;
use domain::policy::{CompiledPolicy, decide, decide::Input};
use domain::request::AccessRequest;
use domain::resolver::{LookupKey, LookupPlan, resolve};
use domain::snapshot::{OrgSnapshot, PublishedPolicy};
use domain::{OrgId, SessionId};
use store::commands::{self, LatestCommand, NewCommand};
use store::devices::{self, CANDIDATES_MAX};
use store::sessions::{self, ActiveSession};
use store::{StoreError, orgs};
use time::{Duration, OffsetDateTime};

use crate::Context;

#[cfg(test)]
mod tests;

/// Compiled policies, one per organization. A version never changes.
#[derive(Default)]
pub(crate) struct Policies(Mutex<HashMap<OrgId, Arc<CompiledPolicy>>>);

/// Organizations whose policy is kept; beyond, all are compiled anew.
const POLICIES_MAX: usize = 1024;

impl Policies {
    fn compiled(&self, org: OrgId, published: &PublishedPolicy) -> Arc<CompiledPolicy> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = kept.get(&org).filter(|policy| policy.version() == published.version) {
            return Arc::clone(policy);
        }
        if kept.len() >= POLICIES_MAX {
            kept.clear();
        }
        let policy = Arc::new(CompiledPolicy::compile(published.version, &published.doc));
        kept.insert(org, Arc::clone(&policy));
        policy
    }
}

/// Which sessions to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Affected<'a> {
    /// Those whose client may be a device that is found under one of the keys.
    Keys(&'a [LookupKey]),
    All,
}

/// Plans one page of sessions, after `after`, in one transaction; of those, the ones decided since `since`, where
/// that is given. Returns where to go on; `None`: those were the last.
pub(crate) async fn plan_page(
    ctx: &Context,
    org: OrgId,
    affected: Affected<'_>,
    since: Option<OffsetDateTime>,
    after: Option<SessionId>,
) -> Result<Option<SessionId>, StoreError> {
    let limit = i64::from(ctx.config.plan_page_max);
    let mut tx = ctx.store.org(org).await?;
    commands::lock_planning(&mut tx).await?;
    let mut page = match affected {
        Affected::Keys(keys) => sessions::affected(&mut tx, keys, after, limit).await?,
        Affected::All => sessions::active_page(&mut tx, after, limit).await?,
    };
    let next = page.last().map(|session| session.id);
    page.retain(|session| since.is_none_or(|since| session.decided_at >= since));
    if page.is_empty() {
        tx.commit().await?;
        return Ok(next);
    }
    let Some(snapshot) = orgs::snapshot(&mut tx).await? else { return Ok(None) };
    let policy = snapshot.policy.as_ref().map(|published| ctx.policies.compiled(org, published));
    let ids: Vec<SessionId> = page.iter().map(|session| session.id).collect();
    let mut standing = commands::standing(&mut tx, &ids, ctx.clock.now()).await?;
    let keys: BTreeSet<LookupKey> =
        page.iter().flat_map(|session| LookupPlan::of(&session.request).keys()).collect();
    let keys: Vec<LookupKey> = keys.into_iter().collect();
    let facts = devices::by_keys(&mut tx, &keys, CANDIDATES_MAX).await?;

    let now = ctx.clock.now();
    let expiry = Duration::seconds(ctx.config.command_expiry_seconds.into());
    ctx.metrics.sessions(page.len());
    for session in page {
        let wanted = answer(&session.request, &snapshot, policy.as_deref(), &facts, now);
        let stands = standing.remove(&session.id).unwrap_or_default();
        match step(&session, &wanted, snapshot.settings.coa, stands.latest.as_ref(), now, expiry) {
            Step::Nothing => {}
            Step::Withdraw => {
                commands::withdraw(&mut tx, &ctx.ids, now, session.id, "the answer is the same again")
                    .await?;
                ctx.metrics.command("withdrawn");
                tracing::info!(session = %session.id, "command withdrawn");
            }
            Step::Send { kind, to } => {
                let version = policy.as_ref().map(|policy| policy.version());
                let cause = if stands.policy_version == version {
                    CoaCause::ComplianceChanged
                } else {
                    CoaCause::PolicyPublished
                };
                tracing::info!(session = %session.id, edge = %session.edge, %kind, %cause, "command planned");
                let command = NewCommand {
                    edge: session.edge,
                    site: session.site,
                    session: session.id,
                    session_key: session.session_key,
                    mac: session.mac,
                    kind,
                    cause,
                    from: session.outcome,
                    to,
                    answered_at: Some(session.decided_at),
                    expires_at: now + expiry,
                };
                commands::insert(&mut tx, &ctx.ids, now, command).await?;
                ctx.metrics.command("planned");
            }
        }
    }
    tx.commit().await?;
    Ok(next)
}

/// What a client would be answered now.
fn answer(
    request: &AccessRequest,
    snapshot: &OrgSnapshot,
    policy: Option<&CompiledPolicy>,
    facts: &HashMap<LookupKey, Vec<DeviceFacts>>,
    now: OffsetDateTime,
) -> Outcome {
    let found = resolve(&LookupPlan::of(request), |key| facts.get(key).map_or(&[], Vec::as_slice));
    let compliance = assess(&found, &snapshot.links, &snapshot.settings, now);
    decide(policy, &Input { request, found: &found, compliance: &compliance, now }).outcome
}

/// What to do about one session.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// A command waits that is no longer wanted.
    Withdraw,
    Send {
        kind: CoaKind,
        to: Outcome,
    },
}

/// Chooses. A command that waits for the same move is enough; one that was carried out, refused or lost is not
/// repeated within `repeat_after` while the session still stands on the answer that it was to replace.
fn step(
    session: &ActiveSession,
    wanted: &Outcome,
    kind: CoaKind,
    latest: Option<&LatestCommand>,
    now: OffsetDateTime,
    repeat_after: Duration,
) -> Step {
    let open = latest.is_some_and(|command| command.state.is_open());
    match plan(&session.outcome, wanted, kind) {
        CoaPlan::Keep if open => Step::Withdraw,
        CoaPlan::Keep => Step::Nothing,
        CoaPlan::Move { kind, to } => {
            let told = latest.is_some_and(|command| {
                let same_answer = command.answered_at == Some(session.decided_at);
                command.to == to
                    && if open {
                        command.kind == kind
                    } else {
                        same_answer && now - command.created_at < repeat_after
                    }
            });
            if told { Step::Nothing } else { Step::Send { kind, to } }
        }
    }
}
