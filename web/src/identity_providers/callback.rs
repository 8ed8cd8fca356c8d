//! The way back from Microsoft's consent page.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use linking::{ConsentCallback, LinkError, Linked, PendingLink};

use crate::app::{App, boxed};
use crate::error::PageError;
use crate::session::{Flash, Person, key};
use crate::visit::{Member, Visit, Visitor};

use super::link::failed;

pub(crate) const PATH: &str = "/identity-providers/callback";

/// `GET /identity-providers/callback`
pub(crate) async fn get(
    visitor: Visitor,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let Visitor { visit, person } = visitor;
    let callback = ConsentCallback::parse(query.as_deref().unwrap_or_default());
    let pending: Option<PendingLink> = visit.session.remove(key::LINK).await?;
    let Some(mut pending) = pending else {
        // The browser's back button, or a link that somebody planted: nothing was begun here.
        let words = LinkError::StateMismatch.words();
        return crate::sign_in::failed(axum::http::StatusCode::FORBIDDEN, visit.shell().await?, words);
    };
    let done = boxed(app.linking.complete_link(&person, &mut pending, &callback)).await;
    answer(&visit, &app, &person, pending, done).await
}

/// `POST /orgs/{org_id}/identity-providers/link/again`: consent was given, and may have arrived by now.
pub(super) async fn again(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    let pending: Option<PendingLink> = member.visit.session.remove(key::LINK).await?;
    let Some(pending) = pending.filter(|pending| pending.org == member.org.id) else {
        member.flash(Flash::warn("There is no link journey to go on with. Link the account again.")).await?;
        return Ok(Redirect::to(&member.path("identity-providers/link")).into_response());
    };
    let done = boxed(app.linking.check_link_again(&member.person, &pending)).await;
    answer(&member.visit, &app, &member.person, pending, done).await
}

async fn answer(
    visit: &Visit,
    app: &App,
    person: &Person,
    pending: PendingLink,
    done: Result<Linked, LinkError>,
) -> Result<Response, PageError> {
    let org = pending.org;
    match done {
        Ok(linked) => {
            let text = if linked.renewed {
                format!(
                    "{} was linked already; its consent is renewed and a sync begins.",
                    linked.tenant_name
                )
            } else {
                format!("{} is linked. Its devices are being fetched for the first time.", linked.tenant_name)
            };
            visit.flash(Flash::good(text)).await?;
            let to = format!("/orgs/{}/identity-providers/{}", linked.org, linked.link);
            Ok(Redirect::to(&to).into_response())
        }
        Err(error) => {
            if error.keeps_pending() {
                visit.session.insert(key::LINK, pending).await?;
            }
            match error {
                LinkError::NotFound => Err(PageError::NotFound),
                error => failed(visit, app, org, person, &error).await,
            }
        }
    }
}
