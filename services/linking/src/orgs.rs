//! A tenant's organization: the first sign-in may create it, and the tenant's administrators may join it.

use domain::OrgId;
use serde_json::json;
use store::accounts::{self, NewOrg};
use store::{StoreError, audit, orgs};

use crate::{Linking, SignedIn, Words, actor};

/// The longest name of an organization.
const NAME_CHARS_MAX: usize = 64;

/// The organization of somebody's tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HomeOrg {
    /// There is none yet.
    Absent {
        /// Guests of a tenant found no organization for it.
        may_create: bool,
    },
    Present {
        org: OrgId,
        name: String,
        member: bool,
        /// Who administers it; empty for guests, who need not know.
        admins: Vec<String>,
        /// Entra ID vouches that they administer the tenant: they may join as admin. There is no other way in.
        may_join: bool,
    },
}

/// Why there is no new organization.
#[derive(Debug, thiserror::Error)]
pub enum CreateOrgError {
    #[error("write a name of 1 to {NAME_CHARS_MAX} characters")]
    Name,
    #[error("a guest of a tenant cannot create its organization")]
    Guest,
    /// The tenant has one.
    #[error("the tenant has an organization already")]
    Exists { admins: Vec<String> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why somebody did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("the tenant has no organization")]
    Absent,
    #[error("only a Global Administrator or Privileged Role Administrator of the tenant may join")]
    NotPrivileged { admins: Vec<String> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CreateOrgError {
    /// For a page.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::Name => Words::new(
                "The organization needs a name",
                "A name has 1 to 64 characters.",
                "Write one, for example your company's name.",
            ),
            Self::Guest => Words::new(
                "You are a guest of this tenant",
                "Only the tenant's own people can create its organization.",
                "Sign in with an account of your own organization, or ask the tenant's administrators.",
            ),
            Self::Exists { admins } => ask(admins),
            Self::Store(_) => Words::store(),
        }
    }
}

impl JoinError {
    /// For a page.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::Absent => Words::new(
                "Nothing to join",
                "Your tenant has no organization in Gatehouse yet.",
                "Create it.",
            ),
            Self::NotPrivileged { admins } => ask(admins),
            Self::Store(_) => Words::store(),
        }
    }
}

fn ask(admins: &[String]) -> Words {
    let whom = match admins {
        [] => String::new(),
        names => format!(" Its admins are: {}.", names.join(", ")),
    };
    let remedy = format!(
        "Only a Global Administrator or Privileged Role Administrator of the tenant can join it, by signing in here with \
         that role.{whom}"
    );
    Words::new(
        "Your tenant has an organization already",
        "Somebody of your tenant created it before.",
        remedy,
    )
}

impl Linking {
    /// The organization of somebody's tenant.
    pub async fn home_org(&self, who: &SignedIn) -> Result<HomeOrg, StoreError> {
        let mut tx = self.store().system().await?;
        let org = orgs::by_home_tenant(&mut tx, who.identity.cloud.as_str(), who.identity.tid).await?;
        drop(tx);
        let privileged = who.identity.is_privileged();
        let Some(org) = org else {
            return Ok(HomeOrg::Absent { may_create: !who.identity.guest || privileged });
        };
        let mut tx = self.store().org(org).await?;
        let name = orgs::get(&mut tx).await?.map(|row| row.name).unwrap_or_default();
        let members = accounts::members(&mut tx).await?;
        let member = members.iter().any(|member| member.account == who.account);
        let told = member || privileged || !who.identity.guest;
        let admins = members.into_iter().map(|m| format!("{} ({})", m.name, m.user_name));
        let admins = admins.take(if told { 5 } else { 0 }).collect();
        Ok(HomeOrg::Present { org, name, member, admins, may_join: privileged })
    }

    /// Creates the organization of somebody's tenant, with them as its admin, an empty policy draft and a first
    /// site.
    pub async fn create_org(&self, who: &SignedIn, name: &str) -> Result<OrgId, CreateOrgError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(CreateOrgError::Name);
        }
        match self.home_org(who).await? {
            HomeOrg::Absent { may_create: true } => {}
            HomeOrg::Absent { may_create: false } => return Err(CreateOrgError::Guest),
            HomeOrg::Present { admins, .. } => return Err(CreateOrgError::Exists { admins }),
        }
        let now = self.now();
        let org: OrgId = self.ids().make(now);
        match self.insert_org(org, who, name).await {
            Ok(()) => {
                tracing::info!(%org, account = %who.account, "organization created");
                Ok(org)
            }
            // Somebody else of the tenant was faster.
            Err(error) if error.unique_violation() == Some("org_home_tid") => match self.home_org(who).await?
            {
                HomeOrg::Present { admins, .. } => Err(CreateOrgError::Exists { admins }),
                HomeOrg::Absent { .. } => Err(CreateOrgError::Exists { admins: Vec::new() }),
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn insert_org(&self, org: OrgId, who: &SignedIn, name: &str) -> Result<(), StoreError> {
        let now = self.now();
        let mut tx = self.store().org(org).await?;
        let new = NewOrg {
            name,
            home_cloud: who.identity.cloud.as_str(),
            home_tid: who.identity.tid,
            admin: who.account,
            admin_name: &who.identity.name,
        };
        accounts::create_org(&mut tx, self.ids(), now, new).await?;
        let detail = json!({ "home_tid": who.identity.tid, "first_site": accounts::FIRST_SITE });
        audit::write(&mut tx, self.ids(), now, &actor(who), "org.create", name, detail).await?;
        orgs::changed(&mut tx, self.ids(), now, false).await?;
        tx.commit().await
    }

    /// Makes an administrator of the tenant an admin of its organization.
    pub async fn join_home_org(&self, who: &SignedIn) -> Result<OrgId, JoinError> {
        let org = match self.home_org(who).await? {
            HomeOrg::Absent { .. } => return Err(JoinError::Absent),
            HomeOrg::Present { org, member: true, .. } => return Ok(org),
            HomeOrg::Present { admins, may_join: false, .. } => {
                return Err(JoinError::NotPrivileged { admins });
            }
            HomeOrg::Present { org, .. } => org,
        };
        let now = self.now();
        let mut tx = self.store().org(org).await?;
        if accounts::add_admin(&mut tx, who.account, now).await? {
            let detail = json!({ "because": "administrator of the home tenant" });
            audit::write(
                &mut tx,
                self.ids(),
                now,
                &actor(who),
                "member.join",
                &who.identity.user_name,
                detail,
            )
            .await?;
        }
        tx.commit().await?;
        Ok(org)
    }
}
