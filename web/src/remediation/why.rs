//! Why a client is kept apart, and what helps.

use domain::compliance::{Literal, Verdict};
use domain::decision::{Answer, Reason};
use domain::request::AccessRequest;
use domain::resolver::MatchStrength;

/// A reason that means something to the person at the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    NonCompliant,
    InGrace,
    NotEvaluated,
    /// Intune could not say.
    NotDetermined,
    NotEnrolled,
    /// The same, and its address is made up anew for each network.
    RandomMac,
    /// It did not show that it is the device that it may be.
    NoCertificate,
    CertificateExpired,
    /// Several devices fit.
    Ambiguous,
    Stale,
    /// The organization's side is not set up.
    Unlinked,
    /// The organization's rules, whatever the device does.
    Rule,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    OpenPortal,
    ChooseDevice,
    CheckStatus,
    CheckAgain,
    KeepOn,
    Enroll,
    FixedAddress,
    Sync,
    Reconnect,
    AskHelp,
}

impl Why {
    #[cfg(test)]
    pub(super) const ALL: [Self; 12] = [
        Self::NonCompliant,
        Self::InGrace,
        Self::NotEvaluated,
        Self::NotDetermined,
        Self::NotEnrolled,
        Self::RandomMac,
        Self::NoCertificate,
        Self::CertificateExpired,
        Self::Ambiguous,
        Self::Stale,
        Self::Unlinked,
        Self::Rule,
    ];

    /// Of an answer that does not let the client in as it is.
    pub(super) fn of(request: &AccessRequest, answer: &Answer) -> Self {
        match answer.decision.reason {
            Reason::CertificateExpired => return Self::CertificateExpired,
            Reason::CertificateMissing => return Self::NoCertificate,
            _ => {}
        }
        let compliance = &answer.compliance;
        let has = |literal| compliance.has(literal);
        let random = request.mac.is_some_and(domain::Mac::is_locally_administered);
        match compliance.verdict {
            _ if has(Literal::Unlinked) => Self::Unlinked,
            _ if has(Literal::Ambiguous) => Self::Ambiguous,
            _ if has(Literal::NotEnrolled) && request.cert.is_none() && random => Self::RandomMac,
            _ if has(Literal::NotEnrolled) => Self::NotEnrolled,
            Verdict::NonCompliant if has(Literal::InGracePeriod) => Self::InGrace,
            Verdict::NonCompliant => Self::NonCompliant,
            Verdict::Unknown if has(Literal::Stale) => Self::Stale,
            Verdict::Unknown if has(Literal::NotEvaluated) => Self::NotEvaluated,
            Verdict::Unknown => Self::NotDetermined,
            // Trusted, and yet not let in.
            Verdict::Compliant if has(Literal::InGracePeriod) => Self::InGrace,
            Verdict::Compliant if answer.found.strength != Some(MatchStrength::Certificate) => {
                Self::NoCertificate
            }
            Verdict::Compliant => Self::Rule,
        }
    }

    /// What to do, in order.
    pub(super) const fn steps(self) -> &'static [Step] {
        use Step::{
            AskHelp, CheckAgain, CheckStatus, ChooseDevice, Enroll, FixedAddress, KeepOn, OpenPortal,
            Reconnect, Sync,
        };
        match self {
            Self::NonCompliant | Self::InGrace => &[OpenPortal, ChooseDevice, CheckStatus, CheckAgain],
            Self::NotEvaluated => &[KeepOn, Sync, CheckAgain],
            Self::NotDetermined => &[OpenPortal, CheckStatus, CheckAgain, AskHelp],
            Self::NotEnrolled => &[Enroll, Reconnect, AskHelp],
            Self::RandomMac => &[FixedAddress, Enroll, Reconnect],
            Self::NoCertificate | Self::CertificateExpired => &[Sync, Reconnect, AskHelp],
            Self::Ambiguous | Self::Unlinked | Self::Rule => &[AskHelp],
            Self::Stale => &[Sync, CheckAgain],
        }
    }

    /// Whether Microsoft's portal is of use.
    pub(super) fn wants_portal(self) -> bool {
        self.steps().iter().any(|step| matches!(step, Step::OpenPortal | Step::Enroll | Step::Sync))
    }
}

#[cfg(test)]
mod tests {
    use domain::answer::{Ground, answer, without_facts};
    use domain::decision::Outcome;
    use domain::device::{ComplianceState, DeviceFacts};
    use domain::request::{AuthType, Certificate};
    use domain::resolver::{LookupPlan, keys_of, resolve};
    use domain::snapshot::{LinkFacts, OrgSettings};
    use domain::{DecisionId, DeviceId, EdgeId, LinkId, SiteId};
    use time::macros::datetime;
    use time::{Duration, OffsetDateTime};
    use uuid::Uuid;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-28 06:00 UTC);
    const LINK: LinkId = LinkId(Uuid::from_u128(1));
    const DEVICE: Uuid = Uuid::from_u128(2);
    const MAC: &str = "d4:6e:0e:02:28:96";

    fn device(state: ComplianceState) -> DeviceFacts {
        DeviceFacts {
            name: Some("LAPTOP".into()),
            wifi_mac: MAC.parse().ok(),
            ..DeviceFacts::bare(LINK, DeviceId(DEVICE), state, NOW)
        }
    }

    fn request(mac: &str, cert: Option<Uuid>) -> AccessRequest {
        let uri = |id| format!("ID:Microsoft Endpoint Manager:GUID:{id}");
        AccessRequest {
            mac: mac.parse().ok(),
            auth_type: Some(if cert.is_some() { AuthType::EapTls } else { AuthType::Mab }),
            cert: cert.map(|id| Certificate { san_uri: vec![uri(id)], ..Certificate::default() }),
            ..AccessRequest::bare(EdgeId(Uuid::from_u128(3)), SiteId(Uuid::from_u128(4)))
        }
    }

    fn why(request: &AccessRequest, devices: &[DeviceFacts], swept: bool) -> Why {
        let links = [LinkFacts { id: LINK, confirmed_at: swept.then_some(NOW - Duration::minutes(5)) }];
        let ground = Ground { settings: &OrgSettings::default(), links: &links, policy: None };
        let plan = LookupPlan::of(request);
        let found = resolve(&plan, |key| {
            let known = devices.iter().any(|device| keys_of(device).contains(key));
            if known { devices } else { &[] }
        });
        Why::of(request, &answer(ground, request, &found, DecisionId::from(Uuid::nil()), NOW))
    }

    #[test]
    fn the_reason_follows_from_what_is_known() {
        let of = |state| why(&request(MAC, Some(DEVICE)), &[device(state)], true);
        assert_eq!(of(ComplianceState::Noncompliant), Why::NonCompliant);
        assert_eq!(of(ComplianceState::InGracePeriod), Why::InGrace);
        assert_eq!(of(ComplianceState::Unknown), Why::NotEvaluated);
        assert_eq!(of(ComplianceState::Error), Why::NotDetermined);
        assert_eq!(of(ComplianceState::Conflict), Why::NotDetermined);
        assert_eq!(of(ComplianceState::Compliant), Why::Rule);
        let compliant = [device(ComplianceState::Compliant)];
        assert_eq!(why(&request(MAC, None), &compliant, true), Why::NoCertificate);
        let stranger = Some(Uuid::from_u128(9));
        assert_eq!(why(&request(MAC, stranger), &compliant, true), Why::NotEnrolled);
        assert_eq!(why(&request("02:00:00:00:00:01", None), &compliant, true), Why::RandomMac);
        assert_eq!(why(&request("02:00:00:00:00:01", stranger), &[], true), Why::NotEnrolled);
        assert_eq!(why(&request(MAC, None), &[], true), Why::NotEnrolled);
        assert_eq!(why(&request(MAC, None), &[], false), Why::Unlinked);
        let twin = DeviceFacts { id: DeviceId(Uuid::from_u128(5)), ..device(ComplianceState::Compliant) };
        let twins = [device(ComplianceState::Compliant), twin];
        assert_eq!(why(&request(MAC, None), &twins, true), Why::Ambiguous);
        let old = DeviceFacts {
            fetched_at: NOW - Duration::days(3),
            missing_since: Some(NOW),
            ..device(ComplianceState::Compliant)
        };
        assert_eq!(why(&request(MAC, Some(DEVICE)), &[old], true), Why::Stale);
    }

    #[test]
    fn a_certificate_that_ended_or_is_missing_comes_first() {
        let of = |reason| {
            let answer = without_facts(Outcome::DENY, reason, DecisionId::from(Uuid::nil()), NOW);
            Why::of(&request(MAC, None), &answer)
        };
        assert_eq!(of(Reason::CertificateExpired), Why::CertificateExpired);
        assert_eq!(of(Reason::CertificateMissing), Why::NoCertificate);
        assert_eq!(of(Reason::SiteFallback), Why::NotDetermined);
    }
}
