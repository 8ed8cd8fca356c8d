//! Choosing an organization, creating the first one, joining that of one's company.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::FieldError;
use linking::{CreateOrgError, HomeOrg, JoinError, Words};
use serde::Deserialize;
use store::accounts::MembershipRow;

use crate::app::App;
use crate::error::PageError;
use crate::form::Errors;
use crate::session::Flash;
use crate::shell::{Shell, page, page_as};
use crate::ui;
use crate::visit::{Visit, Visitor};

#[derive(Template)]
#[template(path = "sign_in/organizations.html")]
struct Page {
    shell: Shell,
    memberships: Vec<MembershipRow>,
    home: HomeOrg,
    name: String,
    errors: Errors,
    refused: Option<Words>,
}

/// `GET /`: to the organization, the sign-in page, or the choice.
pub(super) async fn home(visit: Visit, State(app): State<App>) -> Result<Response, PageError> {
    let Some(person) = &visit.person else { return Ok(Redirect::to("/sign-in").into_response()) };
    let mut tx = app.store.system().await?;
    let memberships = store::accounts::memberships(&mut tx, person.account).await?;
    tx.commit().await?;
    let to = match memberships.as_slice() {
        [one] => format!("/orgs/{}", one.org),
        _ => "/organizations".to_owned(),
    };
    Ok(Redirect::to(&to).into_response())
}

async fn view(visitor: &Visitor, app: &App) -> Result<Page, PageError> {
    let mut tx = app.store.system().await?;
    let memberships = store::accounts::memberships(&mut tx, visitor.person.account).await?;
    tx.commit().await?;
    let home = app.linking.home_org(&visitor.person).await?;
    Ok(Page {
        shell: visitor.visit.shell().await?,
        memberships,
        home,
        name: String::new(),
        errors: Errors::default(),
        refused: None,
    })
}

/// `GET /organizations`
pub(super) async fn list(visitor: Visitor, State(app): State<App>) -> Result<Response, PageError> {
    page(&view(&visitor, &app).await?)
}

#[derive(Deserialize)]
pub(super) struct CreateForm {
    name: String,
}

/// `POST /organizations`
pub(super) async fn create(
    visitor: Visitor,
    State(app): State<App>,
    Form(form): Form<CreateForm>,
) -> Result<Response, PageError> {
    match app.linking.create_org(&visitor.person, &form.name).await {
        Ok(org) => {
            visitor
                .visit
                .flash(Flash::good("Your organization is ready. Begin with the first step below."))
                .await?;
            Ok(Redirect::to(&format!("/orgs/{org}")).into_response())
        }
        Err(CreateOrgError::Name) => {
            let mut view = view(&visitor, &app).await?;
            let message = "Write a name of 1 to 64 characters, for example your company's.";
            view.errors = Errors(vec![FieldError::new("name", "bad_value", message)]);
            view.name = form.name;
            page_as(StatusCode::UNPROCESSABLE_ENTITY, &view)
        }
        Err(CreateOrgError::Store(error)) => Err(error.into()),
        Err(error) => {
            let mut view = view(&visitor, &app).await?;
            view.refused = Some(error.words());
            page_as(StatusCode::CONFLICT, &view)
        }
    }
}

/// `POST /organizations/join`
pub(super) async fn join(visitor: Visitor, State(app): State<App>) -> Result<Response, PageError> {
    match app.linking.join_home_org(&visitor.person).await {
        Ok(org) => {
            visitor.visit.flash(Flash::good("You are an admin of the organization now.")).await?;
            Ok(Redirect::to(&format!("/orgs/{org}")).into_response())
        }
        Err(JoinError::Store(error)) => Err(error.into()),
        Err(error) => {
            let mut view = view(&visitor, &app).await?;
            view.refused = Some(error.words());
            page_as(StatusCode::FORBIDDEN, &view)
        }
    }
}
