//! Sites and edges: how they stand, their credentials' change-over, what they are connected with, and their test.

use std::time::Duration as Wait;

use axum::body::Body;
use domain::coa::{CoaCause, CoaKind};
use domain::command::{ErrorCause, NasAnswer, NasResult};
use domain::decision::Outcome;
use domain::edge::{AgentReport, Channel, HeldBundle};
use domain::policy::{Conditions, PolicyDoc};
use domain::{CommandId, CredentialId, Mac};
use store::commands::{self, NewCommand};
use store::edge_status::{self, Heard};
use store::{bundles, commands_edge, edges, policies};
use time::Duration;
use tokio_stream::StreamExt as _;
use tower::ServiceExt as _;

use crate::world::{Browser, Page, Tenant, World};

async fn hear(world: &World, tenant: &Tenant, heard: Heard) {
    let mut tx = world.store.org(tenant.org).await.unwrap();
    edge_status::note(&mut tx, &mut [(tenant.edge, heard)]).await.unwrap();
    tx.commit().await.unwrap();
}

fn report(world: &World) -> AgentReport {
    AgentReport {
        version: "0.1.0".to_owned(),
        started_at: world.now() - Duration::HOUR,
        channel: Some(Channel::Stream),
        radius: Some("gatehouse-freeradius/1 (FreeRADIUS 3.2.1)".to_owned()),
        waiting: 4,
        refused: 0,
        bundle: Some(HeldBundle { version: 77, issued_at: world.now() - Duration::MINUTE, over: false }),
        nas: 2,
        decided_offline: 3,
        decided_offline_at: Some(world.now() - Duration::minutes(20)),
    }
}

async fn credentials(world: &World, tenant: &Tenant) -> Vec<edges::CredentialRow> {
    let mut tx = world.store.org(tenant.org).await.unwrap();
    edges::credentials_of(&mut tx, tenant.edge).await.unwrap()
}

async fn used(world: &World, tenant: &Tenant, id: CredentialId) {
    let heard = Heard { at: Some(world.now()), credentials: vec![(id, world.now())], ..Heard::default() };
    hear(world, tenant, heard).await;
}

/// A copyable text of a page, as a browser would copy it.
#[track_caller]
fn text_of(body: &str, id: &str) -> String {
    let start = format!("<code id=\"{id}\">");
    let from = body.find(&start).unwrap_or_else(|| panic!("no {id} in {body}")) + start.len();
    let html = &body[from..from + body[from..].find("</code>").unwrap()];
    html.replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#38;", "&")
}

#[tokio::test]
async fn how_an_edge_stands_is_on_its_page() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/sites/edges/{}", tenant.org, tenant.edge);
    let minute = world.now().truncate_to_minute();
    hear(
        &world,
        &tenant,
        Heard {
            at: Some(world.now()),
            callers: vec![("gatehouse-edge/0.1.0".to_owned(), world.now())],
            skew: Some((12_300, world.now())),
            streamed_at: Some(world.now()),
            report: Some((report(&world), world.now())),
            minutes: (1..=5).map(|n| (minute - Duration::minutes(n), 30, 12)).collect(),
            ..Heard::default()
        },
    )
    .await;
    let page = browser.get(&path).await;
    page.is(200)
        .has("gatehouse-edge/0.1.0")
        .has("12.3 s ahead")
        .has("a stream")
        .has("gatehouse-freeradius/1 (FreeRADIUS 3.2.1)")
        .has("<strong class=\"figure-cell\">42</strong> per minute")
        .has("30 permitted, 12 denied")
        .has("Its clock is 12.3 s ahead: set it by NTP.")
        .has("4 of its messages wait on its disk");
    // The list tells the worst, in a word.
    browser.get(&format!("/orgs/{}/sites", tenant.org)).await.has("clock is off").has("gatehouse-edge/0.1.0");
    let failed: i64 = sqlx::query_scalar(
        "WITH done AS (UPDATE command SET state = 'failed', finished_at = $1,
                              result = 'Error-Cause 503, Session-Context-Not-Found'
                       WHERE edge_id = $2 RETURNING 1) SELECT count(*) FROM done",
    )
    .bind(world.now())
    .bind(tenant.edge.uuid())
    .fetch_one(&world.admin)
    .await
    .unwrap();
    assert!(failed > 0);
    browser.get(&path).await.has("Error-Cause 503, Session-Context-Not-Found");
}

/// A command to a client of the edge.
async fn command(world: &World, tenant: &Tenant, mac: Mac) -> CommandId {
    let now = world.now();
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let command = NewCommand {
        edge: tenant.edge,
        site: tenant.site,
        session: world.ids.make(now),
        session_key: "s".to_owned(),
        mac: Some(mac),
        kind: CoaKind::Reauth,
        cause: CoaCause::ComplianceChanged,
        from: Outcome::DENY,
        to: Outcome::DENY,
        answered_at: None,
        expires_at: now + Duration::minutes(5),
    };
    let id = commands::insert(&mut tx, &world.ids, now, command).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// What the NAS said of a client's command, as the edge's page tells it.
fn said(page: &Page, mac: Mac) -> Option<&str> {
    let row = page.body.split("<tr>").find(|row| row.contains(&format!(">{mac}</a>")))?;
    row.split_once("<td class=\"break\">")?.1.split("</td>").next()
}

#[tokio::test]
async fn what_the_nas_said_is_on_the_edges_page() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/sites/edges/{}", tenant.org, tenant.edge);
    let mac = |n| Mac([0x02, 0, 0, 0, 0, n]);
    for (n, cause) in [(1, Some(501)), (2, None), (3, Some(99_999)), (4, Some(503))] {
        let id = command(&world, &tenant, mac(n)).await;
        let answer = NasAnswer { result: NasResult::Nak, error_cause: cause.map(ErrorCause) };
        let mut tx = world.store.org(tenant.org).await.unwrap();
        let told = commands_edge::ack(&mut tx, &world.ids, world.now(), tenant.edge, id, answer, None).await;
        assert!(told.unwrap());
        tx.commit().await.unwrap();
    }
    for (n, state, answer) in [(5, "failed", Some("timeout")), (6, "expired", None)] {
        let id = command(&world, &tenant, mac(n)).await;
        sqlx::query("UPDATE command SET state = $1, answer = $2, finished_at = $3 WHERE id = $4")
            .bind(state)
            .bind(answer)
            .bind(world.now())
            .bind(id.uuid())
            .execute(&world.admin)
            .await
            .unwrap();
    }
    let page = browser.get(&path).await;
    page.is(200).has("<dd>5 in the last 24 hours</dd>");
    assert_eq!(said(&page, mac(1)), Some("the NAS refused: Administratively-Prohibited (501)"));
    assert_eq!(said(&page, mac(2)), Some("the NAS refused"));
    assert_eq!(said(&page, mac(3)), Some("the NAS refused: Error-Cause 99999"));
    assert_eq!(said(&page, mac(4)), None, "there was nobody to move: nothing is to be seen to");
    for n in [5, 6] {
        assert_eq!(said(&page, mac(n)), Some("<span class=\"faint\">nothing in time</span>"));
    }
    browser.get(&format!("/orgs/{}/sites", tenant.org)).await.has("5 failed in 24 h");
}

#[tokio::test]
async fn a_token_is_replaced_with_an_overlap_and_the_change_over_is_seen() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/sites/edges/{}", tenant.org, tenant.edge);
    let old = credentials(&world, &tenant).await.remove(0).id;
    used(&world, &tenant, old).await;
    let rotate = format!("{path}/credentials/rotate");
    for wrong in ["", "12", "-1", "never"] {
        browser.post(&rotate, &[("overlap", wrong)]).await.is(422).has("id=\"overlap-error\"");
    }
    assert_eq!(credentials(&world, &tenant).await.len(), 1, "nothing was made");
    let page = browser.post(&rotate, &[("overlap", "3600")]).await;
    page.is(201).has("shown once").has("id=\"token\"");
    // Made within one moment, their ids tell no order.
    let of = |rows: Vec<edges::CredentialRow>, id: Option<CredentialId>| {
        rows.into_iter().find(|row| id.map_or(row.id != old, |id| row.id == id)).unwrap()
    };
    let made = of(credentials(&world, &tenant).await, None);
    let new = made.id;
    assert_eq!((made.expires_at, made.last_used_at), (None, None));
    let ends = async || of(credentials(&world, &tenant).await, Some(old)).expires_at;
    assert_eq!(ends().await, Some(world.now() + Duration::HOUR));
    let page = browser.get(&path).await;
    page.has("The edge has not changed over.")
        .has("Give it 24 hours")
        .has("role=\"alert\" id=\"change-over\"");
    // It is near its end: that is said on the list, too.
    browser.get(&format!("/orgs/{}/sites", tenant.org)).await.has("old token");
    let extend = format!("{path}/credentials/{old}/extend");
    assert_eq!(browser.post(&extend, &[]).await.redirect(), path);
    browser.get(&path).await.has("The token holds until 21 Nov 12:34:56 UTC.");
    assert_eq!(ends().await, Some(world.now() + Duration::DAY));
    browser.post(&format!("{path}/credentials/{new}/extend"), &[]).await.redirect();
    browser.get(&path).await.has("is over, or holds longer");

    let heard = Heard {
        at: Some(world.now()),
        credentials: vec![(new, world.now() + Duration::SECOND)],
        ..Heard::default()
    };
    hear(&world, &tenant, heard).await;
    browser.get(&path).await.has("The edge has changed over.").has("in use");
    // At once: the others are revoked.
    browser.post(&rotate, &[("overlap", "0")]).await.is(201);
    let rows = credentials(&world, &tenant).await;
    assert_eq!(rows.iter().filter(|row| row.revoked_at.is_none()).count(), 1);
    browser
        .get(&format!("/orgs/{}/audit", tenant.org))
        .await
        .has("edge.credential.replace")
        .has("edge.credential.extend");
    let told = "SELECT count(*) FROM outbox WHERE message->>'topic' = 'credential_changed'";
    let told: i64 = sqlx::query_scalar(told).fetch_one(&world.admin).await.unwrap();
    assert!(told >= 3, "caches are told of each change");
}

#[tokio::test]
async fn an_edge_is_renamed_switched_off_and_deleted_once_nothing_hangs_on_it() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let sites = format!("/orgs/{}/sites", tenant.org);
    let path = format!("{sites}/edges/{}", tenant.edge);
    for (name, why) in [("", "Give it a name"), ("VPN-gateway", "Another edge has this name")] {
        let page = browser.post(&path, &[("name", name)]).await;
        page.is(422).has(why).has(&format!("value=\"{name}\""));
    }
    assert_eq!(browser.post(&path, &[("name", "radius-hq")]).await.redirect(), path);
    browser.get(&path).await.has("<h1>radius-hq ");

    used(&world, &tenant, credentials(&world, &tenant).await[0].id).await;
    browser.get(&format!("{path}/delete")).await.has("It is switched on").has("still <a");
    browser.post(&format!("{path}/delete"), &[]).await.is(409).has("cannot be deleted");
    browser.post(&format!("{path}/switch"), &[("to", "sideways")]).await.is(422);
    browser.post(&format!("{path}/switch"), &[("to", "off")]).await.redirect();
    browser.get(&path).await.has("It was switched off").has("id=\"switch-on\"");
    assert!(credentials(&world, &tenant).await.iter().all(edges::CredentialRow::is_off));
    browser.get(&format!("{path}/delete")).await.has("still <a");
    for sql in ["UPDATE session SET ended_at = started_at", "UPDATE command SET state = 'expired'"] {
        sqlx::query(sql).execute(&world.admin).await.unwrap();
    }
    browser.get(&format!("{path}/delete")).await.has("id=\"confirm\"");
    assert_eq!(browser.post(&format!("{path}/delete"), &[]).await.redirect(), sites);
    browser.get(&path).await.is(404);
    // What happened there stays.
    browser.get(&format!("/orgs/{}/events/{}", tenant.org, tenant.events[0])).await.is(200);
    browser.get(&format!("/orgs/{}/sessions/{}", tenant.org, tenant.sessions[0])).await.is(200);
    browser
        .get(&format!("/orgs/{}/audit", tenant.org))
        .await
        .has("edge.rename")
        .has("edge.disable")
        .has("edge.delete");
}

#[tokio::test]
async fn a_site_has_a_name_and_a_fallback() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/sites/{}", tenant.org, tenant.site);
    browser.get(&path).await.is(200).has("value=\"deny\" checked").has("value=\"7\"");
    let wrong = [("name", "  "), ("fallback", "vlan"), ("vlan", "4095"), ("age", "99"), ("age_unit", "days")];
    let page = browser.post(&path, &wrong).await;
    page.is(422)
        .has("id=\"name-error\"")
        .has("id=\"vlan-error\"")
        .has("id=\"age-error\"")
        .has("aria-describedby=\"vlan-error vlan-help\"")
        .has("value=\"4095\"")
        .has("value=\"vlan\" checked");
    for vlan in ["0", "", "cr\"it", "a%b", "$x"] {
        let sent =
            [("name", "HQ"), ("fallback", "vlan"), ("vlan", vlan), ("age", "1"), ("age_unit", "hours")];
        browser.post(&path, &sent).await.is(422).has("id=\"vlan-error\"");
    }
    let sent =
        [("name", "CAMPUS north"), ("fallback", "deny"), ("vlan", ""), ("age", "1"), ("age_unit", "hours")];
    browser.post(&path, &sent).await.is(422).has("Another site has this name");
    let sent =
        [("name", "HQ"), ("fallback", "vlan"), ("vlan", "critical"), ("age", "36"), ("age_unit", "hours")];
    assert_eq!(browser.post(&path, &sent).await.redirect(), path);
    browser.get(&path).await.has("<h1>HQ</h1>").has("value=\"critical\"").has("value=\"36\"");
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let settings = bundles::site_settings(&mut tx, tenant.site).await.unwrap().unwrap();
    assert_eq!(settings.fallback.vlan.as_deref(), Some("critical"));
    assert_eq!(settings.bundle_max_age_seconds, 36 * 3_600);
    drop(tx);
    // What is left in the field is not used.
    let sent =
        [("name", "HQ"), ("fallback", "deny"), ("vlan", "critical"), ("age", "36"), ("age_unit", "hours")];
    browser.post(&path, &sent).await.redirect();
    let mut tx = world.store.org(tenant.org).await.unwrap();
    assert_eq!(bundles::site_settings(&mut tx, tenant.site).await.unwrap().unwrap().fallback.vlan, None);
    browser.get(&format!("/orgs/{}/audit", tenant.org)).await.has("site.change");
}

#[tokio::test]
async fn a_site_is_deleted_once_nothing_hangs_on_it() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let sites = format!("/orgs/{}/sites", tenant.org);
    browser.get(&format!("{sites}/{}/delete", tenant.site)).await.has("Delete the edges that stand there");
    browser.post(&format!("{sites}/{}/delete", tenant.site), &[]).await.is(409).has("cannot be deleted");

    browser.post(&sites, &[("name", "Berlin")]).await.redirect();
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let berlin = edges::list_sites(&mut tx).await.unwrap();
    let berlin = berlin.into_iter().find(|site| site.name == "Berlin").unwrap().id;
    let mut doc: PolicyDoc = policies::draft(&mut tx).await.unwrap().doc;
    drop(tx);
    let untouched = doc.clone();
    doc.rules[0].not_matching = Conditions { site_ids: vec![berlin], ..Conditions::default() };
    let name = doc.rules[0].name.clone();
    let draft = |doc: &PolicyDoc| serde_json::to_value(doc).unwrap();
    let save = async |doc: &PolicyDoc| {
        let sql = "UPDATE policy_draft SET document = $1, revision = revision + 1 WHERE org_id = $2";
        sqlx::query(sql).bind(draft(doc)).bind(tenant.org.uuid()).execute(&world.admin).await.unwrap();
    };
    save(&doc).await;
    let path = format!("{sites}/{berlin}/delete");
    browser.get(&path).await.has("of the draft, and publish").has(&name);
    browser.post(&path, &[]).await.is(409);
    save(&untouched).await;
    browser.get(&path).await.has("id=\"confirm\"");
    assert_eq!(browser.post(&path, &[]).await.redirect(), sites);
    browser.get(&format!("{sites}/{berlin}")).await.is(404);
    browser.get(&format!("/orgs/{}/audit", tenant.org)).await.has("site.delete");
}

#[tokio::test]
async fn what_an_edge_is_connected_with_names_it() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/sites/edges/{}", tenant.org, tenant.edge);
    let site = format!("/orgs/{}/sites/{}", tenant.org, tenant.site);
    let sent = [("name", "HQ"), ("fallback", "vlan"), ("vlan", "crit"), ("age", "7"), ("age_unit", "days")];
    browser.post(&site, &sent).await.redirect();
    let page = browser.get(&format!("{path}/connect")).await;
    page.is(200).has("id=\"no-token\"").has("ghe_PASTE-THE-TOKEN-HERE");
    let conf = text_of(&page.body, "gatehouse-conf");
    assert!(conf.contains("\n\turl = \"http://nac.gatehouse.test:8443\"\n"), "{conf}");
    assert!(conf.contains("\n\tcritical_vlan = \"crit\"\n"), "{conf}");
    let toml = text_of(&page.body, "edge-toml");
    assert!(
        toml.contains("bundle_public_keys = [\"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"]"),
        "{toml}"
    );
    assert!(toml.contains(&format!("site = \"{}\"", tenant.site)), "{toml}");
    assert!(toml.contains("[[nas]]\nnetwork = \""), "NASes that it asked for are listed: {toml}");
    // With a token that was just made, all of it is complete.
    let page = browser.post(&format!("{path}/credentials"), &[]).await;
    let token = text_of(&page.body, "token");
    for id in ["token-file-text", "gatehouse-conf", "curl"] {
        assert!(text_of(&page.body, id).contains(&token), "{id}");
    }
    assert!(!page.body.contains("PASTE"));
    assert!(!browser.get(&format!("{path}/connect")).await.body.contains(&token));
}

/// A token that nobody was shown must not end the one that is in use.
#[tokio::test]
async fn a_page_that_fails_takes_its_new_token_back() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/sites/edges/{}/credentials", tenant.org, tenant.edge);
    let before = credentials(&world, &tenant).await;
    let rename = async |sql| sqlx::query(sql).execute(&world.admin).await.unwrap();
    rename("ALTER TABLE session RENAME COLUMN request TO away").await;
    browser.post(&format!("{path}/rotate"), &[("overlap", "0")]).await.is(500);
    browser.post(&path, &[]).await.is(500);
    let site = tenant.site.to_string();
    let edges = format!("/orgs/{}/sites/edges", tenant.org);
    browser.post(&edges, &[("name", "radius-9"), ("site", &site)]).await.is(500);
    rename("ALTER TABLE session RENAME COLUMN away TO request").await;
    assert_eq!(credentials(&world, &tenant).await, before);
    browser.post(&edges, &[("name", "radius-9"), ("site", &site)]).await.is(201).has("id=\"token\"");
    browser.post(&format!("{path}/rotate"), &[("overlap", "0")]).await.is(201).has("id=\"token\"");
}

async fn steps(browser: &Browser, path: &str) -> String {
    let page = browser.get(path).await;
    let from = page.body.find("<ol class=\"checks\">").unwrap();
    page.body[from..from + page.body[from..].find("</ol>").unwrap()].to_owned()
}

#[tokio::test]
async fn an_edge_is_tested_step_by_step() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/sites/edges/{}/test", tenant.org, tenant.edge);
    let seen = steps(&browser, &path).await;
    for text in
        ["Nobody asked for its commands yet", "It does not tell its time", "No agent told how it stands"]
    {
        assert!(seen.contains(text), "{text} is not in {seen}");
    }
    assert_eq!(browser.post(&path, &[]).await.redirect(), path);
    let page = browser.get(&path).await;
    page.has("The command waits for the edge to fetch it").has("http-equiv=\"refresh\"");

    // The edge listens, fetches the probe and answers it.
    let id = credentials(&world, &tenant).await[0].id;
    hear(
        &world,
        &tenant,
        Heard {
            at: Some(world.now()),
            credentials: vec![(id, world.now())],
            skew: Some((-200, world.now())),
            streamed_at: Some(world.now()),
            report: Some((report(&world), world.now())),
            ..Heard::default()
        },
    )
    .await;
    let request = browser.request("GET", &format!("{path}/live")).body(Body::empty()).unwrap();
    let response = browser.router.clone().oneshot(request).await.unwrap();
    let mut stream = response.into_body().into_data_stream();
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let probe = edge_status::take_probe(&mut tx, tenant.edge, world.now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    assert!(steps(&browser, &path).await.contains("its answer is awaited"));
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let at = world.now() + Duration::milliseconds(430);
    let said = "gatehouse-edge 0.1.0";
    assert!(edge_status::answer_probe(&mut tx, tenant.edge, probe, at, said).await.unwrap());
    tx.commit().await.unwrap();
    let mut text = String::new();
    let arrived = tokio::time::timeout(Wait::from_secs(20), async {
        while let Some(Ok(bytes)) = stream.next().await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
            if text.contains("A command and its answer took 0.4 s by a stream") {
                return true;
            }
        }
        false
    });
    assert!(arrived.await.unwrap_or(false), "{text}");
    let seen = steps(&browser, &path).await;
    for text in ["was used", "right to the second", "It holds bundle 77", "4 messages wait", said] {
        assert!(seen.contains(text), "{text} is not in {seen}");
    }
    assert_eq!(seen.matches("<li class=\"good\">").count(), 5, "{seen}");
    browser.get(&format!("/orgs/{}/audit", tenant.org)).await.has("edge.test");
}

#[tokio::test]
async fn a_client_is_decided_on_dryly_as_it_would_be_at_the_edge() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 30, 30).await;
    let path = format!("/orgs/{}/sites/edges/{}/test", tenant.org, tenant.edge);
    let events = "SELECT count(*) FROM event";
    let before: i64 = sqlx::query_scalar(events).fetch_one(&world.admin).await.unwrap();
    // A client that it asked for is the sample.
    browser.get(&path).await.has("A client that this edge asked for lately").has("id=\"reason\"");
    let page =
        browser.get(&format!("{path}?mac=d4%3A6e%3A0e%3A00%3A00%3A01&auth_type=eap-tls&vendor=aruba")).await;
    page.is(200).has("id=\"packet\"").has("value=\"aruba\"");
    let wrong = "mac=nonsense&auth_type=telepathy&vendor=a%00b&ssid=%00";
    let page = browser.get(&format!("{path}?{wrong}")).await;
    page.is(422).has("Nothing was tried: 4 fields need");
    for field in ["mac", "auth_type", "vendor", "ssid"] {
        page.has(&format!("aria-describedby=\"{field}-error\"")).has(&format!("id=\"{field}-error\""));
    }
    browser.get(&format!("{path}?auth_type=mab")).await.is(422).has("Give the client&#39;s MAC address");
    let after: i64 = sqlx::query_scalar(events).fetch_one(&world.admin).await.unwrap();
    assert_eq!(after, before, "nothing is recorded");
}
