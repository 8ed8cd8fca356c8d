//! App registrations that the organization brings, and their credentials. Secrets are stored sealed; what opens them
//! is not known here.

use domain::{LinkId, OrgId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, StoreError, SystemTx};

/// An app registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRow {
    pub id: Uuid,
    /// Microsoft's cloud that it is registered in; an app registration belongs to exactly one.
    pub cloud: String,
    /// The “Application (client) ID”.
    pub client_id: Uuid,
    pub created_at: OffsetDateTime,
    pub created_by: String,
}

/// How an app proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    Certificate,
    Secret,
}

impl CredentialKind {
    /// As it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Secret => "secret",
        }
    }
}

/// A credential, without what is secret of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRow {
    pub id: Uuid,
    pub app: Uuid,
    pub kind: CredentialKind,
    /// DER, of a certificate.
    pub certificate: Option<Vec<u8>>,
    /// SHA-256 of it.
    pub thumbprint: Option<Vec<u8>>,
    pub not_before: Option<OffsetDateTime>,
    /// A secret's end is known where the admin told it.
    pub not_after: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
    /// When Microsoft first took it.
    pub proven_at: Option<OffsetDateTime>,
    /// No longer used, and its secret is gone.
    pub retired_at: Option<OffsetDateTime>,
    /// The fewest days before its end of which was told.
    pub told_days: Option<i32>,
}

impl CredentialRow {
    /// Whether it can still be used.
    #[must_use]
    pub fn is_usable(&self, now: OffsetDateTime) -> bool {
        self.retired_at.is_none() && self.not_after.is_none_or(|end| now < end)
    }
}

/// A credential to be kept.
#[derive(Clone, Copy)]
pub struct NewCredential<'a> {
    pub id: Uuid,
    pub app: Uuid,
    pub kind: CredentialKind,
    pub certificate: Option<&'a [u8]>,
    pub thumbprint: Option<&'a [u8]>,
    pub not_before: Option<OffsetDateTime>,
    pub not_after: Option<OffsetDateTime>,
    /// The data key that sealed it.
    pub key: Uuid,
    pub sealed: &'a [u8],
    /// Microsoft took it already.
    pub proven_at: Option<OffsetDateTime>,
}

/// A credential as it is used: sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCredential {
    pub credential: CredentialRow,
    pub key: Uuid,
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for SealedCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedCredential").field("credential", &self.credential.id).finish_non_exhaustive()
    }
}

struct Row {
    id: Uuid,
    app_id: Uuid,
    kind: String,
    certificate: Option<Vec<u8>>,
    thumbprint: Option<Vec<u8>>,
    not_before: Option<OffsetDateTime>,
    not_after: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    proven_at: Option<OffsetDateTime>,
    retired_at: Option<OffsetDateTime>,
    told_days: Option<i32>,
}

impl TryFrom<Row> for CredentialRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self> {
        let kind = match row.kind.as_str() {
            "certificate" => CredentialKind::Certificate,
            "secret" => CredentialKind::Secret,
            other => return Err(StoreError::corrupt("app_credential.kind", other)),
        };
        Ok(Self {
            id: row.id,
            app: row.app_id,
            kind,
            certificate: row.certificate,
            thumbprint: row.thumbprint,
            not_before: row.not_before,
            not_after: row.not_after,
            created_at: row.created_at,
            proven_at: row.proven_at,
            retired_at: row.retired_at,
            told_days: row.told_days,
        })
    }
}

/// Keeps an app registration. One that the organization has already runs into the unique index
/// `app_registration_client`.
pub async fn insert(tx: &mut OrgTx, app: &AppRow) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO app_registration (org_id, id, cloud, client_id, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6)",
        org,
        app.id,
        app.cloud,
        app.client_id,
        app.created_at,
        app.created_by,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The app registrations of the organization, in the order in which they came.
pub async fn list(tx: &mut OrgTx) -> Result<Vec<AppRow>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        AppRow,
        "SELECT id, cloud, client_id, created_at, created_by FROM app_registration WHERE org_id = $1 ORDER BY id",
        org,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows)
}

/// One of them.
pub async fn get(tx: &mut OrgTx, id: Uuid) -> Result<Option<AppRow>> {
    let org = tx.org().uuid();
    let row = sqlx::query_as!(
        AppRow,
        "SELECT id, cloud, client_id, created_at, created_by FROM app_registration WHERE org_id = $1 AND id = $2",
        org,
        id,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row)
}

/// Removes an app registration with its credentials. False where there is none, or a link still uses it.
pub async fn delete(tx: &mut OrgTx, id: Uuid) -> Result<bool> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "DELETE FROM app_registration a WHERE a.org_id = $1 AND a.id = $2
         AND NOT EXISTS (SELECT FROM link l WHERE l.org_id = $1 AND l.app_id = $2)",
        org,
        id,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps a credential.
pub async fn insert_credential(tx: &mut OrgTx, new: NewCredential<'_>, now: OffsetDateTime) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO app_credential (org_id, id, app_id, kind, certificate, thumbprint, not_before, not_after, key_id,
                                     sealed, created_at, proven_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        org,
        new.id,
        new.app,
        new.kind.as_str(),
        new.certificate,
        new.thumbprint,
        new.not_before,
        new.not_after,
        new.key,
        new.sealed,
        now,
        new.proven_at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The credentials of all apps, newest first.
pub async fn credentials(tx: &mut OrgTx) -> Result<Vec<CredentialRow>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, app_id, kind, certificate, thumbprint, not_before, not_after, created_at, proven_at, retired_at,
                told_days
         FROM app_credential WHERE org_id = $1 ORDER BY created_at DESC, id DESC",
        org,
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter().map(CredentialRow::try_from).collect()
}

/// The credentials of an app that are not retired, newest first, with what is sealed.
pub async fn sealed(tx: &mut OrgTx, app: Uuid) -> Result<Vec<SealedCredential>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT id, kind, certificate, thumbprint, not_before, not_after, created_at, proven_at, told_days, key_id,
                  sealed AS "sealed!"
           FROM app_credential WHERE org_id = $1 AND app_id = $2 AND retired_at IS NULL
           ORDER BY created_at DESC, id DESC"#,
        org,
        app,
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter()
        .map(|row| {
            let credential = Row {
                id: row.id,
                app_id: app,
                kind: row.kind,
                certificate: row.certificate,
                thumbprint: row.thumbprint,
                not_before: row.not_before,
                not_after: row.not_after,
                created_at: row.created_at,
                proven_at: row.proven_at,
                retired_at: None,
                told_days: row.told_days,
            };
            Ok(SealedCredential { credential: credential.try_into()?, key: row.key_id, sealed: row.sealed })
        })
        .collect()
}

/// Microsoft took a credential. False where that is known.
pub async fn proven(tx: &mut OrgTx, credential: Uuid, now: OffsetDateTime) -> Result<bool> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE app_credential SET proven_at = $3 WHERE org_id = $1 AND id = $2 AND proven_at IS NULL",
        org,
        credential,
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A credential is no longer used; its secret is forgotten. False where it was retired before.
pub async fn retire(tx: &mut OrgTx, credential: Uuid, now: OffsetDateTime) -> Result<bool> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE app_credential SET retired_at = $3, sealed = NULL
         WHERE org_id = $1 AND id = $2 AND retired_at IS NULL",
        org,
        credential,
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// It was told that so many days are left. False where that, or less, was told before.
pub async fn told(tx: &mut OrgTx, credential: Uuid, days: i32) -> Result<bool> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE app_credential SET told_days = $3
         WHERE org_id = $1 AND id = $2 AND (told_days IS NULL OR told_days > $3)",
        org,
        credential,
        days,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Which registration speaks for a link from now on; `None`: Gatehouse's. False where there is no such link.
pub async fn use_for_link(tx: &mut OrgTx, link: LinkId, app: Option<Uuid>) -> Result<bool> {
    let org = tx.org().uuid();
    let done =
        sqlx::query!("UPDATE link SET app_id = $3 WHERE org_id = $1 AND id = $2", org, link.uuid(), app)
            .execute(tx.conn())
            .await?;
    Ok(done.rows_affected() == 1)
}

/// The organizations whose links use app registrations of their own, ascending, after `after`.
pub async fn orgs_with_own(tx: &mut SystemTx, after: Option<OrgId>, limit: i64) -> Result<Vec<OrgId>> {
    let ids = sqlx::query_scalar!(
        "SELECT DISTINCT org_id FROM link
         WHERE app_id IS NOT NULL AND ($1::uuid IS NULL OR org_id > $1) ORDER BY org_id LIMIT $2",
        after.map(OrgId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(ids.into_iter().map(OrgId).collect())
}
