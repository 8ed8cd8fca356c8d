//! Auth Policies: the ordered rules, their draft and their versions.

mod act;
pub(crate) mod conflict;
mod delete;
mod describe;
mod publish;
mod rule;
mod rule_form;
mod rules;
mod versions;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/auth-policies", get(rules::get))
        .route("/auth-policies/rules", post(rule::create))
        .route("/auth-policies/rules/new", get(rule::new))
        .route("/auth-policies/rules/{rule_id}", get(rule::get).post(rule::update))
        .route("/auth-policies/rules/{rule_id}/act", post(act::post))
        .route("/auth-policies/rules/{rule_id}/delete", get(delete::get).post(delete::post))
        .route("/auth-policies/publish", get(publish::get).post(publish::post))
        .route("/auth-policies/discard", post(publish::discard))
        .route("/auth-policies/versions", get(versions::list))
        .route("/auth-policies/versions/{version}", get(versions::one))
        .route("/auth-policies/versions/{version}/roll-back", post(versions::roll_back))
}
