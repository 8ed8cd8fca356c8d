//! Errors of the login endpoints: AADSTS codes, HTTP statuses and bodies as Entra sends them.
//!
//! Body: `{"error","error_description","error_codes","timestamp","trace_id","correlation_id","error_uri"}`; the
//! description ends with trace id, correlation id and timestamp on lines of their own.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::clock::random_guid;

#[derive(Debug, Clone)]
pub struct Aadsts {
    pub code: u32,
    pub status: StatusCode,
    /// The OAuth error.
    pub error: &'static str,
    pub message: String,
    pub suberror: Option<&'static str>,
    /// The claims challenge of Conditional Access.
    pub claims: Option<String>,
}

impl Aadsts {
    #[must_use]
    pub fn new(code: u32, status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { code, status, error, message: message.into(), suberror: None, claims: None }
    }

    fn invalid_request(code: u32, message: impl Into<String>) -> Self {
        Self::new(code, StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    fn invalid_grant(code: u32, message: impl Into<String>) -> Self {
        Self::new(code, StatusCode::BAD_REQUEST, "invalid_grant", message)
    }

    fn invalid_client(code: u32, message: impl Into<String>) -> Self {
        Self::new(code, StatusCode::UNAUTHORIZED, "invalid_client", message)
    }

    #[must_use]
    pub fn missing_parameter(name: &str) -> Self {
        Self::invalid_request(
            900_144,
            format!("The request body must contain the following parameter: '{name}'."),
        )
    }

    #[must_use]
    pub fn tenant_not_found(tenant: &str) -> Self {
        Self::invalid_request(
            90_002,
            format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing \
                 into the correct cloud. Check with your subscription administrator, this may happen if there \
                 are no active subscriptions for the tenant."
            ),
        )
    }

    #[must_use]
    pub fn malformed_tenant(tenant: &str) -> Self {
        Self::invalid_request(
            900_023,
            format!(
                "Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a valid external domain."
            ),
        )
    }

    #[must_use]
    pub fn app_not_found(client_id: &str, directory: &str) -> Self {
        Self::new(
            700_016,
            StatusCode::BAD_REQUEST,
            "unauthorized_client",
            format!(
                "Application with identifier '{client_id}' was not found in the directory '{directory}'. This \
                 can happen if the application has not been installed by the administrator of the tenant or \
                 consented to by any user in the tenant. You may have sent your authentication request to the \
                 wrong tenant."
            ),
        )
    }

    /// The usual answer to a multi-tenant app whose enterprise app was deleted or never consented to.
    #[must_use]
    pub fn principal_missing(client_id: &str, tenant: &str) -> Self {
        Self::invalid_client(
            7_000_229,
            format!(
                "The client application {client_id} is missing service principal in the tenant {tenant}. See \
                 instructions here: https://go.microsoft.com/fwlink/?linkid=2225119"
            ),
        )
    }

    #[must_use]
    pub fn app_disabled(client_id: &str, name: &str) -> Self {
        Self::new(
            7_000_112,
            StatusCode::BAD_REQUEST,
            "unauthorized_client",
            format!("Application '{client_id}'({name}) is disabled."),
        )
    }

    #[must_use]
    pub fn resource_missing(resource: &str, directory: &str) -> Self {
        Self::new(
            500_011,
            StatusCode::BAD_REQUEST,
            "invalid_resource",
            format!(
                "The resource principal named {resource} was not found in the tenant named {directory}. This \
                 can happen if the application has not been installed by the administrator of the tenant or \
                 consented to by any user in the tenant. You might have sent your authentication request to \
                 the wrong tenant."
            ),
        )
    }

    #[must_use]
    pub fn scope_not_default(scope: &str) -> Self {
        Self::new(
            1_002_012,
            StatusCode::BAD_REQUEST,
            "invalid_scope",
            format!(
                "The provided value for scope {scope} is not valid. Client credential flows must have a scope \
                 value with /.default suffixed to the resource identifier (application ID URI)."
            ),
        )
    }

    #[must_use]
    pub fn several_resources(scope: &str) -> Self {
        Self::new(
            70_011,
            StatusCode::BAD_REQUEST,
            "invalid_scope",
            format!(
                "The provided request must include a 'scope' input parameter. The provided value for the input \
                 parameter 'scope' is not valid. The scope {scope} is not valid: it names more than one resource."
            ),
        )
    }

    #[must_use]
    pub fn common_not_supported() -> Self {
        Self::invalid_request(
            9_001_023,
            "The grant type is not supported over the /common or /consumers endpoints. Please use the \
             /organizations or tenant-specific endpoint.",
        )
    }

    #[must_use]
    pub fn unsupported_grant_type(grant_type: &str) -> Self {
        Self::new(
            70_003,
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            format!("The app requested an unsupported grant type '{grant_type}'."),
        )
    }

    #[must_use]
    pub fn no_credential() -> Self {
        Self::invalid_client(
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        )
    }

    #[must_use]
    pub fn wrong_secret(client_id: &str) -> Self {
        Self::invalid_client(
            7_000_215,
            format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client \
                 secret value, not the client secret ID, for a secret added to app '{client_id}'."
            ),
        )
    }

    #[must_use]
    pub fn expired_secret(client_id: &str) -> Self {
        Self::invalid_client(
            7_000_222,
            format!(
                "The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal to \
                 create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate \
                 credentials for added security: https://aka.ms/certCreds."
            ),
        )
    }

    /// A fault of the client assertion: 700027, 700024, 700021, 50048, 50027, 1000502.
    #[must_use]
    pub fn assertion(code: u32, message: impl Into<String>) -> Self {
        Self::invalid_client(code, message)
    }

    #[must_use]
    pub fn blocked_by_conditional_access() -> Self {
        Self {
            suberror: Some("message_only"),
            claims: Some(r#"{"access_token":{"capolids":{"essential":true,"values":["c6c5b6a0-1c2e-4d2a-9c43-7f3e7a4c1f00"]}}}"#.to_owned()),
            ..Self::invalid_grant(
                53_003,
                "Access has been blocked by Conditional Access policies. The access policy does not allow token \
                 issuance.",
            )
        }
    }

    #[must_use]
    pub fn code_unknown() -> Self {
        Self::invalid_grant(
            9_002_313,
            "Invalid request. Request is malformed or invalid: the authorization code is not one of ours.",
        )
    }

    #[must_use]
    pub fn code_redeemed() -> Self {
        Self::invalid_grant(
            54_005,
            "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an \
             existing refresh token.",
        )
    }

    #[must_use]
    pub fn code_expired() -> Self {
        Self::invalid_grant(
            70_008,
            "The provided authorization code or refresh token has expired due to inactivity. Send a new \
             interactive authorization request for this user and resource.",
        )
    }

    #[must_use]
    pub fn code_of_other_authority() -> Self {
        Self::invalid_grant(
            700_005,
            "Provided Authorization Code is intended to use against other tenant, thus rejected. OAuth2 \
             Authorization Code must be redeemed against same tenant it was acquired for (/common or \
             /{tenant-ID} as appropriate).",
        )
    }

    #[must_use]
    pub fn code_of_other_redirect(given: &str) -> Self {
        Self::invalid_grant(
            500_112,
            format!(
                "The reply address '{given}' does not match the reply address provided when requesting \
                 Authorization code."
            ),
        )
    }

    #[must_use]
    pub fn verifier_mismatch() -> Self {
        Self::invalid_grant(
            501_481,
            "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
        )
    }

    #[must_use]
    pub fn verifier_missing() -> Self {
        Self::invalid_grant(50_148, "The size of the Code_Verifier is not the expected 43 to 128 characters.")
    }

    #[must_use]
    pub fn wrong_redirect(redirect_uri: &str, client_id: &str) -> Self {
        Self::invalid_request(
            50_011,
            format!(
                "The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs \
                 configured for the application '{client_id}'. Make sure the redirect URI sent in the request \
                 matches one added to your application in the Azure portal."
            ),
        )
    }

    #[must_use]
    pub fn not_multi_tenant(client_id: &str) -> Self {
        Self::invalid_request(
            50_194,
            format!(
                "Application '{client_id}' is not configured as a multi-tenant application. Usage of the \
                 /common endpoint is not supported for such apps created after '10/15/2018'. Use a \
                 tenant-specific endpoint or configure the application to be multi-tenant."
            ),
        )
    }

    #[must_use]
    pub fn not_subscribed(client_id: &str, name: &str) -> Self {
        Self::new(
            650_052,
            StatusCode::BAD_REQUEST,
            "invalid_client",
            format!(
                "The app is trying to access a service 'c161e42e-d4df-4a3d-9b42-e7a3c31f59d4' (Microsoft Intune \
                 API) that your organization lacks a service principal for, application '{client_id}'({name}). \
                 Contact your IT Admin to review the configuration of your service subscriptions."
            ),
        )
    }

    #[must_use]
    pub fn needs_admin(client_id: &str, name: &str) -> Self {
        Self::new(
            90_094,
            StatusCode::FORBIDDEN,
            "access_denied",
            format!(
                "{name} ({client_id}) needs permission to access resources in your organization that only an \
                 admin can grant. Please ask an admin to grant permission to this app before you can use it."
            ),
        )
    }

    /// An error by its code alone, as a fault rule asks for it.
    #[must_use]
    pub fn by_code(code: u32, status: StatusCode) -> Self {
        let error = match code {
            53_003 => return Self::blocked_by_conditional_access(),
            90_002 => "invalid_request",
            700_016 | 7_000_112 | 70_001 => "unauthorized_client",
            500_011 => "invalid_resource",
            50_000 | 90_033 | 90_090 | 50_033 | 90_006 | 90_024 => "temporarily_unavailable",
            _ if status == StatusCode::UNAUTHORIZED => "invalid_client",
            _ if status.is_server_error() => "server_error",
            _ => "invalid_request",
        };
        Self::new(
            code,
            status,
            error,
            "The service answered with the error that the simulator was told to give.",
        )
    }

    /// `error_description`, with the ids and the time that every error carries.
    #[must_use]
    pub fn description(&self, trace: &str, correlation: &str, now: OffsetDateTime) -> String {
        format!(
            "AADSTS{}: {}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {}",
            self.code,
            self.message,
            login_timestamp(now)
        )
    }

    #[must_use]
    pub fn body(&self, public_url: &str, now: OffsetDateTime) -> Value {
        let (trace, correlation) = (random_guid().to_string(), random_guid().to_string());
        let mut body = json!({
            "error": self.error,
            "error_description": self.description(&trace, &correlation, now),
            "error_codes": [self.code],
            "timestamp": login_timestamp(now),
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("{public_url}/error?code={}", self.code),
        });
        if let Some(suberror) = self.suberror {
            body["suberror"] = json!(suberror);
        }
        if let Some(claims) = &self.claims {
            body["claims"] = json!(claims);
        }
        body
    }

    #[must_use]
    pub fn response(&self, public_url: &str, now: OffsetDateTime) -> Response {
        let mut response = (self.status, Json(self.body(public_url, now))).into_response();
        stamp(&mut response);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
        response
    }
}

/// Headers that every answer of the login service carries.
pub fn stamp(response: &mut Response) {
    if let Ok(id) = HeaderValue::from_str(&random_guid().to_string()) {
        response.headers_mut().insert("x-ms-request-id", id);
    }
    if response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    }
}

/// `2026-01-09 02:02:12Z`: the form of times in login errors.
#[must_use]
pub fn login_timestamp(at: OffsetDateTime) -> String {
    crate::fleet::timestamp(at, crate::fleet::Precision::Seconds).replacen('T', " ", 1)
}
