//! On a real Redis, each test under a prefix of its own.

use std::time::Duration;

use domain::device::{ComplianceState, DeviceFacts};
use domain::resolver::LookupKey;
use domain::snapshot::{OrgSettings, OrgSnapshot};
use domain::time::{Clock, Ids, SystemClock};
use domain::{CredentialId, DeviceId, EdgeId, LinkId, OrgId, SiteId};
use futures::StreamExt;
use uuid::Uuid;

use crate::{
    Bucket, Budget, BudgetUse, BusEvent, BusMessage, Cache, CacheConfig, CacheError, CachedCredential,
    SpilledRecord,
};

const ORG: OrgId = OrgId(Uuid::from_u128(1));

fn url() -> String {
    std::env::var("GATEHOUSE_TEST_REDIS_URL")
        .unwrap_or_else(|_| panic!("GATEHOUSE_TEST_REDIS_URL is not set: run the tests with ./dev test"))
}

fn config() -> CacheConfig {
    CacheConfig {
        prefix: format!("test_{}", Ids::system().uuid(SystemClock.now()).simple()),
        decision_timeout: Duration::from_secs(2),
        spill_idle: Duration::from_millis(200),
        spill_records_max: 10,
        ..CacheConfig::default()
    }
}

fn cache() -> Cache {
    Cache::connect(&url(), config()).unwrap()
}

fn device(n: u128) -> DeviceFacts {
    let id = DeviceId(Uuid::from_u128(n));
    DeviceFacts::bare(LinkId(Uuid::nil()), id, ComplianceState::Compliant, SystemClock.now())
}

fn snapshot(revision: i64) -> OrgSnapshot {
    OrgSnapshot { org: ORG, revision, settings: OrgSettings::default(), links: Vec::new(), policy: None }
}

fn accounting(n: u128) -> SpilledRecord {
    SpilledRecord::Accounting(Box::new(domain::session::Accounting {
        org: ORG,
        id: Uuid::from_u128(n).into(),
        edge: EdgeId(Uuid::nil()),
        site: SiteId(Uuid::nil()),
        session: Uuid::nil().into(),
        session_key: "s".to_owned(),
        acct_session_id: None,
        status: domain::session::AccountingStatus::Start,
        at: SystemClock.now(),
        mac: None,
        user_name: None,
        framed_ip: None,
        bytes_in: None,
        bytes_out: None,
        session_seconds: None,
        terminate_cause: None,
    }))
}

#[tokio::test]
async fn readers_fill_and_the_relay_replaces() {
    let cache = cache();
    let keys = [LookupKey::Serial("a".to_owned()), LookupKey::Name("b".to_owned())];
    assert_eq!(cache.lookups(ORG, &keys).await.unwrap(), [None, None]);
    cache.fill_lookup(ORG, &keys[0], &[]).await.unwrap();
    cache.fill_lookup(ORG, &keys[1], &[device(1)]).await.unwrap();
    cache.put_lookups(ORG, &[(keys[0].clone(), vec![device(2)])]).await.unwrap();
    // A reader that looked before the change comes too late.
    cache.fill_lookup(ORG, &keys[0], &[]).await.unwrap();
    let found = cache.lookups(ORG, &keys).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap()[0].id, device(2).id);
    assert_eq!(found[1].as_ref().unwrap()[0].id, device(1).id);
    assert_eq!(cache.lookups(OrgId(Uuid::from_u128(2)), &keys).await.unwrap(), [None, None]);
}

#[tokio::test]
async fn an_older_snapshot_never_replaces_a_newer_one() {
    let cache = cache();
    assert!(cache.put_snapshot(&snapshot(7)).await.unwrap());
    assert!(!cache.put_snapshot(&snapshot(6)).await.unwrap());
    assert_eq!(cache.snapshot(ORG).await.unwrap().unwrap().revision, 7);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let age = cache.snapshot_with_age(ORG).await.unwrap().unwrap().age;
    assert!(age >= Duration::from_millis(50) && age < Duration::from_secs(5), "{age:?}");
    assert!(cache.put_snapshot(&snapshot(7)).await.unwrap(), "confirmed");
    assert!(cache.snapshot_with_age(ORG).await.unwrap().unwrap().age < Duration::from_millis(50));
}

#[tokio::test]
async fn credentials_come_and_go() {
    let cache = cache();
    let id = CredentialId(Uuid::from_u128(5));
    let credential = CachedCredential {
        org: ORG,
        id,
        edge: EdgeId(Uuid::nil()),
        site: SiteId(Uuid::nil()),
        token_hash: [7; 32],
        revoked: false,
        expires_at: Some(time::macros::datetime!(2026-11-21 12:00 UTC)),
    };
    cache.put_credential(&credential).await.unwrap();
    assert_eq!(cache.credential(ORG, id).await.unwrap().unwrap().value, credential);
    cache.drop_credential(ORG, id).await.unwrap();
    assert_eq!(cache.credential(ORG, id).await.unwrap(), None);
}

#[tokio::test]
async fn the_bus_carries_messages_and_says_when_it_may_have_lost_some() {
    let cache = cache();
    let mut heard = cache.subscribe();
    assert_eq!(heard.next().await, Some(BusEvent::Lost));
    let message = BusMessage::Snapshot { org: ORG };
    cache.publish(&message).await.unwrap();
    assert_eq!(heard.next().await, Some(BusEvent::Message(message)));
    assert!(cache.bus_is_up());
}

#[tokio::test]
async fn a_spilled_record_is_there_until_it_is_acknowledged() {
    let cache = cache();
    cache.spill_push(&[accounting(1), accounting(2), accounting(3)]).await.unwrap();
    let first = cache.spill_claim("one", 2).await.unwrap();
    let records: Vec<SpilledRecord> = first.iter().map(|spilled| spilled.record.clone().unwrap()).collect();
    assert_eq!(records[1], {
        let SpilledRecord::Accounting(message) = &records[1] else { unreachable!() };
        assert_eq!(message.id, Uuid::from_u128(2).into());
        records[1].clone()
    });
    assert_eq!(cache.spill_claim("one", 2).await.unwrap().len(), 2, "what one holds, it is given again");
    assert_eq!(cache.spill_claim("two", 5).await.unwrap().len(), 1, "the others get what is left");
    tokio::time::sleep(Duration::from_millis(250)).await;
    // `one` died.
    let ids: Vec<_> = cache.spill_claim("three", 5).await.unwrap().into_iter().map(|s| s.id).collect();
    assert_eq!(ids.len(), 3);
    cache.spill_ack(&ids[..2]).await.unwrap();
    cache.spill_set_aside(&ids[2], "a test").await.unwrap();
    assert_eq!(cache.spill_depth().await.unwrap(), 0);
    assert!(cache.spill_claim("one", 5).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_spill_is_bounded() {
    let cache = cache();
    let records: Vec<SpilledRecord> = (0..10).map(accounting).collect();
    cache.spill_push(&records).await.unwrap();
    assert!(matches!(cache.spill_push(&records[..1]).await, Err(CacheError::SpillFull)));
}

#[tokio::test]
async fn what_is_kept_for_others_is_theirs_and_what_is_used_can_be_read() {
    let cache = cache();
    let minute = Duration::from_secs(60);
    let low = Bucket { capacity: 10, window: minute, kept: 4 };
    assert_eq!(cache.budget_used("graph").await.unwrap(), None);
    assert_eq!(cache.take_from("graph", 6, low).await.unwrap(), Budget::Granted);
    let Budget::RetryAfter(wait) = cache.take_from("graph", 1, low).await.unwrap() else {
        panic!("the rest is kept")
    };
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(63), "{wait:?}");
    assert_eq!(cache.take_budget("graph", 4, 10, minute).await.unwrap(), Budget::Granted);
    let used = cache.budget_used("graph").await.unwrap().unwrap();
    assert_eq!(used, BudgetUse { used: 10, capacity: 10, window: minute });
    // More than there ever is without what is kept: it waits until nothing is in use, not for ever.
    let Budget::RetryAfter(wait) = cache.take_from("graph", 10, low).await.unwrap() else {
        panic!("all of it is in use")
    };
    assert!(wait <= Duration::from_secs(63), "{wait:?}");
}

#[tokio::test]
async fn a_parked_budget_grants_nothing_until_the_longest_wait_is_over() {
    let cache = cache();
    let take = async || cache.take_budget("parked", 1, 10, Duration::from_secs(60)).await.unwrap();
    cache.park_budget("parked", Duration::from_secs(30)).await.unwrap();
    cache.park_budget("parked", Duration::from_secs(1)).await.unwrap();
    let Budget::RetryAfter(wait) = take().await else { panic!("granted while parked") };
    assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "{wait:?}");
    assert_eq!(cache.budget_used("parked").await.unwrap(), None, "nothing was taken");
    assert_eq!(cache.take_budget("another", 1, 10, Duration::from_secs(60)).await.unwrap(), Budget::Granted);
    cache.park_budget("brief", Duration::from_millis(5)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(cache.take_budget("brief", 1, 10, Duration::from_secs(60)).await.unwrap(), Budget::Granted);
}

#[tokio::test]
async fn what_was_taken_is_free_again_a_window_later() {
    let cache = cache();
    let take = async |cost| cache.take_budget("graph", cost, 10, Duration::from_secs(1)).await.unwrap();
    assert_eq!(take(10).await, Budget::Granted);
    let Budget::RetryAfter(wait) = take(5).await else { panic!("all of it is in use") };
    assert!(wait > Duration::from_millis(800) && wait <= Duration::from_millis(1050), "{wait:?}");
    tokio::time::sleep(wait + Duration::from_millis(20)).await;
    assert_eq!(take(5).await, Budget::Granted);
    assert!(matches!(take(100).await, Budget::RetryAfter(wait) if wait <= Duration::from_millis(1050)));
}

#[tokio::test]
async fn no_window_holds_more_than_its_budget_wherever_it_begins() {
    let (cache, window) = (cache(), Duration::from_millis(400));
    let start = std::time::Instant::now();
    // Redis granted each between these two moments.
    let mut granted = Vec::new();
    while granted.len() < 50 {
        let before = start.elapsed();
        if cache.take_budget("graph", 1, 20, window).await.unwrap() == Budget::Granted {
            granted.push((before, start.elapsed()));
        } else {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    for (n, (from, _)) in granted.iter().enumerate() {
        let within = granted[n..].iter().filter(|(_, after)| *after < *from + window).count();
        assert!(within <= 20, "{within} from {from:?}");
    }
}

#[tokio::test]
async fn a_redis_that_is_away_costs_its_timeout_once() {
    // Takes connections, and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let cache =
        Cache::connect(&url, CacheConfig { decision_timeout: Duration::from_millis(100), ..config() })
            .unwrap();
    let keys = [LookupKey::Serial("a".to_owned())];
    let started = std::time::Instant::now();
    assert!(matches!(cache.lookups(ORG, &keys).await, Err(CacheError::TimedOut(_))));
    for _ in 0..1_000 {
        assert!(matches!(cache.lookups(ORG, &keys).await, Err(CacheError::CoolingDown)));
    }
    assert!(started.elapsed() < Duration::from_millis(450), "{:?}", started.elapsed());
}
