use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use simulator::config::DEFAULT_CLIENT_SECRET;

use crate::support::{CLIENT, CONTOSO, LIST, Sim, start};

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

async fn refused(sim: &Sim, fields: &[(&str, &str)]) -> (u16, String, u64) {
    let (status, body) = sim.token_request(CONTOSO, fields).await;
    let error = body["error"].as_str().unwrap_or_default().to_owned();
    (status.as_u16(), error, body["error_codes"][0].as_u64().unwrap_or(0))
}

fn fields<'a>(overrides: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", DEFAULT_CLIENT_SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    fields.retain(|(name, _)| !overrides.iter().any(|(other, _)| other == name));
    fields.extend(overrides.iter().filter(|(_, value)| !value.is_empty()));
    fields
}

#[tokio::test]
async fn a_token_carries_the_granted_roles_and_lives_between_60_and_90_minutes() {
    let sim = start().await;
    sim.grant().await;
    let mut lifetimes = Vec::new();
    for _ in 0..20 {
        let (_, body) = sim.app_token(CONTOSO).await;
        assert_eq!(body["expires_in"], body["ext_expires_in"]);
        lifetimes.push(body["expires_in"].as_i64().unwrap());
        let claims = claims(body["access_token"].as_str().unwrap());
        assert_eq!(claims["tid"], CONTOSO);
        assert_eq!(claims["roles"].as_array().unwrap().len(), 3);
    }
    assert!(lifetimes.iter().all(|lifetime| (3_599..=5_399).contains(lifetime)), "{lifetimes:?}");
    lifetimes.dedup();
    assert!(lifetimes.len() > 10, "{lifetimes:?}");
}

#[tokio::test]
async fn errors_have_entras_form() {
    let sim = start().await;
    let (status, body) = sim.app_token(CONTOSO).await;
    assert_eq!(status, 401);
    assert_eq!(body["error"], "invalid_client");
    assert_eq!(body["error_codes"], json!([7_000_229]));
    let description = body["error_description"].as_str().unwrap();
    assert!(description.starts_with("AADSTS7000229: The client application "), "{description}");
    let trace = format!("\r\nTrace ID: {}\r\nCorrelation ID: ", body["trace_id"].as_str().unwrap());
    assert!(description.contains(&trace), "{description}");
    assert!(description.ends_with(&format!("\r\nTimestamp: {}", body["timestamp"].as_str().unwrap())));
    assert_eq!(body["error_uri"], format!("{}/error?code=7000229", sim.base));
}

/// What is wrong with a request, then status, `error` and code of its answer.
type Case = (&'static [(&'static str, &'static str)], u16, &'static str, u64);

#[tokio::test]
async fn each_mistake_has_its_code() {
    let sim = start().await;
    sim.grant().await;
    let secret = json!({"secrets": [
        {"value": DEFAULT_CLIENT_SECRET}, {"value": "old", "expires": "2020-01-01T00:00:00Z"}]});
    sim.patch(&format!("/apps/{CLIENT}"), secret).await;
    let cases: [Case; 10] = [
        (&[("client_secret", "wrong")], 401, "invalid_client", 7_000_215),
        (&[("client_secret", "old")], 401, "invalid_client", 7_000_222),
        (&[("client_secret", "")], 401, "invalid_client", 7_000_218),
        (&[("client_id", "nobody")], 400, "unauthorized_client", 700_016),
        (&[("client_id", "")], 400, "invalid_request", 900_144),
        (&[("grant_type", "")], 400, "invalid_request", 900_144),
        (&[("grant_type", "password")], 400, "unsupported_grant_type", 70_003),
        (&[("scope", "https://graph.microsoft.com/User.Read")], 400, "invalid_scope", 1_002_012),
        (
            &[("scope", "https://graph.microsoft.com/.default https://api.manage.microsoft.com//.default")],
            400,
            "invalid_scope",
            70_011,
        ),
        (&[("scope", "https://vault.azure.net/.default")], 400, "invalid_resource", 500_011),
    ];
    for (overrides, status, error, code) in cases {
        assert_eq!(
            refused(&sim, &fields(overrides)).await,
            (status, error.to_owned(), code),
            "{overrides:?}"
        );
    }
    let (status, body) = sim.app_token("common").await;
    assert_eq!((status.as_u16(), &body["error_codes"]), (400, &json!([9_001_023])));
}

#[tokio::test]
async fn the_secret_may_come_by_http_basic() {
    let sim = start().await;
    sim.grant().await;
    let url = sim.url(&format!("/{CONTOSO}/oauth2/v2.0/token"));
    let form = [("grant_type", "client_credentials"), ("scope", "https://graph.microsoft.com/.default")];
    let ask = async |secret: &str| {
        sim.http.post(&url).basic_auth(CLIENT, Some(secret)).form(&form).send().await.unwrap().status()
    };
    assert_eq!(ask(DEFAULT_CLIENT_SECRET).await, 200);
    assert_eq!(ask("wrong").await, 401);
}

#[tokio::test]
async fn the_intune_api_has_its_own_audience_and_roles() {
    let sim = start().await;
    let roles = json!({"roles": ["Device.Read.All", "get_device_compliance"]});
    sim.post(&format!("/tenants/{CONTOSO}/consent"), roles).await;
    let intune = fields(&[("scope", "https://api.manage.microsoft.com//.default")]);
    let (_, body) = sim.token_request(CONTOSO, &intune).await;
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(claims(token)["aud"], "https://api.manage.microsoft.com/");
    assert_eq!(claims(token)["roles"], json!(["get_device_compliance"]));
    assert_eq!(sim.graph(token, "/v1.0/devices").await.0, 401);
    sim.post(&format!("/tenants/{CONTOSO}/revoke"), json!({"kind": "licence"})).await;
    assert_eq!(refused(&sim, &intune).await.2, 500_011);
}

#[tokio::test]
async fn consent_takes_time_and_a_token_minted_before_stays_without_roles() {
    let sim = start().await;
    sim.settings(json!({"consentPropagationSeconds": 120})).await;
    let early = sim.linked().await;
    assert_eq!(claims(&early)["roles"], Value::Null);
    assert_eq!(sim.graph(&early, LIST).await.0, 403);
    sim.post("/clock", json!({"advanceSeconds": 121, "tokens": true})).await;
    assert_eq!(sim.graph(&early, LIST).await.0, 403);
    let late = sim.token().await;
    assert_eq!(sim.graph(&late, LIST).await.0, 200);
}

#[tokio::test]
async fn the_four_revocations_differ() {
    let sim = start().await;
    let revoke = async |kind: &str| {
        sim.post(&format!("/tenants/{CONTOSO}/revoke"), json!({"kind": kind})).await;
    };
    let token = sim.linked().await;
    revoke("delete").await;
    assert_eq!(refused(&sim, &fields(&[])).await, (401, "invalid_client".into(), 7_000_229));
    assert_eq!(sim.graph(&token, LIST).await.0, 200, "tokens issued before live on");
    sim.settings(json!({"missingPrincipalCode": 700_016})).await;
    assert_eq!(refused(&sim, &fields(&[])).await, (400, "unauthorized_client".into(), 700_016));

    sim.grant().await;
    revoke("disable").await;
    assert_eq!(refused(&sim, &fields(&[])).await, (400, "unauthorized_client".into(), 7_000_112));

    sim.grant().await;
    revoke("roles").await;
    let bare = sim.token().await;
    assert_eq!(sim.graph(&bare, LIST).await.0, 403);

    let token = sim.linked().await;
    revoke("licence").await;
    let (status, body) = sim.graph(&token, LIST).await;
    assert_eq!(status, 403);
    assert!(body["error"]["message"].as_str().unwrap().contains("not applicable to target tenant"), "{body}");
    assert_eq!(sim.graph(&token, "/v1.0/devices").await.0, 200, "the directory needs no Intune licence");

    sim.post(&format!("/tenants/{CONTOSO}/tokens/revoke"), json!({})).await;
    assert_eq!(sim.graph(&token, "/v1.0/devices").await.0, 401);
    assert_eq!(sim.graph(&sim.token().await, "/v1.0/devices").await.0, 200);
}

#[tokio::test]
async fn conditional_access_blocks_with_a_claims_challenge() {
    let sim = start().await;
    sim.grant().await;
    sim.patch(&format!("/tenants/{CONTOSO}"), json!({"blockedByConditionalAccess": true})).await;
    let (status, body) = sim.app_token(CONTOSO).await;
    assert_eq!(
        (status.as_u16(), &body["error"], &body["suberror"]),
        (400, &json!("invalid_grant"), &json!("message_only"))
    );
    assert_eq!(body["error_codes"], json!([53_003]));
    assert!(body["claims"].is_string());
}

#[tokio::test]
async fn graph_refuses_missing_forged_and_expired_tokens() {
    let sim = start().await;
    sim.settings(json!({"tokenLifetimeSeconds": 60})).await;
    let token = sim.linked().await;
    let response = sim.get(LIST).await;
    assert_eq!(response.status(), 401);
    assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer "));
    let mut forged = token.clone();
    forged.replace_range(forged.len() - 6.., "AAAAAA");
    assert_eq!(sim.graph(&forged, LIST).await.1["error"]["code"], "InvalidAuthenticationToken");
    assert_eq!(sim.graph(&token, LIST).await.0, 200);
    sim.post("/clock", json!({"advanceSeconds": 61, "tokens": true})).await;
    let (status, body) = sim.graph(&token, LIST).await;
    assert_eq!(status, 401);
    assert_eq!(body["error"]["message"], "Lifetime validation failed, the token is expired.");
}
