//! How fast a sweep is. Run by hand: `cargo nextest run -p compliance-sync --release --run-ignored all throughput
//! --no-capture`.

use std::time::Instant;

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    const FLEET: u32 = 50_000;
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    for n in 0..FLEET {
        world.graph.put(tenant.tid, n, "compliant");
    }
    let process = world.process();
    for (round, what) in ["all new", "unchanged", "all changed", "unchanged"].into_iter().enumerate() {
        if what == "all changed" {
            for n in 0..FLEET {
                let check_in = json!({"lastSyncDateTime": "2026-11-21T08:00:00Z"});
                world.graph.put_with(tenant.tid, n, "compliant", &check_in);
            }
        }
        let began = Instant::now();
        assert_eq!(process.sweep_due().await.unwrap(), 1);
        let swept = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let messages = process.relay_all().await.unwrap();
        let relayed = began.elapsed().as_secs_f64();
        println!(
            "{round} {what}: {:.0} devices/s swept (Graph stand-in included); {messages} messages in {relayed:.2} s",
            f64::from(FLEET) / swept
        );
        world.advance(400);
    }
}
