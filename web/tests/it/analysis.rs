//! Explaining, simulating, replaying, and the policy as a file.

use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use domain::event::DecisionRecord;
use domain::policy::edit::Edit;
use domain::policy::transfer::{self, Format};
use domain::policy::{Action, PolicyDoc};
use domain::{EventId, OrgId};
use policy::Policies;
use store::audit::Actor;
use tokio_stream::StreamExt as _;
use tower::ServiceExt as _;

use crate::world::{Browser, ORIGIN, Page, Tenant, World};

const CORP: &str = "Contoso-Corp";

async fn record(world: &World, org: OrgId, id: EventId) -> DecisionRecord {
    let mut tx = world.store.org(org).await.unwrap();
    let (_, detail) = store::views::events::one(&mut tx, id).await.unwrap().unwrap();
    serde_json::from_value(detail).unwrap()
}

/// Edits the draft as an admin would.
async fn edit(world: &World, org: OrgId, change: impl FnOnce(&mut PolicyDoc)) {
    let policies = Policies::new(world.store.clone(), world.clock.clone(), world.ids.clone());
    let draft = policies.overview(org).await.unwrap().draft;
    let mut doc = draft.doc;
    change(&mut doc);
    let actor = Actor { account: None, name: "Bob".to_owned() };
    policies.edit(org, &actor, draft.revision, Edit::Replace(doc)).await.unwrap();
}

async fn upload(browser: &Browser, path: &str, fields: &[(&str, &str)]) -> Page {
    let mut body = String::new();
    for (name, value) in fields {
        let file = if *name == "file" { "; filename=\"policy.yaml\"" } else { "" };
        body.push_str(&format!(
            "--x--x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str("--x--x--\r\n");
    let request = browser
        .request("POST", path)
        .header(header::ORIGIN, ORIGIN)
        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=x--x");
    browser.send(request.body(Body::from(body)).unwrap()).await
}

/// Waits until a replay is over.
async fn finished(browser: &Browser, path: &str) -> Page {
    for _ in 0..200 {
        let page = browser.get(path).await;
        page.is(200);
        if !page.body.contains("id=\"stop\"") {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the replay does not end");
}

async fn replayed(browser: &Browser, tenant: &Tenant, form: &[(&str, &str)]) -> (String, Page) {
    let path = format!("/orgs/{}/auth-policies/replay", tenant.org);
    let at = browser.post(&path, form).await.redirect();
    let page = finished(browser, &at).await;
    (at, page)
}

/// The number that stands in the element of an id.
#[track_caller]
fn figure(page: &Page, id: &str) -> u64 {
    let start = format!("id=\"{id}\">");
    let from = page.body.find(&start).unwrap_or_else(|| panic!("no {id}")) + start.len();
    let rest = &page.body[from..];
    rest[..rest.find('<').unwrap()].replace('\u{202f}', "").parse().unwrap()
}

#[tokio::test]
async fn denials_are_explained_by_the_nearest_rule() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 40, 60).await;
    let mut seen = 0;
    for id in &tenant.events {
        let record = record(&world, tenant.org, *id).await;
        let page = browser.get(&format!("/orgs/{}/events/{id}", tenant.org)).await;
        page.is(200).has("Simulate against the draft");
        if record.answer.decision.reason == domain::decision::Reason::ImplicitDeny {
            page.has("id=\"nearest\"").has("What would have to change");
            page.has("What to do:");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[tokio::test]
async fn a_simulation_of_a_recorded_decision_decides_as_it_did() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 40, 60).await;
    for id in &tenant.events {
        let decision = record(&world, tenant.org, *id).await.answer.decision;
        let path = format!("/orgs/{}/auth-policies/simulate?against=live&event={id}", tenant.org);
        let page = browser.get(&path).await;
        page.is(200).has(&format!("<code id=\"reason\">{}</code>", decision.reason));
        let vlan = decision.outcome.vlan.unwrap_or("<span class=\"faint\">none</span>".to_owned());
        page.has(&format!("<dd id=\"vlan\">{vlan}</dd>"));
        if let Some(rule) = decision.rule {
            page.has(&format!(" by rule {}, ", rule.position));
        }
    }
}

#[tokio::test]
async fn a_hypothetical_request_is_decided_and_wrong_fields_are_told() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/auth-policies/simulate", tenant.org);
    browser.get(&path).await.is(200).has("id=\"decide\"");
    let site = tenant.site.to_string();
    let form = |state: &'static str| {
        vec![
            ("against", "live"),
            ("site", site.as_str()),
            ("auth_type", "eap-tls"),
            ("port_type", "wireless"),
            ("ssid", CORP),
            ("cert", "on"),
            ("found", "san-uri"),
            ("state", state),
        ]
    };
    let page = browser.post(&path, &form("compliant")).await;
    page.is(200).has("Would be permitted").has("<dd id=\"vlan\">10</dd>").has("Tunnel-Private-Group-Id");
    let page = browser.post(&path, &form("noncompliant")).await;
    page.is(200).has("<dd id=\"vlan\">quarantine</dd>");
    let mut stale = form("compliant");
    stale.push(("stale", "on"));
    browser.post(&path, &stale).await.is(200).has("<dd id=\"vlan\">quarantine</dd>");
    let mut other = form("noncompliant");
    other.retain(|(name, _)| *name != "ssid");
    let page = browser.post(&path, &other).await;
    page.is(200).has("Would be denied").has("id=\"nearest\"").has("implicit_deny");

    let mut wrong = form("compliant");
    wrong.extend([("mac", "<b>nonsense"), ("at", "yesterday"), ("gbp_tag", "-1"), ("nas_ip", "1.2.3")]);
    let page = browser.post(&path, &wrong).await;
    page.is(422).has("id=\"mac-error\"").has("id=\"at-error\"").has("id=\"gbp_tag-error\"");
    page.has("id=\"nas_ip-error\"").has("&lt;b&gt;nonsense");
    assert!(!page.body.contains("<b>nonsense"));
    browser.post(&path, &[("against", "live")]).await.is(422).has("id=\"site-error\"");

    let (fresh, newcomer) = world.fresh("Fabrikam").await;
    let path = format!("/orgs/{fresh}/auth-policies/simulate");
    newcomer.get(&path).await.is(200);
    newcomer.post(&path, &[("against", "live")]).await.is(422).has("Nothing is published yet");
}

#[tokio::test]
async fn a_client_is_simulated_with_what_is_known_now() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 20, 20).await;
    let mac = tenant.macs[0];
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    browser.get(&at(&format!("clients/{mac}"))).await.is(200).has(&format!("simulate?mac={mac}"));
    let page = browser.get(&at(&format!("auth-policies/simulate?mac={mac}"))).await;
    page.is(200).has("id=\"result\"").has(&format!("Client {mac}"));
    browser.get(&at("auth-policies/simulate?mac=02:00:00:00:00:77")).await.is(404);
    browser.get(&at("auth-policies/simulate?event=nonsense")).await.is(404);
}

#[tokio::test]
async fn a_replay_tells_what_would_change() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 40, 300).await;
    let form = [("window", "24h"), ("against", "live"), ("facts", "recorded"), ("hours", "48")];
    let (_, page) = replayed(&browser, &tenant, &form).await;
    assert_eq!(figure(&page, "decisions"), 300);
    assert_eq!(figure(&page, "changed"), 0, "what decided then decides the same again");
    page.has("Nobody would move").has("could not be made again");

    // Nobody may in any more.
    edit(&world, tenant.org, |doc| {
        doc.rules.iter_mut().for_each(|rule| {
            rule.action = Action::Block;
            rule.apply.clear();
        });
    })
    .await;
    let mut permitted = 0;
    let mut clients = std::collections::BTreeMap::new();
    for id in &tenant.events {
        let record = record(&world, tenant.org, *id).await;
        let permit = record.answer.decision.outcome.permit;
        permitted += u64::from(permit);
        let client = record.request.mac.map_or(record.session_key, |mac| mac.to_string());
        let last = clients.entry(client).or_insert((record.answer.at, *id, permit));
        if (record.answer.at, *id) >= (last.0, last.1) {
            *last = (record.answer.at, *id, permit);
        }
    }
    let moving = clients.values().filter(|(_, _, permit)| *permit).count() as u64;
    let form = [("window", "24h"), ("against", "draft"), ("facts", "recorded"), ("hours", "")];
    let (at, page) = replayed(&browser, &tenant, &form).await;
    assert_eq!((figure(&page, "changed"), figure(&page, "clients-changed")), (permitted, moving));
    page.has("id=\"groups\"").has("id=\"moved\"");

    let csv = browser.get(&format!("{at}/csv")).await;
    csv.is(200);
    assert!(csv.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/csv"));
    let lines: Vec<_> = csv.body.lines().collect();
    assert_eq!(lines[0], domain::policy::replay::CSV_HEADER);
    assert_eq!(lines.len() as u64, permitted + 1);
    assert!(lines[1..].iter().all(|line| line.contains("\"allow\",\"deny\"")), "{:?}", lines[1]);

    let list = browser.get(&format!("/orgs/{}/auth-policies/replay", tenant.org)).await;
    list.is(200).has("draft, revision").has("live version 2");
}

#[tokio::test]
async fn a_replay_is_followed_as_it_goes_on() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "<i>x</i>", 10, 40).await;
    edit(&world, tenant.org, |doc| doc.rules.iter_mut().for_each(|rule| rule.enabled = false)).await;
    let form = [("window", "24h"), ("against", "draft"), ("facts", "recorded"), ("hours", "")];
    let path = format!("/orgs/{}/auth-policies/replay", tenant.org);
    let at = browser.post(&path, &form).await.redirect();
    let request = browser.request("GET", &format!("{at}/live")).body(Body::empty()).unwrap();
    let response = browser.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let mut text = String::new();
    let arrived = tokio::time::timeout(Duration::from_secs(20), async {
        while let Some(Ok(bytes)) = stream.next().await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
            if text.contains("id=\"clients-changed\"") && text.ends_with("\n\n") {
                return true;
            }
        }
        false
    });
    assert!(arrived.await.unwrap_or(false), "{text}");
    assert!(!text.contains("<i>x</i>"), "{text}");
}

#[tokio::test]
async fn a_replay_without_intune_weakens_trust() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 40, 100).await;
    let at = |facts, hours| [("window", "24h"), ("against", "live"), ("facts", facts), ("hours", hours)];
    let (_, stale) = replayed(&browser, &tenant, &at("stale", "")).await;
    assert!(figure(&stale, "changed") > 0);
    let (_, hour) = replayed(&browser, &tenant, &at("unreachable", "1")).await;
    assert_eq!(figure(&hour, "changed"), 0, "records stay fresh for a day");
    let (_, days) = replayed(&browser, &tenant, &at("unreachable", "48")).await;
    assert_eq!(figure(&days, "changed"), figure(&stale, "changed"));
    let path = format!("/orgs/{}/auth-policies/replay", tenant.org);
    browser.post(&path, &at("unreachable", "many")).await.is(422).has("id=\"hours-error\"");
    browser.post(&path, &at("other", "1")).await.is(422).has("id=\"facts-error\"");
}

#[tokio::test]
async fn replays_are_few_and_kept_for_a_while() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let form = [("window", "1h"), ("against", "live"), ("facts", "recorded"), ("hours", "")];
    let (first, _) = replayed(&browser, &tenant, &form).await;
    for _ in 0..5 {
        replayed(&browser, &tenant, &form).await;
    }
    // The sixth pushed the first one out.
    assert!(browser.get(&first).await.redirect().ends_with("/auth-policies/replay"));
    browser.get(&format!("/orgs/{}/auth-policies/replay", tenant.org)).await.has("not kept any more");
    let (last, _) = replayed(&browser, &tenant, &form).await;
    browser.post(&format!("{last}/stop"), &[]).await.redirect();
    // Whose it is not, finds nothing, also under an organization of one's own.
    let (fresh, other) = world.fresh("Fabrikam").await;
    other.get(&last).await.is(404);
    other.get(&format!("{last}/csv")).await.is(404);
    other.get(&format!("{last}/live")).await.is(404);
    other.post(&format!("{last}/stop"), &[]).await.is(404);
    let id = last.rsplit('/').next().unwrap();
    let own = format!("/orgs/{fresh}/auth-policies/replay/{id}");
    assert!(other.get(&own).await.redirect().ends_with("/replay"));
    other.get(&format!("{own}/live")).await.is(404);
}

#[tokio::test]
async fn a_policy_goes_out_and_in_exactly() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let at = |rest: &str| format!("/orgs/{}/auth-policies/{rest}", tenant.org);
    let draft = async || {
        let mut tx = world.store.org(tenant.org).await.unwrap();
        store::policies::draft(&mut tx).await.unwrap()
    };
    let before = draft().await;
    for (file, format) in [("draft.yaml", Format::Yaml), ("draft.json", Format::Json)] {
        let exported = browser.get(&at(&format!("export/{file}"))).await;
        exported.is(200);
        assert!(exported.headers[header::CONTENT_DISPOSITION].to_str().unwrap().contains("policy-draft"));
        let read = transfer::read(&exported.body, format, &PolicyDoc::default()).unwrap();
        assert_eq!(read, before.doc);

        edit(&world, tenant.org, |doc| doc.rules.truncate(1)).await;
        let preview = upload(&browser, &at("import"), &[("file", &exported.body), ("text", "")]).await;
        preview.is(200).has("id=\"changes\"").has("is new");
        assert_ne!(draft().await.doc, before.doc, "nothing is replaced before it is confirmed");
        let revision = preview.hidden("revision");
        // As a browser sends what stands in a text area.
        let text = exported.body.replace('\n', "\r\n");
        let sent = [("text", text.as_str()), ("revision", &revision), ("confirm", "1")];
        upload(&browser, &at("import"), &sent).await.redirect();
        assert_eq!(draft().await.doc, before.doc);
        let late = upload(&browser, &at("import"), &sent).await;
        late.is(409).has("changed the draft meanwhile");
    }
    for file in ["live.json", "live.yaml", "version-1.yaml", "version-2.json"] {
        browser.get(&at(&format!("export/{file}"))).await.is(200).has("gatehouse-policy/1");
    }
    for file in ["version-99.json", "version-x.json", "draft.xml", "nonsense"] {
        browser.get(&at(&format!("export/{file}"))).await.is(404);
    }
}

#[tokio::test]
async fn errors_of_a_file_are_told_by_path_and_line() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/auth-policies/import", tenant.org);
    browser.get(&path).await.is(200).has("/schema/policy.json");
    let unknown = "format: gatehouse-policy/1\nlabels: []\nrules:\n  - name: One\n    action: allow\n    matching: { labels: [\"<script>alert(1)</script>\"] }\n";
    let page = upload(&browser, &path, &[("text", unknown)]).await;
    page.is(422).has("<code>rules[0].matching.labels[0]</code>").has("&#60;script&#62;");
    assert!(!page.body.contains("<script>alert"));
    let wrong = "format: gatehouse-policy/1\nrules:\n  - name: One\n    action: perhaps\n";
    let page = upload(&browser, &path, &[("text", wrong)]).await;
    page.is(422).has("<strong>Line 4").has("rules[0].action");
    let page = upload(&browser, &path, &[("text", "{\n  \"format\": 1\n}")]).await;
    page.is(422).has("<strong>Line 2");
    upload(&browser, &path, &[("text", " ")]).await.is(422).has("Choose a file, or paste one");

    let schema = world.stranger().get("/schema/policy.json").await;
    schema.is(200);
    let schema: serde_json::Value = serde_json::from_str(&schema.body).unwrap();
    assert_eq!(schema, transfer::schema());
}

#[tokio::test]
async fn hits_are_counted_in_the_chosen_window() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 40, 200).await;
    let mut records = Vec::new();
    for id in &tenant.events {
        records.push(record(&world, tenant.org, *id).await);
    }
    let mut tx = world.store.org(tenant.org).await.unwrap();
    for window in [time::Duration::hours(1), time::Duration::days(7)] {
        let from = world.now() - window;
        let hits = store::views::hits::hits(&mut tx, from, &tenant.rules, true).await.unwrap();
        for rule in &tenant.rules {
            let mut expected = store::views::hits::RuleHits::default();
            for record in &records {
                if record.answer.decision.rule.as_ref().is_none_or(|decided| decided.id != *rule) {
                    continue;
                }
                expected.count += i64::from(record.answer.at >= from);
                expected.last = expected.last.max(Some(record.answer.at));
            }
            assert_eq!(hits.of(*rule), expected);
        }
    }
    tx.commit().await.unwrap();
    let path = format!("/orgs/{}/auth-policies?window=7d", tenant.org);
    let page = browser.get(&path).await;
    page.is(200).has("never hit").has(&format!("events?window=7d&amp;rule={}", tenant.rules[0]));
    browser.get(&format!("/orgs/{}/auth-policies?window=nonsense", tenant.org)).await.is(200);
}

#[tokio::test]
async fn what_strangers_write_is_shown_as_text() {
    let world = World::new().await;
    let spice = "<script>alert('x')</script>";
    let (tenant, browser) = world.tenant("Contoso", spice, 20, 60).await;
    edit(&world, tenant.org, |doc| doc.rules.iter_mut().for_each(|rule| rule.action = Action::Block)).await;
    let form = [("window", "24h"), ("against", "draft"), ("facts", "stale"), ("hours", "")];
    let (_, page) = replayed(&browser, &tenant, &form).await;
    assert!(figure(&page, "changed") > 0);
    assert!(page.body.contains("&lt;script&gt;") || page.body.contains("&#60;script&#62;"));
    assert!(!page.body.contains(spice));
    for id in tenant.events.iter().take(12) {
        let path = format!("/orgs/{}/auth-policies/simulate?event={id}", tenant.org);
        let page = browser.get(&path).await;
        page.is(200);
        assert!(!page.body.contains(spice), "{path}");
    }
}

#[tokio::test]
async fn others_find_none_of_it() {
    let world = World::new().await;
    let (tenant, _) = world.tenant("Contoso", "", 5, 5).await;
    let (_, other) = world.fresh("Fabrikam").await;
    let at = |rest: &str| format!("/orgs/{}/auth-policies/{rest}", tenant.org);
    let event = tenant.events[0];
    let simulate = format!("simulate?event={event}");
    for path in ["simulate", &simulate, "replay", "import", "export/draft.json", "export/live.yaml"] {
        other.get(&at(path)).await.is(404);
    }
    other.post(&at("simulate"), &[("against", "live")]).await.is(404);
    other.post(&at("replay"), &[("window", "24h")]).await.is(404);
    upload(&other, &at("import"), &[("text", "format: gatehouse-policy/1")]).await.is(404);
}
