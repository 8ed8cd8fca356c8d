//! Simulate: what a policy would say to one request. Nothing is recorded, and no client is touched.

mod form;
mod page;

use axum::Router;
use axum::routing::get;
use domain::policy::PolicyDoc;
use store::{OrgTx, StoreError};

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/auth-policies/simulate", get(page::get).post(page::post))
}

/// The policy that a form names, `draft` or `live`: what it is called, its version (0 for the draft) and its
/// document. `None` where nothing is published, and for other words.
pub(crate) async fn against(
    tx: &mut OrgTx,
    word: &str,
) -> Result<Option<(String, i32, PolicyDoc)>, StoreError> {
    match word {
        "draft" => {
            let draft = store::policies::draft(tx).await?;
            Ok(Some((format!("draft, revision {}", draft.revision), 0, draft.doc)))
        }
        "live" => {
            let Some(version) = store::orgs::get(tx).await?.and_then(|org| org.policy_version) else {
                return Ok(None);
            };
            let doc = store::policies::version(tx, version).await?;
            Ok(doc.map(|doc| (format!("live version {version}"), version, doc)))
        }
        _ => Ok(None),
    }
}
