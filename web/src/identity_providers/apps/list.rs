//! The app registrations of the organization.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use store::apps::AppRow;
use time::OffsetDateTime;

use crate::app::App;
use crate::clouds;
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "identity_providers/apps/list.html")]
struct Page {
    shell: Shell,
    base: String,
    apps: Vec<Listed>,
    /// The operator gave a master key.
    possible: bool,
}

struct Listed {
    app: AppRow,
    /// Tenants that it speaks for.
    tenants: Vec<String>,
    credentials: usize,
    /// When the last of its credentials ends.
    ends: Option<OffsetDateTime>,
    days_left: Option<i32>,
}

/// `GET /orgs/{org_id}/identity-providers/apps`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(&app).await?;
    let rows = store::apps::list(&mut tx).await?;
    let credentials = store::apps::credentials(&mut tx).await?;
    let links = store::links::list(&mut tx).await?;
    tx.commit().await?;
    let apps = rows.into_iter().map(|row| {
        let usable: Vec<_> =
            credentials.iter().filter(|one| one.app == row.id && one.is_usable(now)).collect();
        let endless = usable.iter().any(|one| one.not_after.is_none());
        let ends = usable.iter().filter_map(|one| one.not_after).max().filter(|_| !endless);
        let tenants = links.iter().filter(|link| link.app == Some(row.id));
        Listed {
            tenants: tenants.map(|link| link.tenant_name.clone()).collect(),
            credentials: usable.len(),
            ends,
            days_left: ends.map(|end| linking::expiry::days_left(end, now)),
            app: row,
        }
    });
    page(&Page {
        apps: apps.collect(),
        shell: member.shell(Area::IdentityProviders).await?,
        base: member.path("identity-providers"),
        possible: app.linking.takes_own_apps(),
    })
}
