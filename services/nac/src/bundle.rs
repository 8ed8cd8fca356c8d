//! `GET /v1/nac/bundle`: what the edge's site needs to decide while the cloud is away.
//!
//! The facts are gathered once in a while per site and kept in versions; who holds a version is given what changed
//! since. The manifest is signed anew each time, because it says how fresh the links are.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use domain::device::DeviceFacts;
use httpkit::{Json, Problem};
use store::bundles::{self, BundleRow};
use store::{OrgTx, StoreError, devices, orgs};
use time::OffsetDateTime;
use wire::bundle::{FactTexts, Manifest, SignedBundle, Signer, digest_of, fact_texts, hash_of};

use crate::auth::{Caller, store_away};
use crate::authorize::overloaded;
use crate::{NacConfig, Shared, openapi};

/// Keys looked up in one statement.
const KEYS_AT_ONCE: usize = 2_000;

/// Gives the bundle of the edge's site, or what changed of it since a version.
///
/// Verify the manifest's signature, put the facts onto those of `since`, and compare the digest of all of them with
/// the manifest's. An edge refuses a version older than the one it holds.
#[utoipa::path(
    get,
    path = "/v1/nac/bundle",
    tag = "nac",
    operation_id = "bundle",
    params(("since" = Option<i64>, Query, minimum = 0, example = 7,
        description = "The version that the edge holds; everything where it is left out or too old")),
    responses(
        (status = 200, description = "The bundle, or the part of it that changed", body = SignedBundle),
        (status = 404, description = "This deployment signs no bundles", body = Problem,
            content_type = "application/problem+json"),
        openapi::QueryProblems,
        openapi::CommonProblems,
    ),
    security(("edge_token" = [])),
)]
pub(crate) async fn bundle(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    query: Result<Query<HashMap<String, String>>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<SignedBundle>, Problem> {
    let query = query.map(|Query(query)| query).unwrap_or_default();
    let since = match query.get("since").map(|text| text.trim()).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(text.parse::<i64>().ok().filter(|since| *since >= 0).ok_or_else(|| {
            Problem::invalid(Vec::new()).field(
                "since",
                "out_of_range",
                "a version: a whole number, zero or more",
            )
        })?),
    };
    let Some(signer) = &shared.config.bundle_signer else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_bundles", "This deployment signs no bundles")
            .detail("Set GATEHOUSE_BUNDLE_SIGNING_KEY_FILE."));
    };
    let Ok(_place) = shared.bundle_builds.try_acquire() else { return Err(overloaded()) };
    if shared.gate.is_closed() {
        return Err(store_away());
    }
    // Larger than what decisions ask of PostgreSQL, so its slowness says nothing of them.
    match tokio::time::timeout(shared.config.bundle_timeout, make(&shared, caller, signer, since)).await {
        Ok(Ok(bundle)) => Ok(Json(bundle)),
        Ok(Err(error)) => {
            tracing::error!(org = %caller.org, site = %caller.site, %error, "a bundle could not be made");
            Err(store_away())
        }
        Err(_) => Err(store_away()),
    }
}

async fn make(
    shared: &Shared,
    caller: Caller,
    signer: &Signer,
    since: Option<i64>,
) -> Result<SignedBundle, StoreError> {
    let config = &shared.config;
    let now = shared.clock.now();
    let mut tx = shared.store.org(caller.org).await?;
    bundles::lock(&mut tx, caller.site).await?;
    let snapshot = orgs::snapshot(&mut tx).await?.ok_or_else(|| StoreError::corrupt("org", "it is gone"))?;
    let settings = bundles::site_settings(&mut tx, caller.site)
        .await?
        .ok_or_else(|| StoreError::corrupt("site", "it is gone"))?;
    let built = bundles::get(&mut tx, caller.site).await?;
    let fresh = built.filter(|row| {
        let age = now - row.built_at;
        row.revision == snapshot.revision && !age.is_negative() && age < config.bundle_interval
    });
    let row = match fresh {
        Some(row) => row,
        None => build(&mut tx, caller, config, now, snapshot.policy.as_ref(), snapshot.revision).await?,
    };
    // Of another history, or of a time that is forgotten: the whole.
    let since = since.filter(|since| (row.since..=row.version).contains(since));
    let mut facts = FactTexts::new();
    let mut gone = Vec::new();
    for fact in bundles::changed_since(&mut tx, caller.site, since).await? {
        match fact.value {
            Some(value) => {
                facts.insert(fact.name, value);
            }
            None => gone.push(fact.name),
        }
    }
    let hashes = bundles::hashes(&mut tx, caller.site).await?;
    tx.commit().await?;
    let manifest = Manifest {
        org: caller.org,
        site: caller.site,
        edge: caller.edge,
        version: row.version,
        issued_at: now,
        max_age_seconds: settings.bundle_max_age_seconds,
        fallback: settings.fallback,
        settings: snapshot.settings,
        links: snapshot.links,
        digest: digest_of(hashes.iter().map(|(name, hash)| (name.as_str(), *hash))),
    };
    signer.sign(&manifest, since, facts, gone).map_err(|error| StoreError::corrupt("bundle", error))
}

/// Gathers the site's facts, and writes what differs from the last time.
async fn build(
    tx: &mut OrgTx,
    caller: Caller,
    config: &NacConfig,
    now: OffsetDateTime,
    policy: Option<&domain::snapshot::PublishedPolicy>,
    revision: i64,
) -> Result<BundleRow, StoreError> {
    let oldest = now - config.bundle_recent;
    let covered = bundles::recent_keys(tx, caller.site, oldest, config.bundle_clients_max).await?;
    let mut found: HashMap<_, DeviceFacts> = HashMap::new();
    for keys in covered.chunks(KEYS_AT_ONCE) {
        let devices = devices::by_keys(tx, keys, config.candidates_max).await?;
        found.extend(devices.into_values().flatten().map(|device| ((device.link, device.id), device)));
    }
    let facts = fact_texts(policy, &covered, found.values())
        .map_err(|error| StoreError::corrupt("bundle_fact.value", error))?;
    let before = bundles::hashes(tx, caller.site).await?;
    let gone: Vec<String> = before.keys().filter(|name| !facts.contains_key(*name)).cloned().collect();
    let changed: HashMap<String, ([u8; 32], String)> = facts
        .into_iter()
        .map(|(name, text)| (name, (hash_of(&text), text)))
        .filter(|(name, (hash, _))| before.get(name) != Some(hash))
        .collect();
    let row = bundles::write(tx, caller.site, now, revision, &changed, &gone).await?;
    bundles::forget(tx, caller.site, oldest).await?;
    // What was forgotten just now counts.
    Ok(bundles::get(tx, caller.site).await?.unwrap_or(row))
}
