//! What a decision is made from: the organization's snapshot and the devices under the client's keys, from memory,
//! then Redis, then PostgreSQL; where none answers, as last known.

use std::sync::Arc;
use std::time::Duration;

use cache::Cache;
use domain::OrgId;
use domain::answer::Ground;
use domain::device::DeviceFacts;
use domain::policy::CompiledPolicy;
use domain::resolver::LookupKey;
use domain::snapshot::{LinkFacts, OrgSettings, OrgSnapshot};
use moka::future::Cache as Memory;
use store::{Store, devices, orgs};

use crate::NacConfig;
use crate::gate::{Gate, GateError};
use crate::held::{Epochs, Held};
use crate::metrics::{Metrics, Tier};
use crate::reads::{Answer, Ask, Devices, Limits, Reads};

/// An answer that no store gave is asked for again after this.
const RETRY: Duration = Duration::from_millis(250);

/// An organization, ready to decide.
#[derive(Debug)]
pub struct Org {
    pub revision: i64,
    pub settings: OrgSettings,
    pub links: Vec<LinkFacts>,
    /// Compiled once per version.
    pub policy: Option<Arc<CompiledPolicy>>,
}

impl Org {
    /// What a decision is made on.
    pub fn ground(&self) -> Ground<'_> {
        Ground { settings: &self.settings, links: &self.links, policy: self.policy.as_deref() }
    }
}

/// The devices under each key that was asked for.
#[derive(Debug, Default)]
pub struct Candidates(Vec<(LookupKey, Devices)>);

impl Candidates {
    /// The devices under a key.
    pub fn of(&self, key: &LookupKey) -> &[DeviceFacts] {
        self.0.iter().find(|(held, _)| held == key).map_or(&[], |(_, devices)| devices)
    }
}

pub struct Facts {
    store: Store,
    cache: Cache,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    orgs: Memory<OrgId, Arc<Held<Option<Arc<Org>>>>>,
    lookups: Memory<(OrgId, LookupKey), Arc<Held<Devices>>>,
    epochs: Epochs,
    reads: Reads,
    ttl: Duration,
    confirm_after: Duration,
    read_timeout: Duration,
}

impl Facts {
    pub fn new(
        store: &Store,
        cache: &Cache,
        gate: &Arc<Gate>,
        metrics: &Arc<Metrics>,
        config: &NacConfig,
    ) -> Self {
        let limits = Limits { reads_max: config.store_reads_max, within: config.store_read_timeout };
        Self {
            store: store.clone(),
            cache: cache.clone(),
            gate: Arc::clone(gate),
            metrics: Arc::clone(metrics),
            orgs: Memory::builder()
                .max_capacity(config.memory_orgs_max)
                .time_to_idle(config.memory_kept)
                .build(),
            lookups: Memory::builder()
                .max_capacity(config.memory_lookups_max)
                .time_to_idle(config.memory_kept)
                .build(),
            epochs: Epochs::default(),
            reads: Reads::new(limits, ask(store, cache, gate, metrics, config)),
            ttl: config.memory_ttl,
            confirm_after: config.snapshot_confirm_after,
            read_timeout: config.store_read_timeout,
        }
    }

    /// The organization; `None` where no store answers and it was never seen before.
    pub async fn org(&self, org: OrgId) -> Option<Arc<Org>> {
        let held = self.orgs.get(&org).await;
        if let Some(held) = &held
            && held.is_fresh(&self.epochs)
        {
            self.metrics.facts("snapshot", Tier::Memory, 1);
            return held.value.clone();
        }
        let last = held.and_then(|held| held.value.clone());
        let load = self.load_org(org, last);
        // One of those who ask at the same time reads; the others wait for it.
        let entry = self.orgs.entry(org).or_insert_with_if(load, |held| !held.is_fresh(&self.epochs)).await;
        entry.into_value().value.clone()
    }

    async fn load_org(&self, org: OrgId, last: Option<Arc<Org>>) -> Arc<Held<Option<Arc<Org>>>> {
        let moment = self.epochs.moment();
        let keep = |value, ttl| Held::new(value, moment, ttl, &self.epochs);
        let cached = self.cache.snapshot_with_age(org).await.ok().flatten();
        if let Some(aged) = &cached
            && aged.age < self.confirm_after
            // Redis may have been put back to an older state.
            && last.as_ref().is_none_or(|last| aged.value.revision >= last.revision)
        {
            self.metrics.facts("snapshot", Tier::Redis, 1);
            return keep(Some(prepare(&aged.value, last.as_deref())), self.ttl);
        }
        let read = async {
            let mut tx = self.store.org(org).await?;
            orgs::snapshot(&mut tx).await
        };
        match self.reads.alone(self.gate.ask(self.read_timeout, read)).await {
            Ok(Some(snapshot)) => {
                self.metrics.facts("snapshot", Tier::Postgres, 1);
                let prepared = prepare(&snapshot, last.as_deref());
                let cache = self.cache.clone();
                tokio::spawn(async move { cache.put_snapshot(&snapshot).await });
                keep(Some(prepared), self.ttl)
            }
            // A credential without an organization: nothing is published there.
            Ok(None) => {
                let nothing =
                    Org { revision: 0, settings: OrgSettings::default(), links: Vec::new(), policy: None };
                keep(Some(Arc::new(nothing)), RETRY)
            }
            Err(error) => {
                if let GateError::Failed(error) = error {
                    tracing::error!(%org, %error, "a snapshot could not be read");
                }
                let known = cached.map(|aged| prepare(&aged.value, last.as_deref())).or(last);
                self.metrics.facts(
                    "snapshot",
                    if known.is_some() { Tier::LastKnown } else { Tier::Nowhere },
                    1,
                );
                keep(known, RETRY)
            }
        }
    }

    /// The devices under each of the keys; `None` where one of them can be read nowhere: without it, nobody could say
    /// who the client is.
    pub async fn candidates(&self, org: OrgId, keys: &[LookupKey]) -> Option<Candidates> {
        let moment = self.epochs.moment();
        let mut found = Vec::with_capacity(keys.len());
        let mut missing: Vec<(LookupKey, Option<Devices>)> = Vec::new();
        for key in keys {
            match self.lookups.get(&(org, key.clone())).await {
                Some(held) if held.is_fresh(&self.epochs) => {
                    found.push((key.clone(), Arc::clone(&held.value)));
                }
                held => missing.push((key.clone(), held.map(|held| Arc::clone(&held.value)))),
            }
        }
        self.metrics.facts("lookup", Tier::Memory, found.len());
        if missing.is_empty() {
            return Some(Candidates(found));
        }
        let keep = async |key: &LookupKey, devices: Devices| {
            let held = Held::new(devices, moment, self.ttl, &self.epochs);
            self.lookups.insert((org, key.clone()), held).await;
        };

        let wanted: Vec<LookupKey> = missing.iter().map(|(key, _)| key.clone()).collect();
        let cached = self.cache.lookups(org, &wanted).await.unwrap_or_else(|_| vec![None; wanted.len()]);
        let mut unread = Vec::new();
        for ((key, last), cached) in missing.into_iter().zip(cached) {
            match cached {
                None => unread.push((key, last)),
                Some(devices) => {
                    let devices: Devices = devices.into();
                    keep(&key, Arc::clone(&devices)).await;
                    found.push((key, devices));
                }
            }
        }
        self.metrics.facts("lookup", Tier::Redis, wanted.len() - unread.len());
        if unread.is_empty() {
            return Some(Candidates(found));
        }

        let wanted: Vec<LookupKey> = unread.iter().map(|(key, _)| key.clone()).collect();
        let answer = match self.gate.is_closed() {
            true => None,
            false => self.reads.devices(org, &wanted).await,
        };
        match answer {
            Some(answer) => {
                self.metrics.facts("lookup", Tier::Postgres, wanted.len());
                for key in wanted {
                    let devices = answer.get(&key).map(Arc::clone).unwrap_or_default();
                    keep(&key, Arc::clone(&devices)).await;
                    found.push((key, devices));
                }
            }
            None => {
                let known = unread.iter().filter(|(_, last)| last.is_some()).count();
                self.metrics.facts("lookup", Tier::LastKnown, known);
                self.metrics.facts("lookup", Tier::Nowhere, unread.len() - known);
                for (key, last) in unread {
                    found.push((key, last?));
                }
            }
        }
        Some(Candidates(found))
    }

    pub async fn lookups_changed(&self, org: OrgId, keys: Vec<LookupKey>) {
        self.epochs.change();
        for key in keys {
            if let Some(held) = self.lookups.get(&(org, key)).await {
                held.mark_stale();
            }
        }
    }

    pub async fn snapshot_changed(&self, org: OrgId) {
        self.epochs.change();
        if let Some(held) = self.orgs.get(&org).await {
            held.mark_stale();
        }
    }

    pub fn lost(&self) {
        self.epochs.lose();
    }
}

/// Asks PostgreSQL for devices, and fills Redis with the answer.
fn ask(store: &Store, cache: &Cache, gate: &Arc<Gate>, metrics: &Arc<Metrics>, config: &NacConfig) -> Ask {
    let (store, cache, gate, metrics) = (store.clone(), cache.clone(), Arc::clone(gate), Arc::clone(metrics));
    let (within, candidates_max) = (config.store_read_timeout, config.candidates_max);
    Box::new(move |org, keys| {
        let (store, cache, gate, metrics) =
            (store.clone(), cache.clone(), Arc::clone(&gate), Arc::clone(&metrics));
        Box::pin(async move {
            metrics.question(keys.len());
            let read = async {
                let mut tx = store.org(org).await?;
                devices::by_keys(&mut tx, &keys, candidates_max).await
            };
            match gate.ask(within, read).await {
                Ok(rows) => {
                    let rows = rows.into_iter().map(|(key, devices)| (key, Devices::from(devices)));
                    let answer: Answer = Arc::new(rows.collect());
                    let fill = Arc::clone(&answer);
                    tokio::spawn(async move {
                        let entries: Vec<(&LookupKey, &[DeviceFacts])> =
                            fill.iter().map(|(key, devices)| (key, &**devices)).collect();
                        cache.fill_lookups(org, &entries).await
                    });
                    Some(answer)
                }
                Err(GateError::Failed(error)) => {
                    tracing::error!(%org, %error, "devices could not be read");
                    None
                }
                Err(GateError::Away) => None,
            }
        })
    })
}

/// Compiles the policy, unless this version is compiled already.
fn prepare(snapshot: &OrgSnapshot, last: Option<&Org>) -> Arc<Org> {
    let policy = snapshot.policy.as_ref().map(|published| {
        let compiled = last.and_then(|last| last.policy.as_ref());
        match compiled {
            Some(compiled) if compiled.version() == published.version => Arc::clone(compiled),
            _ => Arc::new(CompiledPolicy::compile(published.version, &published.doc)),
        }
    });
    Arc::new(Org {
        revision: snapshot.revision,
        settings: snapshot.settings.clone(),
        links: snapshot.links.clone(),
        policy,
    })
}
