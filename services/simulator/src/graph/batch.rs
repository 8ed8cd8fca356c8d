//! `POST /$batch`: up to twenty calls in one, answered in any order, each with its own status.

use std::collections::HashSet;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Answer, Call, dispatch,
    error::{Ids, new_ids},
};
use crate::world::World;

const ITEMS_MAX: usize = 20;

#[derive(Debug, Deserialize)]
struct Batch {
    requests: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    id: String,
    method: String,
    url: String,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    depends_on: Vec<String>,
}

pub fn batch(world: &World, call: &Call, ids: &Ids) -> Answer {
    let Ok(batch) = serde_json::from_slice::<Batch>(&call.body) else {
        return ids.bad_request("Invalid batch payload format.");
    };
    if batch.requests.len() > ITEMS_MAX {
        return ids.bad_request(&format!(
            "Number of batch request steps exceeds the maximum value of {ITEMS_MAX}."
        ));
    }
    let unique: HashSet<_> = batch.requests.iter().map(|item| item.id.as_str()).collect();
    if unique.len() < batch.requests.len() {
        return ids.bad_request("Request ids of a batch must be unique.");
    }
    let mut responses: Vec<Value> = Vec::with_capacity(batch.requests.len());
    let mut failed = HashSet::new();
    for item in &batch.requests {
        let response = if item.depends_on.iter().any(|id| failed.contains(id)) {
            let answer = ids.error(
                StatusCode::FAILED_DEPENDENCY,
                "FailedDependency",
                "A request that this one depends on failed.",
            );
            response(&item.id, answer)
        } else {
            response(&item.id, run(world, call, item))
        };
        if response["status"].as_u64().is_none_or(|status| status >= 400) {
            failed.insert(item.id.clone());
        }
        responses.push(response);
    }
    // Answers come in no particular order: here last first, so that a reader who counts on it is found out.
    responses.reverse();
    Answer::json(StatusCode::OK, &json!({ "responses": responses }))
}

fn run(world: &World, call: &Call, item: &Item) -> Answer {
    let ids = new_ids(world.clock.fleet(), None);
    let Ok(method) = Method::try_from(item.method.to_uppercase().as_str()) else {
        return ids.bad_request("The method is not valid.");
    };
    let url = item.url.trim_start_matches("/v1.0");
    let url = if url.starts_with('/') { url.to_owned() } else { format!("/{url}") };
    if url.contains("$batch") {
        return ids.bad_request("A batch cannot hold a batch.");
    }
    let mut headers = HeaderMap::new();
    if let Some(token) = call.headers.get("authorization") {
        headers.insert("authorization", token.clone());
    }
    for (name, value) in &item.headers {
        let value = value.as_str().unwrap_or_default();
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    let body = item.body.as_ref().map(|body| bytes::Bytes::from(body.to_string())).unwrap_or_default();
    let call = Call::new(method, &url, headers, body, true);
    // What happens on the wire happens to the whole batch or not at all; an item has a status and no more.
    dispatch(world, &call, &ids).0
}

fn response(id: &str, answer: Answer) -> Value {
    let mut headers = Map::new();
    headers.insert("Content-Type".to_owned(), json!("application/json"));
    for (name, value) in answer.headers {
        headers.insert(name.to_owned(), json!(value));
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    json!({ "id": id, "status": answer.status.as_u16(), "headers": headers, "body": body })
}
