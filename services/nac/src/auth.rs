//! Who calls: `Authorization: Bearer ghe_…`. The extractor is the permission.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use domain::{EdgeId, OrgId, SiteId};
use httpkit::{Problem, RequestContext};
use store::edges::EdgeToken;
use subtle::ConstantTimeEq;

use crate::Shared;
use crate::credentials::Known;
use crate::seen::CLOCK;

/// An edge whose credential is valid.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub org: OrgId,
    pub edge: EdgeId,
    pub site: SiteId,
}

/// The same, or the news that no store could say who it is.
#[derive(Clone, Copy, Debug)]
pub enum MaybeCaller {
    Known(Caller),
    /// Neither PostgreSQL nor Redis answered, and this process had not seen the credential before.
    NobodyKnows,
}

impl FromRequestParts<Arc<Shared>> for MaybeCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        // Every cause of a 401 looks the same from outside.
        let token = bearer(parts).and_then(EdgeToken::parse).ok_or_else(Problem::unauthorized)?;
        let held = shared.credentials.get(token.org, token.credential).await;
        let now = shared.clock.now();
        match &held.value {
            Known::Unavailable => Ok(Self::NobodyKnows),
            Known::Credential(credential)
                if !credential.revoked
                    && credential.expires_at.is_none_or(|end| now < end)
                    && bool::from(credential.token_hash.ct_eq(&token.hash())) =>
            {
                let caller = Caller { org: token.org, edge: credential.edge, site: credential.site };
                shared.limits.admit(caller.edge)?;
                if let Some(context) = parts.extensions.get::<RequestContext>() {
                    context.set_org(caller.org);
                    context.set_edge(caller.edge);
                }
                shared.seen.called(caller.org, caller.edge, token.credential, &parts.headers, now);
                Ok(Self::Known(caller))
            }
            Known::Credential(_) | Known::Nothing => Err(Problem::unauthorized()),
        }
    }
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        match MaybeCaller::from_request_parts(parts, shared).await? {
            MaybeCaller::Known(caller) => Ok(caller),
            MaybeCaller::NobodyKnows => Err(store_away()),
        }
    }
}

/// Whether the credential of a request that goes on has been revoked meanwhile. Where nobody knows, it has not, until
/// somebody does.
pub async fn is_revoked(parts: &mut Parts, shared: &Arc<Shared>) -> bool {
    // The edge's clock said so when the request came: held against a later moment it would seem slow.
    parts.headers.remove(CLOCK);
    let caller = MaybeCaller::from_request_parts(parts, shared).await;
    caller.is_err_and(|problem| problem.status == StatusCode::UNAUTHORIZED.as_u16())
}

/// What cannot be done without a store.
pub fn store_away() -> Problem {
    Problem::unavailable("store_unavailable", "The stores behind this service are away; ask again.", 1)
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
