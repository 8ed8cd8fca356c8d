use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::Value;

use crate::world::World;

/// Every route of the router, as its source names it.
const ROUTES: &[(&str, &str)] = &[
    ("post", "/v1/nac/authorize"),
    ("post", "/v1/nac/accounting"),
    ("post", "/v1/nac/radius/authorize"),
    ("post", "/v1/nac/radius/accounting"),
    ("post", "/v1/nac/radius/refused"),
    ("get", "/v1/nac/commands"),
    ("get", "/v1/nac/commands/stream"),
    ("get", "/v1/nac/bundle"),
    ("post", "/v1/nac/report"),
    ("post", "/v1/nac/events"),
    ("post", "/v1/nac/commands/{id}/ack"),
    ("get", "/v1/openapi.json"),
];

#[tokio::test]
async fn the_document_describes_every_route() {
    let world = World::new().await;
    let answer = world.process().get("/v1/openapi.json", "").await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    let document = answer.body;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["components"]["securitySchemes"]["edge_token"]["scheme"], "bearer");

    let mut described: Vec<(String, String)> = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            described.push((method.clone(), path.clone()));
            let responses = operation["responses"].as_object().unwrap();
            if !path.starts_with("/v1/nac") {
                continue;
            }
            assert_eq!(operation["security"][0]["edge_token"], serde_json::json!([]), "{path}");
            for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{path} {status} {response}");
            }
            assert!(responses.contains_key("401") && responses.contains_key("503"), "{path}");
            if method == "post" {
                let examples = &operation["requestBody"]["content"]["application/json"]["examples"];
                assert!(examples.as_object().is_some_and(|examples| !examples.is_empty()), "{path}");
                assert!(responses.contains_key("422"), "{path}");
            }
        }
    }
    described.sort();
    let mut routes: Vec<(String, String)> =
        ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    routes.sort();
    assert_eq!(described, routes);

    // No reference leads nowhere.
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let target = document.pointer(reference.trim_start_matches('#'));
        assert!(target.is_some(), "{reference} leads nowhere");
    }
}

/// The document's own examples are requests that are understood.
#[tokio::test]
async fn the_examples_work() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = world.process();
    let document = process.get("/v1/openapi.json", "").await.body;
    let paths =
        ["/v1/nac/authorize", "/v1/nac/accounting", "/v1/nac/radius/authorize", "/v1/nac/radius/accounting"];
    for path in paths {
        let examples =
            &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"];
        for (name, example) in examples.as_object().unwrap() {
            let answer = process.post(path, &tenant.token, &example["value"]).await;
            assert!(answer.status.is_success(), "{path} {name}: {}", answer.body);
        }
    }
    // The answer's example has the fields of a true answer.
    let answer = process.authorize(&tenant.token, &serde_json::json!({"mac": crate::world::COMPLIANT})).await;
    let example = &document["paths"]["/v1/nac/authorize"]["post"]["responses"]["200"]["content"]["application/json"]
        ["examples"]["allow"]["value"];
    let schema = &document["components"]["schemas"]["AuthorizeAnswer"]["properties"];
    let names = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&answer), names(example));
    let mut described = names(schema);
    assert!(described.remove("unrecorded"), "there where a decision was not recorded, and no other time");
    assert_eq!(names(&answer), described);
    assert_eq!(names(&answer["compliance"]), names(&example["compliance"]));
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "$ref" => references.push(text.clone()),
                    other => collect(other, references),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
