use serde_json::{Value, json};

use crate::support::{CONTOSO, start};

#[tokio::test]
async fn the_issuer_of_organizations_holds_the_placeholder_and_that_of_a_tenant_its_id() {
    let sim = start().await;
    let response = sim.get("/organizations/v2.0/.well-known/openid-configuration").await;
    assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
    assert_eq!(response.headers()["cache-control"], "max-age=86400, private");
    assert!(response.headers().contains_key("x-ms-request-id"));
    let document: Value = response.json().await.unwrap();
    assert_eq!(document["issuer"], format!("{}/{{tenantid}}/v2.0", sim.base));
    assert_eq!(document["tenant_region_scope"], Value::Null);
    assert_eq!(document["jwks_uri"], format!("{}/organizations/discovery/v2.0/keys", sim.base));

    let path = format!("/{CONTOSO}/v2.0/.well-known/openid-configuration");
    let document: Value = sim.get(&path).await.json().await.unwrap();
    assert_eq!(document["issuer"], format!("{}/{CONTOSO}/v2.0", sim.base));
    assert_eq!(document["tenant_region_scope"], "WW");
}

#[tokio::test]
async fn an_unknown_tenant_is_invalid_tenant_here_and_invalid_request_at_the_token_endpoint() {
    let sim = start().await;
    let unknown = "11111111-2222-4333-8444-555555555555";
    let response = sim.get(&format!("/{unknown}/v2.0/.well-known/openid-configuration")).await;
    assert_eq!(response.status(), 400);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"], "invalid_tenant");
    assert_eq!(body["error_codes"], json!([90002]));

    let (status, body) = sim.app_token(unknown).await;
    assert_eq!(
        (status.as_u16(), &body["error"], &body["error_codes"]),
        (400, &json!("invalid_request"), &json!([90002]))
    );
    let (status, body) = sim.app_token("no-tenant").await;
    assert_eq!((status.as_u16(), &body["error_codes"]), (400, &json!([900023])));
}

#[tokio::test]
async fn each_key_names_its_issuer_and_one_belongs_to_personal_accounts() {
    let sim = start().await;
    let keys: Value = sim.get("/common/discovery/v2.0/keys").await.json().await.unwrap();
    let keys = keys["keys"].as_array().unwrap();
    let issuers: Vec<_> = keys.iter().map(|key| key["issuer"].as_str().unwrap()).collect();
    assert!(issuers.contains(&format!("{}/{{tenantid}}/v2.0", sim.base).as_str()), "{issuers:?}");
    let personal = format!("{}/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", sim.base);
    assert!(issuers.contains(&personal.as_str()), "{issuers:?}");
    for key in keys {
        assert_eq!(key["kid"], key["x5t"]);
        assert_eq!(key["e"], "AQAB");
        assert_eq!(key["x5c"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn rotation_adds_a_key_and_may_drop_the_old_ones() {
    let sim = start().await;
    let count = async || {
        let keys: Value = sim.get("/organizations/discovery/v2.0/keys").await.json().await.unwrap();
        keys["keys"].as_array().unwrap().len()
    };
    let token = sim.linked().await;
    assert_eq!(count().await, 2);
    sim.post("/keys/rotate", json!({})).await;
    assert_eq!(count().await, 3);
    assert_eq!(sim.graph(&token, "/v1.0/organization").await.0, 200);
    sim.post("/keys/rotate", json!({"keepOld": false})).await;
    assert_eq!(count().await, 2);
    assert_eq!(sim.graph(&token, "/v1.0/organization").await.0, 401);
}
