//! The labels of the draft.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::policy::Label;

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::{Kind, describe, kind, kind_word};

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

#[derive(Template)]
#[template(path = "labels/list.html")]
struct Page {
    shell: Shell,
    base: String,
    sections: Vec<Section>,
    pending: bool,
}

/// `GET /orgs/{org_id}/labels`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let doc = &overview.draft.doc;
    let mut labels: Vec<_> = doc.labels.iter().collect();
    labels.sort_by_key(|label| (kind_word(&label.kind), label.name.to_lowercase()));
    let rows = labels.into_iter().filter_map(|label| {
        let used_by = doc.users_of(label.id).map(|rule| (rule.id.to_string(), rule.name.clone()));
        Some(Row {
            label: label.clone(),
            kind: kind(kind_word(&label.kind))?,
            what: describe(label),
            used_by: used_by.collect(),
        })
    });
    let (matches, results): (Vec<_>, Vec<_>) = rows.partition(|row| row.kind.is_match);
    let sections = vec![
        Section { title: "Match labels", is_match: true, hint: "what a rule looks at", rows: matches },
        Section {
            title: "Result labels",
            is_match: false,
            hint: "what a rule gives to those it allows",
            rows: results,
        },
    ];
    page(&Page {
        shell: member.shell(Area::Labels).await?,
        base: member.path("labels"),
        sections,
        pending: !overview.changes.is_empty(),
    })
}
