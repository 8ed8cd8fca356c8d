//! Replays: an organization's recorded decisions made again with another policy, in the background.
//!
//! Memory is bounded whatever the window holds: pages of decisions are read in short transactions, and of what would
//! change only as many clients are kept as [`Limits`] say; the rest is counted. A replay is kept by the process that
//! runs it until it expires, so that a page may be reloaded; nothing of it is stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use domain::OrgId;
use domain::policy::CompiledPolicy;
use domain::policy::replay::{Facts, Moved, Options, Replay, Report};
use domain::snapshot::OrgSettings;
use store::views::replay as pages;
use store::{Store, StoreError};
use time::{Duration, OffsetDateTime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// What is replayed.
#[derive(Clone, Debug)]
pub struct Job {
    pub org: OrgId,
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
    pub facts: Facts,
    pub settings: OrgSettings,
    pub policy: Arc<CompiledPolicy>,
    /// What the policy is called, for people: “draft, revision 7”.
    pub name: String,
    pub started_by: String,
}

/// What bounds replays.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Decisions in one transaction.
    pub page: u16,
    /// Clients that are told apart; decisions of more are counted only.
    pub clients_max: usize,
    /// Clients that would change, kept with what they would get.
    pub moved_max: usize,
    /// Replays of one organization that run at once.
    pub running_max: usize,
    /// Replays of one organization that are kept.
    pub kept_max: usize,
    /// Replays that are kept of all organizations.
    pub all_max: usize,
    /// How long one is kept.
    pub keep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            page: 500,
            clients_max: 200_000,
            moved_max: 5_000,
            running_max: 1,
            kept_max: 5,
            all_max: 100,
            keep: Duration::hours(1),
        }
    }
}

/// How a replay stands.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The decisions so far are older than this.
    pub at: Option<OffsetDateTime>,
    pub decisions: u64,
    pub changed: u64,
    pub undecidable: u64,
    pub state: State,
}

/// Whether a replay runs.
#[derive(Clone, Debug, Default)]
pub enum State {
    #[default]
    Running,
    Done(Arc<Done>),
    /// Somebody stopped it.
    Cancelled,
    /// The database did not answer.
    Failed,
}

/// What a replay came to.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Undecidable decisions include those that could not be read.
    pub report: Report,
    /// Clients whose last decision would change, by name; as many as [`Limits::moved_max`].
    pub moved: Vec<Moved>,
}

/// A replay that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    pub id: Uuid,
    pub job: Arc<Job>,
    pub started_at: OffsetDateTime,
    progress: watch::Receiver<Progress>,
    cancel: Arc<DropGuard>,
}

impl Kept {
    /// How it stands now.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// For following it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    fn runs(&self) -> bool {
        matches!(self.progress.borrow().state, State::Running)
    }
}

/// Why a replay was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("a replay of this organization runs already: wait for it, or stop it")]
    Running,
    #[error("too many replays run at the moment: try again in a few minutes")]
    Busy,
}

/// The replays of this process.
#[derive(Clone, Debug)]
pub struct Replays {
    store: Store,
    limits: Limits,
    kept: Arc<Mutex<HashMap<OrgId, Vec<Kept>>>>,
    shutdown: CancellationToken,
}

impl Replays {
    /// None yet.
    #[must_use]
    pub fn new(store: Store, limits: Limits, shutdown: CancellationToken) -> Self {
        Self { store, limits, kept: Arc::default(), shutdown }
    }

    /// Starts one under an id of the caller's. The oldest that is over makes room.
    pub fn start(&self, id: Uuid, now: OffsetDateTime, job: Job) -> Result<(), StartError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.expire(&mut kept, now);
        let all: usize = kept.values().map(Vec::len).sum();
        let of_org = kept.entry(job.org).or_default();
        if of_org.iter().filter(|one| one.runs()).count() >= self.limits.running_max {
            return Err(StartError::Running);
        }
        while of_org.len() >= self.limits.kept_max {
            let Some(over) = of_org.iter().position(|one| !one.runs()) else {
                return Err(StartError::Running);
            };
            of_org.remove(over);
        }
        if all >= self.limits.all_max {
            return Err(StartError::Busy);
        }
        let token = self.shutdown.child_token();
        let (tell, progress) = watch::channel(Progress::default());
        let job = Arc::new(job);
        let (store, limits, running) = (self.store.clone(), self.limits, Arc::clone(&job));
        of_org.push(Kept {
            id,
            job,
            started_at: now,
            progress,
            cancel: Arc::new(token.clone().drop_guard()),
        });
        tokio::spawn(async move {
            let state = tokio::select! {
                () = token.cancelled() => State::Cancelled,
                done = run(&store, &running, &limits, &tell) => match done {
                    Ok(done) => State::Done(Arc::new(done)),
                    Err(error) => {
                        tracing::warn!(org = %running.org, %error, "a replay failed");
                        State::Failed
                    }
                },
            };
            tell.send_modify(|progress| progress.state = state);
        });
        Ok(())
    }

    /// A replay of an organization.
    #[must_use]
    pub fn get(&self, org: OrgId, id: Uuid, now: OffsetDateTime) -> Option<Kept> {
        self.list(org, now).into_iter().find(|one| one.id == id)
    }

    /// The replays of an organization, newest first.
    #[must_use]
    pub fn list(&self, org: OrgId, now: OffsetDateTime) -> Vec<Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.expire(&mut kept, now);
        kept.get(&org).map(|of_org| of_org.iter().rev().cloned().collect()).unwrap_or_default()
    }

    /// Stops a replay. It is kept, and says that it was stopped. Returns whether there is such a one.
    pub fn cancel(&self, org: OrgId, id: Uuid, now: OffsetDateTime) -> bool {
        let Some(one) = self.get(org, id, now) else { return false };
        one.cancel.token().cancel();
        true
    }

    /// Every decision that would change, in order, as they are read again: for downloads. Ends with an error where
    /// the database does not answer, and early where nobody takes what it gives.
    #[must_use]
    pub fn moved(&self, job: Arc<Job>) -> mpsc::Receiver<Result<Vec<Moved>, StoreError>> {
        let (give, take) = mpsc::channel(2);
        let (store, limits, shutdown) = (self.store.clone(), self.limits, self.shutdown.clone());
        tokio::spawn(async move {
            let reading = async {
                // What is counted beside is not asked for.
                let mut replay = Replay::new(&job.policy, options(&job, 0));
                let mut at = Some(pages::start(job.from));
                while let Some(after) = at {
                    let page = match page(&store, &job, after, limits.page).await {
                        Ok(page) => page,
                        Err(error) => {
                            let _ = give.send(Err(error)).await;
                            return;
                        }
                    };
                    let moved = page.records.iter().filter_map(|record| replay.push(record)).collect();
                    if give.send(Ok(moved)).await.is_err() {
                        return;
                    }
                    at = page.next;
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = reading => {}
            }
        });
        take
    }

    fn expire(&self, kept: &mut HashMap<OrgId, Vec<Kept>>, now: OffsetDateTime) {
        kept.retain(|_, of_org| {
            of_org.retain(|one| now - one.started_at < self.limits.keep);
            !of_org.is_empty()
        });
    }
}

fn options(job: &Job, clients_max: usize) -> Options {
    Options { facts: job.facts, settings: job.settings.clone(), clients_max, ..Options::default() }
}

async fn page(
    store: &Store,
    job: &Job,
    after: store::views::Cursor,
    limit: u16,
) -> Result<pages::DecisionPage, StoreError> {
    let mut tx = store.org(job.org).await?;
    let page = pages::decisions(&mut tx, after, job.to, limit).await?;
    tx.commit().await?;
    Ok(page)
}

async fn run(
    store: &Store,
    job: &Job,
    limits: &Limits,
    tell: &watch::Sender<Progress>,
) -> Result<Done, StoreError> {
    let mut replay = Replay::new(&job.policy, options(job, limits.clients_max));
    let mut moved = Clients { limit: limits.moved_max, kept: BTreeMap::new() };
    let mut unreadable = 0;
    let mut at = Some(pages::start(job.from));
    while let Some(after) = at {
        let page = page(store, job, after, limits.page).await?;
        unreadable += page.unreadable;
        for record in &page.records {
            let before = replay.report().undecidable;
            let change = replay.push(record);
            if replay.report().undecidable == before {
                moved.take(record, change);
            }
        }
        at = page.next;
        let report = replay.report();
        tell.send_modify(|progress| {
            progress.at = at.map(|cursor| cursor.at);
            progress.decisions = report.decisions + unreadable;
            progress.changed = report.changed;
            progress.undecidable = report.undecidable + unreadable;
        });
    }
    let mut report = replay.finish();
    report.decisions += unreadable;
    report.undecidable += unreadable;
    Ok(Done { report, moved: moved.kept.into_values().collect() })
}

/// What the last decision of each client would change.
struct Clients {
    limit: usize,
    kept: BTreeMap<String, Moved>,
}

impl Clients {
    /// Decisions come oldest first, so that the last one wins.
    fn take(&mut self, record: &domain::event::DecisionRecord, change: Option<Moved>) {
        match change {
            None if self.kept.is_empty() => {}
            None => {
                let mac = record.request.mac.map(|mac| mac.to_string());
                self.kept.remove(mac.as_deref().unwrap_or(&record.session_key));
            }
            Some(change) if self.kept.len() < self.limit || self.kept.contains_key(&change.client) => {
                self.kept.insert(change.client.clone(), change);
            }
            Some(_) => {}
        }
    }
}
