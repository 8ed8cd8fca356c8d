use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::world::{COMPLIANT, Process, STRANGER, Tenant, World};

async fn tell(process: &Process, tenant: &Tenant, body: Value) {
    let answer = process.post("/v1/nac/accounting", &tenant.token, &body).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{body}: {}", answer.body);
}

fn message(status: &str, minute: i64, bytes: i64) -> Value {
    json!({
        "status": status, "session_id": "s-1", "mac": COMPLIANT, "framed_ip": "10.1.30.42", "bytes_in": bytes,
        "event_timestamp": crate::world::START.unix_timestamp() + minute * 60,
    })
}

async fn session(world: &World) -> (bool, Option<i64>, Option<String>) {
    sqlx::query_as("SELECT ended_at IS NULL, bytes_in, host(framed_ip) FROM session")
        .fetch_one(&world.admin)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_session_has_a_start_a_course_and_an_end() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    process.mab(&tenant.token, COMPLIANT).await;
    world.advance(3_600);

    for _ in 0..2 {
        tell(&process, &tenant, message("start", 1, 0)).await;
        tell(&process, &tenant, message("interim", 10, 1_000)).await;
        tell(&process, &tenant, message("interim", 5, 500)).await;
    }
    assert_eq!(session(&world).await, (true, Some(1_000), Some("10.1.30.42".to_owned())));
    tell(&process, &tenant, message("stop", 20, 2_000)).await;
    tell(&process, &tenant, message("stop", 20, 2_000)).await;
    tell(&process, &tenant, message("interim", 15, 1_500)).await;
    tell(&process, &tenant, message("interim", 30, 9_999)).await;
    tell(&process, &tenant, message("start", 1, 0)).await;
    assert_eq!(session(&world).await, (false, Some(2_000), Some("10.1.30.42".to_owned())));
    let mut history = world.history(&tenant).await;
    history.sort();
    assert_eq!(
        history,
        ["NAC_CLIENT_IP_ASSIGNED", "NAC_CLIENT_PERMIT", "NAC_SESSION_ENDED", "NAC_SESSION_STARTED"]
    );

    // The same name again, later: a new stay. Its old stop, late, does not end it.
    process.mab(&tenant.token, COMPLIANT).await;
    assert_eq!(session(&world).await, (true, None, None));
    tell(&process, &tenant, message("stop", 20, 2_000)).await;
    assert!(session(&world).await.0);
}

#[tokio::test]
async fn a_denial_ends_the_session() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    process.mab(&tenant.token, COMPLIANT).await;
    assert!(session(&world).await.0);
    world.advance(1);
    process.mab(&tenant.token, STRANGER).await;
    assert!(!session(&world).await.0);
    world.advance(1);
    process.mab(&tenant.token, COMPLIANT).await;
    assert!(session(&world).await.0);
    assert_eq!(world.count("SELECT count(*) FROM session").await, 1);
}

/// Otherwise its sessions would stay open, and be moved, for days.
#[tokio::test]
async fn a_nas_without_a_clock_ends_its_sessions() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    process.mab(&tenant.token, COMPLIANT).await;
    world.advance(60);
    let body = json!({"status": "stop", "session_id": "s-1", "event_timestamp": 300});
    tell(&process, &tenant, body).await;
    assert!(!session(&world).await.0);
}

#[tokio::test]
async fn accounting_of_an_unknown_session_is_kept() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    // A clock that runs ahead counts as now, and so does one that stands in 1970.
    for stamp in [json!("2031-01-01T00:00:00Z"), json!(0)] {
        let body =
            json!({"status": "stop", "mac": COMPLIANT, "session_seconds": 60, "event_timestamp": stamp});
        tell(&process, &tenant, body).await;
    }
    let ended: time::OffsetDateTime =
        sqlx::query_scalar("SELECT ended_at FROM session").fetch_one(&world.admin).await.unwrap();
    assert_eq!(ended, world.now());
    assert_eq!(world.history(&tenant).await, ["NAC_SESSION_STARTED", "NAC_SESSION_ENDED"]);
    // Nothing was decided, so nothing can be re-decided.
    let mut tx = world.store.org(tenant.org).await.unwrap();
    assert!(store::sessions::active_page(&mut tx, None, 10).await.unwrap().is_empty());
}
