//! Answers that travel through the browser back to the application.

use askama::Template;
use askama_web::WebTemplate;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseMode {
    Query,
    FormPost,
}

/// Where an answer goes, and how.
#[derive(Debug, Clone)]
pub struct Callback {
    pub redirect_uri: String,
    pub mode: ResponseMode,
    pub state: Option<String>,
}

#[derive(Template, WebTemplate)]
#[template(path = "form_post.html")]
struct FormPost<'a> {
    action: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

impl Callback {
    /// Sends `first`, then `state`, then `last`, in this order.
    #[must_use]
    pub fn send(&self, first: &[(&str, &str)], last: &[(&str, &str)]) -> Response {
        let state = self.state.as_deref().map(|state| ("state", state));
        let fields: Vec<_> = first.iter().copied().chain(state).chain(last.iter().copied()).collect();
        match self.mode {
            ResponseMode::FormPost => FormPost { action: &self.redirect_uri, fields }.into_response(),
            ResponseMode::Query => {
                let mut query = url::form_urlencoded::Serializer::new(String::new());
                query.extend_pairs(&fields);
                let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
                redirect(&format!("{}{joint}{}", self.redirect_uri, query.finish()))
            }
        }
    }
}

/// 302 Found, as Entra redirects.
#[must_use]
pub fn redirect(to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(location) => (StatusCode::FOUND, [(header::LOCATION, location)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}
