//! What Graph's refusals mean.

use std::time::Duration;

use domain::link::LinkState;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::aadsts::{TokenError, cut};
use crate::http::{Answer, HttpError};
use crate::retry_after;

/// Why Graph gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// There was no token to ask with.
    #[error("no token for Microsoft Graph: {0}")]
    Token(#[from] TokenError),
    /// 429. Wait at least `retry_after`; where Microsoft named no time, back off.
    #[error("Microsoft Graph asks to slow down")]
    Throttled { retry_after: Option<Duration> },
    /// 5xx, no connection, or no answer in time. Back off, and honour `retry_after` where it is.
    #[error("Microsoft Graph does not answer: {detail}")]
    Unavailable { retry_after: Option<Duration>, detail: String },
    /// 401, even with a new token.
    #[error("Microsoft Graph refuses the token: {detail}")]
    Unauthorized { detail: String },
    /// 403: the permission is not (or not yet) in the token.
    #[error("Microsoft Graph refuses access to managed devices: {detail}")]
    Forbidden { detail: String },
    /// 403 of the directory: `Device.Read.All` is not (or not yet) in the token. Intune may answer all the same.
    #[error("Microsoft Graph refuses access to the directory's devices: {detail}")]
    DirectoryForbidden { detail: String },
    /// 404, 405 or 501 of `devices/delta`: this directory does not tell what changed. Intune may answer all the same.
    #[error("Microsoft Graph does not tell what changes in this directory: {detail}")]
    DirectoryWithoutDelta { detail: String },
    /// The tenant has no active Intune subscription.
    #[error("the tenant has no active Intune subscription: {detail}")]
    NoIntune { detail: String },
    /// The page's token expired: begin the sweep again.
    #[error("the next page can no longer be fetched; begin again at the first")]
    PageExpired,
    /// 410: the delta's token expired. Start over.
    #[error("the directory's changes can no longer be told from there; start over")]
    DeltaExpired,
    /// Graph ignored a filter, as it does without a word: devices came, and none fits.
    #[error("Microsoft Graph ignored the filter by {property}")]
    FilterIgnored { property: &'static str },
    /// A filtered answer did not come to its end within the pages that are read.
    #[error("Microsoft Graph did not finish its search by {property}")]
    Unfinished { property: &'static str },
    /// 400: Graph does not understand the request.
    #[error("Microsoft Graph refuses the request: {detail}")]
    BadRequest { detail: String },
    /// The answer is not what the protocol promises: not JSON, too large, another device's record, a page elsewhere.
    #[error("Microsoft Graph's answer cannot be used: {detail}")]
    Protocol { detail: String },
}

impl GraphError {
    pub(crate) fn protocol(detail: impl Into<String>) -> Self {
        Self::Protocol { detail: detail.into() }
    }

    /// How the link fares because of it; `None` where it says nothing about the link.
    #[must_use]
    pub const fn link_state(&self) -> Option<LinkState> {
        Some(match self {
            Self::Token(error) => return error.link_state(),
            Self::Throttled { .. } => LinkState::Throttled,
            Self::Unavailable { .. }
            | Self::Unauthorized { .. }
            | Self::BadRequest { .. }
            | Self::Protocol { .. } => LinkState::Unreachable,
            Self::Forbidden { .. } => LinkState::PermissionMissing,
            Self::NoIntune { .. } => LinkState::NoIntune,
            Self::DirectoryForbidden { .. }
            | Self::DirectoryWithoutDelta { .. }
            | Self::PageExpired
            | Self::DeltaExpired
            | Self::FilterIgnored { .. }
            | Self::Unfinished { .. } => return None,
        })
    }

    /// How long Microsoft asked to wait, where it did.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } | Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Token(error) => error.retry_after,
            _ => None,
        }
    }

    /// What Microsoft said, without our words around it where there are such.
    pub(crate) fn detail(self) -> String {
        match self {
            Self::Unavailable { detail, .. }
            | Self::Unauthorized { detail }
            | Self::Forbidden { detail }
            | Self::NoIntune { detail }
            | Self::BadRequest { detail }
            | Self::Protocol { detail } => detail,
            other => other.to_string(),
        }
    }

    /// The same request may succeed later without anybody's help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Unavailable { .. } => true,
            Self::Token(error) => error.is_transient(),
            _ => false,
        }
    }

    /// What an answer other than success means.
    pub(crate) fn classify(answer: &Answer) -> Self {
        Self::of(answer.status.as_u16(), answer.retry_after, &answer.body)
    }

    /// The same, by its parts. `body` may be anything.
    pub(crate) fn of(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let body = Body::read(body);
        let retry_after = retry_after.or(body.retry_after);
        let detail = body.detail(status);
        match status {
            429 => Self::Throttled { retry_after },
            408 | 500..=599 => Self::Unavailable { retry_after, detail },
            401 => Self::Unauthorized { detail },
            400 | 403 | 404 if body.says_no_subscription() => Self::NoIntune { detail },
            403 => Self::Forbidden { detail },
            410 => Self::PageExpired,
            400 => Self::BadRequest { detail },
            _ => Self::Protocol { detail },
        }
    }
}

impl From<HttpError> for GraphError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::TooLarge(_) => Self::Protocol { detail: error.to_string() },
            HttpError::Timeout(_) | HttpError::Failed(_) => {
                Self::Unavailable { retry_after: None, detail: error.to_string() }
            }
        }
    }
}

/// Why a 404 to a single record does not mean that there is none; `None` where it does. A tenant without a
/// subscription says nothing about the record, and neither does a page of something in between.
pub(crate) fn not_about_the_record(body: &[u8]) -> Option<GraphError> {
    match GraphError::of(404, None, body) {
        error @ GraphError::NoIntune { .. } => Some(error),
        _ if body.trim_ascii().is_empty() || serde_json::from_slice::<IgnoredAny>(body).is_ok() => None,
        _ => Some(GraphError::protocol("a 404 that is not Microsoft Graph's")),
    }
}

/// OData's complaint about a property in `$select` that the schema does not have.
pub(crate) fn names_unknown_property(answer: &Answer) -> bool {
    complains_of_property(answer.status.as_u16(), &answer.body)
}

/// The same, by its parts.
pub(crate) fn complains_of_property(status: u16, body: &[u8]) -> bool {
    status == 400 && {
        let message = Body::read(body).message.to_lowercase();
        message.contains("could not find a property named") || message.contains("parsing odata select")
    }
}

/// An error body, flattened: Intune puts a JSON text of its own into `message`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Body {
    code: String,
    message: String,
    retry_after: Option<Duration>,
}

impl Body {
    fn read(bytes: &[u8]) -> Self {
        let Ok(Wire { error }) = serde_json::from_slice::<Wire>(bytes) else { return Self::default() };
        let message = error.message.unwrap_or_default();
        let code = error.code.unwrap_or_default();
        match serde_json::from_str::<Nested>(&message) {
            Ok(nested) => Self {
                code,
                message: nested.message.unwrap_or_default(),
                retry_after: nested
                    .retry_after
                    .and_then(|value| match value {
                        serde_json::Value::Number(n) => n.as_u64().map(Duration::from_secs),
                        serde_json::Value::String(s) => s.trim().parse().ok().map(Duration::from_secs),
                        _ => None,
                    })
                    .map(|wait| wait.min(retry_after::MAX)),
            },
            Err(_) => Self { code, message, retry_after: None },
        }
    }

    /// For people: without the operation id, activity id and address that Intune appends.
    fn detail(&self, status: u16) -> String {
        let message = self.message.split(" - Operation ID").next().unwrap_or_default().trim();
        match (self.code.as_str(), message) {
            ("", "") => format!("HTTP status {status}"),
            ("", message) => cut(message),
            (code, "") => cut(code),
            (code, message) => cut(&format!("{code}: {message}")),
        }
    }

    fn says_no_subscription(&self) -> bool {
        let message = self.message.to_lowercase();
        ["not applicable to target tenant", "valid intune license", "not licensed for intune"]
            .iter()
            .any(|phrase| message.contains(phrase))
    }
}

#[derive(Deserialize)]
struct Wire {
    error: WireError,
}

#[derive(Deserialize)]
struct WireError {
    code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Nested {
    #[serde(rename = "_version")]
    _version: serde_json::Value,
    #[serde(rename = "Message")]
    message: Option<String>,
    #[serde(rename = "RetryAfter", default)]
    retry_after: Option<serde_json::Value>,
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
