//! What clients asked of Entra and Graph: a counter per endpoint and status, and the latest requests.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

const KEPT: usize = 5_000;

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub sequence: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub endpoint: String,
    pub method: String,
    /// Path and query; bodies are not kept, for they carry credentials.
    pub path: String,
    pub tenant_id: Option<Uuid>,
    pub client_id: Option<String>,
    pub status: u16,
    /// Whether it came as an item of a `$batch`.
    pub in_batch: bool,
    pub client_request_id: Option<String>,
}

#[derive(Debug, Default)]
pub struct RequestLog {
    sequence: u64,
    counters: BTreeMap<String, BTreeMap<u16, u64>>,
    latest: VecDeque<Request>,
}

impl RequestLog {
    pub fn push(&mut self, mut request: Request) {
        self.sequence += 1;
        request.sequence = self.sequence;
        *self.counters.entry(request.endpoint.clone()).or_default().entry(request.status).or_default() += 1;
        self.latest.push_back(request);
        if self.latest.len() > KEPT {
            self.latest.pop_front();
        }
    }

    #[must_use]
    pub const fn counters(&self) -> &BTreeMap<String, BTreeMap<u16, u64>> {
        &self.counters
    }

    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Requests after number `since`, oldest first.
    pub fn since(&self, since: u64) -> impl Iterator<Item = &Request> {
        self.latest.range(self.latest.partition_point(|request| request.sequence <= since)..)
    }

    pub fn clear(&mut self) {
        self.counters.clear();
        self.latest.clear();
    }
}
