//! Making sites and edges.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::SiteId;
use domain::policy::FieldError;
use serde::Deserialize;
use store::edges::{self, SiteRow};

use crate::app::App;
use crate::error::PageError;
use crate::form::Errors;
use crate::session::Flash;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

use super::{check_name, connect, list};

#[derive(Deserialize)]
pub(super) struct SiteForm {
    name: String,
}

/// `POST /orgs/{org_id}/sites`
pub(super) async fn create_site(
    member: Member,
    State(app): State<App>,
    Form(form): Form<SiteForm>,
) -> Result<Response, PageError> {
    let name = form.name.trim();
    if let Some(error) = check_name(name) {
        return list::show(&member, &app, form.name, vec![error]).await;
    }
    let mut tx = member.tx(&app).await?;
    match edges::create_site(&mut tx, &app.ids, member.now(), &member.actor(), name).await {
        Ok(_) => {
            tx.commit().await?;
            member.flash(Flash::good(format!("Site “{name}” is there. Connect an edge to it."))).await?;
            Ok(Redirect::to(&member.path("sites")).into_response())
        }
        Err(error) if error.unique_violation() == Some("site_name") => {
            drop(tx);
            let error =
                FieldError::new("name", "taken", "Another site has this name: choose one of its own.");
            list::show(&member, &app, form.name, vec![error]).await
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "sites/new.html")]
struct Page {
    shell: Shell,
    base: String,
    sites: Vec<SiteRow>,
    form: EdgeForm,
    errors: Errors,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct EdgeForm {
    name: String,
    site: String,
}

async fn show(
    member: &Member,
    app: &App,
    form: EdgeForm,
    errors: Vec<FieldError>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(app).await?;
    let sites = edges::list_sites(&mut tx).await?;
    tx.commit().await?;
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let shell = member.shell(Area::Sites).await?;
    page_as(status, &Page { shell, base: member.path("sites"), sites, form, errors: Errors(errors) })
}

/// `GET /orgs/{org_id}/sites/edges/new?site=`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Query(form): Query<EdgeForm>,
) -> Result<Response, PageError> {
    show(&member, &app, form, Vec::new()).await
}

/// `POST /orgs/{org_id}/sites/edges`: the edge and its first token, which is shown in the answer, once.
pub(super) async fn create_edge(
    member: Member,
    State(app): State<App>,
    Form(form): Form<EdgeForm>,
) -> Result<Response, PageError> {
    let name = form.name.trim().to_owned();
    let mut errors: Vec<_> = check_name(&name).into_iter().collect();
    let site = form.site.parse::<SiteId>();
    if site.is_err() {
        errors.push(FieldError::new("site", "required", "Choose a site."));
    }
    let site = match site {
        Ok(site) if errors.is_empty() => site,
        _ => return show(&member, &app, form, errors).await,
    };
    let (now, actor) = (member.now(), member.actor());
    let mut tx = member.tx(&app).await?;
    let created = match edges::create_edge(&mut tx, &app.ids, now, &actor, site, &name).await {
        Ok(Some(id)) => id,
        Ok(None) => {
            drop(tx);
            let error =
                FieldError::new("site", "unknown", "The site does not exist any more: choose another.");
            return show(&member, &app, form, vec![error]).await;
        }
        Err(error) if error.unique_violation() == Some("edge_name") => {
            drop(tx);
            let error =
                FieldError::new("name", "taken", "Another edge has this name: choose one of its own.");
            return show(&member, &app, form, vec![error]).await;
        }
        Err(error) => return Err(error.into()),
    };
    let issued = edges::issue_credential(&mut tx, &app.ids, now, &actor, created).await?;
    let (token, _) = issued.ok_or_else(|| PageError::Inside("the new edge is gone".to_owned()))?;
    connect::with_token(tx, &member, &app, created, token).await
}
