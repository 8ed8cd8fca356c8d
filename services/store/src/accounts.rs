//! People, and whose member they are. Known by cloud and Entra's `(tid, oid)`; everything else of them may change.

use domain::time::Ids;
use domain::{AccountId, OrgId, SiteId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, SystemTx, orgs, policies};

/// The site that every new organization starts with.
pub const FIRST_SITE: &str = "Main site";

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    pub id: AccountId,
    pub tid: Uuid,
    pub oid: Uuid,
    pub name: String,
    pub user_name: String,
    pub created_at: OffsetDateTime,
    pub signed_in_at: OffsetDateTime,
}

/// An organization that a person is a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipRow {
    pub org: OrgId,
    pub org_name: String,
    pub role: String,
    pub since: OffsetDateTime,
}

/// A member of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    pub account: AccountId,
    pub name: String,
    pub user_name: String,
    pub role: String,
    pub since: OffsetDateTime,
}

/// Who signs in, as Entra ID vouched for them.
#[derive(Clone, Copy, Debug)]
pub struct SigningIn<'a> {
    /// The cloud whose Entra ID vouches. What one cloud says of a tenant of another counts for nothing.
    pub cloud: &'a str,
    pub tid: Uuid,
    pub oid: Uuid,
    pub name: &'a str,
    pub user_name: &'a str,
}

/// Records a sign-in: makes the account at the first one, and keeps its names current.
pub async fn signed_in(
    tx: &mut SystemTx,
    ids: &Ids,
    now: OffsetDateTime,
    who: SigningIn<'_>,
) -> Result<AccountId> {
    let SigningIn { cloud, tid, oid, name, user_name } = who;
    let id = sqlx::query_scalar!(
        "INSERT INTO account (id, tid, oid, name, user_name, created_at, signed_in_at, cloud)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7)
         ON CONFLICT (cloud, tid, oid) DO UPDATE SET name = $4, user_name = $5, signed_in_at = $6
         RETURNING id",
        ids.uuid(now),
        tid,
        oid,
        name,
        user_name,
        now,
        cloud,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(AccountId(id))
}

/// A person.
pub async fn get(tx: &mut SystemTx, id: AccountId) -> Result<Option<AccountRow>> {
    let row = sqlx::query!(
        "SELECT id, tid, oid, name, user_name, created_at, signed_in_at FROM account WHERE id = $1",
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map(|row| AccountRow {
        id: AccountId(row.id),
        tid: row.tid,
        oid: row.oid,
        name: row.name,
        user_name: row.user_name,
        created_at: row.created_at,
        signed_in_at: row.signed_in_at,
    }))
}

/// The organizations of a person, by name.
pub async fn memberships(tx: &mut SystemTx, account: AccountId) -> Result<Vec<MembershipRow>> {
    let rows = sqlx::query!(
        "SELECT m.org_id, o.name, m.role, m.created_at
         FROM member m JOIN org o ON o.org_id = m.org_id
         WHERE m.account_id = $1 ORDER BY lower(o.name), m.org_id",
        account.uuid(),
    )
    .fetch_all(tx.conn())
    .await?;
    let row = rows.into_iter().map(|row| MembershipRow {
        org: OrgId(row.org_id),
        org_name: row.name,
        role: row.role,
        since: row.created_at,
    });
    Ok(row.collect())
}

/// The members of the organization, longest first.
pub async fn members(tx: &mut OrgTx) -> Result<Vec<MemberRow>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "SELECT m.account_id, a.name, a.user_name, m.role, m.created_at
         FROM member m JOIN account a ON a.id = m.account_id
         WHERE m.org_id = $1 ORDER BY m.created_at, m.account_id",
        org,
    )
    .fetch_all(tx.conn())
    .await?;
    let row = rows.into_iter().map(|row| MemberRow {
        account: AccountId(row.account_id),
        name: row.name,
        user_name: row.user_name,
        role: row.role,
        since: row.created_at,
    });
    Ok(row.collect())
}

/// Whether a person is a member of the organization: what stands between a stranger and its pages.
pub async fn is_member(tx: &mut OrgTx, account: AccountId) -> Result<bool> {
    let org = tx.org().uuid();
    let found = sqlx::query_scalar!(
        "SELECT 1 AS \"one!\" FROM member WHERE org_id = $1 AND account_id = $2",
        org,
        account.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(found.is_some())
}

/// Makes a person an admin of the organization; false where they are a member already.
pub async fn add_admin(tx: &mut OrgTx, account: AccountId, now: OffsetDateTime) -> Result<bool> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "INSERT INTO member (org_id, account_id, role, created_at) VALUES ($1, $2, 'admin', $3)
         ON CONFLICT (org_id, account_id) DO NOTHING",
        org,
        account.uuid(),
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// An organization to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewOrg<'a> {
    pub name: &'a str,
    /// The cloud of the home tenant.
    pub home_cloud: &'a str,
    pub home_tid: Uuid,
    pub admin: AccountId,
    pub admin_name: &'a str,
}

/// Makes the transaction's organization: with its first admin, an empty policy draft and a first site. A tenant
/// whose organization exists runs into the unique index `org_home_tid`.
pub async fn create_org(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, new: NewOrg<'_>) -> Result<SiteId> {
    orgs::insert(tx, new.name, new.home_cloud, new.home_tid, now).await?;
    add_admin(tx, new.admin, now).await?;
    policies::create_draft(tx, new.admin_name, now).await?;
    let org = tx.org().uuid();
    let site: SiteId = ids.make(now);
    sqlx::query!(
        "INSERT INTO site (org_id, id, name, created_at) VALUES ($1, $2, $3, $4)",
        org,
        site.uuid(),
        FIRST_SITE,
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(site)
}
