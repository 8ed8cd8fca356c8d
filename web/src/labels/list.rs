//! The labels of the draft: searched, filtered, and who uses them.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use domain::policy::Label;
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::form::given;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::{Kind, describe, kind_of};

struct Row {
    label: Label,
    kind: &'static Kind,
    what: String,
    /// Id and name of the rules that use it.
    used_by: Vec<(String, String)>,
}

/// Match labels, or result labels.
struct Section {
    title: &'static str,
    is_match: bool,
    hint: &'static str,
    rows: Vec<Row>,
}

/// What is looked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Search {
    /// Part of a name or of a value.
    #[serde(default)]
    q: String,
    /// A kind's word, or empty.
    #[serde(default, rename = "type")]
    kind: String,
    /// `yes`, `no` or empty.
    #[serde(default)]
    used: String,
}

impl Search {
    fn is_empty(&self) -> bool {
        given(&self.q).is_none() && self.kind.is_empty() && self.used.is_empty()
    }

    fn finds(&self, row: &Row) -> bool {
        let named = given(&self.q).is_none_or(|q| {
            let q = q.to_lowercase();
            let values = match &row.label.kind {
                domain::policy::LabelKind::Match { values, .. } => values.join("\n").to_lowercase(),
                _ => row.what.to_lowercase(),
            };
            row.label.name.to_lowercase().contains(&q) || values.contains(&q)
        });
        let of_kind = self.kind.is_empty() || self.kind == row.kind.word;
        let used = match self.used.as_str() {
            "yes" => !row.used_by.is_empty(),
            "no" => row.used_by.is_empty(),
            _ => true,
        };
        named && of_kind && used
    }
}

#[derive(Template)]
#[template(path = "labels/list.html")]
struct Page {
    shell: Shell,
    base: String,
    policy: String,
    search: Search,
    sections: Vec<Section>,
    total: usize,
    found: usize,
    pending: bool,
}

/// `GET /orgs/{org_id}/labels?q=&type=&used=`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Query(search): Query<Search>,
) -> Result<Response, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let doc = &overview.draft.doc;
    let mut labels: Vec<_> = doc.labels.iter().collect();
    labels.sort_by_key(|label| (kind_of(&label.kind).name, label.name.to_lowercase()));
    let rows = labels.into_iter().map(|label| {
        let used_by = doc.users_of(label.id).map(|rule| (rule.id.to_string(), rule.name.clone()));
        Row {
            label: label.clone(),
            kind: kind_of(&label.kind),
            what: describe(label),
            used_by: used_by.collect(),
        }
    });
    let (matches, results): (Vec<_>, Vec<_>) =
        rows.filter(|row| search.finds(row)).partition(|row| row.kind.is_match);
    let found = matches.len() + results.len();
    let mut sections = vec![
        Section { title: "Match labels", is_match: true, hint: "what a rule looks at", rows: matches },
        Section {
            title: "Result labels",
            is_match: false,
            hint: "what a rule gives to those it allows",
            rows: results,
        },
    ];
    if !search.is_empty() {
        sections.retain(|section| !section.rows.is_empty());
    }
    page(&Page {
        shell: member.shell(Area::Labels).await?,
        base: member.path("labels"),
        policy: member.path("auth-policies"),
        search,
        sections,
        total: doc.labels.len(),
        found,
        pending: !overview.changes.is_empty(),
    })
}
