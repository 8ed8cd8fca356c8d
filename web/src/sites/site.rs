//! One site: its name, what it falls back to, its edges; and its end.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::bundle::Fallback;
use domain::policy::{FieldError, PolicyDoc};
use domain::{OrgId, SiteId};
use serde::Deserialize;
use store::bundles::{self, SiteSettings};
use store::views::sites::{self as views, BundleView};
use store::{OrgTx, sites};
use time::OffsetDateTime;

use crate::app::App;
use crate::error::PageError;
use crate::form::{Errors, given};
use crate::session::Flash;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

use super::check_name;
use super::list::Listed;

/// Within what the database lets a bundle's age be.
const AGE_SECONDS_MIN: u32 = 60;
const AGE_SECONDS_MAX: u32 = 90 * 86_400;

/// The form, as it was sent.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SiteForm {
    name: String,
    /// `deny` or `vlan`.
    fallback: String,
    vlan: String,
    age: String,
    /// `minutes`, `hours` or `days`.
    age_unit: String,
}

impl SiteForm {
    fn of(name: &str, settings: &SiteSettings) -> Self {
        let seconds = settings.bundle_max_age_seconds;
        let (unit, of_a_unit) = [("days", 86_400), ("hours", 3_600)]
            .into_iter()
            .find(|(_, of_a_unit)| seconds.is_multiple_of(*of_a_unit))
            .unwrap_or(("minutes", 60));
        Self {
            name: name.to_owned(),
            fallback: if settings.fallback.vlan.is_some() { "vlan" } else { "deny" }.to_owned(),
            vlan: settings.fallback.vlan.clone().unwrap_or_default(),
            age: (seconds / of_a_unit).to_string(),
            age_unit: unit.to_owned(),
        }
    }

    fn read(&self) -> Result<(String, SiteSettings), Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = self.name.trim();
        errors.extend(check_name(name));
        let vlan = match self.fallback.as_str() {
            "deny" => None,
            "vlan" => {
                errors.extend(check_vlan(self.vlan.trim()));
                given(&self.vlan).map(str::to_owned)
            }
            _ => {
                errors.push(FieldError::new("fallback", "unknown", "Choose what the site falls back to."));
                None
            }
        };
        let of_a_unit = match self.age_unit.as_str() {
            "days" => 86_400,
            "hours" => 3_600,
            _ => 60,
        };
        let seconds = self.age.trim().parse::<u32>().ok().and_then(|age| age.checked_mul(of_a_unit));
        let seconds = seconds.filter(|seconds| (AGE_SECONDS_MIN..=AGE_SECONDS_MAX).contains(seconds));
        if seconds.is_none() {
            errors.push(FieldError::new("age", "out_of_range", "Give a time from 1 minute to 90 days."));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let bundle_max_age_seconds = seconds.unwrap_or_default();
        let settings = SiteSettings { fallback: Fallback { vlan }, bundle_max_age_seconds };
        Ok((name.to_owned(), settings))
    }
}

/// What is wrong with a critical VLAN: an id, or a name that can stand in FreeRADIUS's configuration.
fn check_vlan(vlan: &str) -> Option<FieldError> {
    let wrong = |message| Some(FieldError::new("vlan", "bad_value", message));
    if vlan.is_empty() {
        return Some(FieldError::new("vlan", "required", "Give the VLAN's id or name."));
    }
    if vlan.bytes().all(|byte| byte.is_ascii_digit()) {
        let is_id = vlan.parse::<u16>().is_ok_and(|id| (1..=4094).contains(&id));
        return if is_id { None } else { wrong("A VLAN's id is a number from 1 to 4094.") };
    }
    if vlan.chars().count() > 64
        || vlan.chars().any(|c| c.is_control() || matches!(c, '"' | '\\' | '$' | '%'))
    {
        return wrong(
            "Use 64 characters at most, and leave out quotes, backslashes, dollar and percent signs.",
        );
    }
    None
}

#[derive(Template)]
#[template(path = "sites/site.html")]
struct Page {
    shell: Shell,
    base: String,
    id: SiteId,
    name: String,
    created_at: OffsetDateTime,
    edges: Vec<Listed>,
    bundle: Option<BundleView>,
    form: SiteForm,
    errors: Errors,
}

async fn show(
    member: &Member,
    app: &App,
    id: SiteId,
    typed: Option<(SiteForm, Vec<FieldError>)>,
) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(app).await?;
    let (name, created_at) = views::site(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let settings = bundles::site_settings(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let edges = views::edges_at(&mut tx, id, now).await?;
    let bundle = views::bundle(&mut tx, id).await?;
    tx.commit().await?;
    let status = if typed.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let (form, errors) = typed.unwrap_or_else(|| (SiteForm::of(&name, &settings), Vec::new()));
    let view = Page {
        shell: member.shell(Area::Sites).await?,
        base: member.path("sites"),
        id,
        name,
        created_at,
        edges: edges.into_iter().filter_map(|edge| Listed::of(edge, now)).collect(),
        bundle,
        form,
        errors: Errors(errors),
    };
    page_as(status, &view)
}

/// `GET /orgs/{org_id}/sites/{site_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, SiteId)>,
) -> Result<Response, PageError> {
    show(&member, &app, id, None).await
}

/// `POST /orgs/{org_id}/sites/{site_id}`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, SiteId)>,
    Form(form): Form<SiteForm>,
) -> Result<Response, PageError> {
    let (name, settings) = match form.read() {
        Ok(read) => read,
        Err(errors) => return show(&member, &app, id, Some((form, errors))).await,
    };
    let (now, actor) = (member.now(), member.actor());
    let mut tx = member.tx(&app).await?;
    match sites::change(&mut tx, &app.ids, now, &actor, id, &name, &settings).await {
        Ok(true) => {
            tx.commit().await?;
            let text = "Saved. Agents at the site learn of it with their next bundle, within a minute.";
            member.flash(Flash::good(text)).await?;
            Ok(Redirect::to(&member.path(&format!("sites/{id}"))).into_response())
        }
        Ok(false) => Err(PageError::NotFound),
        Err(error) if error.unique_violation() == Some("site_name") => {
            drop(tx);
            let error =
                FieldError::new("name", "taken", "Another site has this name: choose one of its own.");
            show(&member, &app, id, Some((form, vec![error]))).await
        }
        Err(error) => Err(error.into()),
    }
}

/// What keeps a site from being deleted.
struct Kept {
    edges: Vec<(String, String)>,
    /// Rules that name it, of the draft with where they are edited, and of the live version.
    draft: Vec<(String, String)>,
    live: Vec<String>,
}

impl Kept {
    async fn by(tx: &mut OrgTx, site: SiteId) -> Result<Self, PageError> {
        let names = |doc: &PolicyDoc| -> Vec<(String, String)> {
            let rules = doc.rules.iter();
            let naming = rules.filter(|rule| {
                rule.matching.site_ids.contains(&site) || rule.not_matching.site_ids.contains(&site)
            });
            naming.map(|rule| (rule.id.to_string(), rule.name.clone())).collect()
        };
        let edges = store::edges::list_edges(tx).await?.into_iter().filter(|edge| edge.site == site);
        let draft = store::policies::draft(tx).await?;
        let live = crate::simulate::against(tx, "live").await?;
        Ok(Self {
            edges: edges.map(|edge| (edge.id.to_string(), edge.name)).collect(),
            draft: names(&draft.doc),
            live: live.iter().flat_map(|(_, _, doc)| names(doc)).map(|(_, name)| name).collect(),
        })
    }

    fn is_free(&self) -> bool {
        self.edges.is_empty() && self.draft.is_empty() && self.live.is_empty()
    }
}

#[derive(Template)]
#[template(path = "sites/site_delete.html")]
struct DeletePage {
    shell: Shell,
    base: String,
    rules: String,
    publish: String,
    id: SiteId,
    name: String,
    kept: Kept,
}

async fn show_delete(
    member: &Member,
    app: &App,
    id: SiteId,
    status: StatusCode,
) -> Result<Response, PageError> {
    let mut tx = member.tx(app).await?;
    let (name, _) = views::site(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let kept = Kept::by(&mut tx, id).await?;
    tx.commit().await?;
    let view = DeletePage {
        shell: member.shell(Area::Sites).await?,
        base: member.path("sites"),
        rules: member.path("auth-policies/rules"),
        publish: member.path("auth-policies/publish"),
        id,
        name,
        kept,
    };
    page_as(status, &view)
}

/// `GET /orgs/{org_id}/sites/{site_id}/delete`
pub(super) async fn get_delete(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, SiteId)>,
) -> Result<Response, PageError> {
    show_delete(&member, &app, id, StatusCode::OK).await
}

/// `POST /orgs/{org_id}/sites/{site_id}/delete`
pub(super) async fn post_delete(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, SiteId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let kept = Kept::by(&mut tx, id).await?;
    let deleted = if kept.is_free() {
        sites::delete(&mut tx, &app.ids, member.now(), &member.actor(), id).await?
    } else {
        Some(1)
    };
    match deleted {
        None => return Err(PageError::NotFound),
        Some(0) => tx.commit().await?,
        Some(_) => {
            drop(tx);
            return show_delete(&member, &app, id, StatusCode::CONFLICT).await;
        }
    }
    member.flash(Flash::good("The site is deleted.")).await?;
    Ok(Redirect::to(&member.path("sites")).into_response())
}
