//! The routes, and the OpenAPI 3.1 document that describes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use httpkit::{FrontLayer, Problem, body_limit};
use serde_json::{Value, json};
use tower_http::compression::CompressionLayer;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
pub use wire::schema::{accounting_status, ack_result, action, coa_cause, coa_kind, error_cause};

use crate::{
    Shared, accounting, authorize, bundle, commands, commands_stream, events, radius, refused, report,
};

/// Where the document is.
const DOCUMENT_PATH: &str = "/v1/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Gatehouse NAC API",
        version = "1",
        description = "What NAC edges call: decisions, accounting, and commands (Change of Authorization).\n\n\
            A denial is an answer like any other: status 200 with `action` `deny`. An edge should act on an explicit \
            `action` alone, and take anything else (an error, a time-out, a page of a proxy) for no answer.\n\n\
            Errors are problems (RFC 9457) with a stable `code`. A 503 carries Retry-After.\n\n\
            Every request may carry the header `Gatehouse-Clock`, the edge's own time in seconds since 1970, so that \
            its admin sees whether clocks agree; and should name its program in `User-Agent`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "nac", description = "For edges"),
        (name = "radius", description = "For edges that are a FreeRADIUS with rlm_rest"),
        (name = "meta", description = "About this API"),
    ),
    components(schemas(Problem)),
    modifiers(&EdgeToken),
)]
struct Api;

struct EdgeToken;

impl Modify for EdgeToken {
    fn modify(&self, document: &mut Document) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("ghe_…".to_owned());
        scheme.description = Some("An edge's credential, as it was shown when it was made.".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("edge_token", SecurityScheme::Http(scheme));
    }
}

/// What is wrong with a body.
pub struct BodyProblems;

impl IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ("400", "The body is not JSON."),
            ("413", "The body is too long."),
            ("415", "The body is not declared as JSON."),
            ("422", "Fields cannot be used: all of them are in `errors`."),
        ])
    }
}

/// What is wrong with a query.
pub struct QueryProblems;

impl IntoResponses for QueryProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[("422", "Parameters cannot be used: all of them are in `errors`.")])
    }
}

/// What can happen to every request.
pub struct CommonProblems;

impl IntoResponses for CommonProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ("401", "The credential is missing, wrong or revoked."),
            ("429", "More requests than one edge may make. Retry-After says when to ask again."),
            (
                "503",
                "Too many requests wait, or the stores behind the service are away. Retry-After says when to ask again.",
            ),
        ])
    }
}

fn problems(problems: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let response = |description: &str| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", content)
            .build()
            .into()
    };
    problems.iter().map(|(status, description)| ((*status).to_owned(), response(description))).collect()
}

/// The service's routes, each behind one front.
pub fn router(shared: &Arc<Shared>) -> Router {
    let config = &shared.config;
    let front = |timeout| FrontLayer::new(Arc::clone(&shared.clock), shared.ids.clone(), timeout);
    let (quick, mut document) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(authorize::authorize))
        .routes(routes!(accounting::accounting))
        .routes(routes!(radius::authorize))
        .routes(routes!(radius::accounting))
        .routes(routes!(refused::refused))
        .routes(routes!(commands::acknowledge))
        .routes(routes!(report::report))
        .split_for_parts();
    // A long poll may take longer.
    let (patient, patient_document) = OpenApiRouter::new()
        .routes(routes!(commands::commands))
        .routes(routes!(commands_stream::stream))
        .split_for_parts();
    // What edges hold for when the cloud is away, and what they did meanwhile, may be long.
    let (long, long_document) = OpenApiRouter::new()
        .routes(routes!(bundle::bundle))
        .routes(routes!(events::events))
        .split_for_parts();
    document.merge(long_document);
    document.merge(patient_document);
    // Its path is in the document like any other.
    document.merge(DocumentApi::openapi());
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let quick = quick
        .with_state(Arc::clone(shared))
        .merge(Router::new().route(DOCUMENT_PATH, get(serve_document)).with_state(document))
        .fallback(httpkit::not_found)
        .method_not_allowed_fallback(httpkit::method_not_allowed)
        .layer(body_limit(config.body_bytes_max))
        .layer(front(config.request_timeout));
    let patient = patient
        .with_state(Arc::clone(shared))
        .method_not_allowed_fallback(httpkit::method_not_allowed)
        .layer(front(config.poll_wait_max + config.request_timeout));
    let long = long
        .with_state(Arc::clone(shared))
        .method_not_allowed_fallback(httpkit::method_not_allowed)
        .layer(body_limit(config.events_bytes_max))
        .layer(front(config.bundle_timeout + config.request_timeout))
        .layer(CompressionLayer::new());
    quick.merge(patient).merge(long)
}

#[derive(OpenApi)]
#[openapi(paths(document))]
struct DocumentApi;

/// This document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "meta",
    operation_id = "document",
    responses((status = 200, description = "The OpenAPI 3.1 document", body = Object, content_type = "application/json")),
)]
#[expect(dead_code, reason = "describes the route of the document itself")]
fn document() {}

async fn serve_document(State(document): State<Arc<str>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string())
}

pub fn certificate_example() -> Value {
    json!({
        "mac": "d4-6e-0e-02-28-96",
        "auth_type": "eap-tls",
        "ssid": "corp",
        "user_name": "host/LAPTOP-0042",
        "session_id": "8f3a-0001",
        "nas": {"ip": "192.0.2.7", "identifier": "ap-lobby", "vendor": "juniper", "port_type": "wireless"},
        "cert": {
            "cn": "LAPTOP-0042",
            "issuer": "CN=Contoso Issuing CA",
            "serial": "4d0000002f",
            "not_after": "2027-11-20T12:00:00Z",
            "san_uri": ["ID:Microsoft Endpoint Manager:GUID:5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42"],
            "ekus": ["1.3.6.1.5.5.7.3.2"],
            "template": "1.3.6.1.4.1.311.21.8.1234567.7654321"
        }
    })
}

pub fn mab_example() -> Value {
    json!({
        "mac": "d46e.0e02.2896",
        "auth_type": "mab",
        "hostname": "lobby-printer-2",
        "ingress_vlan": 30,
        "gbp_tag": 100,
        "usermac_labels": ["printer"],
        "nas": {"ip": "192.0.2.8", "vendor": "juniper", "port_type": "wired", "port_id": "ge-0/0/7"}
    })
}

pub fn user_example() -> Value {
    json!({
        "mac": "D4:6E:0E:02:28:96",
        "auth_type": "eap-ttls",
        "ssid": "corp",
        "user_name": "alex@contoso.example",
        "radius_group": "employees",
        "idp_roles": ["staff", "grp-net-berlin"],
        "nas": {"ip": "192.0.2.9", "vendor": "cisco-meraki", "port_type": "wireless"}
    })
}

pub fn allow_example() -> Value {
    json!({
        "decision_id": "01936f2a-6c5e-7d2b-9a57-3f1f0e6c1a42",
        "action": "allow",
        "reason": "rule_allow",
        "reason_text": "An allow rule matched.",
        "rule": {"id": "01936f2a-0000-7d2b-9a57-3f1f0e6c1a42", "name": "Compliant devices"},
        "policy_version": 3,
        "vlan": "30",
        "role": "employee",
        "session_timeout": 28800,
        "egress_vlan_names": [],
        "gbp_tag": null,
        "user_name": null,
        "redirect_url": null,
        "radius_attributes": [
            {"name": "Tunnel-Type", "value": "VLAN"},
            {"name": "Tunnel-Medium-Type", "value": "IEEE-802"},
            {"name": "Tunnel-Private-Group-Id", "value": "30"},
            {"name": "Filter-Id", "value": "employee"},
            {"name": "Session-Timeout", "value": "28800"},
            {"name": "Termination-Action", "value": "RADIUS-Request"}
        ],
        "compliance": {
            "state": "compliant",
            "verdict": "compliant",
            "literals": ["compliant"],
            "last_check_in": "2026-11-20T11:12:00Z",
            "last_check_in_age_seconds": 2880,
            "fetched_at": "2026-11-20T11:58:30Z",
            "fetched_age_seconds": 90,
            "device": {"id": "5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42", "name": "LAPTOP-0042"}
        },
        "match": {"outcome": "matched", "key": "san-uri", "strength": "certificate", "mac_mismatch": false},
        "session_id": "c0a5f3c2-3f4d-5a1e-8a57-9b1f0e6c1a42",
        "recorded": true,
        "at": "2026-11-20T12:00:00Z"
    })
}

pub fn report_example() -> Value {
    json!({
        "version": "0.1.0", "started_at": "2026-11-20T06:00:00Z", "channel": "stream",
        "radius": "gatehouse-freeradius/1 (FreeRADIUS 3.2.1)", "waiting": 0, "refused": 0,
        "bundle": {"version": 1_763_640_000, "issued_at": "2026-11-20T11:59:10Z", "over": false},
        "nas": 2, "decided_offline": 0,
    })
}

pub fn events_example() -> Value {
    let deny = json!({"permit": false, "vlan": null, "role": null, "session_timeout": null});
    json!({"events": [{
        "type": "decision",
        "id": "01936f2a-6c5e-7d2b-9a57-3f1f0e6c1a42",
        "session_key": "8f3a-0001",
        "request": {"mac": "d4:6e:0e:02:28:96", "auth_type": "mab", "ssid": null, "user_name": null,
            "session_id": "8f3a-0001", "cert": null},
        "answer": {
            "id": "01936f2a-6c5e-7d2b-9a57-3f1f0e6c1a42",
            "at": "2024-11-27T19:47:51.518Z",
            "decision": {"outcome": deny, "reason": "implicit_deny", "rule": null, "policy_version": 3, "trace": []},
            "compliance": {"verdict": "unknown", "literals": ["unknown", "not-enrolled"], "state": null,
                "last_check_in": null, "fetched_at": null},
            "found": {"outcome": "not-enrolled", "key": null, "strength": null, "mac_mismatch": false, "link": null,
                "device": null, "device_name": null}
        }
    }]})
}

pub fn start_example() -> Value {
    json!({
        "status": "start",
        "session_id": "8f3a-0001",
        "mac": "d4:6e:0e:02:28:96",
        "framed_ip": "10.1.30.42",
        "event_timestamp": "2026-11-20T12:00:01Z"
    })
}

pub fn stop_example() -> Value {
    json!({
        "status": "stop",
        "session_id": "8f3a-0001",
        "bytes_in": 48_211_034,
        "bytes_out": 301_442_877,
        "session_seconds": 3_600,
        "terminate_cause": "User-Request",
        "event_timestamp": "2026-11-20T13:00:01Z"
    })
}

pub fn commands_example() -> Value {
    json!({"commands": [{
        "id": "01936f2a-7777-7d2b-9a57-3f1f0e6c1a42",
        "kind": "reauth",
        "cause": "compliance_changed",
        "session": {
            "id": "c0a5f3c2-3f4d-5a1e-8a57-9b1f0e6c1a42",
            "session_id": "8f3a-0001",
            "mac": "d4:6e:0e:02:28:96",
            "user_name": "host/LAPTOP-0042",
            "ssid": "corp",
            "nas_ip": "192.0.2.7",
            "nas_identifier": "ap-lobby",
            "nas_vendor": "juniper",
            "nas_port_id": null
        },
        "to": {"action": "allow", "vlan": "99", "role": "quarantine", "session_timeout": null,
            "egress_vlan_names": [], "gbp_tag": null, "user_name": null, "redirect_url": null, "radius_attributes": [
                {"name": "Tunnel-Type", "value": "VLAN"},
                {"name": "Tunnel-Medium-Type", "value": "IEEE-802"},
                {"name": "Tunnel-Private-Group-Id", "value": "99"},
                {"name": "Filter-Id", "value": "quarantine"}
            ]},
        "created_at": "2026-11-20T12:30:00Z",
        "expires_at": "2026-11-20T12:40:00Z",
        "expires_in_seconds": 600
    }]})
}

/// A value as `rlm_rest` writes it.
fn sent(kind: &str, value: impl Into<Value>) -> Value {
    json!({"type": kind, "value": [value.into()]})
}

pub fn packet_example() -> Value {
    json!({
        "User-Name": sent("string", "host/LAPTOP-0042"),
        "Calling-Station-Id": sent("string", "D4-6E-0E-02-28-96"),
        "Called-Station-Id": sent("string", "5C-5B-35-00-00-01:corp"),
        "NAS-IP-Address": sent("ipaddr", "192.0.2.7"),
        "NAS-Port-Type": sent("integer", "Wireless-802.11"),
        "EAP-Type": sent("integer", "TLS"),
        "Gatehouse-NAS-Vendor": sent("string", "juniper"),
        "TLS-Client-Cert-Common-Name": sent("string", "LAPTOP-0042"),
        "TLS-Client-Cert-Serial": sent("string", "4d0000002f"),
        "TLS-Client-Cert-Expiration": sent("string", "271120120000Z"),
        "TLS-Client-Cert-X509v3-Subject-Alternative-Name":
            sent("string", "URI:ID:Microsoft Endpoint Manager:GUID:5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42")
    })
}

pub fn refused_packet_example() -> Value {
    json!({
        "User-Name": sent("string", "host/LAPTOP-0042"),
        "Calling-Station-Id": sent("string", "D4-6E-0E-02-28-96"),
        "NAS-Port-Type": sent("integer", "Wireless-802.11"),
        "TLS-Client-Cert-Common-Name": sent("string", "LAPTOP-0042"),
        "TLS-Client-Cert-Expiration": sent("string", "261119120000Z"),
        "Module-Failure-Message":
            sent("string", "eap_tls: (TLS) OpenSSL says error 10 : certificate has expired")
    })
}

fn taken(op: &str, value: impl Into<Value>) -> Value {
    json!({"op": op, "do_xlat": false, "value": value.into()})
}

pub fn accept_example() -> Value {
    json!({
        "control:Gatehouse-Decision": taken(":=", "accept"),
        "control:Gatehouse-Reason": taken(":=", "rule_allow"),
        "control:Gatehouse-Decision-Id": taken(":=", "01936f2a-6c5e-7d2b-9a57-3f1f0e6c1a42"),
        "control:Gatehouse-Recorded": taken(":=", "yes"),
        "reply:Tunnel-Type:0": taken(":=", "VLAN"),
        "reply:Tunnel-Medium-Type:0": taken(":=", "IEEE-802"),
        "reply:Tunnel-Private-Group-Id:0": taken(":=", "30"),
        "reply:Filter-Id": taken(":=", "employee"),
        "reply:Class": taken(":=", "0x6768313a3139322e302e322e372f38663361")
    })
}

pub fn reject_example() -> Value {
    json!({
        "control:Gatehouse-Decision": taken(":=", "reject"),
        "control:Gatehouse-Reason": taken(":=", "implicit_deny"),
        "control:Gatehouse-Decision-Id": taken(":=", "01936f2a-6c5e-7d2b-9a57-3f1f0e6c1a42"),
        "control:Gatehouse-Recorded": taken(":=", "yes")
    })
}

pub fn accounting_packet_example() -> Value {
    json!({
        "Acct-Status-Type": sent("integer", "Start"),
        "Acct-Session-Id": sent("string", "8f3a-0001"),
        "Class": sent("octets", "0x6768313a3139322e302e322e372f38663361"),
        "Calling-Station-Id": sent("string", "D4-6E-0E-02-28-96"),
        "Framed-IP-Address": sent("ipaddr", "10.1.30.42"),
        "Event-Timestamp": sent("date", "Nov 20 2026 12:00:01 UTC")
    })
}
