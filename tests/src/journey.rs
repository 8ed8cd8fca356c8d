//! The main job, end to end, without a browser: each step as a person or an edge takes it.

use std::time::Duration;

use domain::time::{Clock as _, Ids, SystemClock};
use domain::{OrgId, SiteId};
use gatehouse::dev::edge::{Command, Decision, Edge};
use gatehouse::dev::simulator::{Device, Simulator};
use serde_json::{Value, json};
use store::audit::Actor;
use store::{Store, edges, links, policies};
use url::Url;

use crate::app::TestApp;
use crate::eventually;
use crate::processes::Processes;
use crate::visitor::{Visitor, hidden};

/// An organization that is linked and synced, with the policy of Mist's Intune guide, a site and an edge.
pub struct Journey {
    pub org: OrgId,
    /// `/orgs/<id>`
    pub path: String,
    /// The Global Administrator, signed in.
    pub admin: Visitor,
    pub site: SiteId,
    pub edge: Edge,
    pub token: String,
    /// The tenant's domain.
    pub tenant: String,
    pub simulator: Simulator,
    pub store: Store,
}

/// Where a journey goes: everything in one process, or in many.
pub struct Place {
    pub url: Url,
    pub nac_url: Url,
    pub simulator: Simulator,
    pub store: Store,
}

impl From<&TestApp> for Place {
    fn from(app: &TestApp) -> Self {
        Self {
            url: app.url.clone(),
            nac_url: app.nac_url.clone(),
            simulator: app.simulator.clone(),
            store: app.store.clone(),
        }
    }
}

impl From<&Processes> for Place {
    fn from(processes: &Processes) -> Self {
        Self {
            url: processes.url.clone(),
            nac_url: processes.nac_url.clone(),
            simulator: processes.simulator.clone(),
            store: processes.database.store(),
        }
    }
}

/// Signs in as the tenant's Global Administrator and makes its organization.
pub async fn organization(place: &Place, tenant: &str) -> (Visitor, String, OrgId) {
    let admin = Visitor::new(place.url.clone());
    // One browser per person: a simulator with its own cookies.
    admin.sign_in(&place.simulator, &format!("ada@{tenant}")).await;
    let name = tenant.split('.').next().unwrap_or(tenant);
    let to = admin.post("/organizations", &[("name", name)]).await.redirect();
    let path = to.path().to_owned();
    let org = path.rsplit('/').next().and_then(|id| id.parse().ok()).expect("an organization's id");
    (admin, path, org)
}

/// Everything up to the first access request.
pub async fn begin(place: impl Into<Place>, tenant: &str) -> Journey {
    let place = place.into();
    let (admin, path, org) = organization(&place, tenant).await;
    let linked = admin.link(&place.simulator, &path).await.redirect();
    assert!(linked.path().starts_with(&format!("{path}/identity-providers/")), "{linked}");
    synced(&place.store, org).await;
    publish_policy(&admin, &path, &place.store, org).await;
    let (site, token) = make_edge(&place.store, org).await;
    carried(&place.store).await;
    let edge = Edge::new(place.nac_url, &token).expect("an HTTP client");
    Journey {
        org,
        path,
        admin,
        site,
        edge,
        token,
        tenant: tenant.to_owned(),
        simulator: place.simulator,
        store: place.store,
    }
}

/// All of it: also a decision, a change of compliance, its CoA and the next decision.
pub async fn whole(place: impl Into<Place>, tenant: &str) -> Journey {
    let journey = begin(place, tenant).await;
    journey.admit_and_move("session-1").await;
    journey.register_app("client-secret-of-the-journey").await;
    journey.turn_worse_together("session-2").await;
    let stranger = json!({ "mac": "02:00:00:00:00:01", "auth_type": "eap-tls", "session_id": "session-3",
        "cert": { "san_uri": ["ID:Intune:GUID:00000000-0000-4000-8000-000000000007"] } });
    journey.edge.authorize(&stranger).await.expect("a decision about a device that nobody knows");
    journey
}

impl Journey {
    /// Brings an app registration of the organization's own, that no link uses. Returns the path of its page.
    pub async fn register_app(&self, secret: &str) -> String {
        let client_id = self.org.uuid().to_string();
        let form = [("client_id", client_id.as_str()), ("credential", "secret"), ("secret", secret)];
        let to = self.admin.post(&format!("{}/identity-providers/apps", self.path), &form).await.redirect();
        to.path().to_owned()
    }

    /// A device is admitted to Corp, becomes noncompliant, is moved by a CoA, and lands in Quarantine.
    pub async fn admit_and_move(&self, session: &str) -> Device {
        let device = self.device("compliant").await;
        let before = self.authorize(&device, session).await;
        assert_eq!((before.action.as_str(), before.vlan.as_deref()), ("allow", Some("10")), "{before:?}");
        self.account(&device, session, "start").await;

        self.simulator
            .set_compliance(&self.tenant, &device.id, "noncompliant")
            .await
            .expect("the simulator flips");
        self.sync_now().await;
        let command = self.command().await;
        assert_eq!((command.kind.as_str(), command.session.session_id.as_deref()), ("reauth", Some(session)));
        self.edge.acknowledge(&command.id).await.expect("the acknowledgement is taken");

        let after = self.authorize(&device, session).await;
        assert_eq!((after.action.as_str(), after.vlan.as_deref()), ("allow", Some("99")), "{after:?}");
        self.account(&device, session, "interim").await;
        self.account(&device, session, "stop").await;
        device
    }

    /// More devices turn worse at once than the organization takes without asking: a hold keeps a command waiting.
    pub async fn turn_worse_together(&self, session: &str) {
        let settings = [
            ("name", "Journey"),
            ("stale_after", "24"),
            ("stale_unit", "hours"),
            ("grace_is_compliant", "on"),
            ("coa", "reauth"),
            ("mass_change_percent", "1"),
            ("mass_change_min", "2"),
        ];
        let _ = self.admin.post(&format!("{}/settings", self.path), &settings).await.redirect();
        let devices = self.simulator.devices(&self.tenant, 0, 60).await.expect("the simulator lists");
        let some = devices.iter().filter(|device| device.compliance_state == "compliant").take(3);
        for (n, device) in some.enumerate() {
            if n == 0 {
                self.authorize(device, session).await;
            }
            self.simulator
                .set_compliance(&self.tenant, &device.id, "noncompliant")
                .await
                .expect("the simulator flips");
        }
        self.sync_now().await;
        eventually("a hold with a command", || async {
            let mut tx = self.store.org(self.org).await.ok()?;
            let hold = store::holds::active(&mut tx).await.ok()?.into_iter().next()?;
            let moves = store::views::holds::counts(&mut tx, hold.id).await.ok()?;
            moves.iter().any(|count| count.state == "held").then_some(())
        })
        .await;
    }

    /// Some device of the tenant with this compliance.
    pub async fn device(&self, state: &str) -> Device {
        let devices = self.simulator.devices(&self.tenant, 0, 60).await.expect("the simulator lists");
        devices.into_iter().find(|device| device.compliance_state == state).expect("such a device")
    }

    /// An EAP-TLS request with an Intune device certificate.
    #[must_use]
    pub fn request(&self, device: &Device, session: &str) -> Value {
        json!({
            "mac": device.wifi_mac,
            "auth_type": "eap-tls",
            "ssid": "Contoso-Corp",
            "user_name": device.user_principal_name,
            "session_id": session,
            "nas": { "ip": "192.0.2.10", "identifier": "ap-lobby", "vendor": "juniper", "port_type": "wireless" },
            "cert": {
                "cn": device.device_name,
                "issuer": "CN=Contoso Issuing CA",
                "san_uri": [format!("ID:Microsoft Endpoint Manager:GUID:{}", device.id)],
            },
        })
    }

    pub async fn authorize(&self, device: &Device, session: &str) -> Decision {
        self.edge.authorize(&self.request(device, session)).await.expect("a decision")
    }

    /// `start`, `interim` or `stop`.
    pub async fn account(&self, device: &Device, session: &str, status: &str) {
        let message = json!({
            "status": status,
            "session_id": session,
            "mac": device.wifi_mac,
            "framed_ip": "198.51.100.7",
            "bytes_in": 1000,
            "bytes_out": 2000,
        });
        self.edge.account(&message).await.expect("accounting is taken");
    }

    /// Presses “Sync now” and waits until the fleet was read.
    pub async fn sync_now(&self) {
        let before = confirmed(&self.store, self.org).await;
        let mut tx = self.store.org(self.org).await.expect("PostgreSQL answers");
        let link = links::list(&mut tx).await.expect("the link").remove(0).id;
        drop(tx);
        let pressed = self.admin.post(&format!("{}/identity-providers/{link}/sync", self.path), &[]).await;
        let _ = pressed.redirect();
        eventually("a sync to go through", || async {
            (confirmed(&self.store, self.org).await > before).then_some(())
        })
        .await;
    }

    /// The next command, by long poll.
    pub async fn command(&self) -> Command {
        let commands = self.edge.commands(Duration::from_secs(20)).await.expect("the long poll answers");
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands.into_iter().next().expect("one command")
    }
}

/// The start of the last sweep that went through.
pub async fn confirmed(store: &Store, org: OrgId) -> Option<time::OffsetDateTime> {
    let mut tx = store.org(org).await.expect("PostgreSQL answers");
    let links = links::list(&mut tx).await.expect("links");
    links.first().and_then(|link| link.confirmed_at)
}

/// Waits until the fleet was read once.
pub async fn synced(store: &Store, org: OrgId) {
    eventually("the first sync", || confirmed(store, org)).await;
}

/// Waits until every change has reached Redis, and with it the NAC API.
pub async fn carried(store: &Store) {
    eventually("the outbox to be carried", || async {
        let mut tx = store.system().await.ok()?;
        store::outbox::oldest(&mut tx).await.ok()?.is_none().then_some(())
    })
    .await;
}

/// Two MDM labels, two VLAN labels, two rules: compliant devices to VLAN 10, everyone else to VLAN 99. Published.
pub async fn publish_policy(admin: &Visitor, org_path: &str, store: &Store, org: OrgId) {
    let labels = format!("{org_path}/labels");
    for (name, kind, fields) in [
        ("MDM compliant", "mdm_status", &[("values", "compliant")][..]),
        ("MDM not compliant", "mdm_status", &[("values", "non-compliant"), ("values", "unknown")]),
        ("Corp VLAN", "vlan", &[("vlan", "10")]),
        ("Quarantine VLAN", "vlan", &[("vlan", "99")]),
    ] {
        let page = admin.get(&format!("{labels}/new?kind={kind}")).await.page();
        let revision = hidden(&page, "revision");
        let mut form =
            vec![("revision", revision.as_str()), ("kind", kind), ("name", name), ("sense", "any")];
        form.extend(fields);
        let _ = admin.post(&labels, &form).await.redirect();
    }
    let mut tx = store.org(org).await.expect("PostgreSQL answers");
    let doc = policies::draft(&mut tx).await.expect("the draft").doc;
    drop(tx);
    let id =
        |name: &str| doc.labels.iter().find(|label| label.name == name).expect("the label").id.to_string();
    for (name, matching, vlan) in [
        ("Compliant to Corp", Some(id("MDM compliant")), id("Corp VLAN")),
        ("Others to Quarantine", Some(id("MDM not compliant")), id("Quarantine VLAN")),
    ] {
        let page = admin.get(&format!("{org_path}/auth-policies/rules/new")).await.page();
        let revision = hidden(&page, "revision");
        let mut form =
            vec![("revision", revision.as_str()), ("name", name), ("action", "allow"), ("enabled", "on")];
        form.extend(matching.as_deref().map(|label| ("m_label", label)));
        form.push(("apply_vlan", vlan.as_str()));
        let _ = admin.post(&format!("{org_path}/auth-policies/rules"), &form).await.redirect();
    }
    let page = admin.get(&format!("{org_path}/auth-policies/publish")).await.page();
    let revision = hidden(&page, "revision");
    let _ =
        admin.post(&format!("{org_path}/auth-policies/publish"), &[("revision", &revision)]).await.redirect();
}

/// A site, an edge and its token.
pub async fn make_edge(store: &Store, org: OrgId) -> (SiteId, String) {
    let (ids, now, actor) = (Ids::system(), SystemClock.now(), Actor::system());
    let mut tx = store.org(org).await.expect("PostgreSQL answers");
    let site = edges::create_site(&mut tx, &ids, now, &actor, "Headquarters").await.expect("a site").id;
    let edge = edges::create_edge(&mut tx, &ids, now, &actor, site, "Controller").await.expect("an edge");
    let edge = edge.expect("the site is there");
    let (token, _) = edges::issue_credential(&mut tx, &ids, now, &actor, edge)
        .await
        .expect("a token")
        .expect("the edge is there");
    tx.commit().await.expect("PostgreSQL answers");
    (site, token.reveal().to_owned())
}
