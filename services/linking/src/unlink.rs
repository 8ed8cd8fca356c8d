//! Unlink: Gatehouse forgets a tenant's devices at once; history stays.

use domain::{LinkId, OrgId};
use serde_json::json;
use store::{StoreError, accounts, audit, links, orgs};

use crate::{Linking, SignedIn, Words, actor};

/// What was unlinked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlinked {
    pub tenant_name: String,
    /// Device records that were forgotten.
    pub devices: u64,
}

/// Why nothing was unlinked.
#[derive(Debug, thiserror::Error)]
pub enum UnlinkError {
    /// There is no such link in an organization of theirs.
    #[error("there is no such linked account")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UnlinkError {
    /// For a page.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::NotFound => Words::new(
                "No such account",
                "It was unlinked already, or never was linked.",
                "Look at the list under Identity Providers.",
            ),
            Self::Store(_) => Words::store(),
        }
    }
}

impl Linking {
    /// Removes a link with its devices and jobs. Clients are decided from then on as if Gatehouse had never known
    /// the tenant. Consent in Entra ID stands until the tenant deletes Gatehouse's enterprise application there.
    pub async fn unlink(&self, org: OrgId, who: &SignedIn, link: LinkId) -> Result<Unlinked, UnlinkError> {
        let now = self.now();
        let mut tx = self.store().org(org).await?;
        if !accounts::is_member(&mut tx, who.account).await? {
            return Err(UnlinkError::NotFound);
        }
        let row = links::get(&mut tx, link).await?.ok_or(UnlinkError::NotFound)?;
        let devices = links::delete(&mut tx, self.ids(), now, link).await?.ok_or(UnlinkError::NotFound)?;
        let detail = json!({ "link": link, "tid": row.tid, "devices": devices });
        audit::write(&mut tx, self.ids(), now, &actor(who), "link.delete", &row.tenant_name, detail).await?;
        // Clients whose devices are forgotten may deserve another answer, and so may those that had none:
        // "not enrolled" is now "unlinked".
        orgs::changed(&mut tx, self.ids(), now, true).await?;
        tx.commit().await?;
        // Whoever cannot speak for it any more holds no tokens of it either.
        if let Ok(microsoft) = self.apps().for_link(org, &row).await {
            microsoft.forget_tokens(row.tid).await;
        }
        tracing::info!(%org, %link, devices, "unlinked");
        Ok(Unlinked { tenant_name: row.tenant_name, devices })
    }
}
