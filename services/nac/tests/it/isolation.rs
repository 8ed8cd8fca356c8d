use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use crate::world::{COMPLIANT, World, eventually};

#[tokio::test]
async fn strangers_are_told_nothing() {
    let world = World::new().await;
    let (one, two) = (world.tenant(1).await, world.tenant(2).await);
    let process = world.process();
    // Another secret in a true credential's place; one organization's place with another's credential.
    let (place, secret) = one.token.split_at(47);
    let (_, other_secret) = two.token.split_at(47);
    let mixed = format!("{place}{other_secret}");
    let foreign_place = format!("{}{secret}", &two.token[..47]);
    let unknown = "ghe_".to_owned() + &"A".repeat(43) + "_" + &"A".repeat(43);
    let mut bodies = Vec::new();
    for (method, path) in [
        ("POST", "/v1/nac/authorize"),
        ("POST", "/v1/nac/accounting"),
        ("POST", "/v1/nac/radius/authorize"),
        ("POST", "/v1/nac/radius/accounting"),
        ("GET", "/v1/nac/commands"),
        ("GET", "/v1/nac/commands/stream"),
        ("GET", "/v1/nac/bundle"),
        ("POST", "/v1/nac/events"),
        ("POST", "/v1/nac/commands/5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42/ack"),
    ] {
        let authorizations = [
            None,
            Some(String::new()),
            Some("Bearer".to_owned()),
            Some("Bearer ".to_owned()),
            Some("Bearer ghe_x".to_owned()),
            Some(format!("Basic {}", one.token)),
            Some(format!("Bearer {mixed}")),
            Some(format!("Bearer {foreign_place}")),
            Some(format!("Bearer {unknown}")),
        ];
        for authorization in authorizations {
            let mut request =
                Request::builder().method(method).uri(path).header("content-type", "application/json");
            if let Some(value) = &authorization {
                request = request.header("authorization", value);
            }
            let answer = process.send(request.body(Body::from("{}")).unwrap()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path} {authorization:?}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            let mut body = answer.body;
            body.as_object_mut().unwrap().remove("request_id");
            bodies.push(body);
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "every cause looks the same: {bodies:?}");
    assert_eq!(world.count("SELECT count(*) FROM event").await, 0);
}

#[tokio::test]
async fn what_belongs_to_others_is_not_there() {
    let world = World::new().await;
    let (one, two) = (world.tenant(1).await, world.tenant(2).await);
    let process = world.process();
    let session = process.mab(&one.token, COMPLIANT).await["session_id"].as_str().unwrap().parse().unwrap();
    let command = world.command(&one, session).await;

    let answer = process.get("/v1/nac/commands", &two.token).await;
    assert_eq!(answer.body, json!({"commands": []}));
    let ack = format!("/v1/nac/commands/{command}/ack");
    let answer = process.post(&ack, &two.token, &json!({"result": "ack"})).await;
    assert_eq!((answer.status, &answer.body["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));

    // The same organization's other edge.
    let mut tx = world.store.org(one.org).await.unwrap();
    let actor = store::audit::Actor::system();
    let now = world.now();
    let edge = store::edges::create_edge(&mut tx, &world.ids, now, &actor, one.site, "Other")
        .await
        .unwrap()
        .unwrap();
    let (token, _) =
        store::edges::issue_credential(&mut tx, &world.ids, now, &actor, edge).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let answer = process.get("/v1/nac/commands", token.reveal()).await;
    assert_eq!(answer.body, json!({"commands": []}));
    let answer = process.post(&ack, token.reveal(), &json!({"result": "ack"})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);

    let answer = process.post(&ack, &one.token, &json!({"result": "ack"})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    for path in ["/v1/nac", "/v1/nac/commands/x", "/v2"] {
        let answer = process.get(path, &one.token).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (StatusCode::NOT_FOUND, &json!("not_found")),
            "{path}"
        );
    }
    let answer = process.get("/v1/nac/authorize", &one.token).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.body["request_id"].is_string());
}

#[tokio::test]
async fn a_revoked_token_dies_by_time_alone() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    process.mab(&tenant.token, COMPLIANT).await;
    world.revoke(&tenant).await;
    // No relay runs, nobody tells it.
    eventually("the token is dead", || async {
        let answer = process.post("/v1/nac/authorize", &tenant.token, &json!({})).await;
        answer.status == StatusCode::UNAUTHORIZED
    })
    .await;
    // Another process takes it from Redis, not from an old copy.
    let answer = world.process().post("/v1/nac/authorize", &tenant.token, &json!({})).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_revoked_token_dies_at_once_where_the_bus_tells_of_it() {
    let mut world = World::new().await;
    world.config.memory_ttl = std::time::Duration::from_secs(600);
    world.config.credential_confirm_after = std::time::Duration::from_secs(600);
    let tenant = world.tenant(1).await;
    let process = world.process();
    eventually("the bus is up", || async { process.cache.bus_is_up() }).await;
    process.mab(&tenant.token, COMPLIANT).await;
    world.revoke(&tenant).await;
    // As the outbox relay does it.
    world.cache.drop_credential(tenant.org, tenant.credential).await.unwrap();
    let message = cache::BusMessage::Credential { org: tenant.org, id: tenant.credential };
    world.cache.publish(&message).await.unwrap();
    eventually("the token is dead", || async {
        let answer = process.post("/v1/nac/authorize", &tenant.token, &json!({})).await;
        answer.status == StatusCode::UNAUTHORIZED
    })
    .await;
}
