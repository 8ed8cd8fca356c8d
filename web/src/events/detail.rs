//! One event: a decision explained condition by condition, or whatever else happened.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::event::{DecisionRecord, EventKind};
use domain::{EventId, OrgId};
use serde_json::Value;
use store::views::events::{EventFilter, EventRow};
use time::Duration;

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::explain::{Explained, Links, explain};

#[derive(Template)]
#[template(path = "events/detail.html")]
struct Page {
    shell: Shell,
    base: String,
    clients: String,
    simulate: String,
    versions: String,
    row: EventRow,
    decision: Option<(Box<DecisionRecord>, Explained)>,
    /// It came too late for its edge.
    unheard: bool,
    /// What was recorded of other kinds.
    facts: Vec<(String, String)>,
    /// What else happened in the session, newest first.
    around: Vec<EventRow>,
    raw: String,
}

/// `GET /orgs/{org_id}/events/{event_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EventId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let (row, detail) = store::views::events::one(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let kind = row.kind.parse::<EventKind>();
    let is_decision = matches!(kind, Ok(EventKind::NacClientPermit | EventKind::NacClientDeny));
    let record: Option<DecisionRecord> =
        if is_decision { serde_json::from_value(detail.clone()).ok() } else { None };
    let ask = record.as_ref().filter(|record| !record.offline).and_then(|record| record.ask);
    let unheard = match (row.session, ask) {
        (Some(session), Some(ask)) => store::sessions::is_unheard(&mut tx, session, ask).await?,
        _ => false,
    };
    let sites = store::edges::list_sites(&mut tx).await?;
    let sites: HashMap<_, _> = sites.into_iter().map(|site| (site.id, site.name)).collect();
    let org = store::orgs::get(&mut tx).await?.ok_or(PageError::NotFound)?;
    let draft = store::policies::draft(&mut tx).await?;
    let policy = match record.as_ref().and_then(|record| record.answer.decision.policy_version) {
        Some(version) => store::policies::version(&mut tx, version).await?,
        None => None,
    };
    let around = match row.session {
        Some(session) => {
            let filter = EventFilter {
                session: Some(session),
                from: Some(row.at - Duration::days(2)),
                to: Some(row.at + Duration::days(2)),
                ..EventFilter::default()
            };
            store::views::events::list(&mut tx, &filter, None, 25).await?.rows
        }
        None => Vec::new(),
    };
    tx.commit().await?;

    let decision = record.map(|record| {
        let links = Links::new(&member, &draft.doc, sites);
        let explained = explain(&record, policy.as_ref(), &org.settings, &links);
        (Box::new(record), explained)
    });
    page(&Page {
        shell: member.shell(Area::Events).await?,
        base: member.path("events"),
        clients: member.path("clients"),
        simulate: member.path("auth-policies/simulate"),
        versions: member.path("auth-policies/versions"),
        facts: if decision.is_none() { facts("", &detail) } else { Vec::new() },
        decision,
        unheard,
        row,
        around,
        raw: serde_json::to_string_pretty(&detail).unwrap_or_default(),
    })
}

/// An object's leaves, each with the path to it in words.
fn facts(path: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Null => Vec::new(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                let name = name.replace('_', " ");
                facts(&if path.is_empty() { name } else { format!("{path} · {name}") }, value)
            })
            .collect(),
        Value::String(text) => vec![(path.to_owned(), text.clone())],
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            let texts: Vec<_> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect();
            vec![(path.to_owned(), texts.join(", "))]
        }
        other => vec![(path.to_owned(), other.to_string())],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_are_named_by_their_path() {
        let value =
            json!({ "kind": "reauth", "to_outcome": { "vlan": "99", "role": null }, "tags": ["a", 1] });
        let facts = facts("", &value);
        assert!(facts.contains(&("to outcome · vlan".into(), "99".into())), "{facts:?}");
        assert!(facts.contains(&("tags".into(), "a, 1".into())));
        assert_eq!(facts.len(), 3);
    }
}
