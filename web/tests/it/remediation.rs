//! A client's remediation page: what it says to whom, and what “Check again” does.

use axum::http::header;
use domain::policy::edit::Edit;
use domain::policy::{Label, LabelKind};
use domain::{LabelId, Mac, OrgId, SessionId};
use sealing::{PageKeys, PageToken};
use store::audit::Actor;
use time::Duration;
use uuid::Uuid;

use crate::world::{Browser, PAGE_KEY, Page, Tenant, World};

/// Numbers of decisions, and what their clients are: see the fleet of `tenant.rs`, of 20 devices.
const COMPLIANT: usize = 0;
const NON_COMPLIANT: usize = 3;
const GUEST: usize = 8;
const MAB: usize = 9;

fn keys() -> PageKeys {
    PageKeys::parse(&PAGE_KEY.into()).unwrap()
}

fn path(world: &World, org: OrgId, session: SessionId, mac: Option<Mac>) -> String {
    let token = PageToken { org, session, mac, expires_at: world.now() + Duration::days(7) };
    format!("/r/{}", keys().write(&token).unwrap())
}

fn of(world: &World, tenant: &Tenant, n: usize) -> String {
    // Every eleventh client has no address; these tests stay below.
    path(world, tenant.org, tenant.sessions[n], Some(tenant.macs[n]))
}

/// A tenant whose policy leads to the page whom it does not let in, published.
async fn tenant(world: &World, name: &str, spice: &str) -> (Tenant, Browser) {
    let (tenant, browser) = world.tenant(name, spice, 20, 11).await;
    let policies = policy::Policies::new(world.store.clone(), world.clock.clone(), world.ids.clone());
    let actor = Actor { account: None, name: "Test".into() };
    let draft = policies.overview(tenant.org).await.unwrap().draft;
    let mut doc = draft.doc;
    let page = LabelId(Uuid::from_u128(0x9a9e));
    doc.labels.push(Label {
        id: page,
        name: "Page".into(),
        kind: LabelKind::RedirectUrl { redirect_url: "gatehouse".into() },
    });
    for rule in doc.rules.iter_mut().filter(|rule| rule.apply.contains(&tenant.labels[7])) {
        rule.enabled = true;
        rule.apply.push(page);
    }
    let revision = policies.edit(tenant.org, &actor, draft.revision, Edit::Replace(doc)).await.unwrap();
    policies.publish(tenant.org, &actor, revision).await.unwrap();
    (tenant, browser)
}

/// As a small browser of a phone asks: no cookie, no header that says where a form comes from.
async fn press(stranger: &Browser, path: &str) -> Page {
    stranger.submit(stranger.request("POST", path), &[]).await
}

async fn speaking(stranger: &Browser, path: &str, language: &str) -> Page {
    let request = stranger.request("GET", path).header(header::ACCEPT_LANGUAGE, language);
    stranger.send(request.body(axum::body::Body::empty()).unwrap()).await
}

async fn wishes(world: &World) -> Vec<(String, String)> {
    sqlx::query_as("SELECT key, reason FROM look_wish ORDER BY key").fetch_all(&world.admin).await.unwrap()
}

#[tokio::test]
async fn it_says_why_and_what_to_do_in_the_visitors_language() {
    let world = World::new().await;
    let (tenant, _) = tenant(&world, "Contoso", "").await;
    let stranger = world.stranger();
    let path = of(&world, &tenant, NON_COMPLIANT);
    let page = stranger.get(&path).await;
    page.is(200)
        .has("<html lang=\"en\"")
        .has("It does not meet your organization’s security requirements")
        .has("Check again")
        .has("href=\"https://portal.manage.microsoft.com\"")
        .has("CONTOSO-LT-0001")
        .has("d4:6e:0e:00:00:01")
        .has("Last contact with Microsoft Intune")
        .has("17 minutes ago")
        .has("15 minutes ago");
    // What the person at the device need not know, and whoever copied an address must not.
    for secret in
        ["user1@contoso.example", "5CG0000001", "Quarantine", "10.20.", "CONTOSO-LT-0002", "Corp", "ap-floor"]
    {
        assert!(!page.body.contains(secret), "{secret} is shown");
    }
    let header = |name: &str| page.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-robots-tag"), "noindex, nofollow");
    assert_eq!(header("content-language"), "en");
    assert!(header("content-security-policy").starts_with("default-src 'none'; style-src 'self'"));
    assert!(!page.headers.contains_key(header::SET_COOKIE));
    assert!(!page.body.contains("<script") && !page.body.contains("style="));

    speaking(&stranger, &path, "de-AT,de;q=0.9,en;q=0.5").await.has("<html lang=\"de\"").has("Erneut prüfen");
    speaking(&stranger, &path, "xx").await.has("Check again");
    // What is chosen counts more than what the browser says, also among what a controller adds to the address.
    let chosen = format!("{path}?switch_url=https://1.1.1.1&lang=fr&redirect=x&redirect=y&asked=%FF");
    speaking(&stranger, &chosen, "de")
        .await
        .is(200)
        .has("Vérifier à nouveau")
        .has("aria-current=\"true\">Français");
    for (language, word) in
        [("es", "Comprobar de nuevo"), ("nl", "Opnieuw controleren"), ("ja", "もう一度確認する")]
    {
        stranger.get(&format!("{path}?lang={language}")).await.is(200).has(word);
    }
}

#[tokio::test]
async fn each_client_is_told_its_own_reason() {
    let world = World::new().await;
    let (tenant, _) = tenant(&world, "Contoso", "").await;
    let stranger = world.stranger();
    stranger.get(&of(&world, &tenant, COMPLIANT)).await.is(200).has("This device is not held back");
    let guest = stranger.get(&of(&world, &tenant, GUEST)).await;
    guest.is(200).has("It hides its network address").has("Private Wi-Fi address");
    // A MAC address can be copied: whoever has it is not told which device bears it.
    let by_mac = stranger.get(&of(&world, &tenant, MAB)).await;
    by_mac.is(200).has("It does not meet your organization’s security requirements");
    assert!(!by_mac.body.contains("CONTOSO-LT"), "a device's name is told to a MAC address");
}

#[tokio::test]
async fn whoever_tries_addresses_learns_nothing() {
    let world = World::new().await;
    let (tenant, _) = tenant(&world, "Contoso", "").await;
    let (other, _) = world.fresh("Fabrikam").await;
    let stranger = world.stranger();
    let good = of(&world, &tenant, NON_COMPLIANT);
    let (session, mac) = (tenant.sessions[NON_COMPLIANT], Some(tenant.macs[NON_COMPLIANT]));
    let token = |expires_at| PageToken { org: tenant.org, session, mac, expires_at };
    let foreign = PageKeys::parse(&PageKeys::generate().unwrap()).unwrap();
    let swapped: String = {
        let last = if good.ends_with('A') { 'B' } else { 'A' };
        format!("{}{last}", &good[..good.len() - 1])
    };
    let bad = [
        "/r/x".to_owned(),
        format!("/r/{}", "A".repeat(78)),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        swapped,
        format!("/r/{}", keys().write(&token(world.now())).unwrap()),
        format!("/r/{}", foreign.write(&token(world.now() + Duration::days(1))).unwrap()),
        // Good, but of a session that is not there, or another client's by now, or another organization's.
        path(&world, tenant.org, SessionId(Uuid::nil()), mac),
        path(&world, tenant.org, session, Some(tenant.macs[COMPLIANT])),
        path(&world, tenant.org, session, None),
        path(&world, other, session, mac),
        path(&world, OrgId(Uuid::nil()), session, mac),
        "/r/%FF%00".to_owned(),
    ];
    let first = stranger.get(&bad[0]).await;
    first.is(404).has("This address is not good any more").has("Install the Company Portal app");
    for path in &bad {
        let page = stranger.get(path).await;
        assert_eq!(page.body, first.body, "{path}");
        let pressed = press(&stranger, path).await;
        assert_eq!(pressed.body, first.body, "{path}");
        assert_eq!((page.status.as_u16(), pressed.status.as_u16()), (404, 404), "{path}");
    }
    speaking(&stranger, &bad[1], "nl").await.is(404).has("Dit adres is niet meer geldig");
    assert_eq!(wishes(&world).await, []);
    stranger.get(&good).await.is(200);
}

#[tokio::test]
async fn a_check_wishes_for_a_look_and_tells_how_it_went() {
    let world = World::new().await;
    let (tenant, admin) = tenant(&world, "Contoso", "").await;
    let stranger = world.stranger();
    let path = of(&world, &tenant, NON_COMPLIANT);
    let to = press(&stranger, &format!("{path}?lang=de")).await.redirect();
    assert!(to.starts_with(&format!("{path}?lang=de&asked=")), "{to}");
    let device = tenant.devices[1];
    assert_eq!(wishes(&world).await, [(format!("intune:{device}"), "client".to_owned())]);
    // Who administers the network sees that it was asked.
    let (base, mac) = (format!("/orgs/{}", tenant.org), tenant.macs[NON_COMPLIANT]);
    for page in [
        format!("clients/{mac}"),
        format!("clients/{mac}?show=compliance"),
        format!("events?mac={mac}&type=NAC_CLIENT_CHECK_AGAIN"),
    ] {
        let page = admin.get(&format!("{base}/{page}")).await;
        page.is(200).has("The person at the device asked to check it again");
    }
    let page = stranger.get(&to).await;
    page.is(200)
        .has("http-equiv=\"refresh\" content=\"3\"")
        .has("Wir fragen bei Microsoft nach")
        .has("disabled");

    // The look was done, and the device is as it was.
    sqlx::query("DELETE FROM look_wish").execute(&world.admin).await.unwrap();
    let fetched =
        sqlx::query("UPDATE device SET fetched_at = $1 WHERE id = $2").bind(world.now()).bind(device.uuid());
    fetched.execute(&world.admin).await.unwrap();
    let page = stranger.get(&to).await;
    page.is(200).has("Gerade geprüft: Es hat sich noch nichts geändert.");
    assert!(!page.body.contains("http-equiv=\"refresh\"") && !page.body.contains("disabled"));

    // It was mended: the network moves the client, and then has moved it.
    let mended = sqlx::query("UPDATE device SET compliance = 'compliant' WHERE id = $1").bind(device.uuid());
    mended.execute(&world.admin).await.unwrap();
    stranger.get(&to).await.is(200).has("Geschafft").has("http-equiv=\"refresh\" content=\"5\"");
    let given: serde_json::Value = sqlx::query_scalar("SELECT outcome FROM session WHERE id = $1")
        .bind(tenant.sessions[COMPLIANT].uuid())
        .fetch_one(&world.admin)
        .await
        .unwrap();
    let moved = sqlx::query("UPDATE session SET outcome = $1 WHERE id = $2");
    let session = tenant.sessions[NON_COMPLIANT].uuid();
    moved.bind(given).bind(session).execute(&world.admin).await.unwrap();
    let page = stranger.get(&to).await;
    page.is(200).has("Dieses Gerät ist nicht eingeschränkt");
    assert!(!page.body.contains("http-equiv=\"refresh\""));
}

#[tokio::test]
async fn a_client_without_a_device_is_looked_for_by_what_it_showed() {
    let world = World::new().await;
    let (tenant, _) = tenant(&world, "Contoso", "").await;
    let stranger = world.stranger();
    let device = tenant.devices[1];
    sqlx::query("DELETE FROM device WHERE id = $1").bind(device.uuid()).execute(&world.admin).await.unwrap();
    let path = of(&world, &tenant, NON_COMPLIANT);
    stranger.get(&path).await.is(200).has("It is not registered with your organization");
    press(&stranger, &path).await.redirect();
    let wished = wishes(&world).await;
    assert!(wished.contains(&(format!("intune:{device}"), "client".to_owned())), "{wished:?}");
    assert!(wished.iter().all(|(key, reason)| !key.starts_with("mac:") && reason == "client"), "{wished:?}");
    assert!(wished.len() <= 8);
    // Nothing but an address: Microsoft cannot be asked for it, and the wish is for what changed lately.
    let to = press(&stranger, &of(&world, &tenant, GUEST)).await.redirect();
    assert_eq!(wishes(&world).await, wished);
    stranger.get(&to).await.is(200).has("Checking with Microsoft");
}

#[tokio::test]
async fn asking_again_and_again_is_answered_with_when_to_ask() {
    let world = World::new().await;
    let (tenant, _) = tenant(&world, "Contoso", "").await;
    let stranger = world.stranger();
    let path = of(&world, &tenant, NON_COMPLIANT);
    for _ in 0..2 {
        press(&stranger, &path).await.redirect();
    }
    let refused = press(&stranger, &format!("{path}?lang=fr")).await;
    refused.is(429).has("Vous venez de le demander").has("Il ne respecte pas les exigences");
    let wait: u64 = refused.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=63).contains(&wait), "{wait}");
    refused.has(&format!("dans {wait} s."));
    // Another client is not kept waiting.
    press(&stranger, &of(&world, &tenant, MAB)).await.redirect();
    // Looking has a limit of its own, which a page that renews itself does not reach.
    let mut seen = 0;
    loop {
        let page = stranger.get(&path).await;
        if page.status == 429 {
            assert!(page.headers.contains_key(header::RETRY_AFTER));
            break;
        }
        page.is(200);
        seen += 1;
        assert!(seen <= 60, "there is no limit");
    }
    assert!(seen >= 40, "{seen}");
}

#[tokio::test]
async fn what_comes_from_outside_is_text() {
    let world = World::new().await;
    let spice = "<script>alert(1)</script>";
    let (tenant, _) = tenant(&world, "Contoso <b>", spice).await;
    let help = sqlx::query("UPDATE org SET help_text = $1").bind("Room 101\n<script>alert(2)</script>");
    help.execute(&world.admin).await.unwrap();
    let stranger = world.stranger();
    for n in [COMPLIANT, NON_COMPLIANT, GUEST, MAB] {
        let page = stranger.get(&of(&world, &tenant, n)).await;
        page.is(200).has("Contoso &#60;b&#62;").has("Room 101\n&#60;script&#62;alert(2)");
        assert!(!page.body.contains("<script"), "{}", page.body);
    }
    let path = of(&world, &tenant, NON_COMPLIANT);
    let page = stranger.get(&format!("{path}?lang=%22%3E%3Cscript%3E&asked=%22%3E%3Cscript%3E")).await;
    page.is(200);
    assert!(!page.body.contains("<script"));
}
