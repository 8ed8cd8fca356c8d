//! Admin consent (v2): where to send the admin, and what comes back.
//!
//! What comes back is a query string that anybody can write. Its `tenant` names nobody: the caller compares it with
//! a tenant that a sign-in verified. Source: Microsoft, "Admin consent on the Microsoft identity platform"
//! (v2-admin-consent), with its warning about `tenant`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use openidconnect::CsrfToken;
use serde::{Deserialize, Serialize};
use url::{Url, form_urlencoded};
use uuid::Uuid;

use crate::Microsoft;
use crate::aadsts::{aadsts_code, cut, first_line};

impl Microsoft {
    /// Microsoft's consent page for a tenant that a sign-in verified, and what to keep until the browser comes back.
    /// `redirect_uri` must be registered, to the letter.
    #[must_use]
    pub fn begin_consent(&self, tid: Uuid, redirect_uri: &Url) -> (Url, PendingConsent) {
        let state = CsrfToken::new_random().into_secret();
        let mut url = self.cloud().login_url(&format!("/{tid}/v2.0/adminconsent"));
        url.query_pairs_mut()
            .append_pair("client_id", &self.client_id().to_string())
            .append_pair("scope", &format!("{}/.default", self.cloud().graph_resource()))
            .append_pair("redirect_uri", redirect_uri.as_str())
            .append_pair("state", &state);
        (url, PendingConsent { tid, state })
    }
}

/// A consent that was asked for. Keep it in the server-side session of the browser that began it, and nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingConsent {
    tid: Uuid,
    state: String,
}

impl std::fmt::Debug for PendingConsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingConsent").field("tid", &self.tid).finish_non_exhaustive()
    }
}

/// Why a callback is not the consent that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    #[error("this answer belongs to no consent that this browser asked for")]
    StateMismatch,
    #[error(transparent)]
    Refused(#[from] ConsentRefusal),
    /// The callback claims a tenant that nobody verified.
    #[error("the answer names another tenant ({claimed}) than the one that signed in")]
    OtherTenant { claimed: Uuid },
}

impl PendingConsent {
    /// The tenant that a sign-in verified.
    #[must_use]
    pub const fn tid(&self) -> Uuid {
        self.tid
    }

    /// Whether a callback answers this request, whatever it says.
    #[must_use]
    pub fn is_answered_by(&self, callback: &ConsentCallback) -> bool {
        callback.state.as_deref().is_some_and(|state| same(state, &self.state))
    }

    /// Whether a callback says that consent was given, for the verified tenant. It proves nothing: only Graph does.
    pub fn check(&self, callback: &ConsentCallback) -> Result<(), ConsentError> {
        if !self.is_answered_by(callback) {
            return Err(ConsentError::StateMismatch);
        }
        let claimed = callback.outcome.clone()?;
        if claimed == self.tid { Ok(()) } else { Err(ConsentError::OtherTenant { claimed }) }
    }
}

/// What the browser brought back. Nothing of it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentCallback {
    pub state: Option<String>,
    /// `Ok` with the tenant that the callback claims.
    pub outcome: Result<Uuid, ConsentRefusal>,
}

/// Consent was not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("consent was not given: {detail}")]
pub struct ConsentRefusal {
    pub kind: ConsentRefusalKind,
    pub code: Option<u32>,
    /// What Microsoft said, cut short.
    pub detail: String,
}

/// Why consent was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsentRefusalKind {
    /// The admin cancelled or declined.
    Declined,
    /// The person may not consent to what Gatehouse asks for.
    NeedsAdmin,
    /// The tenant lacks an API that Gatehouse asks for: no Intune subscription.
    NoIntune,
    /// The app registration is wrong.
    Misconfigured,
    /// Microsoft has trouble.
    Unavailable,
    /// The callback is not one that Microsoft would make.
    Malformed,
    Other,
}

impl ConsentCallback {
    /// Reads a query string, without its question mark.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let mut fields = Fields::default();
        let mut repeated = false;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match name.as_ref() {
                "state" => &mut fields.state,
                "tenant" => &mut fields.tenant,
                "admin_consent" => &mut fields.admin_consent,
                "error" => &mut fields.error,
                "error_description" => &mut fields.error_description,
                _ => continue,
            };
            repeated |= field.replace(value.into_owned()).is_some();
        }
        let outcome = if repeated { Err(malformed("a parameter comes twice")) } else { fields.outcome() };
        Self { state: fields.state, outcome }
    }
}

/// Compares without telling by its duration where two texts differ.
pub(crate) fn same(a: &str, b: &str) -> bool {
    verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}

#[derive(Default)]
struct Fields {
    state: Option<String>,
    tenant: Option<String>,
    admin_consent: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Fields {
    fn outcome(&self) -> Result<Uuid, ConsentRefusal> {
        // First: Microsoft sends admin_consent=True beside an error.
        if let Some(error) = &self.error {
            return Err(refusal(error, self.error_description.as_deref().unwrap_or_default()));
        }
        if !self.admin_consent.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(malformed("admin_consent is not True"));
        }
        let tenant = self.tenant.as_deref().and_then(|tenant| Uuid::parse_str(tenant).ok());
        tenant.ok_or_else(|| malformed("tenant is not a GUID"))
    }
}

fn malformed(why: &str) -> ConsentRefusal {
    ConsentRefusal { kind: ConsentRefusalKind::Malformed, code: None, detail: why.to_owned() }
}

fn refusal(error: &str, description: &str) -> ConsentRefusal {
    use ConsentRefusalKind as K;
    let code = aadsts_code(description);
    let kind = match (code, error) {
        (Some(65_004), _) => K::Declined,
        (Some(90_093 | 90_094 | 90_095 | 65_001), _) => K::NeedsAdmin,
        (Some(650_052 | 500_011), _) => K::NoIntune,
        (Some(50_011 | 50_194 | 650_057 | 700_016), _) => K::Misconfigured,
        (_, "permission_denied" | "access_denied" | "consent_required") => K::Declined,
        (_, "server_error" | "temporarily_unavailable") => K::Unavailable,
        (
            _,
            "unauthorized_client"
            | "invalid_request"
            | "invalid_scope"
            | "invalid_resource"
            | "invalid_client",
        ) => K::Misconfigured,
        _ => K::Other,
    };
    let line = first_line(description);
    ConsentRefusal { kind, code, detail: cut(if line.is_empty() { error } else { line }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TENANT: &str = "a8990e1f-ff32-408a-9f8e-78d3b9139b95";

    fn kind(query: &str) -> Result<Uuid, ConsentRefusalKind> {
        ConsentCallback::parse(query).outcome.map_err(|refusal| refusal.kind)
    }

    #[test]
    fn consent_given() {
        let query = format!(
            "admin_consent=True&tenant={TENANT}&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default&state=s%26t"
        );
        let callback = ConsentCallback::parse(&query);
        assert_eq!(callback.state.as_deref(), Some("s&t"));
        assert_eq!(callback.outcome, Ok(TENANT.parse().unwrap()));
    }

    #[test]
    fn an_error_wins_over_admin_consent() {
        let query = format!(
            "admin_consent=True&tenant={TENANT}&error=consent_required&error_description=AADSTS65004%3a+The+resource\
             +owner+or+authorization+server+denied+the+request.%0d%0aTrace+ID%3a+x&state=s"
        );
        let callback = ConsentCallback::parse(&query);
        assert_eq!(callback.state.as_deref(), Some("s"));
        let refusal = callback.outcome.unwrap_err();
        assert_eq!((refusal.kind, refusal.code), (ConsentRefusalKind::Declined, Some(65_004)));
        assert!(refusal.detail.ends_with("denied the request."), "{}", refusal.detail);
    }

    #[test]
    fn every_refusal_has_its_kind() {
        use ConsentRefusalKind as K;
        for (query, want) in [
            ("error=permission_denied&error_description=The+admin+canceled+the+request", K::Declined),
            ("error=access_denied&error_subcode=cancel&error_description=AADSTS65004%3A+x", K::Declined),
            ("error=access_denied&error_description=AADSTS90094%3A+needs+admin", K::NeedsAdmin),
            ("error=invalid_client&error_description=AADSTS650052%3A+lacks+a+service+principal", K::NoIntune),
            ("error=server_error", K::Unavailable),
            ("error=invalid_scope", K::Misconfigured),
            ("error=brand_new", K::Other),
            ("error=", K::Other),
            ("", K::Malformed),
            ("admin_consent=True", K::Malformed),
            ("admin_consent=True&tenant=contoso.com", K::Malformed),
            ("admin_consent=False&tenant=a8990e1f-ff32-408a-9f8e-78d3b9139b95", K::Malformed),
        ] {
            assert_eq!(kind(query), Err(want), "{query}");
        }
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        let other = "b8990e1f-ff32-408a-9f8e-78d3b9139b95";
        let query = format!("admin_consent=True&tenant={TENANT}&tenant={other}&state=s");
        assert_eq!(kind(&query), Err(ConsentRefusalKind::Malformed));
    }

    #[test]
    fn only_the_answer_that_was_asked_for() {
        let pending = PendingConsent { tid: TENANT.parse().unwrap(), state: "s".to_owned() };
        let check = |query: &str| pending.check(&ConsentCallback::parse(query));
        assert_eq!(check(&format!("admin_consent=True&tenant={TENANT}&state=s")), Ok(()));
        let forged = check(&format!("admin_consent=True&tenant={TENANT}&state=t"));
        assert_eq!(forged, Err(ConsentError::StateMismatch));
        assert_eq!(check(&format!("admin_consent=True&tenant={TENANT}")), Err(ConsentError::StateMismatch));
        let claimed = "b8990e1f-ff32-408a-9f8e-78d3b9139b95";
        let other = check(&format!("admin_consent=True&tenant={claimed}&state=s"));
        assert_eq!(other, Err(ConsentError::OtherTenant { claimed: claimed.parse().unwrap() }));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_an_error_never_grants(query in "\\PC{0,80}", error in "[a-z_]{0,20}") {
            let _ = ConsentCallback::parse(&query);
            let query = format!("admin_consent=True&tenant={TENANT}&error={error}");
            prop_assert!(kind(&query).is_err());
        }
    }
}
