//! `kill -9` of any process, at various moments of the main job: it starts again, nothing is lost, nothing is done
//! twice.

use std::time::Duration;

use gatehouse::dev::simulator::Device;
use gatehouse_tests::journey::{self, Journey};
use gatehouse_tests::processes::Processes;
use gatehouse_tests::{Database, eventually};

/// Short leases, so that a dead worker's job is soon somebody else's.
fn settings() -> Vec<(&'static str, String)> {
    vec![
        ("SYNC_LEASE_SECONDS", "30".to_owned()),
        ("MICROSOFT_REQUEST_TIMEOUT_SECONDS", "5".to_owned()),
        ("SYNC_RELAY_LEASE_SECONDS", "2".to_owned()),
        ("NAC_REDELIVER_AFTER_SECONDS", "2".to_owned()),
    ]
}

/// Every process is killed once at every step of the journey.
#[tokio::test(flavor = "multi_thread")]
async fn every_process_dies_at_every_step() {
    let mut processes = Processes::start(&settings()).await;
    let journey = journey::begin(&processes, "contoso.example").await;
    let device = journey.device("compliant").await;
    let short = Duration::from_millis(100);

    // Dead before the decision, and right after it.
    processes.nac.kill_and_start(short).await;
    let first = journey.authorize(&device, "session-1").await;
    processes.nac.kill();
    assert_eq!((first.vlan.as_deref(), first.recorded), (Some("10"), true));
    assert!(
        decisions(&processes.database).await.contains(&first.decision_id),
        "an answered decision is recorded"
    );
    processes.nac.start().await;
    journey.account(&device, "session-1", "start").await;

    // The worker dies while it reads the fleet, and Microsoft's side with it.
    journey.simulator.set_compliance(&journey.tenant, &device.id, "noncompliant").await.unwrap();
    saved(&journey, &device).await;
    processes.microsoft.kill_and_start(short).await;
    press_sync(&journey).await;
    processes.sync.kill_and_start(short).await;
    processes.dashboard.kill_and_start(short).await;

    // The edge waits for its command when its server dies; it asks again, as an edge does.
    let waiting = {
        let edge = journey.edge.clone();
        tokio::spawn(async move { edge.commands(Duration::from_secs(30)).await })
    };
    tokio::time::sleep(short).await;
    processes.nac.kill();
    let _ = waiting.await;
    processes.nac.start().await;
    let command = eventually("the command after every death", || async {
        journey.edge.commands(Duration::from_secs(5)).await.ok()?.into_iter().next()
    })
    .await;

    // It was handed out, and the server dies before the acknowledgement: handed out again, under the same id.
    processes.nac.kill_and_start(short).await;
    let again = eventually("the command to be handed out again", || async {
        journey.edge.commands(Duration::from_secs(5)).await.ok()?.into_iter().next()
    })
    .await;
    assert_eq!(again.id, command.id, "the same command");
    journey.edge.acknowledge(&command.id).await.unwrap();
    processes.nac.kill_and_start(short).await;
    // Acknowledging twice does no harm.
    journey.edge.acknowledge(&command.id).await.unwrap();

    let second = journey.authorize(&device, "session-1").await;
    assert_eq!(second.vlan.as_deref(), Some("99"));
    journey.account(&device, "session-1", "stop").await;

    // The admin is still signed in, and the story is whole.
    processes.dashboard.kill_and_start(short).await;
    let events = journey.admin.get(&format!("{}/events", journey.path)).await.page();
    assert!(events.contains("NAC_CLIENT_COA_REAUTH"), "{events}");
    assert_once(&processes.database, &device).await;
}

/// The first sync is cut off again and again; it still reads every device, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_survives_its_workers() {
    let mut processes = Processes::start(&settings()).await;
    // Slow pages of ten, so that death comes in the middle.
    let settings = serde_json::json!({ "managedDevicesPage": 10, "latencyMs": 60 });
    processes.simulator.patch(&["settings"], &settings).await.unwrap();
    let (admin, path, org) = journey::organization(&(&processes).into(), "contoso.example").await;
    let _ = admin.link(&processes.simulator, &path).await.redirect();
    for round in 1..4 {
        tokio::time::sleep(Duration::from_millis(70 * round)).await;
        processes.sync.kill_and_start(Duration::from_millis(50)).await;
    }
    // A lease has to run out first.
    let store = processes.database.store();
    let started = std::time::Instant::now();
    while journey::confirmed(&store, org).await.is_none() {
        assert!(started.elapsed() < Duration::from_secs(90), "the sweep never went through");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut connection = processes.database.superuser().await;
    let (devices, firsts): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM device),
                (SELECT count(*) FROM device_transition WHERE from_state IS NULL)",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!((devices, firsts), (60, 60), "every device, and every device once");
}

/// Accounting and decisions stream in while the NAC process dies again and again. Whatever was answered is recorded,
/// once.
#[tokio::test(flavor = "multi_thread")]
async fn no_answered_decision_is_lost() {
    let mut processes = Processes::start(&settings()).await;
    let journey = std::sync::Arc::new(journey::begin(&processes, "contoso.example").await);
    let device = journey.device("compliant").await;
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (journey, device) = (journey.clone(), device.clone());
            tokio::spawn(async move {
                let mut answered = Vec::new();
                for number in 0..60 {
                    let request = journey.request(&device, &format!("s-{caller}-{number}"));
                    match journey.edge.authorize(&request).await {
                        Ok(decision) if decision.recorded => answered.push(decision.decision_id),
                        // The edge's server is dead: an edge tries again.
                        _ => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
                answered
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        processes.nac.kill_and_start(Duration::from_millis(20)).await;
    }
    let mut answered = Vec::new();
    for caller in callers {
        answered.extend(caller.await.unwrap());
    }
    assert!(answered.len() > 50, "only {} were answered", answered.len());
    let recorded = decisions(&processes.database).await;
    let lost: Vec<_> = answered.iter().filter(|id| !recorded.contains(id)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let mut unique = recorded.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), recorded.len(), "recorded twice");
}

async fn decisions(database: &Database) -> Vec<String> {
    sqlx::query_scalar("SELECT id::text FROM event WHERE kind IN ('NAC_CLIENT_PERMIT', 'NAC_CLIENT_DENY')")
        .fetch_all(&mut database.superuser().await)
        .await
        .unwrap()
}

/// The simulator writes its state every half second; what it answered before is kept from then on.
async fn saved(journey: &Journey, device: &Device) {
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let now = journey.simulator.device(&journey.tenant, &device.id).await.unwrap().unwrap();
    assert_eq!(now.compliance_state, "noncompliant");
}

async fn press_sync(journey: &Journey) {
    let mut tx = journey.store.org(journey.org).await.unwrap();
    let link = store::links::list(&mut tx).await.unwrap().remove(0).id;
    drop(tx);
    let _ =
        journey.admin.post(&format!("{}/identity-providers/{link}/sync", journey.path), &[]).await.redirect();
}

/// One transition, one command, its states told once each.
async fn assert_once(database: &Database, device: &Device) {
    let mut connection = database.superuser().await;
    let transitions: Vec<(Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT from_state, to_state FROM device_transition WHERE device_id = $1::uuid ORDER BY at, id",
    )
    .bind(&device.id)
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let state = |text: &str| Some(text.to_owned());
    assert_eq!(transitions, [(None, state("compliant")), (state("compliant"), state("noncompliant"))]);
    let commands: Vec<String> =
        sqlx::query_scalar("SELECT state FROM command").fetch_all(&mut connection).await.unwrap();
    assert_eq!(commands, ["acked"]);
    for (kind, times) in [
        ("NAC_CLIENT_PERMIT", 2),
        ("NAC_SESSION_STARTED", 1),
        ("NAC_SESSION_ENDED", 1),
        ("NAC_MDM_COMPLIANCE_CHANGED", 1),
    ] {
        let told: i64 = sqlx::query_scalar("SELECT count(*) FROM event WHERE kind = $1")
            .bind(kind)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(told, times, "{kind}");
    }
}
