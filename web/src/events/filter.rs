//! What to look for, as it stands in the address.

use domain::policy::FieldError;
use serde::{Deserialize, Serialize};
use store::views::Cursor;
use store::views::events::EventFilter;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use crate::form::{self, chosen, given, plain};

/// The query of the list, as it was typed.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Query {
    /// `1h`, `24h`, `7d`, `30d`, or `custom` with `from` and `to`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub window: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ssid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// `permit` or `deny`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub result: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compliance: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub edge: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub site: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// Where the page before ended.
    #[serde(skip_serializing)]
    pub before: String,
    /// Where a live list stands.
    #[serde(skip_serializing)]
    pub after: String,
}

/// The windows that can be chosen.
pub(super) const WINDOWS: &[(&str, &str)] = &[
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("custom", "From … to …"),
];

impl Query {
    /// The window that is meant: `24h` where none is named.
    pub(super) fn window(&self) -> &str {
        if !(self.from.is_empty() && self.to.is_empty()) {
            return "custom";
        }
        WINDOWS.iter().map(|(word, _)| *word).find(|word| *word == self.window).unwrap_or("24h")
    }

    /// Whether this one is meant.
    pub(super) fn is_window(&self, word: &str) -> bool {
        self.window() == word
    }

    /// The filter, and what could not be read of it.
    pub(super) fn filter(&self, now: OffsetDateTime) -> (EventFilter, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut filter = EventFilter::default();
        match self.window() {
            "1h" => filter.from = Some(now - Duration::hours(1)),
            "7d" => filter.from = Some(now - Duration::days(7)),
            "30d" => filter.from = Some(now - Duration::days(30)),
            "custom" => {
                for (field, text, into) in
                    [("from", &self.from, &mut filter.from), ("to", &self.to, &mut filter.to)]
                {
                    let Some(text) = given(text) else { continue };
                    *into = instant(text);
                    if into.is_none() {
                        let message = "Write a time such as 2026-11-20T12:30, in UTC.";
                        errors.push(FieldError::new(field, "bad_value", message));
                    }
                }
            }
            _ => filter.from = Some(now - Duration::hours(24)),
        }
        filter.mac = form::mac("mac", &self.mac, &mut errors);
        filter.user = plain("user", &self.user, &mut errors);
        filter.ssid = plain("ssid", &self.ssid, &mut errors);
        filter.kind = chosen("type", &self.kind, &mut errors);
        filter.rule = chosen("rule", &self.rule, &mut errors);
        filter.reason = chosen("reason", &self.reason, &mut errors);
        filter.verdict = chosen("compliance", &self.compliance, &mut errors);
        filter.edge = chosen("edge", &self.edge, &mut errors);
        filter.site = chosen("site", &self.site, &mut errors);
        filter.session = chosen("session", &self.session, &mut errors);
        filter.permit = match self.result.as_str() {
            "permit" => Some(true),
            "deny" => Some(false),
            _ => None,
        };
        (filter, errors)
    }

    /// Whether anything besides the window is asked for.
    pub(super) fn is_narrowed(&self) -> bool {
        let fields = [
            &self.kind,
            &self.mac,
            &self.user,
            &self.ssid,
            &self.rule,
            &self.result,
            &self.reason,
            &self.compliance,
            &self.edge,
            &self.site,
            &self.session,
        ];
        fields.iter().any(|field| !field.is_empty())
    }

    /// The query as an address has it, without where the page stands.
    pub(super) fn encoded(&self) -> String {
        let pairs = serde_json::to_value(self).ok();
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        if let Some(serde_json::Value::Object(pairs)) = pairs {
            for (name, value) in &pairs {
                if let Some(text) = value.as_str() {
                    out.append_pair(name, text);
                }
            }
        }
        out.finish()
    }
}

/// What a `datetime-local` field sends, taken as UTC.
fn instant(text: &str) -> Option<OffsetDateTime> {
    use time::macros::format_description;
    let minutes = format_description!("[year]-[month]-[day]T[hour]:[minute]");
    let seconds = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let text = text.trim_end_matches('Z');
    let at =
        PrimitiveDateTime::parse(text, minutes).or_else(|_| PrimitiveDateTime::parse(text, seconds)).ok()?;
    Some(at.assume_utc())
}

/// A cursor in an address: microseconds and id.
pub(crate) fn write_cursor(cursor: &Cursor) -> String {
    let micros = (cursor.at - OffsetDateTime::UNIX_EPOCH).whole_microseconds();
    format!("{micros}_{}", cursor.id)
}

pub(crate) fn read_cursor(text: &str) -> Option<Cursor> {
    let (micros, id) = text.split_once('_')?;
    let micros: i64 = micros.parse().ok()?;
    let at = OffsetDateTime::UNIX_EPOCH.checked_add(Duration::microseconds(micros))?;
    Some(Cursor { at, id: id.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use domain::event::EventKind;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_told() {
        let now = datetime!(2026-11-20 12:00 UTC);
        let query = Query {
            mac: "nonsense".into(),
            kind: "NAC_CLIENT_DENY".into(),
            from: "2026-11-20T08:00".into(),
            to: "later".into(),
            ..Query::default()
        };
        let (filter, errors) = query.filter(now);
        assert_eq!(filter.kind, Some(EventKind::NacClientDeny));
        assert_eq!(filter.from, Some(datetime!(2026-11-20 08:00 UTC)));
        assert_eq!((filter.mac, filter.to), (None, None));
        let fields: Vec<_> = errors.iter().map(|error| error.field).collect();
        assert_eq!(fields, ["to", "mac"]);
    }

    #[test]
    fn cursors_round_trip() {
        let cursor = Cursor { at: datetime!(2026-11-20 12:00:00.123456 UTC), id: uuid::Uuid::from_u128(7) };
        assert_eq!(read_cursor(&write_cursor(&cursor)), Some(cursor));
        for text in [
            "",
            "_",
            "1_",
            "99999999999999999999_x",
            "9223372036854775807_00000000-0000-0000-0000-000000000000",
        ] {
            assert_eq!(read_cursor(text), None, "{text}");
        }
    }

    #[test]
    fn a_query_is_written_as_it_was_read() {
        let query = Query { mac: "aa:bb cc".into(), before: "1_2".into(), ..Query::default() };
        assert_eq!(query.encoded(), "mac=aa%3Abb+cc");
    }
}
