//! The sites with their edges.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::policy::FieldError;
use store::edges::SiteRow;
use store::views::sites::{self as views, EdgeView, RATE_MINUTES};
use time::OffsetDateTime;

use crate::app::App;
use crate::error::PageError;
use crate::form::Errors;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

use super::health::{self, Finding};

/// An edge, with what is to be said of it first.
pub(crate) struct Listed {
    pub edge: EdgeView,
    pub first: Finding,
    /// Decisions per minute.
    pub rate: String,
}

impl Listed {
    pub(super) fn of(edge: EdgeView, now: OffsetDateTime) -> Option<Self> {
        let first = health::findings(&edge, now).into_iter().next()?;
        Some(Self { rate: rate(edge.decisions), first, edge })
    }
}

/// Decisions per minute of those of the last few: `0`, `0.4`, `12`.
pub(super) fn rate(decisions: i64) -> String {
    let tenths = decisions * 10 / i64::from(RATE_MINUTES);
    match tenths {
        0 if decisions > 0 => "< 0.1".to_owned(),
        1..=99 => format!("{}.{}", tenths / 10, tenths % 10),
        _ => crate::format::count(tenths / 10),
    }
}

#[derive(Template)]
#[template(path = "sites/list.html")]
struct Page {
    shell: Shell,
    base: String,
    sites: Vec<(SiteRow, Vec<Listed>)>,
    name: String,
    errors: Errors,
}

/// `GET /orgs/{org_id}/sites`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    show(&member, &app, String::new(), Vec::new()).await
}

/// The list, with what was typed for a new site and what is wrong with it.
pub(super) async fn show(
    member: &Member,
    app: &App,
    name: String,
    errors: Vec<FieldError>,
) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(app).await?;
    let sites = store::edges::list_sites(&mut tx).await?;
    let edges = views::edges(&mut tx, now).await?;
    tx.commit().await?;
    let of = |site: &SiteRow| {
        let here = edges.iter().filter(|edge| edge.site == site.id);
        here.filter_map(|edge| Listed::of(edge.clone(), now)).collect()
    };
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let view = Page {
        shell: member.shell(Area::Sites).await?,
        base: member.path("sites"),
        sites: sites.into_iter().map(|site| (site.clone(), of(&site))).collect(),
        name,
        errors: Errors(errors),
    };
    page_as(status, &view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_per_minute() {
        for (decisions, text) in [(0, "0"), (1, "0.2"), (7, "1.4"), (49, "9.8"), (50, "10"), (6_173, "1 234")]
        {
            assert_eq!(rate(decisions).replace('\u{202f}', " "), text, "{decisions}");
        }
    }
}
