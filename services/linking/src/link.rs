//! The link journey: consent, proof, link.

use apps::AppsError;
use domain::{AccountId, LinkId, OrgId};
use microsoft::{
    CloudName, ConsentCallback, ConsentError, ConsentRefusal, GraphError, Microsoft, PendingConsent,
    VerifiedIdentity,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::apps::{AppRow, CredentialRow};
use store::links::NewLink;
use store::{StoreError, accounts, audit, links, orgs};
use time::{Duration, OffsetDateTime};
use url::Url;
use uuid::Uuid;

use crate::probe::{Consent, is_absent};
use crate::{Linking, SignedIn, Words, actor};

/// Admins may have to fetch a colleague.
const PENDING_FOR: Duration = Duration::hours(1);

/// A link journey that has begun. Keep it in the server-side session of the browser that began it, and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingLink {
    pub org: OrgId,
    account: AccountId,
    consent: PendingConsent,
    /// The cloud of the sign-in that named the tenant: the link lives in it.
    cloud: CloudName,
    /// For display: whose sign-in named the tenant.
    user_name: String,
    /// Entra ID vouched that they administer the tenant.
    privileged: bool,
    /// Microsoft's callback has said that consent was given, so that only Graph's word is missing.
    consented: bool,
    #[serde(with = "time::serde::rfc3339")]
    begun_at: OffsetDateTime,
}

impl PendingLink {
    /// The tenant that a sign-in verified.
    #[must_use]
    pub const fn tid(&self) -> Uuid {
        self.consent.tid()
    }

    /// Whether the journey waits for Graph alone, so that the page can offer to check again.
    #[must_use]
    pub const fn is_consented(&self) -> bool {
        self.consented
    }
}

/// A new link, or one whose consent was renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    pub org: OrgId,
    pub link: LinkId,
    pub tenant_name: String,
    /// The tenant had been linked before.
    pub renewed: bool,
}

/// Why nothing was linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no such organization of theirs.
    #[error("there is no such organization")]
    NotFound,
    /// The callback answers no link journey of this browser and person.
    #[error("this answer belongs to no link journey of this browser")]
    StateMismatch,
    #[error("the link journey took too long")]
    Expired,
    #[error(transparent)]
    Refused(ConsentRefusal),
    /// The callback names a tenant that nobody verified: forged, or consent was given in another tenant.
    #[error("consent was given for another tenant ({claimed}) than the one that signed in")]
    OtherTenant { claimed: Uuid },
    /// Their roles are known, and neither Global Administrator nor Privileged Role Administrator is among them.
    #[error("only a Global Administrator or Privileged Role Administrator of the tenant may link it")]
    NotPrivileged,
    /// Another organization has linked the tenant, and nothing shows that this person administers it.
    #[error("another organization has linked the tenant")]
    LinkedElsewhere,
    /// Consent stands from before, which proves nothing of this person.
    #[error("consent stands already, and nothing shows that this person administers the tenant")]
    ConsentProvesNothing,
    /// Consent was given, but has not reached Graph yet.
    #[error("consent has not reached Microsoft Graph yet: {0}")]
    NotYet(GraphError),
    #[error(transparent)]
    Graph(GraphError),
    /// This Gatehouse is not set up for the tenant's cloud.
    #[error(transparent)]
    Cloud(#[from] AppsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LinkError {
    /// The journey is not over: keep its [`PendingLink`] in the session and offer
    /// [`Linking::check_link_again`].
    #[must_use]
    pub fn keeps_pending(&self) -> bool {
        match self {
            Self::NotYet(_) | Self::Store(_) => true,
            Self::Graph(error) => error.is_transient(),
            _ => false,
        }
    }

    /// For a page.
    #[must_use]
    pub fn words(&self) -> Words {
        const AN_ADMIN: &str = "Ask a Global Administrator or Privileged Role Administrator of the tenant to sign in \
                                to Gatehouse and link it.";
        match self {
            Self::NotFound => Words::new(
                "No such organization",
                "It does not exist, or you are not a member of it.",
                "Choose one of your organizations.",
            ),
            Self::StateMismatch => Words::new(
                "That was not the answer to your request",
                "The browser came back with an answer that belongs to no link journey of yours. Nothing was linked.",
                "Link the account again from Identity Providers, in one tab.",
            ),
            Self::Expired => Words::new(
                "Linking took too long",
                "It was begun more than an hour ago. Nothing was linked.",
                "Link the account again.",
            ),
            Self::Refused(refusal) => Words::consent(refusal),
            Self::OtherTenant { claimed } => Words::new(
                "Consent was given in another tenant",
                "The tenant that consented is not the one you signed in to. Nothing was linked.",
                "Link the account again, and on Microsoft's pages choose the same account that you signed in with. To \
                 link another tenant, sign in as an administrator of that tenant.",
            )
            .with_detail(&format!("The answer named tenant {claimed}.")),
            Self::NotPrivileged => Words::new(
                "An administrator must link the tenant",
                "Your roles in the tenant do not include Global Administrator or Privileged Role Administrator.",
                AN_ADMIN,
            ),
            Self::LinkedElsewhere => Words::new(
                "The tenant is linked already",
                "Another organization in Gatehouse has linked this tenant, and your sign-in does not show that you \
                 administer it.",
                AN_ADMIN,
            ),
            Self::ConsentProvesNothing => Words::new(
                "Gatehouse cannot tell that you administer the tenant",
                "The tenant consented before, so consent given now would prove nothing, and your sign-in carries no \
                 directory roles.",
                "Ask a Global Administrator or Privileged Role Administrator of the tenant to sign in and link it. If \
                 you are one, whoever runs this Gatehouse must add the optional claim \"wids\" to the id tokens of its \
                 app registration; or delete Gatehouse's enterprise application in Entra ID and link again.",
            ),
            Self::NotYet(error) => Words::new(
                "Consent is on its way",
                "You gave consent, but Microsoft has not passed it on to Intune yet. That usually takes seconds, at \
                 times some minutes.",
                "Wait a moment and choose Check again. If it lasts longer than half an hour, see in the Entra admin \
                 center whether Gatehouse's enterprise application holds DeviceManagementManagedDevices.Read.All.",
            )
            .with_detail(&error.to_string()),
            Self::Graph(error) => Words::graph(error),
            Self::Cloud(error) => Words::new(
                "Not this cloud",
                "This Gatehouse is not set up for the tenant's cloud any more.",
                "Tell whoever runs this Gatehouse.",
            )
            .with_detail(&error.to_string()),
            Self::Store(_) => Words::store(),
        }
    }
}

impl From<ConsentError> for LinkError {
    fn from(error: ConsentError) -> Self {
        match error {
            ConsentError::StateMismatch => Self::StateMismatch,
            ConsentError::Refused(refusal) => Self::Refused(refusal),
            ConsentError::OtherTenant { claimed } => Self::OtherTenant { claimed },
        }
    }
}

impl Linking {
    /// Begins to link a tenant to an organization: where to send the browser, and what to keep in its server-side
    /// session. `tenant` is whoever vouches for the tenant: the person's own `identity`, or, to link another tenant,
    /// what [`Linking::verify_identity`] returned for its administrator.
    pub async fn begin_link(
        &self,
        org: OrgId,
        who: &SignedIn,
        tenant: &VerifiedIdentity,
    ) -> Result<(Url, PendingLink), LinkError> {
        let microsoft = self.gatehouse(tenant.cloud)?;
        let privileged = tenant.is_privileged();
        self.may_link(org, who.account, tenant.cloud, tenant.tid, privileged).await?;
        if !privileged {
            if tenant.guest || tenant.roles.is_some() {
                return Err(LinkError::NotPrivileged);
            }
            match self.present_consent(microsoft, tenant.tid).await {
                Ok(Consent::Absent) => {}
                Ok(Consent::Stands) => return Err(LinkError::ConsentProvesNothing),
                // Whatever leaves it open leaves the proof open.
                Err(error) => return Err(LinkError::Graph(error)),
            }
        }
        let (url, consent) = microsoft.begin_consent(tenant.tid, &self.0.config.consent_redirect);
        let pending = PendingLink {
            org,
            account: who.account,
            consent,
            cloud: tenant.cloud,
            user_name: tenant.user_name.clone(),
            privileged,
            consented: false,
            begun_at: self.now(),
        };
        Ok((url, pending))
    }

    /// Completes the journey with Microsoft's callback: waits for consent to reach Graph, then links. Where it fails
    /// and [`LinkError::keeps_pending`], put `pending`, which then knows of the consent, back into the session;
    /// otherwise it is spent.
    pub async fn complete_link(
        &self,
        who: &SignedIn,
        pending: &mut PendingLink,
        callback: &ConsentCallback,
    ) -> Result<Linked, LinkError> {
        if pending.account != who.account {
            return Err(LinkError::StateMismatch);
        }
        if let Err(error) = pending.consent.check(callback) {
            let error = LinkError::from(error);
            self.record_refusal(who, pending, &error).await?;
            return Err(error);
        }
        pending.consented = true;
        self.check_link_again(who, pending).await
    }

    /// Checks again whether consent has reached Graph, and links. For a journey whose consent was given.
    pub async fn check_link_again(&self, who: &SignedIn, pending: &PendingLink) -> Result<Linked, LinkError> {
        if pending.account != who.account || !pending.consented {
            return Err(LinkError::StateMismatch);
        }
        if self.now() - pending.begun_at > PENDING_FOR {
            return Err(LinkError::Expired);
        }
        let microsoft = self.gatehouse(pending.cloud)?;
        if let Err(error) = self.probe_patiently(microsoft, pending.tid()).await {
            let error = if is_absent(&error) { LinkError::NotYet(error) } else { LinkError::Graph(error) };
            tracing::info!(org = %pending.org, tid = %pending.tid(), %error, "the tenant does not answer yet");
            return Err(error);
        }
        let tenant_name = tenant_name(microsoft, pending.tid(), &pending.user_name).await;
        // Again: since the journey began, the tenant may have been linked elsewhere.
        self.may_link(pending.org, who.account, pending.cloud, pending.tid(), pending.privileged).await?;
        let new = ProvenLink {
            org: pending.org,
            cloud: pending.cloud,
            tid: pending.tid(),
            tenant_name: &tenant_name,
            vouched_by: &pending.user_name,
            // Consent was given to Gatehouse's own registration.
            app: None,
            taken: &[],
        };
        self.store_link(who, new).await
    }

    /// The rules that need no word of Microsoft's (see the crate's documentation).
    pub(crate) async fn may_link(
        &self,
        org: OrgId,
        account: AccountId,
        cloud: CloudName,
        tid: Uuid,
        privileged: bool,
    ) -> Result<(), LinkError> {
        let mut tx = self.store().org(org).await?;
        let row = orgs::get(&mut tx).await?.ok_or(LinkError::NotFound)?;
        if !accounts::is_member(&mut tx, account).await? {
            return Err(LinkError::NotFound);
        }
        drop(tx);
        if privileged {
            return Ok(());
        }
        if row.home_tid != tid || row.home_cloud != cloud.as_str() {
            return Err(LinkError::NotPrivileged);
        }
        let mut tx = self.store().system().await?;
        let elsewhere = links::is_linked_elsewhere(&mut tx, cloud.as_str(), tid, org).await?;
        if elsewhere { Err(LinkError::LinkedElsewhere) } else { Ok(()) }
    }

    /// Stores a link whose proofs are there.
    pub(crate) async fn store_link(&self, who: &SignedIn, new: ProvenLink<'_>) -> Result<Linked, LinkError> {
        match self.try_store_link(who, new).await {
            // Another tab was faster: its link is renewed.
            Err(LinkError::Store(error)) if error.unique_violation() == Some("link_tid") => {
                self.try_store_link(who, new).await
            }
            other => other,
        }
    }

    async fn try_store_link(&self, who: &SignedIn, proven: ProvenLink<'_>) -> Result<Linked, LinkError> {
        let ProvenLink { org, cloud, tid, tenant_name, vouched_by, app, taken } = proven;
        let now = self.now();
        let mut tx = self.store().org(org).await?;
        if !accounts::is_member(&mut tx, who.account).await? {
            return Err(LinkError::NotFound);
        }
        let before = links::by_tenant(&mut tx, cloud.as_str(), tid).await?;
        let link = before.as_ref().map_or_else(|| self.ids().make(now), |row| row.id);
        let new = NewLink {
            id: link,
            cloud: cloud.as_str(),
            app: app.map(|app| app.id),
            tid,
            tenant_name,
            linked_by: who.account,
            linked_by_name: &who.identity.name,
        };
        let renewed = before.is_some();
        let action = if renewed {
            links::relinked(&mut tx, now, new).await?;
            "link.renew"
        } else {
            links::insert(&mut tx, now, new).await?;
            "link.create"
        };
        let actor = actor(who);
        let detail = json!({
            "link": link, "cloud": cloud, "tid": tid, "vouched_by": vouched_by,
            "client_id": app.map(|app| app.client_id),
        });
        audit::write(&mut tx, self.ids(), now, &actor, action, tenant_name, detail).await?;
        if let Some(app) = app {
            for credential in taken {
                self.apps().note_proof(&mut tx, app, credential, &actor).await?;
            }
        }
        orgs::changed(&mut tx, self.ids(), now, false).await?;
        tx.commit().await?;
        tracing::info!(%org, %link, %cloud, %tid, own_app = app.is_some(), renewed, "linked");
        Ok(Linked { org, link, tenant_name: tenant_name.to_owned(), renewed })
    }

    /// An answer that names another tenant is worth a line: somebody forged it, or went astray.
    async fn record_refusal(
        &self,
        who: &SignedIn,
        pending: &PendingLink,
        error: &LinkError,
    ) -> Result<(), StoreError> {
        let LinkError::OtherTenant { claimed } = error else { return Ok(()) };
        tracing::warn!(org = %pending.org, account = %who.account, %claimed, tid = %pending.tid(), "consent callback for another tenant");
        let now = self.now();
        let mut tx = self.store().org(pending.org).await?;
        let detail = json!({ "verified_tid": pending.tid(), "claimed_tid": claimed });
        let target = pending.tid().to_string();
        audit::write(&mut tx, self.ids(), now, &actor(who), "link.refused", &target, detail).await?;
        tx.commit().await
    }
}

/// A link that was proven, to be stored.
#[derive(Clone, Copy)]
pub(crate) struct ProvenLink<'a> {
    pub org: OrgId,
    pub cloud: CloudName,
    pub tid: Uuid,
    pub tenant_name: &'a str,
    pub vouched_by: &'a str,
    /// The organization's own registration; `None`: Gatehouse's.
    pub app: Option<&'a AppRow>,
    /// Its credentials that Microsoft took for the first time.
    pub taken: &'a [CredentialRow],
}

/// For people; without the permission to read it, the domain of the administrator's user name.
pub(crate) async fn tenant_name(microsoft: &Microsoft, tid: Uuid, user_name: &str) -> String {
    match microsoft.graph(tid).organization().await {
        Ok(Some(organization)) => organization.display_name,
        Ok(None) | Err(_) => match user_name.rsplit_once('@') {
            Some((_, domain)) if !domain.is_empty() => domain.to_owned(),
            _ => tid.to_string(),
        },
    }
}
