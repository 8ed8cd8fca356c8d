//! Sites, edges, and the credentials of edges.

pub mod change;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::outbox::OutboxMessage;
use domain::time::Ids;
use domain::{CredentialId, EdgeId, OrgId, SiteId};
use serde_json::json;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{self, Actor};
use crate::{OrgTx, Result, StoreError, outbox};

/// A place of the organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteRow {
    pub id: SiteId,
    pub name: String,
    pub created_at: OffsetDateTime,
}

/// A NAC edge device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeRow {
    pub id: EdgeId,
    pub site: SiteId,
    pub site_name: String,
    pub name: String,
    pub created_at: OffsetDateTime,
    pub last_seen_at: Option<OffsetDateTime>,
    /// Its credentials are refused.
    pub disabled_at: Option<OffsetDateTime>,
}

/// A credential, with what authenticating needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRow {
    pub id: CredentialId,
    pub edge: EdgeId,
    pub site: SiteId,
    /// What tells the token apart ([`EdgeToken::label`]).
    pub prefix: String,
    /// SHA-256 of the whole token.
    pub token_hash: [u8; 32],
    pub created_at: OffsetDateTime,
    pub revoked_at: Option<OffsetDateTime>,
    /// It was replaced, and is refused from then on.
    pub expires_at: Option<OffsetDateTime>,
    /// Written once in a while.
    pub last_used_at: Option<OffsetDateTime>,
    /// The edge is switched off.
    pub edge_disabled: bool,
}

impl CredentialRow {
    /// Refused for good, whatever the time: revoked, or its edge is switched off.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.revoked_at.is_some() || self.edge_disabled
    }

    /// Whether it was replaced long enough ago, or revoked.
    #[must_use]
    pub fn is_over(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_some() || self.expires_at.is_some_and(|at| at <= now)
    }
}

const TOKEN_HEAD: &str = "ghe_";
/// Base64 of 32 bytes, unpadded.
const PART_CHARS: usize = 43;
/// How much of it, at its beginning and its end, is shown to tell tokens apart: all tokens of an organization begin
/// alike, and those of one credential end alike.
const HEAD_CHARS: usize = 4;
const TAIL_CHARS: usize = 6;

/// An edge's token: `ghe_<base64url(org ++ credential)>_<base64url(32 random bytes)>`. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct EdgeToken {
    pub org: OrgId,
    pub credential: CredentialId,
    text: String,
}

impl EdgeToken {
    fn new(org: OrgId, credential: CredentialId, secret: &[u8; 32]) -> Self {
        let mut place = [0; 32];
        place[..16].copy_from_slice(org.uuid().as_bytes());
        place[16..].copy_from_slice(credential.uuid().as_bytes());
        let text =
            format!("{TOKEN_HEAD}{}_{}", URL_SAFE_NO_PAD.encode(place), URL_SAFE_NO_PAD.encode(secret));
        Self { org, credential, text }
    }

    /// Reads a token; `None` where the text is none. Whether it is valid, only its hash tells.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(TOKEN_HEAD)?;
        let place = rest.get(..PART_CHARS)?;
        let secret = rest.get(PART_CHARS..)?.strip_prefix('_')?;
        if secret.len() != PART_CHARS {
            return None;
        }
        let place: [u8; 32] = URL_SAFE_NO_PAD.decode(place).ok()?.try_into().ok()?;
        let (org, credential) = place.split_at(16);
        Some(Self {
            org: OrgId(Uuid::from_slice(org).ok()?),
            credential: CredentialId(Uuid::from_slice(credential).ok()?),
            text: text.to_owned(),
        })
    }

    /// SHA-256 of the whole token: 256 random bits need no slow hash.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }

    /// What tells it apart and is no secret: how it begins, and how its public part ends.
    #[must_use]
    pub fn label(&self) -> String {
        let place = &self.text[TOKEN_HEAD.len()..TOKEN_HEAD.len() + PART_CHARS];
        format!("{TOKEN_HEAD}{}…{}_", &place[..HEAD_CHARS], &place[PART_CHARS - TAIL_CHARS..])
    }

    /// The token itself, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for EdgeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EdgeToken({})", self.credential)
    }
}

/// Makes a site. A name that another site bears (without regard to case) runs into the unique index `site_name`.
pub async fn create_site(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    name: &str,
) -> Result<SiteRow> {
    let site = SiteRow { id: ids.make(now), name: name.to_owned(), created_at: now };
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO site (org_id, id, name, created_at) VALUES ($1, $2, $3, $4)",
        org,
        site.id.uuid(),
        name,
        now,
    )
    .execute(tx.conn())
    .await?;
    audit::write(tx, ids, now, actor, "site.create", name, json!({"site_id": site.id})).await?;
    Ok(site)
}

/// Every site, by name.
pub async fn list_sites(tx: &mut OrgTx) -> Result<Vec<SiteRow>> {
    let org = tx.org().uuid();
    let rows =
        sqlx::query!("SELECT id, name, created_at FROM site WHERE org_id = $1 ORDER BY lower(name)", org)
            .fetch_all(tx.conn())
            .await?;
    let sites =
        rows.into_iter().map(|r| SiteRow { id: SiteId(r.id), name: r.name, created_at: r.created_at });
    Ok(sites.collect())
}

/// Makes an edge at a site. `None`: the organization has no such site. A name that another edge bears runs into the
/// unique index `edge_name`.
pub async fn create_edge(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    site: SiteId,
    name: &str,
) -> Result<Option<EdgeId>> {
    let org = tx.org().uuid();
    let id: EdgeId = ids.make(now);
    let inserted = sqlx::query!(
        "INSERT INTO edge (org_id, id, site_id, name, created_at)
         SELECT $1, $2, id, $4, $5 FROM site WHERE org_id = $1 AND id = $3",
        org,
        id.uuid(),
        site.uuid(),
        name,
        now,
    )
    .execute(tx.conn())
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(None);
    }
    audit::write(tx, ids, now, actor, "edge.create", name, json!({"edge_id": id, "site_id": site})).await?;
    Ok(Some(id))
}

/// Every edge, by site and name.
pub async fn list_edges(tx: &mut OrgTx) -> Result<Vec<EdgeRow>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "SELECT e.id, e.site_id, s.name AS site_name, e.name, e.created_at, e.last_seen_at, e.disabled_at
         FROM edge e JOIN site s ON s.org_id = e.org_id AND s.id = e.site_id
         WHERE e.org_id = $1 ORDER BY lower(s.name), lower(e.name)",
        org,
    )
    .fetch_all(tx.conn())
    .await?;
    let edges = rows.into_iter().map(|r| EdgeRow {
        id: EdgeId(r.id),
        site: SiteId(r.site_id),
        site_name: r.site_name,
        name: r.name,
        created_at: r.created_at,
        last_seen_at: r.last_seen_at,
        disabled_at: r.disabled_at,
    });
    Ok(edges.collect())
}

/// Makes a credential for an edge. `None`: the organization has no such edge. The token is shown once; only its
/// hash is kept.
pub async fn issue_credential(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    edge: EdgeId,
) -> Result<Option<(EdgeToken, CredentialId)>> {
    let org = tx.org();
    let id: CredentialId = ids.make(now);
    let token = EdgeToken::new(org, id, &ids.secret());
    let prefix = token.label();
    let edge_name = sqlx::query_scalar!(
        "WITH made AS (
             INSERT INTO edge_credential (org_id, id, edge_id, prefix, token_hash, created_at)
             SELECT $1, $2, id, $4, $5, $6 FROM edge WHERE org_id = $1 AND id = $3
             RETURNING edge_id
         )
         SELECT e.name FROM edge e JOIN made ON made.edge_id = e.id WHERE e.org_id = $1",
        org.uuid(),
        id.uuid(),
        edge.uuid(),
        prefix,
        &token.hash()[..],
        now,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(edge_name) = edge_name else { return Ok(None) };
    let detail = json!({"edge_id": edge, "credential_id": id, "prefix": prefix});
    audit::write(tx, ids, now, actor, "edge.credential.issue", &edge_name, detail).await?;
    outbox::enqueue(tx, ids, now, &OutboxMessage::CredentialChanged { edge }).await?;
    Ok(Some((token, id)))
}

/// Revokes a credential. `false`: the organization has no such credential, or it is revoked already.
pub async fn revoke_credential(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    credential: CredentialId,
) -> Result<bool> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        "UPDATE edge_credential c SET revoked_at = $3 FROM edge e
         WHERE c.org_id = $1 AND c.id = $2 AND c.revoked_at IS NULL AND e.org_id = $1 AND e.id = c.edge_id
         RETURNING e.id, e.name, c.prefix",
        org,
        credential.uuid(),
        now,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(false) };
    let edge = EdgeId(row.id);
    let detail = json!({"edge_id": edge, "credential_id": credential, "prefix": row.prefix});
    audit::write(tx, ids, now, actor, "edge.credential.revoke", &row.name, detail).await?;
    outbox::enqueue(tx, ids, now, &OutboxMessage::CredentialChanged { edge }).await?;
    Ok(true)
}

struct CredentialRecord {
    id: Uuid,
    edge_id: Uuid,
    site_id: Uuid,
    prefix: String,
    token_hash: Vec<u8>,
    created_at: OffsetDateTime,
    revoked_at: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
    last_used_at: Option<OffsetDateTime>,
    edge_disabled: bool,
}

impl TryFrom<CredentialRecord> for CredentialRow {
    type Error = StoreError;

    fn try_from(record: CredentialRecord) -> Result<Self> {
        let CredentialRecord {
            id,
            edge_id,
            site_id,
            prefix,
            token_hash,
            created_at,
            revoked_at,
            expires_at,
            last_used_at,
            edge_disabled,
        } = record;
        Ok(Self {
            id: CredentialId(id),
            edge: EdgeId(edge_id),
            site: SiteId(site_id),
            prefix,
            token_hash: token_hash
                .try_into()
                .map_err(|_| StoreError::corrupt("edge_credential.token_hash", "not 32 bytes"))?,
            created_at,
            revoked_at,
            expires_at,
            last_used_at,
            edge_disabled,
        })
    }
}

/// A credential, revoked or not.
pub async fn credential(tx: &mut OrgTx, id: CredentialId) -> Result<Option<CredentialRow>> {
    let org = tx.org().uuid();
    let record = sqlx::query_as!(
        CredentialRecord,
        r#"SELECT c.id, c.edge_id, e.site_id, c.prefix, c.token_hash, c.created_at, c.revoked_at, c.expires_at,
                  c.last_used_at, e.disabled_at IS NOT NULL AS "edge_disabled!"
           FROM edge_credential c JOIN edge e ON e.org_id = c.org_id AND e.id = c.edge_id
           WHERE c.org_id = $1 AND c.id = $2"#,
        org,
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    record.map(CredentialRow::try_from).transpose()
}

/// Every credential of an edge, revoked ones too, oldest first.
pub async fn credentials_of(tx: &mut OrgTx, edge: EdgeId) -> Result<Vec<CredentialRow>> {
    let org = tx.org().uuid();
    let records = sqlx::query_as!(
        CredentialRecord,
        r#"SELECT c.id, c.edge_id, e.site_id, c.prefix, c.token_hash, c.created_at, c.revoked_at, c.expires_at,
                  c.last_used_at, e.disabled_at IS NOT NULL AS "edge_disabled!"
           FROM edge_credential c JOIN edge e ON e.org_id = c.org_id AND e.id = c.edge_id
           WHERE c.org_id = $1 AND c.edge_id = $2 ORDER BY c.id"#,
        org,
        edge.uuid(),
    )
    .fetch_all(tx.conn())
    .await?;
    records.into_iter().map(CredentialRow::try_from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_where_to_look() {
        let now = time::macros::datetime!(2026-11-20 12:00 UTC);
        // Many, so that dashes and underscores come up in every place.
        let ids = Ids::seeded(3);
        let org = ids.make(now);
        let mut labels = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let token = EdgeToken::new(org, ids.make(now), &ids.secret());
            assert_eq!(EdgeToken::parse(token.reveal()), Some(token.clone()));
            assert_eq!(token.reveal().len(), 91);
            assert!(!format!("{token:?}").contains(token.reveal()));
            labels.insert(token.label());
        }
        assert_eq!(labels.len(), 200, "tokens of one organization are told apart");
        let good = EdgeToken::new(ids.make(now), ids.make(now), &ids.secret());
        for bad in ["", "ghe_", "ghe_x_y", &good.reveal()[1..], &good.reveal()[..90], "ghe_ü"] {
            assert_eq!(EdgeToken::parse(bad), None, "{bad}");
        }
    }
}
