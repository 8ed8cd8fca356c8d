//! Organizations with a linked tenant, a policy and an edge, as linking and the dashboard would have left them.

use anyhow::Context as _;
use domain::policy::model::{Action, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc, Rule};
use domain::time::{Clock as _, Ids, SystemClock};
use domain::{LabelId, LinkId, OrgId, SiteId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use store::audit::Actor;
use store::links::NewLink;
use store::{Store, accounts, edges, links, orgs, policies};
use uuid::Uuid;

use crate::control::Tenant;

/// VLANs of the policy: compliant devices (grace counts as such), and everybody else.
pub const CORP: &str = "10";
pub const QUARANTINE: &str = "99";

/// An organization, and the token of its one edge.
#[derive(Clone, Debug)]
pub struct Organization {
    pub org: OrgId,
    pub site: SiteId,
    pub link: LinkId,
    pub tid: Uuid,
    pub token: String,
}

/// One organization per tenant, several at a time.
pub async fn organizations(store: &Store, tenants: &[Tenant]) -> anyhow::Result<Vec<Organization>> {
    let made = stream::iter(tenants).map(|tenant| organization(store, tenant));
    made.buffered(8).try_collect().await
}

/// An organization whose link was made a moment ago: all its jobs are due.
pub async fn organization(store: &Store, tenant: &Tenant) -> anyhow::Result<Organization> {
    organization_with(store, tenant, &policy(&Ids::system())).await
}

/// The same with a policy of the caller's.
pub async fn organization_with(
    store: &Store,
    tenant: &Tenant,
    policy: &PolicyDoc,
) -> anyhow::Result<Organization> {
    let (ids, now) = (Ids::system(), SystemClock.now());
    let mut tx = store.system().await?;
    let who = accounts::SigningIn {
        cloud: "global",
        tid: tenant.id,
        oid: tenant.id,
        name: "Ada",
        user_name: "ada@example.com",
    };
    let account = accounts::signed_in(&mut tx, &ids, now, who).await?;
    tx.commit().await?;
    let (org, link): (OrgId, LinkId) = (ids.make(now), ids.make(now));
    let mut tx = store.org(org).await?;
    let new = accounts::NewOrg {
        home_cloud: "global",
        name: &tenant.name,
        home_tid: tenant.id,
        admin: account,
        admin_name: "Ada",
    };
    let site = accounts::create_org(&mut tx, &ids, now, new).await?;
    let actor = Actor::system();
    let edge = edges::create_edge(&mut tx, &ids, now, &actor, site, "edge").await?.context("no site")?;
    let issued = edges::issue_credential(&mut tx, &ids, now, &actor, edge).await?;
    let (token, _) = issued.context("no edge")?;
    let new = NewLink {
        cloud: "global",
        app: None,
        id: link,
        tid: tenant.id,
        tenant_name: &tenant.name,
        linked_by: account,
        linked_by_name: "Ada",
    };
    links::insert(&mut tx, now, new).await?;
    policies::publish(&mut tx, policy, "Ada", now).await?;
    orgs::changed(&mut tx, &ids, now, true).await?;
    tx.commit().await?;
    Ok(Organization { org, site, link, tid: tenant.id, token: token.reveal().to_owned() })
}

/// Compliant devices into one VLAN, everyone else into another.
fn policy(ids: &Ids) -> PolicyDoc {
    let now = SystemClock.now();
    let label = |name: &str, kind| Label { id: ids.make::<LabelId>(now), name: name.to_owned(), kind };
    let vlan = |vlan: &str| LabelKind::Vlan { vlan: vlan.to_owned() };
    let compliant = label(
        "Compliant",
        LabelKind::Match {
            key: MatchLabelKey::MdmStatus,
            values: vec!["compliant".to_owned()],
            match_all: false,
        },
    );
    let (corp, quarantine) = (label("Corp", vlan(CORP)), label("Quarantine", vlan(QUARANTINE)));
    let rule = |name: &str, labels: Vec<LabelId>, apply: LabelId| Rule {
        id: ids.make(now),
        name: name.to_owned(),
        comment: String::new(),
        enabled: true,
        dry_run: false,
        action: Action::Allow,
        matching: Conditions { labels, ..Conditions::default() },
        not_matching: Conditions::default(),
        apply: vec![apply],
    };
    let rules = vec![
        rule("Compliant devices to Corp", vec![compliant.id], corp.id),
        rule("Everyone else to Quarantine", Vec::new(), quarantine.id),
    ];
    PolicyDoc { labels: vec![compliant, corp, quarantine], rules, ..PolicyDoc::default() }
}
