//! What Microsoft took, and what is about to end: told to the organization's audit log.

use std::sync::atomic::Ordering::Relaxed;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::OrgId;
use domain::event::{Event, EventKind};
use microsoft::Microsoft;
use serde_json::json;
use store::apps::{self, AppRow, CredentialRow};
use store::audit::{self, Actor};
use store::{OrgTx, StoreError, events, links};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Apps, expiry};

/// Organizations in one page.
const PAGE: i64 = 500;
/// Notices are told to the day: looking once an hour is enough.
const LOOK_EVERY_SECONDS: i64 = 3_600;

impl Apps {
    /// Records those of `unproven` that Microsoft took since. A secret is not told apart by what Microsoft's client
    /// remembers, so it is recorded where it is the only credential.
    pub(crate) async fn note_proofs(
        &self,
        org: OrgId,
        app: &AppRow,
        unproven: &[CredentialRow],
        microsoft: &Microsoft,
    ) -> Result<(), StoreError> {
        if unproven.is_empty() {
            return Ok(());
        }
        let taken = Self::taken(unproven, microsoft);
        if taken.is_empty() {
            return Ok(());
        }
        let mut tx = self.0.store.org(org).await?;
        for row in &taken {
            self.note_proof(&mut tx, app, row, &Actor::system()).await?;
        }
        tx.commit().await
    }

    /// Those of `unproven` that Microsoft took from this process.
    #[must_use]
    pub fn taken(unproven: &[CredentialRow], microsoft: &Microsoft) -> Vec<CredentialRow> {
        let seen = microsoft.credentials();
        let accepted = |row: &&CredentialRow| {
            let thumbprint = row.thumbprint.as_ref().map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
            let alone = seen.len() == 1;
            seen.iter().any(|status| {
                status.last_accepted_at.is_some()
                    && (alone || thumbprint.is_some() && status.thumbprint == thumbprint)
            })
        };
        unproven.iter().filter(accepted).cloned().collect()
    }

    /// Records that Microsoft took a credential, once.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub async fn note_proof(
        &self,
        tx: &mut OrgTx,
        app: &AppRow,
        row: &CredentialRow,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let now = self.now();
        if apps::proven(tx, row.id, now).await? {
            let detail = json!({ "app_id": app.id, "credential_id": row.id, "kind": row.kind.as_str() });
            let target = app.client_id.to_string();
            audit::write(tx, &self.0.ids, now, by, "app.credential.proven", &target, detail).await?;
        }
        Ok(())
    }

    /// Tells organizations whose links depend on a credential that it is about to end, and retires what has ended.
    /// Call it as often as you like: it looks once an hour, and each notice is written once. Returns how many were
    /// written.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub async fn tell_expiry(&self) -> Result<usize, StoreError> {
        let now = self.now().unix_timestamp();
        if now.saturating_sub(self.0.told_at.load(Relaxed)) < LOOK_EVERY_SECONDS {
            return Ok(0);
        }
        let mut told = 0;
        let mut after = None;
        loop {
            let mut tx = self.0.store.system().await?;
            let page = apps::orgs_with_own(&mut tx, after, PAGE).await?;
            tx.commit().await?;
            for org in &page {
                let mut tx = self.0.store.org(*org).await?;
                told += self.tell_expiry_of(&mut tx).await?;
                tx.commit().await?;
            }
            match page.last() {
                Some(last) => after = Some(*last),
                None => {
                    self.0.told_at.store(now, Relaxed);
                    return Ok(told);
                }
            }
        }
    }

    async fn tell_expiry_of(&self, tx: &mut OrgTx) -> Result<usize, StoreError> {
        let now = self.now();
        let used: Vec<_> = links::list(tx).await?.into_iter().filter_map(|link| link.app).collect();
        let all = apps::credentials(tx).await?;
        let mut told = 0;
        for app in apps::list(tx).await?.into_iter().filter(|app| used.contains(&app.id)) {
            let standing: Vec<_> =
                all.iter().filter(|row| row.app == app.id && row.retired_at.is_none()).collect();
            // The link stands as long as the last of those that Microsoft takes.
            let lasting = standing.iter().filter(|row| row.proven_at.is_some() || standing.len() == 1);
            let last = lasting.max_by_key(|row| row.not_after.map_or((1, now), |end| (0, end))).copied();
            for row in &standing {
                let Some(end) = row.not_after else { continue };
                let is_last = last.is_some_and(|last| last.id == row.id);
                if is_last
                    && let Some(days) = expiry::due_notice(end, now, row.told_days)
                    && apps::told(tx, row.id, days).await?
                {
                    self.notice(tx, &app, row, end).await?;
                    told += 1;
                }
                if end <= now && apps::retire(tx, row.id, now).await? {
                    let detail =
                        json!({ "app_id": app.id, "credential_id": row.id, "because": "it has expired" });
                    let target = app.client_id.to_string();
                    audit::write(
                        tx,
                        &self.0.ids,
                        now,
                        &Actor::system(),
                        "app.credential.retire",
                        &target,
                        detail,
                    )
                    .await?;
                }
            }
        }
        Ok(told)
    }

    /// One notice: a line of the audit log, and an event among those of the links that depend on it.
    async fn notice(
        &self,
        tx: &mut OrgTx,
        app: &AppRow,
        row: &CredentialRow,
        end: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let days = expiry::days_left(end, now);
        let detail = json!({
            "app_id": app.id, "credential_id": row.id, "kind": row.kind.as_str(),
            "not_after": end.unix_timestamp(), "days_left": days,
        });
        let action = if days == 0 { "app.credential.expired" } else { "app.credential.expiring" };
        let target = app.client_id.to_string();
        audit::write(tx, &self.0.ids, now, &Actor::system(), action, &target, detail).await?;
        let event = Event {
            org: tx.org(),
            id: self.0.ids.make(now),
            at: now,
            kind: EventKind::NacMdmCredentialExpiring,
            mac: None,
            session: None,
            edge: None,
            site: None,
            summary: expiry::summary(app.client_id, row.kind.as_str(), days),
            detail: json!({
                "app_id": app.id,
                "client_id": app.client_id,
                "cloud": app.cloud,
                "credential_id": row.id,
                "kind": row.kind.as_str(),
                "not_after": end.format(&Rfc3339).ok(),
                "days_left": days,
                "cause": expiry::CAUSE,
                "remedy": expiry::REMEDY,
            }),
        };
        events::append(tx, &event).await?;
        tracing::warn!(org = %tx.org(), app = %app.id, days, "a credential of an organization's app ends");
        Ok(())
    }
}
