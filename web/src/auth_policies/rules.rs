//! The rules of the draft, in order, and how the draft differs from what is live.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use domain::RuleId;
use serde::Deserialize;
use time::{Duration, OffsetDateTime};

use crate::app::App;
use crate::error::PageError;
use crate::form::given;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::describe::{TableRow, marked_rows};

#[derive(Debug, Deserialize)]
pub(super) struct Search {
    /// Part of a name, a comment, a label or a value.
    #[serde(default)]
    q: String,
    /// The window of the hits.
    #[serde(default)]
    window: String,
    /// The row that was moved last, which gets the focus again.
    #[serde(default)]
    row: Option<usize>,
    /// Its button, `up` or `down`.
    #[serde(default)]
    by: String,
}

/// The windows in which hits are counted: word, text, hours.
const WINDOWS: &[(&str, &str, i64)] =
    &[("1h", "1 h", 1), ("24h", "24 h", 24), ("7d", "7 d", 168), ("30d", "30 d", 720)];

#[derive(Template)]
#[template(path = "auth_policies/rules.html")]
struct Page {
    shell: Shell,
    base: String,
    events: String,
    labels: String,
    revision: i64,
    rows: Vec<TableRow>,
    /// Rows of the whole list, found or not.
    row_count: usize,
    rule_count: usize,
    found: usize,
    q: String,
    window: &'static str,
    /// Rules on trial matched more decisions than are counted.
    trials_cut: bool,
    /// The row that was moved last; 0 for none.
    moved: usize,
    by: &'static str,
    changes: usize,
    errors: usize,
    warnings: usize,
    live: Option<i32>,
    updated: Option<(OffsetDateTime, String)>,
    any_label: bool,
}

/// `GET /orgs/{org_id}/auth-policies?q=`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Query(search): Query<Search>,
) -> Result<Response, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let draft = overview.draft;
    let mut tx = member.tx(&app).await?;
    let sites: HashMap<_, _> =
        store::edges::list_sites(&mut tx).await?.into_iter().map(|s| (s.id, s.name)).collect();
    let rules: Vec<RuleId> = draft.doc.rules.iter().map(|rule| rule.id).collect();
    let on_trial = |doc: &domain::policy::PolicyDoc| doc.rules.iter().any(|rule| rule.dry_run);
    let trials = on_trial(&draft.doc) || overview.live.as_ref().is_some_and(|(_, doc)| on_trial(doc));
    let chosen = WINDOWS.iter().find(|(word, _, _)| *word == search.window);
    let (window, _, hours) = *chosen.unwrap_or(&("24h", "", 24));
    let since = member.now() - Duration::hours(hours);
    let hits = store::views::hits::hits(&mut tx, since, &rules, trials).await?;
    tx.commit().await?;
    let live = overview.live.as_ref().map(|(_, doc)| doc);
    // Before the first version everything is new: marks would say nothing.
    let base = live.unwrap_or(&draft.doc);
    let mut rows = marked_rows(&draft.doc, base, &overview.changes, &sites, &hits);
    if let Some(q) = given(&search.q) {
        let q = q.to_lowercase();
        rows.retain(|row| match row {
            TableRow::Section { name, .. } => name.to_lowercase().contains(&q),
            TableRow::Rule(row) => row.contains(&q),
        });
    } else {
        rows.retain(|row| !matches!(row, TableRow::Rule(row) if row.mark == "removed"));
    }
    let errors = overview.findings.iter().filter(|f| domain::policy::lint::blocks(std::slice::from_ref(f)));
    let errors = errors.count();
    page(&Page {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        events: member.path("events"),
        labels: member.path("labels"),
        revision: draft.revision,
        row_count: draft.doc.rules.len() + draft.doc.sections.len(),
        rule_count: draft.doc.rules.len(),
        found: rows.iter().filter(|row| matches!(row, TableRow::Rule(_))).count(),
        rows,
        q: given(&search.q).unwrap_or_default().to_owned(),
        window,
        trials_cut: hits.dry_run_cut,
        moved: search.row.unwrap_or_default(),
        by: if search.by == "up" { "up" } else { "down" },
        changes: overview.changes.len(),
        errors,
        warnings: overview.findings.len() - errors,
        live: overview.live.map(|(version, _)| version),
        updated: (draft.revision > 1).then_some((draft.updated_at, draft.updated_by)),
        any_label: !draft.doc.labels.is_empty(),
    })
}
