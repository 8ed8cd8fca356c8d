//! The dashboard on a port, with an organization that lives, for looking at its pages:
//! `cargo run -p web --example dashboard`. It needs the test servers that `./dev test` starts
//! (`GATEHOUSE_TEST_DATABASE_URL`, `GATEHOUSE_TEST_REDIS_URL`), and prints where to begin.

#[path = "../tests/it/world.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
#[expect(clippy::unwrap_used, reason = "made for tests")]
mod world;

use std::sync::Arc;

use axum::extract::{Path, RawQuery};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use domain::policy::edit::Edit;
use domain::policy::keys::KEYS;
use domain::policy::{Action, AuthMatch, Conditions, Label, LabelKind, Rule, Section};
use domain::time::SystemClock;

/// Puts a policy of some size into the draft: sections, comments, rules of every make.
async fn large(world: &world::World, org: domain::OrgId) -> Result<usize, Box<dyn std::error::Error>> {
    let policies = policy::Policies::new(world.store.clone(), world.clock.clone(), world.ids.clone());
    let draft = policies.overview(org).await?.draft;
    let mut doc = draft.doc;
    let make =
        |n: usize, kind| Label { id: world.ids.make(world.now()), name: format!("Extra label {n}"), kind };
    let mut extra: Vec<Label> = KEYS
        .iter()
        .enumerate()
        .map(|(n, spec)| {
            let values = spec.examples.iter().map(|v| (*v).to_owned()).collect();
            make(n, LabelKind::Match { key: spec.key, values, match_all: false })
        })
        .collect();
    extra.push(make(
        90,
        LabelKind::EgressVlanNames { egress_vlan_names: vec!["1voice".into(), "2data".into()] },
    ));
    extra.push(make(
        91,
        LabelKind::RadiusVendorAttrs { radius_vendor_attrs: vec!["Aruba-User-Role=guest".into()] },
    ));
    extra.push(make(92, LabelKind::RedirectUrl { redirect_url: "https://portal.example.com/fix".into() }));
    let vlans: Vec<_> =
        doc.labels.iter().filter(|l| matches!(l.kind, LabelKind::Vlan { .. })).map(|l| l.id).collect();
    for n in doc.rules.len()..50 {
        let matching = Conditions {
            labels: extra
                .iter()
                .cycle()
                .skip(n)
                .take(n % 4)
                .filter(|l| l.kind.is_match())
                .map(|l| l.id)
                .collect(),
            vendors: if n % 7 == 0 { vec!["juniper".into(), "cisco-ios".into()] } else { Vec::new() },
            ..Conditions::default()
        };
        doc.rules.push(Rule {
            id: world.ids.make(world.now()),
            name: format!("Building {n}: devices of the workshop and its guests"),
            comment: if n % 5 == 0 {
                "Asked for by the facility team; see the ticket.".into()
            } else {
                String::new()
            },
            enabled: n % 11 != 0,
            dry_run: n % 9 == 0,
            action: if n % 6 == 0 { Action::Block } else { Action::Allow },
            not_matching: Conditions {
                auth_types: AuthMatch::ALL[..n % 3].to_vec(),
                ..Conditions::default()
            },
            matching,
            apply: if n % 6 == 0 { Vec::new() } else { vlans.iter().take(1).copied().collect() },
        });
    }
    doc.labels.extend(extra);
    for (name, at) in [("Corporate", 0), ("Workshop", 12), ("Guests and everybody else", 35)] {
        doc.sections.push(Section { name: name.into(), at });
    }
    let count = doc.rules.len();
    let actor = store::audit::Actor { account: None, name: "Grace Hopper".into() };
    policies.edit(org, &actor, draft.revision, Edit::Replace(doc)).await?;
    Ok(count)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it tells where to begin")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let world = world::World::at(Arc::new(SystemClock), &origin).await;
    let (tenant, browser) = world.tenant("Contoso", "", 240, 600).await;
    let (fresh, newcomer) = world.fresh("Fabrikam").await;
    println!("{origin}/as/{}/orgs/{}", browser.cookie, tenant.org);
    let wide = large(&world, tenant.org).await?;
    println!("{origin}/as/{}/orgs/{fresh}", newcomer.cookie);
    println!("a policy of {wide} rules is in the first one's draft");
    println!("event {}", tenant.events.first().map(ToString::to_string).unwrap_or_default());
    let as_somebody = |Path((cookie, to)): Path<(String, String)>, RawQuery(query): RawQuery| async move {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let set = [(header::SET_COOKIE, format!("{cookie}; Path=/; HttpOnly"))];
        Response::into_response((set, Redirect::to(&format!("/{to}{query}"))).into_response())
    };
    let router = world.router.clone().route("/as/{cookie}/{*to}", get(as_somebody));
    axum::serve(listener, router).await?;
    Ok(())
}
