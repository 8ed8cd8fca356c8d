//! Errors of Graph: the directory's plain ones, and Intune's, whose message is a JSON text by itself.

use axum::http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Answer;
use crate::{
    clock::random_guid,
    fleet::{Precision, timestamp},
};

/// What the caller sent along and wants back.
#[derive(Debug, Clone)]
pub struct Ids {
    pub request_id: Uuid,
    pub client_request_id: Option<String>,
    pub now: OffsetDateTime,
}

impl Ids {
    fn inner(&self) -> Value {
        let date = timestamp(self.now, Precision::Seconds);
        let request = self.request_id.to_string();
        json!({
            "date": date.trim_end_matches('Z'),
            "request-id": request,
            "client-request-id": self.client_request_id.as_deref().unwrap_or(&request),
        })
    }

    /// `{"error":{"code","message","innerError"}}`.
    #[must_use]
    pub fn error(&self, status: StatusCode, code: &str, message: &str) -> Answer {
        Answer::json(
            status,
            &json!({ "error": { "code": code, "message": message, "innerError": self.inner() } }),
        )
    }

    /// An error from behind Graph, from Intune itself.
    #[must_use]
    pub fn intune_error(&self, status: StatusCode, code: &str, message: &str) -> Answer {
        let nested = format!(
            "{{\r\n  \"_version\": 3,\r\n  \"Message\": {},\r\n  \"CustomApiErrorPhrase\": \"\",\r\n  \
             \"RetryAfter\": null,\r\n  \"ErrorSourceService\": \"\",\r\n  \"HttpHeaders\": \"{{}}\"\r\n}}",
            json!(format!(
                "{message} - Operation ID (for customer support): {} - Activity ID: {} - Url: \
                 https://fef.msub05.manage.microsoft.com/DeviceFE/StatelessDeviceFEService/deviceManagement/\
                 managedDevices?api-version=5019-09-20",
                Uuid::nil(),
                self.request_id,
            ))
        );
        self.error(status, code, &nested)
    }

    #[must_use]
    pub fn intune_forbidden(&self) -> Answer {
        self.intune_error(
            StatusCode::FORBIDDEN,
            "Forbidden",
            "Application is not authorized to perform this operation. Application must have one of the \
             following scopes: DeviceManagementManagedDevices.Read.All, \
             DeviceManagementManagedDevices.ReadWrite.All",
        )
    }

    #[must_use]
    pub fn unlicensed(&self) -> Answer {
        self.intune_error(StatusCode::FORBIDDEN, "Forbidden", "Request not applicable to target tenant.")
    }

    #[must_use]
    pub fn directory_forbidden(&self) -> Answer {
        self.error(
            StatusCode::FORBIDDEN,
            "Authorization_RequestDenied",
            "Insufficient privileges to complete the operation.",
        )
    }

    #[must_use]
    pub fn unauthenticated(&self, message: &str) -> Answer {
        self.error(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message).with_header(
            "WWW-Authenticate",
            "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
             client_id=\"00000003-0000-0000-c000-000000000000\", error=\"invalid_token\""
                .to_owned(),
        )
    }

    #[must_use]
    pub fn directory_not_found(&self, id: &str) -> Answer {
        self.error(
            StatusCode::NOT_FOUND,
            "Request_ResourceNotFound",
            &format!(
                "Resource '{id}' does not exist or one of its queried reference-property objects are not present."
            ),
        )
    }

    #[must_use]
    pub fn bad_request(&self, message: &str) -> Answer {
        self.error(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    #[must_use]
    pub fn unsupported_query(&self, message: &str) -> Answer {
        self.error(StatusCode::BAD_REQUEST, "Request_UnsupportedQuery", message)
    }

    #[must_use]
    pub fn throttled(&self, retry_after: Option<String>) -> Answer {
        let answer = self.error(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            "Too many requests. Please retry after the time given in the Retry-After header.",
        );
        match retry_after {
            Some(retry_after) => answer.with_header("Retry-After", retry_after),
            None => answer,
        }
    }

    /// An error of a fault rule.
    #[must_use]
    pub fn faulty(&self, status: StatusCode) -> Answer {
        match status {
            StatusCode::UNAUTHORIZED => {
                self.unauthenticated("Lifetime validation failed, the token is expired.")
            }
            StatusCode::FORBIDDEN => self.intune_forbidden(),
            StatusCode::TOO_MANY_REQUESTS => self.throttled(None),
            StatusCode::SERVICE_UNAVAILABLE => {
                self.error(status, "serviceNotAvailable", "The service is temporarily unavailable.")
            }
            StatusCode::GATEWAY_TIMEOUT => self.error(status, "UnknownError", "The operation timed out."),
            StatusCode::GONE => self.error(
                status,
                "syncStateNotFound",
                "The sync state generation is not found; continuing with delta sync is not possible.",
            ),
            _ => self.error(status, "UnknownError", ""),
        }
    }
}

#[must_use]
pub fn new_ids(now: OffsetDateTime, client_request_id: Option<String>) -> Ids {
    Ids { request_id: random_guid(), client_request_id, now }
}
