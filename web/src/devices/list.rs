//! The inventory, in the order of names.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use domain::compliance::{Compliance, Literal};
use domain::policy::FieldError;
use domain::{DeviceId, LinkId, Mac};
use serde::Deserialize;
use store::views::devices::{DeviceCursor, DeviceFilter, DeviceRow, DeviceText, Eyes};
use store::views::links::LinkName;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::error::PageError;
use crate::form::{Errors, chosen, plain};
use crate::paging;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::explain::seen;

/// More operating systems than this are no choice any more.
const SYSTEMS_MAX: i64 = 40;

/// The literals that a device can have, in the order of the filter.
const LITERALS: &[Literal] = &[
    Literal::Compliant,
    Literal::NonCompliant,
    Literal::Unknown,
    Literal::InGracePeriod,
    Literal::NotEvaluated,
    Literal::Error,
    Literal::Conflict,
    Literal::ConfigManager,
    Literal::Other,
    Literal::Stale,
];
/// Intune's words for who owns a device.
const OWNERS: &[&str] = &["company", "personal", "unknown"];
/// What else a device can be.
const SHOW: &[(&str, &str)] = &[
    ("missing", "missing from the last sync"),
    ("stale", "stale: not confirmed in time"),
    ("held", "its move is held"),
    ("hot", "in the hot set"),
];

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    q: String,
    compliance: String,
    os: String,
    owner: String,
    link: String,
    /// One of [`SHOW`].
    show: String,
    /// Where the page before ended.
    after: String,
}

/// A row with what a decision would see of it.
struct Line {
    row: DeviceRow,
    compliance: Compliance,
    confirmed_at: OffsetDateTime,
}

#[derive(Template)]
#[template(path = "devices/list.html")]
struct Page {
    shell: Shell,
    base: String,
    identity_providers: String,
    query: ListQuery,
    errors: Errors,
    lines: Vec<Line>,
    next: Option<String>,
    links: Vec<LinkName>,
    systems: Vec<String>,
}

impl ListQuery {
    fn filter(&self) -> (DeviceFilter, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut filter = DeviceFilter {
            text: plain("q", &self.q, &mut errors).map(|typed| text(&typed)),
            literal: chosen("compliance", &self.compliance, &mut errors),
            os: plain("os", &self.os, &mut errors),
            owner: plain("owner", &self.owner, &mut errors),
            link: chosen("link", &self.link, &mut errors),
            missing: self.show == "missing",
            held: self.show == "held",
            hot: self.show == "hot",
        };
        if self.show == "stale" {
            match filter.literal {
                None | Some(Literal::Stale) => filter.literal = Some(Literal::Stale),
                Some(_) => {
                    let message =
                        "Stale is a compliance value of its own: choose either it or another compliance.";
                    errors.push(FieldError::new("show", "bad_value", message));
                }
            }
        }
        (filter, errors)
    }

    fn is_narrowed(&self) -> bool {
        [&self.q, &self.compliance, &self.os, &self.owner, &self.link, &self.show]
            .iter()
            .any(|f| !f.is_empty())
    }

    fn encoded(&self) -> String {
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        let fields = [
            ("q", &self.q),
            ("compliance", &self.compliance),
            ("os", &self.os),
            ("owner", &self.owner),
            ("link", &self.link),
            ("show", &self.show),
        ];
        for (name, value) in fields {
            if !value.is_empty() {
                out.append_pair(name, value);
            }
        }
        out.finish()
    }
}

/// What was typed: an id and a MAC address have a form of their own, all else is words.
fn text(typed: &str) -> DeviceText {
    if let Ok(id) = Uuid::parse_str(typed) {
        return DeviceText::Id(id);
    }
    match typed.parse::<Mac>() {
        Ok(mac) => DeviceText::Mac(mac),
        Err(_) => DeviceText::Words(typed.to_owned()),
    }
}

/// A cursor in an address: link, id, and the place in the order of names.
fn write_cursor(cursor: &DeviceCursor) -> String {
    format!("{}_{}_{}", cursor.link, cursor.id, cursor.list_key)
}

fn read_cursor(text: &str) -> Option<DeviceCursor> {
    let mut parts = text.splitn(3, '_');
    let link: LinkId = parts.next()?.parse().ok()?;
    let id: DeviceId = parts.next()?.parse().ok()?;
    // PostgreSQL has no text with a NUL.
    let list_key = parts.next()?.replace('\0', "");
    Some(DeviceCursor { list_key, link, id })
}

/// `GET /orgs/{org_id}/devices`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<Response, PageError> {
    let (filter, errors) = query.filter();
    let after = read_cursor(&query.after);
    let now = member.now();
    let mut tx = member.tx(&app).await?;
    let snapshot = store::orgs::snapshot(&mut tx).await?.ok_or(PageError::NotFound)?;
    let eyes = Eyes { settings: &snapshot.settings, links: &snapshot.links, now };
    let mut rows = Vec::new();
    if errors.is_empty() {
        rows = store::views::devices::list(&mut tx, &filter, &eyes, after.as_ref(), paging::ASKED).await?;
    }
    let links = store::views::links::names(&mut tx).await?;
    let systems = store::views::devices::systems(&mut tx, SYSTEMS_MAX).await?;
    tx.commit().await?;

    let base = member.path("devices");
    let cursor = paging::cut(&mut rows, |row| write_cursor(&row.cursor()));
    let next = cursor.map(|cursor| paging::address(&base, query.encoded(), "after", &cursor));
    let lines = rows.into_iter().map(|row| {
        let compliance = seen(&row.facts, &snapshot.links, &snapshot.settings, now);
        let confirmed_at = compliance.fetched_at.unwrap_or(row.facts.fetched_at);
        Line { row, compliance, confirmed_at }
    });
    page(&Page {
        shell: member.shell(Area::Devices).await?,
        identity_providers: member.path("identity-providers"),
        base,
        errors: Errors(errors),
        lines: lines.collect(),
        next,
        links,
        systems,
        query,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_known_by_its_form() {
        assert!(matches!(text("d46e.0e02.2896"), DeviceText::Mac(_)));
        assert!(matches!(text("5A1E0000-0000-4000-8000-000000000001"), DeviceText::Id(_)));
        for words in ["CONTOSO-LT-0001", "ada@contoso.example", "5CG0000001", "d46e"] {
            assert_eq!(text(words), DeviceText::Words(words.to_owned()));
        }
    }

    #[test]
    fn cursors_round_trip() {
        let cursor = DeviceCursor {
            list_key: "a_name_with_strokes".to_owned(),
            link: LinkId(Uuid::from_u128(1)),
            id: DeviceId(Uuid::from_u128(2)),
        };
        assert_eq!(read_cursor(&write_cursor(&cursor)), Some(cursor));
        for text in ["", "_", "__", "nonsense_nonsense_x"] {
            assert_eq!(read_cursor(text), None, "{text}");
        }
    }
}
