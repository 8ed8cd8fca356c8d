//! The breaker: when one sync would move too much of a fleet, moves to a worse state wait for an admin.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::trust;
use crate::compliance::Verdict;
use crate::device::ComplianceState;
use crate::event::{Event, EventKind};
use crate::request::words;
use crate::{EventId, HoldId, LinkId, OrgId};

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// The sync that saw so many turn worse is still running.
    Suspected,
    /// An admin is asked.
    Open,
    /// It turned out to be few after all; what was held went out.
    Cleared,
    /// An admin let the moves go out.
    Released,
    /// An admin wants none of the moves.
    Discarded,
}

words!(HoldState, "state of a hold",
    HoldState::Suspected => "suspected", HoldState::Open => "open", HoldState::Cleared => "cleared",
    HoldState::Released => "released", HoldState::Discarded => "discarded",
);

impl HoldState {
    /// Whether moves to a worse state wait because of it.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Suspected | Self::Open)
    }
}

/// Moves of a link's clients that wait together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub id: HoldId,
    pub link: LinkId,
    pub state: HoldState,
    pub opened_at: OffsetDateTime,
    /// Devices that turned worse since then are counted.
    pub counted_since: OffsetDateTime,
    /// Devices that turned worse, and those that the link has.
    pub worse: u64,
    pub fleet: u64,
    pub decided_at: Option<OffsetDateTime>,
    /// `None` where nobody decided, or Gatehouse did.
    pub decided_by: Option<String>,
}

impl Hold {
    /// The line of history that tells where it stands now.
    #[must_use]
    pub fn event(&self, org: OrgId, tenant: &str, id: EventId, at: OffsetDateTime) -> Event {
        let Self { worse, fleet, .. } = self;
        let by = self.decided_by.as_deref().unwrap_or("Gatehouse");
        let summary = match self.state {
            HoldState::Suspected => format!(
                "{tenant}: {worse} devices turned worse in a sync that is still running; moves to a worse state \
                 wait for its end"
            ),
            HoldState::Open => format!(
                "{tenant}: {worse} of {fleet} devices turned worse; moves to a worse state are held until an admin \
                 releases or discards them"
            ),
            HoldState::Cleared => {
                format!(
                    "{tenant}: {worse} of {fleet} devices turned worse, too few to hold; what was held goes out"
                )
            }
            HoldState::Released => format!("{tenant}: {by} released the moves that were held"),
            HoldState::Discarded => format!("{tenant}: {by} discarded the moves that were held"),
        };
        Event {
            org,
            id,
            at,
            kind: EventKind::NacCoaHeld,
            mac: None,
            session: None,
            edge: None,
            site: None,
            summary,
            detail: serde_json::json!({
                "hold_id": self.id,
                "link": self.link,
                "tenant": tenant,
                "state": self.state,
                "worse": worse,
                "fleet": fleet,
                "decided_by": self.decided_by,
            }),
        }
    }
}

/// What a change of a device's compliance means for the trust in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turn {
    Worse,
    Better,
    Neither,
}

/// Judges a change that Intune told. A new device (`from` is `None`) turned neither way; one whose record is gone
/// (`to` is `None`) counts as unknown from then on. Grace that ends is told by the clock, not by Intune, and is not
/// looked at here.
#[must_use]
pub fn turn(from: Option<&ComplianceState>, to: Option<&ComplianceState>, grace_is_compliant: bool) -> Turn {
    let Some(from) = from else { return Turn::Neither };
    let before = trust(verdict(from, grace_is_compliant));
    let after = trust(to.map_or(Verdict::Unknown, |to| verdict(to, grace_is_compliant)));
    match after.cmp(&before) {
        std::cmp::Ordering::Less => Turn::Worse,
        std::cmp::Ordering::Greater => Turn::Better,
        std::cmp::Ordering::Equal => Turn::Neither,
    }
}

/// The verdict on a fresh record whose grace, where it is in one, has not ended.
const fn verdict(state: &ComplianceState, grace_is_compliant: bool) -> Verdict {
    match state {
        ComplianceState::Compliant => Verdict::Compliant,
        ComplianceState::InGracePeriod if grace_is_compliant => Verdict::Compliant,
        ComplianceState::InGracePeriod | ComplianceState::Noncompliant => Verdict::NonCompliant,
        ComplianceState::Unknown
        | ComplianceState::Error
        | ComplianceState::Conflict
        | ComplianceState::ConfigManager
        | ComplianceState::Other(_) => Verdict::Unknown,
    }
}

/// How much of a fleet may turn worse at once before an admin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MassChange {
    /// More than this share of the devices.
    pub percent: u32,
    /// And at least this many.
    pub min: u32,
}

impl Default for MassChange {
    fn default() -> Self {
        Self { percent: 20, min: 50 }
    }
}

impl MassChange {
    /// Whether `worse` of `of` devices are too many.
    #[must_use]
    pub fn is_exceeded(self, worse: u64, of: u64) -> bool {
        worse >= u64::from(self.min) && u128::from(worse) * 100 > u128::from(self.percent) * u128::from(of)
    }

    /// Judges in the middle of a sync that has seen `seen` devices of a fleet of `fleet`: `Open` once no device that
    /// is still to come can make it few again, `Suspected` where it would be too many if it went on like this.
    #[must_use]
    pub fn judge(self, worse: u64, seen: u64, fleet: u64) -> Option<HoldState> {
        if self.is_exceeded(worse, fleet.max(seen)) {
            Some(HoldState::Open)
        } else if self.is_exceeded(worse, seen) {
            Some(HoldState::Suspected)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_change_means() {
        use ComplianceState::{Compliant, Error, InGracePeriod, Noncompliant, Unknown};
        let cases = [
            (Some(Compliant), Some(Noncompliant), true, Turn::Worse),
            (Some(Compliant), Some(Error), true, Turn::Worse),
            (Some(Compliant), None, true, Turn::Worse),
            (Some(Unknown), Some(Noncompliant), true, Turn::Worse),
            (Some(Unknown), Some(Error), true, Turn::Neither),
            (Some(Unknown), None, true, Turn::Neither),
            (Some(Noncompliant), None, true, Turn::Better),
            (Some(Noncompliant), Some(Compliant), true, Turn::Better),
            (None, Some(Noncompliant), true, Turn::Neither),
            (Some(Compliant), Some(InGracePeriod), true, Turn::Neither),
            (Some(Compliant), Some(InGracePeriod), false, Turn::Worse),
            (Some(InGracePeriod), Some(Noncompliant), true, Turn::Worse),
            (Some(InGracePeriod), Some(Noncompliant), false, Turn::Neither),
        ];
        for (from, to, grace, wanted) in cases {
            assert_eq!(turn(from.as_ref(), to.as_ref(), grace), wanted, "{from:?} to {to:?}, grace {grace}");
        }
    }

    #[test]
    fn too_many_is_more_than_the_share_and_at_least_the_minimum() {
        let limits = MassChange::default();
        assert!(!limits.is_exceeded(1, 60));
        assert!(!limits.is_exceeded(49, 60));
        assert!(limits.is_exceeded(50, 60));
        assert!(!limits.is_exceeded(40, 200));
        assert!(limits.is_exceeded(60, 200));
        assert!(!limits.is_exceeded(200, 1000), "a fifth is not more than a fifth");
        assert!(limits.is_exceeded(201, 1000));
        assert!(limits.is_exceeded(50, 0));
    }

    #[test]
    fn a_part_of_the_fleet_raises_suspicion_alone() {
        let limits = MassChange::default();
        assert_eq!(limits.judge(300, 1000, 100_000), Some(HoldState::Suspected));
        assert_eq!(limits.judge(300, 10_000, 100_000), None);
        assert_eq!(limits.judge(20_001, 30_000, 100_000), Some(HoldState::Open));
        assert_eq!(limits.judge(60, 200, 200), Some(HoldState::Open));
    }

    proptest! {
        #[test]
        fn more_devices_that_turned_worse_never_calm_it(
            percent in 1_u32..=100, min in 1_u32..1000, worse in 0_u64..5000, seen in 0_u64..5000, fleet in 0_u64..5000,
        ) {
            let limits = MassChange { percent, min };
            let rank = |state: Option<HoldState>| match state {
                None => 0,
                Some(HoldState::Suspected) => 1,
                Some(_) => 2,
            };
            prop_assert!(rank(limits.judge(worse + 1, seen, fleet)) >= rank(limits.judge(worse, seen, fleet)));
            prop_assert!(worse >= u64::from(min) || limits.judge(worse, seen, fleet).is_none());
        }
    }
}
