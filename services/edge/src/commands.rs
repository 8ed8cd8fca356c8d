//! Fetches commands and carries them out: of one session one after the other, of different sessions side by side,
//! within what each NAS may be asked at once.
//!
//! The cloud hands a command out until it hears of it. A command that is under way is not begun again, and of one
//! that was carried out the result is told again. One that may go better the next time (the NAS did not answer, or had
//! no resources) is carried out anew when it comes again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::coa::CoaKind;
use domain::command::{ErrorCause, NasAnswer, NasResult, Next};
use domain::edge::Channel;
use domain::time::SharedClock;
use domain::{CommandId, Mac, SessionId};
use futures::StreamExt;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::cloud::{Cloud, Reply};
use crate::config::{EdgeConfig, NasConfig};
use crate::deliver::{Courier, Delivered};
use crate::dynauth::{Answered, DynAuth};
use crate::report::Reporter;
use crate::vendor::{SessionName, Vendor, order};

/// Beyond the wait of a poll: the way there and back.
const POLL_MARGIN: Duration = Duration::from_secs(10);
const STREAM: &str = "/v1/nac/commands/stream";
/// How long a stream may take to begin.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The cloud sends a heartbeat every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Between one try and the next …
const PAUSE: Duration = Duration::from_millis(100);
/// … and after failures at most.
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Commands {
    commands: Vec<Command>,
    probe: Option<Probe>,
}

/// A command that does nothing.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Probe {
    id: Uuid,
}

/// What the cloud asks for, as far as the agent acts on it.
#[derive(Clone, Debug, Deserialize)]
struct Command {
    id: CommandId,
    kind: CoaKind,
    session: Session,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    /// For how long it was wanted when it was handed out. An older cloud does not say.
    expires_in_seconds: Option<u64>,
    /// The same as a moment, once it is here.
    #[serde(skip)]
    ends: Option<Instant>,
}

impl Command {
    /// Notes when it came.
    fn came(&mut self) {
        self.ends = self
            .expires_in_seconds
            .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    }

    /// Whether it is no longer wanted. The clock here may be wrong, and matters only where the cloud said no span.
    fn is_over(&self, now: OffsetDateTime) -> bool {
        self.ends.map_or(self.expires_at <= now, |ends| ends <= Instant::now())
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Session {
    id: SessionId,
    session_id: Option<String>,
    mac: Option<Mac>,
    user_name: Option<String>,
    nas_ip: Option<IpAddr>,
    nas_identifier: Option<String>,
    nas_vendor: Option<String>,
    nas_port_id: Option<String>,
}

/// What came of a command, as the cloud is told.
#[derive(Clone, Debug, Serialize)]
struct CameOf {
    #[serde(flatten)]
    answer: NasAnswer,
    message: Option<String>,
}

impl CameOf {
    fn nak(error_cause: Option<u32>, message: Option<String>) -> Self {
        let error_cause = error_cause.map(ErrorCause);
        Self { answer: NasAnswer { result: NasResult::Nak, error_cause }, message }
    }

    const fn of(result: NasResult, message: Option<String>) -> Self {
        Self { answer: NasAnswer { result, error_cause: None }, message }
    }
}

pub struct Dispatcher {
    clock: SharedClock,
    nas: Vec<NasConfig>,
    results_max: usize,
    dynauth: DynAuth,
    courier: Arc<Courier>,
    reporter: Arc<Reporter>,
    state: Mutex<State>,
    workers: TaskTracker,
}

#[derive(Default)]
struct State {
    /// What waits, per session; a session is here while somebody works on it.
    sessions: HashMap<SessionId, VecDeque<Command>>,
    /// Waiting, or under way.
    begun: HashSet<CommandId>,
    /// What came of the last ones.
    results: HashMap<CommandId, CameOf>,
    oldest: VecDeque<CommandId>,
}

impl Dispatcher {
    pub fn new(
        config: &EdgeConfig,
        clock: SharedClock,
        courier: Arc<Courier>,
        reporter: Arc<Reporter>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock,
            nas: config.nas.clone(),
            results_max: config.limits.coa_results_max,
            dynauth: DynAuth::new(&config.limits),
            courier,
            reporter,
            state: Mutex::default(),
            workers: TaskTracker::new(),
        })
    }

    /// Listens until `stop`; then waits for what is under way. Where the way to the cloud lets no stream through, it
    /// polls.
    pub async fn run(self: &Arc<Self>, cloud: &Cloud, poll: Duration, stop: &CancellationToken) {
        let mut pause = PAUSE;
        let mut last = None;
        while !stop.is_cancelled() {
            // A proxy that holds streams back must not keep commands from us.
            let heard = async { self.listen(cloud, &mut last).await || self.poll(cloud, poll).await };
            let heard = tokio::select! {
                heard = heard => heard,
                () = stop.cancelled() => break,
            };
            pause = if heard { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        self.workers.close();
        self.workers.wait().await;
    }

    /// Takes commands from a stream until it ends. `false`: none came.
    async fn listen(self: &Arc<Self>, cloud: &Cloud, last: &mut Option<String>) -> bool {
        let events = cloud.events(STREAM, last.as_deref(), CONNECT_TIMEOUT, SILENCE_MAX).await;
        let Some(mut events) = events else { return false };
        self.reporter.listens(Some(Channel::Stream));
        let mut came = false;
        while let Some(event) = events.next().await {
            came = true;
            if event.event == "probe" {
                match serde_json::from_str::<Probe>(&event.data) {
                    Ok(probe) => self.answer(probe).await,
                    Err(error) => tracing::error!(%error, "a probe cannot be read"),
                }
                continue;
            }
            match serde_json::from_str::<Command>(&event.data) {
                Ok(command) => self.accept(vec![command]).await,
                Err(error) => tracing::error!(%error, "a command cannot be read"),
            }
            *last = Some(event.id);
        }
        came
    }

    async fn poll(self: &Arc<Self>, cloud: &Cloud, wait: Duration) -> bool {
        let path = format!("/v1/nac/commands?wait={}", wait.as_secs());
        let said = match cloud.get(&path, wait + POLL_MARGIN).await {
            Reply::Said(said) if said.status.is_success() => said,
            _ => {
                self.reporter.listens(None);
                return false;
            }
        };
        self.reporter.listens(Some(Channel::Poll));
        match serde_json::from_slice::<Commands>(&said.body) {
            Ok(Commands { commands, probe }) => {
                if let Some(probe) = probe {
                    self.answer(probe).await;
                }
                self.accept(commands).await;
            }
            Err(error) => tracing::error!(%error, "commands cannot be read"),
        }
        true
    }

    /// An admin tries whether commands get here: they do. First how all else stands, so that it can be seen beside.
    async fn answer(&self, probe: Probe) {
        self.reporter.tell().await;
        let message = concat!("gatehouse-edge ", env!("CARGO_PKG_VERSION"));
        self.tell(CommandId(probe.id), &CameOf::of(NasResult::Ack, Some(message.to_owned()))).await;
    }

    async fn accept(self: &Arc<Self>, commands: Vec<Command>) {
        for mut command in commands {
            command.came();
            let told = {
                let mut state = self.lock();
                let told = state.results.get(&command.id).cloned();
                if told.is_none() && state.begun.insert(command.id) {
                    let session = command.session.id;
                    match state.sessions.get_mut(&session) {
                        Some(waiting) => waiting.push_back(command.clone()),
                        None => {
                            state.sessions.insert(session, VecDeque::from([command.clone()]));
                            self.workers.spawn(Arc::clone(self).work(session));
                        }
                    }
                }
                told
            };
            if let Some(result) = told {
                self.tell(command.id, &result).await;
            }
        }
    }

    /// Carries out a session's commands, one after the other, until there are none.
    async fn work(self: Arc<Self>, session: SessionId) {
        loop {
            let command = {
                let mut state = self.lock();
                match state.sessions.get_mut(&session).and_then(VecDeque::pop_front) {
                    Some(command) => command,
                    None => {
                        state.sessions.remove(&session);
                        return;
                    }
                }
            };
            let result = self.carry_out(&command).await;
            {
                let mut state = self.lock();
                state.begun.remove(&command.id);
                if let Some(result) = result.as_ref().filter(|result| result.answer.next() != Next::Again) {
                    state.results.insert(command.id, result.clone());
                    state.oldest.push_back(command.id);
                    while state.oldest.len() > self.results_max {
                        if let Some(oldest) = state.oldest.pop_front() {
                            state.results.remove(&oldest);
                        }
                    }
                }
            }
            if let Some(result) = result {
                self.tell(command.id, &result).await;
            }
        }
    }

    /// `None`: it is no longer wanted, or could not be tried at all; the cloud hands it out again while it is wanted.
    async fn carry_out(&self, command: &Command) -> Option<CameOf> {
        if command.is_over(self.clock.now()) {
            return None;
        }
        let session = &command.session;
        let Some((nas, address)) = self.nas_of(session) else {
            let message = "the edge's configuration names no such NAS";
            return Some(CameOf::nak(Some(403), Some(message.to_owned())));
        };
        let vendor = nas.vendor.unwrap_or_else(|| Vendor::of(session.nas_vendor.as_deref()));
        let name = SessionName {
            acct_session_id: session.session_id.clone(),
            mac: session.mac,
            user_name: session.user_name.clone(),
            nas_ip: session.nas_ip,
            nas_identifier: session.nas_identifier.clone(),
            nas_port_id: session.nas_port_id.clone(),
        };
        let turn = match self.dynauth.turn(address).await {
            Ok(turn) => turn,
            Err(error) => {
                tracing::error!(%error, command = %command.id, "a command could not be sent");
                return None;
            }
        };
        // The NAS may have kept it waiting for long.
        let now = self.clock.now();
        if command.is_over(now) || self.is_superseded(command) {
            return None;
        }
        let Ok(order) = order(vendor, nas.mac_format, command.kind, &name, now) else {
            let message = "the session's names are longer than RADIUS allows";
            return Some(CameOf::nak(None, Some(message.to_owned())));
        };
        match turn.send(&order, nas.secret.expose_secret().as_bytes()).await {
            Answered::Ack => Some(CameOf::of(NasResult::Ack, None)),
            Answered::Nak { error_cause, message } => Some(CameOf::nak(error_cause, message)),
            Answered::Timeout { transmissions } => {
                let message = format!("{address} did not answer {transmissions} transmissions");
                Some(CameOf::of(NasResult::Timeout, Some(message)))
            }
        }
    }

    /// Whether a newer one for the same session came meanwhile: a session has one command that is wanted.
    fn is_superseded(&self, command: &Command) -> bool {
        let state = self.lock();
        state.sessions.get(&command.session.id).is_some_and(|newer| !newer.is_empty())
    }

    /// The narrowest network that the NAS is in; else its identifier.
    fn nas_of(&self, session: &Session) -> Option<(&NasConfig, SocketAddr)> {
        let by_ip = session.nas_ip.and_then(|ip| {
            let within =
                self.nas.iter().filter(|nas| nas.network.is_some_and(|network| network.contains(ip)));
            within.max_by_key(|nas| nas.network.map(|network| network.prefix()))
        });
        let by_name = || {
            let name = session.nas_identifier.as_deref()?;
            self.nas.iter().find(|nas| nas.identifier.as_deref() == Some(name))
        };
        let nas = by_ip.or_else(by_name)?;
        let ip = nas.address.or(session.nas_ip)?;
        Some((nas, SocketAddr::new(ip, nas.port)))
    }

    async fn tell(&self, command: CommandId, result: &CameOf) {
        let path = format!("/v1/nac/commands/{command}/ack");
        match self.courier.deliver_past(path, json!(result).to_string()).await {
            Ok(Delivered::Said(said)) if !said.status.is_success() => {
                tracing::warn!(status = %said.status, %command, "the cloud did not take a result");
            }
            Ok(_) => {}
            // The cloud hands the command out again, and is told then.
            Err(error) => tracing::error!(%error, %command, "a result could not be kept"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
