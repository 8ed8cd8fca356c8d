//! The demo organization: Contoso, linked, with the labels and rules of Mist's Intune guide, a site and two edges.
//!
//! Made by the functions of the product, one step at a time; each step looks first whether it was done before, so
//! that an interrupted `./dev up` goes on where it left off, and what people changed since stays as it is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use apps::{Apps, AppsDeps};
use domain::OrgId;
use domain::time::{Ids, SharedClock, SystemClock};
use linking::{ConsentCallback, HomeOrg, Linking, LinkingConfig, LinkingDeps, SignInCallback, SignedIn};
use policy::Policies;
use store::accounts::FIRST_SITE;
use store::audit::Actor;
use store::edges::{self, EdgeToken};
use store::{Store, StoreConfig, links};
use url::Url;

use super::data::Data;
use super::simulator::Simulator;
use super::stack::Started;
use super::{demo_policy, say};
use crate::serve::microsoft_clouds;

/// The simulator's first tenant, and its Global Administrator.
pub const TENANT: &str = "contoso.example";
const ADMIN: &str = "ada@contoso.example";
const ORG: &str = "Contoso";
const TRAFFIC_EDGE: &str = "Demo Wi-Fi controller";
const LAB_EDGE: &str = "Lab edge";
const SYNC_PATIENCE: Duration = Duration::from_secs(60);

/// What the demo needs to go on.
#[derive(Debug)]
pub struct Seeded {
    pub org: OrgId,
    /// Of the edge that drives traffic.
    pub traffic_token: String,
    /// Of the edge that is left to people.
    pub lab_token: String,
}

/// Plants the demo organization.
pub struct Seed<'a> {
    data: &'a Data,
    store: Store,
    linking: Linking,
    simulator: Simulator,
    clock: SharedClock,
    ids: Ids,
}

impl<'a> Seed<'a> {
    pub fn new(data: &'a Data, started: &Started, simulator: Simulator) -> anyhow::Result<Self> {
        let (clock, ids): (SharedClock, _) = (Arc::new(SystemClock), Ids::system());
        let store =
            Store::connect(&StoreConfig { connections_max: 2, ..StoreConfig::new(&started.database_url) })?;
        let clouds = microsoft_clouds(started.microsoft.clone(), &clock, &ids)?;
        let apps = Apps::new(AppsDeps {
            store: store.clone(),
            clouds,
            master_keys: None,
            clock: clock.clone(),
            ids: ids.clone(),
        });
        let dashboard: Url = started.addresses.dashboard.parse()?;
        // Nobody listens there for these journeys: the callbacks are read off the redirects.
        let redirects =
            LinkingConfig::new(dashboard.join(web::SIGN_IN_CALLBACK)?, dashboard.join(web::LINK_CALLBACK)?);
        let deps = LinkingDeps { store: store.clone(), apps, clock: clock.clone(), ids: ids.clone() };
        Ok(Self { data, store, linking: Linking::new(deps, redirects), simulator, clock, ids })
    }

    pub async fn close(self) {
        self.store.close().await;
    }

    pub async fn plant(&self) -> anyhow::Result<Seeded> {
        let who = self.sign_in().await.context("the demo admin could not sign in")?;
        let org = self.organization(&who).await.context("the demo organization could not be made")?;
        self.link(org, &who).await.context("the demo organization could not be linked")?;
        let actor = Actor { account: Some(who.account), name: who.identity.name.clone() };
        self.policy(org, &actor).await.context("the demo policy could not be published")?;
        let traffic_token = self.edge(org, &actor, TRAFFIC_EDGE, "traffic-edge.token").await?;
        let lab_token = self.edge(org, &actor, LAB_EDGE, "lab-edge.token").await?;
        self.synced(org).await?;
        Ok(Seeded { org, traffic_token, lab_token })
    }

    async fn sign_in(&self) -> anyhow::Result<SignedIn> {
        let (url, pending) = self.linking.begin_sign_in(self.linking.clouds()[0]).await?;
        let back = self.simulator.sign_in(&url, ADMIN).await?;
        let field =
            |name: &str| back.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let callback = SignInCallback {
            state: field("state"),
            code: field("code"),
            error: field("error"),
            error_description: field("error_description"),
        };
        Ok(self.linking.complete_sign_in(&callback, &pending).await?)
    }

    async fn organization(&self, who: &SignedIn) -> anyhow::Result<OrgId> {
        Ok(match self.linking.home_org(who).await? {
            HomeOrg::Absent { .. } => {
                say("Making the demo organization");
                self.linking.create_org(who, ORG).await?
            }
            HomeOrg::Present { org, .. } => org,
        })
    }

    async fn link(&self, org: OrgId, who: &SignedIn) -> anyhow::Result<()> {
        let mut tx = self.store.org(org).await?;
        let linked = links::by_tenant(&mut tx, who.identity.cloud.as_str(), who.identity.tid).await?;
        tx.commit().await?;
        // Once linked, what people do with the link is theirs.
        if linked.is_some() || self.data.recall("linked").is_some() {
            return Ok(());
        }
        let (url, mut pending) = self.linking.begin_link(org, who, &who.identity).await?;
        let back = self.simulator.consent(&url).await?;
        let callback = ConsentCallback::parse(back.query().unwrap_or_default());
        self.linking.complete_link(who, &mut pending, &callback).await?;
        self.data.keep("linked", "yes")
    }

    /// Waits until the fleet was read once.
    async fn synced(&self, org: OrgId) -> anyhow::Result<()> {
        let started = std::time::Instant::now();
        let mut told = false;
        loop {
            let mut tx = self.store.org(org).await?;
            let links = links::list(&mut tx).await?;
            tx.commit().await?;
            if links.iter().all(|link| link.confirmed_at.is_some()) {
                return Ok(());
            }
            if !told {
                say("Reading the demo fleet");
                told = true;
            }
            if started.elapsed() > SYNC_PATIENCE {
                say("The demo fleet is not read yet; going on. See .data/log/sync.log");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Published once.
    async fn policy(&self, org: OrgId, actor: &Actor) -> anyhow::Result<()> {
        let policies = Policies::new(self.store.clone(), self.clock.clone(), self.ids.clone());
        let overview = policies.overview(org).await?;
        // A draft that holds something is somebody's.
        if overview.live.is_some() || !overview.draft.doc.labels.is_empty() {
            return Ok(());
        }
        say("Publishing the demo policy");
        let mut revision = overview.draft.revision;
        for edit in demo_policy::edits(&self.ids, self.clock.now()) {
            revision = policies.edit(org, actor, revision, edit).await?;
        }
        policies.publish(org, actor, revision).await?;
        Ok(())
    }

    /// The edge's token: the one of the last time where it still works, else a new one. Tokens are shown once and
    /// stored hashed, so the demo keeps its two itself.
    async fn edge(&self, org: OrgId, actor: &Actor, name: &str, file: &str) -> anyhow::Result<String> {
        let (ids, now) = (&self.ids, self.clock.now());
        let mut tx = self.store.org(org).await?;
        if let Some(token) = self.data.recall(file).as_deref().and_then(EdgeToken::parse)
            && token.org == org
            && let Some(known) = edges::credential(&mut tx, token.credential).await?
            && known.revoked_at.is_none()
            && known.token_hash == token.hash()
        {
            return Ok(token.reveal().to_owned());
        }
        let known = edges::list_edges(&mut tx).await?.into_iter().find(|edge| edge.name == name);
        let edge = match known {
            Some(edge) => edge.id,
            None => {
                // The one that the organization was made with.
                let site = edges::list_sites(&mut tx).await?.into_iter().next();
                let site = match site {
                    Some(site) => site,
                    None => edges::create_site(&mut tx, ids, now, actor, FIRST_SITE).await?,
                };
                let made = edges::create_edge(&mut tx, ids, now, actor, site.id, name).await?;
                made.context("the site went away")?
            }
        };
        let issued = edges::issue_credential(&mut tx, ids, now, actor, edge).await?;
        let (token, _) = issued.context("the edge went away")?;
        tx.commit().await?;
        self.data.keep(file, token.reveal())?;
        Ok(token.reveal().to_owned())
    }
}
