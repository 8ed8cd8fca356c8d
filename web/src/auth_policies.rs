//! Auth Policies: the ordered rules, their draft and their versions.

mod act;
pub(crate) mod conflict;
mod delete;
mod describe;
mod lint;
mod publish;
mod rule;
mod rule_form;
mod rules;
mod sections;
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
        .route("/auth-policies/discard", get(publish::confirm_discard).post(publish::discard))
        .route("/auth-policies/move", post(act::move_row))
        .route("/auth-policies/sections", post(sections::post))
        .route("/auth-policies/sections/new", get(sections::new))
        .route("/auth-policies/sections/edit", get(sections::edit))
        .route("/auth-policies/versions", get(versions::list))
        .route("/auth-policies/versions/{version}", get(versions::one))
        .route(
            "/auth-policies/versions/{version}/roll-back",
            get(versions::confirm_roll_back).post(versions::roll_back),
        )
}
