//! Which of an app registration's credentials proves who we are.
//!
//! The newest within its validity, unless Microsoft refused it a moment ago: then the next one, until the newer gets
//! another chance. So a certificate can be replaced in any order of steps without a request that fails.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::Microsoft;
use crate::aadsts::{TokenError, TokenErrorKind};
use crate::app::{AppRegistration, Credential, sha256};
use crate::credential_files::{CredentialFiles, CredentialKind};

/// A credential that was refused is not the first choice for this long: it may have been uploaded meanwhile.
const SET_ASIDE_FOR: Duration = Duration::minutes(10);
/// Files are looked at this often at most, when a token is needed.
const FILES_EVERY: Duration = Duration::minutes(1);
/// After a refusal of every credential, files are looked at this often at most.
const FILES_IN_NEED_EVERY: Duration = Duration::seconds(5);
/// After every credential was refused, Microsoft is left in peace for this long.
const REFUSED_FOR: Duration = Duration::seconds(5);

/// A credential as pages and alerts show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialStatus {
    pub kind: CredentialKind,
    /// Of a certificate: SHA-256, base64url.
    pub thumbprint: Option<String>,
    /// Of a certificate: SHA-1, hexadecimal, as Entra ID's portal names it.
    pub portal_thumbprint: Option<String>,
    /// Of a certificate. Microsoft alone knows a secret's end.
    pub not_before: Option<OffsetDateTime>,
    pub not_after: Option<OffsetDateTime>,
    /// When this process last got a token with it.
    pub last_accepted_at: Option<OffsetDateTime>,
    pub last_refused: Option<CredentialRefusal>,
    /// Microsoft refused it since it last took it.
    pub refused: bool,
    /// The next token is asked for with this one.
    pub preferred: bool,
}

/// Microsoft did not take a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRefusal {
    pub at: OffsetDateTime,
    /// The AADSTS code, where Microsoft gave one.
    pub code: Option<u32>,
}

impl CredentialStatus {
    /// Whole days until its end; negative once that has passed, `None` for a secret.
    #[must_use]
    pub fn days_left(&self, now: OffsetDateTime) -> Option<i64> {
        Some((self.not_after? - now).whole_seconds().div_euclid(86_400))
    }
}

/// The credentials of one app registration, as they are now.
#[derive(Debug)]
pub(crate) struct App {
    client_id: Uuid,
    ring: RwLock<Arc<Ring>>,
    files: Option<Watched>,
}

/// Credentials at one moment, the newest first.
#[derive(Debug)]
pub(crate) struct Ring {
    credentials: Vec<Arc<Held>>,
    /// Names the set: who holds other credentials shares no token.
    pub id: [u8; 32],
}

/// A credential and what tells it apart.
#[derive(Debug)]
pub(crate) struct Held {
    pub credential: Credential,
    fingerprint: [u8; 32],
}

#[derive(Debug)]
struct Watched {
    files: CredentialFiles,
    looked: tokio::sync::Mutex<Looked>,
}

#[derive(Debug, Default)]
struct Looked {
    at: Option<OffsetDateTime>,
    /// What was said of files that cannot be used, so that it is said once.
    complaint: Option<String>,
}

impl App {
    pub(crate) fn new(registration: AppRegistration) -> Self {
        let client_id = registration.client_id();
        let AppRegistration { credentials, files, .. } = registration;
        let files = files.map(|files| Watched { files, looked: tokio::sync::Mutex::default() });
        Self { client_id, ring: RwLock::new(Arc::new(Ring::new(credentials))), files }
    }

    pub(crate) const fn client_id(&self) -> Uuid {
        self.client_id
    }

    pub(crate) fn ring(&self) -> Arc<Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again where they were not read within `every`. True where they hold other credentials now.
    async fn look(&self, now: OffsetDateTime, every: Duration) -> bool {
        let Some(watched) = &self.files else { return false };
        // Whoever looks already does it for all.
        let Ok(mut looked) = watched.looked.try_lock() else { return false };
        let Some(last) = looked.at else {
            // They were read when the registration was made.
            looked.at = Some(now);
            if every == FILES_EVERY {
                return false;
            }
            return self.read(watched, &mut looked).await;
        };
        // A clock that was set back must not stop it.
        if (now - last).abs() < every {
            return false;
        }
        looked.at = Some(now);
        self.read(watched, &mut looked).await
    }

    async fn read(&self, watched: &Watched, looked: &mut Looked) -> bool {
        let files = watched.files.clone();
        let read = match tokio::task::spawn_blocking(move || files.read()).await {
            Ok(Ok(credentials)) => Ok(credentials),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(credentials) => {
                looked.complaint = None;
                let ring = Ring::new(credentials);
                let mut present = self.ring.write().unwrap_or_else(PoisonError::into_inner);
                let changed = present.id != ring.id;
                if changed {
                    tracing::info!(client_id = %self.client_id, credentials = ring.credentials.len(),
                        "the app registration's credentials were read again");
                    *present = Arc::new(ring);
                }
                changed
            }
            Err(complaint) => {
                if looked.complaint.as_ref() != Some(&complaint) {
                    tracing::error!(client_id = %self.client_id, error = complaint,
                        "the app registration's new credentials cannot be used; those of before still serve");
                    looked.complaint = Some(complaint);
                }
                false
            }
        }
    }
}

impl Ring {
    fn new(credentials: Vec<Credential>) -> Self {
        let mut all: Vec<Arc<Held>> = Vec::new();
        for credential in credentials {
            let fingerprint = credential.fingerprint();
            if all.iter().all(|known| known.fingerprint != fingerprint) {
                all.push(Arc::new(Held { credential, fingerprint }));
            }
        }
        // Certificates before secrets, which keep their order.
        all.sort_by_key(|held| match &held.credential {
            Credential::Certificate(certificate) => {
                (0, std::cmp::Reverse((certificate.not_before(), certificate.not_after())))
            }
            Credential::Secret(_) => {
                (1, std::cmp::Reverse((OffsetDateTime::UNIX_EPOCH, OffsetDateTime::UNIX_EPOCH)))
            }
        });
        let mut prints: Vec<&[u8]> = all.iter().map(|held| held.fingerprint.as_slice()).collect();
        prints.sort_unstable();
        let id = sha256(&prints);
        Self { credentials: all, id }
    }
}

impl Held {
    /// Secrets are valid until Microsoft says otherwise.
    fn is_valid(&self, now: OffsetDateTime) -> bool {
        match &self.credential {
            Credential::Certificate(one) => one.not_before() <= now && now <= one.not_after(),
            Credential::Secret(_) => true,
        }
    }
}

/// What Microsoft said to credentials, shared by all handles of a process: they come and go.
#[derive(Debug, Default)]
pub(crate) struct Records(Mutex<HashMap<RecordKey, Record>>);

type RecordKey = (Arc<str>, Uuid, [u8; 32]);

#[derive(Clone, Debug, Default)]
struct Record {
    accepted_at: Option<OffsetDateTime>,
    refused: Option<(OffsetDateTime, TokenError)>,
    /// The refusal came after what was accepted.
    stands: bool,
}

impl Record {
    /// The refusal, if it is no older than `age` and nothing was accepted since.
    fn refused_within(&self, age: Duration, now: OffsetDateTime) -> Option<&TokenError> {
        let (at, error) = self.refused.as_ref()?;
        (self.stands && (now - *at).abs() < age).then_some(error)
    }
}

impl Microsoft {
    /// The app registration's credentials, those that are tried first in front. Other processes may have had other
    /// answers of Microsoft.
    #[must_use]
    pub fn credentials(&self) -> Vec<CredentialStatus> {
        let now = self.now();
        let in_order = self.candidates(now);
        let ring = self.0.app.ring();
        let rest = ring.credentials.iter().filter(|held| in_order.iter().all(|one| !Arc::ptr_eq(one, held)));
        let all = in_order.iter().chain(rest);
        all.enumerate()
            .map(|(n, held)| {
                let record = self.record(held);
                let certificate = match &held.credential {
                    Credential::Certificate(certificate) => Some(certificate),
                    Credential::Secret(_) => None,
                };
                CredentialStatus {
                    kind: certificate.map_or(CredentialKind::Secret, |_| CredentialKind::Certificate),
                    thumbprint: certificate.map(|one| one.thumbprint().to_owned()),
                    portal_thumbprint: certificate.map(|one| one.portal_thumbprint().to_owned()),
                    not_before: certificate.map(|one| one.not_before()),
                    not_after: certificate.map(|one| one.not_after()),
                    last_accepted_at: record.accepted_at,
                    last_refused: record
                        .refused
                        .map(|(at, error)| CredentialRefusal { at, code: error.code }),
                    refused: record.stands,
                    preferred: n == 0,
                }
            })
            .collect()
    }

    /// Looks at the files of the credentials, if that was not done within the last minute.
    pub async fn refresh_credentials(&self) {
        self.0.app.look(self.now(), FILES_EVERY).await;
    }

    /// Begins a request that proves who we are: its credentials one by one, the best first.
    ///
    /// # Errors
    /// Where every credential was refused a moment ago, perhaps for another tenant.
    pub(crate) async fn attempts(&self) -> Result<Attempts<'_>, TokenError> {
        self.refresh_credentials().await;
        let now = self.now();
        let waiting = VecDeque::from(self.candidates(now));
        match self.all_just_refused(&waiting, now) {
            Some(error) => Err(error),
            None => Ok(Attempts { microsoft: self, waiting, refusals: Vec::new(), looked: false }),
        }
    }

    /// Credentials within their validity, the newest first; where none is, all of them: our clock may be wrong. Those
    /// that were refused come last.
    fn candidates(&self, now: OffsetDateTime) -> Vec<Arc<Held>> {
        let ring = self.0.app.ring();
        let mut all: Vec<_> = ring.credentials.iter().filter(|held| held.is_valid(now)).cloned().collect();
        if all.is_empty() {
            all.clone_from(&ring.credentials);
        }
        all.sort_by_key(|held| self.record(held).refused_within(SET_ASIDE_FOR, now).is_some());
        all
    }

    /// What to say without asking: every credential was refused a moment ago, perhaps for another tenant.
    fn all_just_refused(&self, candidates: &VecDeque<Arc<Held>>, now: OffsetDateTime) -> Option<TokenError> {
        let mut first = None;
        for held in candidates {
            let error = self.record(held).refused_within(REFUSED_FOR, now)?.clone();
            first.get_or_insert(error);
        }
        first
    }

    fn record(&self, held: &Held) -> Record {
        let records = self.0.shared.records.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(&self.record_key(held)).cloned().unwrap_or_default()
    }

    fn note(&self, held: &Held, change: impl FnOnce(&mut Record, OffsetDateTime)) {
        let mut records = self.0.shared.records.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(records.entry(self.record_key(held)).or_default(), self.now());
    }

    fn record_key(&self, held: &Held) -> RecordKey {
        (self.0.authority.clone(), self.client_id(), held.fingerprint)
    }

    fn log_refusal(&self, held: &Held, error: &TokenError) {
        let thumbprint = match &held.credential {
            Credential::Certificate(certificate) => certificate.portal_thumbprint(),
            Credential::Secret(_) => "",
        };
        tracing::warn!(client_id = %self.client_id(), thumbprint, %error, "microsoft refuses a credential");
    }
}

/// The credentials that one request may try, each once.
pub(crate) struct Attempts<'a> {
    microsoft: &'a Microsoft,
    waiting: VecDeque<Arc<Held>>,
    refusals: Vec<([u8; 32], TokenError)>,
    looked: bool,
}

impl Attempts<'_> {
    /// The next to try. Where all were refused, files are looked at: they may hold newer ones.
    ///
    /// # Errors
    /// The first refusal, where nothing is left.
    pub(crate) async fn next(&mut self) -> Result<Arc<Held>, TokenError> {
        let microsoft = self.microsoft;
        let now = microsoft.now();
        if self.waiting.is_empty()
            && !std::mem::replace(&mut self.looked, true)
            && microsoft.0.app.look(now, FILES_IN_NEED_EVERY).await
        {
            let tried = |held: &Arc<Held>| self.refusals.iter().any(|(print, _)| *print == held.fingerprint);
            self.waiting = microsoft.candidates(now).into_iter().filter(|held| !tried(held)).collect();
        }
        self.waiting.pop_front().ok_or_else(|| {
            let first = self.refusals.first().map(|(_, error)| error.clone());
            first.unwrap_or_else(|| {
                TokenError::new(TokenErrorKind::CredentialFailing, "the app registration has no credential")
            })
        })
    }

    /// Microsoft took it.
    pub(crate) fn accepted(&self, held: &Held) {
        self.microsoft.note(held, |record, now| {
            record.accepted_at = Some(now);
            record.stands = false;
        });
    }

    /// Microsoft refused: `Ok` where that was for the credential, so that another may be tried.
    ///
    /// # Errors
    /// The error itself, where it has nothing to do with the credential.
    pub(crate) fn refused(&mut self, held: &Held, error: TokenError) -> Result<(), TokenError> {
        if !refuses_credential(&error) {
            return Err(error);
        }
        self.microsoft.log_refusal(held, &error);
        self.microsoft.note(held, |record, now| {
            record.refused = Some((now, error.clone()));
            record.stands = true;
        });
        self.refusals.push((held.fingerprint, error));
        Ok(())
    }
}

/// Whether another credential, or a newer one, may be taken where this one was not: Microsoft's own client libraries
/// read their certificate again at these codes. What is wrong with the assertion itself is no reason.
fn refuses_credential(error: &TokenError) -> bool {
    const OF_THE_REQUEST: [u32; 5] = [700_021, 50_048, 50_027, 7_000_218, 700_025];
    error.kind == TokenErrorKind::CredentialFailing
        && error.code.is_none_or(|code| !OF_THE_REQUEST.contains(&code))
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
