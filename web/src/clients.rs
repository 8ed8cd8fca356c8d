//! Clients: who is on the network, as edges tell it.

mod detail;
mod list;
mod reauthenticate;
mod timeline;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

/// A kind of command, for people.
fn command_words(word: &str) -> &str {
    match word {
        "reauth" => "Re-authentication",
        "disconnect" => "Disconnect",
        "port_bounce" => "Port bounce",
        other => other,
    }
}

/// Why there is a command, for people.
fn cause_words(word: &str) -> &str {
    match word {
        "compliance_changed" => "its compliance changed",
        "policy_published" => "a policy was published",
        "admin_asked" => "an admin asked",
        other => other,
    }
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/clients", get(list::get))
        .route("/clients/{mac}", get(detail::by_mac))
        .route("/sessions/{session_id}", get(detail::by_session))
        .route("/sessions/{session_id}/reauthenticate", post(reauthenticate::post))
}
