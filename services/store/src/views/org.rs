//! Organizations, as their members see them.

use domain::{AccountId, OrgId};
use uuid::Uuid;

use crate::{OrgTx, Result};

/// An organization, seen by one of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberOrg {
    pub id: OrgId,
    pub name: String,
    pub home_tid: Uuid,
    pub policy_version: Option<i32>,
}

/// The transaction's organization, if the account is a member of it.
pub async fn for_member(tx: &mut OrgTx, account: AccountId) -> Result<Option<MemberOrg>> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        "SELECT o.org_id, o.name, o.home_tid, o.policy_version
         FROM org o JOIN member m ON m.org_id = o.org_id
         WHERE o.org_id = $1 AND m.account_id = $2",
        org,
        account.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map(|r| MemberOrg {
        id: OrgId(r.org_id),
        name: r.name,
        home_tid: r.home_tid,
        policy_version: r.policy_version,
    }))
}
