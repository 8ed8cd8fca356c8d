//! How an edge is connected: the files and commands for exactly this one, with its new token where one was just made.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::{EdgeId, OrgId};
use store::edges::EdgeToken;
use store::views::sites::{self as views, EdgeHeard};
use store::{OrgTx, bundles};

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

use super::credentials::OVERLAPS;
use super::snippets::{AGENT_URL, Known, nases};

#[derive(Template)]
#[template(path = "sites/connect.html")]
struct Page {
    shell: Shell,
    base: String,
    here: String,
    events: String,
    edge: EdgeHeard,
    /// A new token: shown this once.
    token: Option<String>,
    nac_url: String,
    token_file: String,
    gatehouse_conf: String,
    container: String,
    edge_toml: String,
    curl: String,
    has_bundle_key: bool,
}

/// `GET /orgs/{org_id}/sites/edges/{edge_id}/connect`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let page = gather(&mut tx, &member, &app, id, None).await?;
    tx.commit().await?;
    Ok(page)
}

/// The page with a token that was made in `tx`, which is committed once the page is complete: whatever fails before
/// takes the token back with it, instead of losing it and ending the old one.
pub(super) async fn with_token(
    mut tx: OrgTx,
    member: &Member,
    app: &App,
    id: EdgeId,
    token: EdgeToken,
) -> Result<Response, PageError> {
    let page = gather(&mut tx, member, app, id, Some(token)).await?;
    tx.commit().await?;
    Ok(page)
}

async fn gather(
    tx: &mut OrgTx,
    member: &Member,
    app: &App,
    id: EdgeId,
    token: Option<EdgeToken>,
) -> Result<Response, PageError> {
    let edge = views::heard(tx, id, member.now()).await?.ok_or(PageError::NotFound)?;
    let settings = bundles::site_settings(tx, edge.site).await?.ok_or(PageError::NotFound)?;
    let requests = views::requests(tx, edge.site, id).await?;
    let nac_url = app.config().nac_url.as_str().trim_end_matches('/').to_owned();
    let bundle_key = app.config().bundle_public_key.clone();
    let nases = nases(&requests);
    let known = Known {
        nac_url: &nac_url,
        token: token.as_ref().map(EdgeToken::reveal),
        site: edge.site,
        critical_vlan: settings.fallback.vlan.as_deref(),
        bundle_key: bundle_key.as_deref(),
        nases: &nases,
    };
    let view = Page {
        shell: member.shell(Area::Sites).await?,
        base: member.path("sites"),
        here: member.path(&format!("sites/edges/{id}")),
        events: member.path("events"),
        token_file: known.token_file(),
        gatehouse_conf: known.gatehouse_conf(),
        container: known.container(),
        edge_toml: known.edge_toml(),
        curl: known.curl(),
        has_bundle_key: bundle_key.is_some(),
        edge,
        token: token.map(|token| token.reveal().to_owned()),
        nac_url,
    };
    let status = if view.token.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    page_as(status, &view)
}
