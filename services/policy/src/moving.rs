//! Who would move: the open sessions that the draft would answer otherwise than what is live.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use domain::compliance::assess;
use domain::decision::Outcome;
use domain::device::DeviceFacts;
use domain::policy::decide::{Input, outcome};
use domain::policy::{CompiledPolicy, evaluate};
use domain::resolver::{LookupKey, LookupPlan, resolve};
use domain::snapshot::OrgSnapshot;
use domain::{OrgId, SessionId};
use store::devices::{self, CANDIDATES_MAX};
use store::sessions::{self, ActiveSession};
use store::{OrgTx, StoreError, orgs, policies};
use time::OffsetDateTime;

use crate::Policies;

/// What bounds the counting.
#[derive(Clone, Copy, Debug)]
pub struct MovingLimits {
    /// It stops at the first page that ends later than this.
    pub time: Duration,
    /// It stops once it has looked at so many sessions.
    pub sessions_max: u64,
    /// Sessions in one transaction; so many are in memory at once.
    pub page: i64,
}

impl Default for MovingLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(2), sessions_max: 200_000, page: 500 }
    }
}

/// Open sessions that would move if the draft were published now. Each counts once, under the first of action, VLAN,
/// role and the rest that would change for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moving {
    /// Of the draft that was tried.
    pub draft_revision: i64,
    /// Sessions that were looked at.
    pub sessions: u64,
    pub allowed_to_denied: u64,
    pub denied_to_allowed: u64,
    pub vlan: u64,
    pub role: u64,
    /// Other results alone: session timeout, redirect, further attributes.
    pub other: u64,
    /// Whether every session was looked at. Where not, the numbers are those of the sessions looked at.
    pub complete: bool,
}

impl Moving {
    /// All that would move.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.allowed_to_denied + self.denied_to_allowed + self.vlan + self.role + self.other
    }

    fn count(&mut self, live: &Outcome, draft: &Outcome) {
        self.sessions += 1;
        if live == draft {
            return;
        }
        let counter = match (live.permit, draft.permit) {
            (true, false) => &mut self.allowed_to_denied,
            (false, true) => &mut self.denied_to_allowed,
            _ if live.vlan != draft.vlan => &mut self.vlan,
            _ if live.role != draft.role => &mut self.role,
            _ => &mut self.other,
        };
        *counter += 1;
    }
}

struct Trial {
    snapshot: OrgSnapshot,
    live: Option<CompiledPolicy>,
    draft: CompiledPolicy,
    now: OffsetDateTime,
}

impl Trial {
    /// What a session would be answered now by what is live, and by the draft.
    fn answers(
        &self,
        session: &ActiveSession,
        facts: &HashMap<LookupKey, Vec<DeviceFacts>>,
    ) -> (Outcome, Outcome) {
        let request = &session.request;
        let found = resolve(&LookupPlan::of(request), |key| facts.get(key).map_or(&[], Vec::as_slice));
        let compliance = assess(&found, &self.snapshot.links, &self.snapshot.settings, self.now);
        let input = Input { request, found: &found, compliance: &compliance, now: self.now };
        let answer = |policy| outcome(policy, evaluate(policy, &input), request);
        (answer(self.live.as_ref()), answer(Some(&self.draft)))
    }
}

impl Policies {
    /// Counts the open sessions that would move if the draft were published now. Both policies are tried on the same
    /// devices at the same time, so that what compliance alone has moved meanwhile does not count.
    pub async fn moving(&self, org: OrgId, limits: MovingLimits) -> Result<Moving, StoreError> {
        let started = Instant::now();
        let mut tx = self.store.org(org).await?;
        let draft = policies::draft(&mut tx).await?;
        let snapshot = orgs::snapshot(&mut tx).await?;
        tx.commit().await?;
        let mut moving = Moving { draft_revision: draft.revision, ..Moving::default() };
        let Some(snapshot) = snapshot else { return Ok(Moving { complete: true, ..moving }) };
        let live = snapshot.policy.as_ref();
        let trial = Trial {
            live: live.map(|live| CompiledPolicy::compile(live.version, &live.doc)),
            draft: CompiledPolicy::compile(live.map_or(1, |live| live.version + 1), &draft.doc),
            now: self.clock.now(),
            snapshot,
        };
        let mut after: Option<SessionId> = None;
        loop {
            if moving.sessions >= limits.sessions_max || started.elapsed() >= limits.time {
                return Ok(moving);
            }
            let mut tx = self.store.org(org).await?;
            let (page, facts) = read(&mut tx, after, limits.page).await?;
            tx.commit().await?;
            let Some(last) = page.last() else { return Ok(Moving { complete: true, ..moving }) };
            after = Some(last.id);
            for session in &page {
                let (live, draft) = trial.answers(session, &facts);
                moving.count(&live, &draft);
            }
        }
    }
}

type Page = (Vec<ActiveSession>, HashMap<LookupKey, Vec<DeviceFacts>>);

async fn read(tx: &mut OrgTx, after: Option<SessionId>, limit: i64) -> Result<Page, StoreError> {
    let page = sessions::active_page(tx, after, limit).await?;
    let keys: BTreeSet<LookupKey> =
        page.iter().flat_map(|session| LookupPlan::of(&session.request).keys()).collect();
    let keys: Vec<LookupKey> = keys.into_iter().collect();
    let facts = devices::by_keys(tx, &keys, CANDIDATES_MAX).await?;
    Ok((page, facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vlan(vlan: &str) -> Outcome {
        Outcome { permit: true, vlan: Some(vlan.to_owned()), ..Outcome::default() }
    }

    #[test]
    fn a_session_counts_once_under_what_weighs_most() {
        let mut moving = Moving::default();
        let with_role = Outcome { role: Some("staff".to_owned()), ..vlan("20") };
        moving.count(&vlan("10"), &vlan("10"));
        moving.count(&vlan("10"), &Outcome::DENY);
        moving.count(&Outcome::DENY, &with_role);
        moving.count(&vlan("10"), &with_role);
        moving.count(&vlan("20"), &with_role);
        moving.count(&vlan("20"), &Outcome { gbp_tag: Some(1), ..vlan("20") });
        let Moving { sessions, allowed_to_denied, denied_to_allowed, vlan, role, other, .. } = moving;
        assert_eq!((sessions, moving.total()), (6, 5));
        assert_eq!((allowed_to_denied, denied_to_allowed, vlan, role, other), (1, 1, 1, 1, 1));
    }
}
