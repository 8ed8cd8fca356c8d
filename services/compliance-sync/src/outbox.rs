//! Carries the outbox: to Redis, to the processes that listen, and to planning.
//!
//! Messages of one organization that are claimed together are carried together. Redis comes first, so that a client
//! that a command sends back finds fresh facts; but planning reads PostgreSQL and goes ahead without Redis, and the
//! message is then tried again until both are done. A moment later the listeners are told once more and planning is
//! repeated, for decisions that were made from old facts and not yet recorded when planning looked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cache::{BusMessage, CacheError};
use domain::outbox::OutboxMessage;
use domain::resolver::LookupKey;
use domain::{EdgeId, LinkId, OrgId, SessionId};
use futures::{StreamExt, stream};
use store::devices::{self, CANDIDATES_MAX};
use store::jobs::{self, JobKind};
use store::outbox::{self, ClaimedMessage};
use store::{StoreError, edges, orgs};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::coa::{Affected, Noticed, Page, plan_page};
use crate::{Context, pause};

/// Organizations that one relay carries for at once.
const ORGS_ABREAST: usize = 4;
/// Keys that are looked up and stored at once.
const KEYS_AT_ONCE: usize = 1000;
/// A decision may have been made this long before it was recorded.
const RECORDED_WITHIN: time::Duration = time::Duration::seconds(60);
/// A message that fails this often, and not because something is away, is given up.
const ATTEMPTS_MAX: u32 = 20;

/// Carries until `shutdown`. An organization that takes long holds one place, and the others go on.
pub(crate) async fn run(ctx: Arc<Context>, shutdown: CancellationToken) {
    let poll = Duration::from_millis(ctx.config.relay_poll_millis.into());
    let places = Arc::new(Semaphore::new(ORGS_ABREAST));
    let mut at_work: JoinSet<()> = JoinSet::new();
    let mut orgs: HashMap<task::Id, OrgId> = HashMap::new();
    while !shutdown.is_cancelled() {
        // Nothing is claimed that would only wait here.
        tokio::select! {
            place = places.acquire() => drop(place),
            () = shutdown.cancelled() => break,
        }
        while let Some(done) = at_work.try_join_next_with_id() {
            let id = done.map_or_else(|error| {
                tracing::error!(%error, "messages were lost on their way; their claims run out by themselves");
                error.id()
            }, |(id, ())| id);
            orgs.remove(&id);
        }
        let busy: BTreeSet<OrgId> = orgs.values().copied().collect();
        match claim(&ctx, &busy).await {
            Ok(claimed) if claimed.is_empty() => tokio::select! {
                () = ctx.outbox_wake.notified() => {}
                () = pause(poll, &shutdown) => {}
            },
            Ok(claimed) => {
                for (org, messages) in claimed {
                    let (ctx, places) = (Arc::clone(&ctx), Arc::clone(&places));
                    let work = at_work.spawn(async move {
                        let _place = places.acquire_owned().await;
                        carry_org(&ctx, org, messages).await;
                        ctx.outbox_wake.notify_one();
                    });
                    orgs.insert(work.id(), org);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no messages can be claimed");
                pause(Duration::from_secs(1), &shutdown).await;
            }
        }
    }
    // What is at hand is carried to its end, for as long as the process waits.
    while at_work.join_next().await.is_some() {}
}

/// Claims the messages that are due and carries them. Returns how many there were.
pub(crate) async fn relay(ctx: &Context) -> Result<usize, StoreError> {
    let claimed = claim(ctx, &BTreeSet::new()).await?;
    let count = claimed.values().map(Vec::len).sum();
    let carry = |(org, messages)| carry_org(ctx, org, messages);
    stream::iter(claimed).for_each_concurrent(ORGS_ABREAST, carry).await;
    Ok(count)
}

/// Claims due messages of a few organizations, in turn, and of each of them a share: who has one message waits no
/// longer because somebody else has five hundred. Goes once through all that have messages until some are due.
async fn claim(
    ctx: &Context,
    busy: &BTreeSet<OrgId>,
) -> Result<BTreeMap<OrgId, Vec<ClaimedMessage>>, StoreError> {
    let limit = i64::from(ctx.config.relay_batch_max);
    let begun_at = *ctx.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut turn, mut wrapped) = (begun_at, begun_at.is_none());
    loop {
        let now = ctx.clock.now();
        let mut tx = ctx.store.system().await?;
        let mut orgs = outbox::orgs(&mut tx, turn, limit).await?;
        let ended = orgs.len() < usize::from(ctx.config.relay_batch_max);
        turn = if ended { None } else { orgs.last().copied() };
        orgs.retain(|org| !busy.contains(org));
        let mut by_org: BTreeMap<OrgId, Vec<ClaimedMessage>> = BTreeMap::new();
        if !orgs.is_empty() {
            let share = limit / i64::try_from(orgs.len()).unwrap_or(limit);
            let per_org = share.clamp(1, ctx.config.relay_org_batch_max.into());
            let until = now + ctx.config.relay_lease();
            for message in outbox::claim(&mut tx, now, until, &orgs, per_org).await? {
                by_org.entry(message.org).or_default().push(message);
            }
        }
        tx.commit().await?;
        *ctx.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
        let round_is_over = wrapped && (ended || begun_at.is_some_and(|begun_at| turn >= Some(begun_at)));
        if round_is_over || !by_org.is_empty() {
            return Ok(by_org);
        }
        wrapped |= ended;
    }
}

async fn carry_org(ctx: &Context, org: OrgId, messages: Vec<ClaimedMessage>) {
    let span = tracing::info_span!("relay", %org, messages = messages.len());
    if let Err(error) = Box::pin(carry(ctx, org, messages)).instrument(span).await {
        // The claims run out by themselves.
        tracing::warn!(%org, %error, "what came of messages could not be stored");
    }
}

/// Why something could not be carried.
#[derive(Debug, thiserror::Error)]
enum CarryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl CarryError {
    /// Something is away, and will be back.
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_unavailable(),
            Self::Cache(_) => true,
        }
    }
}

/// What messages of one organization ask for, together.
#[derive(Debug, Default)]
struct Work {
    keys: BTreeSet<LookupKey>,
    /// Those of `keys` that Redis was given before: a repetition only tells the listeners again.
    put_before: BTreeSet<LookupKey>,
    snapshot: bool,
    redecide: bool,
    /// Links whose holds came or went.
    holds: BTreeSet<LinkId>,
    /// Sessions whose commands came to nothing.
    sessions: BTreeSet<SessionId>,
    noticed: Noticed,
    credentials: BTreeSet<EdgeId>,
    commands: BTreeSet<EdgeId>,
    /// All that asks for planning is a repetition: sessions decided before that are in order.
    since: Option<OffsetDateTime>,
}

impl Work {
    fn of(messages: &[ClaimedMessage]) -> Self {
        let mut work = Self::default();
        let mut only_repeats = true;
        let mut since: Option<OffsetDateTime> = None;
        let mut fresh: BTreeSet<LookupKey> = BTreeSet::new();
        for claimed in messages {
            let plans = match &claimed.message {
                Some(
                    OutboxMessage::DevicesChanged { keys, .. }
                    | OutboxMessage::DecisionsRecordedLate { keys },
                ) => {
                    for key in keys {
                        let noticed = work.noticed.by_key.entry(key.clone()).or_insert(claimed.created_at);
                        *noticed = claimed.created_at.min(*noticed);
                    }
                    work.keys.extend(keys.iter().cloned());
                    let seen = if claimed.settling { &mut work.put_before } else { &mut fresh };
                    seen.extend(keys.iter().cloned());
                    true
                }
                Some(OutboxMessage::SnapshotChanged { redecide }) => {
                    work.snapshot = true;
                    work.redecide |= redecide;
                    if *redecide {
                        let earliest = work.noticed.of_all.unwrap_or(claimed.created_at);
                        work.noticed.of_all = Some(earliest.min(claimed.created_at));
                    }
                    *redecide
                }
                Some(OutboxMessage::CredentialChanged { edge }) => {
                    work.credentials.insert(*edge);
                    false
                }
                Some(OutboxMessage::CommandReady { edge }) => {
                    work.commands.insert(*edge);
                    false
                }
                Some(OutboxMessage::HoldChanged { link }) => {
                    work.holds.insert(*link);
                    false
                }
                Some(OutboxMessage::SessionsDue { sessions }) => {
                    work.sessions.extend(sessions);
                    false
                }
                None => false,
            };
            if plans {
                only_repeats &= claimed.settling;
                since = Some(since.map_or(claimed.created_at, |since| since.min(claimed.created_at)));
            }
        }
        work.put_before.retain(|key| !fresh.contains(key));
        work.since = since.filter(|_| only_repeats).map(|since| since - RECORDED_WITHIN);
        work
    }
}

/// What came of each part.
struct Carried {
    snapshot: Result<(), CarryError>,
    credentials: Result<(), CarryError>,
    lookups: Result<(), CarryError>,
    plan: Result<(), CarryError>,
    commands: Result<(), CarryError>,
}

impl Carried {
    /// The first failure that concerns a message.
    fn failure_of(&self, message: &OutboxMessage) -> Option<&CarryError> {
        let parts: &[&Result<(), CarryError>] = match message {
            OutboxMessage::DevicesChanged { .. } | OutboxMessage::DecisionsRecordedLate { .. } => {
                &[&self.lookups, &self.plan]
            }
            OutboxMessage::SnapshotChanged { redecide: true } => &[&self.snapshot, &self.plan],
            OutboxMessage::SnapshotChanged { redecide: false } => &[&self.snapshot],
            OutboxMessage::CredentialChanged { .. } => &[&self.credentials],
            OutboxMessage::HoldChanged { .. } | OutboxMessage::SessionsDue { .. } => &[&self.plan],
            OutboxMessage::CommandReady { .. } => &[&self.commands],
        };
        parts.iter().find_map(|part| part.as_ref().err())
    }
}

async fn carry(ctx: &Context, org: OrgId, messages: Vec<ClaimedMessage>) -> Result<(), StoreError> {
    let work = Work::of(&messages);
    let mut claim = Claim::new(ctx, &messages);
    let carried = Carried {
        snapshot: if work.snapshot { refresh_snapshot(ctx, org).await } else { Ok(()) },
        credentials: drop_credentials(ctx, org, &work.credentials).await,
        lookups: refresh_lookups(ctx, org, &work, &mut claim).await,
        plan: replan(ctx, org, &work, &mut claim).await,
        commands: announce_commands(ctx, org, &work.commands).await,
    };
    settle_accounts(ctx, &messages, &carried).await
}

/// Deletes what is done, sets aside what is to be repeated, and gives back what failed.
async fn settle_accounts(
    ctx: &Context,
    messages: &[ClaimedMessage],
    carried: &Carried,
) -> Result<(), StoreError> {
    let now = ctx.clock.now();
    let (mut done, mut repeat) = (Vec::new(), Vec::new());
    let mut retry: BTreeMap<OffsetDateTime, Vec<(OrgId, Uuid)>> = BTreeMap::new();
    for claimed in messages {
        let id = (claimed.org, claimed.id);
        let Some(message) = &claimed.message else {
            tracing::warn!(id = %claimed.id, "a message is not understood; a newer release may");
            retry.entry(now + Duration::from_secs(60)).or_default().push(id);
            continue;
        };
        match carried.failure_of(message) {
            None if !claimed.settling && ctx.config.settle_millis > 0 && plans(message) => repeat.push(id),
            None => done.push(id),
            Some(error) if claimed.attempts >= ATTEMPTS_MAX && !error.is_unavailable() => {
                tracing::error!(id = %claimed.id, %error, "a message is given up");
                done.push(id);
            }
            Some(error) => {
                let wait = backoff(ctx, claimed.attempts);
                tracing::warn!(id = %claimed.id, %error, wait_millis = wait.as_millis(), "a message waits");
                retry.entry(now + wait).or_default().push(id);
            }
        }
        // Some are for later from the beginning.
        let at_once = !matches!(message, OutboxMessage::SessionsDue { .. });
        if !claimed.settling && claimed.attempts == 1 && at_once {
            ctx.metrics.outbox_delay((now - claimed.created_at).as_seconds_f64().max(0.0));
        }
    }
    let mut tx = ctx.store.system().await?;
    outbox::done(&mut tx, &done).await?;
    outbox::settle(&mut tx, &repeat, now + Duration::from_millis(ctx.config.settle_millis.into())).await?;
    let mut waiting = 0;
    for (again_at, ids) in retry {
        outbox::retry(&mut tx, &ids, again_at).await?;
        waiting += ids.len();
    }
    tx.commit().await?;
    ctx.metrics.messages("done", done.len());
    ctx.metrics.messages("carried", repeat.len());
    ctx.metrics.messages("retried", waiting);
    Ok(())
}

const fn plans(message: &OutboxMessage) -> bool {
    matches!(
        message,
        OutboxMessage::DevicesChanged { .. } | OutboxMessage::SnapshotChanged { redecide: true }
    )
}

fn backoff(ctx: &Context, attempts: u32) -> Duration {
    let base = Duration::from_millis(ctx.config.relay_backoff_base_millis.into());
    let most = Duration::from_secs(ctx.config.relay_backoff_max_seconds.into());
    base.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(most)
}

async fn refresh_snapshot(ctx: &Context, org: OrgId) -> Result<(), CarryError> {
    let mut tx = ctx.store.org(org).await?;
    let snapshot = orgs::snapshot(&mut tx).await?;
    tx.commit().await?;
    if let Some(snapshot) = snapshot {
        ctx.cache.put_snapshot(&snapshot).await?;
        ctx.cache.publish(&BusMessage::Snapshot { org }).await?;
    }
    Ok(())
}

async fn drop_credentials(ctx: &Context, org: OrgId, of: &BTreeSet<EdgeId>) -> Result<(), CarryError> {
    for edge in of {
        let mut tx = ctx.store.org(org).await?;
        let credentials = edges::credentials_of(&mut tx, *edge).await?;
        tx.commit().await?;
        for credential in credentials {
            ctx.cache.drop_credential(org, credential.id).await?;
            ctx.cache.publish(&BusMessage::Credential { org, id: credential.id }).await?;
        }
    }
    Ok(())
}

async fn announce_commands(ctx: &Context, org: OrgId, of: &BTreeSet<EdgeId>) -> Result<(), CarryError> {
    for edge in of {
        ctx.cache.publish(&BusMessage::Commands { org, edge: *edge }).await?;
    }
    Ok(())
}

/// Puts the present candidates of each key. Read, put, and read again: had another relay put newer ones between our
/// reading and our putting, the second reading shows it.
async fn refresh_lookups(
    ctx: &Context,
    org: OrgId,
    work: &Work,
    claim: &mut Claim<'_>,
) -> Result<(), CarryError> {
    let put_before: Vec<LookupKey> = work.put_before.iter().cloned().collect();
    for keys in put_before.chunks(KEYS_AT_ONCE) {
        ctx.cache.publish(&BusMessage::Lookups { org, keys: keys.to_vec() }).await?;
    }
    let keys: Vec<LookupKey> = work.keys.difference(&work.put_before).cloned().collect();
    for keys in keys.chunks(KEYS_AT_ONCE) {
        let mut entries = candidates(ctx, org, keys).await?;
        for _ in 0..3 {
            ctx.cache.put_lookups(org, &entries).await?;
            let now = candidates(ctx, org, keys).await?;
            if now == entries {
                break;
            }
            entries = now;
        }
        ctx.cache.publish(&BusMessage::Lookups { org, keys: keys.to_vec() }).await?;
        claim.keep().await?;
    }
    Ok(())
}

async fn candidates(
    ctx: &Context,
    org: OrgId,
    keys: &[LookupKey],
) -> Result<Vec<(LookupKey, Vec<domain::device::DeviceFacts>)>, StoreError> {
    let mut tx = ctx.store.org(org).await?;
    let mut found = devices::by_keys(&mut tx, keys, CANDIDATES_MAX).await?;
    tx.commit().await?;
    Ok(keys.iter().map(|key| (key.clone(), found.remove(key).unwrap_or_default())).collect())
}

async fn replan(ctx: &Context, org: OrgId, work: &Work, claim: &mut Claim<'_>) -> Result<(), CarryError> {
    if work.redecide {
        // Settings may have moved the moments at which time changes answers.
        let mut tx = ctx.store.org(org).await?;
        jobs::wake_all(&mut tx, JobKind::Clock, ctx.clock.now()).await?;
        tx.commit().await?;
    }
    let keys: Vec<LookupKey> = work.keys.iter().cloned().collect();
    let mut parts: Vec<(Affected<'_>, Option<OffsetDateTime>)> =
        work.holds.iter().map(|link| (Affected::Waiting(*link), None)).collect();
    let sessions: Vec<SessionId> = work.sessions.iter().copied().collect();
    parts.extend(
        sessions.chunks(ctx.config.plan_page_max.into()).map(|some| (Affected::Sessions(some), None)),
    );
    if work.redecide {
        parts.push((Affected::All, work.since));
    } else {
        parts.extend(keys.chunks(KEYS_AT_ONCE).map(|keys| (Affected::Keys(keys), work.since)));
    }
    for (affected, since) in parts {
        let page = Page { affected, since, noticed: &work.noticed };
        let mut after = None;
        loop {
            after = plan_page(ctx, org, page, after).await?;
            if after.is_none() {
                break;
            }
            claim.keep().await?;
        }
    }
    ctx.outbox_wake.notify_one();
    Ok(())
}

/// The claim on messages that take longer than expected.
struct Claim<'a> {
    ctx: &'a Context,
    ids: Vec<(OrgId, Uuid)>,
    renewed_at: OffsetDateTime,
}

impl<'a> Claim<'a> {
    fn new(ctx: &'a Context, messages: &[ClaimedMessage]) -> Self {
        let ids = messages.iter().map(|message| (message.org, message.id)).collect();
        Self { ctx, ids, renewed_at: ctx.clock.now() }
    }

    /// Renews the hold when a third of it has passed.
    async fn keep(&mut self) -> Result<(), StoreError> {
        let now = self.ctx.clock.now();
        if now - self.renewed_at < self.ctx.config.relay_lease() / 3 {
            return Ok(());
        }
        let mut tx = self.ctx.store.system().await?;
        outbox::retry(&mut tx, &self.ids, now + self.ctx.config.relay_lease()).await?;
        tx.commit().await?;
        self.renewed_at = now;
        Ok(())
    }
}
