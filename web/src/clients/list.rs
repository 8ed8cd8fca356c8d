//! One row per client, its latest session; active ones first.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use domain::Mac;
use domain::compliance::Verdict;
use serde::Deserialize;
use store::edges::SiteRow;
use store::views::clients::{ClientFilter, ClientRow};

use crate::app::App;
use crate::error::PageError;
use crate::events::{read_cursor, write_cursor};
use crate::form::given;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

const PAGE: usize = 50;

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
    problems: Vec<String>,
    rows: Vec<ClientRow>,
    older: Option<String>,
    sites: Vec<SiteRow>,
}

impl ListQuery {
    fn filter(&self) -> (ClientFilter, Vec<String>) {
        let mut problems = Vec::new();
        let mut filter = ClientFilter {
            name: given(&self.name).map(str::to_owned),
            ssid: given(&self.ssid).map(str::to_owned),
            ..ClientFilter::default()
        };
        if let Some(text) = given(&self.mac) {
            match text.parse::<Mac>() {
                Ok(mac) => filter.mac = Some(mac),
                Err(error) => problems.push(format!("MAC address: “{text}” is {error}.")),
            }
        }
        if let Some(text) = given(&self.compliance) {
            match text.parse() {
                Ok(verdict) => filter.verdict = Some(verdict),
                Err(_) => problems.push(format!("There is no compliance “{text}”: choose one of the list.")),
            }
        }
        if let Some(text) = given(&self.site) {
            match text.parse() {
                Ok(site) => filter.site = Some(site),
                Err(_) => problems.push(format!("There is no site “{text}”: choose one of the list.")),
            }
        }
        (filter, problems)
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
    let (filter, problems) = query.filter();
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let (phase, cursor) = match query.before.split_at_checked(1) {
        Some(("a", rest)) => (Some(true), read_cursor(rest)),
        Some(("e", rest)) => (Some(false), read_cursor(rest)),
        _ => (None, None),
    };
    let mut tx = member.tx(&app).await?;
    let mut rows = Vec::new();
    if problems.is_empty() && query.state != "ended" && phase != Some(false) {
        let active = ClientFilter { active: Some(true), ..filter.clone() };
        rows = store::views::clients::list(&mut tx, &active, cursor, limit).await?;
    }
    if problems.is_empty() && query.state != "active" && rows.len() <= PAGE {
        let ended = ClientFilter { active: Some(false), ..filter };
        let cursor = cursor.filter(|_| phase == Some(false));
        rows.extend(store::views::clients::list(&mut tx, &ended, cursor, limit).await?);
    }
    let sites = store::edges::list_sites(&mut tx).await?;
    tx.commit().await?;

    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let base = member.path("clients");
    let older = rows.last().filter(|_| more).map(|row| {
        let phase = if row.is_active() { "a" } else { "e" };
        let mut out = url::form_urlencoded::Serializer::new(query.encoded());
        let cursor = format!("{phase}{}", write_cursor(&row.cursor()));
        format!("{base}?{}", out.append_pair("before", &cursor).finish())
    });
    page(&Page {
        shell: member.shell(Area::Clients).await?,
        sessions: member.path("sessions"),
        base,
        query,
        problems,
        rows,
        older,
        sites,
    })
}
