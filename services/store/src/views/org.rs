//! Organizations, as their members see them.

use domain::{AccountId, OrgId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, SystemTx};

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

/// One line of the list of an account's organizations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub id: OrgId,
    pub name: String,
    pub since: OffsetDateTime,
}

/// The organizations that an account is a member of, by name.
pub async fn memberships(tx: &mut SystemTx, account: AccountId) -> Result<Vec<Membership>> {
    let rows = sqlx::query!(
        "SELECT o.org_id, o.name, m.created_at FROM member m JOIN org o ON o.org_id = m.org_id
         WHERE m.account_id = $1 ORDER BY lower(o.name), o.org_id LIMIT 200",
        account.uuid(),
    )
    .fetch_all(tx.conn())
    .await?;
    let membership = |r: (Uuid, String, OffsetDateTime)| Membership { id: OrgId(r.0), name: r.1, since: r.2 };
    Ok(rows.into_iter().map(|r| membership((r.org_id, r.name, r.created_at))).collect())
}

/// The organization of a tenant, as a person of that tenant who is no member may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompanyOrg {
    pub id: OrgId,
    pub name: String,
    /// The names of people to ask.
    pub admins: Vec<String>,
}

/// The organization that a tenant's first sign-in created.
pub async fn of_tenant(tx: &mut SystemTx, tid: Uuid) -> Result<Option<CompanyOrg>> {
    let row = sqlx::query!("SELECT org_id, name FROM org WHERE home_tid = $1", tid)
        .fetch_optional(tx.conn())
        .await?;
    let Some(org) = row else { return Ok(None) };
    let admins = sqlx::query_scalar!(
        "SELECT a.name FROM member m JOIN account a ON a.id = m.account_id
         WHERE m.org_id = $1 AND a.tid = $2 ORDER BY m.created_at LIMIT 5",
        org.org_id,
        tid,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(Some(CompanyOrg { id: OrgId(org.org_id), name: org.name, admins }))
}
