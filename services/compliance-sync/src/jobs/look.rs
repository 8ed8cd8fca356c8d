//! Looks at single devices that are worth it now: those that somebody asked for, those whose clients are on the
//! network and not trusted or in their grace, those whose grace ends soon, and those that were just enrolled.
//!
//! Devices are asked for by id, twenty at a time. A record that Microsoft has no more is asked for once more, alone,
//! before its end is believed. Keys that nobody here bears are searched for by filter; a MAC never is. Each answer is
//! held against what is stored as a sweep's page is, and written in a short transaction of its own.

mod answer;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use domain::DeviceId;
use domain::link::LinkState;
use domain::resolver::LookupKey;
use microsoft::{BATCH_MAX, BatchItem, DeviceFilter, GraphDevice, GraphError};
use store::jobs::{self, ClaimedJob, Completion, LeaseError};
use store::links::{self, LinkRow};
use store::looks::{self, Wish, WishReason};
use store::{OrgTx, devices};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ask::Asking;
use super::failure;
use super::stop::{self, Stop};
use crate::Context;
use crate::reconcile::Fetched;
use answer::Answers;

/// Devices of active sessions that are taken up at once.
const HEAT_MAX: i64 = 1000;
/// Devices of one key that are looked at.
const BEARERS_MAX: u16 = 8;

/// Works on a claimed look, then gives it back.
pub(crate) async fn run(ctx: &Context, job: ClaimedJob, shutdown: &CancellationToken) {
    let result = work(ctx, &job, shutdown).await;
    stop::settle(ctx, &job, result).await;
}

async fn work(ctx: &Context, job: &ClaimedJob, shutdown: &CancellationToken) -> Result<(), Stop> {
    let now = ctx.clock.now();
    let mut tx = ctx.store.org(job.lease.org).await?;
    jobs::hold(&mut tx, &job.lease).await?;
    let link = links::get(&mut tx, job.lease.link).await?.ok_or(LeaseError::Fenced)?;
    if stop::is_blocked(link.state) {
        return wait_for_the_link(ctx, tx, job, now).await;
    }
    devices::heat_sessions(&mut tx, link.id, now, HEAT_MAX).await?;
    devices::heat_graces(&mut tx, link.id, now, now + ctx.config.pace().hot_max, HEAT_MAX).await?;
    let plan = Plan::gather(ctx, &mut tx, &link, now).await?;
    tx.commit().await?;

    ctx.metrics.hot_set(plan.ids.len() + plan.searches.len());
    let turn = time::Duration::seconds(ctx.config.sweep_slice_seconds.into());
    let asking = ctx.asking(job, &link, shutdown).await?;
    let Plan { wishes, bearers, .. } = plan;
    let mut look =
        Look { ctx, job, link, asking, turn_until: now + turn, wishes, bearers, answered: HashSet::new() };
    let asked = !plan.ids.is_empty() || !plan.searches.is_empty();
    let mut searches = plan.searches;
    for ids in plan.ids.chunks(BATCH_MAX) {
        if look.is_over() {
            return look.finish(now, asked).await;
        }
        searches.extend(look.look_at(ids).await?);
    }
    for keys in by_kind(searches) {
        if look.is_over() {
            break;
        }
        look.search(&keys).await?;
    }
    look.finish(now, asked).await
}

/// What this turn is for.
struct Plan {
    wishes: HashMap<LookupKey, Wish>,
    /// The devices of this link that are known to bear a key that is wished for.
    bearers: HashMap<LookupKey, Vec<DeviceId>>,
    /// The most urgent first.
    ids: Vec<DeviceId>,
    /// Keys that nobody bears who is known here.
    searches: Vec<LookupKey>,
}

impl Plan {
    async fn gather(
        ctx: &Context,
        tx: &mut OrgTx,
        link: &LinkRow,
        now: OffsetDateTime,
    ) -> Result<Self, Stop> {
        let limit = i64::from(ctx.config.look_devices_max);
        let wishes = looks::due(tx, link.id, now, limit).await?;
        let due = devices::due_looks(tx, link.id, now, limit).await?;
        let keys: Vec<LookupKey> = wishes.iter().map(|wish| wish.key.clone()).collect();
        let known = devices::by_keys(tx, &keys, BEARERS_MAX).await?;
        let bearers: HashMap<LookupKey, Vec<DeviceId>> = known
            .into_iter()
            .map(|(key, devices)| {
                let of_link = devices.into_iter().filter(|device| device.link == link.id);
                (key, of_link.map(|device| device.id).collect())
            })
            .collect();

        let (mut urgent, mut patient, mut searches) = (Vec::new(), Vec::new(), Vec::new());
        for wish in &wishes {
            let ids = if wish.reason == WishReason::Unmatched { &mut patient } else { &mut urgent };
            match (&wish.key, bearers.get(&wish.key).map_or(&[][..], Vec::as_slice)) {
                (LookupKey::IntuneId(id), _) => ids.push(DeviceId(*id)),
                (key, []) => searches.push(key.clone()),
                (_, known) => ids.extend(known),
            }
        }
        let (in_session, others): (Vec<_>, Vec<_>) = due.into_iter().partition(|look| look.session);
        let mut seen = HashSet::new();
        let ids = urgent
            .into_iter()
            .chain(in_session.into_iter().map(|look| look.id))
            .chain(patient)
            .chain(others.into_iter().map(|look| look.id))
            .filter(|id| seen.insert(*id))
            .take(ctx.config.look_devices_max.into())
            .collect();
        let wishes = wishes.into_iter().map(|wish| (wish.key.clone(), wish)).collect();
        Ok(Self { wishes, bearers, ids, searches })
    }
}

/// Searches that one request can carry: Entra ids by twenties, all else alone.
fn by_kind(mut keys: Vec<LookupKey>) -> Vec<Vec<LookupKey>> {
    let mut once = HashSet::new();
    keys.retain(|key| once.insert(key.clone()));
    let (entra, others): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|key| matches!(key, LookupKey::EntraId(_)));
    let entra = entra.chunks(BATCH_MAX).map(<[LookupKey]>::to_vec).collect::<Vec<_>>();
    entra.into_iter().chain(others.into_iter().map(|key| vec![key])).collect()
}

/// A look at work.
pub(crate) struct Look<'a> {
    ctx: &'a Context,
    job: &'a ClaimedJob,
    link: LinkRow,
    asking: Asking<'a>,
    /// When this turn ends.
    turn_until: OffsetDateTime,
    wishes: HashMap<LookupKey, Wish>,
    bearers: HashMap<LookupKey, Vec<DeviceId>>,
    /// Keys whose known bearers were looked at in vain, and which are searched for.
    answered: HashSet<LookupKey>,
}

impl Look<'_> {
    fn is_over(&self) -> bool {
        self.ctx.clock.now() >= self.turn_until
    }

    /// Asks for devices by id and writes what came. Returns keys under which another device may be found: their
    /// bearers are gone, or show nothing of what Entra ID told.
    async fn look_at(&mut self, ids: &[DeviceId]) -> Result<Vec<LookupKey>, Stop> {
        let asked_at = self.ctx.clock.now();
        let mut answers = Answers::new(asked_at);
        let items = match ids {
            [id] => {
                answers.confirmed_at = Some(asked_at);
                match self.asking.ask(1, self.asking.graph.device(*id)).await {
                    Ok(device) => vec![device.map_or(BatchItem::Absent, BatchItem::Found)],
                    // One odd record is no reason to stop; silence is.
                    Err(Stop::Graph(
                        error @ (GraphError::BadRequest { .. } | GraphError::Protocol { .. }),
                    )) => vec![BatchItem::Failed(error)],
                    Err(stop) => return Err(stop),
                }
            }
            ids => self.asking.ask(ids.len(), self.asking.graph.devices_batch(ids)).await?,
        };
        for (id, item) in ids.iter().copied().zip(items) {
            match item {
                BatchItem::Found(device) => answers.found.push(Fetched::of(device, self.link.id, asked_at)),
                BatchItem::Absent => answers.absent.push(id),
                BatchItem::Failed(error) => answers.fail(id, error, &self.ctx.config),
            }
        }
        self.heed(&answers).await;
        if answers.confirmed_at.is_none() && !answers.absent.is_empty() && answers.refused.is_none() {
            self.confirm(&mut answers).await?;
        }
        answers.single = true;
        answers.ids = ids.to_vec();
        answers.notice_silence();
        let gone = self.write(&mut answers).await?;
        match answers.refused {
            Some(error) => Err(error.into()),
            None => Ok(gone),
        }
    }

    /// Nobody asks on for as long as an answer of a batch asked to wait.
    async fn heed(&self, answers: &Answers) {
        if let Some(error) = &answers.refused {
            self.asking.heed(error).await;
        }
    }

    /// Asks once more, alone, for those that the batch did not know: only that is believed.
    async fn confirm(&self, answers: &mut Answers) -> Result<(), Stop> {
        let asked_at = self.ctx.clock.now();
        let mut confirmed = Vec::new();
        for id in std::mem::take(&mut answers.absent) {
            match self.asking.ask(1, self.asking.graph.device(id)).await {
                Ok(None) => confirmed.push(id),
                Ok(Some(device)) => answers.found.push(Fetched::of(device, self.link.id, asked_at)),
                Err(Stop::Graph(error)) => answers.fail(id, error, &self.ctx.config),
                // What was found out is written all the same; these are still due.
                Err(Stop::Budget(_)) => {}
                Err(stop) => return Err(stop),
            }
        }
        answers.absent = confirmed;
        answers.confirmed_at = Some(asked_at);
        Ok(())
    }

    /// Searches for keys of one kind and writes what came.
    async fn search(&mut self, keys: &[LookupKey]) -> Result<(), Stop> {
        let asked_at = self.ctx.clock.now();
        let mut answers = Answers::new(asked_at);
        answers.searched = keys.to_vec();
        let entra: Vec<Uuid> = keys
            .iter()
            .filter_map(|key| if let LookupKey::EntraId(id) = key { Some(*id) } else { None })
            .collect();
        if let [key] = keys
            && let Some(filter) = filter(key)
        {
            let found = self.asking.ask(1, self.asking.graph.find_devices(filter)).await;
            answers.search(key, of_search(found)?, self.link.id, &self.ctx.config);
        } else if !entra.is_empty() {
            let items = self.asking.ask(entra.len(), self.asking.graph.find_devices_batch(&entra)).await?;
            for (id, item) in entra.into_iter().zip(items) {
                let found = match item {
                    BatchItem::Found(devices) => Ok(devices),
                    BatchItem::Absent => Ok(Vec::new()),
                    BatchItem::Failed(error) => of_search(Err(Stop::Graph(error)))?,
                };
                answers.search(&LookupKey::EntraId(id), found, self.link.id, &self.ctx.config);
            }
            self.heed(&answers).await;
        } else {
            // A MAC: nobody can be asked for it.
            for key in keys {
                answers.search(key, Ok(Vec::new()), self.link.id, &self.ctx.config);
            }
        }
        self.write(&mut answers).await?;
        answers.refused.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The turn is over: due again when the next device or wish is.
    async fn finish(&self, began_at: OffsetDateTime, asked: bool) -> Result<(), Stop> {
        let (ctx, link) = (self.ctx, &self.link);
        let now = ctx.clock.now();
        let interval = Duration::from_secs(ctx.config.look_interval_seconds.into());
        let idle = now + failure::jitter(interval, ctx.config.sweep_jitter_percent, ctx.random(now));
        let mut tx = ctx.store.org(self.job.lease.org).await?;
        jobs::hold(&mut tx, &self.job.lease).await?;
        if asked && link.state == LinkState::Throttled {
            stop::set_state(ctx, &mut tx, link, LinkState::Connected, None, now).await?;
        }
        let next = [devices::next_look(&mut tx, link.id).await?, looks::next_due(&mut tx, link.id).await?];
        let next_due_at = next.into_iter().flatten().fold(idle, Ord::min).max(now);
        let done = Completion { began_at, now, next_due_at, redecided: false, cursor: None };
        jobs::complete(&mut tx, &self.job.lease, &done).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// What Graph can be asked for.
fn filter(key: &LookupKey) -> Option<DeviceFilter<'_>> {
    match key {
        LookupKey::EntraId(id) => Some(DeviceFilter::EntraId(*id)),
        LookupKey::Serial(serial) => Some(DeviceFilter::Serial(serial)),
        LookupKey::Name(name) => Some(DeviceFilter::Name(name)),
        LookupKey::IntuneId(_) | LookupKey::Mac(_) => None,
    }
}

/// A search that Graph could not make sense of found nothing; it is no reason to stop the others.
fn of_search(found: Result<Vec<GraphDevice>, Stop>) -> Result<Result<Vec<GraphDevice>, GraphError>, Stop> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(Stop::Graph(
            error @ (GraphError::FilterIgnored { .. }
            | GraphError::Unfinished { .. }
            | GraphError::BadRequest { .. }
            | GraphError::Protocol { .. }),
        )) => {
            tracing::info!(%error, "a search came to nothing");
            Ok(Ok(Vec::new()))
        }
        Err(Stop::Graph(error)) => Ok(Err(error)),
        Err(stop) => Err(stop),
    }
}

/// Whether a failure of one request would be that of the others too.
pub(crate) const fn concerns_all(error: &GraphError) -> bool {
    matches!(
        error,
        GraphError::Throttled { .. }
            | GraphError::Unavailable { retry_after: Some(_), .. }
            | GraphError::Token(_)
            | GraphError::Unauthorized { .. }
            | GraphError::Forbidden { .. }
            | GraphError::NoIntune { .. }
    )
}

/// Somebody must act before asking makes sense: the job comes due when the link is well again, or after a while.
pub(crate) async fn wait_for_the_link(
    ctx: &Context,
    mut tx: OrgTx,
    job: &ClaimedJob,
    now: OffsetDateTime,
) -> Result<(), Stop> {
    let wait = Duration::from_secs(ctx.config.backoff_max_seconds.into());
    let next_due_at = now + failure::jitter(wait, 10, ctx.random(now));
    let done = Completion { began_at: now, now, next_due_at, redecided: false, cursor: job.cursor.clone() };
    jobs::complete(&mut tx, &job.lease, &done).await?;
    tx.commit().await?;
    Ok(())
}
