//! Credentials in files, which an operator replaces while the process runs.

use std::path::PathBuf;

use secrecy::SecretString;

use crate::app::{Certificate, CertificateError, Credential};

/// Files that hold an app registration's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFiles {
    paths: Vec<PathBuf>,
    kind: CredentialKind,
}

/// What a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    Certificate,
    Secret,
}

/// A file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFileError {
    #[error("{} cannot be read: {detail}", path.display())]
    Unreadable { path: PathBuf, detail: String },
    #[error("{}: {error}", path.display())]
    Certificate { path: PathBuf, error: CertificateError },
    #[error("{} is empty", path.display())]
    Empty { path: PathBuf },
    #[error("no file is named")]
    None,
}

impl CredentialFiles {
    /// PEM files, each with one or more certificates and their keys.
    #[must_use]
    pub fn certificates(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { paths: paths.into_iter().collect(), kind: CredentialKind::Certificate }
    }

    /// Text files, each with one client secret; the newest first.
    #[must_use]
    pub fn secrets(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { paths: paths.into_iter().collect(), kind: CredentialKind::Secret }
    }

    /// Reads every file; one that cannot be used spoils them all, lest half of a change be taken for the whole.
    pub(crate) fn read(&self) -> Result<Vec<Credential>, CredentialFileError> {
        let mut all = Vec::new();
        for path in &self.paths {
            let text = std::fs::read_to_string(path).map_err(|error| CredentialFileError::Unreadable {
                path: path.clone(),
                detail: error.to_string(),
            })?;
            let text = SecretString::from(text);
            match self.kind {
                CredentialKind::Certificate => {
                    let found = Certificate::all_from_pem(&text)
                        .map_err(|error| CredentialFileError::Certificate { path: path.clone(), error })?;
                    all.extend(found.into_iter().map(|one| Credential::Certificate(Box::new(one))));
                }
                CredentialKind::Secret => {
                    let secret = secrecy::ExposeSecret::expose_secret(&text).trim();
                    if secret.is_empty() {
                        return Err(CredentialFileError::Empty { path: path.clone() });
                    }
                    all.push(Credential::Secret(secret.into()));
                }
            }
        }
        if all.is_empty() { Err(CredentialFileError::None) } else { Ok(all) }
    }
}
