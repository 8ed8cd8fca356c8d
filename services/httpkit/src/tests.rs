use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use domain::time::{Ids, ManualClock};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;
use time::macros::datetime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{FrontLayer, Json, Problem, RequestContext, body_limit, health, method_not_allowed, not_found};

#[derive(Deserialize)]
struct Thing {
    name: String,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    size: u8,
}

fn app() -> Router {
    let clock = Arc::new(ManualClock::new(datetime!(2026-11-20 12:00 UTC)));
    Router::new()
        .route(
            "/things/{id}",
            post(async |Json(thing): Json<Thing>| {
                thing.name + &thing.parts.iter().map(|part| part.size.to_string()).collect::<String>()
            }),
        )
        .route("/id", get(async |Extension(context): Extension<RequestContext>| context.id().to_owned()))
        .route("/panic", get(async || -> String { panic!("the secret is swordfish") }))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(60)).await))
        .route("/away", get(async || Problem::unavailable("away", "Wait.", 7)))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(body_limit(64))
        .layer(FrontLayer::new(clock, Ids::seeded(1), Duration::from_millis(100)))
}

async fn send(request: Request) -> (StatusCode, Response, Value) {
    let mut response = app().oneshot(request).await.unwrap();
    let body = std::mem::take(response.body_mut()).collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body)));
    (response.status(), response, value)
}

fn get_request(path: &str) -> Request {
    Request::get(path).body(Body::empty()).unwrap()
}

fn json(body: &str) -> Request {
    Request::post("/things/1")
        .header("content-type", "application/json; charset=utf-8")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn a_body_that_does_not_fit_names_the_field() {
    let (status, response, body) = send(json(r#"{"name":"x","parts":[{"size":1},{"size":"big"}]}"#)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(body["code"], "invalid_request");
    assert_eq!(body["errors"][0]["field"], "parts[1].size");
    assert_eq!(body["errors"][0]["message"], "invalid type: string \"big\", expected u8");
    assert_eq!(body["request_id"], response.headers()["x-request-id"].to_str().unwrap());
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn every_rejection_is_a_problem() {
    for (request, status, code) in [
        (json("{"), StatusCode::BAD_REQUEST, "invalid_json"),
        (json("{} {}"), StatusCode::UNPROCESSABLE_ENTITY, "invalid_request"),
        (json(r#"{"name":"x","parts":[]} x"#), StatusCode::BAD_REQUEST, "invalid_json"),
        (json(&format!("\"{}\"", "x".repeat(64))), StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
        (
            Request::post("/things/1").body(Body::from("{}")).unwrap(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
        ),
        (get_request("/nowhere"), StatusCode::NOT_FOUND, "not_found"),
        (get_request("/things/1"), StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        (get_request("/slow"), StatusCode::SERVICE_UNAVAILABLE, "timed_out"),
        (get_request("/panic"), StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    ] {
        let (got, _, body) = send(request).await;
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{body}");
        assert_eq!(body["status"], status.as_u16());
        assert!(body["request_id"].is_string(), "{body}");
        assert!(!body.to_string().contains("swordfish"), "inside detail is not shown: {body}");
    }
}

#[tokio::test]
async fn a_harmless_request_id_is_kept() {
    let request = |id: &str| Request::get("/id").header("x-request-id", id).body(Body::empty()).unwrap();
    assert_eq!(send(request("edge-7.42_a")).await.2, "edge-7.42_a");
    let too_long = "x".repeat(129);
    for bad in ["", "a b", "a\"b", too_long.as_str()] {
        let (_, response, body) = send(request(bad)).await;
        assert_ne!(body, bad);
        assert_eq!(body, response.headers()["x-request-id"].to_str().unwrap());
    }
}

#[tokio::test]
async fn retry_after_is_a_header() {
    let (status, response, _) = send(get_request("/away")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "7");
}

#[tokio::test]
async fn readiness_says_what_failed() {
    let router = health::router(vec![
        health::Check::needed("postgres", async || Err("connection refused".to_owned())),
        health::Check::shown("redis", async || Ok(())),
    ]);
    let response = router.clone().oneshot(get_request("/readyz")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body: Value =
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(body["checks"][0]["error"], "connection refused");
    assert_eq!(body["checks"][1]["ok"], true);
    assert_eq!(router.oneshot(get_request("/healthz")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_then_cuts_them() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route(
        "/{ms}",
        get(async |axum::extract::Path(ms): axum::extract::Path<u64>| {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            "done"
        }),
    );
    let stop = CancellationToken::new();
    let server = tokio::spawn(crate::serve(listener, router, stop.clone(), Duration::from_millis(500)));
    let mut quick = tokio::net::TcpStream::connect(address).await.unwrap();
    quick.write_all(b"GET /200 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut endless = tokio::net::TcpStream::connect(address).await.unwrap();
    endless.write_all(b"GET /60000 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.cancel();
    let mut answer = String::new();
    quick.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    assert!(matches!(server.await.unwrap(), Err(crate::ServeError::Cut(_))));
}

#[tokio::test]
async fn a_burst_of_connections_waits_its_turn_instead_of_being_turned_away() {
    let listener = crate::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody takes them: each must stand in the queue. A connection for which there is no room hangs.
    let all = futures::future::try_join_all((0..300).map(|_| tokio::net::TcpStream::connect(address)));
    let waiting = tokio::time::timeout(Duration::from_millis(900), all).await.expect("a connection hangs");
    assert_eq!(waiting.unwrap().len(), 300);
}
