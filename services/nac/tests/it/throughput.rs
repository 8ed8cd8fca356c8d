use std::collections::HashSet;

use serde_json::json;

use crate::world::{World, eventually};

/// What must hold under load; how fast it is, the load harness tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_decisions_share_few_transactions() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    process.mab(&tenant.token, crate::world::COMPLIANT).await;
    let commits = async || {
        world.count("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").await
    };
    let before = commits().await;
    let answers = (0..2_000).map(|n: u32| {
        let (router, token) = (process.router.clone(), tenant.token.clone());
        let [_, _, high, low] = n.to_be_bytes();
        let body = json!({"mac": format!("d4:6e:0e:02:{high:02x}:{low:02x}"), "auth_type": "mab"});
        tokio::spawn(async move {
            crate::world::send(router, crate::world::post("/v1/nac/authorize", &token, body.to_string()))
                .await
        })
    });
    let mut ids = HashSet::new();
    let answers: Vec<_> = answers.collect();
    for answer in answers {
        let body = answer.await.unwrap().body;
        assert_eq!(body["recorded"], true, "{body}");
        ids.insert(body["decision_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 2_000);
    // Where other work keeps PostgreSQL from answering in time, some wait in Redis for a moment.
    eventually("what waited is written", || async { world.cache.spill_depth().await.unwrap() == 0 }).await;
    assert_eq!(world.count("SELECT count(*) FROM event").await, 2_001);
    // PostgreSQL's own statistics come late; by then more may have committed, never fewer.
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    let commits = commits().await - before;
    assert!(commits < 1_000, "{commits} transactions for 2000 decisions are no group commit");
}
