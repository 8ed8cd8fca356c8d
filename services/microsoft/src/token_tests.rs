use std::time::Duration as StdDuration;

use secrecy::ExposeSecret;
use serde_json::json;

use super::*;
use crate::testing::{self, CLIENT_ID, Stub, TID, token_path};
use crate::{Credential, HttpLimits};

fn secret(token: &AccessToken) -> &str {
    token.secret().expose_secret()
}

#[tokio::test]
async fn a_token_is_asked_for_as_documented_and_kept() {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let microsoft = stub.microsoft();
    let token = microsoft.graph_token(TID).await.unwrap();
    assert_eq!(secret(&token), "token-1");
    assert_eq!(secret(&microsoft.graph_token(TID).await.unwrap()), "token-1");
    let seen = stub.seen();
    assert_eq!(seen.len(), 1);
    let client_id = CLIENT_ID.to_string();
    let want = [
        ("client_id", client_id.as_str()),
        ("scope", "https://graph.microsoft.com/.default"),
        ("grant_type", "client_credentials"),
        ("client_secret", "hunter2"),
    ];
    assert_eq!(seen[0].form(), want.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(!seen[0].header("client-request-id").is_empty());
    assert!(!format!("{token:?}").contains("token-1"));
}

#[tokio::test]
async fn a_certificate_signs_instead_of_a_secret() {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let certificate = testing::certificate(&testing::rsa_key());
    let credential = Credential::Certificate(Box::new(certificate));
    stub.microsoft_with(credential, HttpLimits::default()).graph_token(TID).await.unwrap();
    let form = stub.seen()[0].form();
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["client_id", "scope", "grant_type", "client_assertion_type", "client_assertion"]);
    assert_eq!(form[4].1.split('.').count(), 3);
}

#[tokio::test]
async fn it_is_refreshed_before_it_ends() {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let microsoft = stub.microsoft();
    let first = microsoft.graph_token(TID).await.unwrap();
    let kept = first.refresh_at - stub.now();
    assert!((0.75..=0.80).contains(&(kept / Duration::seconds(3599))), "{kept}");
    stub.clock.advance(kept - Duration::seconds(1));
    assert_eq!(secret(&microsoft.graph_token(TID).await.unwrap()), "token-1");
    stub.clock.advance(Duration::seconds(2));
    assert_eq!(secret(&microsoft.graph_token(TID).await.unwrap()), "token-2");
}

#[tokio::test]
async fn a_passing_failure_of_a_refresh_leaves_the_token_serving() {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let microsoft = stub.microsoft();
    microsoft.graph_token(TID).await.unwrap();
    stub.on(&token_path(), [testing::json(503, &json!({"error": "temporarily_unavailable"}))]);
    stub.clock.advance(Duration::minutes(50));
    assert_eq!(secret(&microsoft.graph_token(TID).await.unwrap()), "token-1");
    stub.clock.advance(Duration::minutes(10));
    let error = microsoft.graph_token(TID).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Unavailable, "spent");
    // The tenant's own word: the token goes at once.
    stub.issues_tokens();
    microsoft.graph_token(TID).await.unwrap();
    stub.on(
        &token_path(),
        [testing::json(401, &json!({"error": "invalid_client", "error_codes": [7_000_229]}))],
    );
    stub.clock.advance(Duration::minutes(50));
    assert_eq!(microsoft.graph_token(TID).await.unwrap_err().kind, TokenErrorKind::ConsentRevoked);
}

#[tokio::test]
async fn a_refused_refresh_leaves_the_token_serving_to_its_end_and_names_the_credential() {
    for body in [
        json!({"error": "invalid_client", "error_codes": [7_000_222]}),
        json!({"error": "invalid_scope", "error_codes": [70_011]}),
        json!({"error": "something_new"}),
    ] {
        let stub = Stub::start().await;
        stub.issues_tokens();
        let microsoft = stub.microsoft();
        microsoft.graph_token(TID).await.unwrap();
        stub.on(&token_path(), [testing::json(401, &body)]);
        stub.clock.advance(Duration::minutes(50));
        for _ in 0..5 {
            assert_eq!(secret(&microsoft.graph_token(TID).await.unwrap()), "token-1", "{body}");
        }
        assert_eq!(stub.seen().len(), 2, "tried once in a while: {body}");
        let credential_fails = body["error_codes"] == json!([7_000_222]);
        assert_eq!(microsoft.credentials()[0].refused, credential_fails, "{body}");
        stub.clock.advance(Duration::seconds(31));
        assert_eq!(secret(&microsoft.graph_token(TID).await.unwrap()), "token-1", "{body}");
        assert_eq!(stub.seen().len(), 3, "{body}");
        stub.clock.advance(Duration::minutes(9));
        assert!(!microsoft.graph_token(TID).await.unwrap_err().is_transient(), "{body}");
        // Somebody acted.
        stub.clock.advance(Duration::seconds(31));
        stub.issues_tokens();
        microsoft.graph_token(TID).await.unwrap();
    }
}

#[tokio::test]
async fn many_callers_ask_once_and_share_the_answer() {
    let stub = Stub::start().await;
    let slow = testing::json(200, &json!({"access_token": "t", "expires_in": "3599"}))
        .after(StdDuration::from_millis(200));
    stub.on(&token_path(), [slow]);
    let microsoft = stub.microsoft();
    let all = futures::future::join_all((0..50).map(|_| microsoft.graph_token(TID))).await;
    assert!(all.iter().all(|token| secret(token.as_ref().unwrap()) == "t"));
    assert_eq!(stub.seen().len(), 1);

    let refused = testing::json(401, &json!({"error": "invalid_client", "error_codes": [7_000_215]}));
    stub.on(&token_path(), [refused.after(StdDuration::from_millis(200))]);
    microsoft.forget_tokens(TID).await;
    let all = futures::future::join_all((0..50).map(|_| microsoft.graph_token(TID))).await;
    assert!(all.iter().all(|token| token.as_ref().unwrap_err().kind == TokenErrorKind::CredentialFailing));
    assert_eq!(stub.seen().len(), 2, "those who waited share the refusal");
    stub.clock.advance(Duration::seconds(6));
    microsoft.graph_token(TID).await.unwrap_err();
    assert_eq!(stub.seen().len(), 3, "who comes later asks again");
}

#[tokio::test]
async fn an_answer_that_does_not_read_tells_nothing_of_its_contents() {
    let stub = Stub::start().await;
    stub.on(&token_path(), [testing::json(200, &json!({"access_token": ["very-secret"], "expires_in": 1}))]);
    let error = stub.microsoft().graph_token(TID).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Protocol);
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn throttling_says_how_long_to_wait() {
    let stub = Stub::start().await;
    let answer = testing::json(429, &json!({"error": "invalid_grant", "error_codes": [50_196]}));
    stub.on(&token_path(), [answer.header("retry-after", "17")]);
    let error = stub.microsoft().graph_token(TID).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retry_after),
        (TokenErrorKind::Throttled, Some(StdDuration::from_secs(17)))
    );
}

#[tokio::test]
async fn nobody_there() {
    let stub = Stub::start().await;
    let base = url::Url::parse("http://127.0.0.1:1").unwrap();
    let cloud = crate::Cloud::custom(base.clone(), base);
    let app = crate::AppRegistration::new(CLIENT_ID, Credential::Secret("s".into()));
    let microsoft =
        Microsoft::new(cloud, app, stub.clock.clone(), domain::time::Ids::seeded(1), HttpLimits::default())
            .unwrap();
    let error = microsoft.graph_token(TID).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Unavailable);
    assert!(!error.to_string().contains("oauth2"), "no address: {error}");
}

#[tokio::test]
async fn the_cache_sweeps_out_spent_tokens() {
    let stub = Stub::start().await;
    let microsoft = stub.microsoft();
    let cache = TokenCache::default();
    for n in 0..=ENTRIES_SOFT_MAX + 1 {
        cache.slot(microsoft.key(Uuid::from_u128(n as u128), "r"), testing::NOW);
    }
    assert!(cache.slots.lock().unwrap().by_key.len() <= 2);
}

#[tokio::test]
async fn a_token_that_serves_is_handed_out_while_somebody_refreshes_it() {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let microsoft = stub.microsoft();
    microsoft.graph_token(TID).await.unwrap();
    stub.clock.advance(Duration::minutes(50));
    let slow = testing::json(200, &json!({"access_token": "new", "expires_in": 3599}));
    stub.on(&token_path(), [slow.after(StdDuration::from_millis(400))]);
    let refresh = tokio::spawn({
        let microsoft = microsoft.clone();
        async move { microsoft.graph_token(TID).await }
    });
    while stub.seen().len() < 2 {
        tokio::time::sleep(StdDuration::from_millis(5)).await;
    }
    assert_eq!(secret(&microsoft.graph_token(TID).await.unwrap()), "token-1");
    assert_eq!(secret(&refresh.await.unwrap().unwrap()), "new");
    assert_eq!(secret(&microsoft.graph_token(TID).await.unwrap()), "new");
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn a_failed_refresh_is_not_tried_by_every_caller() {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let microsoft = stub.microsoft();
    microsoft.graph_token(TID).await.unwrap();
    stub.on(&token_path(), [testing::json(503, &json!({}))]);
    stub.clock.advance(Duration::minutes(50));
    for _ in 0..5 {
        assert_eq!(secret(&microsoft.graph_token(TID).await.unwrap()), "token-1");
    }
    assert_eq!(stub.seen().len(), 2);
    stub.clock.advance(Duration::seconds(31));
    microsoft.graph_token(TID).await.unwrap();
    assert_eq!(stub.seen().len(), 3);
}

#[tokio::test]
async fn patience_that_microsoft_asks_for_is_kept_by_all() {
    let stub = Stub::start().await;
    let microsoft = stub.microsoft();
    let busy = testing::json(429, &json!({"error": "temporarily_unavailable"}));
    stub.on(&token_path(), [busy.header("retry-after", "60")]);
    microsoft.graph_token(TID).await.unwrap_err();
    stub.clock.advance(Duration::seconds(40));
    let error = microsoft.graph_token(TID).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retry_after),
        (TokenErrorKind::Throttled, Some(StdDuration::from_secs(20))),
        "what is left of the wait"
    );
    assert_eq!(stub.seen().len(), 1);
    stub.clock.advance(Duration::seconds(20));
    stub.issues_tokens();
    microsoft.graph_token(TID).await.unwrap();
}

#[tokio::test]
async fn asking_in_circles_waits_longer_each_time() {
    let stub = Stub::start().await;
    let microsoft = stub.microsoft();
    stub.on(&token_path(), [testing::json(400, &json!({"error": "invalid_grant", "error_codes": [50_196]}))]);
    let mut last = StdDuration::ZERO;
    for round in 1..=4 {
        let error = microsoft.graph_token(TID).await.unwrap_err();
        let wait = error.retry_after.unwrap();
        assert!(wait > last && wait <= StdDuration::from_secs(15 * 60 * 5 / 4), "{wait:?}");
        assert_eq!(stub.seen().len(), round);
        stub.clock.advance(Duration::try_from(wait).unwrap() - Duration::seconds(1));
        microsoft.graph_token(TID).await.unwrap_err();
        assert_eq!(stub.seen().len(), round, "not before");
        stub.clock.advance(Duration::seconds(1));
        last = wait;
    }
}

#[tokio::test]
async fn microsofts_hint_when_to_refresh_is_taken() {
    for (body, hours) in [
        (json!({"access_token": "t", "expires_in": 86_399, "refresh_in": 43_199}), 12.0),
        (json!({"access_token": "t", "expires_in": 86_399}), 12.0),
        (json!({"access_token": "t", "expires_in": 86_399, "refresh_in": "3600"}), 1.0),
        (json!({"access_token": "t", "expires_in": 3600, "refresh_in": ["x"]}), 0.8),
        (json!({"access_token": "t", "expires_in": 3600, "refresh_in": 999_999}), 0.95),
    ] {
        let stub = Stub::start().await;
        stub.on(&token_path(), [testing::json(200, &body)]);
        let token = stub.microsoft().graph_token(TID).await.unwrap();
        let kept = (token.refresh_at - stub.now()) / Duration::hours(1);
        assert!((hours * 0.93..=hours).contains(&kept), "{body}: {kept}");
    }
}

#[tokio::test]
async fn tokens_that_are_refused_again_and_again_are_not_fetched_for_ever() {
    let stub = Stub::start().await;
    stub.issues_tokens();
    let microsoft = stub.microsoft();
    let path = "/v1.0/deviceManagement/managedDevices";
    stub.on(path, [testing::json(401, &json!({"error": {"code": "InvalidAuthenticationToken"}}))]);
    for _ in 0..20 {
        microsoft.graph(TID).probe().await.unwrap_err();
    }
    assert_eq!(stub.seen_at(&token_path()).len(), 1 + REFUSED_MAX as usize);
    stub.clock.advance(Duration::minutes(6));
    microsoft.graph(TID).probe().await.unwrap_err();
    assert_eq!(stub.seen_at(&token_path()).len(), 2 + REFUSED_MAX as usize);
}
