//! Replays on a real PostgreSQL, with limits that are easily reached.

use std::sync::Arc;
use std::time::Duration as Wait;

use domain::compliance::assess;
use domain::decision::{Answer, MatchRecord};
use domain::event::DecisionRecord;
use domain::policy::decide::Input;
use domain::policy::replay::Facts;
use domain::policy::transfer::{Format, read};
use domain::policy::{CompiledPolicy, PolicyDoc, decide};
use domain::request::AccessRequest;
use domain::resolver::{Match, Outcome};
use domain::snapshot::OrgSettings;
use domain::time::{Clock as _, Ids, SystemClock};
use domain::{EdgeId, Mac, OrgId, SiteId};
use policy::replay::{Done, Job, Limits, Progress, Replays, StartError, State};
use store::Store;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{World, world};

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const OPEN: &str = "{ format: gatehouse-policy/1, rules: [ { name: Everybody, action: allow } ] }";
const SHUT: &str = "{ format: gatehouse-policy/1, rules: [ { name: Nobody, action: block } ] }";

fn policy(text: &str) -> Arc<CompiledPolicy> {
    let doc = read(text, Format::Yaml, &PolicyDoc::default()).unwrap();
    Arc::new(CompiledPolicy::compile(1, &doc))
}

/// Decisions of `clients` clients in turn, one each second, the last one now.
async fn record(store: &Store, org: OrgId, n: u32, clients: u32) {
    let ids = Ids::seeded(7);
    let policy = policy(OPEN);
    store::events::ensure_partitions(store, NOW).await.unwrap();
    let decided = |i: u32| {
        let at = NOW - Duration::seconds(i64::from(n - 1 - i));
        let mut request = AccessRequest::bare(EdgeId(Uuid::nil()), SiteId(Uuid::nil()));
        let [.., c, d] = (i % clients).to_be_bytes();
        request.mac = Some(Mac([0, 1, 2, 3, c, d]));
        let found =
            Match { outcome: Outcome::NotEnrolled, key: None, mac_mismatch: false, wanted: Vec::new() };
        let compliance = assess(&found, &[], &OrgSettings::default(), at);
        let input = Input { request: &request, found: &found, compliance: &compliance, now: at };
        let decision = decide(Some(&policy), &input);
        let answer = Answer { id: ids.make(at), at, decision, found: MatchRecord::of(&found), compliance };
        let session = ids.make(at);
        DecisionRecord {
            org,
            session,
            session_key: format!("s{i}"),
            request,
            answer,
            keys: Vec::new(),
            offline: false,
            ask: None,
            told_at: None,
        }
    };
    let records: Vec<_> = (0..n).map(decided).collect();
    let mut tx = store.org(org).await.unwrap();
    store::events::record_batch(&mut tx, &records).await.unwrap();
    tx.commit().await.unwrap();
}

fn job(org: OrgId, text: &str) -> Job {
    Job {
        org,
        from: NOW - Duration::hours(1),
        to: NOW,
        facts: Facts::AsRecorded,
        settings: OrgSettings::default(),
        policy: policy(text),
        name: "draft".into(),
        started_by: "Ada".into(),
    }
}

fn limits() -> Limits {
    Limits { page: 3, clients_max: 5, moved_max: 4, kept_max: 2, ..Limits::default() }
}

async fn over(replays: &Replays, org: OrgId, id: Uuid) -> Progress {
    let kept = replays.get(org, id, NOW).unwrap();
    let mut news = kept.watch();
    let over = news.wait_for(|progress| !matches!(progress.state, State::Running));
    tokio::time::timeout(Wait::from_secs(20), over).await.expect("it ends").unwrap().clone()
}

async fn done(replays: &Replays, org: OrgId, job: Job) -> Arc<Done> {
    let id = Ids::system().uuid(SystemClock.now());
    replays.start(id, NOW, job).unwrap();
    match over(replays, org, id).await.state {
        State::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whatever_the_window_holds_what_is_kept_is_bounded() {
    let World { store, org, .. } = world().await;
    record(&store, org, 50, 10).await;
    let replays = Replays::new(store.clone(), limits(), CancellationToken::new());
    let same = done(&replays, org, job(org, OPEN)).await;
    assert_eq!((same.report.decisions, same.report.changed), (50, 0));
    let shut = done(&replays, org, job(org, SHUT)).await;
    assert_eq!((shut.report.decisions, shut.report.changed, shut.report.undecidable), (50, 50, 0));
    assert_eq!((shut.report.clients, shut.report.beyond_clients_max), (5, 25));
    assert_eq!(shut.moved.len(), 4);
    assert!(shut.moved.iter().all(|moved| moved.before.permit && !moved.after.permit));
    // The download has every one of them.
    let mut lines = 0;
    let mut moved = replays.moved(Arc::new(job(org, SHUT)));
    while let Some(page) = moved.recv().await {
        let page = page.unwrap();
        assert!(page.len() <= 3);
        lines += page.len();
    }
    assert_eq!(lines, 50);
}

#[tokio::test]
async fn replays_end_when_they_are_stopped_and_make_room() {
    let World { store, org, .. } = world().await;
    record(&store, org, 2_000, 10).await;
    let (ids, shutdown) = (Ids::system(), CancellationToken::new());
    let small = Limits { page: 1, ..limits() };
    let replays = Replays::new(store, small, shutdown.clone());
    let next = || ids.uuid(SystemClock.now());
    let (first, second, third) = (next(), next(), next());
    replays.start(first, NOW, job(org, SHUT)).unwrap();
    assert_eq!(replays.start(next(), NOW, job(org, SHUT)), Err(StartError::Running));
    let other: OrgId = ids.make(NOW);
    assert!(!replays.cancel(other, first, NOW), "another organization finds it not");
    assert!(replays.cancel(org, first, NOW));
    assert!(matches!(over(&replays, org, first).await.state, State::Cancelled));
    replays.start(second, NOW, job(org, SHUT)).unwrap();
    shutdown.cancel();
    assert!(matches!(over(&replays, org, second).await.state, State::Cancelled));
    replays.start(third, NOW, job(org, SHUT)).unwrap();
    let kept: Vec<_> = replays.list(org, NOW).into_iter().map(|kept| kept.id).collect();
    assert_eq!(kept, [third, second]);
    assert!(replays.list(org, NOW + Duration::hours(2)).is_empty());
}
