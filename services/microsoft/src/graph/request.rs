//! Requests with a tenant's token, and what their addresses are made of.

use http::{HeaderValue, Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{Graph, GraphError};
use crate::http::Answer;
use crate::token::AccessToken;

/// What is asked of Graph.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    /// Names it in the log.
    what: &'static str,
    url: Url,
    body: Option<&'a Value>,
    prefer: Option<&'static str>,
}

impl<'a> Ask<'a> {
    pub(super) const fn get(what: &'static str, url: Url) -> Self {
        Self { what, url, body: None, prefer: None }
    }

    pub(super) const fn post(what: &'static str, url: Url, body: &'a Value) -> Self {
        Self { what, url, body: Some(body), prefer: None }
    }

    /// With a `Prefer` header (RFC 7240), which Graph may ignore.
    pub(super) const fn prefer(mut self, prefer: &'static str) -> Self {
        self.prefer = Some(prefer);
        self
    }
}

impl Graph {
    /// A GET with the tenant's token; on 401 once more with a new token.
    pub(super) async fn get(&self, what: &'static str, url: Url) -> Result<Answer, GraphError> {
        self.ask(Ask::get(what, url)).await
    }

    /// A request with the tenant's token; on 401 once more with a new token.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, GraphError> {
        let token = self.microsoft.graph_token(self.tid).await?;
        let answer = self.ask_with(&ask, &token).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        if !self.microsoft.forget_token(self.tid, &token).await {
            return Ok(answer);
        }
        let token = self.microsoft.graph_token(self.tid).await?;
        self.count_repeats(1);
        self.ask_with(&ask, &token).await
    }

    async fn ask_with(&self, ask: &Ask<'_>, token: &AccessToken) -> Result<Answer, GraphError> {
        let http = &self.microsoft.0.shared.http;
        let method = if ask.body.is_some() { Method::POST } else { Method::GET };
        let mut request = http
            .client()
            .request(method, ask.url.clone())
            .bearer_auth(token.secret().expose_secret())
            .header(http::header::ACCEPT, "application/json");
        if let Some(prefer) = ask.prefer {
            request = request.header("prefer", HeaderValue::from_static(prefer));
        }
        if let Some(body) = ask.body {
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let request =
            request.build().map_err(|error| GraphError::protocol(error.without_url().to_string()))?;
        Ok(http.send(ask.what, request).await?)
    }
}

/// A query, where a space is `%20`: not every reader of OData takes a plus sign for one.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut out = form_urlencoded::Serializer::new(String::new());
    out.extend_pairs(pairs);
    // A plus sign of the values themselves is `%2B` by now.
    out.finish().replace('+', "%20").replace("%24", "$").replace("%2C", ",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_is_what_graph_documents() {
        let pairs = [("$filter", "deviceName eq 'a+b c&d''e'"), ("$select", "id,udid")];
        assert_eq!(query(&pairs), "$filter=deviceName%20eq%20%27a%2Bb%20c%26d%27%27e%27&$select=id,udid");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_in_a_query(name in "\\PC{0,12}", value in "\\PC{0,40}") {
            let text = query(&[(&name, &value)]);
            let mut url = Url::parse("https://graph.microsoft.com/v1.0/x").unwrap();
            url.set_query(Some(&text));
            let read: Vec<_> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(read, [(name, value)]);
        }
    }
}
