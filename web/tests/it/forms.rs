//! Every form, from its page to what it changes, and back with what was typed where it was not accepted.

use domain::policy::{Action, LabelKind, PolicyDoc};
use sqlx::AssertSqlSafe;

use crate::world::{Browser, World};

async fn draft(world: &World, org: domain::OrgId) -> (i64, PolicyDoc) {
    let mut tx = world.store.org(org).await.unwrap();
    let row = store::policies::draft(&mut tx).await.unwrap();
    (row.revision, row.doc)
}

async fn count(world: &World, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&world.admin).await.unwrap()
}

async fn revision(browser: &Browser, path: &str) -> String {
    browser.get(path).await.hidden("revision")
}

#[tokio::test]
async fn the_guides_policy_is_made_by_hand() {
    let world = World::new().await;
    let (org, browser) = world.fresh("Fabrikam").await;
    let at = |rest: &str| format!("/orgs/{org}/{rest}");

    type Fields = &'static [(&'static str, &'static str)];
    let labels: &[(&str, &str, Fields)] = &[
        ("mdm_status", "Compliant", &[("values", "compliant")]),
        (
            "mdm_status",
            "The rest",
            &[("sense", "none"), ("values", "compliant"), ("values", "in-grace-period")],
        ),
        ("vlan", "Corp VLAN", &[("vlan", "10")]),
        ("vlan", "Quarantine VLAN", &[("vlan", "99")]),
        ("ssid", "Corp SSID", &[("text", "Corp*\r\n\r\n  *-Lab \r\n")]),
        ("session_timeout", "Working day", &[("session_timeout", "28800")]),
    ];
    for (kind, name, fields) in labels {
        let form = at(&format!("labels/new?kind={kind}"));
        let revision = revision(&browser, &form).await;
        let mut sent = vec![("revision", revision.as_str()), ("kind", *kind), ("name", *name)];
        sent.extend_from_slice(fields);
        assert_eq!(browser.post(&at("labels"), &sent).await.redirect(), at("labels"));
        browser.get(&at("labels")).await.has(&format!("Label “{name}” is saved in the draft")).has(name);
    }
    let (_, doc) = draft(&world, org).await;
    let kind = |name: &str| doc.labels.iter().find(|label| label.name == name).unwrap().kind.clone();
    let LabelKind::Match { values, match_all, .. } = kind("The rest") else { panic!() };
    assert_eq!((values, match_all), (vec!["!compliant".to_owned(), "!in-grace-period".to_owned()], true));
    let LabelKind::Match { values, .. } = kind("Corp SSID") else { panic!() };
    assert_eq!(values, ["Corp*", "*-Lab"]);
    let id = |name: &str| doc.labels.iter().find(|label| label.name == name).unwrap().id.to_string();

    // The form of a label shows what it is.
    let page = browser.get(&at(&format!("labels/{}", id("The rest")))).await;
    page.has(r#"name="sense" value="none" checked"#)
        .has(r#"value="in-grace-period" id="value-in-grace-period" checked"#);

    let (compliant, rest, corp, quarantine) =
        (id("Compliant"), id("The rest"), id("Corp VLAN"), id("Quarantine VLAN"));
    for (name, label, vlan) in [("Rest", &rest, &quarantine), ("Compliant devices", &compliant, &corp)] {
        let revision = revision(&browser, &at("auth-policies/rules/new")).await;
        let sent = [
            ("revision", revision.as_str()),
            ("name", name),
            ("action", "allow"),
            ("enabled", "on"),
            ("m_label", label.as_str()),
            ("m_auth", "cert"),
            ("m_port", "wireless"),
            ("m_vendor", "Juniper, aruba"),
            ("apply_vlan", vlan.as_str()),
            ("apply_radius_group", ""),
        ];
        let to = browser.post(&at("auth-policies/rules"), &sent).await.redirect();
        assert!(to.starts_with(&at("auth-policies#rule-")), "{to}");
    }
    // The second one belongs on top.
    let (now, doc) = draft(&world, org).await;
    let act = at(&format!("auth-policies/rules/{}/act", doc.rules[1].id));
    browser.post(&act, &[("revision", &now.to_string()), ("to", "1")]).await.redirect();
    let (_, doc) = draft(&world, org).await;
    assert_eq!(doc.rules.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["Compliant devices", "Rest"]);
    assert_eq!(doc.rules[0].matching.vendors, ["Juniper", "aruba"]);
    browser.get(&at("auth-policies")).await.has("Implicit deny").has("Nothing is published yet");

    let page = browser.get(&at("auth-policies/publish")).await;
    page.has("Publish the draft?").has("No session is active").has("is new, at place 1");
    let sent = [("revision", page.hidden("revision"))];
    let sent: Vec<_> = sent.iter().map(|(n, v)| (*n, v.as_str())).collect();
    assert_eq!(browser.post(&at("auth-policies/publish"), &sent).await.redirect(), at("auth-policies"));
    browser.get(&at("auth-policies")).await.has("Version 1 is live.").has("Version 1</a> is live");
    browser.get(&at("auth-policies/publish")).await.has("Nothing to publish");
    // Once more is no harm.
    assert_eq!(browser.post(&at("auth-policies/publish"), &sent).await.redirect(), at("auth-policies"));
    browser.get(&at("auth-policies")).await.has("nothing was published");
    assert_eq!(count(&world, "SELECT count(*) FROM audit WHERE action = 'policy.publish'").await, 1);
    assert_eq!(
        count(&world, "SELECT count(*) FROM outbox WHERE message->>'topic' = 'snapshot_changed'").await,
        1
    );
}

#[tokio::test]
async fn what_was_typed_is_kept_and_errors_stand_beside_their_fields() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let revision = revision(&browser, &at("labels/new?kind=ssid")).await;
    let r = revision.as_str();

    let sent = [
        ("revision", r),
        ("kind", "ssid"),
        ("name", "compliant"),
        ("text", "a*b\nfine"),
        ("match_all", "on"),
    ];
    let page = browser.post(&at("labels"), &sent).await;
    page.is(422)
        .has("a*b\nfine</textarea>")
        .has("name=\"match_all\" checked")
        .has("id=\"values-error\"")
        .has("id=\"name-error\"");
    page.has("aria-invalid=\"true\" aria-describedby=\"name-error\"").has("2 things need");
    let page = browser
        .post(&at("labels"), &[("revision", r), ("kind", "vlan"), ("name", "V"), ("vlan", "5000")])
        .await;
    page.is(422).has("id=\"vlan-error\"").has("value=\"5000\"");
    let page = browser.post(&at("labels"), &[("revision", r), ("kind", "mdm_status"), ("name", "")]).await;
    page.is(422).has("Give at least one value").has("Give the label a name");
    let page = browser
        .post(
            &at("labels"),
            &[("revision", r), ("kind", "session_timeout"), ("name", "T"), ("session_timeout", "ten")],
        )
        .await;
    page.is(422).has("value=\"ten\"").has("id=\"session_timeout-error\"");
    let page = browser
        .post(
            &at("labels"),
            &[("revision", r), ("kind", "mdm_status"), ("name", "M"), ("values", "Complaint")],
        )
        .await;
    page.is(422).has("Complaint");
    browser.post(&at("labels"), &[("revision", r), ("kind", "nonsense"), ("name", "x")]).await.is(400);

    let vlan = tenant.labels[6].to_string();
    let sent = [
        ("revision", r),
        ("name", ""),
        ("action", "perhaps"),
        ("m_label", vlan.as_str()),
        ("n_vendor", "cisco-ios"),
    ];
    let page = browser.post(&at("auth-policies/rules"), &sent).await;
    page.is(422).has("id=\"action-error\"").has("value=\"cisco-ios\"");
    let sent =
        [("revision", r), ("name", ""), ("action", "block"), ("m_label", vlan.as_str()), ("n_port", "vpn")];
    let page = browser.post(&at("auth-policies/rules"), &sent).await;
    page.is(422)
        .has("Give the rule a name")
        .has("put it under Apply")
        .has(r#"name="n_port" value="vpn" checked"#);
    page.has(r#"value="block" id="action-block" checked"#);

    let page = browser
        .post(
            &at("settings"),
            &[("name", " "), ("stale_after", "1"), ("stale_unit", "minutes"), ("coa", "none")],
        )
        .await;
    page.is(422)
        .has("id=\"name-error\"")
        .has("id=\"stale_after-error\"")
        .has("id=\"coa-error\"")
        .has("value=\"1\"");
    let page = browser.post(&at("sites"), &[("name", "main SITE")]).await;
    page.is(422).has("Another site has this name").has("value=\"main SITE\"");
    let site = tenant.site.to_string();
    let page = browser.post(&at("sites/edges"), &[("name", "RADIUS-1"), ("site", &site)]).await;
    page.is(422).has("Another edge has this name").has("value=\"RADIUS-1\"");
    let page = browser.post(&at("sites/edges"), &[("name", ""), ("site", "nowhere")]).await;
    page.is(422).has("Give it a name").has("Choose a site");
}

#[tokio::test]
async fn two_admins_at_once_lose_nothing() {
    let world = World::new().await;
    let (tenant, ada) = world.tenant("Contoso", "", 5, 5).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let (bob_account, bob) = world.person(tenant.tid, "Bob", "bob@contoso.example").await;
    let mut tx = world.store.org(tenant.org).await.unwrap();
    store::accounts::add_admin(&mut tx, bob_account, world.now()).await.unwrap();
    tx.commit().await.unwrap();

    let path = at(&format!("auth-policies/rules/{}", tenant.rules[0]));
    let (adas, bobs) = (revision(&ada, &path).await, revision(&bob, &path).await);
    let form = |revision: &str, name: &str| {
        vec![
            ("revision".to_owned(), revision.to_owned()),
            ("name".into(), name.into()),
            ("action".into(), "allow".into()),
        ]
    };
    let post = async |browser: &Browser, path: &str, form: &[(String, String)]| {
        let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        browser.post(path, &form).await
    };
    post(&bob, &path, &form(&bobs, "Bob's name")).await.redirect();
    let page = post(&ada, &path, &form(&adas, "Ada's name")).await;
    page.is(409).has("Bob changed the draft while you were typing").has("value=\"Ada&#39;s name\"");
    let (_, doc) = draft(&world, tenant.org).await;
    assert_eq!(doc.rule(tenant.rules[0]).unwrap().name, "Bob's name");
    // Saving again is Ada's decision, and works.
    post(&ada, &path, &form(&page.hidden("revision"), "Ada's name")).await.redirect();
    let (_, doc) = draft(&world, tenant.org).await;
    assert_eq!(doc.rule(tenant.rules[0]).unwrap().name, "Ada's name");

    // The buttons of a row, labels, deletions and publishing say so as well.
    let stale = adas.as_str();
    let act = at(&format!("auth-policies/rules/{}/act", tenant.rules[1]));
    let page = bob.post(&act, &[("revision", stale), ("act", "disable")]).await;
    page.is(409).has("changed the draft meanwhile").has("Do it all the same").has("disable the rule");
    page.has("changed the rule “Ada&#39;s name”");
    bob.post(&act, &[("revision", &page.hidden("revision")), ("act", "disable")]).await.redirect();
    let label = [("revision", stale), ("kind", "vlan"), ("name", "New"), ("vlan", "7")];
    ada.post(&at("labels"), &label).await.is(409).has("value=\"7\"");
    ada.post(&at(&format!("auth-policies/rules/{}/delete", tenant.rules[2])), &[("revision", stale)])
        .await
        .is(409);
    ada.post(&at("auth-policies/publish"), &[("revision", stale)])
        .await
        .is(409)
        .has("Nothing is published yet");
    ada.post(&at("auth-policies/discard"), &[("revision", stale)]).await.is(409);
    // A rule that the other one deleted is made anew, not lost.
    let page = ada.get(&path).await;
    let (now, _) = draft(&world, tenant.org).await;
    bob.post(&format!("{path}/delete"), &[("revision", &now.to_string())]).await.redirect();
    let page = post(&ada, &path, &form(&page.hidden("revision"), "Still wanted")).await;
    page.is(409).has(&format!("action=\"{}\"", at("auth-policies/rules")));
}

#[tokio::test]
async fn rules_are_switched_copied_deleted_and_rolled_back() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let act = async |rule: domain::RuleId, name: &str, value: &str| {
        let (now, _) = draft(&world, tenant.org).await;
        let path = at(&format!("auth-policies/rules/{rule}/act"));
        browser.post(&path, &[("revision", &now.to_string()), (name, value)]).await.redirect();
    };
    act(tenant.rules[0], "act", "disable").await;
    act(tenant.rules[3], "act", "enable").await;
    act(tenant.rules[1], "act", "duplicate").await;
    act(tenant.rules[3], "to", "99").await;
    let (now, doc) = draft(&world, tenant.org).await;
    assert!(!doc.rule(tenant.rules[0]).unwrap().enabled && doc.rule(tenant.rules[3]).unwrap().enabled);
    assert_eq!(doc.rules.len(), 5);
    assert_eq!(doc.rules.last().unwrap().id, tenant.rules[3]);
    assert!(doc.rules.iter().any(|rule| rule.name == "Quarantine the rest of corp (copy)" && !rule.enabled));
    browser.get(&at("auth-policies")).await.has("Discard");
    let delete = at(&format!("auth-policies/rules/{}/delete", tenant.rules[2]));
    browser.get(&delete).await.has("Delete “No printers on VPN”?");
    browser.post(&delete, &[("revision", &now.to_string())]).await.redirect();
    browser.get(&at(&format!("auth-policies/rules/{}", tenant.rules[2]))).await.is(404);

    // A block rule keeps no results.
    let (now, doc) = draft(&world, tenant.org).await;
    let vlan = tenant.labels[6].to_string();
    let path = at(&format!("auth-policies/rules/{}", tenant.rules[1]));
    let sent = [
        ("revision", now.to_string()),
        ("name", "Blocked".into()),
        ("action", "block".into()),
        ("apply_vlan", vlan),
    ];
    let sent: Vec<_> = sent.iter().map(|(n, v)| (*n, v.as_str())).collect();
    browser.post(&path, &sent).await.redirect();
    assert_eq!(doc.rule(tenant.rules[1]).unwrap().action, Action::Allow);
    let (_, doc) = draft(&world, tenant.org).await;
    let rule = doc.rule(tenant.rules[1]).unwrap();
    assert!(rule.action == Action::Block && rule.apply.is_empty() && !rule.enabled);

    // Discarding brings back what is live; rolling back makes an old version live.
    let (now, _) = draft(&world, tenant.org).await;
    browser.post(&at("auth-policies/discard"), &[("revision", &now.to_string())]).await.redirect();
    browser.get(&at("auth-policies/publish")).await.has("Nothing to publish");
    browser.get(&at("auth-policies/versions/1")).await.has("Roll back to version 1").has("is changed");
    let back = at("auth-policies/versions/1/roll-back");
    let page = browser.get(&back).await;
    let (live, now) = (page.hidden("live"), page.hidden("revision"));
    let stale = [("live", "1"), ("revision", now.as_str())];
    browser.post(&back, &stale).await.is(409).has("Nothing is rolled back yet");
    browser.post(&back, &[("live", &live), ("revision", &now)]).await.redirect();
    browser.get(&at("auth-policies")).await.has("What version 1 said is live again, as version 3");
    browser.get(&at("auth-policies/versions")).await.has("Version 3").has("live");
    let gone = at("auth-policies/versions/77/roll-back");
    browser.get(&gone).await.is(404);
    let page = browser.get(&back).await;
    let sent = [("live", page.hidden("live")), ("revision", page.hidden("revision"))];
    let sent: Vec<_> = sent.iter().map(|(n, v)| (*n, v.as_str())).collect();
    browser.post(&gone, &sent).await.is(404);
}

#[tokio::test]
async fn a_label_in_use_cannot_be_deleted() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let used = at(&format!("labels/{}/delete", tenant.labels[6]));
    let page = browser.get(&used).await;
    page.has("so it cannot be deleted").has("Compliant laptops");
    assert!(!page.body.contains("id=\"confirm\""));
    let (now, _) = draft(&world, tenant.org).await;
    let page = browser.post(&used, &[("revision", &now.to_string())]).await;
    page.is(409).has("Compliant laptops");
    // Rules let go of it, then it goes.
    for rule in [tenant.rules[0], tenant.rules[1], tenant.rules[2], tenant.rules[3]] {
        let (now, _) = draft(&world, tenant.org).await;
        let path = at(&format!("auth-policies/rules/{rule}/delete"));
        browser.post(&path, &[("revision", &now.to_string())]).await.redirect();
    }
    let page = browser.get(&used).await;
    browser.post(&used, &[("revision", &page.hidden("revision"))]).await.redirect();
    browser.get(&used).await.is(404);
}

#[tokio::test]
async fn settings_are_saved_with_their_consequences() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let path = format!("/orgs/{}/settings", tenant.org);
    browser.get(&path).await.has("value=\"24\"").has("name=\"grace_is_compliant\" checked");
    let sent = [
        ("name", "Contoso AG"),
        ("stale_after", "90"),
        ("stale_unit", "minutes"),
        ("coa", "disconnect"),
        ("mass_change_percent", "20"),
        ("mass_change_min", "50"),
    ];
    assert_eq!(browser.post(&path, &sent).await.redirect(), path);
    browser
        .get(&path)
        .await
        .has("value=\"90\"")
        .has("value=\"disconnect\" checked")
        .has("The settings are saved");
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let org = store::orgs::get(&mut tx).await.unwrap().unwrap();
    assert_eq!((org.name.as_str(), org.settings.stale_after_seconds), ("Contoso AG", 5_400));
    assert!(!org.settings.grace_is_compliant);
    let redecide = "SELECT count(*) FROM outbox WHERE message @> '{\"topic\": \"snapshot_changed\", \"redecide\": true}'";
    let before = count(&world, redecide).await;
    // A new name alone moves nobody.
    let sent = [
        ("name", "Contoso"),
        ("stale_after", "90"),
        ("stale_unit", "minutes"),
        ("coa", "disconnect"),
        ("mass_change_percent", "20"),
        ("mass_change_min", "50"),
        ("help_text", "IT desk: room 101\r\nPhone 4711 <b>\r\n"),
    ];
    browser.post(&path, &sent).await.redirect();
    assert_eq!(count(&world, redecide).await, before);
    browser.get(&path).await.has("IT desk: room 101\nPhone 4711 &#60;b&#62;</textarea>");
    let long = "x".repeat(601);
    let page = browser.post(&path, &[&sent[..6], &[("help_text", long.as_str())]].concat()).await;
    page.is(422).has("id=\"help_text-error\"").has("Use 600 characters at most").has(&long);
    browser.get(&format!("/orgs/{}/audit", tenant.org)).await.has("org.update").has("Ada Lovelace");
}

#[tokio::test]
async fn an_edge_gets_a_token_that_is_shown_once() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    browser.post(&at("sites"), &[("name", "Berlin")]).await.redirect();
    let site = tenant.site.to_string();
    let page = browser.post(&at("sites/edges"), &[("name", "radius-2"), ("site", &site)]).await;
    page.is(201).has("shown once").has("/v1/nac/authorize").has("http://nac.gatehouse.test:8443");
    let token = page.body.split("id=\"token\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let parsed = store::edges::EdgeToken::parse(&token).expect("a token");
    assert_eq!(parsed.org, tenant.org);
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let row = store::edges::credential(&mut tx, parsed.credential).await.unwrap().unwrap();
    assert_eq!(row.token_hash, parsed.hash());
    drop(tx);
    let edge = at(&format!("sites/edges/{}", row.edge));
    let again = browser.get(&edge).await;
    again.is(200).has(&row.prefix);
    assert!(!again.body.contains(&token));
    // One more, and the first is revoked.
    browser.post(&format!("{edge}/credentials"), &[]).await.is(201).has("id=\"token\"");
    let revoke = format!("{edge}/credentials/{}/revoke", row.id);
    browser.post(&revoke, &[]).await.redirect();
    browser.get(&edge).await.has("revoked");
    browser.post(&revoke, &[]).await.redirect();
    browser.get(&edge).await.has("was revoked already");
    // A credential of another edge cannot be reached through this one.
    let other = at(&format!("sites/edges/{}/credentials/{}/revoke", tenant.edge, row.id));
    browser.post(&other, &[]).await.is(404);
}

#[tokio::test]
async fn a_sync_is_asked_for_and_an_account_unlinked() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let link = format!("/orgs/{}/identity-providers/{}", tenant.org, tenant.link);
    assert_eq!(browser.post(&format!("{link}/sync"), &[]).await.redirect(), link);
    let page = browser.get(&link).await;
    page.has("A sync was asked for and begins in a moment").has("http-equiv=\"refresh\"");
    browser.get(&format!("{link}/unlink")).await.has("5 device records are forgotten");
    browser.post(&format!("{link}/unlink"), &[]).await.redirect();
    browser.get(&link).await.is(404);
    browser
        .get(&format!("/orgs/{}/identity-providers", tenant.org))
        .await
        .has("is unlinked")
        .has("No account is linked");
}

#[tokio::test]
async fn a_client_is_asked_to_authenticate_again() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 20, 30).await;
    let active: uuid::Uuid = sqlx::query_scalar(
        "SELECT id FROM session s WHERE ended_at IS NULL AND mac IS NOT NULL
         AND NOT EXISTS (SELECT FROM command c WHERE c.session_id = s.id) ORDER BY started_at DESC LIMIT 1",
    )
    .fetch_one(&world.admin)
    .await
    .unwrap();
    let ask = format!("/orgs/{}/sessions/{active}/reauthenticate", tenant.org);
    let client = browser.post(&ask, &[]).await.redirect();
    browser
        .get(&client)
        .await
        .has("is asked to have the client authenticate again")
        .has("admin asked")
        .has("pending");
    // Asking again supersedes: one command is open.
    browser.post(&ask, &[]).await.redirect();
    let open = format!("SELECT count(*) FROM command WHERE session_id = '{active}' AND state = 'pending'");
    assert_eq!(count(&world, &open).await, 1);
    sqlx::query("UPDATE session SET ended_at = started_at WHERE id = $1")
        .bind(active)
        .execute(&world.admin)
        .await
        .unwrap();
    browser.post(&ask, &[]).await.is(409).has("The session has ended meanwhile");
}

#[tokio::test]
async fn a_company_has_one_organization() {
    let world = World::new().await;
    let tid = uuid::Uuid::from_u128(77);
    let (_, ada) = world.person(tid, "Ada", "ada@new.example").await;
    assert_eq!(ada.get("/").await.redirect(), "/organizations");
    ada.get("/organizations").await.is(200).has("Create your organization");
    ada.post("/organizations", &[("name", "  ")]).await.is(422).has("id=\"name-error\"");
    let home = ada.post("/organizations", &[("name", "New Ltd")]).await.redirect();
    ada.get(&home).await.is(200).has("Your organization is ready").has("What to do next");
    assert_eq!(ada.get("/").await.redirect(), home);
    ada.post("/organizations", &[("name", "Second")]).await.is(409).has("has an organization already");
    // A colleague who administers the tenant joins; it is no stranger's business.
    let (_, bob) = world.person(tid, "Bob", "bob@new.example").await;
    bob.get(&home).await.is(404);
    bob.get("/organizations")
        .await
        .has("Your company already has an organization: New Ltd")
        .has("id=\"join\"");
    assert_eq!(bob.post("/organizations/join", &[]).await.redirect(), home);
    bob.get(&home).await.is(200);
    let (_, eve) = world.person(uuid::Uuid::from_u128(78), "Eve", "eve@other.example").await;
    let page = eve.get("/organizations").await;
    assert!(!page.body.contains("New Ltd"));
    eve.post("/organizations/join", &[]).await.is(403);
}
