//! The load generator: closed loop (each connection asks again once it was answered) or open loop (requests are due
//! at moments of their own, whether or not earlier ones were answered, and latency counts from then).
//!
//! It runs in a thread of its own, so that whatever else this program does delays no request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use super::http::Connection;
use super::journal::{Answered, Decided, Failed, Journal, Why};
use super::requests::Requests;

/// Between attempts at one request.
const RETRY: Duration = Duration::from_millis(10);

/// What to do.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections are spread over them; an attempt that failed goes to the next.
    pub targets: Vec<SocketAddr>,
    pub requests: Arc<Requests>,
    pub connections: usize,
    pub pace: Pace,
    pub length: Length,
    /// The number of the first request.
    pub first: u64,
    /// An attempt without an answer has failed after this.
    pub patience: Duration,
    /// How often a request is tried.
    pub attempts: u32,
    /// Answers are decisions, whose ids are kept.
    pub decisions: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    Closed,
    /// Per second, at random moments (Poisson).
    Open(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    For(Duration),
    Requests(u64),
    /// Until told.
    Endless,
}

/// A load under way.
pub struct Running {
    stop: Arc<AtomicBool>,
    begun: Instant,
    done: oneshot::Receiver<anyhow::Result<Journal>>,
}

impl Load {
    pub fn new(targets: Vec<SocketAddr>, requests: &Arc<Requests>, length: Length) -> Self {
        Self {
            targets,
            requests: Arc::clone(requests),
            connections: 64,
            pace: Pace::Closed,
            length,
            first: 0,
            patience: Duration::from_secs(30),
            attempts: 1,
            decisions: true,
        }
    }

    pub fn start(self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let (reply, done) = oneshot::channel();
        let stopped = Arc::clone(&stop);
        let begun = Instant::now();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let outcome = runtime
                .map_err(anyhow::Error::from)
                .and_then(|runtime| runtime.block_on(Arc::new(Drive::new(self, begun, stopped)).run()));
            let _ = reply.send(outcome);
        });
        Running { stop, begun, done }
    }

    pub async fn run(self) -> anyhow::Result<Journal> {
        self.start().finish().await
    }
}

impl Running {
    /// Since the load began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Sends no more; what was sent is waited for.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub async fn finish(self) -> anyhow::Result<Journal> {
        self.done.await.context("the load generator panicked")?
    }
}

/// What the connections share.
struct Drive {
    load: Load,
    begun: Instant,
    stop: Arc<AtomicBool>,
    next: AtomicU64,
    due: Mutex<VecDeque<(u64, Duration)>>,
    waiting: Semaphore,
}

impl Drive {
    fn new(load: Load, begun: Instant, stop: Arc<AtomicBool>) -> Self {
        let next = AtomicU64::new(load.first);
        Self { load, begun, stop, next, due: Mutex::default(), waiting: Semaphore::new(0) }
    }

    async fn run(self: Arc<Self>) -> anyhow::Result<Journal> {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..self.load.connections {
            tasks.spawn(Lane::new(Arc::clone(&self), n).work());
        }
        if let Pace::Open(per_second) = self.load.pace {
            let drive = Arc::clone(&self);
            thread::spawn(move || drive.pace(per_second));
        }
        let mut journal = Journal::default();
        while let Some(lane) = tasks.join_next().await {
            journal.add(lane?);
        }
        journal.wall = self.begun.elapsed();
        Ok(journal)
    }

    /// Hands out requests when they are due. A thread, because the runtime's timers count in milliseconds.
    fn pace(&self, per_second: f64) {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut due = 0.0;
        loop {
            due += -(1.0 - random.random::<f64>()).ln() / per_second;
            let moment = Duration::from_secs_f64(due);
            let Some(number) = self.take(moment) else { break };
            if let Some(wait) = moment.checked_sub(self.begun.elapsed()) {
                thread::sleep(wait);
            }
            self.due.lock().unwrap_or_else(PoisonError::into_inner).push_back((number, moment));
            self.waiting.add_permits(1);
        }
        // Whoever waits for more will get none.
        self.waiting.close();
    }

    /// The next request's number, where there is to be one more.
    fn take(&self, at: Duration) -> Option<u64> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        match self.load.length {
            Length::For(length) if at >= length => return None,
            Length::For(_) | Length::Endless => {}
            Length::Requests(count) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                return (number < self.load.first + count).then_some(number);
            }
        }
        Some(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The next request, and since when it is due.
    async fn next(&self) -> Option<(u64, Duration)> {
        if self.load.pace == Pace::Closed {
            let now = self.begun.elapsed();
            return self.take(now).map(|number| (number, now));
        }
        let waiting = || self.due.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match self.waiting.acquire().await {
            Ok(permit) => {
                permit.forget();
                waiting()
            }
            // Closed: what was due before is still sent.
            Err(_) => waiting(),
        }
    }
}

/// One connection's share.
struct Lane {
    drive: Arc<Drive>,
    target: usize,
    connection: Option<Connection>,
    request: Vec<u8>,
    journal: Journal,
}

impl Lane {
    fn new(drive: Arc<Drive>, n: usize) -> Self {
        Self { drive, target: n, connection: None, request: Vec::new(), journal: Journal::default() }
    }

    async fn work(mut self) -> Journal {
        while let Some((number, due)) = self.drive.next().await {
            let mut attempt = 0;
            loop {
                match self.attempt(number, attempt).await {
                    Ok((decision, recorded)) => {
                        let took = self.drive.begun.elapsed().saturating_sub(due);
                        self.journal.answered.push(Answered { number, due, took, decision, recorded });
                        break;
                    }
                    Err(why) => {
                        self.journal.failed.push(Failed { number, attempt, why });
                        self.connection = None;
                        self.target += 1;
                        attempt += 1;
                        if attempt >= self.drive.load.attempts {
                            self.journal.given_up += 1;
                            break;
                        }
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
        self.journal
    }

    async fn attempt(&mut self, number: u64, attempt: u32) -> Result<(Uuid, bool), Why> {
        let Self { drive, target, connection, request, .. } = self;
        let Load { targets, requests, patience, decisions, .. } = &drive.load;
        requests.write(number, attempt, request);
        let asked = async {
            let held = match connection {
                Some(held) => held,
                None => {
                    let opened = Connection::open(targets[*target % targets.len()]).await;
                    connection.insert(opened.map_err(|_| Why::Connection)?)
                }
            };
            let answer = held.ask(request).await.map_err(|_| Why::Connection)?;
            if answer.status != 200 {
                return Err(Why::Status(answer.status));
            }
            let told = if *decisions {
                let decided: Decided = serde_json::from_slice(answer.body).map_err(|_| Why::Unreadable)?;
                (decided.decision_id, decided.recorded)
            } else {
                (Uuid::nil(), true)
            };
            Ok((told, answer.last))
        };
        let (told, last) = tokio::time::timeout(*patience, asked).await.map_err(|_| Why::Late)??;
        if last {
            self.connection = None;
        }
        Ok(told)
    }
}
