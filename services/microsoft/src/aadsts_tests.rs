use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A body as Entra ID writes it.
fn body(error: &str, code: u32) -> Vec<u8> {
    let description = format!(
        "AADSTS{code}: Something about application 'X'.\r\nTrace ID: 1\r\nCorrelation ID: 2\r\nTimestamp: 2026-01-09 \
         02:02:12Z"
    );
    json!({
        "error": error, "error_description": description, "error_codes": [code],
        "timestamp": "2026-01-09 02:02:12Z", "trace_id": "1", "correlation_id": "2",
        "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
    })
    .to_string()
    .into_bytes()
}

#[test]
fn every_code_of_the_documentation_has_its_link_state() {
    use LinkState as S;
    for (code, status, error, state) in [
        (700_016, 400, "unauthorized_client", Some(S::ConsentMissing)),
        (7_000_229, 401, "invalid_client", Some(S::ConsentRevoked)),
        (7_000_112, 400, "unauthorized_client", Some(S::DisabledByTenant)),
        (70_001, 400, "unauthorized_client", Some(S::DisabledByTenant)),
        (65_001, 400, "invalid_grant", Some(S::ConsentMissing)),
        (500_011, 400, "invalid_resource", Some(S::NoIntune)),
        (650_052, 400, "invalid_client", Some(S::NoIntune)),
        (650_057, 400, "invalid_resource", Some(S::CredentialFailing)),
        (90_002, 400, "invalid_request", Some(S::TenantGone)),
        (900_023, 400, "invalid_request", Some(S::CredentialFailing)),
        (90_038, 400, "invalid_request", Some(S::WrongCloud)),
        (7_000_215, 401, "invalid_client", Some(S::CredentialFailing)),
        (7_000_222, 401, "invalid_client", Some(S::CredentialFailing)),
        (700_027, 401, "invalid_client", Some(S::CredentialFailing)),
        (700_024, 401, "invalid_client", Some(S::CredentialFailing)),
        (53_003, 400, "invalid_grant", Some(S::BlockedByCa)),
        (50_034, 400, "invalid_grant", None),
        (50_020, 400, "invalid_grant", None),
        (50_057, 400, "invalid_grant", None),
        (54_005, 400, "invalid_grant", None),
        (50_196, 400, "invalid_grant", Some(S::Throttled)),
        (90_055, 400, "invalid_request", Some(S::Throttled)),
        (50_000, 400, "invalid_grant", Some(S::Unreachable)),
        (90_033, 503, "temporarily_unavailable", Some(S::Unreachable)),
        (90_024, 400, "invalid_request", Some(S::Unreachable)),
    ] {
        let error = TokenError::classify(status, None, &body(error, code));
        assert_eq!(error.link_state(), state, "AADSTS{code}");
        assert_eq!(error.code, Some(code));
        assert!(
            error.detail.starts_with(&format!("AADSTS{code}")) && !error.detail.contains("Trace"),
            "{error}"
        );
    }
}

#[test]
fn the_table_has_no_repeats() {
    let codes: HashSet<u32> = TABLE.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes.len(), TABLE.len());
}

#[test]
fn an_unknown_code_falls_back_to_the_error_and_the_status() {
    for (status, error, kind) in [
        (401, "invalid_client", K::CredentialFailing),
        (400, "unauthorized_client", K::ConsentMissing),
        (400, "invalid_grant", K::CodeRefused),
        (400, "interaction_required", K::BlockedByConditionalAccess),
        (400, "temporarily_unavailable", K::Unavailable),
        (500, "something_new", K::Unavailable),
        (429, "something_new", K::Throttled),
        (400, "something_new", K::Protocol),
    ] {
        let classified = TokenError::classify(status, None, &body(error, 999_999_999));
        assert_eq!((classified.kind, classified.code), (kind, Some(999_999_999)), "{status} {error}");
    }
}

#[test]
fn an_app_that_is_refused_like_a_person_has_a_state_all_the_same() {
    let with = |error: &str, code: u32, more: Value| {
        let mut body: Value = serde_json::from_slice(&body(error, code)).unwrap();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        TokenError::classify_app_only(400, None, body.to_string().as_bytes())
    };
    let claims = json!({"claims": "{\"access_token\":{\"capolids\":{\"essential\":true}}}"});
    let suberror = json!({"suberror": "message_only"});
    let empty = json!({"suberror": "", "claims": null});
    for (error, code, more, state) in [
        ("invalid_grant", 999_999_999, &claims, LinkState::BlockedByCa),
        ("invalid_grant", 999_999_999, &suberror, LinkState::BlockedByCa),
        ("interaction_required", 999_999_999, &empty, LinkState::BlockedByCa),
        ("interaction_required", 50_076, &claims, LinkState::BlockedByCa),
        ("invalid_grant", 999_999_999, &empty, LinkState::Unreachable),
        ("invalid_grant", 50_034, &empty, LinkState::Unreachable),
        ("access_denied", 999_999_999, &empty, LinkState::Unreachable),
        ("invalid_grant", 54_005, &empty, LinkState::Unreachable),
        // What is known is what it was.
        ("invalid_grant", 53_003, &empty, LinkState::BlockedByCa),
        ("invalid_client", 7_000_229, &claims, LinkState::ConsentRevoked),
        ("invalid_client", 7_000_215, &suberror, LinkState::CredentialFailing),
    ] {
        let refused = with(error, code, more.clone());
        assert_eq!((refused.link_state(), refused.code), (Some(state), Some(code)), "{error} {code} {more}");
    }
    assert_eq!(TokenError::classify(400, None, &body("invalid_grant", 999_999_999)).kind, K::CodeRefused);
}

#[test]
fn a_finer_code_beside_a_known_one_does_no_harm() {
    let text = json!({"error": "invalid_client", "error_codes": [123_456, 7_000_229]}).to_string();
    let error = TokenError::classify(401, None, text.as_bytes());
    assert_eq!((error.kind, error.code), (K::ConsentRevoked, Some(7_000_229)));
}

#[test]
fn a_body_that_is_no_json_is_judged_by_its_status() {
    let error = TokenError::classify(502, None, b"<html>Bad Gateway</html>");
    assert_eq!((error.kind, error.detail.as_str()), (K::Unavailable, "HTTP status 502"));
    assert_eq!(TokenError::classify(404, None, b"").kind, K::Protocol);
}

#[test]
fn codes_are_found_in_texts() {
    for (text, code) in [
        ("AADSTS65004: The resource owner", Some(65_004)),
        ("x AADSTS7000229", Some(7_000_229)),
        ("AADSTS: none", None),
        ("AADSTS99999999999999999999", None),
        ("", None),
    ] {
        assert_eq!(aadsts_code(text), code, "{text}");
    }
}

proptest! {
    #[test]
    fn classification_is_total(status in 100_u16..600, body in "\\PC{0,200}", error in "\\PC{0,20}", text in "\\PC{0,600}") {
        let _ = TokenError::classify(status, None, body.as_bytes());
        prop_assert!(TokenError::classify_app_only(status, None, body.as_bytes()).link_state().is_some());
        let body = json!({"error": error, "error_description": text}).to_string();
        let error = TokenError::classify(status, None, body.as_bytes());
        prop_assert!(error.detail.chars().count() <= 401 && !error.detail.chars().any(char::is_control));
    }
}
