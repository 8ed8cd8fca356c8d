//! Organizations with a fleet and a policy of many rules, and the requests of their clients.

use std::sync::Arc;

use anyhow::Context as _;
use domain::device::{ComplianceState, DeviceFacts};
use domain::policy::model::{AuthMatch, PolicyDoc};
use domain::request::AuthType;
use domain::time::{Clock as _, Ids, SystemClock};
use domain::{DeviceId, LinkId, Mac, OrgId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use store::audit::Actor;
use store::devices::{DeviceWrite, upsert};
use store::{Store, edges, links};
use time::OffsetDateTime;
use uuid::Uuid;

use super::requests::Requests;
use crate::bed::Database;
use crate::control::Tenant;
use crate::report::note;
use crate::seed;

/// What edges post their requests to.
pub const AUTHORIZE: &str = "/v1/nac/authorize";
/// Devices written in one transaction.
const PAGE: usize = 1_000;

/// How large it is.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Size {
    /// Rules of each policy. Clients are spread over them evenly, so that half of them are looked at on average.
    #[arg(long, default_value_t = 100)]
    pub rules: u32,
    #[arg(long, default_value_t = 8)]
    pub organizations: u32,
    /// Of each organization; the clients are spread over all of them.
    #[arg(long, default_value_t = 4)]
    pub edges: u32,
}

/// A client with a compliant device and a certificate that names it.
#[derive(Clone, Debug)]
pub struct Client {
    pub token: Arc<str>,
    pub mac: Mac,
    device: DeviceId,
    /// The network that one of the rules is for.
    pub ssid: String,
}

/// Writes the organizations and the devices of so many clients, and returns the clients.
pub async fn seed(database: &Database, size: Size, clients: u32) -> anyhow::Result<Vec<Client>> {
    note(&format!(
        "Writing {} organizations of {} rules and {} edges, and {clients} devices",
        size.organizations, size.rules, size.edges
    ));
    let store = database.store()?;
    let policy = policy(size.rules);
    let organizations = size.organizations.clamp(1, clients.max(1));
    let made = (0..organizations).map(|n| organization(&store, n, &policy, size.edges));
    let made: Vec<Organization> = stream::iter(made).buffered(4).try_collect().await?;
    let now = SystemClock.now();
    let mut all = Vec::new();
    let mut fleets: Vec<Vec<DeviceWrite>> = vec![Vec::new(); made.len()];
    for n in 0..clients {
        let organization = usize::try_from(n % organizations)?;
        let Organization { link, tokens, .. } = &made[organization];
        let within = n / organizations;
        let token = Arc::clone(&tokens[usize::try_from(within)? % tokens.len()]);
        let client = Client {
            token,
            mac: mac(n),
            device: DeviceId(Uuid::from_u128((0xd << 124) + u128::from(n))),
            ssid: format!("Net-{}-5G", within % size.rules + 1),
        };
        fleets[organization].push(device(*link, &client, within, now));
        all.push(client);
    }
    for (organization, fleet) in made.iter().zip(fleets) {
        for page in fleet.chunks(PAGE) {
            let mut tx = store.org(organization.org).await?;
            upsert(&mut tx, organization.link, page).await?;
            tx.commit().await?;
        }
    }
    store.close().await;
    sqlx::query("ANALYZE").execute(&database.pool).await?;
    Ok(all)
}

/// What the clients' edges ask.
pub fn requests(clients: &[Client]) -> Arc<Requests> {
    let mut requests = Requests::default();
    for client in clients {
        requests.add(AUTHORIZE, &client.token, &client.body());
    }
    Arc::new(requests)
}

impl Client {
    /// EAP-TLS at an access point.
    pub fn body(&self) -> String {
        let name = self.name();
        json!({
            "mac": self.mac.to_string(),
            "auth_type": "eap-tls",
            "ssid": self.ssid,
            "user_name": format!("host/{}.corp.contoso.example", name.to_lowercase()),
            "nas": {
                "ip": "192.0.2.7", "identifier": "ap-lobby", "vendor": "juniper", "port_type": "wireless",
                "port_id": Requests::tag(),
            },
            "cert": {
                "cn": name,
                "subject": format!("CN={name},O=Contoso"),
                "issuer": "CN=Contoso Issuing CA",
                "serial": "4d0000002f",
                "not_after": "2046-11-20T12:00:00Z",
                "san_uri": [format!("ID:Microsoft Endpoint Manager:GUID:{}", self.device)],
            },
        })
        .to_string()
    }

    fn name(&self) -> String {
        let [_, _, a, b, c, d] = self.mac.0;
        format!("LAPTOP-{:08}", u32::from_be_bytes([a, b, c, d]))
    }
}

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([0xd4, 0x6e, a, b, c, d])
}

fn device(link: LinkId, client: &Client, ordinal: u32, now: OffsetDateTime) -> DeviceWrite {
    let mut facts = DeviceFacts::bare(link, client.device, ComplianceState::Compliant, now);
    facts.name = Some(client.name());
    facts.wifi_mac = Some(client.mac);
    facts.serial = Some(format!("SN{ordinal:08}"));
    facts.last_check_in = Some(now - time::Duration::minutes(48));
    facts.enrolled_at = Some(now - time::Duration::days(90));
    facts.os = Some("Windows".to_owned());
    facts.os_version = Some("10.0.22631.4460".to_owned());
    facts.owner = Some("company".to_owned());
    facts.encrypted = Some(true);
    facts.manufacturer = Some("Contoso Devices".to_owned());
    facts.model = Some("Laptop 14".to_owned());
    DeviceWrite {
        facts,
        ordinal,
        content_hash: [0; 32],
        udid: None,
        raw: None,
        single: true,
        next_look_at: None,
        idle_looks: 0,
    }
}

/// An allow rule for each network, for whoever is compliant, by certificate or by MAC.
fn policy(rules: u32) -> PolicyDoc {
    let mut policy = benches::policy(rules, 0);
    for rule in &mut policy.rules {
        rule.matching.auth_types.push(AuthMatch::Exactly(AuthType::Mab));
    }
    policy
}

struct Organization {
    org: OrgId,
    link: LinkId,
    tokens: Vec<Arc<str>>,
}

async fn organization(store: &Store, n: u32, policy: &PolicyDoc, edges: u32) -> anyhow::Result<Organization> {
    let tenant = Tenant { id: Uuid::from_u128((0xc << 124) + u128::from(n)), name: format!("Org {n}") };
    let seed::Organization { org, site, link, token, .. } =
        seed::organization_with(store, &tenant, policy).await?;
    let (ids, now, actor) = (Ids::system(), SystemClock.now(), Actor::system());
    let mut tokens: Vec<Arc<str>> = vec![token.into()];
    let mut tx = store.org(org).await?;
    for n in 1..edges {
        let edge = edges::create_edge(&mut tx, &ids, now, &actor, site, &format!("edge {n}"))
            .await?
            .context("no site")?;
        let issued = edges::issue_credential(&mut tx, &ids, now, &actor, edge).await?;
        let (token, _) = issued.context("no edge")?;
        tokens.push(token.reveal().into());
    }
    links::confirmed(&mut tx, link, now).await?;
    tx.commit().await?;
    Ok(Organization { org, link, tokens })
}
