//! How the agent beside an edge stands, as it says itself.

use domain::edge::{AgentReport, Channel, HeldBundle};
use httpkit::Problem;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::fields::{self, Fields};

/// Where it is told.
pub const PATH: &str = "/v1/nac/report";

const NAME_CHARS_MAX: usize = 120;

/// Reads a report; everything that is wrong with it is told at once.
pub fn read(body: &Map<String, Value>) -> Result<AgentReport, Problem> {
    fields::read(body, |fields| AgentReport {
        version: needed(fields, "version", "the agent's version", |f, name| f.text(name, NAME_CHARS_MAX))
            .unwrap_or_default(),
        started_at: needed(fields, "started_at", "when the agent started", Fields::time)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        channel: fields.one_of("channel", &[("poll", Channel::Poll), ("stream", Channel::Stream)]),
        radius: fields.text("radius", NAME_CHARS_MAX),
        waiting: count(fields, "waiting"),
        refused: count(fields, "refused"),
        bundle: fields.object("bundle").and_then(|mut bundle| {
            let version = bundle.count("version");
            let issued_at = needed(&mut bundle, "issued_at", "when it was signed", Fields::time);
            let over = bundle.flag("over").unwrap_or_default();
            Some(HeldBundle { version: version.unwrap_or_default(), issued_at: issued_at?, over })
        }),
        nas: count(fields, "nas"),
        decided_offline: count(fields, "decided_offline"),
        decided_offline_at: fields.time("decided_offline_at"),
    })
}

fn count(fields: &mut Fields<'_>, name: &'static str) -> u64 {
    fields.count(name).and_then(|count| u64::try_from(count).ok()).unwrap_or_default()
}

fn needed<'a, T>(
    fields: &mut Fields<'a>,
    name: &'static str,
    what: &'static str,
    read: impl FnOnce(&mut Fields<'a>, &'static str) -> Option<T>,
) -> Option<T> {
    let value = read(fields, name);
    if value.is_none() && !fields.is_wrong(name) {
        fields.needed(name, what);
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_an_agent_writes_is_read() {
        let report = AgentReport {
            version: "0.1.0".to_owned(),
            started_at: datetime!(2026-11-20 12:00 UTC),
            channel: Some(Channel::Stream),
            radius: Some("gatehouse-freeradius/1 (FreeRADIUS 3.2.1)".to_owned()),
            waiting: 7,
            refused: 1,
            bundle: Some(HeldBundle {
                version: 1_763_640_000,
                issued_at: datetime!(2026-11-20 12:01 UTC),
                over: false,
            }),
            nas: 2,
            decided_offline: 3,
            decided_offline_at: Some(datetime!(2026-11-20 12:02 UTC)),
        };
        let written = serde_json::to_value(&report).unwrap();
        assert_eq!(read(written.as_object().unwrap()).unwrap(), report);
        let bare = json!({"version": "1", "started_at": "2026-11-20T12:00:00Z", "bundle": null, "later": 1});
        assert_eq!(read(bare.as_object().unwrap()).unwrap().bundle, None);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = json!({
            "version": 1, "channel": "pigeon", "waiting": -1, "bundle": {"issued_at": "yesterday"},
            "decided_offline_at": true,
        });
        let problem = read(wrong.as_object().unwrap()).unwrap_err();
        let fields: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        for field in ["version", "started_at", "channel", "waiting", "bundle.issued_at", "decided_offline_at"]
        {
            assert!(fields.contains(&field), "{field} is not among {fields:?}");
        }
    }
}
