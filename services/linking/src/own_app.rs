//! App registrations that an organization brings: registered, given credentials, relieved of them, removed.
//!
//! Any member may, for it is the organization's own affair. What makes a registration read a tenant is a link, and
//! that asks for more (`own_app_link`).

use apps::{AppsError, certificate};
use domain::OrgId;
use microsoft::{CloudName, GraphError, TokenError, TokenErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use store::apps::{self as rows, AppRow, CredentialKind, CredentialRow, NewCredential as NewRow};
use store::{OrgTx, StoreError, accounts, audit, links};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{LinkError, Linking, SignedIn, Words, actor};

/// App registrations of one organization.
const APPS_MAX: usize = 20;
/// Credentials of one app that are not retired: the present one, its successor, and room for a mistake or two.
const CREDENTIALS_MAX: usize = 5;
/// Characters of a client secret. Microsoft's have 40.
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 8..=256;

/// How an app is to prove who it is.
#[derive(Debug)]
pub enum NewCredential {
    /// A certificate that is made here.
    Certificate,
    /// A client secret, and its end where the admin knows it.
    Secret { value: SecretString, not_after: Option<OffsetDateTime> },
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum OwnAppError {
    /// There is no such thing in an organization of theirs.
    #[error("there is no such app registration")]
    NotFound,
    #[error("the organization has registered this client id already")]
    Taken,
    #[error("the organization has {APPS_MAX} app registrations already")]
    TooManyApps,
    #[error("the app has {CREDENTIALS_MAX} credentials already")]
    TooManyCredentials,
    #[error("that is no client secret")]
    NotASecret,
    /// The “Secret ID” was pasted, which is a GUID, and not the “Value”.
    #[error("that is the id of a client secret, not its value")]
    SecretId,
    #[error("that day is over")]
    Over,
    #[error("a link depends on the app's last credential")]
    LastCredential,
    #[error("links use the app: {}", .0.join(", "))]
    InUse(Vec<String>),
    /// The credential can only be tried at a tenant.
    #[error("no link uses the app, so there is no tenant to try the credential at")]
    NoTenant,
    /// The app is registered in another cloud than the one that vouches for the tenant.
    #[error("the app is registered in the cloud {app}, and the tenant lives in {tenant}")]
    OtherCloud { app: String, tenant: CloudName },
    /// Only who administers the tenant may link it, and nothing shows that they do.
    #[error("nothing shows that this person administers the tenant")]
    NotPrivileged,
    /// Microsoft does not take the app's credential.
    #[error("Microsoft does not take the credential: {0}")]
    Refused(TokenError),
    /// The app is not in the tenant, or may not read devices there, or Graph does not answer.
    #[error(transparent)]
    Graph(GraphError),
    #[error(transparent)]
    Link(LinkError),
    #[error(transparent)]
    Apps(AppsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AppsError> for OwnAppError {
    fn from(error: AppsError) -> Self {
        match error {
            AppsError::Store(error) => Self::Store(error),
            AppsError::NoApp => Self::NotFound,
            error => Self::Apps(error),
        }
    }
}

impl From<GraphError> for OwnAppError {
    fn from(error: GraphError) -> Self {
        match error {
            GraphError::Token(error) if error.kind == TokenErrorKind::CredentialFailing => {
                Self::Refused(error)
            }
            error => Self::Graph(error),
        }
    }
}

impl Linking {
    /// Whether organizations can bring app registrations here: the operator gave a master key.
    #[must_use]
    pub fn takes_own_apps(&self) -> bool {
        self.apps().can_keep_credentials()
    }

    /// Registers an app with its first credential.
    pub async fn register_app(
        &self,
        org: OrgId,
        who: &SignedIn,
        cloud: CloudName,
        client_id: Uuid,
        first: NewCredential,
    ) -> Result<AppRow, OwnAppError> {
        self.gate(&first)?;
        let now = self.now();
        let app = AppRow {
            id: self.ids().uuid(now),
            cloud: cloud.as_str().to_owned(),
            client_id,
            created_at: now,
            created_by: who.identity.name.clone(),
        };
        let made = self.prepare(client_id, first).await?;
        let mut tx = self.member(org, who).await?;
        if rows::list(&mut tx).await?.len() >= APPS_MAX {
            return Err(OwnAppError::TooManyApps);
        }
        if let Err(error) = rows::insert(&mut tx, &app).await {
            let taken = error.unique_violation() == Some("app_registration_client");
            return Err(if taken { OwnAppError::Taken } else { error.into() });
        }
        let detail = json!({ "app_id": app.id, "client_id": client_id, "cloud": cloud });
        let target = client_id.to_string();
        audit::write(&mut tx, self.ids(), now, &actor(who), "app.create", &target, detail).await?;
        self.keep(&mut tx, who, &app, made).await?;
        tx.commit().await?;
        Ok(app)
    }

    /// Gives an app another credential, beside those that it has.
    pub async fn add_credential(
        &self,
        org: OrgId,
        who: &SignedIn,
        app: Uuid,
        new: NewCredential,
    ) -> Result<Uuid, OwnAppError> {
        self.gate(&new)?;
        let mut tx = self.member(org, who).await?;
        let row = rows::get(&mut tx, app).await?.ok_or(OwnAppError::NotFound)?;
        drop(tx);
        let made = self.prepare(row.client_id, new).await?;
        let mut tx = self.member(org, who).await?;
        let row = rows::get(&mut tx, app).await?.ok_or(OwnAppError::NotFound)?;
        if standing(&mut tx, app).await?.len() >= CREDENTIALS_MAX {
            return Err(OwnAppError::TooManyCredentials);
        }
        let id = self.keep(&mut tx, who, &row, made).await?;
        tx.commit().await?;
        self.apps().changed(org, app).await;
        Ok(id)
    }

    /// Tries a credential alone, at a tenant that the app is linked for.
    pub async fn check_credential(
        &self,
        org: OrgId,
        who: &SignedIn,
        app: Uuid,
        credential: Uuid,
    ) -> Result<(), OwnAppError> {
        let mut tx = self.member(org, who).await?;
        let row = rows::get(&mut tx, app).await?.ok_or(OwnAppError::NotFound)?;
        let all = standing(&mut tx, app).await?;
        let known = all.iter().find(|one| one.id == credential).ok_or(OwnAppError::NotFound)?.clone();
        let link = links::list(&mut tx).await?.into_iter().find(|link| link.app == Some(app));
        let opened = self.apps().open(&mut tx, &row).await?;
        tx.commit().await?;
        let tid = link.ok_or(OwnAppError::NoTenant)?.tid;
        let alone: Vec<_> = opened.into_iter().filter(|one| one.row.id == credential).collect();
        if alone.is_empty() {
            return Err(AppsError::NoCredential { client_id: row.client_id }.into());
        }
        let microsoft = self.apps().with_credentials(&row, alone)?;
        microsoft.forget_tokens(tid).await;
        microsoft.check_token(tid).await.map_err(GraphError::Token)?;
        let mut tx = self.member(org, who).await?;
        self.apps().note_proof(&mut tx, &row, &known, &actor(who)).await?;
        tx.commit().await?;
        self.apps().changed(org, app).await;
        Ok(())
    }

    /// Retires a credential: it is not used any more, and its secret is forgotten. The last one of an app that a
    /// link uses stays until it has a successor.
    pub async fn retire_credential(
        &self,
        org: OrgId,
        who: &SignedIn,
        app: Uuid,
        credential: Uuid,
    ) -> Result<(), OwnAppError> {
        let now = self.now();
        let mut tx = self.member(org, who).await?;
        let row = rows::get(&mut tx, app).await?.ok_or(OwnAppError::NotFound)?;
        let all = standing(&mut tx, app).await?;
        let known = all.iter().find(|one| one.id == credential).ok_or(OwnAppError::NotFound)?;
        let used = links::list(&mut tx).await?.iter().any(|link| link.app == Some(app));
        let mut others = all.iter().filter(|one| one.id != credential && one.is_usable(now));
        if used
            && known.is_usable(now)
            && !others.any(|one| one.proven_at.is_some() || known.proven_at.is_none())
        {
            return Err(OwnAppError::LastCredential);
        }
        if rows::retire(&mut tx, credential, now).await? {
            let detail = json!({
                "app_id": app, "credential_id": credential, "kind": known.kind.as_str(), "because": "an admin retired it",
            });
            let target = row.client_id.to_string();
            audit::write(&mut tx, self.ids(), now, &actor(who), "app.credential.retire", &target, detail)
                .await?;
        }
        tx.commit().await?;
        self.apps().changed(org, app).await;
        Ok(())
    }

    /// Removes an app that no link uses, with its credentials.
    pub async fn remove_app(&self, org: OrgId, who: &SignedIn, app: Uuid) -> Result<AppRow, OwnAppError> {
        let now = self.now();
        let mut tx = self.member(org, who).await?;
        let row = rows::get(&mut tx, app).await?.ok_or(OwnAppError::NotFound)?;
        if !rows::delete(&mut tx, app).await? {
            let using = links::list(&mut tx).await?.into_iter().filter(|link| link.app == Some(app));
            return Err(OwnAppError::InUse(using.map(|link| link.tenant_name).collect()));
        }
        let detail = json!({ "app_id": app, "client_id": row.client_id, "cloud": row.cloud });
        let target = row.client_id.to_string();
        audit::write(&mut tx, self.ids(), now, &actor(who), "app.delete", &target, detail).await?;
        tx.commit().await?;
        self.apps().changed(org, app).await;
        Ok(row)
    }

    /// A transaction of the organization, for a member of it.
    pub(crate) async fn member(&self, org: OrgId, who: &SignedIn) -> Result<OrgTx, OwnAppError> {
        let mut tx = self.store().org(org).await?;
        if accounts::is_member(&mut tx, who.account).await? { Ok(tx) } else { Err(OwnAppError::NotFound) }
    }

    /// What can be told before anything is made.
    fn gate(&self, new: &NewCredential) -> Result<(), OwnAppError> {
        if !self.takes_own_apps() {
            return Err(AppsError::NoMasterKey.into());
        }
        let NewCredential::Secret { value, not_after } = new else { return Ok(()) };
        let text = value.expose_secret();
        if Uuid::try_parse(text).is_ok() {
            return Err(OwnAppError::SecretId);
        }
        let plain = text.chars().all(|c| c.is_ascii_graphic());
        if !plain || !SECRET_CHARS.contains(&text.chars().count()) {
            return Err(OwnAppError::NotASecret);
        }
        if not_after.is_some_and(|end| end <= self.now()) {
            return Err(OwnAppError::Over);
        }
        Ok(())
    }

    /// Makes what takes time, with no transaction open.
    async fn prepare(&self, client_id: Uuid, new: NewCredential) -> Result<Made, OwnAppError> {
        let now = self.now();
        let id = self.ids().uuid(now);
        Ok(match new {
            NewCredential::Secret { value, not_after } => Made::Secret { id, value, not_after },
            NewCredential::Certificate => {
                let made =
                    tokio::task::spawn_blocking(move || certificate::generate(client_id, id, now)).await;
                let made = made.map_err(|e| AppsError::Generate(e.to_string()))?;
                Made::Certificate { id, made: made.map_err(|e| AppsError::Generate(e.to_string()))? }
            }
        })
    }

    async fn keep(
        &self,
        tx: &mut OrgTx,
        who: &SignedIn,
        app: &AppRow,
        made: Made,
    ) -> Result<Uuid, OwnAppError> {
        let now = self.now();
        let (id, kind, not_after) = match &made {
            Made::Certificate { id, made } => (*id, CredentialKind::Certificate, Some(made.not_after)),
            Made::Secret { id, not_after, .. } => (*id, CredentialKind::Secret, *not_after),
        };
        let secret = match &made {
            Made::Certificate { made, .. } => made.key.expose_secret(),
            Made::Secret { value, .. } => value.expose_secret().as_bytes(),
        };
        let (key, sealed) = self.apps().seal(tx, id, kind, secret).await?;
        let made = match &made {
            Made::Certificate { made, .. } => Some(made),
            Made::Secret { .. } => None,
        };
        let row = NewRow {
            id,
            app: app.id,
            kind,
            certificate: made.map(|made| made.der.as_slice()),
            thumbprint: made.map(|made| made.thumbprint.as_slice()),
            not_before: made.map(|made| made.not_before),
            not_after,
            key,
            sealed: &sealed,
            proven_at: None,
        };
        rows::insert_credential(tx, row, now).await?;
        let detail = json!({ "app_id": app.id, "credential_id": id, "kind": kind.as_str() });
        let target = app.client_id.to_string();
        audit::write(tx, self.ids(), now, &actor(who), "app.credential.create", &target, detail).await?;
        Ok(id)
    }
}

enum Made {
    Certificate { id: Uuid, made: certificate::Generated },
    Secret { id: Uuid, value: SecretString, not_after: Option<OffsetDateTime> },
}

/// The credentials of an app that are not retired.
pub(crate) async fn standing(tx: &mut OrgTx, app: Uuid) -> Result<Vec<CredentialRow>, StoreError> {
    let all = rows::credentials(tx).await?;
    Ok(all.into_iter().filter(|row| row.app == app && row.retired_at.is_none()).collect())
}

impl OwnAppError {
    /// The field of a form that it is about.
    #[must_use]
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Taken | Self::TooManyApps => Some("client_id"),
            Self::NotASecret | Self::SecretId => Some("secret"),
            Self::Over => Some("secret_ends"),
            _ => None,
        }
    }

    /// For a page.
    #[must_use]
    pub fn words(&self) -> Words {
        const UPLOAD: &str = "See on the app's page that the credential is the one that Entra ID has: upload the \
                              certificate under Certificates & secrets, or paste a client secret's Value. Entra ID may \
                              take a minute to know it. Then try again.";
        match self {
            Self::NotFound => Words::new(
                "No such app registration",
                "It was removed, or never was here.",
                "Look at the list of app registrations.",
            ),
            Self::Taken => Words::new(
                "Registered already",
                "Your organization has registered this client id already.",
                "Go on with the one that is there, or register another.",
            ),
            Self::TooManyApps => Words::new(
                "Too many app registrations",
                format!("An organization may have {APPS_MAX}."),
                "Remove one that no link uses.",
            ),
            Self::TooManyCredentials => Words::new(
                "Too many credentials",
                format!("An app may have {CREDENTIALS_MAX} that are not retired."),
                "Retire one that you no longer need.",
            ),
            Self::NotASecret => Words::new(
                "That is no client secret",
                "A secret's Value has 8 to 256 characters, without spaces.",
                "Copy the Value of the secret again.",
            ),
            Self::SecretId => Words::new(
                "That is the secret's id",
                "A GUID is what Entra ID shows as “Secret ID”.",
                "Copy the “Value” beside it. It is shown only right after the secret was made.",
            ),
            Self::Over => {
                Words::new("That day is over", "A secret that has ended opens nothing.", "Write its end.")
            }
            Self::LastCredential => Words::new(
                "A link depends on it",
                "It is the last credential of this app that Microsoft is known to take, and a linked account uses the \
                 app.",
                "Add another credential, have it checked, and retire this one then.",
            ),
            Self::InUse(links) => Words::new(
                "Linked accounts use it",
                format!("The app speaks for {}.", links.join(", ")),
                "Link them with Gatehouse's app or another one of yours, or unlink them, and remove the app then.",
            ),
            Self::NoTenant => Words::new(
                "Nothing to check it with",
                "No linked account uses the app yet, and a credential is tried at a tenant.",
                "Choose Verify and link.",
            ),
            Self::OtherCloud { app, tenant } => Words::new(
                "Another cloud",
                format!(
                    "The app is registered in the cloud {app}, and you signed in to a tenant of {tenant}."
                ),
                "Sign in through the app's cloud, or bring an app that is registered in the tenant's.",
            ),
            Self::NotPrivileged => Words::new(
                "An administrator must link the tenant",
                "Your sign-in does not show that you are Global Administrator or Privileged Role Administrator of the \
                 tenant. To have an app's credential proves nothing of that.",
                "Ask one of them to sign in to Gatehouse and link it. If you are one, whoever runs this Gatehouse must \
                 add the optional claim \"wids\" to the id tokens of its app registration.",
            ),
            Self::Refused(error) => Words::new(
                "Microsoft does not take the credential",
                "Entra ID knows the app, and refuses the certificate or secret that Gatehouse showed.",
                UPLOAD,
            )
            .with_detail(&error.detail),
            Self::Graph(error) => own_graph(error),
            Self::Link(error) => error.words(),
            Self::Apps(AppsError::NoMasterKey) => Words::new(
                "Not on this Gatehouse",
                "Whoever runs this Gatehouse has set no master key, so it keeps no credentials of organizations.",
                "Ask them to set GATEHOUSE_MASTER_KEY, or link with Gatehouse's own app.",
            ),
            Self::Apps(AppsError::NoCredential { .. }) => Words::new(
                "No credential is valid",
                "Every credential of the app is retired or has expired.",
                "Add one on the app's page.",
            ),
            Self::Apps(error) => Words::new(
                "The app's credentials cannot be used",
                "Gatehouse cannot open what it keeps for the app.",
                "Tell whoever runs this Gatehouse.",
            )
            .with_detail(&error.to_string()),
            Self::Store(_) => Words::store(),
        }
    }
}

/// What Microsoft says of an own app, in words that name the organization's registration, not Gatehouse's.
fn own_graph(error: &GraphError) -> Words {
    let words = match error {
        GraphError::Forbidden { .. } => Words::new(
            "The app may not read managed devices",
            "The tenant knows the app, but the permission is not granted to it, or has not arrived yet.",
            "In the Entra admin center, under API permissions of the app, add the application permission \
             DeviceManagementManagedDevices.Read.All of Microsoft Graph and grant admin consent. Then try again.",
        ),
        GraphError::Token(token)
            if matches!(token.kind, TokenErrorKind::ConsentMissing | TokenErrorKind::ConsentRevoked) =>
        {
            Words::new(
                "The tenant does not know the app",
                "No app with this client id is in the tenant that you signed in to.",
                "Compare the “Application (client) ID”. If the app is registered in another tenant, it must be \
                 multi-tenant, and this tenant must have given consent.",
            )
        }
        GraphError::Token(token) if token.kind == TokenErrorKind::DisabledByTenant => Words::new(
            "The app is disabled",
            "Its enterprise application in the tenant does not let it sign in.",
            "Set “Enabled for users to sign in?” to Yes on the enterprise application.",
        ),
        _ => return Words::graph(error),
    };
    words.with_detail(&error.to_string())
}
