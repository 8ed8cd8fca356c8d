use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{CONTOSO, LIST, start};

#[tokio::test]
async fn a_status_may_come_with_or_without_retry_after() {
    let sim = start().await;
    let token = sim.linked().await;
    for (status, retry_after, header) in [
        (429, json!(7), Some("7")),
        (503, json!("Fri, 31 Dec 2027 23:59:59 GMT"), Some("Fri, 31 Dec 2027 23:59:59 GMT")),
        (504, Value::Null, None),
    ] {
        let effect = json!({"kind": "status", "status": status, "retryAfter": retry_after});
        sim.post("/faults", json!({"endpoint": "managedDevices", "times": 1, "effect": effect})).await;
        let response = sim.http.get(sim.url(LIST)).bearer_auth(&token).send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get("retry-after").map(|value| value.to_str().unwrap()), header);
        assert!(response.headers().contains_key("request-id"));
        assert_eq!(sim.graph(&token, LIST).await.0, 200);
    }
}

#[tokio::test]
async fn login_endpoints_fail_with_aadsts_bodies() {
    let sim = start().await;
    sim.grant().await;
    let effect = json!({"kind": "status", "status": 503});
    sim.post("/faults", json!({"endpoint": "token", "tenantId": CONTOSO, "times": 1, "effect": effect}))
        .await;
    let (status, body) = sim.app_token(CONTOSO).await;
    assert_eq!((status.as_u16(), &body["error"]), (503, &json!("temporarily_unavailable")));
    assert_eq!(body["error_codes"], json!([90_033]));
    assert_eq!(sim.app_token(CONTOSO).await.0, 200);
}

#[tokio::test]
async fn bodies_are_cut_and_connections_reset() {
    let sim = start().await;
    let token = sim.linked().await;
    sim.post("/faults", json!({"times": 1, "effect": {"kind": "truncate", "bytes": 100}})).await;
    let response = sim.http.get(sim.url(LIST)).bearer_auth(&token).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err());

    for kind in ["reset", "resetAfter"] {
        sim.post("/faults", json!({"times": 1, "effect": {"kind": kind}})).await;
        let error = sim.http.get(sim.url(LIST)).bearer_auth(&token).send().await.unwrap_err();
        assert!(format!("{error:?}").contains("ConnectionReset"), "{error:?}");
    }
    assert_eq!(sim.graph(&token, LIST).await.0, 200);
}

#[tokio::test]
async fn slowness_is_by_fault_or_for_all() {
    let sim = start().await;
    let token = sim.linked().await;
    let took = async || {
        let start = Instant::now();
        assert_eq!(sim.graph(&token, &format!("{LIST}?$top=1")).await.0, 200);
        start.elapsed()
    };
    sim.post("/faults", json!({"times": 1, "effect": {"kind": "slow", "latencyMs": 300}})).await;
    assert!(took().await >= Duration::from_millis(300));
    sim.settings(json!({"latencyMs": 200})).await;
    assert!(took().await >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_fault_strikes_after_so_many_passes_and_is_counted() {
    let sim = start().await;
    let token = sim.linked().await;
    let fault = json!({"endpoint": "managedDevices.list", "skip": 2, "times": 1, "effect": {"kind": "status", "status": 401}});
    sim.post("/faults", fault).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(sim.graph(&token, &format!("{LIST}?$top=1")).await.0.as_u16());
    }
    assert_eq!(seen, [200, 200, 401, 200]);
    let counters: Value = sim.get("/_sim/api/counters").await.json().await.unwrap();
    assert_eq!(counters["counters"]["managedDevices.list"], json!({"200": 3, "401": 1}));
    let faults: Value = sim.get("/_sim/api/faults").await.json().await.unwrap();
    assert_eq!(faults["faults"][0]["struck"], 1);
}

#[tokio::test]
async fn budgets_are_per_app_and_tenant_and_refill_with_the_clock() {
    let sim = start().await;
    let token = sim.linked().await;
    sim.settings(json!({"intuneBudget": {"limit": 3.0, "perSeconds": 30.0}, "directoryBudget": {"limit": 2.0, "perSeconds": 20.0}})).await;
    let ask = async |path: &str| sim.http.get(sim.url(path)).bearer_auth(&token).send().await.unwrap();
    let one = format!("{LIST}?$top=1");
    for _ in 0..3 {
        assert_eq!(ask(&one).await.status(), 200);
    }
    let refused = ask(&one).await;
    assert_eq!(refused.status(), 429);
    let wait: i64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "TooManyRequests");
    let directory = ask("/v1.0/devices").await;
    assert_eq!(
        (directory.status().as_u16(), directory.headers()["x-ms-resource-unit"].to_str().unwrap()),
        (200, "1")
    );
    let directory = ask("/v1.0/devices").await;
    assert_eq!(directory.headers()["x-ms-throttle-limit-percentage"], "1.0");
    assert!(ask("/v1.0/devices").await.headers().contains_key("x-ms-throttle-scope"));
    sim.post("/clock", json!({"advanceSeconds": wait})).await;
    assert_eq!(ask(&one).await.status(), 200);
    sim.settings(json!({"retryAfterHeader": false})).await;
    ask(&one).await;
    assert!(ask(&one).await.headers().get("retry-after").is_none());
}
