//! What a page answers when it cannot do what was asked: in words, with a request id, and nothing of the inside.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use store::StoreError;

/// Why a page was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// There is no such thing, or not for this person.
    #[error("not found")]
    NotFound,
    /// Nobody is signed in. The error page of a page leads to the sign-in, and back to it from there.
    #[error("signed out")]
    SignedOut { return_to: Option<String> },
    /// What was sent does not read as a form of this page.
    #[error("{0}")]
    BadRequest(String),
    /// It cannot be done as things stand.
    #[error("{0}")]
    Conflict(String),
    #[error("the session store failed: {0}")]
    Session(#[from] tower_sessions::session::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a page could not be rendered: {0}")]
    Template(#[from] askama::Error),
    /// Anything else of ours; logged, not shown.
    #[error("{0}")]
    Inside(String),
}

/// What the error page says. Rides in the response's extensions to the layer that renders it, which knows the
/// request.
#[derive(Clone, Debug)]
pub(crate) struct ErrorWords {
    pub status: StatusCode,
    pub title: String,
    pub text: String,
    /// Where a 401 leads.
    pub sign_in: String,
}

impl ErrorWords {
    pub(crate) fn of(status: StatusCode) -> Self {
        let (title, text) = match status {
            StatusCode::NOT_FOUND => (
                "Nothing is here",
                "The page does not exist, or it belongs to an organization that you are not a member of. Check the \
                 address, or start from your organizations.",
            ),
            StatusCode::FORBIDDEN => (
                "Refused",
                "The request did not come from a page of this dashboard, so nothing was changed. Open the page again \
                 and repeat what you did.",
            ),
            StatusCode::METHOD_NOT_ALLOWED => (
                "Not this way",
                "This address takes another kind of request. Go back and use the page's own buttons.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => ("Too large", "What was sent is larger than this page takes."),
            StatusCode::SERVICE_UNAVAILABLE => (
                "Not available right now",
                "A part that this page needs does not answer. Decisions go on meanwhile. Try again in a moment.",
            ),
            StatusCode::GATEWAY_TIMEOUT => (
                "That took too long",
                "The search was given up. Choose a shorter time window, or add a MAC address or a user.",
            ),
            StatusCode::BAD_REQUEST
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => (
                "The form could not be read",
                "What was sent does not fit this page. Open the page again and repeat what you did.",
            ),
            _ => (
                "Something went wrong on our side",
                "Nothing was changed. Try again; if it stays so, give the request id below to whoever runs Gatehouse.",
            ),
        };
        Self::with(status, title, text.to_owned())
    }

    /// The whole request took longer than a request may.
    pub(crate) fn too_slow() -> Self {
        let text = "It was given up. Where you sent a form, look whether it was done before you send it again; where \
                    you searched, choose a shorter time window.";
        Self::with(StatusCode::GATEWAY_TIMEOUT, "That took too long", text.to_owned())
    }

    fn with(status: StatusCode, title: &str, text: String) -> Self {
        Self { status, title: title.to_owned(), text, sign_in: "/sign-in".to_owned() }
    }

    /// `return_to`: the page that was asked for; there is none where a form was sent.
    fn signed_out(return_to: Option<&str>) -> Self {
        let text = if return_to.is_some() {
            "Sign in, and you come back to this page."
        } else {
            "Sign in again, then repeat what you did: it was not saved."
        };
        let mut words = Self::with(StatusCode::UNAUTHORIZED, "You are signed out", text.to_owned());
        if let Some(path) = return_to {
            let query =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", path).finish();
            words.sign_in = format!("/sign-in?{query}");
        }
        words
    }
}

impl PageError {
    fn words(self) -> ErrorWords {
        match self {
            Self::NotFound => ErrorWords::of(StatusCode::NOT_FOUND),
            Self::SignedOut { return_to } => ErrorWords::signed_out(return_to.as_deref()),
            Self::BadRequest(text) => {
                ErrorWords::with(StatusCode::BAD_REQUEST, "The form could not be read", text)
            }
            Self::Conflict(text) => ErrorWords::with(StatusCode::CONFLICT, "Not as things stand", text),
            Self::Store(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a page could not reach its data");
                match &error {
                    e if timed_out(e) => ErrorWords::of(StatusCode::GATEWAY_TIMEOUT),
                    e if e.is_unavailable() => ErrorWords::of(StatusCode::SERVICE_UNAVAILABLE),
                    _ => ErrorWords::of(StatusCode::INTERNAL_SERVER_ERROR),
                }
            }
            Self::Session(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the session store failed");
                ErrorWords::of(StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Template(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a page could not be rendered");
                ErrorWords::of(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::Inside(error) => {
                tracing::error!(error, "a page failed");
                ErrorWords::of(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// PostgreSQL gave up on a statement (57014, query_canceled).
fn timed_out(error: &StoreError) -> bool {
    error.sql_state().as_deref() == Some("57014")
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let words = self.words();
        let mut response = words.status.into_response();
        if words.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response.extensions_mut().insert(words);
        response
    }
}
