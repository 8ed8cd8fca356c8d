//! App registrations that an organization brings, from the form to the sync, against the simulator.

use std::sync::Arc;
use std::time::Duration;

use apps::{Apps, AppsDeps};
use domain::OrgId;
use domain::time::{Clock as _, Ids, ManualClock, SystemClock};
use gatehouse_tests::app::MASTER_KEY;
use gatehouse_tests::browser::Browser;
use gatehouse_tests::journey;
use gatehouse_tests::visitor::{Answer, Visitor};
use gatehouse_tests::{TestApp, eventually};
use microsoft::{AppRegistration, Cloud, Credential, HttpLimits, Microsoft};
use reqwest::StatusCode;
use sealing::MasterKeys;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use store::{audit, links};
use url::Url;
use uuid::Uuid;

const SECRET: &str = "s3cr3t~of.an-own_app-0123456789";

/// Contoso's organization, with its administrator signed in and nothing linked.
struct Scene {
    app: TestApp,
    ada: Visitor,
    path: String,
    org: OrgId,
}

impl Scene {
    async fn set() -> Self {
        let app = TestApp::start().await;
        let (ada, path, org) = journey::organization(&(&app).into(), "contoso.example").await;
        Self { app, ada, path, org }
    }

    fn client_id() -> String {
        Ids::system().uuid(SystemClock.now()).to_string()
    }

    async fn sim(&self, path: &[&str], body: Value) -> Value {
        self.app.simulator.post(path, &body).await.unwrap()
    }

    /// The app in Entra ID.
    async fn in_entra(&self, client_id: &str, credentials: Value) {
        let mut app = json!({ "clientId": client_id, "name": "Own", "multiTenant": true });
        for (name, value) in credentials.as_object().unwrap() {
            app[name] = value.clone();
        }
        self.sim(&["apps"], app).await;
        self.sim(&["tenants", "contoso.example", "consent"], json!({ "clientId": client_id })).await;
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.ada.post(&format!("{}/identity-providers/apps{path}", self.path), form).await
    }

    /// Registers an app; returns its id.
    async fn register(&self, form: &[(&str, &str)]) -> Uuid {
        let to = self.post("", form).await.redirect();
        to.path().rsplit('/').next().unwrap().parse().unwrap()
    }

    async fn with_secret(&self, client_id: &str, secret: &str) -> Uuid {
        self.register(&[("client_id", client_id), ("credential", "secret"), ("secret", secret)]).await
    }

    async fn page(&self, app: Uuid) -> String {
        self.ada.get(&format!("{}/identity-providers/apps/{app}", self.path)).await.page()
    }

    async fn link(&self, app: Uuid) -> Answer {
        self.post(&format!("/{app}/link"), &[]).await
    }

    /// Posts again while Microsoft's last refusal of the credential is still fresh: it is left in peace for seconds.
    async fn post_patiently(&self, path: &str) -> Answer {
        eventually("Microsoft is asked again", || async {
            let answer = self.post(path, &[]).await;
            (!answer.body.contains("Microsoft does not take the credential")).then_some(answer)
        })
        .await
    }

    async fn credentials(&self, app: Uuid) -> Vec<store::apps::CredentialRow> {
        let mut tx = self.app.store.org(self.org).await.unwrap();
        let all = store::apps::credentials(&mut tx).await.unwrap();
        all.into_iter().filter(|one| one.app == app).collect()
    }

    async fn links(&self) -> Vec<links::LinkRow> {
        links::list(&mut self.app.store.org(self.org).await.unwrap()).await.unwrap()
    }

    async fn audit(&self) -> Vec<String> {
        let mut tx = self.app.store.org(self.org).await.unwrap();
        let lines = audit::page(&mut tx, None, 100).await.unwrap();
        lines.into_iter().rev().map(|line| line.action).collect()
    }

    async fn pem(&self, app: Uuid, credential: Uuid) -> String {
        let path =
            format!("{}/identity-providers/apps/{app}/credentials/{credential}/certificate.pem", self.path);
        self.ada.get(&path).await.page()
    }

    /// The same stores, at another time and with other master keys.
    fn apps(&self, clock: Arc<ManualClock>, keys: &str) -> Apps {
        let base = self.app.simulator_url.clone();
        let registration = AppRegistration::new(Uuid::from_u128(1), Credential::Secret("x".into()));
        let cloud = Cloud::custom(base.clone(), base);
        let microsoft =
            Microsoft::new(cloud, registration, clock.clone(), Ids::system(), HttpLimits::default()).unwrap();
        Apps::new(AppsDeps {
            store: self.app.store.clone(),
            clouds: microsoft.into(),
            master_keys: Some(MasterKeys::parse(&keys.into()).unwrap()),
            clock,
            ids: Ids::system(),
        })
    }
}

#[track_caller]
fn refused(answer: Answer, status: StatusCode, said: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert!(answer.body.contains(said), "{said}:\n{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_made_here_links_and_syncs_and_is_changed_over() {
    let scene = Scene::set().await;
    let client_id = Scene::client_id();
    let id = scene.register(&[("client_id", &client_id), ("credential", "certificate")]).await;
    let [first] = scene.credentials(id).await.try_into().unwrap();
    let page = scene.page(id).await;
    assert!(page.contains("AsymmetricX509Cert") && page.contains("not proven yet"), "{page}");
    assert!(!page.contains("PRIVATE KEY"));

    refused(scene.link(id).await, StatusCode::BAD_GATEWAY, "The tenant does not know the app");
    let pem = scene.pem(id, first.id).await;
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----") && !pem.contains("PRIVATE"));
    scene.in_entra(&client_id, json!({ "certificates": [pem] })).await;
    let to = scene.link(id).await.redirect();
    let [link] = scene.links().await.try_into().unwrap();
    assert!(to.path().ends_with(&link.id.to_string()));
    assert_eq!((link.app, link.cloud.as_str()), (Some(id), "custom"));
    eventually("the fleet is read with the own app", || async {
        scene.links().await[0].confirmed_at.map(drop)
    })
    .await;
    assert!(scene.credentials(id).await[0].proven_at.is_some());

    // A second one beside the first; the last that Microsoft takes cannot go.
    refused(
        scene.post(&format!("/{id}/credentials/{}/retire", first.id), &[]).await,
        StatusCode::CONFLICT,
        "A link depends on it",
    );
    let _ = scene.post(&format!("/{id}/certificates"), &[]).await.redirect();
    let second = scene.credentials(id).await[0].clone();
    assert_ne!(second.id, first.id);
    refused(
        scene.post(&format!("/{id}/credentials/{}/retire", first.id), &[]).await,
        StatusCode::CONFLICT,
        "A link depends on it",
    );
    let check = format!("/{id}/credentials/{}/check", second.id);
    refused(scene.post(&check, &[]).await, StatusCode::BAD_GATEWAY, "Microsoft does not take the credential");
    // Until Entra ID knows the new one, the old one goes on serving.
    let _ = scene.link(id).await.redirect();
    let both = json!({ "certificates": [pem, scene.pem(id, second.id).await] });
    scene.app.simulator.patch(&["apps", &client_id], &both).await.unwrap();
    let _ = scene.post_patiently(&check).await.redirect();
    let _ = scene.post(&format!("/{id}/credentials/{}/retire", first.id), &[]).await.redirect();
    let alone = json!({ "certificates": [scene.pem(id, second.id).await] });
    scene.app.simulator.patch(&["apps", &client_id], &alone).await.unwrap();
    let _ = scene.post_patiently(&format!("/{id}/link")).await.redirect();
    let all = scene.credentials(id).await;
    assert!(all[0].proven_at.is_some() && all[1].retired_at.is_some());
    let sealed: Option<Vec<u8>> = sqlx::query_scalar("SELECT sealed FROM app_credential WHERE id = $1")
        .bind(first.id)
        .fetch_one(&mut scene.app.database.superuser().await)
        .await
        .unwrap();
    assert_eq!(sealed, None, "what is retired keeps no secret");

    // Back to Gatehouse's own app, and the own one can go.
    refused(scene.post(&format!("/{id}/remove"), &[]).await, StatusCode::CONFLICT, "Linked accounts use it");
    let _ = scene.ada.link(&scene.app.simulator, &scene.path).await.redirect();
    assert_eq!(scene.links().await[0].app, None);
    let _ = scene.post(&format!("/{id}/remove"), &[]).await.redirect();
    let gone = scene.ada.get(&format!("{}/identity-providers/apps/{id}", scene.path)).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    let lines = scene.audit().await;
    for action in [
        "app.create",
        "app.credential.create",
        "link.create",
        "app.credential.proven",
        "app.credential.retire",
        "link.renew",
        "app.delete",
    ] {
        assert!(lines.iter().any(|line| line == action), "{action}: {lines:?}");
    }
    scene.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sealed_and_what_is_wrong_with_it_is_said() {
    let scene = Scene::set().await;
    let client_id = Scene::client_id();
    for (form, said) in [
        (vec![("client_id", "x"), ("credential", "secret"), ("secret", SECRET)], "client_id-error"),
        (vec![("client_id", client_id.as_str()), ("credential", "secret")], "secret-error"),
        (
            vec![("client_id", client_id.as_str()), ("credential", "secret"), ("secret", client_id.as_str())],
            "Secret ID",
        ),
        (vec![("client_id", client_id.as_str()), ("credential", "?")], "credential-error"),
        (
            vec![
                ("client_id", client_id.as_str()),
                ("credential", "secret"),
                ("secret", SECRET),
                ("secret_ends", "2001-01-01"),
            ],
            "secret_ends-error",
        ),
        (
            vec![("client_id", client_id.as_str()), ("credential", "certificate"), ("cloud", "dod")],
            "cloud-error",
        ),
    ] {
        let answer = scene.post("", &form).await;
        assert!(!answer.body.contains(SECRET), "it is not sent back");
        refused(answer, StatusCode::UNPROCESSABLE_ENTITY, said);
    }
    let id = scene.with_secret(&client_id, SECRET).await;
    let twice = scene.post("", &[("client_id", client_id.as_str()), ("credential", "certificate")]).await;
    refused(twice, StatusCode::UNPROCESSABLE_ENTITY, "client_id-error");

    // Entra ID has another secret, then this one without the permission, then all of it.
    scene.in_entra(&client_id, json!({ "secrets": [{ "value": "another" }], "requiredRoles": [] })).await;
    refused(scene.link(id).await, StatusCode::BAD_GATEWAY, "Microsoft does not take the credential");
    let right = json!({ "secrets": [{ "value": SECRET }] });
    scene.app.simulator.patch(&["apps", &client_id], &right).await.unwrap();
    let answer = scene.post_patiently(&format!("/{id}/link")).await;
    refused(answer, StatusCode::BAD_GATEWAY, "The app may not read managed devices");
    assert!(scene.links().await.is_empty());
    let all = json!({ "clientId": client_id, "roles": ["DeviceManagementManagedDevices.Read.All"] });
    scene.sim(&["tenants", "contoso.example", "consent"], all).await;
    let _ = scene.link(id).await.redirect();
    assert!(scene.credentials(id).await[0].proven_at.is_some());

    // Nothing of it is anywhere: not in the rows, not on the page, not in the audit log.
    let mut superuser = scene.app.database.superuser().await;
    let dump: Vec<String> = sqlx::query_scalar(
        "SELECT to_jsonb(t)::text FROM app_credential t UNION ALL SELECT to_jsonb(t)::text FROM org_key t
         UNION ALL SELECT to_jsonb(t)::text FROM audit t UNION ALL SELECT to_jsonb(t)::text FROM outbox t",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    let sealed: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT sealed FROM app_credential").fetch_all(&mut superuser).await.unwrap();
    let hex = hex_of(SECRET.as_bytes());
    assert!(!dump.is_empty() && dump.iter().all(|row| !row.contains(SECRET) && !row.contains(&hex)));
    assert!(
        sealed
            .iter()
            .all(|bytes| !bytes.windows(8).any(|window| SECRET.as_bytes().windows(8).any(|s| s == window)))
    );
    assert!(!scene.page(id).await.contains(SECRET));

    // A sealed text of another row does not open.
    let other = scene.with_secret(&Scene::client_id(), "another-secret-value").await;
    sqlx::query(
        "UPDATE app_credential SET sealed = (SELECT sealed FROM app_credential WHERE app_id = $1) WHERE app_id = $2",
    )
    .bind(id)
    .bind(other)
    .execute(&mut superuser)
    .await
    .unwrap();
    refused(scene.link(other).await, StatusCode::CONFLICT, "credentials cannot be used");
    scene.app.stop().await;
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_administer_the_tenant_links_nothing_whatever_they_hold() {
    let scene = Scene::set().await;
    let client_id = Scene::client_id();
    let id = scene.with_secret(&client_id, SECRET).await;
    scene.in_entra(&client_id, json!({ "secrets": [{ "value": SECRET }] })).await;

    // Fabrikam's administrator holds the app of Contoso, with its secret: their own tenant does not know it, and
    // nothing that they write names another tenant.
    let (mallory, theirs, _) = journey::organization(&(&scene.app).into(), "fabrikam.example").await;
    let form = [("client_id", client_id.as_str()), ("credential", "secret"), ("secret", SECRET)];
    let to = mallory.post(&format!("{theirs}/identity-providers/apps"), &form).await.redirect();
    let held = to.path().rsplit('/').next().unwrap().to_owned();
    let tid = "b05aafed-15fd-5db6-8981-4fa0293ccc6a";
    let answer = mallory
        .post(&format!("{theirs}/identity-providers/apps/{held}/link"), &[("tid", tid), ("tenant", tid)])
        .await;
    refused(answer, StatusCode::BAD_GATEWAY, "The tenant does not know the app");
    // Our app does not exist for them, by whatever path.
    for path in ["link", "certificates", "remove", "link/other"] {
        let answer = mallory.post(&format!("{theirs}/identity-providers/apps/{id}/{path}"), &[]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }

    // An employee of Contoso without a role, made a member.
    let umar = Visitor::new(scene.app.url.clone());
    umar.sign_in(&scene.app.simulator, "umar@contoso.example").await;
    sqlx::query(
        "INSERT INTO member (org_id, account_id, role, created_at)
         SELECT $1, id, 'admin', now() FROM account WHERE user_name = 'umar@contoso.example'",
    )
    .bind(scene.org.uuid())
    .execute(&mut scene.app.database.superuser().await)
    .await
    .unwrap();
    let answer = umar.post(&format!("{}/identity-providers/apps/{id}/link", scene.path), &[]).await;
    refused(answer, StatusCode::FORBIDDEN, "An administrator must link the tenant");
    assert!(scene.links().await.is_empty());
    scene.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_certificate_is_told_in_time_and_retires_it() {
    let scene = Scene::set().await;
    let client_id = Scene::client_id();
    let id = scene.register(&[("client_id", &client_id), ("credential", "certificate")]).await;
    let first = scene.credentials(id).await[0].clone();
    scene.in_entra(&client_id, json!({ "certificates": [scene.pem(id, first.id).await] })).await;
    let _ = scene.link(id).await.redirect();

    let end = first.not_after.unwrap();
    let clock = Arc::new(ManualClock::new(end - Duration::from_secs(40 * 86_400)));
    let apps = scene.apps(clock.clone(), MASTER_KEY);
    let mut told = Vec::new();
    while clock.now() < end + Duration::from_secs(86_400) {
        store::events::ensure_partitions(&scene.app.store, clock.now()).await.unwrap();
        if apps.tell_expiry().await.unwrap() > 0 {
            told.push((end - clock.now()).whole_days());
        }
        clock.advance(time::Duration::hours(6));
    }
    assert_eq!(told, [30, 7, 1, 0]);
    assert!(scene.credentials(id).await[0].retired_at.is_some());
    let lines = scene.audit().await;
    assert_eq!(lines.iter().filter(|line| *line == "app.credential.expiring").count(), 3);
    assert_eq!(lines.iter().filter(|line| *line == "app.credential.expired").count(), 1);
    let events: Vec<(String, i32)> = sqlx::query_as(
        "SELECT summary, (detail->>'days_left')::int FROM event
         WHERE org_id = $1 AND kind = 'NAC_MDM_CREDENTIAL_EXPIRING' ORDER BY at",
    )
    .bind(scene.org.uuid())
    .fetch_all(&mut scene.app.database.superuser().await)
    .await
    .unwrap();
    assert_eq!(events.iter().map(|(_, days)| *days).collect::<Vec<_>>(), [30, 7, 1, 0]);
    assert!(events[0].0.contains(&client_id) && events[0].0.ends_with("ends in 30 days."), "{}", events[0].0);
    assert!(events[3].0.contains("has ended"), "{}", events[3].0);

    // Nothing is left to link with, and the page says so.
    refused(scene.link(id).await, StatusCode::CONFLICT, "No credential is valid");
    let row = scene.links().await[0].clone();
    let error = apps.for_link(scene.org, &row).await.unwrap_err();
    assert!(error.to_string().contains(&client_id), "{error}");
    scene.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_is_changed_without_sealing_anything_again() {
    let scene = Scene::set().await;
    let client_id = Scene::client_id();
    let id = scene.with_secret(&client_id, SECRET).await;
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let new = MasterKeys::generate().unwrap();
    let new = new.expose_secret();

    let error = scene.apps(clock.clone(), new).for_app(scene.org, id).await.unwrap_err();
    assert!(error.to_string().contains("no master key here has the id"), "{error}");
    let list = MasterKeys::parse(&format!("{new},{MASTER_KEY}").into()).unwrap();
    assert_eq!(gatehouse::master_key::rewrap(&scene.app.store, &list).await.unwrap(), (1, 1));
    assert_eq!(gatehouse::master_key::rewrap(&scene.app.store, &list).await.unwrap(), (0, 0));
    scene.apps(clock.clone(), new).for_app(scene.org, id).await.unwrap();
    assert!(scene.apps(clock, MASTER_KEY).for_app(scene.org, id).await.is_err());
    scene.app.stop().await;
}

/// An admin's way through every page, looked at light and dark (`target/screenshots/`).
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_brings_an_app_in_a_browser() {
    let app = TestApp::start().await;
    let browser = Browser::start().await;
    browser.go(&app.url).await;
    browser.click("#sign-in").await;
    browser.click("[data-user='ada@contoso.example']").await;
    browser.fill("#name", "Contoso").await;
    browser.click("#create").await;
    browser.find("#next-steps").await;
    let mut org = browser.url().await;
    org.set_query(None);
    let page = |path: &str| -> Url { format!("{org}/identity-providers{path}").parse().unwrap() };

    browser.go(&page("/link")).await;
    browser.find("#own-apps").await;
    browser.screenshots("link-with").await;
    browser.click("#own-apps").await;
    browser.find("#new-app").await;
    browser.screenshots("own-apps-none").await;
    browser.click("#new-app").await;
    browser.fill("#client_id", "not a GUID").await;
    browser.click("#register-app").await;
    browser.find("#client_id-error").await;
    browser.screenshots("own-app-wrong").await;
    let client_id = Scene::client_id();
    browser.fill("#client_id", &client_id).await;
    browser.click("#register-app").await;
    browser.find("#verify-link").await;
    browser.screenshots("own-app-new").await;
    browser.click("#verify-link").await;
    browser.find("#app-error").await;
    browser.screenshots("own-app-refused").await;

    let (id, pem): (Uuid, Vec<u8>) = sqlx::query_as("SELECT app_id, certificate FROM app_credential")
        .fetch_one(&mut app.database.superuser().await)
        .await
        .unwrap();
    let in_entra = json!({ "clientId": client_id, "certificates": [linking::pem(&pem)] });
    app.simulator.post(&["apps"], &in_entra).await.unwrap();
    let consent = json!({ "clientId": client_id });
    app.simulator.post(&["tenants", "contoso.example", "consent"], &consent).await.unwrap();
    browser.go(&page(&format!("/apps/{id}"))).await;
    browser.click("#verify-link").await;
    browser.find("#own-app").await;
    browser.screenshots("own-app-linked").await;
    browser.go(&page(&format!("/apps/{id}"))).await;
    browser.click("#new-certificate").await;
    browser.see("not proven yet").await;
    sqlx::query(
        "UPDATE app_credential SET not_after = now() + interval '6 days' WHERE proven_at IS NOT NULL",
    )
    .execute(&mut app.database.superuser().await)
    .await
    .unwrap();
    browser.go(&page(&format!("/apps/{id}"))).await;
    browser.find("#ends-soon").await;
    browser.screenshots("own-app-ends-soon").await;
    browser.click_text("Retire…").await;
    browser.find("#confirm").await;
    browser.screenshots("own-app-retire").await;
    browser.go(&page(&format!("/apps/{id}/remove"))).await;
    browser.see("It speaks for").await;
    browser.screenshots("own-app-remove").await;
    browser.go(&page("/apps")).await;
    browser.screenshots("own-apps").await;
    browser.close().await;
    app.stop().await;
}
