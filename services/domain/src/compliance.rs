//! MDM compliance: one state of Intune, several literals of Gatehouse.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::device::{ComplianceState, DeviceFacts};
use crate::request::words;
use crate::resolver::{Match, Outcome};
use crate::snapshot::{LinkFacts, OrgSettings};

/// Exactly one of these holds for every client, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Compliant,
    NonCompliant,
    Unknown,
}

/// A word that an `mdm_status` label can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Literal {
    Compliant,
    NonCompliant,
    Unknown,
    InGracePeriod,
    NotEvaluated,
    Error,
    Conflict,
    ConfigManager,
    /// A state that Microsoft added later.
    Other,
    NotEnrolled,
    Ambiguous,
    Stale,
    Unlinked,
}

words!(Verdict, "verdict",
    Verdict::Compliant => "compliant", Verdict::NonCompliant => "non-compliant", Verdict::Unknown => "unknown",
);
words!(Literal, "MDM compliance value",
    Literal::Compliant => "compliant", Literal::NonCompliant => "non-compliant", Literal::Unknown => "unknown",
    Literal::InGracePeriod => "in-grace-period", Literal::NotEvaluated => "not-evaluated",
    Literal::Error => "error", Literal::Conflict => "conflict", Literal::ConfigManager => "config-manager",
    Literal::Other => "other", Literal::NotEnrolled => "not-enrolled", Literal::Ambiguous => "ambiguous",
    Literal::Stale => "stale", Literal::Unlinked => "unlinked",
);

/// What is known of a client's compliance at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compliance {
    pub verdict: Verdict,
    /// The literals that hold, the verdict among them; in the order of the enum, without repeats.
    pub literals: Vec<Literal>,
    /// Intune's own state, where one device matched.
    pub state: Option<ComplianceState>,
    /// Device to Intune.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_check_in: Option<OffsetDateTime>,
    /// Intune to Gatehouse: when the record was last confirmed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub fetched_at: Option<OffsetDateTime>,
}

impl Compliance {
    fn new(verdict: Verdict, mut literals: Vec<Literal>) -> Self {
        literals.push(match verdict {
            Verdict::Compliant => Literal::Compliant,
            Verdict::NonCompliant => Literal::NonCompliant,
            Verdict::Unknown => Literal::Unknown,
        });
        literals.sort_unstable();
        literals.dedup();
        Self { verdict, literals, state: None, last_check_in: None, fetched_at: None }
    }

    /// Whether an `mdm_status` value holds.
    #[must_use]
    pub fn has(&self, literal: Literal) -> bool {
        self.literals.binary_search(&literal).is_ok()
    }
}

/// Assesses a client. Total: every input has an answer.
#[must_use]
pub fn assess(
    found: &Match<'_>,
    links: &[LinkFacts],
    settings: &OrgSettings,
    now: OffsetDateTime,
) -> Compliance {
    match found.outcome {
        Outcome::Device(device) => assess_device(device, links, settings, now),
        Outcome::Ambiguous => Compliance::new(Verdict::Unknown, vec![Literal::Ambiguous]),
        Outcome::NotEnrolled if links.iter().any(|link| link.confirmed_at.is_some()) => {
            Compliance::new(Verdict::Unknown, vec![Literal::NotEnrolled])
        }
        Outcome::NotEnrolled => Compliance::new(Verdict::Unknown, vec![Literal::Unlinked]),
    }
}

/// When the record was last confirmed: by its own fetch, or by a whole sweep that saw it unchanged.
#[must_use]
pub fn confirmed_at(device: &DeviceFacts, links: &[LinkFacts]) -> OffsetDateTime {
    let swept = links.iter().find(|link| link.id == device.link).and_then(|link| link.confirmed_at);
    match swept {
        Some(swept) if device.missing_since.is_none() => swept.max(device.fetched_at),
        _ => device.fetched_at,
    }
}

/// The next instant at which the answer changes by itself, without any sync: grace ends, or the record goes stale.
#[must_use]
pub fn next_change(
    device: &DeviceFacts,
    links: &[LinkFacts],
    settings: &OrgSettings,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let stale_at = confirmed_at(device, links) + Duration::seconds(settings.stale_after_seconds.into());
    let grace_ends = device.grace_expires_at.filter(|_| device.compliance == ComplianceState::InGracePeriod);
    [Some(stale_at), grace_ends].into_iter().flatten().filter(|at| *at > now).min()
}

fn assess_device(
    device: &DeviceFacts,
    links: &[LinkFacts],
    settings: &OrgSettings,
    now: OffsetDateTime,
) -> Compliance {
    let confirmed = confirmed_at(device, links);
    let stale = now - confirmed > Duration::seconds(settings.stale_after_seconds.into());
    let grace_over = device.grace_expires_at.is_some_and(|end| end <= now);

    let (verdict, literal) = match &device.compliance {
        ComplianceState::Compliant => (Verdict::Compliant, None),
        ComplianceState::InGracePeriod if grace_over => (Verdict::NonCompliant, None),
        ComplianceState::InGracePeriod if settings.grace_is_compliant => {
            (Verdict::Compliant, Some(Literal::InGracePeriod))
        }
        ComplianceState::InGracePeriod => (Verdict::NonCompliant, Some(Literal::InGracePeriod)),
        ComplianceState::Noncompliant => (Verdict::NonCompliant, None),
        ComplianceState::Unknown => (Verdict::Unknown, Some(Literal::NotEvaluated)),
        ComplianceState::Error => (Verdict::Unknown, Some(Literal::Error)),
        ComplianceState::Conflict => (Verdict::Unknown, Some(Literal::Conflict)),
        ComplianceState::ConfigManager => (Verdict::Unknown, Some(Literal::ConfigManager)),
        ComplianceState::Other(_) => (Verdict::Unknown, Some(Literal::Other)),
    };
    let mut answer = if stale {
        // Age only ever weakens trust: what was refused stays refused, all else becomes unknown.
        let verdict = if verdict == Verdict::NonCompliant { verdict } else { Verdict::Unknown };
        Compliance::new(verdict, vec![Literal::Stale])
    } else {
        Compliance::new(verdict, literal.into_iter().collect())
    };
    answer.state = Some(device.compliance.clone());
    answer.last_check_in = device.last_check_in;
    answer.fetched_at = Some(confirmed);
    answer
}

#[cfg(test)]
mod tests;
