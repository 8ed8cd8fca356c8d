use std::collections::HashSet;

use std::time::Duration;

use nac::NacConfig;
use serde_json::{Value, json};

use crate::world::{Process, Tenant, World, eventually};

/// As many clients as the number says, all at once; their answers.
async fn burst(process: &Process, tenant: &Tenant, clients: u32) -> Vec<Value> {
    let answers = (0..clients).map(|n| {
        let (router, token) = (process.router.clone(), tenant.token.clone());
        let [_, _, high, low] = n.to_be_bytes();
        let body = json!({"mac": format!("d4:6e:0e:02:{high:02x}:{low:02x}"), "auth_type": "mab"});
        tokio::spawn(async move {
            crate::world::send(router, crate::world::post("/v1/nac/authorize", &token, body.to_string()))
                .await
                .body
        })
    });
    let answers: Vec<_> = answers.collect();
    futures::future::join_all(answers).await.into_iter().map(Result::unwrap).collect()
}

/// Of a machine that has much else to do: what is counted here is not time.
fn patient(world: &World) -> NacConfig {
    NacConfig {
        store_read_timeout: Duration::from_secs(30),
        store_write_timeout: Duration::from_secs(30),
        request_timeout: Duration::from_secs(120),
        ..world.config.clone()
    }
}

/// What must hold under load; how fast it is, the load harness tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_decisions_share_few_transactions() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process_with(patient(&world));
    process.mab(&tenant.token, crate::world::COMPLIANT).await;
    let commits = async || {
        world.count("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").await
    };
    let before = commits().await;
    let mut ids = HashSet::new();
    for body in burst(&process, &tenant, 2_000).await {
        assert_eq!(body["recorded"], true, "{body}");
        ids.insert(body["decision_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 2_000);
    // Where other work keeps PostgreSQL from answering in time, some wait in Redis for a moment.
    eventually("what waited is written", || async { world.cache.spill_depth().await.unwrap() == 0 }).await;
    assert_eq!(world.count("SELECT count(*) FROM event").await, 2_001);
    // PostgreSQL's own statistics come late; by then more may have committed, never fewer.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let commits = commits().await - before;
    assert!(commits < 1_000, "{commits} transactions for 2000 decisions are no group commit");
}

/// Redis being away must not make a question to PostgreSQL of every decision.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_many_decisions_share_few_questions() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process_with(patient(&world));
    process.mab(&tenant.token, crate::world::COMPLIANT).await;
    world.redis.cut();
    let transactions = async || {
        let sql =
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
        world.count(sql).await
    };
    let before = transactions().await;
    for body in burst(&process, &tenant, 2_000).await {
        assert_eq!((&body["reason"], &body["recorded"]), (&json!("implicit_deny"), &json!(true)), "{body}");
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let made = transactions().await - before;
    assert!(made < 1_000, "{made} transactions for 2000 decisions without Redis");
}
