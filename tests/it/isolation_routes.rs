//! Every HTTP route, tried by a stranger and by another organization's admin or edge: 401 or 404, and nothing
//! changes. A route that is missing from the list below fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gatehouse_tests::journey::{self, Journey};
use gatehouse_tests::visitor::{Answer, Visitor};
use gatehouse_tests::{Database, TestApp};
use reqwest::{Client, Method, StatusCode};
use sqlx::AssertSqlSafe;

/// Routes of the dashboard that belong to no organization. A stranger may see them, or is asked to sign in.
const OPEN: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/sign-in/callback"),
    ("POST", "/sign-out"),
    ("GET", "/signed-out"),
    ("POST", "/preferences/theme"),
    ("GET", "/schema/policy.json"),
    ("GET", "/static/{file}"),
    // Of a client, whose token is all that it takes.
    ("GET", "/r/{token}"),
    ("POST", "/r/{token}"),
];

/// For whoever is signed in; what they show and do is about that person alone.
const SIGNED_IN: &[(&str, &str)] = &[
    ("GET", "/organizations"),
    ("POST", "/organizations"),
    ("POST", "/organizations/join"),
    ("GET", "/identity-providers/callback"),
];

/// Of one organization: below `/orgs/{org_id}`.
const OF_AN_ORGANIZATION: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/audit"),
    ("GET", "/auth-policies"),
    ("GET", "/auth-policies/discard"),
    ("POST", "/auth-policies/discard"),
    ("GET", "/auth-policies/export/{file}"),
    ("GET", "/auth-policies/import"),
    ("POST", "/auth-policies/import"),
    ("POST", "/auth-policies/move"),
    ("GET", "/auth-policies/publish"),
    ("POST", "/auth-policies/publish"),
    ("GET", "/auth-policies/replay"),
    ("POST", "/auth-policies/replay"),
    ("GET", "/auth-policies/replay/{replay}"),
    ("GET", "/auth-policies/replay/{replay}/csv"),
    ("GET", "/auth-policies/replay/{replay}/live"),
    ("POST", "/auth-policies/replay/{replay}/stop"),
    ("POST", "/auth-policies/rules"),
    ("GET", "/auth-policies/rules/new"),
    ("GET", "/auth-policies/rules/{rule_id}"),
    ("POST", "/auth-policies/rules/{rule_id}"),
    ("POST", "/auth-policies/rules/{rule_id}/act"),
    ("GET", "/auth-policies/rules/{rule_id}/delete"),
    ("POST", "/auth-policies/rules/{rule_id}/delete"),
    ("POST", "/auth-policies/sections"),
    ("GET", "/auth-policies/sections/edit"),
    ("GET", "/auth-policies/sections/new"),
    ("GET", "/auth-policies/simulate"),
    ("POST", "/auth-policies/simulate"),
    ("GET", "/auth-policies/versions"),
    ("GET", "/auth-policies/versions/{version}"),
    ("GET", "/auth-policies/versions/{version}/roll-back"),
    ("POST", "/auth-policies/versions/{version}/roll-back"),
    ("GET", "/clients"),
    ("GET", "/clients/{mac}"),
    ("GET", "/devices"),
    ("GET", "/devices/{link_id}/{device_id}"),
    ("POST", "/devices/{link_id}/{device_id}/check"),
    ("GET", "/devices/{link_id}/{device_id}/live"),
    ("GET", "/events"),
    ("GET", "/events/live"),
    ("GET", "/events/{event_id}"),
    ("GET", "/holds"),
    ("GET", "/holds/{hold_id}"),
    ("GET", "/holds/{hold_id}/discard"),
    ("POST", "/holds/{hold_id}/discard"),
    ("GET", "/holds/{hold_id}/release"),
    ("POST", "/holds/{hold_id}/release"),
    ("GET", "/identity-providers"),
    ("GET", "/identity-providers/apps"),
    ("POST", "/identity-providers/apps"),
    ("GET", "/identity-providers/apps/new"),
    ("GET", "/identity-providers/apps/{app_id}"),
    ("POST", "/identity-providers/apps/{app_id}/certificates"),
    ("POST", "/identity-providers/apps/{app_id}/credentials/{app_credential_id}/check"),
    ("GET", "/identity-providers/apps/{app_id}/credentials/{app_credential_id}/retire"),
    ("POST", "/identity-providers/apps/{app_id}/credentials/{app_credential_id}/retire"),
    ("GET", "/identity-providers/apps/{app_id}/credentials/{app_credential_id}/{download}"),
    ("POST", "/identity-providers/apps/{app_id}/link"),
    ("POST", "/identity-providers/apps/{app_id}/link/other"),
    ("GET", "/identity-providers/apps/{app_id}/remove"),
    ("POST", "/identity-providers/apps/{app_id}/remove"),
    ("POST", "/identity-providers/apps/{app_id}/secrets"),
    ("GET", "/identity-providers/link"),
    ("POST", "/identity-providers/link"),
    ("POST", "/identity-providers/link/again"),
    ("POST", "/identity-providers/link/other"),
    ("GET", "/identity-providers/{link_id}"),
    ("GET", "/identity-providers/{link_id}/live"),
    ("POST", "/identity-providers/{link_id}/sync"),
    ("GET", "/identity-providers/{link_id}/unlink"),
    ("POST", "/identity-providers/{link_id}/unlink"),
    ("GET", "/labels"),
    ("POST", "/labels"),
    ("GET", "/labels/new"),
    ("GET", "/labels/{label_id}"),
    ("POST", "/labels/{label_id}"),
    ("GET", "/labels/{label_id}/delete"),
    ("POST", "/labels/{label_id}/delete"),
    ("GET", "/sessions/{session_id}"),
    ("POST", "/sessions/{session_id}/reauthenticate"),
    ("GET", "/settings"),
    ("POST", "/settings"),
    ("GET", "/sites"),
    ("POST", "/sites"),
    ("POST", "/sites/edges"),
    ("GET", "/sites/edges/new"),
    ("GET", "/sites/edges/{edge_id}"),
    ("POST", "/sites/edges/{edge_id}"),
    ("GET", "/sites/edges/{edge_id}/connect"),
    ("POST", "/sites/edges/{edge_id}/credentials"),
    ("POST", "/sites/edges/{edge_id}/credentials/rotate"),
    ("POST", "/sites/edges/{edge_id}/credentials/{credential_id}/extend"),
    ("POST", "/sites/edges/{edge_id}/credentials/{credential_id}/revoke"),
    ("GET", "/sites/edges/{edge_id}/delete"),
    ("POST", "/sites/edges/{edge_id}/delete"),
    ("POST", "/sites/edges/{edge_id}/switch"),
    ("GET", "/sites/edges/{edge_id}/test"),
    ("POST", "/sites/edges/{edge_id}/test"),
    ("GET", "/sites/edges/{edge_id}/test/live"),
    ("GET", "/sites/{site_id}"),
    ("POST", "/sites/{site_id}"),
    ("GET", "/sites/{site_id}/delete"),
    ("POST", "/sites/{site_id}/delete"),
];

/// Of the NAC API.
const NAC: &[(&str, &str)] = &[
    ("POST", "/v1/nac/accounting"),
    ("POST", "/v1/nac/authorize"),
    ("GET", "/v1/nac/bundle"),
    ("GET", "/v1/nac/commands"),
    ("GET", "/v1/nac/commands/stream"),
    ("POST", "/v1/nac/events"),
    ("POST", "/v1/nac/commands/{id}/ack"),
    ("POST", "/v1/nac/radius/accounting"),
    ("POST", "/v1/nac/radius/authorize"),
    ("POST", "/v1/nac/radius/refused"),
    ("POST", "/v1/nac/report"),
];

/// The routes that the dashboard's sources declare: `.route("/path", get(…).post(…))`.
fn declared() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/src")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                routes_in(&std::fs::read_to_string(path).unwrap(), &mut found);
            }
        }
    }
    found
}

fn routes_in(source: &str, found: &mut BTreeSet<(String, String)>) {
    for part in source.split(".route(").skip(1) {
        let mut depth = 1;
        let end = part.find(|c| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        let call = &part[..end.expect("a closing parenthesis")];
        let (path, handlers) = call.split_once(',').expect("a path and handlers");
        let path = match path.trim() {
            "callback::PATH" => web::SIGN_IN_CALLBACK.to_owned(),
            "identity_providers::callback::PATH" => web::LINK_CALLBACK.to_owned(),
            "policy_file::SCHEMA_PATH" => web::POLICY_SCHEMA.to_owned(),
            literal => literal.trim_matches('"').to_owned(),
        };
        for (word, method) in [
            ("get(", "GET"),
            ("post(", "POST"),
            ("put(", "PUT"),
            ("patch(", "PATCH"),
            ("delete(", "DELETE"),
            ("any(", "ANY"),
        ] {
            if handlers
                .split(|c: char| !c.is_alphanumeric() && c != '(' && c != '_')
                .any(|token| token.starts_with(word))
            {
                found.insert((method.to_owned(), path.clone()));
            }
        }
    }
}

#[test]
fn no_route_of_the_dashboard_is_missing_here() {
    let listed: BTreeSet<_> = [OPEN, SIGNED_IN, OF_AN_ORGANIZATION]
        .into_iter()
        .flatten()
        .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    let declared = declared();
    let missing: Vec<_> = declared.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&declared).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not listed here: {missing:#?}; listed, but gone: {gone:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_of_the_nac_api_is_missing_here() {
    let app = TestApp::start().await;
    let document: serde_json::Value =
        reqwest::get(app.nac_url.join("/v1/openapi.json").unwrap()).await.unwrap().json().await.unwrap();
    let mut found = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            found.insert((method.to_uppercase(), path.clone()));
        }
    }
    found.remove(&("GET".to_owned(), "/v1/openapi.json".to_owned()));
    let listed: BTreeSet<_> = NAC.iter().map(|(m, p)| ((*m).to_owned(), (*p).to_owned())).collect();
    assert_eq!(found, listed);
}

/// What a form may bring, so that nothing else than permission refuses it.
const FORM: &[(&str, &str)] = &[
    ("revision", "1"),
    ("name", "stolen"),
    ("kind", "vlan"),
    ("vlan", "7"),
    ("act", "up"),
    ("site", "x"),
    ("fallback", "deny"),
    ("age", "7"),
    ("overlap", "0"),
    ("to", "off"),
];

/// A request as a browser sends it from a page of the dashboard.
async fn try_as(visitor: &Visitor, method: &str, path: &str) -> Answer {
    if method == "POST" { visitor.post(path, FORM).await } else { visitor.get(path).await }
}

/// Something of the organization for every parameter of a path.
async fn parameters(database: &Database, journey: &Journey) -> BTreeMap<&'static str, String> {
    let mut connection = database.superuser().await;
    let mut values = BTreeMap::from([
        ("version", "1".to_owned()),
        ("file", "draft.json".to_owned()),
        ("replay", uuid::Uuid::nil().to_string()),
        ("download", "certificate.pem".to_owned()),
    ]);
    for (name, sql) in [
        ("link_id", "SELECT id::text FROM link WHERE org_id = $1"),
        ("device_id", "SELECT id::text FROM device WHERE org_id = $1 ORDER BY id LIMIT 1"),
        ("hold_id", "SELECT id::text FROM hold WHERE org_id = $1"),
        ("label_id", "SELECT document -> 'labels' -> 0 ->> 'id' FROM policy_draft WHERE org_id = $1"),
        ("rule_id", "SELECT document -> 'rules' -> 0 ->> 'id' FROM policy_draft WHERE org_id = $1"),
        ("event_id", "SELECT id::text FROM event WHERE org_id = $1 AND kind = 'NAC_CLIENT_PERMIT' LIMIT 1"),
        ("session_id", "SELECT id::text FROM session WHERE org_id = $1 LIMIT 1"),
        ("mac", "SELECT mac::text FROM session WHERE org_id = $1 LIMIT 1"),
        ("site_id", "SELECT id::text FROM site WHERE org_id = $1 LIMIT 1"),
        ("edge_id", "SELECT id::text FROM edge WHERE org_id = $1"),
        ("app_id", "SELECT id::text FROM app_registration WHERE org_id = $1"),
        ("app_credential_id", "SELECT id::text FROM app_credential WHERE org_id = $1"),
        ("credential_id", "SELECT id::text FROM edge_credential WHERE org_id = $1"),
        ("id", "SELECT id::text FROM command WHERE org_id = $1"),
    ] {
        let value: String = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(journey.org.uuid())
            .fetch_one(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        values.insert(name, value);
    }
    values
}

fn filled(path: &str, values: &BTreeMap<&str, String>) -> String {
    let mut path = path.to_owned();
    for (name, value) in values {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    assert!(!path.contains('{'), "{path}: a parameter without a value");
    path
}

/// Everything that the organization has, as one value.
async fn all_of(database: &Database, journey: &Journey) -> Vec<(String, Option<String>)> {
    let mut connection = database.superuser().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
         ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut all = Vec::new();
    for table in tables {
        // What is heard of an edge is noted in the background.
        if ["edge_status", "edge_caller", "edge_minute"].contains(&table.as_str()) {
            continue;
        }
        let sql = format!(
            "SELECT md5(string_agg((to_jsonb(t) - 'last_seen_at' - 'last_used_at')::text, ''
                                   ORDER BY (to_jsonb(t) - 'last_seen_at' - 'last_used_at')::text))
             FROM {table} t WHERE org_id = $1"
        );
        let sum =
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(journey.org.uuid()).fetch_one(&mut connection).await;
        all.push((table, sum.unwrap()));
    }
    all
}

const fn is_refusal(answer: &Answer) -> bool {
    matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED)
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_other_organizations_find_nothing() {
    let app = TestApp::start().await;
    let ours = journey::whole(&app, "contoso.example").await;
    let theirs = journey::whole(&app, "fabrikam.example").await;
    let values = parameters(&app.database, &ours).await;
    // The outbox is carried, and nothing is due any more.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let before = all_of(&app.database, &ours).await;
    let mut problems = Vec::new();

    let stranger = Visitor::new(app.url.clone());
    for (method, path) in SIGNED_IN {
        let answer = try_as(&stranger, method, path).await;
        if !is_refusal(&answer) {
            problems.push(format!("a stranger, {method} {path}: {} {}", answer.status, start(&answer.body)));
        }
    }
    for (method, template) in OF_AN_ORGANIZATION {
        let path = filled(template, &values);
        let path = format!("{}{}", ours.path, if path == "/" { "" } else { &path });
        let answer = try_as(&stranger, method, &path).await;
        if !is_refusal(&answer) {
            problems.push(format!("a stranger, {method} {path}: {} {}", answer.status, start(&answer.body)));
        }
        let other = try_as(&theirs.admin, method, &path).await;
        if other.status != StatusCode::NOT_FOUND {
            problems.push(format!(
                "another's admin, {method} {path}: {} {}",
                other.status,
                start(&other.body)
            ));
        }
        // In their own organization, our things do not exist. (A form may be refused before anything is looked for.)
        if template.contains("_id}") {
            let path = path.replace(&ours.path, &theirs.path);
            let other = try_as(&theirs.admin, method, &path).await;
            if !(other.status == StatusCode::NOT_FOUND || method == &"POST" && other.status.is_client_error())
            {
                problems.push(format!("our thing in their organization, {method} {path}: {}", other.status));
            }
        }
    }
    let http = Client::new();
    for (method, path) in NAC {
        let url = app.nac_url.join(&filled(path, &values)).unwrap();
        let method: Method = method.parse().unwrap();
        for token in [None, Some("ghe_nonsense".to_owned()), Some(forged(&ours.token, &theirs.token))] {
            let mut request = http.request(method.clone(), url.clone());
            if let Some(token) = &token {
                request = request.bearer_auth(token);
            }
            let status = request.json(&serde_json::json!({})).send().await.unwrap().status();
            if status != StatusCode::UNAUTHORIZED {
                problems.push(format!("{token:?}, {method} {path}: {status}"));
            }
        }
    }
    // Another organization's edge, with a token that is good, at our command.
    let ack = app.nac_url.join(&filled("/v1/nac/commands/{id}/ack", &values)).unwrap();
    let body = serde_json::json!({ "result": "ack" });
    let status = http.post(ack).bearer_auth(&theirs.token).json(&body).send().await.unwrap().status();
    if status != StatusCode::NOT_FOUND {
        problems.push(format!("another's edge at our command: {status}"));
    }

    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(all_of(&app.database, &ours).await, before, "something changed");
    app.stop().await;
}

/// Our organization and credential with another's secret.
fn forged(ours: &str, theirs: &str) -> String {
    let (place, _) = ours.split_at("ghe_".len() + 43);
    let (_, secret) = theirs.split_at("ghe_".len() + 43);
    format!("{place}{secret}")
}

fn start(body: &str) -> String {
    body.chars().take(120).collect()
}

/// A signed-in person's cookie is bound to the dashboard's session; a session that ended is nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn who_signed_out_is_a_stranger() {
    let app = TestApp::start().await;
    let (admin, path, _) = journey::organization(&(&app).into(), "contoso.example").await;
    let _ = admin.get(&path).await.page();
    let _ = admin.post("/sign-out", &[]).await.redirect();
    let after = admin.get(&path).await;
    assert!(is_refusal(&after), "{after:?}");
    // A form that another site sends is refused, even with a good session.
    let again = Visitor::new(app.url.clone());
    again.sign_in(&app.simulator, "ada@contoso.example").await;
    let forged = again.post_from("https://evil.example", &format!("{path}/sites"), &[("name", "x")]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    app.stop().await;
}
