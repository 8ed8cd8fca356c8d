//! What linking an Intune account grants, and the way to Microsoft's consent page.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::OrgId;
use linking::{LinkError, VerifiedIdentity, Words};
use serde::Deserialize;
use store::views::links::LinkView;

use crate::app::{App, boxed};
use crate::clouds::{self, Choice};
use crate::error::PageError;
use crate::session::{Person, key};
use crate::shell::{Area, OrgNav, Shell, page, page_as};
use crate::sign_in::{self, Purpose};
use crate::ui;
use crate::visit::{Member, Visit};

#[derive(Template)]
#[template(path = "identity_providers/link.html")]
struct Page {
    shell: Shell,
    base: String,
    person: Person,
    /// The person's own tenant, if it is linked already.
    linked: Option<LinkView>,
    clouds: Vec<Choice>,
    own_cloud: String,
}

/// `GET /orgs/{org_id}/identity-providers/link`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let links = store::views::links::list(&mut tx).await?;
    tx.commit().await?;
    let tid = member.person.identity.tid;
    page(&Page {
        shell: member.shell(Area::IdentityProviders).await?,
        base: member.path("identity-providers"),
        clouds: clouds::choices(&app),
        own_cloud: member.person.identity.cloud.to_string(),
        linked: links.into_iter().find(|link| link.tid == tid),
        person: member.person,
    })
}

#[derive(Template)]
#[template(path = "identity_providers/failed.html")]
pub(super) struct FailedPage {
    pub shell: Shell,
    pub base: String,
    pub words: Words,
    /// Only Graph's word is missing: it can be asked again.
    pub again: bool,
}

/// `POST /orgs/{org_id}/identity-providers/link`: to Microsoft's consent page, for the person's own tenant.
pub(super) async fn post(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    let org = member.org.id;
    let tenant = member.person.identity.clone();
    begin_for(member.visit, app, org, tenant).await
}

/// Where the other tenant lives; empty: in the person's own cloud.
#[derive(Deserialize)]
pub(super) struct OtherForm {
    #[serde(default)]
    cloud: String,
}

/// `POST /orgs/{org_id}/identity-providers/link/other`: an administrator of another tenant signs in first, so that
/// it is known for sure which tenant that is.
pub(super) async fn other(
    member: Member,
    State(app): State<App>,
    Form(form): Form<OtherForm>,
) -> Result<Response, PageError> {
    let purpose = Purpose::LinkTenant { org: member.org.id };
    let Some(cloud) = clouds::chosen(&app, &form.cloud, Some(member.person.identity.cloud)) else {
        return Ok(Redirect::to(&member.path("identity-providers/link")).into_response());
    };
    match sign_in::begin(&app, &member.visit.session, cloud, purpose).await? {
        Ok(url) => Ok(Redirect::to(url.as_str()).into_response()),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a sign-in could not begin");
            sign_in::failed(StatusCode::BAD_GATEWAY, member.visit.shell().await?, error.words())
        }
    }
}

/// Begins the journey for a tenant that somebody was verified to belong to.
pub(crate) async fn begin_for(
    visit: Visit,
    app: App,
    org: OrgId,
    tenant: VerifiedIdentity,
) -> Result<Response, PageError> {
    let Some(person) = visit.person.clone() else { return Err(PageError::SignedOut { return_to: None }) };
    match boxed(app.linking.begin_link(org, &person, &tenant)).await {
        Ok((url, pending)) => {
            visit.session.insert(key::LINK, pending).await?;
            Ok(Redirect::to(url.as_str()).into_response())
        }
        Err(LinkError::NotFound) => Err(PageError::NotFound),
        Err(LinkError::Store(error)) => Err(error.into()),
        Err(error) => failed(&visit, &app, org, &person, &error).await,
    }
}

/// Tells why nothing is linked yet, and what to do.
pub(super) async fn failed(
    visit: &Visit,
    app: &App,
    org: OrgId,
    person: &Person,
    error: &LinkError,
) -> Result<Response, PageError> {
    tracing::info!(%org, error = error as &dyn std::error::Error, "an account was not linked");
    let mut tx = app.store.org(org).await?;
    let found = store::views::org::for_member(&mut tx, person.account).await?;
    tx.commit().await?;
    let found = found.ok_or(PageError::NotFound)?;
    let mut shell = visit.shell().await?;
    shell.org = Some(OrgNav { id: org, name: found.name });
    shell.area = Area::IdentityProviders;
    let status = match error {
        LinkError::NotYet(_) => StatusCode::ACCEPTED,
        LinkError::Graph(_) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::FORBIDDEN,
    };
    let view = FailedPage {
        shell,
        base: format!("/orgs/{org}/identity-providers"),
        words: error.words(),
        again: error.keeps_pending(),
    };
    page_as(status, &view)
}
