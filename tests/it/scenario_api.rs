//! The main job as its people and machines do it, without a browser: sign in, link, sync, write the policy, admit a
//! device, see its compliance change, move it by a CoA, read the story.

use gatehouse_tests::{TestApp, eventually, journey};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_loses_compliance_is_moved() {
    let app = TestApp::start().await;
    let journey = journey::begin(&app, "contoso.example").await;
    let device = journey.admit_and_move("session-1").await;

    // The story, newest first, in one session.
    let story = eventually("the story to be whole", || async {
        let kinds: Vec<String> = sqlx::query_scalar("SELECT kind FROM event ORDER BY at, id")
            .fetch_all(&mut app.database.superuser().await)
            .await
            .unwrap();
        kinds.iter().any(|kind| kind == "NAC_SESSION_ENDED").then_some(kinds)
    })
    .await;
    for kind in [
        "NAC_CLIENT_PERMIT",
        "NAC_SESSION_STARTED",
        "NAC_MDM_COMPLIANCE_CHANGED",
        "NAC_CLIENT_COA_REAUTH",
        "NAC_SESSION_ENDED",
    ] {
        assert!(story.iter().any(|told| told == kind), "{kind} is missing in {story:?}");
    }
    assert_eq!(story.iter().filter(|kind| *kind == "NAC_CLIENT_PERMIT").count(), 2, "{story:?}");
    let mut connection = app.database.superuser().await;
    let commands: Vec<(String, String)> =
        sqlx::query_as("SELECT kind, state FROM command").fetch_all(&mut connection).await.unwrap();
    assert_eq!(commands, [("reauth".to_owned(), "acked".to_owned())]);
    let transitions: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM device_transition WHERE device_id = $1::uuid AND to_state = 'noncompliant'",
    )
    .bind(&device.id)
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(transitions, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_moves_nobody_sends_no_command() {
    let app = TestApp::start().await;
    let journey = journey::begin(&app, "contoso.example").await;
    let device = journey.device("noncompliant").await;
    let before = journey.authorize(&device, "session-1").await;
    assert_eq!(before.vlan.as_deref(), Some("99"));
    journey.account(&device, "session-1", "start").await;
    // From one way of not being compliant to another: the answer stays.
    journey.simulator.set_compliance(&journey.tenant, &device.id, "error").await.unwrap();
    journey.sync_now().await;
    journey::carried(&app.store).await;
    let mut connection = app.database.superuser().await;
    let commands: i64 =
        sqlx::query_scalar("SELECT count(*) FROM command").fetch_one(&mut connection).await.unwrap();
    assert_eq!(commands, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_tell_how_they_are() {
    let app = TestApp::start().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = reqwest::get(app.admin_url.join(path).unwrap()).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }
    app.stop().await;
}
