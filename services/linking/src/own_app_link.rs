//! Linking a tenant with an app registration that the organization brought.
//!
//! The proofs are those of every link (see the crate's documentation), with one difference. Consent that comes into
//! being shows that an admin agreed; an app of one's own had its consent before it came here, and to hold its
//! credential shows that one controls the app, which developers and suppliers do too. So nothing but the directory
//! role that Entra ID vouches for will do: a Global Administrator or Privileged Role Administrator of the tenant.
//! The tenant is the one of a verified sign-in; nobody types it.

use apps::{Apps, AppsError};
use domain::OrgId;
use microsoft::VerifiedIdentity;
use store::apps::{self as rows, CredentialRow};
use uuid::Uuid;

use crate::link::{ProvenLink, tenant_name};
use crate::{LinkError, Linked, Linking, OwnAppError, SignedIn};

impl Linking {
    /// Gets a token for the verified tenant with the app's own credentials, asks Graph, and links; a tenant that is
    /// linked already has the app speak for it from then on. `tenant` is whoever vouches for the tenant: the person's
    /// own identity, or what [`Linking::verify_identity`] returned for its administrator.
    pub async fn verify_and_link(
        &self,
        org: OrgId,
        who: &SignedIn,
        tenant: &VerifiedIdentity,
        app: Uuid,
    ) -> Result<Linked, OwnAppError> {
        let mut tx = self.member(org, who).await?;
        let row = rows::get(&mut tx, app).await?.ok_or(OwnAppError::NotFound)?;
        let opened = self.apps().open(&mut tx, &row).await?;
        tx.commit().await?;
        if !tenant.is_privileged() {
            return Err(OwnAppError::NotPrivileged);
        }
        if row.cloud != tenant.cloud.as_str() {
            return Err(OwnAppError::OtherCloud { app: row.cloud, tenant: tenant.cloud });
        }
        if opened.is_empty() {
            return Err(AppsError::NoCredential { client_id: row.client_id }.into());
        }
        let unproven: Vec<CredentialRow> =
            opened.iter().filter(|one| one.row.proven_at.is_none()).map(|one| one.row.clone()).collect();
        let microsoft = self.apps().with_credentials(&row, opened)?;
        let graph = microsoft.graph(tenant.tid);
        // A token from before a permission was granted lacks it for as long as it lives.
        graph.forget_token().await;
        graph.probe().await?;
        let name = tenant_name(&microsoft, tenant.tid, &tenant.user_name).await;
        let new = ProvenLink {
            org,
            cloud: tenant.cloud,
            tid: tenant.tid,
            tenant_name: &name,
            vouched_by: &tenant.user_name,
            app: Some(&row),
            taken: &Apps::taken(&unproven, &microsoft),
        };
        let linked = self.store_link(who, new).await.map_err(|error| match error {
            LinkError::NotFound => OwnAppError::NotFound,
            LinkError::Store(error) => OwnAppError::Store(error),
            error => OwnAppError::Link(error),
        })?;
        self.apps().changed(org, app).await;
        Ok(linked)
    }
}
