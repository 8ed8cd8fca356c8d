//! What Gatehouse knows and decides, as values.
//!
//! Everything here is pure: no clock is read, no random number drawn, no byte sent. Shells gather facts, call
//! a function of this crate, and record what it returned. The same inputs give the same answer on every replica.
//!
//! It must not import tokio, sqlx, axum, reqwest or redis; an architecture test holds that.

pub mod answer;
pub mod bundle;
pub mod cadence;
pub mod coa;
pub mod command;
pub mod compliance;
pub mod decision;
pub mod device;
pub mod edge;
pub mod event;
pub mod ids;
pub mod link;
pub mod mac;
pub mod outbox;
pub mod policy;
pub mod radius;
pub mod request;
pub mod resolver;
pub mod session;
pub mod snapshot;
pub mod time;

pub use ids::{
    AccountId, CommandId, CredentialId, DecisionId, DeviceId, EdgeId, EventId, HoldId, LabelId, LinkId,
    OrgId, RuleId, SessionId, SiteId, TransitionId,
};
pub use mac::Mac;

/// Compares a generated page with its file; writes it where `GATEHOUSE_WRITE_PAGES` is set.
#[cfg(test)]
pub(crate) fn assert_page(name: &str, generated: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("GATEHOUSE_WRITE_PAGES").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == generated,
        "{name} is out of date: GATEHOUSE_WRITE_PAGES=1 cargo test -p domain writes it"
    );
}
