//! Who may see and do what.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use store::browser;
use uuid::Uuid;

use crate::pages::pages;
use crate::world::{Browser, ORIGIN, Tenant, World};

/// Every form of an organization: where it is sent, and something to send.
fn posts(tenant: &Tenant) -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    let at = |rest: String| format!("/orgs/{}/{rest}", tenant.org);
    let (label, rule) = (tenant.labels[0], tenant.rules[0]);
    vec![
        (at("identity-providers/link".into()), vec![]),
        (at("identity-providers/link/other".into()), vec![]),
        (at("identity-providers/link/again".into()), vec![]),
        (at(format!("identity-providers/{}/sync", tenant.link)), vec![]),
        (at(format!("identity-providers/{}/unlink", tenant.link)), vec![]),
        (at("labels".into()), vec![("revision", "1"), ("kind", "vlan"), ("name", "x"), ("vlan", "1")]),
        (
            at(format!("labels/{label}")),
            vec![("revision", "1"), ("kind", "vlan"), ("name", "x"), ("vlan", "1")],
        ),
        (at(format!("labels/{label}/delete")), vec![("revision", "1")]),
        (at("auth-policies/rules".into()), vec![("revision", "1"), ("name", "x"), ("action", "allow")]),
        (
            at(format!("auth-policies/rules/{rule}")),
            vec![("revision", "1"), ("name", "x"), ("action", "allow")],
        ),
        (at(format!("auth-policies/rules/{rule}/act")), vec![("revision", "1"), ("to", "1")]),
        (at(format!("auth-policies/rules/{rule}/delete")), vec![("revision", "1")]),
        (at("auth-policies/publish".into()), vec![("revision", "1")]),
        (at("auth-policies/discard".into()), vec![("revision", "1")]),
        (at("auth-policies/versions/1/roll-back".into()), vec![]),
        (at(format!("sessions/{}/reauthenticate", tenant.sessions[0])), vec![]),
        (at("sites".into()), vec![("name", "x")]),
        (at("sites/edges".into()), vec![("name", "x"), ("site", "00000000-0000-0000-0000-000000000000")]),
        (
            at(format!("sites/{}", tenant.site)),
            vec![("name", "x"), ("fallback", "deny"), ("age", "7"), ("age_unit", "days")],
        ),
        (at(format!("sites/{}/delete", tenant.site)), vec![]),
        (at(format!("sites/edges/{}", tenant.edge)), vec![("name", "x")]),
        (at(format!("sites/edges/{}/switch", tenant.edge)), vec![("to", "off")]),
        (at(format!("sites/edges/{}/delete", tenant.edge)), vec![]),
        (at(format!("sites/edges/{}/test", tenant.edge)), vec![]),
        (at(format!("sites/edges/{}/credentials", tenant.edge)), vec![]),
        (at(format!("sites/edges/{}/credentials/rotate", tenant.edge)), vec![("overlap", "86400")]),
        (at(format!("sites/edges/{}/credentials/{}/extend", tenant.edge, Uuid::nil())), vec![]),
        (at(format!("sites/edges/{}/credentials/{}/revoke", tenant.edge, Uuid::nil())), vec![]),
        (at("settings".into()), vec![("name", "x"), ("stale_after", "1"), ("coa", "reauth")]),
    ]
}

async fn fingerprint(world: &World) -> Vec<i64> {
    let mut out = Vec::new();
    for table in ["audit", "outbox", "command", "policy_version", "edge", "edge_credential", "site", "link"] {
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
        out.push(count.fetch_one(&world.admin).await.unwrap());
    }
    out.push(
        sqlx::query_scalar("SELECT sum(revision)::bigint FROM policy_draft")
            .fetch_one(&world.admin)
            .await
            .unwrap(),
    );
    out
}

#[tokio::test]
async fn a_member_of_another_organization_finds_nothing() {
    let world = World::new().await;
    let (tenant, owner) = world.tenant("Contoso", "", 20, 30).await;
    let (_, stranger) = world.fresh("Fabrikam").await;
    let before = fingerprint(&world).await;
    for path in pages(&tenant).into_iter().filter(|path| path.starts_with("/orgs/")) {
        owner.get(&path).await.is(200);
        let page = stranger.get(&path).await;
        page.is(404).has("Nothing is here");
        assert!(!page.body.contains("Contoso"), "{path} names what is not theirs");
    }
    for (path, form) in posts(&tenant) {
        stranger.post(&path, &form).await.is(404);
    }
    for live in [
        "events/live".to_owned(),
        format!("identity-providers/{}/live", tenant.link),
        format!("sites/edges/{}/test/live", tenant.edge),
    ] {
        stranger.get(&format!("/orgs/{}/{live}", tenant.org)).await.is(404);
    }
    assert_eq!(fingerprint(&world).await, before);
}

#[tokio::test]
async fn ids_of_another_organization_mean_nothing_in_ones_own() {
    let world = World::new().await;
    let (theirs, _) = world.tenant("Contoso", "", 20, 30).await;
    let (mine, browser) = world.tenant("Fabrikam", "", 5, 5).await;
    let before = fingerprint(&world).await;
    // Labels and rules bear the same ids in both worlds, so they are left out.
    let swapped =
        Tenant { org: mine.org, labels: mine.labels.clone(), rules: mine.rules.clone(), ..theirs.clone() };
    let at = |rest: String| format!("/orgs/{}/{rest}", mine.org);
    for path in [
        at(format!("events/{}", theirs.events[0])),
        at(format!("sessions/{}", theirs.sessions[0])),
        at(format!("identity-providers/{}", theirs.link)),
        at(format!("identity-providers/{}/unlink", theirs.link)),
        at(format!("sites/edges/{}", theirs.edge)),
        at(format!("sites/edges/{}/connect", theirs.edge)),
        at(format!("sites/edges/{}/test", theirs.edge)),
        at(format!("sites/edges/{}/delete", theirs.edge)),
        at(format!("sites/{}", theirs.site)),
        at(format!("sites/{}/delete", theirs.site)),
    ] {
        browser.get(&path).await.is(404);
    }
    for (path, form) in posts(&swapped) {
        let names_theirs = [
            theirs.link.to_string(),
            theirs.edge.to_string(),
            theirs.site.to_string(),
            theirs.sessions[0].to_string(),
        ];
        if names_theirs.iter().any(|id| path.contains(id)) {
            browser.post(&path, &form).await.is(404);
        }
    }
    assert_eq!(fingerprint(&world).await, before);
}

#[tokio::test]
async fn the_signed_out_are_led_to_sign_in_and_can_do_nothing() {
    let world = World::new().await;
    let (tenant, _) = world.tenant("Contoso", "", 10, 12).await;
    let before = fingerprint(&world).await;
    let stranger = world.stranger();
    for path in pages(&tenant).into_iter().filter(|path| path.starts_with("/orgs/")) {
        let back = url::form_urlencoded::byte_serialize(path.as_bytes()).collect::<String>();
        stranger
            .get(&path)
            .await
            .is(401)
            .has("You are signed out")
            .has(&format!("href=\"/sign-in?return_to={back}\""));
    }
    for (path, form) in posts(&tenant) {
        stranger.post(&path, &form).await.is(401).has("You are signed out");
    }
    stranger.get(&format!("/orgs/{}/events/live", tenant.org)).await.is(401);
    stranger.get("/organizations").await.is(401).has("/sign-in?return_to=%2Forganizations");
    assert_eq!(stranger.get("/").await.redirect(), "/sign-in");
    stranger.post("/organizations", &[("name", "x")]).await.is(401);
    assert_eq!(fingerprint(&world).await, before);
}

#[tokio::test]
async fn a_forged_post_of_another_site_is_refused() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 10, 12).await;
    let before = fingerprint(&world).await;
    let mut all = posts(&tenant);
    all.push(("/sign-out".to_owned(), vec![]));
    all.push(("/organizations".to_owned(), vec![("name", "x")]));
    all.push(("/preferences/theme".to_owned(), vec![("theme", "dark")]));
    for (path, form) in all {
        let forgeries: [&[(&str, &str)]; 5] = [
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("origin", "http://gatehouse.test.evil.example")],
            &[("origin", "http://gatehouse.test:81"), ("sec-fetch-site", "same-site")],
            // Neither header: no browser posts like that.
            &[],
        ];
        for headers in forgeries {
            let mut request = browser.request("POST", &path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let page = browser.submit(request, &form).await;
            page.is(403).has("did not come from a page of this dashboard");
        }
    }
    assert_eq!(fingerprint(&world).await, before);
    // The same form from our own page is taken.
    let name = [("name", "From our own page")];
    let own = browser
        .request("POST", &format!("/orgs/{}/sites", tenant.org))
        .header("sec-fetch-site", "same-origin");
    browser.submit(own, &name).await.redirect();
}

#[tokio::test]
async fn every_answer_bears_the_headers() {
    let world = World::new().await;
    let (org, browser) = world.fresh("Fabrikam").await;
    for path in [
        format!("/orgs/{org}"),
        "/sign-in".to_owned(),
        "/no-such-page".to_owned(),
        "/static/none.css".to_owned(),
    ] {
        let page = browser.get(&path).await;
        let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'")
                && policy.contains("form-action 'self' http://127.0.0.1:9")
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(page.headers[header::REFERRER_POLICY], "same-origin");
        assert!(!page.headers.contains_key(header::STRICT_TRANSPORT_SECURITY), "only over https");
    }
    let missing = browser.get("/no-such-page").await;
    let id = missing.headers["x-request-id"].to_str().unwrap();
    missing.is(404).has(id);
}

#[tokio::test]
async fn static_files_are_kept_for_ever() {
    let world = World::new().await;
    let page = world.stranger().get("/sign-in").await;
    let mut files = 0;
    for (at, m) in page.body.match_indices("\"/static/") {
        let rest = &page.body[at + 1..];
        let path = rest[..rest.find(['"', '#']).unwrap()].to_owned();
        assert!(m.len() > 1);
        let file = world.stranger().get(&path).await;
        file.is(200);
        assert_eq!(file.headers[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        assert!(!file.headers.contains_key(header::SET_COOKIE));
        files += 1;
    }
    assert!(files >= 4, "{files}");
    world.stranger().get("/static/gatehouse.0000000000000000.css").await.is(404);
}

#[tokio::test]
async fn a_session_that_ended_stays_ended() {
    let world = World::new().await;
    let (org, visitor) = world.fresh("Fabrikam").await;
    let home = format!("/orgs/{org}");
    visitor.get(&home).await.is(200);
    let id = visitor.cookie.split_once('=').unwrap().1.to_owned();
    let now = world.now();
    let mut tx = world.store.system().await.unwrap();
    let bytes = browser::load(&mut tx, &id, now).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let out = visitor.post("/sign-out", &[]).await;
    assert!(
        out.redirect()
            .starts_with("http://127.0.0.1:9/organizations/oauth2/v2.0/logout?post_logout_redirect_uri=")
    );
    // A request that was in flight saves what it had read.
    let mut tx = world.store.system().await.unwrap();
    let later = now + std::time::Duration::from_secs(60);
    assert!(!browser::save(&mut tx, &id, &bytes, now, later).await.unwrap());
    tx.commit().await.unwrap();
    visitor.get(&home).await.is(401);
}

#[tokio::test]
async fn a_session_id_that_somebody_made_up_is_not_taken_over() {
    let world = World::new().await;
    let planted = tower_sessions::session::Id::default();
    let visitor = Browser { cookie: format!("gh_session={planted}"), ..world.stranger() };
    // Nobody answers at Microsoft, so the page says so, and keeps no session of that id.
    visitor.post("/sign-in", &[("return_to", "/")]).await.is(502).has("What to do");
    let mut tx = world.store.system().await.unwrap();
    assert_eq!(browser::load(&mut tx, &planted.to_string(), world.now()).await.unwrap(), None);
}

#[tokio::test]
async fn callbacks_that_nobody_asked_for_do_nothing() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let before = fingerprint(&world).await;
    world
        .stranger()
        .get("/sign-in/callback?code=abc&state=xyz")
        .await
        .is(403)
        .has("That sign-in is not yours");
    world.stranger().get("/sign-in/callback?error=access_denied&state=xyz").await.is(403);
    let forged = format!("/identity-providers/callback?admin_consent=True&tenant={}&state=xyz", tenant.tid);
    browser.get(&forged).await.is(403).has("not the answer to your request");
    world.stranger().get(&forged).await.is(401);
    assert_eq!(fingerprint(&world).await, before);
}

#[tokio::test]
async fn odd_requests_get_pages_too() {
    let world = World::new().await;
    let (org, browser) = world.fresh("Fabrikam").await;
    let at = |rest: &str| format!("/orgs/{org}/{rest}");
    for path in [
        "orgs/not-an-id".to_owned(),
        at("events/not-an-id").trim_start_matches('/').to_owned(),
        at("clients/zz").trim_start_matches('/').to_owned(),
        at("labels/00000000-0000-0000-0000-000000000000").trim_start_matches('/').to_owned(),
        at("auth-policies/versions/99").trim_start_matches('/').to_owned(),
        at("auth-policies/versions/2147483647").trim_start_matches('/').to_owned(),
    ] {
        let page = browser.get(&format!("/{path}")).await;
        assert!(matches!(page.status.as_u16(), 400 | 404), "{path}: {}", page.status);
        page.has("<h1>");
    }
    // A form without its fields, and one that is far too large.
    browser.post(&at("labels"), &[]).await.has("<h1>");
    let huge = "x".repeat(1 << 20);
    let page = browser.post(&at("sites"), &[("name", &huge)]).await;
    page.is(413).has("Too large");
    let method =
        browser.request("PUT", &at("labels")).header(header::ORIGIN, ORIGIN).body(Body::empty()).unwrap();
    assert_eq!(*method.method(), Method::PUT);
    let page = browser.send(method).await;
    assert_eq!(page.status, StatusCode::METHOD_NOT_ALLOWED);
    page.has("Not this way");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_told_as_a_page() {
    let world = World::impatient(std::time::Duration::from_millis(800)).await;
    let (org, browser) = world.fresh("Fabrikam").await;
    let mut lock = world.admin.begin().await.unwrap();
    sqlx::query("LOCK TABLE session IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let page = browser.get(&format!("/orgs/{org}/clients")).await;
    page.is(504).has("That took too long").has("<h1>");
    let id = page.headers["x-request-id"].to_str().unwrap();
    page.has(id);
    assert!(page.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
}
