//! Change of Authorization: which sessions must move, how, when, and which moves wait for an admin.

pub mod hold;
pub mod pace;

use serde::{Deserialize, Serialize};

use crate::compliance::Verdict;
use crate::decision::Outcome;
use crate::request::words;

/// How a session is moved (RFC 5176, and what vendors make of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoaKind {
    /// The client authenticates again, without losing its link where the NAS can do that.
    Reauth,
    /// The session ends; the client comes back by itself.
    Disconnect,
    /// The port goes down and up.
    PortBounce,
}

words!(CoaKind, "CoA kind",
    CoaKind::Reauth => "reauth", CoaKind::Disconnect => "disconnect", CoaKind::PortBounce => "port_bounce",
);

/// Why a session was looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoaCause {
    ComplianceChanged,
    PolicyPublished,
    AdminAsked,
}

words!(CoaCause, "CoA cause",
    CoaCause::ComplianceChanged => "compliance_changed", CoaCause::PolicyPublished => "policy_published",
    CoaCause::AdminAsked => "admin_asked",
);

/// What to do with one active session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoaPlan {
    /// The answer would be the same. A command that is still waiting is no longer wanted.
    Keep,
    /// The answer would differ.
    Move { kind: CoaKind, to: Outcome },
}

/// Plans for one session: only one whose answer would differ is moved.
#[must_use]
pub fn plan(answered: &Outcome, now_would_be: &Outcome, kind: CoaKind) -> CoaPlan {
    if answered == now_would_be { CoaPlan::Keep } else { CoaPlan::Move { kind, to: now_would_be.clone() } }
}

/// Whether a move is to a worse state: from a permit to a denial, or, where the permission stays what it is, to a
/// verdict that is trusted less (compliant above unknown above non-compliant). VLANs and roles do not say which of them
/// is the worse one, so a move between two of them with the same verdict is not. It is a strict order: never both ways.
#[must_use]
pub fn is_worse(from: &Outcome, from_verdict: Verdict, to: &Outcome, to_verdict: Verdict) -> bool {
    (to.permit, trust(to_verdict)) < (from.permit, trust(from_verdict))
}

/// More is better.
const fn trust(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::NonCompliant => 0,
        Verdict::Unknown => 1,
        Verdict::Compliant => 2,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(permit: bool) -> Outcome {
        Outcome { permit, ..Outcome::default() }
    }

    fn worse(from: (bool, Verdict), to: (bool, Verdict)) -> bool {
        is_worse(&outcome(from.0), from.1, &outcome(to.0), to.1)
    }

    #[test]
    fn worse_is_a_denial_or_less_trust() {
        use Verdict::{Compliant, NonCompliant, Unknown};
        assert!(worse((true, Compliant), (false, Compliant)));
        assert!(worse((true, NonCompliant), (false, Compliant)), "a denial weighs more than a verdict");
        assert!(!worse((false, NonCompliant), (true, NonCompliant)));
        assert!(worse((true, Compliant), (true, NonCompliant)));
        assert!(worse((true, Compliant), (true, Unknown)));
        assert!(worse((true, Unknown), (true, NonCompliant)));
        assert!(!worse((true, Unknown), (true, Compliant)));
        assert!(!worse((true, NonCompliant), (true, Unknown)));
        assert!(!worse((true, Compliant), (true, Compliant)));
    }

    #[test]
    fn vlans_say_nothing_of_better_and_worse() {
        let vlan = |vlan: &str| Outcome { vlan: Some(vlan.to_owned()), ..outcome(true) };
        assert!(!is_worse(&vlan("10"), Verdict::Compliant, &vlan("30"), Verdict::Compliant));
    }

    fn any_side() -> impl Strategy<Value = (bool, Verdict)> {
        (any::<bool>(), prop::sample::select(Verdict::ALL))
    }

    proptest! {
        #[test]
        fn worse_is_a_strict_order(a in any_side(), b in any_side(), c in any_side()) {
            prop_assert!(!worse(a, a));
            prop_assert!(!(worse(a, b) && worse(b, a)));
            prop_assert!(!(worse(a, b) && worse(b, c)) || worse(a, c));
            prop_assert!(a == b || worse(a, b) || worse(b, a), "any two differ in one direction");
        }
    }
}
