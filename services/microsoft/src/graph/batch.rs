//! `$batch`: up to twenty GETs in one request.
//!
//! The outer answer says whether the batch as such was taken. Each item has a status and a `Retry-After` of its own,
//! items come in any order, and some may be missing: they are matched by the id that each was given.
//! Where a cloud or a proxy before it knows no `$batch`, each is asked for alone.
//! Source: Microsoft, "Combine multiple HTTP requests using JSON batching" (json-batching).

use std::time::Duration;

use domain::{DeviceId, Mac};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::device::{self, GraphDevice};
use super::request::{Ask, query};
use super::{Graph, GraphError, MANAGED_DEVICES, error, parse};
use crate::retry_after;

/// The most requests that one batch may hold.
pub const BATCH_MAX: usize = 20;

/// Where there are no batches, requests in flight at once.
const AT_ONCE: usize = 4;

const BATCH: &str = "/v1.0/$batch";
const ADAPTERS: &str = "id,ethernetMacAddress,udid";

/// What became of one request of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchItem<T = GraphDevice> {
    Found(T),
    /// 404: Intune has no record of it (any more).
    Absent,
    /// This one failed, the others may not have. Its `Retry-After` is its own.
    Failed(GraphError),
}

impl<T> BatchItem<T> {
    fn from_result(result: Result<Option<T>, GraphError>) -> Self {
        match result {
            Ok(Some(found)) => Self::Found(found),
            Ok(None) => Self::Absent,
            Err(error) => Self::Failed(error),
        }
    }
}

/// What only a single GET knows of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapters {
    pub id: DeviceId,
    pub ethernet_mac: Option<Mac>,
    pub udid: Option<String>,
}

/// One answer of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ItemAnswer {
    pub status: u16,
    retry_after: Option<Duration>,
    pub body: Value,
}

impl ItemAnswer {
    pub(super) fn error(&self) -> GraphError {
        GraphError::of(self.status, self.retry_after, self.body.to_string().as_bytes())
    }

    /// Why there is no record in it, where there is none.
    fn refusal(&self) -> Option<GraphError> {
        (self.status != StatusCode::OK.as_u16()).then(|| self.error())
    }

    fn names_unknown_property(&self) -> bool {
        error::complains_of_property(self.status, self.body.to_string().as_bytes())
    }
}

/// A GET of a batch: a path below the version, and its query.
pub(super) struct BatchGet {
    pub path: String,
    pub query: String,
    /// What `query` selects.
    pub select: &'static str,
    /// What to ask where this cloud's schema is older than ours and refuses a property in `$select`.
    pub without_select: String,
}

impl Graph {
    /// Devices by id, with one request: for each of `ids`, in their order, what became of it. At most
    /// [`BATCH_MAX`]; none cost no request. Twenty devices are twenty requests to Microsoft's limits.
    ///
    /// # Errors
    /// Where the batch as such was refused, and none of its items is known.
    pub async fn devices_batch(&self, ids: &[DeviceId]) -> Result<Vec<BatchItem>, GraphError> {
        let gets = by_id(ids, device::SELECT);
        let read = |id: DeviceId, body: &Value| GraphDevice::read(body).filter(|device| device.id == id);
        self.singles("managedDevice batch", ids, &gets, read).await
    }

    /// What lists leave out of `ids`, as [`Graph::devices_batch`] does.
    ///
    /// # Errors
    /// As [`Graph::devices_batch`].
    pub async fn adapters_batch(&self, ids: &[DeviceId]) -> Result<Vec<BatchItem<Adapters>>, GraphError> {
        let gets = by_id(ids, ADAPTERS);
        let read = |id: DeviceId, body: &Value| Adapters::read(body).filter(|adapters| adapters.id == id);
        self.singles("managedDevice adapters", ids, &gets, read).await
    }

    async fn singles<T>(
        &self,
        what: &'static str,
        ids: &[DeviceId],
        gets: &[BatchGet],
        read: impl Fn(DeviceId, &Value) -> Option<T>,
    ) -> Result<Vec<BatchItem<T>>, GraphError> {
        let answers = self.batch(what, gets).await?;
        let judged = ids.iter().zip(answers).map(|(id, answer)| {
            let answer = answer?;
            match answer.status {
                200 => {
                    // Never take another device's record for the one that was asked for.
                    let found = read(*id, &answer.body);
                    found.map(Some).ok_or_else(|| GraphError::protocol("the record bears another id"))
                }
                404 => error::not_about_the_record(answer.body.to_string().as_bytes()).map_or(Ok(None), Err),
                _ => Err(answer.error()),
            }
        });
        Ok(judged.map(BatchItem::from_result).collect())
    }

    /// Answers in the order of `gets`. Items that were refused for their token are asked for once more with a new
    /// one, and those with a property that this cloud does not know, without `$select`.
    pub(super) async fn batch(
        &self,
        what: &'static str,
        gets: &[BatchGet],
    ) -> Result<Vec<Result<ItemAnswer, GraphError>>, GraphError> {
        if gets.is_empty() {
            return Ok(Vec::new());
        }
        if gets.len() > BATCH_MAX {
            let detail = format!("a batch holds {BATCH_MAX} requests at most, not {}", gets.len());
            return Err(GraphError::BadRequest { detail });
        }
        // What this cloud refused before is not asked for.
        let selects: Vec<bool> = gets.iter().map(|get| self.takes(get.select)).collect();
        let address = |n: usize, get: &BatchGet| {
            let selects = selects.get(n).copied().unwrap_or(true);
            let query = if selects { &get.query } else { &get.without_select };
            get.path.clone() + query
        };
        let asked = gets.iter().enumerate().map(|(n, get)| (n, address(n, get))).collect();
        let mut answers: Vec<_> = (0..gets.len()).map(|_| Err(missing())).collect();
        self.batch_once(what, asked, &mut answers).await?;

        let mut unauthorized = false;
        let again: Vec<_> = gets
            .iter()
            .enumerate()
            .filter_map(|(n, get)| {
                let answer = answers.get(n)?.as_ref().ok()?;
                let refused = answer.status == StatusCode::UNAUTHORIZED.as_u16();
                unauthorized |= refused;
                if refused {
                    return Some((n, address(n, get)));
                }
                let lacks = selects.get(n) == Some(&true) && answer.names_unknown_property();
                lacks.then(|| {
                    if self.takes(get.select) {
                        self.refused_select(get.select);
                    }
                    (n, get.path.clone() + &get.without_select)
                })
            })
            .collect();
        if unauthorized {
            self.forget_token().await;
        }
        if !again.is_empty() {
            self.count_repeats(again.len());
            // Those that were answered are kept whatever becomes of the rest.
            if let Err(error) = self.batch_once(what, again.clone(), &mut answers).await {
                for (n, _) in again {
                    if let Some(answer) = answers.get_mut(n) {
                        *answer = Err(error.clone());
                    }
                }
            }
        }
        Ok(answers)
    }

    async fn batch_once(
        &self,
        what: &'static str,
        asked: Vec<(usize, String)>,
        answers: &mut [Result<ItemAnswer, GraphError>],
    ) -> Result<(), GraphError> {
        let requests: Vec<_> = asked
            .iter()
            .map(|(n, url)| {
                let headers = json!({ "Accept": "application/json" });
                json!({ "id": n.to_string(), "method": "GET", "url": url, "headers": headers })
            })
            .collect();
        let body = json!({ "requests": requests });
        let url = self.microsoft.cloud().graph_url(BATCH);
        let answer = self.ask(Ask::post(what, url, &body)).await?;
        if is_unknown(answer.status) {
            tracing::info!(tid = %self.tid(), status = answer.status.as_u16(), "no batches here: one by one");
            self.one_by_one(what, asked, answers).await;
            return Ok(());
        }
        if answer.status != StatusCode::OK {
            return Err(GraphError::classify(&answer));
        }
        let responses = responses(&parse(&answer)?, self.microsoft.now())?;
        for (n, _) in &asked {
            let found = responses.iter().find(|(id, _)| id.parse() == Ok(*n));
            if let Some(slot) = answers.get_mut(*n) {
                *slot = found.map_or_else(|| Err(missing()), |(_, answer)| answer.clone());
            }
        }
        Ok(())
    }

    /// The same without a batch. What ends it for one ends it for those that follow.
    async fn one_by_one(
        &self,
        what: &'static str,
        asked: Vec<(usize, String)>,
        answers: &mut [Result<ItemAnswer, GraphError>],
    ) {
        let (mut waiting, mut running) = (asked.into_iter(), JoinSet::new());
        let mut end = None;
        loop {
            while end.is_none() && running.len() < AT_ONCE {
                let Some((n, url)) = waiting.next() else { break };
                let graph = self.clone();
                running.spawn(async move { (n, graph.alone(what, &url).await) });
            }
            let Some(done) = running.join_next().await else { break };
            let Ok((n, answer)) = done else { continue };
            let error = answer.as_ref().map_or_else(|error| Some(error.clone()), ItemAnswer::refusal);
            end = end.or(error.filter(ends_it));
            if let Some(slot) = answers.get_mut(n) {
                *slot = answer;
            }
        }
        for (n, _) in waiting {
            if let (Some(slot), Some(end)) = (answers.get_mut(n), &end) {
                *slot = Err(end.clone());
            }
        }
    }

    /// One request of a batch, alone; `url` is below the version.
    async fn alone(&self, what: &'static str, url: &str) -> Result<ItemAnswer, GraphError> {
        let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        let mut url = self.microsoft.cloud().graph_url(&format!("/v1.0{path}"));
        url.set_query(query);
        let answer = self.get(what, url).await?;
        let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        Ok(ItemAnswer { status: answer.status.as_u16(), retry_after: answer.retry_after, body })
    }
}

/// There is no such thing as a batch at that address.
fn is_unknown(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}

fn missing() -> GraphError {
    GraphError::protocol("the batch's answer lacks this request")
}

/// Whether a refusal of one request is one of all: there is no point in asking on.
const fn ends_it(error: &GraphError) -> bool {
    matches!(error, GraphError::Throttled { .. } | GraphError::Token(_) | GraphError::Unavailable { .. })
}

fn by_id(ids: &[DeviceId], select: &'static str) -> Vec<BatchGet> {
    let query = format!("?{}", query(&[("$select", select)]));
    let get = |id: &DeviceId| BatchGet {
        path: format!("{MANAGED_DEVICES}/{id}"),
        query: query.clone(),
        select,
        without_select: String::new(),
    };
    ids.iter().map(get).collect()
}

impl Adapters {
    fn read(value: &Value) -> Option<Self> {
        let field = |name: &str| value.get(name).unwrap_or(&Value::Null);
        Some(Self {
            id: DeviceId(device::guid(field("id"))?),
            ethernet_mac: device::mac(field("ethernetMacAddress")),
            udid: device::text(field("udid")),
        })
    }
}

type ById = Vec<(String, Result<ItemAnswer, GraphError>)>;

/// The answers of a batch by id, where `body` holds any.
fn responses(body: &Value, now: time::OffsetDateTime) -> Result<ById, GraphError> {
    let list = body.get("responses").and_then(Value::as_array);
    let list = list.ok_or_else(|| GraphError::protocol("the batch's answer holds no responses"))?;
    Ok(list
        .iter()
        .filter_map(|item| {
            let id = match item.get("id")? {
                Value::String(id) => id.clone(),
                Value::Number(id) => id.to_string(),
                _ => return None,
            };
            let status =
                item.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
            let answer = status.ok_or_else(|| GraphError::protocol("an answer of the batch has no status"));
            let answer = answer.map(|status| ItemAnswer {
                status,
                retry_after: wait(item.get("headers"), now),
                body: item.get("body").cloned().unwrap_or(Value::Null),
            });
            Some((id, answer))
        })
        .collect())
}

/// `Retry-After` of an item, however its name is written.
fn wait(headers: Option<&Value>, now: time::OffsetDateTime) -> Option<Duration> {
    let headers = headers?.as_object()?;
    let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    match value {
        Value::String(text) => retry_after::parse(text, now),
        Value::Number(number) => retry_after::parse(&number.to_string(), now),
        _ => None,
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
