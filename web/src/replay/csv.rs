//! Every decision that would change, as one file. It is read again page by page while it is sent, so that its
//! length costs no memory.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::OrgId;
use domain::policy::replay::CSV_HEADER;
use tokio_stream::StreamExt;
use uuid::Uuid;

use crate::app::App;
use crate::error::PageError;
use crate::visit::Member;

/// `GET /orgs/{org_id}/auth-policies/replay/{replay}/csv`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
) -> Result<Response, PageError> {
    let Some(kept) = app.replays().get(member.org.id, id, member.now()) else {
        return super::status::gone(&member).await;
    };
    let moved = app.replays().moved(Arc::clone(&kept.job));
    let lines = tokio_stream::wrappers::ReceiverStream::new(moved).map(|page| {
        // An error cuts the download short, which browsers tell.
        page.map(|moved| Bytes::from(moved.iter().map(|one| one.csv() + "\r\n").collect::<String>()))
    });
    let head = tokio_stream::once(Ok(Bytes::from(format!("{CSV_HEADER}\r\n"))));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"replay.csv\"")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(head.chain(lines))).into_response())
}
