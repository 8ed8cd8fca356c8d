//! Edge credentials: only their hashes.

use domain::{CredentialId, EdgeId, OrgId, SiteId};
use redis::cmd;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::snapshots::age;
use crate::{Aged, Cache, Result, millis};

/// What authenticating an edge needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedCredential {
    pub org: OrgId,
    pub id: CredentialId,
    pub edge: EdgeId,
    pub site: SiteId,
    /// SHA-256 of the whole token.
    pub token_hash: [u8; 32],
    /// Refused for good, or its edge is switched off.
    pub revoked: bool,
    /// Refused from then on.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
}

impl Cache {
    /// The credential, if it is cached, with the time since it was put: a reader confirms an old one with
    /// PostgreSQL, so that a revocation reaches every process within seconds even where every signal was lost.
    pub async fn credential(&self, org: OrgId, id: CredentialId) -> Result<Option<Aged<CachedCredential>>> {
        let key = self.credential_key(org, id);
        let mut pipe = redis::pipe();
        pipe.cmd("GET").arg(&key).cmd("PTTL").arg(&key);
        let (value, left): (Option<Vec<u8>>, i64) = self.pipe(self.config().decision_timeout, &pipe).await?;
        let credential = value.and_then(|value| serde_json::from_slice(&value).ok());
        Ok(credential.map(|value| Aged { value, age: age(self.config().credential_ttl, left) }))
    }

    /// Keeps what PostgreSQL said of a credential.
    pub async fn put_credential(&self, credential: &CachedCredential) -> Result<()> {
        let mut set = cmd("SET");
        set.arg(self.credential_key(credential.org, credential.id)).arg(serde_json::to_vec(credential)?);
        set.arg("PX").arg(millis(self.config().credential_ttl));
        self.run(self.config().command_timeout, &set).await
    }

    /// Forgets it, so that the next reader asks PostgreSQL.
    pub async fn drop_credential(&self, org: OrgId, id: CredentialId) -> Result<()> {
        self.run(self.config().command_timeout, cmd("DEL").arg(self.credential_key(org, id))).await
    }

    fn credential_key(&self, org: OrgId, id: CredentialId) -> String {
        self.org_key(org, format_args!("credential:{id}"))
    }
}
