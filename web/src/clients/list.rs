//! One row per client, the session that stands for it; active ones first.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use domain::compliance::Verdict;
use domain::policy::FieldError;
use serde::Deserialize;
use store::edges::SiteRow;
use store::views::clients::{ClientFilter, ClientRow};

use crate::app::App;
use crate::error::PageError;
use crate::events::{read_cursor, write_cursor};
use crate::form::{self, Errors, chosen, plain};
use crate::paging;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    /// `active`, `ended`, or both.
    state: String,
    mac: String,
    name: String,
    ssid: String,
    compliance: String,
    site: String,
    /// Where the page before ended: `a` or `e` for active or ended, then a cursor.
    before: String,
}

#[derive(Template)]
#[template(path = "clients/list.html")]
struct Page {
    shell: Shell,
    base: String,
    sessions: String,
    query: ListQuery,
    errors: Errors,
    rows: Vec<ClientRow>,
    older: Option<String>,
    sites: Vec<SiteRow>,
}

impl ListQuery {
    fn filter(&self) -> (ClientFilter, Vec<FieldError>) {
        let mut errors = Vec::new();
        let filter = ClientFilter {
            mac: form::mac("mac", &self.mac, &mut errors),
            name: plain("name", &self.name, &mut errors),
            ssid: plain("ssid", &self.ssid, &mut errors),
            verdict: chosen("compliance", &self.compliance, &mut errors),
            site: chosen("site", &self.site, &mut errors),
            ..ClientFilter::default()
        };
        (filter, errors)
    }

    fn is_narrowed(&self) -> bool {
        [&self.mac, &self.name, &self.ssid, &self.compliance, &self.site, &self.state]
            .iter()
            .any(|f| !f.is_empty())
    }

    fn encoded(&self) -> String {
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        let fields = [
            ("state", &self.state),
            ("mac", &self.mac),
            ("name", &self.name),
            ("ssid", &self.ssid),
            ("compliance", &self.compliance),
            ("site", &self.site),
        ];
        for (name, value) in fields {
            if !value.is_empty() {
                out.append_pair(name, value);
            }
        }
        out.finish()
    }
}

/// `GET /orgs/{org_id}/clients`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<Response, PageError> {
    let (filter, errors) = query.filter();
    let (phase, cursor) = match query.before.split_at_checked(1) {
        Some(("a", rest)) => (Some(true), read_cursor(rest)),
        Some(("e", rest)) => (Some(false), read_cursor(rest)),
        _ => (None, None),
    };
    let mut tx = member.tx(&app).await?;
    let mut rows = Vec::new();
    if errors.is_empty() && query.state != "ended" && phase != Some(false) {
        let active = ClientFilter { active: true, ..filter.clone() };
        rows = store::views::clients::list(&mut tx, &active, cursor, paging::ASKED).await?;
    }
    if errors.is_empty() && query.state != "active" && rows.len() <= paging::PAGE {
        let ended = ClientFilter { active: false, ..filter };
        let cursor = cursor.filter(|_| phase == Some(false));
        rows.extend(store::views::clients::list(&mut tx, &ended, cursor, paging::ASKED).await?);
    }
    let sites = store::edges::list_sites(&mut tx).await?;
    tx.commit().await?;

    let base = member.path("clients");
    let cursor = paging::cut(&mut rows, |row| {
        let phase = if row.is_active() { "a" } else { "e" };
        format!("{phase}{}", write_cursor(&row.cursor()))
    });
    let older = cursor.map(|cursor| paging::address(&base, query.encoded(), "before", &cursor));
    page(&Page {
        shell: member.shell(Area::Clients).await?,
        sessions: member.path("sessions"),
        base,
        query,
        errors: Errors(errors),
        rows,
        older,
        sites,
    })
}
