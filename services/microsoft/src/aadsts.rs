//! What Entra ID's errors mean: one table.
//!
//! Microsoft asks clients to react to `error` and to treat `error_codes` as diagnostic, because they may become
//! finer. The codes say much more, so they come first, and an unknown one falls back to `error` and the status.
//! Source: Microsoft, "Microsoft Entra authentication and authorization error codes" (reference-error-codes).

use std::time::Duration;

use domain::link::LinkState;
use serde::Deserialize;
use serde_json::Value;

/// What a refusal of the token endpoint means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenErrorKind {
    /// The tenant does not know our enterprise application.
    ConsentMissing,
    /// Our enterprise application was deleted in the tenant, or never consented to.
    ConsentRevoked,
    /// Our enterprise application is disabled in the tenant.
    DisabledByTenant,
    /// The API's service principal is not in the tenant: it has no Intune subscription.
    NoIntune,
    /// There is no such tenant.
    TenantGone,
    /// The tenant belongs to another national cloud.
    WrongCloud,
    /// Conditional Access keeps us out.
    BlockedByConditionalAccess,
    /// Our certificate or secret is refused: our fault, in every tenant.
    CredentialFailing,
    /// Our request or registration is wrong: our fault.
    Misconfigured,
    /// The person who signs in cannot: not in the tenant, disabled, or refused by policy.
    PersonRefused,
    /// The authorization code is spent, expired or not ours: sign in again.
    CodeRefused,
    /// Too many requests.
    Throttled,
    /// Microsoft has trouble, or cannot be reached.
    Unavailable,
    /// The answer is not one that the protocol knows.
    Protocol,
}

use TokenErrorKind as K;

/// Code, meaning. Codes that are not here are judged by `error` and the status.
pub(crate) const TABLE: &[(u32, TokenErrorKind)] = &[
    (700_016, K::ConsentMissing),
    (65_001, K::ConsentMissing),
    (7_000_229, K::ConsentRevoked),
    (7_000_112, K::DisabledByTenant),
    (70_001, K::DisabledByTenant),
    (500_011, K::NoIntune),
    (650_052, K::NoIntune),
    (90_002, K::TenantGone),
    (90_038, K::WrongCloud),
    (53_003, K::BlockedByConditionalAccess),
    // The credential: secrets, then assertions and certificates.
    (7_000_215, K::CredentialFailing),
    (7_000_222, K::CredentialFailing),
    (700_027, K::CredentialFailing),
    (700_024, K::CredentialFailing),
    (700_021, K::CredentialFailing),
    (50_048, K::CredentialFailing),
    (50_027, K::CredentialFailing),
    (7_000_214, K::CredentialFailing),
    (7_000_277, K::CredentialFailing),
    (7_000_274, K::CredentialFailing),
    (1_000_502, K::CredentialFailing),
    (7_000_218, K::CredentialFailing),
    (700_025, K::CredentialFailing),
    // The request or the registration.
    (650_057, K::Misconfigured),
    (900_023, K::Misconfigured),
    (9_001_023, K::Misconfigured),
    (1_002_012, K::Misconfigured),
    (70_011, K::Misconfigured),
    (700_022, K::Misconfigured),
    (50_011, K::Misconfigured),
    (50_194, K::Misconfigured),
    (700_005, K::Misconfigured),
    // The person who signs in.
    (50_034, K::PersonRefused),
    (50_020, K::PersonRefused),
    (50_057, K::PersonRefused),
    (50_105, K::PersonRefused),
    (53_000, K::PersonRefused),
    (50_076, K::PersonRefused),
    (50_079, K::PersonRefused),
    // The authorization code.
    (54_005, K::CodeRefused),
    (501_481, K::CodeRefused),
    (70_008, K::CodeRefused),
    (70_000, K::CodeRefused),
    // Slow down.
    (50_196, K::Throttled),
    (90_055, K::Throttled),
    // Try again.
    (50_000, K::Unavailable),
    (90_033, K::Unavailable),
    (90_090, K::Unavailable),
    (50_033, K::Unavailable),
    (90_006, K::Unavailable),
    (90_024, K::Unavailable),
];

/// Entra ID refused, or could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", kind.describe())]
pub struct TokenError {
    pub kind: TokenErrorKind,
    /// The AADSTS code, where Microsoft gave one.
    pub code: Option<u32>,
    /// What Microsoft said, cut short; holds no secret.
    pub detail: String,
    /// How long Microsoft asked to wait.
    pub retry_after: Option<Duration>,
}

impl TokenErrorKind {
    const fn describe(self) -> &'static str {
        match self {
            Self::ConsentMissing => "the tenant has not consented to Gatehouse",
            Self::ConsentRevoked => "the tenant removed Gatehouse's enterprise application",
            Self::DisabledByTenant => "the tenant disabled Gatehouse's enterprise application",
            Self::NoIntune => "the tenant has no Intune subscription",
            Self::TenantGone => "the tenant does not exist",
            Self::WrongCloud => "the tenant belongs to another national cloud",
            Self::BlockedByConditionalAccess => "a Conditional Access policy of the tenant refuses Gatehouse",
            Self::CredentialFailing => "Microsoft refuses Gatehouse's own credential; renew it",
            Self::Misconfigured => {
                "Gatehouse's app registration or request is wrong; correct the registration"
            }
            Self::PersonRefused => "the tenant does not let this person sign in",
            Self::CodeRefused => "the sign-in was used up or took too long; sign in again",
            Self::Throttled => "Microsoft asks to slow down",
            Self::Unavailable => "Microsoft does not answer",
            Self::Protocol => "Microsoft's answer is not one that the protocol knows",
        }
    }
}

impl TokenErrorKind {
    /// The tenant does not want our app, or is not there: no failure of the way to it.
    pub(crate) const fn is_the_tenants_word(self) -> bool {
        matches!(
            self,
            Self::ConsentMissing
                | Self::ConsentRevoked
                | Self::DisabledByTenant
                | Self::NoIntune
                | Self::TenantGone
                | Self::WrongCloud
                | Self::BlockedByConditionalAccess
        )
    }
}

impl TokenError {
    pub(crate) fn new(kind: TokenErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, code: None, detail: detail.into(), retry_after: None }
    }

    /// What an answer other than success to a client-credentials request means. No person signs in there, and no code
    /// is redeemed: where Entra ID wants more than a credential it says `claims` or a suberror, and that is a policy of
    /// the tenant; all else of that kind is an answer that such a request should never get.
    pub(crate) fn classify_app_only(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let error = Self::classify(status, retry_after, body);
        if !matches!(error.kind, K::PersonRefused | K::CodeRefused) {
            return error;
        }
        let parsed: Demands = serde_json::from_slice(body).unwrap_or_default();
        let demands = [&parsed.claims, &parsed.suberror].into_iter().any(|demand| !is_empty(demand));
        Self { kind: if demands { K::BlockedByConditionalAccess } else { K::Protocol }, ..error }
    }

    /// What an answer other than success means. `body` may be anything.
    pub(crate) fn classify(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let parsed: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
        let description = parsed.error_description.unwrap_or_default();
        let named = aadsts_code(&description);
        let codes = named.into_iter().chain(parsed.error_codes);
        let (code, known) = judge(codes);
        let error = parsed.error.unwrap_or_default();
        let kind = known.unwrap_or_else(|| fallback(status, &error));
        // A throttled tenant may be told so by status alone, whatever the body says.
        let kind = if status == 429 { K::Throttled } else { kind };
        let detail = match (first_line(&description), error.as_str()) {
            ("", "") => format!("HTTP status {status}"),
            ("", error) => cut(error),
            (line, _) => cut(line),
        };
        Self { kind, code, detail, retry_after }
    }

    /// How the link fares because of it; `None` where it says nothing about the link.
    #[must_use]
    pub const fn link_state(&self) -> Option<LinkState> {
        Some(match self.kind {
            K::ConsentMissing => LinkState::ConsentMissing,
            K::ConsentRevoked => LinkState::ConsentRevoked,
            K::DisabledByTenant => LinkState::DisabledByTenant,
            K::NoIntune => LinkState::NoIntune,
            K::TenantGone => LinkState::TenantGone,
            K::WrongCloud => LinkState::WrongCloud,
            K::BlockedByConditionalAccess => LinkState::BlockedByCa,
            K::CredentialFailing | K::Misconfigured => LinkState::CredentialFailing,
            K::Throttled => LinkState::Throttled,
            K::Unavailable | K::Protocol => LinkState::Unreachable,
            K::PersonRefused | K::CodeRefused => return None,
        })
    }

    /// The same request may succeed later without anybody's help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self.kind, K::Throttled | K::Unavailable)
    }
}

/// The first known code decides; without one, the first code is kept for people.
fn judge(codes: impl Iterator<Item = u32>) -> (Option<u32>, Option<TokenErrorKind>) {
    let mut first = None;
    for code in codes {
        if let Some(kind) = lookup(code) {
            return (Some(code), Some(kind));
        }
        first = first.or(Some(code));
    }
    (first, None)
}

/// The meaning of a code.
pub(crate) fn lookup(code: u32) -> Option<TokenErrorKind> {
    TABLE.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind)
}

fn fallback(status: u16, error: &str) -> TokenErrorKind {
    match (status, error) {
        (_, "temporarily_unavailable" | "server_error") => K::Unavailable,
        (500..=599 | 408, _) => K::Unavailable,
        (_, "invalid_client") => K::CredentialFailing,
        (_, "unauthorized_client") => K::ConsentMissing,
        (_, "invalid_resource") => K::NoIntune,
        (_, "interaction_required") => K::BlockedByConditionalAccess,
        (_, "consent_required") => K::ConsentMissing,
        (_, "invalid_grant") => K::CodeRefused,
        (_, "invalid_scope" | "invalid_request" | "unsupported_grant_type") => K::Misconfigured,
        (_, "access_denied") => K::PersonRefused,
        _ => K::Protocol,
    }
}

/// The code in a text such as `AADSTS65004: The resource owner…`.
#[must_use]
pub fn aadsts_code(text: &str) -> Option<u32> {
    let (_, after) = text.split_once("AADSTS")?;
    let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    after[..digits].parse().ok()
}

/// Trace and correlation ids follow on lines of their own; they are logged, not shown.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim()
}

/// Whatever Microsoft (or somebody in its name, on a callback) says is shown only so far.
pub(crate) fn cut(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut out: String = text.chars().take(CHARS_MAX).map(clean).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    error: Option<String>,
    error_description: Option<String>,
    error_codes: Vec<u32>,
}

/// What Entra ID wants besides; of whatever form.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Demands {
    claims: Value,
    suberror: Value,
}

fn is_empty(demand: &Value) -> bool {
    demand.is_null() || demand.as_str() == Some("")
}

#[cfg(test)]
#[path = "aadsts_tests.rs"]
mod tests;
