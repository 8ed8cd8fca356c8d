//! `devices/delta`: everything once, then what changed. Items may repeat; removed devices come as `@removed`; a
//! token that is too old answers 410, and the reader starts over.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::Duration;

use super::{
    Answer, Call, Caller, entra_devices,
    error::Ids,
    paging::{TokenError, link, open, seal},
};
use crate::{
    fleet::{Device, changes::Touched},
    world::World,
};

const SKIP: &str = "devices.delta.skip";
const DELTA: &str = "devices.delta";
const PAGE_MAX: usize = 999;

/// Where a round stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Position {
    /// Changes after this number belong to the round; absent in the initial round.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    /// The number with which the next round begins: that of the moment when this one began, so that what
    /// changes meanwhile is told twice rather than never.
    until: u64,
    /// Number of the next device.
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    select: Option<String>,
    /// The `id eq` filter of the round.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
}

pub fn delta(world: &World, call: &Call, ids: &Ids, caller: &Caller) -> Answer {
    if let Some(answer) = entra_devices::refused(ids, caller) {
        return answer;
    }
    match page(world, call, ids, caller) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn gone(world: &World, ids: &Ids) -> Answer {
    let again = format!("{}/v1.0/devices/delta?$deltatoken=", world.public_url);
    ids.faulty(StatusCode::GONE).with_header("Location", again)
}

fn page(world: &World, call: &Call, ids: &Ids, caller: &Caller) -> Result<Answer, Answer> {
    for unsupported in ["$top", "$orderby", "$search"] {
        if call.option(unsupported).is_some() {
            return Err(
                ids.unsupported_query(&format!("The query parameter {unsupported} is not supported here."))
            );
        }
    }
    let settings = world.settings();
    let tenant = caller.tenant.id;
    let state = caller.tenant.read();
    let log = &state.fleet.changes;
    let opened = |kind: &str, token: &str, lifetime: u32| -> Result<Position, Answer> {
        open(world, kind, tenant, token, Duration::seconds(i64::from(lifetime))).map_err(
            |error| match error {
                TokenError::Invalid => ids.bad_request("Badly formed token."),
                TokenError::Expired => gone(world, ids),
            },
        )
    };
    let position = if let Some(token) = call.option("$skiptoken") {
        opened(SKIP, token, settings.skip_token_lifetime_seconds)?
    } else {
        let until = log.sequence();
        let select = call.option("$select").map(str::to_owned);
        let filter = call.option("$filter").map(str::to_owned);
        match call.option("$deltatoken") {
            None => Position { since: None, until, n: 0, select, filter },
            // From now on: nothing to report, only a link.
            Some("latest") => Position { since: Some(until), until, n: 0, select, filter },
            Some(token) => {
                let last = opened(DELTA, token, settings.delta_token_lifetime_seconds)?;
                Position { since: Some(last.until), until, n: 0, ..last }
            }
        }
    };

    let only: Option<Vec<String>> = position
        .filter
        .as_deref()
        .map(|filter| filter.split('\'').skip(1).step_by(2).map(str::to_lowercase).collect());
    let changed = match position.since {
        None => None,
        Some(since) => Some(log.since(since).ok_or_else(|| gone(world, ids))?),
    };
    let now = world.clock.fleet();
    let size = preferred_page(call).unwrap_or(settings.devices_page).clamp(1, PAGE_MAX);
    let mut value = Vec::new();
    let mut next = None;
    let mut report = |device: Device<'_>, touched: Option<Touched>| -> bool {
        if value.len() >= size {
            next = Some(device.index);
            return false;
        }
        let id = device.entra_object_id().to_string();
        if only.as_ref().is_some_and(|only| !only.contains(&id)) {
            return true;
        }
        let item = match touched {
            None if !device.in_entra() => return true,
            Some(touched) if !device.in_entra() => {
                if !touched.removed {
                    return true;
                }
                json!({ "id": id, "@removed": { "reason": "deleted" } })
            }
            Some(touched) if !concerns(touched, position.select.as_deref()) => return true,
            _ => entra_devices::select(entra_devices::object(&device), position.select.as_deref()),
        };
        if touched.is_some() && settings.repeat_in_delta {
            value.push(item.clone());
        }
        value.push(item);
        true
    };
    match &changed {
        None => {
            for device in state.fleet.devices(position.n, now) {
                if !report(device, None) {
                    break;
                }
            }
        }
        Some(changed) => {
            for (&index, &touched) in changed.range(position.n..) {
                if !report(state.fleet.device(index, now), Some(touched)) {
                    break;
                }
            }
        }
    }
    let mut body = json!({ "@odata.context": format!("{}/v1.0/$metadata#devices", world.public_url) });
    match next {
        Some(n) => {
            let token = seal(world, SKIP, tenant, Position { n, ..position });
            body["@odata.nextLink"] = json!(link(world, "/devices/delta", &[], ("$skiptoken", &token)));
        }
        None => {
            let token = seal(world, DELTA, tenant, Position { n: 0, since: None, ..position });
            body["@odata.deltaLink"] = json!(link(world, "/devices/delta", &[], ("$deltatoken", &token)));
        }
    }
    body["value"] = Value::Array(value);
    Ok(Answer::json(StatusCode::OK, &body))
}

/// With `$select`, only changes of the selected properties are reported.
fn concerns(touched: Touched, select: Option<&str>) -> bool {
    let Some(select) = select else { return true };
    let (compliance, other) =
        select.split(',').map(str::trim).fold((false, false), |(compliance, other), name| match name {
            "isCompliant" | "isManaged" | "complianceExpirationDateTime" => (true, other),
            "id" | "deviceId" => (compliance, other),
            _ => (compliance, true),
        });
    touched.compliance && compliance || touched.other && other
}

/// `Prefer: odata.maxpagesize=n`.
fn preferred_page(call: &Call) -> Option<usize> {
    call.header("prefer")?
        .split([',', ';'])
        .find_map(|part| part.trim().strip_prefix("odata.maxpagesize=")?.parse().ok())
}
