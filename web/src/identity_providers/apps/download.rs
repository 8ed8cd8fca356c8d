//! The public part of a certificate, to be given to Entra ID. The private key has no way out.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::OrgId;
use store::apps::CredentialRow;
use uuid::Uuid;

use crate::app::App;
use crate::error::PageError;
use crate::visit::Member;

/// `GET /orgs/{org_id}/identity-providers/apps/{app_id}/credentials/{app_credential_id}/{download}`:
/// `certificate.pem` or `key-credentials.json`.
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id, credential, download)): Path<(OrgId, Uuid, Uuid, String)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let all = store::apps::credentials(&mut tx).await?;
    tx.commit().await?;
    let row = all.into_iter().find(|row| row.app == id && row.id == credential).ok_or(PageError::NotFound)?;
    let (text, content_type, disposition) = match download.as_str() {
        "certificate.pem" => (
            row.certificate.as_deref().map(linking::pem),
            "application/x-pem-file",
            "attachment; filename=\"gatehouse.pem\"",
        ),
        "key-credentials.json" => {
            (key_credentials(&row), "application/json", "attachment; filename=\"key-credentials.json\"")
        }
        _ => return Err(PageError::NotFound),
    };
    let text = text.ok_or(PageError::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition)),
    ];
    Ok((headers, text).into_response())
}

/// The entry of `keyCredentials`; `None` for a secret.
pub(super) fn key_credentials(row: &CredentialRow) -> Option<String> {
    let (der, from, to) = (row.certificate.as_deref()?, row.not_before?, row.not_after?);
    serde_json::to_string_pretty(&linking::key_credential(row.id, der, from, to)).ok()
}
