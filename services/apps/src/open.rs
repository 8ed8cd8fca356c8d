//! Sealing credentials for their rows, and opening them again.

use microsoft::{Certificate, Credential};
use sealing::{DataKey, MasterKeys, Place, Purpose, WrappedKey};
use secrecy::{ExposeSecret as _, SecretString};
use store::apps::{self, AppRow, CredentialKind, CredentialRow};
use store::keys::{self, KeyRow};
use store::{OrgTx, StoreError};
use uuid::Uuid;

use crate::{Apps, AppsError, certificate};

/// A credential that can be used.
#[derive(Debug)]
pub struct Opened {
    pub row: CredentialRow,
    pub credential: Credential,
}

const fn purpose(kind: CredentialKind) -> Purpose {
    match kind {
        CredentialKind::Certificate => Purpose::CertificateKey,
        CredentialKind::Secret => Purpose::ClientSecret,
    }
}

impl Apps {
    fn master_keys(&self) -> Result<&MasterKeys, AppsError> {
        self.0.master_keys.as_ref().ok_or(AppsError::NoMasterKey)
    }

    /// Seals a secret for the credential row `id`. Returns the data key's id and the sealed text; the organization's
    /// first secret makes its data key.
    ///
    /// # Errors
    /// Where there is no master key.
    pub async fn seal(
        &self,
        tx: &mut OrgTx,
        id: Uuid,
        kind: CredentialKind,
        secret: &[u8],
    ) -> Result<(Uuid, Vec<u8>), AppsError> {
        let master_keys = self.master_keys()?;
        let org = tx.org();
        let (key_id, key) = match keys::list(tx).await?.into_iter().next() {
            Some(row) => (row.id, unwrapped(master_keys, tx, &row)?),
            None => {
                let (now, key) = (self.now(), DataKey::generate()?);
                let id = self.0.ids.uuid(now);
                let WrappedKey { master_id, bytes } = master_keys.wrap(org, id, &key)?;
                keys::insert(tx, &KeyRow { id, master_id, wrapped: bytes, created_at: now }).await?;
                (id, key)
            }
        };
        let sealed = key.seal(Place { org, row: id, purpose: purpose(kind) }, secret)?;
        Ok((key_id, sealed))
    }

    /// The credentials of an app that can be used now, newest first. One that does not open is left out and told to
    /// the log, unless it is the only one.
    ///
    /// # Errors
    /// Where none of several, or the only one, opens.
    pub async fn open(&self, tx: &mut OrgTx, app: &AppRow) -> Result<Vec<Opened>, AppsError> {
        let master_keys = self.master_keys()?;
        let (org, now) = (tx.org(), self.now());
        let key_rows = keys::list(tx).await?;
        let mut all = Vec::new();
        let mut refused = None;
        for sealed in apps::sealed(tx, app.id).await? {
            if !sealed.credential.is_usable(now) {
                continue;
            }
            let opened = (|| {
                let row = key_rows.iter().find(|row| row.id == sealed.key);
                let row = row.ok_or_else(|| StoreError::corrupt("app_credential.key_id", sealed.key))?;
                let key = unwrapped(master_keys, tx, row)?;
                let place =
                    Place { org, row: sealed.credential.id, purpose: purpose(sealed.credential.kind) };
                let secret = key.open(place, &sealed.sealed)?;
                let credential = match (sealed.credential.kind, &sealed.credential.certificate) {
                    (CredentialKind::Certificate, Some(der)) => {
                        let pair =
                            Certificate::from_pem(&certificate::pem(der), &certificate::key_pem(&secret));
                        let pair = pair.map_err(|e| StoreError::corrupt("app_credential.certificate", e))?;
                        Credential::Certificate(Box::new(pair))
                    }
                    (CredentialKind::Certificate, None) => {
                        return Err(StoreError::corrupt("app_credential.certificate", "it is missing").into());
                    }
                    (CredentialKind::Secret, _) => {
                        let text = std::str::from_utf8(secret.expose_secret());
                        let text = text.map_err(|e| StoreError::corrupt("app_credential.sealed", e))?;
                        Credential::Secret(SecretString::from(text))
                    }
                };
                Ok::<_, AppsError>(credential)
            })();
            match opened {
                Ok(credential) => all.push(Opened { row: sealed.credential, credential }),
                Err(error) => {
                    tracing::error!(%org, app = %app.id, credential = %sealed.credential.id, %error,
                        "a credential of an organization does not open");
                    refused = Some(error);
                }
            }
        }
        match refused {
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(all),
        }
    }
}

/// Wraps the organization's data keys with the first master key. Returns how many were wrapped anew.
///
/// # Errors
/// Where a key's master key is not given.
pub async fn rewrap(tx: &mut OrgTx, master_keys: &MasterKeys) -> Result<usize, AppsError> {
    let mut count = 0;
    for row in keys::list(tx).await? {
        if row.master_id == master_keys.current_id() {
            continue;
        }
        let key = unwrapped(master_keys, tx, &row)?;
        let WrappedKey { master_id, bytes } = master_keys.wrap(tx.org(), row.id, &key)?;
        count += usize::from(keys::rewrap(tx, &row, &master_id, &bytes).await?);
    }
    Ok(count)
}

fn unwrapped(master_keys: &MasterKeys, tx: &OrgTx, row: &KeyRow) -> Result<DataKey, AppsError> {
    let wrapped = WrappedKey { master_id: row.master_id.clone(), bytes: row.wrapped.clone() };
    Ok(master_keys.unwrap(tx.org(), row.id, &wrapped)?)
}
