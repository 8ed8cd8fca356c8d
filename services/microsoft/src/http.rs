//! The HTTP client: limits on time and size, ids for support, one log line per request.

use std::time::{Duration, Instant};

use domain::time::{Ids, SharedClock};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Client, Request};

use crate::{SharedClockDebug, retry_after};

/// Every limit of a request to Microsoft.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    pub connect_timeout: Duration,
    /// From the first byte sent to the last byte read.
    pub request_timeout: Duration,
    /// After decompression. A page of 1000 devices is about one megabyte.
    pub body_bytes_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            body_bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// No usable answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the request failed: {0}")]
    Failed(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Parsed from the header.
    pub retry_after: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    limits: HttpLimits,
    clock: SharedClockDebug,
    ids: Ids,
}

impl Http {
    pub(crate) fn new(limits: HttpLimits, clock: SharedClock, ids: Ids) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("gatehouse/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect_timeout)
            // Neither endpoint redirects; following one could carry a token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(Duration::from_secs(60))
            .build()?;
        Ok(Self { client, limits, clock: SharedClockDebug(clock), ids })
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request and reads the whole answer, whatever its status. `what` names it in the log.
    pub(crate) async fn send(&self, what: &'static str, mut request: Request) -> Result<Answer, HttpError> {
        let client_request_id = self.ids.uuid(self.clock.0.now()).to_string();
        if let Ok(value) = HeaderValue::from_str(&client_request_id) {
            request.headers_mut().insert("client-request-id", value);
        }
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let began = Instant::now();
        let timeout = self.limits.request_timeout;
        let result = match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::Timeout(timeout)),
        };
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Ok(answer) = &result {
            let status = answer.status.as_u16();
            let request_id = ["request-id", "x-ms-request-id"]
                .iter()
                .find_map(|name| answer.headers.get(*name)?.to_str().ok())
                .unwrap_or_default();
            let bytes = answer.body.len();
            tracing::debug!(
                what,
                host,
                status,
                millis,
                bytes,
                request_id,
                client_request_id,
                "microsoft request"
            );
        }
        if let Err(error) = &result {
            tracing::warn!(what, host, millis, client_request_id, %error, "microsoft request failed");
        }
        result
    }

    async fn exchange(&self, request: Request) -> Result<Answer, HttpError> {
        let mut response = self.client.execute(request).await.map_err(failed)?;
        let max = self.limits.body_bytes_max;
        if response.content_length().is_some_and(|length| length > max as u64) {
            return Err(HttpError::TooLarge(max));
        }
        let mut body = Vec::new();
        // A body that ends before its announced length is an error of `chunk`.
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > max {
                return Err(HttpError::TooLarge(max));
            }
            body.extend_from_slice(&chunk);
        }
        let headers = response.headers().clone();
        let retry_after = headers.get(http::header::RETRY_AFTER).and_then(|v| v.to_str().ok());
        let retry_after = retry_after.and_then(|v| retry_after::parse(v, self.clock.0.now()));
        Ok(Answer { status: response.status(), headers, body, retry_after })
    }
}

/// The chain of causes, without the address: its query may hold what is not for logs.
fn failed(error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    HttpError::Failed(text)
}
