//! Who may import whom. The table of the architecture document, held against what cargo says.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Each crate, and those of ours that it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("benches", &["domain"]),
    ("figures", &["domain", "store", "devservers", "benches", "httpkit"]),
    ("domain", &[]),
    ("store", &["domain"]),
    ("cache", &["domain"]),
    ("microsoft", &["domain"]),
    ("httpkit", &["domain"]),
    ("sealing", &["domain"]),
    ("apps", &["domain", "store", "microsoft", "sealing"]),
    ("linking", &["domain", "store", "cache", "microsoft", "apps"]),
    ("compliance-sync", &["domain", "store", "cache", "microsoft", "apps"]),
    ("policy", &["domain", "store", "cache"]),
    ("wire", &["domain", "httpkit"]),
    ("nac", &["domain", "store", "cache", "httpkit", "policy", "sealing", "wire"]),
    // Runs at the customer's site: it must not know any store.
    ("edge", &["domain", "httpkit", "wire"]),
    ("web", &["domain", "store", "cache", "linking", "policy", "sealing", "httpkit"]),
    (
        "gatehouse",
        &[
            "domain",
            "store",
            "cache",
            "microsoft",
            "httpkit",
            "sealing",
            "apps",
            "linking",
            "compliance-sync",
            "policy",
            "nac",
            "edge",
            "web",
            "wire",
            "devservers",
        ],
    ),
    // The outside world: nothing of ours.
    ("simulator", &[]),
    // Serves the database against which queries are checked, so it must build before any of them.
    ("devservers", &[]),
];

/// What a pure crate must not know, and who alone may know what.
const FORBIDDEN: &[(&str, &[&str])] =
    &[("domain", &["tokio", "sqlx", "axum", "reqwest", "redis"]), ("devservers", &["sqlx"])];
const ONLY: &[(&str, &[&str])] = &[
    ("sqlx", &["store", "gatehouse-tests", "figures"]),
    ("redis", &["cache"]),
    ("openidconnect", &["microsoft"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap()
}

/// Each crate of the workspace, with the names of what it imports outside of tests.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let names = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
            (package.name.to_string(), names.map(|d| d.name.clone()).collect())
        })
        .collect()
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let imports = imports();
    let ours: BTreeSet<&str> = imports.keys().map(String::as_str).collect();
    let mut problems = Vec::new();
    for (name, dependencies) in &imports {
        if name == "gatehouse-tests" {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(known, _)| known == name) else {
            problems.push(format!("{name} is not in the table: add it, with what it may import"));
            continue;
        };
        for dependency in dependencies.iter().filter(|d| ours.contains(d.as_str())) {
            if !allowed.contains(&dependency.as_str()) {
                problems.push(format!("{name} imports {dependency}"));
            }
        }
    }
    for (name, _) in MAY_IMPORT {
        if !ours.contains(name) {
            problems.push(format!("{name} is in the table, but there is no such crate"));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn technology_stays_where_it_belongs() {
    let imports = imports();
    let mut problems = Vec::new();
    for (name, forbidden) in FORBIDDEN {
        problems.extend(
            forbidden.iter().filter(|f| imports[*name].contains(**f)).map(|f| format!("{name} imports {f}")),
        );
    }
    for (technology, allowed) in ONLY {
        for (name, dependencies) in &imports {
            if dependencies.contains(*technology) && !allowed.contains(&name.as_str()) {
                problems.push(format!("{name} imports {technology}, which only {allowed:?} may"));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn tests_are_not_imported() {
    for (name, dependencies) in imports() {
        assert!(!dependencies.contains("gatehouse-tests"), "{name} imports the tests");
    }
}
