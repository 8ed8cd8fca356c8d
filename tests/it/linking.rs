//! Sign-in, organizations and the link journey, against the simulator over HTTP and a real PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use apps::{Apps, AppsDeps};
use domain::device::{ComplianceState, DeviceFacts};
use domain::link::LinkState;
use domain::time::{Clock, Ids, SystemClock};
use domain::{LinkId, OrgId};
use gatehouse_tests::Database;
use linking::{
    ConsentCallback, CreateOrgError, HomeOrg, JoinError, LinkError, Linking, LinkingConfig, LinkingDeps,
    PendingLink, SignInCallback, SignInError, SignedIn, VerifiedIdentity,
};
use microsoft::{
    AppRegistration, Certificate, Cloud, ConsentRefusalKind, Credential, GraphError, HttpLimits, Microsoft,
    MicrosoftClouds, TokenErrorKind,
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use store::{Store, accounts, audit, links, orgs, policies};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

const SIGN_IN: &str = "http://localhost:1/signin/callback";
const CONSENT: &str = "http://localhost:1/link/callback";

/// Microsoft, an empty database, and linking between them.
struct Scene {
    base: Url,
    http: reqwest::Client,
    database: Database,
    store: Store,
    microsoft: Microsoft,
    linking: Linking,
}

impl Scene {
    async fn set() -> Self {
        Self::set_with(
            Credential::Secret(simulator::config::DEFAULT_CLIENT_SECRET.into()),
            Duration::from_secs(20),
        )
        .await
    }

    async fn set_with(credential: Credential, probe_for: Duration) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let config = simulator::Config {
            redirect_uris: vec![SIGN_IN.to_owned(), CONSENT.to_owned()],
            ..simulator::Config::default()
        };
        tokio::spawn(simulator::serve(listener, config));
        let cloud = Cloud::custom(base.clone(), base.clone());
        let app = AppRegistration::new(simulator::config::DEFAULT_CLIENT_ID.parse().unwrap(), credential);
        let clock = Arc::new(SystemClock);
        let microsoft =
            Microsoft::new(cloud, app.clone(), clock.clone(), Ids::system(), HttpLimits::default()).unwrap();
        let database = Database::fresh().await;
        let store = database.store();
        // The same directory as another cloud: nothing but the name says whose word it is.
        let second = microsoft.with_cloud(Cloud::gcc_high().reached_at(base.clone(), base.clone()), app);
        let apps = Apps::new(AppsDeps {
            store: store.clone(),
            clouds: MicrosoftClouds::new(microsoft.clone(), [second]),
            master_keys: None,
            clock: clock.clone(),
            ids: Ids::system(),
        });
        let deps = LinkingDeps { store: store.clone(), apps, clock, ids: Ids::system() };
        let config = LinkingConfig {
            probe_for,
            ..LinkingConfig::new(SIGN_IN.parse().unwrap(), CONSENT.parse().unwrap())
        };
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, http, database, store, microsoft, linking: Linking::new(deps, config) }
    }

    /// A browser of somebody's own.
    fn browser(&self) -> Browser {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .cookie_store(true)
            .build()
            .unwrap();
        Browser { http }
    }

    /// The simulator's control API.
    async fn sim(&self, method: &str, path: &str, body: Value) -> Value {
        let url = self.base.join(&format!("/_sim/api/{path}")).unwrap();
        let response = self.http.request(method.parse().unwrap(), url).json(&body).send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
        let text = response.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn sign_in(&self, user: &str) -> SignedIn {
        self.try_sign_in(user).await.unwrap()
    }

    async fn try_sign_in(&self, user: &str) -> Result<SignedIn, SignInError> {
        let (url, pending) = self.linking.begin_sign_in(linking::Cloud::Custom).await?;
        let callback = self.browser().sign_in(&url, user).await;
        self.linking.complete_sign_in(&callback, &pending).await
    }

    /// Somebody with an organization of their tenant.
    async fn admin(&self, user: &str) -> (SignedIn, OrgId) {
        let who = self.sign_in(user).await;
        let org = self.linking.create_org(&who, "Contoso").await.unwrap();
        (who, org)
    }

    /// Consents, and returns what comes back.
    async fn consent(&self, url: &Url, user: &str, decision: &str) -> ConsentCallback {
        let browser = self.browser();
        // The consent page wants a signed-in browser, as Microsoft's does.
        let (sign_in, _) = self.linking.begin_sign_in(linking::Cloud::Custom).await.unwrap();
        browser.sign_in(&sign_in, user).await;
        ConsentCallback::parse(browser.post(url, &[("decision", decision)]).await.query().unwrap())
    }

    async fn link(&self, org: OrgId, who: &SignedIn, user: &str) -> linking::Linked {
        let (url, mut pending) = self.linking.begin_link(org, who, &who.identity).await.unwrap();
        let callback = self.consent(&url, user, "approve").await;
        self.linking.complete_link(who, &mut pending, &callback).await.unwrap()
    }

    async fn links(&self, org: OrgId) -> Vec<links::LinkRow> {
        links::list(&mut self.store.org(org).await.unwrap()).await.unwrap()
    }

    /// The audit lines' actions, oldest first.
    async fn audit(&self, org: OrgId) -> Vec<String> {
        let mut tx = self.store.org(org).await.unwrap();
        let lines = audit::page(&mut tx, None, 100).await.unwrap();
        lines.into_iter().rev().map(|line| line.action).collect()
    }

    async fn superuser(&self) -> PgConnection {
        self.database.superuser().await
    }
}

struct Browser {
    http: reqwest::Client,
}

impl Browser {
    /// Posts a form and returns where the answer leads.
    async fn post(&self, url: &Url, form: &[(&str, &str)]) -> Url {
        let response = self.http.post(url.clone()).form(form).send().await.unwrap();
        let status = response.status();
        let location = response.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        match location {
            Some(location) => url.join(&location).unwrap(),
            None => panic!("{status}: {}", response.text().await.unwrap()),
        }
    }

    async fn sign_in(&self, url: &Url, user: &str) -> SignInCallback {
        let back = self.post(url, &[("user", user)]).await;
        assert_eq!(back.path(), "/signin/callback");
        let field =
            |name: &str| back.query_pairs().find(|(known, _)| known == name).map(|(_, v)| v.into_owned());
        SignInCallback {
            state: field("state"),
            code: field("code"),
            error: field("error"),
            error_description: field("error_description"),
        }
    }
}

fn query(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned()
}

/// What a forger would write by hand.
fn forged(consent_url: &Url, tenant: Uuid) -> ConsentCallback {
    let state = query(consent_url, "state");
    ConsentCallback::parse(&format!("admin_consent=True&tenant={tenant}&scope=x&state={state}"))
}

/// As the session store has it.
fn stored(pending: &PendingLink) -> PendingLink {
    serde_json::from_value(serde_json::to_value(pending).unwrap()).unwrap()
}

#[tokio::test]
async fn the_first_of_a_tenant_creates_its_organization_and_others_are_told_whom_to_ask() {
    let scene = Scene::set().await;
    let ada = scene.sign_in("ada@contoso.example").await;
    assert!(ada.identity.is_privileged() && !ada.identity.guest);
    assert_eq!(scene.linking.home_org(&ada).await.unwrap(), HomeOrg::Absent { may_create: true });
    for name in ["", "  ", &"x".repeat(65), "a\u{0}b"] {
        assert!(matches!(scene.linking.create_org(&ada, name).await, Err(CreateOrgError::Name)), "{name:?}");
    }
    let org = scene.linking.create_org(&ada, " Contoso ").await.unwrap();
    assert_eq!(scene.audit(org).await, ["org.create"]);
    let mut tx = scene.store.org(org).await.unwrap();
    assert_eq!(orgs::get(&mut tx).await.unwrap().unwrap().name, "Contoso");
    assert_eq!(policies::draft(&mut tx).await.unwrap().revision, 1);
    assert!(accounts::is_member(&mut tx, ada.account).await.unwrap());
    drop(tx);
    let site: String =
        sqlx::query_scalar("SELECT name FROM site").fetch_one(&mut scene.superuser().await).await.unwrap();
    assert_eq!(site, accounts::FIRST_SITE);

    // The same person again is the same account, with the names of today.
    assert_eq!(scene.sign_in("ada@contoso.example").await.account, ada.account);
    let mut tx = scene.store.system().await.unwrap();
    let memberships = accounts::memberships(&mut tx, ada.account).await.unwrap();
    assert_eq!(
        memberships.iter().map(|m| (m.org, m.org_name.as_str())).collect::<Vec<_>>(),
        [(org, "Contoso")]
    );
    drop(tx);

    let umar = scene.sign_in("umar@contoso.example").await;
    let Err(CreateOrgError::Exists { admins }) = scene.linking.create_org(&umar, "Mine").await else {
        panic!()
    };
    assert_eq!(admins, ["Ada Lindqvist (ada@contoso.example)"]);
    let refused = scene.linking.join_home_org(&umar).await.unwrap_err();
    assert!(matches!(refused, JoinError::NotPrivileged { .. }));
    assert!(refused.words().remedy.contains("Ada Lindqvist"));

    let gus = scene.sign_in("gus_partner.example#EXT#@contoso.example").await;
    assert!(gus.identity.guest);
    let HomeOrg::Present { admins, may_join, .. } = scene.linking.home_org(&gus).await.unwrap() else {
        panic!()
    };
    assert!(admins.is_empty() && !may_join, "a guest need not know");
    let stranger = scene.sign_in("gus_partner.example#EXT#@fabrikam.example").await;
    assert!(matches!(scene.linking.create_org(&stranger, "Mine").await, Err(CreateOrgError::Guest)));

    let priya = scene.sign_in("priya@contoso.example").await;
    assert_eq!(scene.linking.join_home_org(&priya).await.unwrap(), org);
    assert_eq!(scene.linking.join_home_org(&priya).await.unwrap(), org, "twice is once");
    assert_eq!(scene.audit(org).await, ["org.create", "member.join"]);
}

#[tokio::test]
async fn two_first_sign_ins_at_once_make_one_organization() {
    let scene = Scene::set().await;
    let (ada, umar) =
        (scene.sign_in("ada@contoso.example").await, scene.sign_in("umar@contoso.example").await);
    let (a, b) = tokio::join!(scene.linking.create_org(&ada, "A"), scene.linking.create_org(&umar, "B"));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
    let refused = a.err().or(b.err()).unwrap();
    assert!(matches!(refused, CreateOrgError::Exists { ref admins } if admins.len() == 1), "{refused:?}");
}

#[tokio::test]
async fn a_spent_code_signs_nobody_in_and_new_keys_are_fetched() {
    let scene = Scene::set().await;
    let (url, pending) = scene.linking.begin_sign_in(linking::Cloud::Custom).await.unwrap();
    let callback = scene.browser().sign_in(&url, "ada@contoso.example").await;
    scene.linking.complete_sign_in(&callback, &pending).await.unwrap();
    let error = scene.linking.complete_sign_in(&callback, &pending).await.unwrap_err();
    let SignInError::Microsoft(microsoft::SignInError::Refused(refusal)) = &error else { panic!("{error}") };
    assert_eq!(refusal.kind, TokenErrorKind::CodeRefused, "{error}");
    assert_eq!(error.words().title, "The sign-in took too long");

    scene.sim("POST", "keys/rotate", json!({"keepOld": false})).await;
    scene.sign_in("ada@contoso.example").await;

    scene.sim("POST", "faults", json!({"endpoint": "token", "times": 1, "effect": {"kind": "status", "status": 503, "aadsts": 90033}})).await;
    let error = scene.try_sign_in("ada@contoso.example").await.unwrap_err();
    assert_eq!(error.words().title, "Microsoft does not answer");
    scene.sign_in("ada@contoso.example").await;
}

#[tokio::test]
async fn the_link_journey() {
    let scene = Scene::set().await;
    let (ada, org) = scene.admin("ada@contoso.example").await;
    let linked = scene.link(org, &ada, "ada@contoso.example").await;
    assert_eq!((linked.tenant_name.as_str(), linked.renewed), ("Contoso", false));
    let rows = scene.links(org).await;
    let row = &rows[0];
    assert_eq!(
        (rows.len(), row.id, row.tid, row.state),
        (1, linked.link, ada.identity.tid, LinkState::Connected)
    );
    assert_eq!((row.linked_by, row.linked_by_name.as_str()), (ada.account, "Ada Lindqvist"));
    assert_eq!((row.confirmed_at, &row.state_detail), (None, &None));
    assert_eq!(scene.audit(org).await, ["org.create", "link.create"]);

    let mut db = scene.superuser().await;
    let (due, epoch): (time::OffsetDateTime, i64) =
        sqlx::query_as("SELECT next_due_at, lease_epoch FROM sync_job").fetch_one(&mut db).await.unwrap();
    assert!(due <= SystemClock.now() && epoch == 0, "due at once");
    let topics: Vec<String> =
        sqlx::query_scalar("SELECT message->>'topic' FROM outbox").fetch_all(&mut db).await.unwrap();
    assert_eq!(topics, ["snapshot_changed", "snapshot_changed"], "the organization, and its link");

    // Linking again renews it: one row, one job.
    let mut tx = scene.store.org(org).await.unwrap();
    links::set_state(
        &mut tx,
        linked.link,
        LinkState::ConsentRevoked,
        Some("AADSTS7000229"),
        SystemClock.now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let again = scene.link(org, &ada, "ada@contoso.example").await;
    assert_eq!((again.link, again.renewed), (linked.link, true));
    let rows = scene.links(org).await;
    assert_eq!((rows.len(), rows[0].state, &rows[0].state_detail), (1, LinkState::Connected, &None));
    assert_eq!(scene.audit(org).await, ["org.create", "link.create", "link.renew"]);
}

#[tokio::test]
async fn a_certificate_links_as_well() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let pem = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap().self_signed(&key).unwrap().pem();
    let certificate = Certificate::from_pem(&pem, &key.serialize_pem().into()).unwrap();
    let scene = Scene::set_with(Credential::Certificate(Box::new(certificate)), Duration::from_secs(5)).await;
    let error = scene.try_sign_in("ada@contoso.example").await.unwrap_err();
    let SignInError::Microsoft(microsoft::SignInError::Refused(refusal)) = &error else { panic!("{error}") };
    assert_eq!(refusal.kind, TokenErrorKind::CredentialFailing, "the certificate is not uploaded: {error}");
    let app = format!("apps/{}", simulator::config::DEFAULT_CLIENT_ID);
    scene.sim("PATCH", &app, json!({"certificates": [pem]})).await;
    // A credential that was refused is left in peace for some seconds.
    gatehouse_tests::eventually("Microsoft is asked again", || async {
        scene.try_sign_in("ada@contoso.example").await.ok()
    })
    .await;
    let (ada, org) = scene.admin("ada@contoso.example").await;
    scene.link(org, &ada, "ada@contoso.example").await;
}

#[tokio::test]
async fn a_forged_callback_links_nothing() {
    let scene = Scene::set().await;
    scene.sim("POST", "tenants/fabrikam.example/consent", json!({})).await;
    let (ada, org) = scene.admin("ada@contoso.example").await;
    let fabrikam: Uuid = "592e7d4b-896c-53cd-998c-8870f0819d81".parse().unwrap();
    let (url, pending) = scene.linking.begin_link(org, &ada, &ada.identity).await.unwrap();
    assert!(url.path().starts_with(&format!("/{}/v2.0/adminconsent", ada.identity.tid)));

    let complete = async |who: &SignedIn, callback: &ConsentCallback| {
        scene.linking.complete_link(who, &mut stored(&pending), callback).await.unwrap_err()
    };
    let error = complete(&ada, &forged(&url, fabrikam)).await;
    assert!(matches!(error, LinkError::OtherTenant { claimed } if claimed == fabrikam), "{error}");
    assert!(!error.keeps_pending());
    let other_state =
        ConsentCallback::parse(&format!("admin_consent=True&tenant={}&state=x", ada.identity.tid));
    assert!(matches!(complete(&ada, &other_state).await, LinkError::StateMismatch));
    let umar = scene.sign_in("umar@contoso.example").await;
    assert!(
        matches!(complete(&umar, &forged(&url, ada.identity.tid)).await, LinkError::StateMismatch),
        "another person"
    );
    let unasked = scene.linking.check_link_again(&ada, &pending).await.unwrap_err();
    assert!(matches!(unasked, LinkError::StateMismatch), "consent was never given: {unasked}");

    let cancelled = scene.consent(&url, "ada@contoso.example", "cancel").await;
    let error = complete(&ada, &cancelled).await;
    assert!(
        matches!(&error, LinkError::Refused(refusal) if refusal.kind == ConsentRefusalKind::Declined),
        "{error}"
    );
    assert_eq!(error.words().title, "Consent was not given");

    assert_eq!(scene.links(org).await, []);
    assert_eq!(scene.audit(org).await, ["org.create", "link.refused"]);
}

#[tokio::test]
async fn an_employee_cannot_take_their_companys_tenant_elsewhere() {
    let scene = Scene::set_with(
        Credential::Secret(simulator::config::DEFAULT_CLIENT_SECRET.into()),
        Duration::from_millis(300),
    )
    .await;
    let (ada, contoso) = scene.admin("ada@contoso.example").await;
    let linked = scene.link(contoso, &ada, "ada@contoso.example").await;
    let umar = scene.sign_in("umar@contoso.example").await;

    // Into an organization of another tenant of theirs, vouched for by their own sign-in at Contoso.
    let (mallory, lair) = scene.admin("umar@fabrikam.example").await;
    let refused = scene.linking.begin_link(lair, &mallory, &umar.identity).await.unwrap_err();
    assert!(matches!(refused, LinkError::NotPrivileged), "{refused}");
    let nothing_known = VerifiedIdentity { roles: None, ..umar.identity.clone() };
    let refused = scene.linking.begin_link(lair, &mallory, &nothing_known).await.unwrap_err();
    assert!(matches!(refused, LinkError::NotPrivileged), "not their organization's tenant: {refused}");
    // An organization that they are no member of does not exist for them.
    let refused = scene.linking.begin_link(contoso, &umar, &umar.identity).await.unwrap_err();
    assert!(matches!(refused, LinkError::NotFound), "{refused}");
    // Roles that are known, and are not enough; a guest.
    let known = VerifiedIdentity { roles: Some(vec![Uuid::from_u128(1)]), ..mallory.identity.clone() };
    let guest = VerifiedIdentity { guest: true, ..mallory.identity.clone() };
    for identity in [known, guest] {
        let refused = scene.linking.begin_link(lair, &mallory, &identity).await.unwrap_err();
        assert!(matches!(refused, LinkError::NotPrivileged), "{refused}");
    }

    // Where the registration asks for no roles: their own tenant, where consent stands from before: their going through the page would prove nothing.
    let roleless = VerifiedIdentity { roles: None, ..mallory.identity.clone() };
    scene.sim("POST", "tenants/fabrikam.example/consent", json!({})).await;
    let refused = scene.linking.begin_link(lair, &mallory, &roleless).await.unwrap_err();
    assert!(matches!(refused, LinkError::ConsentProvesNothing), "{refused}");
    // Without consent the journey begins, but a callback written by hand finds Graph unwilling…
    scene.sim("POST", "tenants/fabrikam.example/revoke", json!({"kind": "delete"})).await;
    let (url, mut pending) = scene.linking.begin_link(lair, &mallory, &roleless).await.unwrap();
    let callback = forged(&url, mallory.identity.tid);
    let refused = scene.linking.complete_link(&mallory, &mut pending, &callback).await.unwrap_err();
    assert!(matches!(refused, LinkError::NotYet(_)) && refused.keeps_pending(), "{refused}");
    // … and once an administrator has linked the tenant elsewhere, it is too late.
    let boss = scene.sign_in("ada@fabrikam.example").await;
    let (url, mut theirs) = scene.linking.begin_link(contoso, &ada, &boss.identity).await.unwrap();
    let callback = scene.consent(&url, "ada@fabrikam.example", "approve").await;
    let second = scene.linking.complete_link(&ada, &mut theirs, &callback).await.unwrap();
    assert_eq!(second.tenant_name, "Fabrikam");
    let refused = scene.linking.check_link_again(&mallory, &stored(&pending)).await.unwrap_err();
    assert!(matches!(refused, LinkError::LinkedElsewhere), "{refused}");

    assert_eq!(scene.links(lair).await, []);
    let both: Vec<_> = scene.links(contoso).await.into_iter().map(|row| row.id).collect();
    assert_eq!(both, [linked.link, second.link]);
    // The administrator may still link it for the tenant's own organization.
    scene.linking.join_home_org(&boss).await.unwrap();
    scene.link(lair, &boss, "ada@fabrikam.example").await;
}

#[tokio::test]
async fn consent_that_takes_a_while() {
    let scene = Scene::set_with(
        Credential::Secret(simulator::config::DEFAULT_CLIENT_SECRET.into()),
        Duration::from_secs(4),
    )
    .await;
    let (ada, org) = scene.admin("ada@contoso.example").await;
    scene.sim("PATCH", "settings", json!({"consentPropagationSeconds": 2})).await;
    scene.link(org, &ada, "ada@contoso.example").await;

    let (ada, org) = scene.admin("ada@fabrikam.example").await;
    scene.sim("PATCH", "settings", json!({"consentPropagationSeconds": 6})).await;
    let (url, mut pending) = scene.linking.begin_link(org, &ada, &ada.identity).await.unwrap();
    let callback = scene.consent(&url, "ada@fabrikam.example", "approve").await;
    let error = scene.linking.complete_link(&ada, &mut pending, &callback).await.unwrap_err();
    assert!(matches!(&error, LinkError::NotYet(GraphError::Forbidden { .. })), "{error}");
    assert!(error.keeps_pending() && pending.is_consented());
    assert_eq!(error.words().title, "Consent is on its way");
    assert_eq!(scene.links(org).await, [], "active only after the probe");
    let mut pending = stored(&pending);
    loop {
        match scene.linking.check_link_again(&ada, &pending).await {
            Ok(linked) => break assert!(!linked.renewed),
            Err(error) => assert!(error.keeps_pending(), "{error}"),
        }
        pending = stored(&pending);
    }
    assert_eq!(scene.links(org).await.len(), 1);
}

#[tokio::test]
async fn every_obstacle_is_told_in_words_that_say_what_to_do() {
    let scene = Scene::set_with(
        Credential::Secret(simulator::config::DEFAULT_CLIENT_SECRET.into()),
        Duration::from_secs(3),
    )
    .await;
    let (ada, org) = scene.admin("ada@contoso.example").await;
    let tenant = "tenants/contoso.example";
    for (method, path, body, title) in [
        ("PATCH", tenant, json!({"licensed": false}), "No Intune in this tenant"),
        (
            "PATCH",
            tenant,
            json!({"licensed": true, "blockedByConditionalAccess": true}),
            "Blocked by Conditional Access",
        ),
        ("PATCH", tenant, json!({"blockedByConditionalAccess": false}), ""),
        (
            "POST",
            "faults",
            json!({"endpoint": "managedDevices", "times": 1, "effect": {"kind": "status", "status": 429, "retryAfter": 60}}),
            "Microsoft does not answer",
        ),
        (
            "POST",
            "faults",
            json!({"endpoint": "managedDevices", "times": 1, "effect": {"kind": "status", "status": 503}}),
            "",
        ),
        (
            "POST",
            "faults",
            json!({"endpoint": "managedDevices", "times": 1, "effect": {"kind": "reset"}}),
            "",
        ),
        ("POST", "tenants/contoso.example/tokens/revoke", json!({}), ""),
    ] {
        let (url, mut pending) = scene.linking.begin_link(org, &ada, &ada.identity).await.unwrap();
        let callback = scene.consent(&url, "ada@contoso.example", "approve").await;
        scene.sim(method, path, body.clone()).await;
        let outcome = scene.linking.complete_link(&ada, &mut pending, &callback).await;
        match outcome {
            Ok(_) => assert_eq!(title, "", "{body}"),
            Err(error) => {
                assert_eq!(error.words().title, title, "{body}: {error}");
                assert!(!error.words().remedy.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn unlinking_forgets_devices_and_keeps_history() {
    let scene = Scene::set().await;
    let (ada, org) = scene.admin("ada@contoso.example").await;
    let linked = scene.link(org, &ada, "ada@contoso.example").await;
    let stranger = scene.sign_in("ada@fabrikam.example").await;
    assert!(scene.linking.unlink(org, &stranger, linked.link).await.is_err(), "no member");
    assert!(scene.linking.unlink(org, &ada, LinkId(Uuid::from_u128(1))).await.is_err());

    let mut db = scene.superuser().await;
    sqlx::query(
        "INSERT INTO device (org_id, link_id, id, ordinal, content_hash, name, compliance, fetched_at, wifi_mac)
         SELECT $1, $2, gen_random_uuid(), n, sha256('x'), 'PC-' || n, 'compliant', $3,
                ('00:00:5e:00:' || lpad(to_hex(n / 256), 2, '0') || ':' || lpad(to_hex(n % 256), 2, '0'))::macaddr
         FROM generate_series(1, 2500) n",
    )
    .bind(org.uuid())
    .bind(linked.link.uuid())
    .bind(SystemClock.now())
    .execute(&mut db)
    .await
    .unwrap();
    sqlx::query("DELETE FROM outbox").execute(&mut db).await.unwrap();

    let gone = scene.linking.unlink(org, &ada, linked.link).await.unwrap();
    assert_eq!((gone.tenant_name.as_str(), gone.devices), ("Contoso", 2500));
    assert_eq!(scene.links(org).await, []);
    for table in ["device", "sync_job", "sync_run"] {
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut db)
            .await
            .unwrap();
        assert_eq!(count, 0, "{table}");
    }
    assert_eq!(scene.audit(org).await, ["org.create", "link.create", "link.delete"]);
    let messages: Vec<Value> =
        sqlx::query_scalar("SELECT message FROM outbox ORDER BY id").fetch_all(&mut db).await.unwrap();
    let keys: usize = messages.iter().filter_map(|m| m["keys"].as_array()).map(Vec::len).sum();
    let devices: usize = messages.iter().filter_map(|m| m["devices"].as_array()).map(Vec::len).sum();
    assert_eq!((devices, keys), (2500, 7500), "id, name and MAC of each, in chunks");
    assert_eq!(messages.iter().filter(|m| m["topic"] == "devices_changed").count(), 3);
    assert!(messages.iter().any(|m| m["topic"] == "snapshot_changed" && m["redecide"] == true));
    // The tenant may be linked again at once.
    assert!(!scene.link(org, &ada, "ada@contoso.example").await.renewed);
}

#[tokio::test]
async fn the_fleet_reads_as_the_simulator_has_it() {
    let scene = Scene::set().await;
    scene.sim("POST", "tenants/contoso.example/consent", json!({})).await;
    scene.sim("PATCH", "settings", json!({"emptyPageEvery": 3})).await;
    let tid: Uuid = "b05aafed-15fd-5db6-8981-4fa0293ccc6a".parse().unwrap();
    let graph = scene.microsoft.graph(tid);
    let (mut devices, mut next) = (Vec::new(), None);
    loop {
        let page = graph.devices_page(next.as_ref(), 7).await.unwrap();
        assert_eq!(page.unreadable, 0);
        devices.extend(page.devices);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let mut ids: Vec<_> = devices.iter().map(|device| device.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((devices.len(), ids.len()), (60, 60));
    let count = |state: &ComplianceState| devices.iter().filter(|device| device.compliance == *state).count();
    for state in [
        ComplianceState::Compliant,
        ComplianceState::Noncompliant,
        ComplianceState::InGracePeriod,
        ComplianceState::Unknown,
        ComplianceState::Error,
        ComplianceState::Conflict,
        ComplianceState::ConfigManager,
    ] {
        assert!(count(&state) >= 1, "{state}");
    }
    assert!(devices.iter().all(|device| device.ethernet_mac.is_none()), "null in every list");
    let graced: Vec<_> = devices.iter().filter(|device| device.grace_expires_at.is_some()).collect();
    assert!(graced.iter().all(|device| device.compliance == ComplianceState::InGracePeriod));

    let one = graph.device(devices[0].id).await.unwrap().unwrap();
    let now = SystemClock.now();
    let (link, listed) = (LinkId(Uuid::from_u128(1)), devices[0].clone());
    let facts: DeviceFacts = one.into_facts(link, now);
    let listed = listed.into_facts(link, now);
    assert_eq!((facts.name, facts.serial, facts.entra_id), (listed.name, listed.serial, listed.entra_id));
    assert_eq!((facts.compliance, facts.wifi_mac), (listed.compliance, listed.wifi_mac));
    let gone = graph.device(domain::DeviceId(Uuid::from_u128(1))).await.unwrap();
    assert_eq!(gone, None);
    assert_eq!(graph.organization().await.unwrap().unwrap().display_name, "Contoso");
    for (kind, state) in [
        ("roles", LinkState::PermissionMissing),
        ("disable", LinkState::DisabledByTenant),
        ("delete", LinkState::ConsentRevoked),
    ] {
        scene.sim("POST", "tenants/contoso.example/revoke", json!({"kind": kind})).await;
        graph.forget_token().await;
        assert_eq!(graph.probe().await.unwrap_err().link_state(), Some(state), "{kind}");
    }
}

#[tokio::test]
async fn one_cloud_does_not_vouch_for_a_tenant_of_another() {
    let scene = Scene::set().await;
    let (ada, org) = scene.admin("ada@contoso.example").await;
    let linked = scene.link(org, &ada, "ada@contoso.example").await;
    assert_eq!(scene.links(org).await[0].cloud, "custom");

    // The same tenant and person, as another cloud has them: somebody else, with a home of their own.
    let (url, pending) = scene.linking.begin_sign_in(linking::Cloud::GccHigh).await.unwrap();
    let callback = scene.browser().sign_in(&url, "ada@contoso.example").await;
    let other = scene.linking.complete_sign_in(&callback, &pending).await.unwrap();
    assert_eq!((other.identity.tid, other.identity.oid), (ada.identity.tid, ada.identity.oid));
    assert_eq!(other.identity.cloud, linking::Cloud::GccHigh);
    assert_ne!(other.account, ada.account);
    assert_eq!(scene.linking.home_org(&other).await.unwrap(), HomeOrg::Absent { may_create: true });
    let refused = scene.linking.begin_link(org, &other, &other.identity).await.unwrap_err();
    assert!(matches!(refused, LinkError::NotFound), "{refused}");
    let unlink = scene.linking.unlink(org, &other, linked.link).await;
    assert!(unlink.is_err());

    // Without a role their word is good for their own home alone, and that is in their cloud.
    let theirs = scene.linking.create_org(&other, "Contoso Government").await.unwrap();
    assert_ne!(theirs, org);
    let roleless = VerifiedIdentity { roles: None, ..ada.identity.clone() };
    let refused = scene.linking.begin_link(theirs, &other, &roleless).await.unwrap_err();
    assert!(matches!(refused, LinkError::NotPrivileged), "{refused}");
}
