//! The dashboard: pages rendered on the server, for the admins of an organization.
//!
//! * One page, one file: `<area>/<page>.rs` beside `templates/<area>/<page>.html`. A handler is the whole use case:
//!   session, parse, domain, then `policy`, `linking` or the store, then 303 and a message.
//! * Every action works without JavaScript; `static/js` only makes pages livelier.
//! * An extractor is a permission (`visit::Member`); an organization that is not the visitor's is answered as if
//!   it did not exist.
//! * Nothing is fetched from elsewhere, and there is no inline script or style: see `guard::SecurityHeaders`.
//!
//! It must not decide anything about clients, and must not call Microsoft: `linking` does.

mod app;
mod assets;
mod auth_policies;
mod candidates;
mod chart;
mod clients;
mod clouds;
mod devices;
mod error;
mod events;
mod form;
mod format;
mod guard;
mod holds;
mod identity_providers;
mod labels;
mod live;
mod overview;
mod paging;
mod policy_file;
mod preferences;
mod remediation;
mod replay;
mod session;
mod settings;
mod shell;
mod sign_in;
mod simulate;
mod sites;
mod ui;
mod visit;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use policy::replay::{Limits, Replays};
use tower_http::catch_panic::CatchPanicLayer;
use tower_sessions::cookie::SameSite;
use tower_sessions::cookie::time::Duration as CookieDuration;
use tower_sessions::{Expiry, SessionManagerLayer};

pub use app::{WebConfig, WebDeps};

use app::{App, Inner};
use session::{SIGNED_IN, Sessions};

/// Where Microsoft sends people back to after signing in; to be registered with the application.
pub const SIGN_IN_CALLBACK: &str = sign_in::callback::PATH;
/// Where Microsoft sends admins back to after consent; to be registered with the application.
pub const LINK_CALLBACK: &str = identity_providers::callback::PATH;
/// Where the JSON Schema of policy files is, for everybody.
pub const POLICY_SCHEMA: &str = policy_file::SCHEMA_PATH;

/// Where clients' remediation pages are: the token follows.
pub const REMEDIATION_PATH: &str = remediation::PATH;

/// The largest form that is read.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// The dashboard could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("public_url does not name an origin: {0}")]
    PublicUrl(#[from] tower_http::csrf::ConfigError),
}

/// The dashboard's routes. Request ids, log lines and the time limit come with `httpkit::FrontLayer`, which goes
/// around them; consent may take half a minute to reach Graph, and its callback waits for it.
///
/// # Errors
/// Where `public_url` is not an http or https URL.
pub fn router(deps: WebDeps, config: WebConfig) -> Result<Router, SetupError> {
    let csrf = guard::csrf(&config)?;
    let headers = guard::SecurityHeaders::new(&config, deps.linking.login_urls());
    let secure = guard::is_https(&config.public_url);
    let max_age = CookieDuration::try_from(SIGNED_IN).unwrap_or(CookieDuration::HOUR);
    let sessions =
        SessionManagerLayer::new(Sessions { store: deps.store.clone(), clock: deps.clock.clone() })
            .with_name(if secure { "__Host-gh_session" } else { "gh_session" })
            .with_http_only(true)
            // Lax, not Strict: the way back from Microsoft's sign-in page is a cross-site GET.
            .with_same_site(SameSite::Lax)
            .with_secure(secure)
            .with_path("/")
            .with_expiry(Expiry::OnInactivity(max_age));
    let replays = Replays::new(deps.store.clone(), Limits::default(), deps.shutdown.clone());
    let page_limits = remediation::Limits::default();
    let app = App(Arc::new(Inner { deps, config, replays, page_limits }));

    let organization = Router::new()
        .merge(overview::routes())
        .merge(identity_providers::routes())
        .merge(labels::routes())
        .merge(auth_policies::routes())
        .merge(simulate::routes())
        .merge(replay::routes())
        .merge(policy_file::routes())
        .merge(events::routes())
        .merge(clients::routes())
        .merge(devices::routes())
        .merge(holds::routes())
        .merge(sites::routes())
        .merge(settings::routes());
    let pages = Router::new()
        .merge(sign_in::routes())
        .route(identity_providers::callback::PATH, get(identity_providers::callback::get))
        .nest("/orgs/{org_id}", organization)
        .merge(preferences::routes())
        .layer(sessions);
    Ok(Router::new()
        .merge(pages)
        .route(policy_file::SCHEMA_PATH, get(policy_file::schema))
        .route("/static/{file}", get(assets::serve))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(guard::origin_is_told))
        .layer(csrf)
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(from_fn_with_state(app.clone(), guard::error_pages))
        .layer(from_fn_with_state(headers, guard::SecurityHeaders::add))
        // Behind the layers: these pages are for people without an account, and have headers of their own.
        .merge(remediation::routes(&app))
        .with_state(app))
}
