use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use domain::bundle::Fallback;
use domain::resolver::LookupKey;
use domain::snapshot::OrgSettings;
use domain::{EdgeId, OrgId, SiteId};
use serde_json::json;
use time::macros::datetime;
use uuid::Uuid;
use wire::bundle::{PublicKey, Signer, digest_of, fact_texts, hash_of};

use super::*;
use crate::disk::testing::Flaky;
use crate::stub_cloud::StubCloud;

/// Of RFC 8410 10.3.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----";
const PUBLIC: &str = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

fn trust() -> Trust {
    Trust {
        keys: vec![PublicKey::parse(PUBLIC).unwrap()],
        org: OrgId(Uuid::from_u128(2)),
        site: Some(SiteId(Uuid::from_u128(3))),
    }
}

/// From version 6 on with one client more.
fn bundle(version: i64) -> SignedBundle {
    let keys: [LookupKey; 2] = ["mac:d46e0e022896", "mac:d46e0e022897"].map(|key| key.parse().unwrap());
    let facts = fact_texts(None, keys.iter().take(if version < 6 { 1 } else { 2 }), []).unwrap();
    let manifest = Manifest {
        org: OrgId(Uuid::from_u128(2)),
        site: SiteId(Uuid::from_u128(3)),
        edge: EdgeId(Uuid::from_u128(4)),
        version,
        issued_at: datetime!(2026-11-20 12:00 UTC),
        max_age_seconds: 600,
        fallback: Fallback::default(),
        settings: OrgSettings::default(),
        links: Vec::new(),
        digest: digest_of(facts.iter().map(|(name, text)| (name.as_str(), hash_of(text)))),
    };
    Signer::parse(PRIVATE).unwrap().sign(&manifest, None, facts, Vec::new()).unwrap()
}

async fn take(bundles: &Bundles, came: SignedBundle) -> Result<(), RenewError> {
    let mut held = bundles.held.lock().await;
    bundles.take(&mut held, came).await
}

fn version(bundles: &Bundles) -> Option<i64> {
    bundles.ready().map(|ready| ready.manifest.version)
}

#[tokio::test]
async fn what_is_on_disk_is_believed_no_more_than_what_comes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bundle.redb");
    let bundles = Bundles::open(&path, trust()).unwrap();
    assert_eq!(version(&bundles), None);
    take(&bundles, bundle(5)).await.unwrap();
    assert!(matches!(take(&bundles, bundle(4)).await, Err(RenewError::Refused(Refused::Older))));
    drop(bundles);

    let bundles = Bundles::open(&path, trust()).unwrap();
    assert_eq!(version(&bundles), Some(5));
    assert!(matches!(take(&bundles, bundle(4)).await, Err(RenewError::Refused(Refused::Older))));
    drop(bundles);

    // Somebody adds a fact.
    let database = Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(FACTS).unwrap().insert("key:mac:d46e0e022899", "").unwrap();
    write.commit().unwrap();
    drop(database);
    let bundles = Bundles::open(&path, trust()).unwrap();
    assert_eq!(version(&bundles), None);
    take(&bundles, bundle(6)).await.unwrap();
    drop(bundles);

    // The file of another site's edge.
    let elsewhere = Trust { site: Some(SiteId(Uuid::from_u128(33))), ..trust() };
    assert_eq!(version(&Bundles::open(&path, elsewhere).unwrap()), None);
    let bundles = Bundles::open(&path, trust()).unwrap();
    assert_eq!(version(&bundles), Some(6));
    let mut held = bundles.held.lock().await;
    bundles.forget(&mut held).await.unwrap();
    drop(held);
    assert_eq!(version(&bundles), None);
    drop(bundles);
    assert_eq!(version(&Bundles::open(&path, trust()).unwrap()), None);
}

#[tokio::test]
async fn a_full_disk_keeps_no_bundle_from_being_used_and_gets_it_later() {
    let flaky = Flaky::default();
    let bundles = Bundles::on(flaky.disk(), trust()).unwrap();
    take(&bundles, bundle(5)).await.unwrap();
    flaky.full.store(true, Ordering::Relaxed);
    for next in [6, 7] {
        assert!(matches!(take(&bundles, bundle(next)).await, Err(RenewError::Disk(_))));
        assert_eq!(version(&bundles), Some(next), "decided from all the same");
    }
    flaky.full.store(false, Ordering::Relaxed);
    // A difference to what the disk does not hold.
    let unchanged = SignedBundle { since: Some(7), facts: FactTexts::new(), ..bundle(8) };
    take(&bundles, unchanged).await.unwrap();
    drop(bundles);
    assert_eq!(version(&Bundles::on(flaky.disk(), trust()).unwrap()), Some(8));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bundle.redb");
    std::fs::write(&path, "rubbish".repeat(1_000)).unwrap();
    let bundles = Bundles::open(&path, trust()).unwrap();
    assert_eq!(version(&bundles), None);
    take(&bundles, bundle(5)).await.unwrap();
    assert!(path.with_extension("unusable").is_file());
    // Another agent that runs from it is no damage.
    assert!(Bundles::open(&path, trust()).is_err());
    drop(bundles);
    assert_eq!(version(&Bundles::open(&path, trust()).unwrap()), Some(5));
}

/// Whoever starts the agent again must not bring it back.
#[tokio::test]
async fn a_revoked_edge_forgets_at_once() {
    let revoked = Arc::new(AtomicBool::new(false));
    let is_revoked = Arc::clone(&revoked);
    let stub = StubCloud::start(move |_, _| match is_revoked.load(Ordering::Relaxed) {
        true => (StatusCode::UNAUTHORIZED, json!({})),
        false => (StatusCode::NOT_FOUND, json!({})),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bundle.redb");
    let bundles = Arc::new(Bundles::open(&path, trust()).unwrap());
    take(&bundles, bundle(5)).await.unwrap();
    let (renewed, cloud) = (Arc::clone(&bundles), Arc::clone(&stub.cloud));
    let task = tokio::spawn(async move { crate::renew(&renewed, &cloud, Duration::from_secs(3_600)).await });
    while stub.heard().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(version(&bundles), Some(5));
    revoked.store(true, Ordering::Relaxed);
    let within = Duration::from_secs(5);
    let reply = stub.cloud.ask("/v1/nac/authorize", axum::body::Bytes::from("{}"), within).await;
    assert!(matches!(reply, Reply::Revoked(_)));
    while version(&bundles).is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The one renewal at a time is over, and with it the disk.
    drop(bundles.held.lock().await);
    task.abort();
    let _ = task.await;
    drop(bundles);
    assert_eq!(version(&Bundles::open(&path, trust()).unwrap()), None);
}
