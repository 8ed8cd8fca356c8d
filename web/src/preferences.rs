//! Light, dark, or as the system has it: kept in a cookie, so that it works signed out and without JavaScript.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use axum_extra::extract::cookie::{Cookie, SameSite};
use axum_extra::extract::{CookieJar, Form};
use serde::Deserialize;

use crate::app::App;
use crate::form::local_path;
use crate::guard::is_https;
use crate::shell::Theme;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/preferences/theme", post(set_theme))
}

#[derive(Deserialize)]
struct ThemeForm {
    theme: String,
    #[serde(default)]
    return_to: String,
}

async fn set_theme(State(app): State<App>, jar: CookieJar, Form(form): Form<ThemeForm>) -> Response {
    let theme = Theme::parse(&form.theme);
    let cookie = Cookie::build((Theme::COOKIE, theme.as_str()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(is_https(&app.config().public_url))
        .permanent();
    (jar.add(cookie), Redirect::to(&local_path(&form.return_to))).into_response()
}
