//! Every page, with what is there on an ordinary day, with what an attacker would like to be there, and empty.

use axum::http::header;

use crate::world::{Browser, Tenant, World};

/// Every page of an organization that lives.
pub fn pages(tenant: &Tenant) -> Vec<String> {
    let at = |rest: &str| format!("/orgs/{}{rest}", tenant.org);
    let mut pages: Vec<String> = [
        "",
        "?window=7d",
        "/identity-providers",
        "/identity-providers/link",
        "/labels",
        "/labels/new",
        "/auth-policies",
        "/auth-policies/rules/new",
        "/auth-policies/publish",
        "/auth-policies?window=30d",
        "/auth-policies/simulate",
        "/auth-policies/replay",
        "/auth-policies/import",
        "/auth-policies/versions",
        "/auth-policies/versions/1",
        "/auth-policies/versions/2",
        "/events",
        "/events?window=30d&result=deny&compliance=unknown&reason=implicit_deny",
        "/events?mac=nonsense&rule=nonsense&from=never",
        "/events?from=2026-11-20T00:00&to=2026-11-20T23:00&user=user7%40contoso.example&ssid=Contoso-Corp",
        "/clients",
        "/clients?state=ended&compliance=compliant&name=user7%40contoso.example",
        "/clients?mac=nonsense",
        "/devices",
        "/devices?q=contoso-lt-0001&compliance=compliant&os=Windows&owner=company&show=missing",
        "/devices?q=d46e0e000001&show=stale",
        "/devices?q=5a1e0000-0000-4000-8000-000000000001",
        "/devices?show=held",
        "/devices?show=hot&compliance=nonsense&link=nonsense",
        "/holds",
        "/sites",
        "/sites/edges/new",
        "/settings",
        "/audit",
    ]
    .map(at)
    .into();
    for kind in [
        "mdm_status",
        "auth_type",
        "ssid",
        "client_mac",
        "match_strength",
        "vlan",
        "radius_group",
        "session_timeout",
        "redirect_url",
    ] {
        pages.push(at(&format!("/labels/new?kind={kind}")));
    }
    for label in &tenant.labels {
        pages.push(at(&format!("/labels/{label}")));
        pages.push(at(&format!("/labels/{label}/delete")));
    }
    for rule in &tenant.rules {
        pages.push(at(&format!("/auth-policies/rules/{rule}")));
        pages.push(at(&format!("/auth-policies/rules/{rule}/delete")));
        pages.push(at(&format!("/events?rule={rule}")));
    }
    for event in tenant.events.iter().take(40) {
        pages.push(at(&format!("/events/{event}")));
    }
    for mac in tenant.macs.iter().take(12) {
        pages.push(at(&format!("/clients/{mac}")));
    }
    for session in tenant.sessions.iter().take(12) {
        pages.push(at(&format!("/sessions/{session}")));
    }
    for device in &tenant.devices {
        pages.push(at(&format!("/devices/{}/{device}", tenant.link)));
    }
    for rest in ["", "/release", "/discard"] {
        pages.push(at(&format!("/holds/{}{rest}", tenant.hold)));
    }
    pages.push(at(&format!("/identity-providers/{}", tenant.link)));
    pages.push(at(&format!("/identity-providers/{}/unlink", tenant.link)));
    for rest in ["", "/connect", "/test", "/test?mac=d46e0e000001&auth_type=mab", "/delete"] {
        pages.push(at(&format!("/sites/edges/{}{rest}", tenant.edge)));
    }
    pages.push(at(&format!("/sites/{}", tenant.site)));
    pages.push(at(&format!("/sites/{}/delete", tenant.site)));
    pages.push(at(&format!("/sites/edges/new?site={}", tenant.site)));
    pages.push("/organizations".to_owned());
    pages.push("/signed-out".to_owned());
    pages
}

/// Every event and every other row that a list links to, also of kinds that no decision is.
async fn linked(browser: &Browser, org: &str, list: &str) -> Vec<String> {
    let page = browser.get(&format!("{org}{list}")).await;
    let start = format!("href=\"{org}/events/");
    page.body
        .match_indices(&start)
        .map(|(at, _)| {
            let rest = &page.body[at + 6..];
            rest[..rest.find('"').unwrap()].to_owned()
        })
        .collect()
}

/// What must hold of every page.
#[track_caller]
fn sound(path: &str, body: &str) {
    assert!(body.starts_with("<!doctype html>"), "{path}");
    assert!(body.contains("<main"), "{path} has no main landmark");
    assert_eq!(body.matches("<h1").count(), 1, "{path} has not one heading");
    assert!(body.contains(r##"<a class="skip" href="#main">"##), "{path} has no skip link");
    for never in [" style=", " onclick=", " onsubmit=", " onload=", "<style", "javascript:", "{{", "{%"] {
        assert!(!body.contains(never), "{path} contains {never}");
    }
    // No script but our own files.
    for (at, _) in body.match_indices("<script") {
        assert!(body[at..].starts_with("<script src=\"/static/"), "{path} has an inline script");
    }
    // Nothing from elsewhere.
    for attribute in ["src=\"http", "href=\"http", "action=\"http", "src=\"//", "href=\"//"] {
        assert!(!body.contains(attribute), "{path} refers elsewhere: {attribute}");
    }
    for tag in body.split('<') {
        let tag = tag.split('>').next().unwrap();
        assert!(tag.matches(" aria-describedby=").count() < 2, "{path} describes a control twice: {tag}");
        assert!(
            !(tag.starts_with("li ") && tag.contains(" role=\"status\"")),
            "{path} has a list item that is none"
        );
    }
    let mut ids: Vec<_> = body
        .match_indices(" id=\"")
        .map(|(at, m)| {
            let rest = &body[at + m.len()..];
            &rest[..rest.find('"').unwrap()]
        })
        .collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "{path} has an id twice");
}

#[tokio::test]
async fn every_page_shows_an_ordinary_day() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 60, 120).await;
    let org = format!("/orgs/{}", tenant.org);
    let mut all = pages(&tenant);
    all.extend(linked(&browser, &org, "/events").await);
    for path in all {
        let page = browser.get(&path).await;
        page.is(200);
        sound(&path, &page.body);
        assert_eq!(page.headers[header::CACHE_CONTROL], "no-store", "{path}");
    }
}

#[tokio::test]
async fn no_page_gives_way_to_hostile_text() {
    let spice = r#""'><script>alert(1)</script>&{{x}}"#;
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Evil <b>Corp</b> & \"Sons\"", spice, 24, 60).await;
    let org = format!("/orgs/{}", tenant.org);
    let mut all = pages(&tenant);
    all.extend(linked(&browser, &org, "/events").await);
    all.push(format!("{org}/events?user=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E&mac=%22%3E%3Cscript%3E&session=%22%3E%3Cscript%3E"));
    all.push("/sign-in?return_to=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned());
    for path in all {
        let page = browser.get(&path).await;
        if path.starts_with("/sign-in") {
            page.is(303);
            continue;
        }
        page.is(200);
        assert!(!page.body.contains("<script>"), "{path} lets a script in");
        assert!(!page.body.contains("<b>Corp"), "{path} lets markup in");
        // The braces are data here.
        sound(&path, &page.body.replace("{{x}}", ""));
    }
}

#[tokio::test]
async fn empty_pages_say_what_to_do() {
    let world = World::new().await;
    let (org, browser) = world.fresh("Fabrikam").await;
    let at = |rest: &str| format!("/orgs/{org}{rest}");
    for (path, says) in [
        ("", "What to do next"),
        ("/identity-providers", "Link Microsoft Intune"),
        ("/labels", "New MDM compliance label"),
        ("/auth-policies", "Make labels first"),
        ("/auth-policies/versions", "Publish the draft to make version 1"),
        ("/auth-policies/publish", "Nothing to publish"),
        ("/events", "Connect an edge"),
        ("/clients", "Clients appear with their first decision"),
        ("/devices", "Link Microsoft Intune"),
        ("/devices?q=x", "No device fits"),
        ("/holds", "Nothing was ever held"),
        ("/sites", "No edge stands here"),
        ("/audit", "Audit log"),
        ("/settings", "Save settings"),
        ("/auth-policies/rules/new", "There are no match labels yet"),
    ] {
        let page = browser.get(&at(path)).await;
        page.is(200).has(says);
        sound(path, &page.body);
    }
}

#[tokio::test]
async fn colours_are_chosen_without_javascript() {
    let world = World::new().await;
    let (org, browser) = world.fresh("Fabrikam").await;
    browser.get(&format!("/orgs/{org}")).await.has("data-theme=\"system\"");
    for theme in ["dark", "light"] {
        let back = format!("/orgs/{org}/labels");
        let chosen = browser.post("/preferences/theme", &[("theme", theme), ("return_to", &back)]).await;
        assert_eq!(chosen.redirect(), back);
        let cookie = chosen.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        let kept = format!("{}; {}", browser.cookie, cookie.split(';').next().unwrap());
        let browser = Browser { cookie: kept, ..browser.clone() };
        for path in [back.as_str(), "/no-such-page"] {
            browser.get(path).await.has(&format!("data-theme=\"{theme}\""));
        }
        let stranger = Browser { cookie: format!("gh_theme={theme}"), ..browser.clone() };
        stranger.get("/sign-in").await.is(200).has(&format!("data-theme=\"{theme}\""));
    }
}

/// The address of what answers a form need not answer a GET, and what it shows would be lost.
#[tokio::test]
async fn colours_lead_nobody_away_from_a_form_or_a_token() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/sites/edges/{}", tenant.org, tenant.edge);
    let shown = browser.get(&path).await;
    assert_eq!(shown.hidden("return_to"), path);
    shown.has("class=\"theme\"");
    for (path, form) in [(format!("{path}/credentials"), ("", "")), (path, ("name", ""))] {
        let answer = browser.post(&path, &[form]).await;
        assert_eq!(answer.hidden("return_to"), "/");
        // Without JavaScript it is not there; with it, it changes the page in place.
        answer.has("class=\"theme js-only\"");
        sound(&path, &answer.body);
    }
}

/// PostgreSQL knows no text with a NUL.
#[tokio::test]
async fn odd_input_is_refused_beside_its_field() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    for (list, fields) in [
        (
            "events",
            vec![
                "user",
                "ssid",
                "mac",
                "type",
                "rule",
                "reason",
                "compliance",
                "edge",
                "site",
                "session",
                "from",
            ],
        ),
        ("clients", vec!["name", "ssid", "mac", "compliance", "site"]),
        ("devices", vec!["q", "os", "owner", "compliance", "link"]),
    ] {
        for field in fields {
            let page = browser.get(&format!("/orgs/{}/{list}?{field}=x%00y", tenant.org)).await;
            page.is(200).has("Nothing was searched: one field needs");
            let wrong = format!("name=\"{field}\" aria-invalid=\"true\" aria-describedby=\"{field}-error\"");
            page.has(&wrong).has(&format!("id=\"{field}-error\""));
            sound(list, &page.body);
        }
    }
}

#[tokio::test]
async fn a_list_is_paged_without_gaps() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 30, 130).await;
    for (list, wanted) in [("events", tenant.events.len()), ("clients", 0)] {
        let mut next = format!("/orgs/{}/{list}?window=30d&result=", tenant.org);
        let mut seen = Vec::new();
        for _ in 0..40 {
            let page = browser.get(&next).await;
            page.is(200);
            let body = &page.body[page.body.find("<tbody").unwrap()..];
            for (at, m) in body.match_indices(if list == "events" {
                " id=\"e-"
            } else {
                "<th scope=\"row\" class=\"who\">"
            }) {
                let rest = &body[at + m.len()..];
                seen.push(
                    rest[..rest.find(if list == "events" { "\"" } else { "</a>" }).unwrap()].to_owned(),
                );
            }
            let Some(older) = page.body.find("rel=\"next\"") else { break };
            let before = &page.body[..older];
            let from = before.rfind("href=\"").unwrap() + 6;
            next = before[from..].split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all, "a row of {list} came twice");
        assert!(all >= wanted.max(30), "{list}: {all}");
        if list == "events" {
            for event in &tenant.events {
                assert!(seen.contains(&event.to_string()), "{event} is missing");
            }
        }
    }
}

#[tokio::test]
async fn a_decision_is_explained_condition_by_condition() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 60, 22).await;
    let list =
        browser.get(&format!("/orgs/{}/events?type=NAC_CLIENT_DENY&reason=implicit_deny", tenant.org)).await;
    // The ninth request of eleven comes by MAB, from a device that is in grace: see `world::request`.
    let mab = format!("/orgs/{}/events/{}", tenant.org, tenant.events[9]);
    assert!(list.body.contains(&mab), "{}", list.body);
    let page = browser.get(&mab).await;
    page.is(200)
        .has("No rule matched, so the implicit last rule denied.")
        .has("would have given")
        .has("Its authentication must be cert; it was mab.")
        .has("Sure match (match_strength)")
        .has("disabled, skipped")
        .has("in the way")
        .has("inGracePeriod")
        .has("Access-Reject carries none");
    let permit = browser.get(&format!("/orgs/{}/events/{}", tenant.org, tenant.events[0])).await;
    permit.has("Permitted by rule 1").has("Tunnel-Private-Group-Id").has("san-uri").has("15 min before");
}

/// Of two decisions of one moment, the page says which one the client got.
#[tokio::test]
async fn an_answer_that_nobody_heard_says_so() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 20, 6).await;
    let page = |event: usize| format!("/orgs/{}/events/{}", tenant.org, tenant.events[event]);
    let ask = "0193a000-0000-7000-8000-000000000001";
    for (event, detail) in
        [(0, serde_json::json!({"ask": ask})), (1, serde_json::json!({"decided_offline": true}))]
    {
        sqlx::query("UPDATE event SET detail = detail || $2 WHERE id = $1")
            .bind(tenant.events[event].uuid())
            .bind(detail)
            .execute(&world.admin)
            .await
            .unwrap();
    }
    let before = browser.get(&page(0)).await;
    assert!(!before.is(200).body.contains("Nobody heard this answer"));
    sqlx::query("UPDATE session SET unheard = ARRAY[$1::uuid]")
        .bind(ask)
        .execute(&world.admin)
        .await
        .unwrap();
    browser.get(&page(0)).await.is(200).has("Nobody heard this answer");
    let told = browser.get(&page(1)).await;
    assert!(!told.is(200).has("Told by the edge afterwards").body.contains("Nobody heard"));
}
