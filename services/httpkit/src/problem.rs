//! Problems, as RFC 9457 has them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// An error answer (`application/problem+json`, RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "code": "invalid_request",
    "status": 422,
    "title": "The request has fields that cannot be used",
    "detail": "Correct the fields named in `errors`.",
    "errors": [{
        "field": "mac",
        "code": "invalid_mac",
        "message": "not a MAC address: write twelve hexadecimal digits, for example aa:bb:cc:dd:ee:ff"
    }],
    "request_id": "01936f2a-6c5e-7d2b-9a57-3f1f0e6c1a42"
}))]
pub struct Problem {
    /// For machines. Stable: a code never changes its meaning.
    pub code: &'static str,
    /// The HTTP status again.
    pub status: u16,
    /// What kind of problem it is; the same for every problem with this code.
    pub title: &'static str,
    /// What to do about this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The fields that cannot be used: all of them at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// Names the request in our logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip)]
    #[schema(ignore)]
    retry_after_seconds: Option<u32>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Its path: `nas.ip`, `cert.san_uri[1]`; empty for the whole document.
    pub field: String,
    /// For machines.
    pub code: String,
    /// What to write instead.
    pub message: String,
}

impl FieldProblem {
    pub fn new(field: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }
}

impl Problem {
    #[must_use]
    pub const fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self {
            code,
            status: status.as_u16(),
            title,
            detail: None,
            errors: Vec::new(),
            request_id: None,
            retry_after_seconds: None,
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names a field.
    #[must_use]
    pub fn field(
        mut self,
        field: impl Into<String>,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        self.errors.push(FieldProblem::new(field, code, message));
        self
    }

    /// Adds the `Retry-After` header.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// 422: all fields that cannot be used.
    #[must_use]
    pub fn invalid(errors: Vec<FieldProblem>) -> Self {
        Self {
            errors,
            ..Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_request",
                "The request has fields that cannot be used",
            )
        }
        .detail("Correct the fields named in `errors`.")
    }

    /// 404, also for what exists elsewhere.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here")
            .detail(format!("There is no such {what}."))
    }

    /// 401, the same for every cause.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "The credential is missing or not valid")
            .detail("Send `Authorization: Bearer <token>` with a token that is not revoked.")
    }

    /// 429: more requests than the caller may make.
    #[must_use]
    pub fn too_many(retry_after_seconds: u32) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "More requests than you may make")
            .detail("Ask again after the seconds in `Retry-After`.")
            .retry_after(retry_after_seconds)
    }

    /// 503: something of ours is away for the moment.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: &str, retry_after_seconds: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, "The service cannot do this at the moment")
            .detail(detail)
            .retry_after(retry_after_seconds)
    }

    /// 500, without inside detail: log the error chain first.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side")
            .detail("Try again; if it stays, tell us the request id.")
    }

    /// The status.
    #[must_use]
    pub fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The body. Writing strings and numbers as JSON cannot fail.
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status_code(), self.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status_code() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // The front layer knows the request id, and writes the body again with it.
        response.extensions_mut().insert(self);
        response
    }
}

/// A fallback for paths that do not exist.
pub async fn not_found() -> Problem {
    Problem::not_found("path")
}

/// A fallback for methods that a path does not have.
pub async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The path does not have this method")
        .detail("See the `Allow` header for those it has.")
}
