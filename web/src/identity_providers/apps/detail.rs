//! One app: its steps, credentials and links.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::OrgId;
use domain::policy::FieldError;
use store::apps::{AppRow, CredentialKind, CredentialRow};
use store::links::LinkRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::clouds;
use crate::error::PageError;
use crate::form::Errors;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

/// From so many days on, a page warns.
const WARN_DAYS: i32 = 30;

#[derive(Template)]
#[template(path = "identity_providers/apps/detail.html")]
struct Page {
    shell: Shell,
    /// Of identity providers.
    base: String,
    /// Of this app.
    here: String,
    app: AppRow,
    links: Vec<LinkRow>,
    credentials: Vec<Shown>,
    secret_ends: String,
    errors: Errors,
    /// The app is in the cloud that the person signed in from.
    same_cloud: bool,
    user_name: String,
    /// Days until nothing is left that Microsoft takes.
    days_left: Option<i32>,
    /// The newest certificate, to be uploaded.
    newest: Option<Manifest>,
}

/// What goes into the app in Entra ID.
struct Manifest {
    id: Uuid,
    json: String,
}

/// A credential as a row.
struct Shown {
    row: CredentialRow,
    state: Standing,
    days_left: Option<i32>,
    /// SHA-256, as the first digits tell it apart.
    thumbprint: String,
}

/// Where a credential stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Proven,
    Unproven,
    Expired,
    Retired,
}

impl Shown {
    fn of(row: CredentialRow, now: OffsetDateTime) -> Self {
        let state = if row.retired_at.is_some() {
            Standing::Retired
        } else if !row.is_usable(now) {
            Standing::Expired
        } else if row.proven_at.is_some() {
            Standing::Proven
        } else {
            Standing::Unproven
        };
        let thumbprint = row.thumbprint.iter().flatten().take(10).map(|byte| format!("{byte:02X}")).collect();
        Self {
            days_left: row.not_after.map(|end| linking::expiry::days_left(end, now)),
            state,
            thumbprint,
            row,
        }
    }

    fn is_certificate(&self) -> bool {
        self.row.kind == CredentialKind::Certificate
    }

    fn stands(&self) -> bool {
        self.state != Standing::Retired
    }

    fn pill(&self) -> ui::Html {
        match self.state {
            Standing::Proven => ui::pill("good", "good", "Microsoft takes it"),
            Standing::Unproven => ui::pill("", "unknown", "not proven yet"),
            Standing::Expired => ui::pill("bad", "bad", "expired"),
            Standing::Retired => ui::pill("", "cross", "retired"),
        }
    }

    fn ends_soon(&self) -> bool {
        self.stands() && self.days_left.is_some_and(|days| days <= WARN_DAYS)
    }
}

/// The page, with what was wrong with a form of it.
pub(super) async fn show(
    member: &Member,
    app: &App,
    id: Uuid,
    secret_ends: String,
    errors: Vec<FieldError>,
) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(app).await?;
    let row = store::apps::get(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let credentials = store::apps::credentials(&mut tx).await?;
    let links = store::links::list(&mut tx).await?;
    tx.commit().await?;
    let credentials: Vec<_> =
        credentials.into_iter().filter(|one| one.app == id).map(|one| Shown::of(one, now)).collect();
    let lasting = credentials.iter().filter(|one| one.stands());
    let any_proven = credentials.iter().any(|one| one.state == Standing::Proven);
    let lasting: Vec<_> = lasting.filter(|one| !any_proven || one.state == Standing::Proven).collect();
    let endless = lasting.iter().any(|one| one.days_left.is_none());
    let days_left = lasting.iter().filter_map(|one| one.days_left).max().filter(|_| !endless);
    let newest = credentials.iter().find(|one| one.is_certificate() && one.stands()).and_then(manifest);
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let view = Page {
        shell: member.shell(Area::IdentityProviders).await?,
        base: member.path("identity-providers"),
        here: member.path(&format!("identity-providers/apps/{id}")),
        links: links.into_iter().filter(|link| link.app == Some(id)).collect(),
        same_cloud: row.cloud == member.person.identity.cloud.as_str(),
        user_name: member.person.identity.user_name.clone(),
        app: row,
        credentials,
        secret_ends,
        errors: Errors(errors),
        days_left,
        newest,
    };
    page_as(status, &view)
}

fn manifest(shown: &Shown) -> Option<Manifest> {
    let json = super::download::key_credentials(&shown.row)?;
    Some(Manifest { id: shown.row.id, json })
}

/// `GET /orgs/{org_id}/identity-providers/apps/{app_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
) -> Result<Response, PageError> {
    show(&member, &app, id, String::new(), Vec::new()).await
}
