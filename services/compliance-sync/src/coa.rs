//! Plans Changes of Authorization: decides active sessions again, from PostgreSQL alone, and sends a command only
//! where the answer would differ.
//!
//! Level-triggered: it compares what a session was answered with what it would be answered now, whatever brought it
//! here. One planner at a time works on an organization, so that older facts never overrule newer ones.
//!
//! Considerate: each edge gets its commands at a pace; a client that was moved a moment ago and changes again waits
//! until it is calm; and while too much of a link's fleet turned worse (see [`crate::breaker`]), moves to a worse
//! state are held.

mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use domain::coa::pace::{Pace, calm_until};
use domain::coa::{CoaCause, is_worse};
use domain::command::CommandState;
use domain::compliance::{Verdict, assess};
use domain::decision::Outcome;
use domain::device::DeviceFacts;
use domain::policy::{CompiledPolicy, decide, decide::Input};
use domain::request::AccessRequest;
use domain::resolver::{LookupKey, LookupPlan, Outcome as Found, resolve};
use domain::snapshot::{OrgSnapshot, PublishedPolicy};
use domain::{DeviceId, EdgeId, HoldId, LinkId, OrgId, SessionId};
use store::commands::{self, LatestCommand, NewCommand, Plan, Standing};
use store::devices::{self, CANDIDATES_MAX};
use store::sessions::{self, ActiveSession};
use store::{OrgTx, StoreError, holds, orgs, policies};
use time::{Duration, OffsetDateTime};

use crate::Context;
use step::{Case, Step};

/// Compiled policies by organization and version. A version never changes.
#[derive(Default)]
pub(crate) struct Policies(Mutex<HashMap<(OrgId, i32), Arc<CompiledPolicy>>>);

/// Policies that are kept; beyond, all are compiled anew.
const POLICIES_MAX: usize = 1024;

impl Policies {
    fn kept(&self, org: OrgId, version: i32) -> Option<Arc<CompiledPolicy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(org, version)).map(Arc::clone)
    }

    fn compiled(&self, org: OrgId, published: &PublishedPolicy) -> Arc<CompiledPolicy> {
        if let Some(policy) = self.kept(org, published.version) {
            return policy;
        }
        let policy = Arc::new(CompiledPolicy::compile(published.version, &published.doc));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= POLICIES_MAX {
            kept.clear();
        }
        kept.insert((org, published.version), Arc::clone(&policy));
        policy
    }
}

/// Which sessions to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Affected<'a> {
    /// Those whose client may be a device that is found under one of the keys.
    Keys(&'a [LookupKey]),
    /// Those with a command for a device of the link that no edge was told of yet.
    Waiting(LinkId),
    /// These, where they are active; few enough for one page.
    Sessions(&'a [SessionId]),
    All,
}

/// When Gatehouse learned of what is acted upon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noticed {
    pub(crate) by_key: BTreeMap<LookupKey, OffsetDateTime>,
    pub(crate) of_all: Option<OffsetDateTime>,
}

impl Noticed {
    fn of(&self, session: &ActiveSession) -> Option<OffsetDateTime> {
        session.lookup_keys.iter().filter_map(|key| self.by_key.get(key)).copied().chain(self.of_all).min()
    }
}

/// One page of sessions to be planned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    pub(crate) affected: Affected<'a>,
    /// Only those that were decided since then.
    pub(crate) since: Option<OffsetDateTime>,
    pub(crate) noticed: &'a Noticed,
}

/// Plans one page, after `after`, in one transaction. Returns where to go on; `None`: those were the last.
pub(crate) async fn plan_page(
    ctx: &Context,
    org: OrgId,
    page: Page<'_>,
    after: Option<SessionId>,
) -> Result<Option<SessionId>, StoreError> {
    let limit = i64::from(ctx.config.plan_page_max);
    let mut tx = ctx.store.org(org).await?;
    commands::lock_planning(&mut tx).await?;
    let (mut found, next) = match page.affected {
        Affected::Keys(keys) => {
            let found = sessions::affected(&mut tx, keys, after, limit).await?;
            let next = found.last().map(|session| session.id);
            (found, next)
        }
        Affected::All => {
            let found = sessions::active_page(&mut tx, after, limit).await?;
            let next = found.last().map(|session| session.id);
            (found, next)
        }
        Affected::Sessions(ids) => (sessions::active(&mut tx, ids).await?, None),
        Affected::Waiting(link) => waiting(ctx, &mut tx, link, after, limit).await?,
    };
    found.retain(|session| page.since.is_none_or(|since| session.decided_at >= since));
    if !found.is_empty() {
        let Some(mut planner) = Planner::new(ctx, &mut tx, org, &found).await? else { return Ok(None) };
        for session in found {
            planner.plan(&mut tx, session, page.noticed).await?;
        }
        planner.finish(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(next)
}

/// The sessions whose commands no edge was told of; the commands of those that ended are withdrawn.
async fn waiting(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    after: Option<SessionId>,
    limit: i64,
) -> Result<(Vec<ActiveSession>, Option<SessionId>), StoreError> {
    let ids = commands::sessions_waiting(tx, link, after, limit).await?;
    let found = sessions::active(tx, &ids).await?;
    let active: BTreeSet<SessionId> = found.iter().map(|session| session.id).collect();
    let now = ctx.clock.now();
    for ended in ids.iter().filter(|id| !active.contains(id)) {
        commands::withdraw(tx, &ctx.ids, now, *ended, "the session has ended").await?;
    }
    Ok((found, ids.last().copied()))
}

/// What planning of a page knows.
struct Planner<'a> {
    ctx: &'a Context,
    org: OrgId,
    now: OffsetDateTime,
    snapshot: OrgSnapshot,
    policy: Option<Arc<CompiledPolicy>>,
    /// By their versions: the policies that answered the sessions.
    policies: HashMap<i32, Arc<CompiledPolicy>>,
    facts: HashMap<LookupKey, Vec<DeviceFacts>>,
    standing: HashMap<SessionId, Standing>,
    holds: HashMap<LinkId, HoldId>,
    paces: HashMap<EdgeId, Pace>,
    /// Edges that have something to fetch.
    ready: BTreeSet<EdgeId>,
}

/// What a session would be answered now.
struct Answer {
    outcome: Outcome,
    verdict: Verdict,
    device: Option<(LinkId, DeviceId)>,
}

impl<'a> Planner<'a> {
    async fn new(
        ctx: &'a Context,
        tx: &mut OrgTx,
        org: OrgId,
        sessions: &[ActiveSession],
    ) -> Result<Option<Self>, StoreError> {
        let now = ctx.clock.now();
        let Some(snapshot) = orgs::snapshot(tx).await? else { return Ok(None) };
        let policy = snapshot.policy.as_ref().map(|published| ctx.policies.compiled(org, published));
        let ids: Vec<SessionId> = sessions.iter().map(|session| session.id).collect();
        let standing = commands::standing(tx, &ids, now - ctx.config.coa_calm()).await?;
        let keys: BTreeSet<LookupKey> =
            sessions.iter().flat_map(|session| LookupPlan::of(&session.request).keys()).collect();
        let keys: Vec<LookupKey> = keys.into_iter().collect();
        let facts = devices::by_keys(tx, &keys, CANDIDATES_MAX).await?;
        let active = holds::active(tx).await?;
        let edges: BTreeSet<EdgeId> = sessions.iter().map(|session| session.edge).collect();
        let edges: Vec<EdgeId> = edges.into_iter().collect();
        let mut taken = commands::on_their_way(tx, &edges, now - Duration::SECOND).await?;
        let paces = edges.into_iter().map(|edge| {
            let taken = taken.remove(&edge).unwrap_or_default();
            (edge, Pace::new(ctx.config.coa_per_edge_per_second, ctx.config.coa_jitter(), taken))
        });
        let mut planner = Self {
            ctx,
            org,
            now,
            policies: HashMap::new(),
            facts,
            standing,
            holds: active.into_iter().map(|hold| (hold.link, hold.id)).collect(),
            paces: paces.collect(),
            ready: BTreeSet::new(),
            policy,
            snapshot,
        };
        planner.load_policies(tx).await?;
        ctx.metrics.sessions(sessions.len());
        Ok(Some(planner))
    }

    /// The policies that answered the sessions, where they are not the present one.
    async fn load_policies(&mut self, tx: &mut OrgTx) -> Result<(), StoreError> {
        let live = self.policy.as_ref().map(|policy| policy.version());
        let versions: BTreeSet<i32> = self
            .standing
            .values()
            .filter_map(|stands| stands.policy_version)
            .filter(|version| Some(*version) != live)
            .collect();
        for version in versions {
            let policy = match self.ctx.policies.kept(self.org, version) {
                Some(policy) => policy,
                None => {
                    let Some(doc) = policies::version(tx, version).await? else { continue };
                    self.ctx.policies.compiled(self.org, &PublishedPolicy { version, doc })
                }
            };
            self.policies.insert(version, policy);
        }
        Ok(())
    }

    async fn plan(
        &mut self,
        tx: &mut OrgTx,
        session: ActiveSession,
        noticed: &Noticed,
    ) -> Result<(), StoreError> {
        let (ctx, now) = (self.ctx, self.now);
        let stands = self.standing.remove(&session.id).unwrap_or_default();
        let answer = self.answer(&session.request, self.policy.as_deref());
        let cause = self.cause(&session, &stands);
        let link = answer.device.map(|(link, _)| link).or(stands.link);
        let verdict = stands.verdict.unwrap_or(Verdict::Unknown);
        let repeat_after = self.expiry();
        let noticed_at = Some(noticed.of(&session).unwrap_or(now));
        let case = Case {
            session: &session,
            wanted: &answer.outcome,
            kind: self.snapshot.settings.coa,
            cause,
            worse: is_worse(&session.outcome, verdict, &answer.outcome, answer.verdict),
            hold: link.and_then(|link| self.holds.get(&link)).copied(),
            latest: stands.latest.as_ref(),
            now,
            repeat_after,
        };
        match case.step() {
            Step::Nothing => {}
            Step::Withdraw(why) => {
                self.free(session.edge, stands.latest.as_ref());
                commands::withdraw(tx, &ctx.ids, now, session.id, why).await?;
                ctx.metrics.command("withdrawn");
                tracing::info!(session = %session.id, why, "command withdrawn");
            }
            Step::Hold(hold) => {
                self.free(session.edge, stands.latest.as_ref());
                if commands::hold(tx, &ctx.ids, now, session.id, hold).await? {
                    ctx.metrics.command("held");
                }
            }
            Step::Release => {
                let not_before = self.turn(session.edge, now);
                let expires_at = not_before + self.expiry();
                if commands::release(tx, &ctx.ids, now, session.id, not_before, expires_at).await? {
                    self.ready.insert(session.edge);
                    ctx.metrics.command("released");
                }
            }
            Step::Send { kind, to, hold } => {
                tracing::info!(session = %session.id, edge = %session.edge, %kind, %cause, held = hold.is_some(),
                    "command planned");
                let kept = self.free(session.edge, stands.latest.as_ref());
                let not_before = match hold {
                    Some(_) => None,
                    None => {
                        let calm = stands.moved.as_ref().filter(|moved| {
                            // The same move once more is no flap: the client came back with an old answer.
                            cause == CoaCause::ComplianceChanged && moved.to != to
                        });
                        let calm = calm_until(calm.map(|moved| moved.at), ctx.config.coa_calm(), now);
                        let earliest = [Some(now), calm, kept].into_iter().flatten().max().unwrap_or(now);
                        Some(self.turn(session.edge, earliest))
                    }
                };
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
                    expires_at: not_before.unwrap_or(now) + self.expiry(),
                };
                let plan = Plan {
                    not_before,
                    hold,
                    link,
                    device: answer.device.map(|(_, device)| device),
                    noticed_at,
                    per_second: Some(ctx.config.coa_per_edge_per_second),
                };
                commands::plan(tx, &ctx.ids, now, command, plan).await?;
                if hold.is_none() {
                    self.ready.insert(session.edge);
                }
                ctx.metrics.command(if hold.is_some() { "held" } else { "planned" });
            }
        }
        Ok(())
    }

    /// Has each edge that something was planned for look for it.
    async fn finish(self, tx: &mut OrgTx) -> Result<(), StoreError> {
        for edge in self.ready {
            commands::ready(tx, &self.ctx.ids, self.now, edge).await?;
        }
        Ok(())
    }

    /// What a client would be answered now, by a policy.
    fn answer(&self, request: &AccessRequest, policy: Option<&CompiledPolicy>) -> Answer {
        let plan = LookupPlan::of(request);
        let found = resolve(&plan, |key| self.facts.get(key).map_or(&[], Vec::as_slice));
        let compliance = assess(&found, &self.snapshot.links, &self.snapshot.settings, self.now);
        let device = match found.outcome {
            Found::Device(device) => Some((device.link, device.id)),
            Found::Ambiguous | Found::NotEnrolled => None,
        };
        let input = Input { request, found: &found, compliance: &compliance, now: self.now };
        Answer { outcome: decide(policy, &input).outcome, verdict: compliance.verdict, device }
    }

    /// A published policy moves a session where the policy that answered it would answer the same today: then nothing
    /// but the policy changed.
    fn cause(&self, session: &ActiveSession, stands: &Standing) -> CoaCause {
        if stands.policy_version == self.policy.as_ref().map(|policy| policy.version()) {
            return CoaCause::ComplianceChanged;
        }
        let before = stands.policy_version.and_then(|version| self.policies.get(&version));
        let same_facts = self.answer(&session.request, before.map(Arc::as_ref)).outcome == session.outcome;
        if same_facts { CoaCause::PolicyPublished } else { CoaCause::ComplianceChanged }
    }

    fn expiry(&self) -> Duration {
        Duration::seconds(self.ctx.config.command_expiry_seconds.into())
    }

    /// The next moment at which the edge can be told something.
    fn turn(&mut self, edge: EdgeId, earliest: OffsetDateTime) -> OffsetDateTime {
        let random = self.ctx.random(self.now);
        self.paces.get_mut(&edge).map_or(earliest, |pace| pace.take(earliest, random))
    }

    /// Gives back the moment of a command that no edge was told of. Returns it where it is still to come.
    fn free(&mut self, edge: EdgeId, latest: Option<&LatestCommand>) -> Option<OffsetDateTime> {
        let waits = latest.filter(|command| command.state == CommandState::Pending)?;
        let at = waits.not_before?;
        if let Some(pace) = self.paces.get_mut(&edge) {
            pace.free(at);
        }
        (at > self.now).then_some(at)
    }
}
