//! What runs beside the requests: the bus listener, the drainer, and housekeeping.

use std::sync::Arc;
use std::time::Duration;

use cache::{BusEvent, BusMessage};
use domain::OrgId;
use futures::StreamExt;
use store::{commands_edge, edge_status, events, orgs, sessions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::gate::GateError;
use crate::record::Writer;
use crate::{Shared, spill};

/// How long PostgreSQL may take to say that it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Partitions are made days ahead; this is often enough.
const PARTITION_INTERVAL: Duration = Duration::from_secs(3_600);
/// Commands expired in one transaction.
const EXPIRED_MAX: i64 = 500;
/// Sessions ended in one transaction because they fell silent.
const SILENT_MAX: i64 = 500;
/// Minutes of an edge's decisions are kept for so long.
const MINUTES_KEPT: time::Duration = time::Duration::days(2);
/// Organizations gone through at once.
const ORGS_PAGE: i64 = 500;

pub fn start(shared: &Arc<Shared>, writer: Writer) -> Vec<JoinHandle<()>> {
    let mut tasks = vec![
        tokio::spawn(listen(Arc::clone(shared))),
        tokio::spawn(drain(Arc::clone(shared), writer)),
        tokio::spawn(keep_house(Arc::clone(shared))),
        tokio::spawn(note_seen(Arc::clone(shared))),
    ];
    let announcing = Arc::clone(shared);
    tasks.push(tokio::spawn(async move {
        announcing.announcer.run(&announcing.cache, &announcing.stop).await;
    }));
    let shared = Arc::clone(shared);
    tasks.push(tokio::spawn(async move {
        shared.looks.run(&shared.store, &shared.clock, &shared.stop).await;
    }));
    tasks
}

/// `false`: the process ends.
async fn pause(interval: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(interval) => true,
        () = stop.cancelled() => false,
    }
}

async fn listen(shared: Arc<Shared>) {
    let mut bus = shared.cache.subscribe();
    loop {
        let event = tokio::select! {
            event = bus.next() => event,
            () = shared.stop.cancelled() => return,
        };
        match event {
            None => return,
            Some(BusEvent::Lost) => {
                shared.facts.lost();
                shared.credentials.lost();
                shared.wakeups.wake_all();
            }
            Some(BusEvent::Message(message)) => match message {
                BusMessage::Lookups { org, keys } => shared.facts.lookups_changed(org, keys).await,
                BusMessage::Snapshot { org } => shared.facts.snapshot_changed(org).await,
                BusMessage::Credential { org, id } => shared.credentials.changed(org, id).await,
                BusMessage::Commands { org, edge } => shared.wakeups.wake(org, edge),
                BusMessage::Events { .. } | BusMessage::SyncProgress { .. } => {}
            },
        }
    }
}

/// Probes PostgreSQL while it is away, and drains the spill once it is back.
async fn drain(shared: Arc<Shared>, writer: Writer) {
    // A name that no other process bears.
    let consumer = shared.ids.uuid(shared.clock.now()).to_string();
    while pause(shared.config.drain_interval, &shared.stop).await {
        if shared.gate.is_closed()
            && matches!(tokio::time::timeout(PROBE_TIMEOUT, shared.store.ping()).await, Ok(Ok(())))
        {
            shared.gate.open();
        }
        if !shared.gate.is_closed()
            && let Err(error) = spill::drain(&writer, &consumer, shared.config.drain_records_max).await
        {
            tracing::debug!(%error, "the spill stream could not be drained");
        }
    }
}

/// Expires commands, and makes the partitions of the days to come.
async fn keep_house(shared: Arc<Shared>) {
    let mut partitions_made: Option<tokio::time::Instant> = None;
    let mut silence_heard: Option<tokio::time::Instant> = None;
    loop {
        if partitions_made.is_none_or(|at| at.elapsed() > PARTITION_INTERVAL) {
            match events::ensure_partitions(&shared.store, shared.clock.now()).await {
                Ok(()) => partitions_made = Some(tokio::time::Instant::now()),
                Err(error) => {
                    tracing::warn!(%error, "event partitions could not be made; they are tried again");
                }
            }
        }
        if silence_heard.is_none_or(|at| at.elapsed() > shared.config.session_silence_interval) {
            shared.limits.tidy();
            match end_silent(&shared).await {
                Ok(()) => silence_heard = Some(tokio::time::Instant::now()),
                Err(error) => tracing::debug!(%error, "silent sessions could not be ended"),
            }
        }
        if let Err(error) = expire(&shared).await {
            tracing::debug!(%error, "commands could not be expired");
        }
        if !pause(shared.config.expiry_interval, &shared.stop).await {
            return;
        }
    }
}

async fn expire(shared: &Shared) -> store::Result<()> {
    if shared.gate.is_closed() {
        return Ok(());
    }
    let mut tx = shared.store.system().await?;
    let orgs = commands_edge::orgs_with_expired(&mut tx, shared.clock.now(), 100).await?;
    tx.commit().await?;
    for org in orgs {
        let mut tx = shared.store.org(org).await?;
        commands_edge::expire_due(&mut tx, &shared.ids, shared.clock.now(), EXPIRED_MAX).await?;
        tx.commit().await?;
        shared.announcer.events(org);
    }
    Ok(())
}

/// Ends the sessions whose stop was lost, and forgets what is kept of edges for a while alone.
async fn end_silent(shared: &Shared) -> store::Result<()> {
    if shared.gate.is_closed() {
        return Ok(());
    }
    let span = |span: Duration| span.try_into().unwrap_or(time::Duration::MAX);
    let silence = sessions::Silence {
        unknown: span(shared.config.session_silence),
        shortest: span(shared.config.session_silence_min),
    };
    let mut last = None;
    loop {
        let mut tx = shared.store.system().await?;
        let page = orgs::ids_page(&mut tx, last, ORGS_PAGE).await?;
        tx.commit().await?;
        let Some(org) = page.last() else { return Ok(()) };
        last = Some(*org);
        for org in page {
            end_silent_of(shared, org, silence).await?;
            let mut tx = shared.store.org(org).await?;
            edge_status::forget(&mut tx, shared.clock.now() - MINUTES_KEPT).await?;
            tx.commit().await?;
        }
    }
}

async fn end_silent_of(shared: &Shared, org: OrgId, silence: sessions::Silence) -> store::Result<()> {
    loop {
        let mut tx = shared.store.org(org).await?;
        let ended =
            sessions::end_silent(&mut tx, &shared.ids, shared.clock.now(), silence, SILENT_MAX).await?;
        tx.commit().await?;
        if ended > 0 {
            shared.announcer.events(org);
        }
        if i64::try_from(ended).unwrap_or(0) < SILENT_MAX {
            return Ok(());
        }
    }
}

async fn note_seen(shared: Arc<Shared>) {
    loop {
        let goes_on = pause(shared.config.seen_interval, &shared.stop).await;
        for (org, mut edges) in shared.seen.take() {
            let write = async {
                let mut tx = shared.store.org(org).await?;
                edge_status::note(&mut tx, &mut edges).await?;
                tx.commit().await
            };
            match shared.gate.ask(shared.config.store_write_timeout, write).await {
                Ok(()) => {}
                // The edge calls again; what is counted is kept.
                Err(GateError::Away) => shared.seen.put_back(org, edges),
                Err(GateError::Failed(error)) => {
                    tracing::error!(%org, %error, "how edges stand could not be written");
                }
            }
        }
        if !goes_on {
            return;
        }
    }
}
