//! What Microsoft answered to a look, and what is written because of it.

use std::collections::{HashMap, HashSet};

use domain::resolver::{LookupKey, keys_of};
use domain::{DeviceId, LinkId};
use microsoft::{GraphDevice, GraphError};
use store::devices::{self, Enriched, Looked, StoredDevice};
use store::looks::{self, Retry, Wish, WishReason};
use store::{OrgTx, StoreError, jobs};
use time::{Duration, OffsetDateTime};

use super::super::stop::Stop;
use super::super::write::{self, Writing};
use super::{Look, concerns_all};
use crate::config::SyncConfig;
use crate::reconcile::{self, Diff, Fetched};

/// The first wait for a device that is not there yet; each further one doubles it.
const ABSENT_WAIT: Duration = Duration::seconds(60);
const ABSENT_WAIT_MAX: Duration = Duration::HOUR;

/// What came of asking for some devices or keys.
pub(super) struct Answers {
    asked_at: OffsetDateTime,
    /// Asked for by id.
    pub(super) ids: Vec<DeviceId>,
    /// Asked for by key.
    pub(super) searched: Vec<LookupKey>,
    pub(super) found: Vec<Fetched>,
    /// Each came of a GET of its own, which tells more than a list.
    pub(super) single: bool,
    /// Microsoft has no record of them.
    pub(super) absent: Vec<DeviceId>,
    /// When that was asked for each alone.
    pub(super) confirmed_at: Option<OffsetDateTime>,
    /// To be asked for again after this long.
    failed: HashMap<DeviceId, std::time::Duration>,
    unsearched: HashMap<LookupKey, std::time::Duration>,
    /// Why there is no point in asking on.
    pub(super) refused: Option<GraphError>,
    /// One of them got no answer.
    silence: Option<GraphError>,
}

impl Answers {
    pub(super) fn new(asked_at: OffsetDateTime) -> Self {
        Self {
            asked_at,
            ids: Vec::new(),
            searched: Vec::new(),
            found: Vec::new(),
            single: false,
            absent: Vec::new(),
            confirmed_at: None,
            failed: HashMap::new(),
            unsearched: HashMap::new(),
            refused: None,
            silence: None,
        }
    }

    /// One of several failed: it is asked for again, and the others are written.
    pub(super) fn fail(&mut self, id: DeviceId, error: GraphError, config: &SyncConfig) {
        self.failed.insert(id, wait(&error, config));
        self.note(error);
    }

    /// Where nothing at all was answered, asking on is pointless, and the job has failed.
    pub(super) fn notice_silence(&mut self) {
        if self.refused.is_none() && self.found.is_empty() && self.absent.is_empty() {
            self.refused = self.silence.take();
        }
    }

    /// What a search came to.
    pub(super) fn search(
        &mut self,
        key: &LookupKey,
        found: Result<Vec<GraphDevice>, GraphError>,
        link: LinkId,
        config: &SyncConfig,
    ) {
        match found {
            Ok(devices) => {
                self.found.extend(devices.into_iter().map(|one| Fetched::of(one, link, self.asked_at)));
            }
            Err(error) => {
                self.unsearched.insert(key.clone(), wait(&error, config));
                self.note(error);
            }
        }
    }

    fn note(&mut self, error: GraphError) {
        tracing::debug!(%error, "a device could not be looked at");
        if matches!(error, GraphError::Unavailable { .. }) {
            self.silence = Some(error.clone());
        }
        // Of several waits the longest counts.
        if concerns_all(&error)
            && self.refused.as_ref().is_none_or(|known| known.retry_after() < error.retry_after())
        {
            self.refused = Some(error);
        }
    }
}

/// How long to leave one device alone that could not be asked about.
fn wait(error: &GraphError, config: &SyncConfig) -> std::time::Duration {
    let seconds =
        if error.is_transient() { config.hot_interval_seconds } else { config.hot_interval_max_seconds };
    error.retry_after().unwrap_or(std::time::Duration::from_secs(seconds.into()))
}

impl Look<'_> {
    /// Writes answers in one transaction under the lease. Returns the keys of wishes under which others may be found
    /// than those who are known.
    pub(super) async fn write(&mut self, answers: &mut Answers) -> Result<Vec<LookupKey>, Stop> {
        let ctx = self.ctx;
        let now = ctx.clock.now();
        let found = std::mem::take(&mut answers.found);
        let shown: HashMap<DeviceId, Fetched> = found.iter().map(|one| (one.facts.id, one.clone())).collect();
        let ids: Vec<DeviceId> = shown.keys().copied().collect();

        let mut tx = ctx.store.org(self.job.lease.org).await?;
        jobs::hold(&mut tx, &self.job.lease).await?;
        let writing = Writing { ctx, link: &self.link, kind: self.job.lease.kind, now };
        if let Some(asked_at) = answers.confirmed_at {
            let deleted = devices::delete_absent(&mut tx, self.link.id, &answers.absent, asked_at).await?;
            writing.gone(&mut tx, &deleted).await?;
        }
        let stored = devices::stored(&mut tx, self.link.id, &ids).await?;
        let diff = reconcile::page(found, &stored, self.link.confirmed_at);
        self.write_unchanged(&mut tx, &writing, &diff, &shown, &stored, answers).await?;
        let news: HashSet<DeviceId> = diff.touched().collect();
        let changes = diff.new.len() + diff.changed.len() + answers.absent.len();
        writing.diff(&mut tx, diff, answers.single).await?;
        for (id, wait) in &answers.failed {
            devices::put_off(&mut tx, self.link.id, *id, now, now + *wait).await?;
        }
        let elsewhere = self.settle_wishes(&mut tx, answers, &shown, &news, now).await?;
        self.asking.lease_until = now + ctx.config.lease();
        jobs::renew(&mut tx, &self.job.lease, self.asking.lease_until).await?;
        tx.commit().await?;
        if changes > 0 {
            ctx.outbox_filled(self.job.lease.org, self.link.id);
        }
        Ok(elsewhere)
    }

    /// Devices that are as they were: when they are looked at next, and what only a single GET tells.
    async fn write_unchanged(
        &self,
        tx: &mut OrgTx,
        writing: &Writing<'_>,
        diff: &Diff,
        shown: &HashMap<DeviceId, Fetched>,
        stored: &HashMap<DeviceId, StoredDevice>,
        answers: &Answers,
    ) -> Result<(), StoreError> {
        let same: Vec<(&Fetched, &StoredDevice)> =
            diff.unchanged.iter().filter_map(|id| Some((shown.get(id)?, stored.get(id)?))).collect();
        let idle = |was: &StoredDevice| was.idle_looks.saturating_add(1);
        let looks = writing.looks(tx, same.iter().map(|(one, was)| (*one, idle(was)))).await?;
        let rows: Vec<Looked> = same
            .iter()
            .map(|(one, was)| Looked {
                id: was.id,
                fetched_at: one.facts.fetched_at,
                next_look_at: looks.get(&was.id).copied().flatten(),
                idle_looks: idle(was),
            })
            .collect();
        devices::looked(tx, self.link.id, &rows).await?;
        if answers.single {
            let differs = |one: &Fetched, was: &StoredDevice| {
                (one.facts.ethernet_mac, &one.udid) != (was.ethernet_mac, &was.udid)
            };
            let rows: Vec<Enriched> = same
                .iter()
                .filter(|(one, was)| differs(one, was))
                .map(|(one, was)| Enriched {
                    id: was.id,
                    ethernet_mac: one.facts.ethernet_mac,
                    udid: one.udid.clone(),
                })
                .collect();
            let touched = devices::enriched(tx, self.link.id, &rows, answers.asked_at).await?;
            write::announce_touched(self.ctx, tx, self.link.id, &touched, writing.now).await?;
        }
        Ok(())
    }

    /// Wishes that were fulfilled go; those that came to nothing are tried again, ever later, and given up in the end.
    /// Returns those whose known bearers do not bear the key any more, and those of which Entra ID told a change that
    /// none of the known bearers shows: others may.
    async fn settle_wishes(
        &mut self,
        tx: &mut OrgTx,
        answers: &Answers,
        shown: &HashMap<DeviceId, Fetched>,
        news: &HashSet<DeviceId>,
        now: OffsetDateTime,
    ) -> Result<Vec<LookupKey>, StoreError> {
        let seen: HashSet<LookupKey> = shown.values().flat_map(|one| keys_of(&one.facts)).collect();
        let (mut done, mut retries, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new());
        for key in self.concerned(answers, &seen) {
            let Some(wish) = self.wishes.get(&key) else { continue };
            let known = self.bearers.get(&key).map_or(&[][..], Vec::as_slice);
            if seen.contains(&key) {
                // A device that was enrolled anew has another record under the same key, beside its old one.
                let may_be_another = wish.reason == WishReason::Entra
                    && matches!(key, LookupKey::EntraId(_))
                    && !answers.searched.contains(&key)
                    && known.iter().all(|id| !news.contains(id));
                if may_be_another {
                    self.answered.insert(key.clone());
                    elsewhere.push(key);
                } else {
                    done.push(wish.clone());
                }
                continue;
            }
            let failed = match &key {
                LookupKey::IntuneId(id) => answers.failed.get(&DeviceId(*id)),
                key => {
                    answers.unsearched.get(key).or_else(|| known.iter().find_map(|id| answers.failed.get(id)))
                }
            };
            if let Some(wait) = failed {
                let due_at = now + *wait;
                retries.push(Retry { wish: wish.clone(), due_at, answered: false });
                continue;
            }
            match &key {
                LookupKey::IntuneId(id) if answers.absent.contains(&DeviceId(*id)) => {
                    self.came_to_nothing(wish, now, &mut done, &mut retries);
                }
                // It could not be asked about this time.
                LookupKey::IntuneId(_) => {}
                // Its known bearers were looked at, and there is no other.
                key if answers.searched.contains(key) && self.answered.contains(key) => {
                    done.push(wish.clone());
                }
                key if answers.searched.contains(key) => {
                    self.came_to_nothing(wish, now, &mut done, &mut retries);
                }
                key => elsewhere.push(key.clone()),
            }
        }
        looks::done(tx, self.link.id, &done).await?;
        looks::retry(tx, self.link.id, &retries, now).await?;
        Ok(elsewhere)
    }

    /// The keys that these answers say something about.
    fn concerned(&self, answers: &Answers, seen: &HashSet<LookupKey>) -> HashSet<LookupKey> {
        let asked = answers.ids.iter().map(|id| LookupKey::IntuneId(id.uuid()));
        let borne = self.bearers.iter().filter(|(_, ids)| ids.iter().any(|id| answers.ids.contains(id)));
        asked
            .chain(borne.map(|(key, _)| key.clone()))
            .chain(answers.searched.iter().cloned())
            .chain(self.wishes.keys().filter(|key| seen.contains(*key)).cloned())
            .collect()
    }

    fn came_to_nothing(
        &self,
        wish: &Wish,
        now: OffsetDateTime,
        done: &mut Vec<Wish>,
        retries: &mut Vec<Retry>,
    ) {
        let given_up = wish.attempts + 1 >= u32::from(self.ctx.config.look_attempts_max);
        // An admin asked about a device that is known, and it is known now that it is gone.
        if wish.reason == WishReason::Admin || given_up {
            return done.push(wish.clone());
        }
        let factor = 1_i32.checked_shl(wish.attempts.min(16)).unwrap_or(i32::MAX);
        let due_at = now + ABSENT_WAIT.saturating_mul(factor).min(ABSENT_WAIT_MAX);
        retries.push(Retry { wish: wish.clone(), due_at, answered: true });
    }
}
