//! A policy as a download.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::OrgId;
use domain::policy::transfer::Format;
use policy::ExportError;

use crate::app::App;
use crate::error::PageError;
use crate::visit::Member;

/// `GET /orgs/{org_id}/auth-policies/export/{file}`: `draft.json`, `live.yaml`, `version-3.yaml`.
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, file)): Path<(OrgId, String)>,
) -> Result<Response, PageError> {
    let (stem, format, content_type) = if let Some(stem) = file.strip_suffix(".json") {
        (stem, Format::Json, "application/json")
    } else if let Some(stem) = file.strip_suffix(".yaml") {
        (stem, Format::Yaml, "application/yaml")
    } else {
        return Err(PageError::NotFound);
    };
    let version = match stem {
        "draft" => None,
        "live" => {
            let mut tx = member.tx(&app).await?;
            let version = store::orgs::get(&mut tx).await?.and_then(|org| org.policy_version);
            tx.commit().await?;
            Some(version.ok_or(PageError::NotFound)?)
        }
        other => {
            let number = other.strip_prefix("version-").and_then(|number| number.parse::<i32>().ok());
            Some(number.ok_or(PageError::NotFound)?)
        }
    };
    let text = match app.policies.export(member.org.id, version, format).await {
        Ok(text) => text,
        Err(ExportError::NoVersion(_)) => return Err(PageError::NotFound),
        Err(ExportError::Format(error)) => return Err(PageError::Inside(error)),
        Err(ExportError::Store(error)) => return Err(error.into()),
    };
    // The stem is one of the words above, or a number.
    let name = version.map_or_else(|| "draft".to_owned(), |version| format!("version-{version}"));
    let extension = if format == Format::Json { "json" } else { "yaml" };
    let disposition = format!("attachment; filename=\"policy-{name}.{extension}\"");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_str(&disposition).unwrap_or(HeaderValue::from_static("attachment")),
        ),
    ];
    Ok((headers, text).into_response())
}
