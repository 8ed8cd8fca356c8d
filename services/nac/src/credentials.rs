//! Edge credentials: memory, then Redis, then PostgreSQL.
//!
//! A revocation reaches every process by the bus at once; where every signal is lost, by time: memory is trusted for
//! `memory_ttl`, Redis for `credential_confirm_after`, while PostgreSQL answers.

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, CachedCredential};
use domain::{CredentialId, OrgId};
use moka::future::Cache as Memory;
use store::{Store, edges};

use crate::NacConfig;
use crate::gate::{Gate, GateError};
use crate::held::{Epochs, Held};
use crate::reads::{Limits, Turns};

/// An answer that no store gave is asked for again after this.
const RETRY: Duration = Duration::from_millis(250);

/// What is known of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    Credential(CachedCredential),
    /// There is no such credential.
    Nothing,
    /// No store answered, and it was never seen before.
    Unavailable,
}

pub struct Credentials {
    store: Store,
    cache: Cache,
    gate: Arc<Gate>,
    memory: Memory<(OrgId, CredentialId), Arc<Held<Known>>>,
    epochs: Epochs,
    ttl: Duration,
    confirm_after: Duration,
    read_timeout: Duration,
    /// Whoever tries tokens at random must not take the database from those who have one.
    reads: Turns,
}

impl Credentials {
    pub fn new(store: &Store, cache: &Cache, gate: &Arc<Gate>, config: &NacConfig) -> Self {
        Self {
            store: store.clone(),
            cache: cache.clone(),
            gate: Arc::clone(gate),
            memory: Memory::builder()
                .max_capacity(config.memory_orgs_max)
                .time_to_idle(config.memory_kept)
                .build(),
            epochs: Epochs::default(),
            ttl: config.memory_ttl,
            confirm_after: config.credential_confirm_after,
            read_timeout: config.store_read_timeout,
            // As long as a read may take: a process that has just started opens its connections first.
            reads: Turns::new(Limits {
                reads_max: config.credential_reads_max,
                within: config.store_read_timeout,
            }),
        }
    }

    pub async fn get(&self, org: OrgId, id: CredentialId) -> Arc<Held<Known>> {
        let key = (org, id);
        let held = self.memory.get(&key).await;
        if let Some(held) = &held
            && held.is_fresh(&self.epochs)
        {
            return Arc::clone(held);
        }
        let last = held.map(|held| held.value.clone());
        let load = self.load(org, id, last);
        // One of those who ask at the same time reads; the others wait for it.
        let entry = self.memory.entry(key).or_insert_with_if(load, |held| !held.is_fresh(&self.epochs)).await;
        entry.into_value()
    }

    async fn load(&self, org: OrgId, id: CredentialId, last: Option<Known>) -> Arc<Held<Known>> {
        let moment = self.epochs.moment();
        let keep = |value, ttl| Held::new(value, moment, ttl, &self.epochs);
        let cached = self.cache.credential(org, id).await.ok().flatten();
        if let Some(aged) = &cached
            && aged.age < self.confirm_after
        {
            return keep(Known::Credential(aged.value.clone()), self.ttl);
        }
        let read = async {
            let mut tx = self.store.org(org).await?;
            edges::credential(&mut tx, id).await
        };
        match self.reads.alone(self.gate.ask(self.read_timeout, read)).await {
            Ok(Some(row)) => {
                let credential = CachedCredential {
                    org,
                    id: row.id,
                    edge: row.edge,
                    site: row.site,
                    token_hash: row.token_hash,
                    revoked: row.is_off(),
                    expires_at: row.expires_at,
                };
                let (cache, put) = (self.cache.clone(), credential.clone());
                tokio::spawn(async move { cache.put_credential(&put).await });
                keep(Known::Credential(credential), self.ttl)
            }
            Ok(None) => keep(Known::Nothing, RETRY),
            Err(error) => {
                if let GateError::Failed(error) = error {
                    tracing::error!(%org, credential = %id, %error, "a credential could not be read");
                }
                let known = cached.map(|aged| Known::Credential(aged.value)).or(last);
                keep(known.unwrap_or(Known::Unavailable), RETRY)
            }
        }
    }

    pub async fn changed(&self, org: OrgId, id: CredentialId) {
        self.epochs.change();
        if let Some(held) = self.memory.get(&(org, id)).await {
            held.mark_stale();
        }
    }

    pub fn lost(&self) {
        self.epochs.lose();
    }
}
