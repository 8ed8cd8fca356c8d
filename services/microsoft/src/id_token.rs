//! Who signed in: verification of Entra ID's v2 id tokens.
//!
//! openidconnect's verifier knows one fixed issuer and no `issuer` of a key, so the token is verified here, by the
//! checklist of Microsoft ("Validate tokens", claims-validation): RS256 alone, audience, issuer made from the
//! token's own `tid`, the key's issuer, times, nonce, version, and never a personal account.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use uuid::{Uuid, uuid};

use crate::cloud::CloudName;
use crate::signing_keys::{Authority, TENANT_PLACEHOLDER};

/// The tenant of all personal Microsoft accounts: nobody's organization.
const PERSONAL_ACCOUNTS: Uuid = uuid!("9188040d-6c67-4c5b-b112-36a304b66dad");
/// Clocks may differ by so much.
const SKEW: Duration = Duration::seconds(300);

/// A person, as Entra ID vouches for them. Known by cloud and `(tid, oid)`; all else may change at any time and
/// authorizes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedIdentity {
    /// The cloud whose Entra ID vouches: its word is good for its own tenants alone.
    pub cloud: CloudName,
    pub tid: Uuid,
    pub oid: Uuid,
    pub name: String,
    /// `preferred_username`: for display alone.
    pub user_name: String,
    /// An account of elsewhere, invited into the tenant.
    pub guest: bool,
    /// Directory roles (`wids`), by template id. `None`: the app registration does not ask for the claim, or the
    /// person holds no role.
    pub roles: Option<Vec<Uuid>>,
}

/// The directory roles that may consent to application permissions of Microsoft Graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryRole {
    GlobalAdministrator,
    PrivilegedRoleAdministrator,
}

impl DirectoryRole {
    /// The role's template id, the same in every tenant.
    #[must_use]
    pub const fn template_id(self) -> Uuid {
        match self {
            Self::GlobalAdministrator => uuid!("62e90394-69f5-4237-9190-012177145e10"),
            Self::PrivilegedRoleAdministrator => uuid!("e8611ab8-c189-46e8-94e1-60213ab1f814"),
        }
    }
}

impl VerifiedIdentity {
    /// Whether Entra ID vouches that the person is Global Administrator or Privileged Role Administrator.
    #[must_use]
    pub fn is_privileged(&self) -> bool {
        let wanted = [DirectoryRole::GlobalAdministrator, DirectoryRole::PrivilegedRoleAdministrator];
        self.roles.iter().flatten().any(|role| wanted.iter().any(|wanted| wanted.template_id() == *role))
    }
}

/// The id token is not one to believe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    #[error("it is not a signed token")]
    Malformed,
    #[error("it is signed with another algorithm than RS256")]
    Algorithm,
    #[error("it is signed with a key that Microsoft does not publish")]
    UnknownKey,
    #[error("its signature does not hold")]
    Signature,
    #[error("its key signs for another issuer")]
    KeyIssuer,
    #[error("it was issued by another authority")]
    Issuer,
    #[error("it is for another application")]
    Audience,
    #[error("its version is not 2.0")]
    Version,
    #[error("it is expired, or not valid yet; check this machine's clock")]
    Time,
    #[error("it answers another sign-in")]
    Nonce,
    #[error("it names no tenant or no person")]
    Identity,
    #[error("it is of a personal Microsoft account; sign in with a work or school account")]
    PersonalAccount,
}

/// The key that a token says it is signed with, before anything of it is believed.
pub(crate) fn key_id(token: &str) -> Result<String, IdTokenError> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| IdTokenError::Malformed)?;
    if header.alg != Algorithm::RS256 {
        return Err(IdTokenError::Algorithm);
    }
    header.kid.ok_or(IdTokenError::UnknownKey)
}

/// Verifies a token. `authority` must have been asked for the token's key first.
pub(crate) fn verify(
    token: &str,
    cloud: CloudName,
    authority: &Authority,
    client_id: Uuid,
    nonce: &str,
    now: OffsetDateTime,
) -> Result<VerifiedIdentity, IdTokenError> {
    let key = authority.key(&key_id(token)?).ok_or(IdTokenError::UnknownKey)?;
    let decoding = DecodingKey::from_rsa_components(&key.n, &key.e).map_err(|_| IdTokenError::UnknownKey)?;
    let claims: Claims = {
        // The library's own checks read the machine's clock, or know one issuer: all of them are below.
        let mut signature_only = Validation::new(Algorithm::RS256);
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        signature_only.required_spec_claims.clear();
        let decoded = jsonwebtoken::decode(token, &decoding, &signature_only);
        decoded.map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => IdTokenError::Signature,
            _ => IdTokenError::Malformed,
        })?
    }
    .claims;

    let tid = claims.tid.as_deref().and_then(guid).ok_or(IdTokenError::Identity)?;
    let issuer = authority.issuer.replace(TENANT_PLACEHOLDER, &tid.to_string());
    if claims.iss.as_deref() != Some(issuer.as_str()) {
        return Err(IdTokenError::Issuer);
    }
    // A key with the template signs for every tenant, one with a GUID for that tenant alone. As in Microsoft's own
    // library, a key without an issuer is bound by nothing more.
    let key_issuer = key.issuer.as_ref().map(|of| of.replace(TENANT_PLACEHOLDER, &tid.to_string()));
    if key_issuer.is_some_and(|of| of != issuer) {
        return Err(IdTokenError::KeyIssuer);
    }
    if tid == PERSONAL_ACCOUNTS {
        return Err(IdTokenError::PersonalAccount);
    }
    if claims.aud.as_deref().and_then(guid) != Some(client_id) {
        return Err(IdTokenError::Audience);
    }
    if claims.ver.as_deref() != Some("2.0") {
        return Err(IdTokenError::Version);
    }
    claims.check_times(now)?;
    if claims.nonce.as_deref() != Some(nonce) {
        return Err(IdTokenError::Nonce);
    }
    claims.identity(cloud, tid, &issuer)
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<String>,
    exp: Option<i64>,
    nbf: Option<i64>,
    iat: Option<i64>,
    nonce: Option<String>,
    tid: Option<String>,
    oid: Option<String>,
    ver: Option<String>,
    name: Option<String>,
    preferred_username: Option<String>,
    idp: Option<String>,
    /// 0 member, 1 guest: a number, or a text.
    acct: Option<Value>,
    wids: Option<Vec<String>>,
}

impl Claims {
    fn check_times(&self, now: OffsetDateTime) -> Result<(), IdTokenError> {
        let (now, skew) = (now.unix_timestamp(), SKEW.whole_seconds());
        let alive = self.exp.is_some_and(|exp| now < exp.saturating_add(skew));
        let begun = self.nbf.is_some_and(|nbf| now >= nbf.saturating_sub(skew));
        let issued = self.iat.is_some_and(|iat| now >= iat.saturating_sub(skew));
        if alive && begun && issued { Ok(()) } else { Err(IdTokenError::Time) }
    }

    fn identity(self, cloud: CloudName, tid: Uuid, issuer: &str) -> Result<VerifiedIdentity, IdTokenError> {
        let oid = self.oid.as_deref().and_then(guid).ok_or(IdTokenError::Identity)?;
        let foreign = self.idp.as_deref().is_some_and(|idp| idp != issuer);
        let invited = match &self.acct {
            Some(Value::Number(acct)) => acct.as_i64() == Some(1),
            Some(Value::String(acct)) => acct == "1",
            _ => false,
        };
        let user_name = shown(self.preferred_username).unwrap_or_else(|| oid.to_string());
        Ok(VerifiedIdentity {
            cloud,
            tid,
            oid,
            name: shown(self.name).unwrap_or_else(|| user_name.clone()),
            user_name,
            guest: foreign || invited,
            roles: self.wids.map(|wids| wids.iter().filter_map(|wid| guid(wid)).collect()),
        })
    }
}

/// A GUID in its usual form alone: `Uuid` reads others too, which no issuer is made of.
fn guid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::parse_str(text).ok()).flatten().filter(|id| !id.is_nil())
}

/// Names are the tenant's to choose: they are shown, without control characters, and so far.
fn shown(text: Option<String>) -> Option<String> {
    const CHARS_MAX: usize = 200;
    let clean: String = text?.trim().chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect();
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
#[path = "id_token_tests.rs"]
mod tests;
