//! Reads of decisions at PostgreSQL: bounded in number and in time, and those of one organization shared.
//!
//! Where neither memory nor Redis has a client's devices, its decision asks PostgreSQL. While the organization has
//! as many questions there as it may, the next ones wait and become one question: without load nobody waits for
//! anybody, under load each question answers more decisions, and no organization takes the turns of the others.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::OrgId;
use domain::device::DeviceFacts;
use domain::resolver::LookupKey;
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::gate::GateError;

/// The devices under a key.
pub type Devices = Arc<[DeviceFacts]>;

/// The devices under each key of a question.
pub type Answer = Arc<HashMap<LookupKey, Devices>>;

/// What asks PostgreSQL for the devices under keys of an organization; `None` where it does not answer.
pub type Ask = Box<dyn Fn(OrgId, Vec<LookupKey>) -> BoxFuture<'static, Option<Answer>> + Send + Sync>;

/// Questions of one organization that are at PostgreSQL at once.
const ORGANIZATION_MAX: usize = 2;

/// Keys in one question.
const KEYS_MAX: usize = 500;

/// How much is asked at once, and for how long somebody waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Reads at PostgreSQL at once.
    pub reads_max: usize,
    /// A read that is shared comes to its answer within this, its turn included; one that is alone waits so long for
    /// its turn.
    pub within: Duration,
}

/// Reads that nobody shares, so many at once.
pub struct Turns {
    turns: Semaphore,
    within: Duration,
}

impl Turns {
    pub fn new(limits: Limits) -> Self {
        Self { turns: Semaphore::new(limits.reads_max), within: limits.within }
    }

    /// Reads, once it has a turn; `Away` where none comes in time.
    pub async fn alone<T>(&self, read: impl Future<Output = Result<T, GateError>>) -> Result<T, GateError> {
        // Closed never.
        let Ok(Ok(_turn)) = timeout(self.within, self.turns.acquire()).await else {
            return Err(GateError::Away);
        };
        read.await
    }
}

#[derive(Clone)]
pub struct Reads(Arc<Inner>);

struct Inner {
    ask: Ask,
    turns: Turns,
    lines: Mutex<HashMap<OrgId, Line>>,
}

/// An organization that has questions. It is gone once it has none.
#[derive(Default)]
struct Line {
    waiting: Vec<Wish>,
    at_work: usize,
}

struct Wish {
    keys: Vec<LookupKey>,
    reply: oneshot::Sender<Option<Answer>>,
}

impl Reads {
    pub fn new(limits: Limits, ask: Ask) -> Self {
        Self(Arc::new(Inner { ask, turns: Turns::new(limits), lines: Mutex::default() }))
    }

    /// A read that nobody shares.
    pub async fn alone<T>(&self, read: impl Future<Output = Result<T, GateError>>) -> Result<T, GateError> {
        self.0.turns.alone(read).await
    }

    /// The devices under each of the keys, and maybe under others; `None` where PostgreSQL does not say so in time.
    pub async fn devices(&self, org: OrgId, keys: &[LookupKey]) -> Option<Answer> {
        let (reply, replied) = oneshot::channel();
        self.wish(org, Wish { keys: keys.to_vec(), reply });
        timeout(self.0.turns.within, replied).await.ok()?.ok()?
    }

    fn wish(&self, org: OrgId, wish: Wish) {
        let mut lines = self.0.lines();
        let line = lines.entry(org).or_default();
        line.waiting.push(wish);
        if line.at_work < ORGANIZATION_MAX {
            line.at_work += 1;
            drop(lines);
            // Not by who wished: that one may hang up, and others wait for the answer, too.
            tokio::spawn(Arc::clone(&self.0).work(org));
        }
    }
}

impl Inner {
    fn lines(&self) -> MutexGuard<'_, HashMap<OrgId, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what waits, until nothing does.
    async fn work(self: Arc<Self>, org: OrgId) {
        let _at_work = AtWork { inner: &self, org };
        loop {
            // Closed never. What comes until the turn does goes with it.
            let Ok(_turn) = self.turns.turns.acquire().await else { return };
            let Some(question) = self.take(org) else { return };
            let answer = (self.ask)(org, question.keys.into_iter().collect()).await;
            for reply in question.replies {
                // Whoever wished may have hung up.
                let _ = reply.send(answer.clone());
            }
        }
    }

    /// What waits, as one question; `None` where nothing does.
    fn take(&self, org: OrgId) -> Option<Question> {
        let mut lines = self.lines();
        let line = lines.get_mut(&org)?;
        line.waiting.retain(|wish| !wish.reply.is_closed());
        let mut question = Question::default();
        let mut taken = 0;
        for wish in &line.waiting {
            if taken > 0 && question.keys.len() + wish.keys.len() > KEYS_MAX {
                break;
            }
            question.keys.extend(wish.keys.iter().cloned());
            taken += 1;
        }
        question.replies.extend(line.waiting.drain(..taken).map(|wish| wish.reply));
        (taken > 0).then_some(question)
    }
}

/// One that asks for an organization, until this is dropped. Also where asking panicked, or something was wished after
/// nothing was left, somebody else goes on.
struct AtWork<'a> {
    inner: &'a Arc<Inner>,
    org: OrgId,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let mut lines = self.inner.lines();
        let Some(line) = lines.get_mut(&self.org) else { return };
        if !line.waiting.is_empty() {
            drop(lines);
            tokio::spawn(Arc::clone(self.inner).work(self.org));
            return;
        }
        line.at_work = line.at_work.saturating_sub(1);
        if line.at_work == 0 {
            lines.remove(&self.org);
        }
    }
}

/// What several wished, in one.
#[derive(Default)]
struct Question {
    keys: HashSet<LookupKey>,
    replies: Vec<oneshot::Sender<Option<Answer>>>,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::watch;
    use uuid::Uuid;

    use super::*;

    const READS_MAX: u32 = 3;

    fn org(n: u128) -> OrgId {
        OrgId(Uuid::from_u128(n))
    }

    fn key(n: u128) -> LookupKey {
        LookupKey::IntuneId(Uuid::from_u128(n))
    }

    /// A PostgreSQL that answers the first organization once it is let, the others at once, and panics at the key of
    /// zero.
    struct Postgres {
        questions: Mutex<Vec<(OrgId, usize)>>,
        now: AtomicUsize,
        most: AtomicUsize,
        is_let: watch::Sender<bool>,
    }

    fn reads(is_let: bool, within: Duration) -> (Reads, Arc<Postgres>) {
        let postgres = Arc::new(Postgres {
            questions: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            is_let: watch::Sender::new(is_let),
        });
        let asked = Arc::clone(&postgres);
        let ask: Ask = Box::new(move |of, keys| {
            let postgres = Arc::clone(&asked);
            Box::pin(async move {
                let now = postgres.now.fetch_add(1, Ordering::SeqCst) + 1;
                postgres.most.fetch_max(now, Ordering::SeqCst);
                postgres.questions.lock().unwrap().push((of, keys.len()));
                if of == org(1) {
                    postgres.is_let.subscribe().wait_for(|is_let| *is_let).await.unwrap();
                }
                postgres.now.fetch_sub(1, Ordering::SeqCst);
                assert!(!keys.contains(&key(0)), "nobody may ask for this");
                Some(Arc::new(keys.into_iter().map(|key| (key, Devices::default())).collect()))
            })
        });
        (Reads::new(Limits { reads_max: READS_MAX as usize, within }, ask), postgres)
    }

    /// Runs all that can run.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn decisions_of_one_moment_share_questions_and_each_gets_its_answer() {
        let (reads, postgres) = reads(false, LONG);
        let wishes: Vec<_> = (1..=1_000)
            .map(|n| {
                let reads = reads.clone();
                tokio::spawn(async move { reads.devices(org(1), &[key(n), key(1_000 + n)]).await.unwrap() })
            })
            .collect();
        settle().await;
        assert_eq!(postgres.most.load(Ordering::SeqCst), ORGANIZATION_MAX);
        postgres.is_let.send_replace(true);
        for (n, wish) in (1..=1_000).zip(wishes) {
            let answer = wish.await.unwrap();
            assert!(answer.contains_key(&key(n)) && answer.contains_key(&key(1_000 + n)), "{n}");
        }
        let questions = postgres.questions.lock().unwrap().clone();
        assert_eq!(questions.iter().map(|(_, keys)| keys).sum::<usize>(), 2_000, "nothing is asked twice");
        assert!(questions.iter().all(|(_, keys)| *keys <= KEYS_MAX), "{questions:?}");
        assert!(questions.len() <= 6, "{questions:?}");
        assert_eq!(postgres.most.load(Ordering::SeqCst), ORGANIZATION_MAX);
        settle().await;
        assert!(reads.0.lines().is_empty(), "nothing is kept of who has no question");
    }

    #[tokio::test]
    async fn an_organization_leaves_turns_to_the_others() {
        let (reads, postgres) = reads(false, LONG);
        for n in 1..=5_000 {
            let reads = reads.clone();
            tokio::spawn(async move { reads.devices(org(1), &[key(n)]).await });
        }
        settle().await;
        for n in 2..10 {
            assert!(reads.devices(org(n), &[key(1)]).await.is_some());
        }
        assert_eq!(postgres.questions.lock().unwrap().len(), ORGANIZATION_MAX + 8);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_and_whoever_gave_up_is_not_asked_for() {
        let (reads, postgres) = reads(false, Duration::from_millis(50));
        // Others have all turns but one.
        let turns = reads.0.turns.turns.acquire_many(READS_MAX - 1).await.unwrap();
        let wishes = (1..=40).map(|n| {
            let reads = reads.clone();
            async move { reads.devices(org(1), &[key(n)]).await }
        });
        assert!(futures::future::join_all(wishes).await.iter().all(Option::is_none));
        assert!(matches!(reads.alone(async { Ok(()) }).await, Err(GateError::Away)));
        let before = postgres.questions.lock().unwrap().clone();
        postgres.is_let.send_replace(true);
        drop(turns);
        settle().await;
        assert_eq!(*postgres.questions.lock().unwrap(), before);
        assert!(reads.0.lines().is_empty());
        assert!(reads.devices(org(1), &[key(1)]).await.is_some());
        assert!(reads.alone(async { Ok(()) }).await.is_ok());
    }

    #[tokio::test]
    async fn a_question_that_panics_takes_nobody_elses_turn() {
        let (reads, _) = reads(true, LONG);
        for _ in 0..3 * ORGANIZATION_MAX {
            assert!(reads.devices(org(1), &[key(0)]).await.is_none());
        }
        assert!(reads.devices(org(1), &[key(1)]).await.is_some());
        settle().await;
        assert!(reads.0.lines().is_empty());
    }
}
