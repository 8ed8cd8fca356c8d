//! What stands before every page: no request of another site changes anything, no page takes anything from
//! elsewhere, and whatever goes wrong is told as a page.

use std::any::Any;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum_extra::extract::CookieJar;
use httpkit::RequestContext;
use tower_http::csrf::{ConfigError, CsrfLayer, ProtectionError};
use url::Url;

use crate::app::{App, WebConfig};
use crate::error::ErrorWords;
use crate::shell::{Shell, Theme, page_as};

/// Refuses what browsers mark as coming from another site (Sec-Fetch-Site, Origin). Together with cookies that are
/// SameSite=Lax, no form needs a token of its own.
pub(crate) fn csrf(
    config: &WebConfig,
) -> Result<CsrfLayer<impl Fn(ProtectionError) -> axum::response::Response + Clone + use<>>, ConfigError> {
    let layer = CsrfLayer::new().with_rejection_response(|_| refused());
    layer.add_trusted_origin(config.public_url.origin().ascii_serialization())
}

fn refused() -> axum::response::Response {
    let mut response = StatusCode::FORBIDDEN.into_response();
    response.extensions_mut().insert(ErrorWords::of(StatusCode::FORBIDDEN));
    response
}

/// What was asked for is given up, in time for a page to say so.
fn too_slow() -> axum::response::Response {
    let mut response = StatusCode::GATEWAY_TIMEOUT.into_response();
    response.extensions_mut().insert(ErrorWords::too_slow());
    response
}

/// A handler panicked: the log has the whole story, the visitor a page.
#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer asks for")]
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> axum::response::Response {
    let what =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = what.unwrap_or("(not a text)"), "a handler panicked");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// The layer above lets a request pass that bears neither header, for the sake of scripts. Browsers send at least
/// one of them with every POST; the dashboard has no other callers.
pub(crate) async fn origin_is_told(request: Request, next: Next) -> axum::response::Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let told =
        request.headers().contains_key(header::ORIGIN) || request.headers().contains_key("sec-fetch-site");
    if changes && !told { refused() } else { next.run(request).await }
}

/// The headers of every answer.
#[derive(Clone, Debug)]
pub(crate) struct SecurityHeaders(Vec<(HeaderName, HeaderValue)>);

impl SecurityHeaders {
    /// Forms lead to the dashboard itself and to the sign-in hosts of Microsoft's clouds, nowhere else; everything
    /// else is our own.
    pub(crate) fn new<'a>(config: &WebConfig, sign_in: impl IntoIterator<Item = &'a Url>) -> Self {
        let hosts = sign_in.into_iter().map(|url| url.origin().ascii_serialization());
        let sign_in = hosts.collect::<Vec<_>>().join(" ");
        let policy = format!(
            "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self' {sign_in}"
        );
        let mut headers = vec![
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
            // With no-referrer browsers would send `Origin: null` with our own forms.
            (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                HeaderValue::from_static("same-origin"),
            ),
            (
                HeaderName::from_static("permissions-policy"),
                HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
            ),
        ];
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.push((header::CONTENT_SECURITY_POLICY, policy));
        }
        if is_https(&config.public_url) {
            let year = HeaderValue::from_static("max-age=31536000");
            headers.push((header::STRICT_TRANSPORT_SECURITY, year));
        }
        Self(headers)
    }

    pub(crate) async fn add(
        State(this): State<Self>,
        request: Request,
        next: Next,
    ) -> axum::response::Response {
        let mut response = next.run(request).await;
        for (name, value) in &this.0 {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response
    }
}

pub(crate) fn is_https(url: &Url) -> bool {
    url.scheme() == "https"
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    shell: Shell,
    words: &'a ErrorWords,
    request_id: Option<&'a str>,
}

/// Turns every failure into a page, in the visitor's colours and with the request's id.
pub(crate) async fn error_pages(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> axum::response::Response {
    let theme = Theme::of(&CookieJar::from_headers(request.headers()));
    let context = request.extensions().get::<RequestContext>().cloned();
    let answer = next.run(request);
    let response = match &context {
        Some(context) => {
            tokio::time::timeout_at(context.answer_by(), answer).await.unwrap_or_else(|_| too_slow())
        }
        None => answer.await,
    };
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_page(&response) {
        return response;
    }
    let words = response.extensions().get::<ErrorWords>().cloned().unwrap_or_else(|| ErrorWords::of(status));
    let template = ErrorPage {
        shell: Shell::bare(theme, app.now()),
        words: &words,
        request_id: context.as_ref().map(RequestContext::id),
    };
    match page_as(status, &template) {
        Ok(mut page) => {
            for (name, value) in response.headers() {
                if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH | header::CACHE_CONTROL) {
                    page.headers_mut().append(name.clone(), value.clone());
                }
            }
            page
        }
        Err(_) => response,
    }
}

fn is_page<B>(response: &Response<B>) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    content_type.is_some_and(|v| v.starts_with("text/html"))
}
