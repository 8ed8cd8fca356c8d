use axum::http::StatusCode;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::world::{World, post, send};

/// Every field and its code, all at once.
#[tokio::test]
async fn all_that_is_wrong_is_told_at_once() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let long = "x".repeat(3_000);
    let body = json!({
        "mac": "not a mac",
        "auth_type": "device-auth",
        "ssid": 7,
        "user_name": "a\u{0}b",
        "hostname": ["tv"],
        "ingress_vlan": 1.5,
        "radius_group": "x\n",
        "gbp_tag": 65_536,
        "idp_roles": vec!["x"; 257],
        "usermac_labels": [7],
        "session_id": long,
        "nas": {"ip": "300.1.1.1", "identifier": [], "vendor": true, "port_type": "radio", "port_id": {}},
        "cert": {
            "cn": 1, "subject": long, "issuer": "\n", "serial": false, "not_after": "tomorrow",
            "san_uri": "one", "san_dns": ["ok", 2, long], "san_upn": {}, "san_email": vec!["x"; 65],
            "ekus": "1.3.6.1.5.5.7.3.2", "template": 1,
        },
    });
    let answer = process.post("/v1/nac/authorize", &tenant.token, &body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let errors: Vec<(&str, &str)> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["field"].as_str().unwrap(), error["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        errors,
        [
            ("mac", "invalid_mac"),
            ("auth_type", "unknown_value"),
            ("ssid", "wrong_type"),
            ("user_name", "control_character"),
            ("hostname", "wrong_type"),
            ("ingress_vlan", "wrong_type"),
            ("radius_group", "control_character"),
            ("gbp_tag", "out_of_range"),
            ("idp_roles", "too_many"),
            ("usermac_labels[0]", "wrong_type"),
            ("session_id", "too_long"),
            ("nas.ip", "invalid_ip"),
            ("nas.identifier", "wrong_type"),
            ("nas.vendor", "wrong_type"),
            ("nas.port_type", "unknown_value"),
            ("nas.port_id", "wrong_type"),
            ("cert.cn", "wrong_type"),
            ("cert.subject", "too_long"),
            ("cert.serial", "wrong_type"),
            ("cert.not_after", "invalid_time"),
            ("cert.san_uri", "wrong_type"),
            ("cert.san_dns[1]", "wrong_type"),
            ("cert.san_dns[2]", "too_long"),
            ("cert.san_upn", "wrong_type"),
            ("cert.san_email", "too_many"),
            ("cert.ekus", "wrong_type"),
            ("cert.template", "wrong_type"),
        ]
    );
    let message = answer.body["errors"][1]["message"].as_str().unwrap();
    assert!(message.contains("eap-tls") && message.contains("mab"), "{message}");
    let objects = json!({"nas": "ap-1", "cert": []});
    let answer = process.post("/v1/nac/authorize", &tenant.token, &objects).await;
    assert_eq!(answer.body["errors"][0]["message"], "must be an object, not a string");
    assert_eq!(answer.body["errors"][1]["field"], "cert");

    for (path, body, fields) in [
        ("/v1/nac/accounting", json!({}), vec!["status", "session_id"]),
        ("/v1/nac/accounting", json!({"status": "begin", "mac": "x"}), vec!["status", "mac"]),
        (
            "/v1/nac/accounting",
            json!({"status": "start", "mac": "d46e0e022896", "framed_ip": "x", "bytes_in": -1, "bytes_out": 1.5,
                   "session_seconds": "7", "event_timestamp": {}}),
            vec!["event_timestamp", "framed_ip", "bytes_in", "bytes_out", "session_seconds"],
        ),
        ("/v1/nac/commands/x/ack", json!({"error_cause": "no"}), vec!["result", "error_cause"]),
        (
            "/v1/nac/commands/x/ack",
            json!({"result": "done", "error_cause": 4_294_967_296_u64}),
            vec!["result", "error_cause"],
        ),
    ] {
        let answer = process.post(path, &tenant.token, &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.body);
        let told: Vec<&str> =
            answer.body["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
        assert_eq!(told, fields, "{body}");
    }
    let answer = process.get("/v1/nac/commands?wait=61&limit=0", &tenant.token).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.body["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_request_is_a_problem() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    for (body, status, code) in [
        ("{".to_owned(), StatusCode::BAD_REQUEST, "invalid_json"),
        ("[]".to_owned(), StatusCode::UNPROCESSABLE_ENTITY, "invalid_request"),
        ("\u{feff}{}".to_owned(), StatusCode::BAD_REQUEST, "invalid_json"),
        ("{\"x\":".to_owned() + &"[".repeat(500), StatusCode::BAD_REQUEST, "invalid_json"),
        (format!("{{\"x\":\"{}\"}}", "x".repeat(70_000)), StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
    ] {
        let answer = process.send(post("/v1/nac/authorize", &tenant.token, body)).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{}", answer.body);
    }
}

/// JSON of the API's own field names and of anything else.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec![
            "d4:6e:0e:02:28:96",
            "mab",
            "eap-tls",
            "start",
            "stop",
            "ack",
            "10.0.0.1",
            "fe80::1%eth0",
            "2026-11-20T12:00:00Z",
            "9999-12-31T23:59:59-23:59",
            "0001-01-01T00:00:00+23:59",
            "000000000000Z",
            "ID:Intune:GUID:5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42",
            "\u{0}",
            "CN=x/serialNumber=\\",
            "host/",
        ])
        .prop_map(Value::from),
    ];
    let name = prop_oneof![
        prop::sample::select(vec![
            "mac",
            "auth_type",
            "ssid",
            "user_name",
            "hostname",
            "ingress_vlan",
            "radius_group",
            "gbp_tag",
            "idp_roles",
            "usermac_labels",
            "session_id",
            "nas",
            "cert",
            "ip",
            "identifier",
            "vendor",
            "port_type",
            "port_id",
            "cn",
            "subject",
            "issuer",
            "serial",
            "not_after",
            "san_uri",
            "san_dns",
            "san_upn",
            "san_email",
            "ekus",
            "template",
            "status",
            "framed_ip",
            "bytes_in",
            "bytes_out",
            "session_seconds",
            "terminate_cause",
            "event_timestamp",
            "result",
            "error_cause",
            "message",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    leaf.prop_recursive(3, 48, 12, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..12)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn no_body_makes_a_server_error() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (world, tenant, process) = runtime.block_on(async {
        let world = World::new().await;
        let tenant = world.tenant(1).await;
        let process = world.process();
        (world, tenant, process)
    });
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let paths = prop::sample::select(vec![
        "/v1/nac/authorize",
        "/v1/nac/accounting",
        "/v1/nac/radius/authorize",
        "/v1/nac/radius/accounting",
        "/v1/nac/commands/5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42/ack",
    ]);
    let ran = runner.run(&(paths, any_json()), |(path, body)| {
        let request = post(path, &tenant.token, body.to_string());
        let answer = runtime.block_on(send(process.router.clone(), request));
        prop_assert!(!answer.status.is_server_error(), "{path} {body}: {:?}", answer);
        if path == "/v1/nac/authorize" && answer.status == StatusCode::OK {
            prop_assert_eq!(&answer.body["recorded"], &json!(true), "{} {}", body, answer.body);
        }
        Ok(())
    });
    runtime.block_on(async { drop(world) });
    ran.unwrap();
}
