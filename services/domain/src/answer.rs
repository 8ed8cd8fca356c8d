//! From a match to an answer: what the cloud answers and what an edge answers from its bundle is made here.

use time::OffsetDateTime;

use crate::DecisionId;
use crate::compliance::{self, Compliance, Literal, Verdict};
use crate::decision::{Answer, Decision, MatchOutcomeName, MatchRecord, Outcome, Reason, Trace};
use crate::policy::CompiledPolicy;
use crate::policy::decide::{Input, decide};
use crate::request::AccessRequest;
use crate::resolver::Match;
use crate::snapshot::{LinkFacts, OrgSettings};

/// What a decision needs of an organization besides its devices, ready to decide.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    pub settings: &'a OrgSettings,
    pub links: &'a [LinkFacts],
    /// `None` until the first publish.
    pub policy: Option<&'a CompiledPolicy>,
}

/// Assesses and decides. Total: every input has an answer.
#[must_use]
pub fn answer(
    ground: Ground<'_>,
    request: &AccessRequest,
    found: &Match<'_>,
    id: DecisionId,
    at: OffsetDateTime,
) -> Answer {
    let compliance = compliance::assess(found, ground.links, ground.settings, at);
    let input = Input { request, found, compliance: &compliance, now: at };
    let decision = decide(ground.policy, &input);
    Answer { id, at, decision, compliance, found: MatchRecord::of(found) }
}

/// The answer where nothing is known that could be decided from: an outcome given, for a reason given.
#[must_use]
pub fn without_facts(outcome: Outcome, reason: Reason, id: DecisionId, at: OffsetDateTime) -> Answer {
    Answer {
        id,
        at,
        decision: Decision {
            outcome,
            reason,
            rule: None,
            policy_version: None,
            trace: Trace::default(),
            dry_run: Vec::new(),
        },
        compliance: Compliance {
            verdict: Verdict::Unknown,
            literals: vec![Literal::Unknown],
            state: None,
            last_check_in: None,
            fetched_at: None,
        },
        found: MatchRecord {
            outcome: MatchOutcomeName::NotEnrolled,
            key: None,
            strength: None,
            mac_mismatch: false,
            link: None,
            device: None,
            device_name: None,
            posture: None,
        },
    }
}
