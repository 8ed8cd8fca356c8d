use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::TokenErrorKind;

fn answer(status: u16, body: &[u8]) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers: HeaderMap::new(), body: body.to_vec(), retry_after: None }
}

/// Intune's own error: a JSON text inside the message.
fn nested(code: &str, message: &str, retry_after: &serde_json::Value) -> Vec<u8> {
    let inner = json!({
        "_version": 3,
        "Message": format!("{message} - Operation ID (for customer support): 00000000-0000-0000-0000-000000000000 - \
                            Activity ID: 1 - Url: https://fef.msub05.manage.microsoft.com/x?api-version=5019-09-20"),
        "CustomApiErrorPhrase": "", "RetryAfter": retry_after, "ErrorSourceService": "", "HttpHeaders": "{}",
    });
    let inner = serde_json::to_string_pretty(&inner).unwrap().replace('\n', "\r\n");
    json!({"error": {"code": code, "message": inner, "innerError": {"request-id": "1", "date": "2019-11-15T18:53:00"}}})
        .to_string()
        .into_bytes()
}

#[test]
fn intunes_nested_message_is_unpacked() {
    let text = "Application is not authorized to perform this operation. Application must have one of the following \
                scopes: DeviceManagementManagedDevices.Read.All";
    let error = GraphError::classify(&answer(403, &nested("Forbidden", text, &json!(null))));
    assert_eq!(error, GraphError::Forbidden { detail: format!("Forbidden: {text}") });
    assert_eq!(error.link_state(), Some(LinkState::PermissionMissing));

    let throttled =
        GraphError::classify(&answer(429, &nested("TooManyRequests", "slow", &json!("00:00:17"))));
    assert_eq!(throttled, GraphError::Throttled { retry_after: None });
    let throttled = GraphError::classify(&answer(429, &nested("TooManyRequests", "slow", &json!(17))));
    assert_eq!(throttled.retry_after(), Some(Duration::from_secs(17)));
}

#[test]
fn the_header_wins_over_the_body() {
    let mut answer = answer(503, &nested("ServiceUnavailable", "x", &json!(17)));
    answer.retry_after = Some(Duration::from_secs(5));
    assert_eq!(GraphError::classify(&answer).retry_after(), Some(Duration::from_secs(5)));
}

#[test]
fn every_status_has_its_meaning() {
    use LinkState as S;
    let plain = |code: &str, message: &str| {
        json!({"error": {"code": code, "message": message}}).to_string().into_bytes()
    };
    for (status, body, state, transient) in [
        (
            401,
            plain("InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."),
            Some(S::Unreachable),
            false,
        ),
        (
            403,
            plain("Authorization_RequestDenied", "Insufficient privileges to complete the operation."),
            Some(S::PermissionMissing),
            false,
        ),
        (403, plain("Forbidden", "Request not applicable to target tenant."), Some(S::NoIntune), false),
        (
            400,
            nested("BadRequest", "Request not applicable to target tenant.", &json!(null)),
            Some(S::NoIntune),
            false,
        ),
        (400, plain("BadRequest", "x"), Some(S::Unreachable), false),
        (410, plain("x", "x"), None, false),
        (429, plain("TooManyRequests", "x"), Some(S::Throttled), true),
        (500, plain("InternalServerError", "x"), Some(S::Unreachable), true),
        (503, b"<html>".to_vec(), Some(S::Unreachable), true),
        (504, Vec::new(), Some(S::Unreachable), true),
        (302, Vec::new(), Some(S::Unreachable), false),
    ] {
        let error = GraphError::classify(&answer(status, &body));
        assert_eq!((error.link_state(), error.is_transient()), (state, transient), "{status}: {error}");
    }
    let token = GraphError::from(TokenError::new(TokenErrorKind::ConsentRevoked, "x"));
    assert_eq!(token.link_state(), Some(S::ConsentRevoked));
}

proptest! {
    #[test]
    fn classification_is_total(status in 100_u16..600, body in prop::collection::vec(any::<u8>(), 0..200), message in "\\PC*") {
        let _ = GraphError::classify(&answer(status, &body));
        let body = json!({"error": {"code": "x", "message": message}}).to_string();
        let _ = GraphError::classify(&answer(status, body.as_bytes()));
        let _ = names_unknown_property(&answer(400, body.as_bytes()));
    }
}
