//! The policy service: edits of the draft, publishing, rolling back.
//!
//! An edit names the revision that it was made on; whoever was slower is told, and nobody's work is lost without a
//! word. Publishing writes version, audit line and outbox message in one transaction.

pub mod moving;
pub mod replay;

use domain::policy::diff::{Change, diff};
use domain::policy::draft::{self, FieldError};
use domain::policy::edit::{Edit, Refusal, apply};
use domain::policy::lint::{self, Finding, Known};
use domain::policy::model::PolicyDoc;
use domain::policy::transfer::{self, FileError, Format};
use domain::time::{Ids, SharedClock};
use domain::{OrgId, SiteId};
use serde_json::json;
use store::audit::{self, Actor};
use store::policies::DraftRow;
use store::{OrgTx, Store, StoreError, edges, orgs, policies, sessions};

pub use moving::{Moving, MovingLimits};

/// The sessions, newest first, whose NAS vendors lint knows.
const VENDOR_SESSIONS_MAX: i64 = 2_000;

/// Why an edit was not made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Somebody else edited the draft meanwhile: it stands at `current` now.
    #[error("the draft was changed meanwhile by {by}: look at it again and repeat your change")]
    Conflict { current: i64, by: String },
    #[error("{} of the fields need another look", .0.len())]
    Fields(Vec<FieldError>),
    #[error("it is not in the draft any more")]
    NotFound,
    #[error("it is used by {}: take it out there first", .0.join(", "))]
    InUse(Vec<String>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the draft was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("the draft was changed meanwhile by {by}: look at it again before you publish")]
    Conflict { current: i64, by: String },
    /// Each error with the path of what it is about, such as `rules[2]`.
    #[error("the draft has {} errors", .0.len())]
    Invalid(Vec<(String, FieldError)>),
    /// What lint found; at least one of the findings is an error.
    #[error("lint found errors in the draft: mend what it names first")]
    Lint(Vec<Finding>),
    #[error("the draft is what is live already")]
    Unchanged,
    #[error("there is no version {0}")]
    NoVersion(i32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a file was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the file has {} errors", .0.len())]
    File(Vec<FileError>),
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// Why a policy was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("there is no version {0}")]
    NoVersion(i32),
    #[error("the policy does not fit the format: {0}")]
    Format(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The draft beside what is live.
#[derive(Clone, Debug)]
pub struct Overview {
    pub draft: DraftRow,
    /// The live version and its document; `None` until the first publish.
    pub live: Option<(i32, PolicyDoc)>,
    /// What the draft changes against what is live.
    pub changes: Vec<Change>,
    /// What lint finds in the draft.
    pub findings: Vec<Finding>,
}

/// Edits and publishes policies.
#[derive(Clone)]
pub struct Policies {
    store: Store,
    clock: SharedClock,
    ids: Ids,
}

impl Policies {
    /// A service on a store.
    #[must_use]
    pub const fn new(store: Store, clock: SharedClock, ids: Ids) -> Self {
        Self { store, clock, ids }
    }

    /// The draft beside what is live.
    pub async fn overview(&self, org: OrgId) -> Result<Overview, StoreError> {
        let mut tx = self.store.org(org).await?;
        let overview = overview(&mut tx).await?;
        tx.commit().await?;
        Ok(overview)
    }

    /// Makes one edit on the revision that it was meant for. Returns the new revision.
    pub async fn edit(&self, org: OrgId, actor: &Actor, expected: i64, edit: Edit) -> Result<i64, EditError> {
        let now = self.clock.now();
        let mut tx = self.store.org(org).await?;
        let current = policies::draft(&mut tx).await?;
        if current.revision != expected {
            return Err(EditError::Conflict { current: current.revision, by: current.updated_by });
        }
        let (doc, done) = apply(&current.doc, edit).map_err(|refusal| match refusal {
            Refusal::Fields(errors) => EditError::Fields(errors),
            Refusal::NotFound => EditError::NotFound,
            Refusal::InUse(rules) => EditError::InUse(rules),
        })?;
        let Some(revision) = policies::save_draft(&mut tx, expected, &doc, &actor.name, now).await? else {
            let current = policies::draft(&mut tx).await?;
            return Err(EditError::Conflict { current: current.revision, by: current.updated_by });
        };
        let detail = json!({ "draft_revision": revision });
        audit::write(&mut tx, &self.ids, now, actor, done.action, &done.target, detail).await?;
        tx.commit().await?;
        Ok(revision)
    }

    /// Replaces the draft by a file. Returns the new revision.
    pub async fn import(
        &self,
        org: OrgId,
        actor: &Actor,
        expected: i64,
        text: &str,
        format: Format,
    ) -> Result<i64, ImportError> {
        let current = self.draft(org).await.map_err(EditError::Store)?.doc;
        let doc = transfer::read(text, format, &current).map_err(ImportError::File)?;
        Ok(self.edit(org, actor, expected, Edit::Replace(doc)).await?)
    }

    /// A published version as a file, or the draft where none is named.
    pub async fn export(
        &self,
        org: OrgId,
        version: Option<i32>,
        format: Format,
    ) -> Result<String, ExportError> {
        let doc = match version {
            None => self.draft(org).await?.doc,
            Some(version) => {
                let mut tx = self.store.org(org).await?;
                let doc = policies::version(&mut tx, version).await?;
                tx.commit().await?;
                doc.ok_or(ExportError::NoVersion(version))?
            }
        };
        transfer::write(&doc, format).map_err(ExportError::Format)
    }

    async fn draft(&self, org: OrgId) -> Result<DraftRow, StoreError> {
        let mut tx = self.store.org(org).await?;
        let draft = policies::draft(&mut tx).await?;
        tx.commit().await?;
        Ok(draft)
    }

    /// Publishes the draft as it stood at `expected`. Returns the new version, which is live.
    pub async fn publish(&self, org: OrgId, actor: &Actor, expected: i64) -> Result<i32, PublishError> {
        let mut tx = self.store.org(org).await?;
        let Overview { draft, live, changes, findings } = overview(&mut tx).await?;
        if draft.revision != expected {
            return Err(PublishError::Conflict { current: draft.revision, by: draft.updated_by });
        }
        let errors = draft::check(&draft.doc);
        if !errors.is_empty() {
            return Err(PublishError::Invalid(errors));
        }
        if lint::blocks(&findings) {
            return Err(PublishError::Lint(findings));
        }
        if live.is_some_and(|(_, doc)| doc == draft.doc) {
            return Err(PublishError::Unchanged);
        }
        let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
        let version = self
            .make_live(&mut tx, actor, &draft.doc, "policy.publish", json!({ "changes": changes }))
            .await?;
        tx.commit().await?;
        Ok(version)
    }

    /// Publishes an old version's document again, as a new version, and puts it into the draft. Returns the new
    /// version.
    pub async fn rollback(&self, org: OrgId, actor: &Actor, to: i32) -> Result<i32, PublishError> {
        let now = self.clock.now();
        let mut tx = self.store.org(org).await?;
        let doc = policies::version(&mut tx, to).await?.ok_or(PublishError::NoVersion(to))?;
        let draft = policies::draft(&mut tx).await?;
        if policies::save_draft(&mut tx, draft.revision, &doc, &actor.name, now).await?.is_none() {
            let draft = policies::draft(&mut tx).await?;
            return Err(PublishError::Conflict { current: draft.revision, by: draft.updated_by });
        }
        let version = self.make_live(&mut tx, actor, &doc, "policy.rollback", json!({ "to": to })).await?;
        tx.commit().await?;
        Ok(version)
    }

    async fn make_live(
        &self,
        tx: &mut OrgTx,
        actor: &Actor,
        doc: &PolicyDoc,
        action: &str,
        detail: serde_json::Value,
    ) -> Result<i32, StoreError> {
        let now = self.clock.now();
        let version = policies::publish(tx, doc, &actor.name, now).await?;
        audit::write(tx, &self.ids, now, actor, action, &format!("Version {version}"), detail).await?;
        orgs::changed(tx, &self.ids, now, true).await?;
        Ok(version)
    }
}

async fn overview(tx: &mut OrgTx) -> Result<Overview, StoreError> {
    let draft = policies::draft(tx).await?;
    let version = orgs::get(tx).await?.and_then(|org| org.policy_version);
    let live = match version {
        Some(version) => policies::version(tx, version).await?.map(|doc| (version, doc)),
        None => None,
    };
    let empty = PolicyDoc::default();
    let changes = diff(live.as_ref().map_or(&empty, |(_, doc)| doc), &draft.doc);
    let sites: Vec<SiteId> = edges::list_sites(tx).await?.into_iter().map(|site| site.id).collect();
    let vendors = sessions::vendors_seen(tx, VENDOR_SESSIONS_MAX).await?;
    // Before there is traffic, nothing is known of vendors.
    let vendors = (!vendors.is_empty()).then_some(vendors);
    let known = Known { sites: Some(&sites), vendors: vendors.as_deref() };
    let findings = lint::lint(&draft.doc, &known);
    Ok(Overview { draft, live, changes, findings })
}
