//! Writes that several kinds of work share: one short transaction each, under the lease of its job.

use std::collections::HashMap;

use domain::cadence::{self, Interest};
use domain::device::ComplianceState;
use domain::event::{Event, EventKind};
use domain::outbox::OutboxMessage;
use domain::resolver::LookupKey;
use domain::{DeviceId, LinkId, OrgId};
use store::devices::{self, DeviceWrite, TouchedDevice};
use store::jobs::{self, JobKind};
use store::links::LinkRow;
use store::transitions::{self, Transition};
use store::{OrgTx, StoreError, events, outbox};
use time::OffsetDateTime;

use crate::reconcile::{ComplianceChange, Diff, Fetched};
use crate::{Context, breaker};

/// Who writes, and what for.
pub(crate) struct Writing<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) link: &'a LinkRow,
    pub(crate) kind: JobKind,
    pub(crate) now: OffsetDateTime,
}

/// What [`Writing::diff`] wrote.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The numbers of new devices.
    pub(crate) ordinals: Vec<u32>,
    /// New and changed ones.
    pub(crate) devices: usize,
    pub(crate) transitions: usize,
}

impl Writing<'_> {
    /// Writes a diff: history, rows, the word to the relay, and when each device is looked at next. `single`: a GET of
    /// each device brought it, which tells more than a list. Unchanged devices are not touched.
    pub(crate) async fn diff(
        &self,
        tx: &mut OrgTx,
        mut diff: Diff,
        single: bool,
    ) -> Result<Written, StoreError> {
        let (link, now) = (self.link.id, self.now);
        self.leave_gone(tx, &mut diff).await?;
        self.changes(tx, &diff.transitions).await?;
        let touched = diff.touched().collect();
        announce(self.ctx, tx, link, touched, diff.keys.into_iter().collect(), now).await?;

        let mut written = Written { ordinals: Vec::new(), devices: 0, transitions: diff.transitions.len() };
        let mut fetched: Vec<(u32, Fetched)> =
            diff.changed.into_iter().map(|changed| (changed.ordinal, changed.fetched)).collect();
        if !diff.new.is_empty() {
            let count = u32::try_from(diff.new.len()).unwrap_or(u32::MAX);
            let first = devices::take_ordinals(tx, link, count).await?;
            for (ordinal, new) in (first..).zip(diff.new) {
                written.ordinals.push(ordinal);
                fetched.push((ordinal, new));
            }
        }
        written.devices = fetched.len();
        let looks = self.looks(tx, fetched.iter().map(|(_, one)| (one, 0))).await?;
        self.wake(tx, &looks, fetched.iter().map(|(_, one)| one)).await?;
        let rows: Vec<DeviceWrite> = fetched
            .into_iter()
            .map(|(ordinal, Fetched { facts, hash, udid, raw })| DeviceWrite {
                next_look_at: looks.get(&facts.id).copied().flatten(),
                facts,
                ordinal,
                content_hash: hash,
                udid,
                raw,
                single,
                idle_looks: 0,
            })
            .collect();
        devices::upsert(tx, link, &rows).await?;
        Ok(written)
    }

    /// When to look at each device next, after so many looks that showed nothing new.
    pub(crate) async fn looks<'f>(
        &self,
        tx: &mut OrgTx,
        fetched: impl Iterator<Item = (&'f Fetched, u32)>,
    ) -> Result<HashMap<DeviceId, Option<OffsetDateTime>>, StoreError> {
        let fetched: Vec<_> = fetched.collect();
        let doubtful = fetched.iter().filter(|(one, _)| one.facts.compliance != ComplianceState::Compliant);
        let doubtful: Vec<DeviceId> = doubtful.map(|(one, _)| one.facts.id).collect();
        let in_session = devices::in_session(tx, &doubtful).await?;
        let pace = self.ctx.config.pace();
        let looks = fetched.into_iter().map(|(one, idle_looks)| {
            let interest = Interest { session: in_session.contains(&one.facts.id), idle_looks };
            (one.facts.id, cadence::next_look(&one.facts, interest, pace, self.now))
        });
        Ok(looks.collect())
    }

    /// Wakes whom the rows concern: the looks at their earliest, and the clock at the first end of a grace.
    async fn wake<'f>(
        &self,
        tx: &mut OrgTx,
        looks: &HashMap<DeviceId, Option<OffsetDateTime>>,
        fetched: impl Iterator<Item = &'f Fetched>,
    ) -> Result<(), StoreError> {
        if let Some(at) = looks.values().flatten().min() {
            jobs::wake(tx, self.link.id, JobKind::Look, *at).await?;
        }
        let in_grace = fetched.filter(|one| one.facts.compliance == ComplianceState::InGracePeriod);
        if let Some(end) = in_grace.filter_map(|one| one.facts.grace_expires_at).min() {
            jobs::wake(tx, self.link.id, JobKind::Clock, end.max(self.now)).await?;
        }
        Ok(())
    }

    /// A device whose record went after this answer was asked for does not come back by it.
    async fn leave_gone(&self, tx: &mut OrgTx, diff: &mut Diff) -> Result<(), StoreError> {
        let Some(asked_at) = diff.new.iter().map(|one| one.facts.fetched_at).min() else { return Ok(()) };
        let new: Vec<DeviceId> = diff.new.iter().map(|one| one.facts.id).collect();
        let gone = transitions::gone_since(tx, &new, asked_at).await?;
        if !gone.is_empty() {
            diff.new.retain(|one| !gone.contains(&one.facts.id));
            diff.transitions.retain(|change| change.from.is_some() || !gone.contains(&change.device));
        }
        Ok(())
    }

    /// Says of devices of which Microsoft has no record any more that they are gone; their rows went before.
    pub(crate) async fn gone(&self, tx: &mut OrgTx, deleted: &[TouchedDevice]) -> Result<(), StoreError> {
        let ended: Vec<ComplianceChange> = deleted
            .iter()
            .map(|device| ComplianceChange {
                device: device.id,
                name: device.name.clone(),
                mac: device.mac,
                from: Some(device.compliance.clone()),
                to: None,
                visible_after: Some(device.fetched_at),
            })
            .collect();
        self.changes(tx, &ended).await?;
        announce_touched(self.ctx, tx, self.link.id, deleted, self.now).await
    }

    /// Records changes of compliance: the immutable history, and an event for each device that was known before. New
    /// devices make no event, or a fleet's first sweep would bury all others.
    async fn changes(&self, tx: &mut OrgTx, changes: &[ComplianceChange]) -> Result<(), StoreError> {
        let (ctx, link, now) = (self.ctx, self.link.id, self.now);
        let rows: Vec<Transition> = changes
            .iter()
            .map(|change| Transition {
                id: ctx.ids.make(now),
                link,
                device: change.device,
                at: now,
                from: change.from.clone(),
                to: change.to.clone(),
                noticed_by: Some(self.kind),
                visible_after: change.visible_after.map(|at| at.min(now)),
            })
            .collect();
        transitions::record(tx, &rows).await?;
        let org = tx.org();
        let lines: Vec<Event> =
            changes.iter().filter_map(|change| event(ctx, org, link, change, now)).collect();
        events::append_all(tx, &lines).await?;
        ctx.metrics.transitions(self.kind, changes.len());
        breaker::after_changes(ctx, tx, link, changes, now).await
    }
}

fn event(
    ctx: &Context,
    org: OrgId,
    link: LinkId,
    change: &ComplianceChange,
    now: OffsetDateTime,
) -> Option<Event> {
    let from = change.from.as_ref()?;
    let name = change.name.clone().unwrap_or_else(|| change.device.to_string());
    let summary = match &change.to {
        Some(to) => format!("{name}: {from} → {to}"),
        None => format!("{name}: {from} → no longer enrolled"),
    };
    Some(Event {
        org,
        id: ctx.ids.make(now),
        at: now,
        kind: EventKind::NacMdmComplianceChanged,
        mac: change.mac,
        session: None,
        edge: None,
        site: None,
        summary,
        detail: serde_json::json!({
            "link": link,
            "device": change.device,
            "device_name": change.name,
            "from": from,
            "to": change.to,
        }),
    })
}

/// Says in the outbox that devices changed.
async fn announce(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    devices: Vec<DeviceId>,
    keys: Vec<LookupKey>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    if devices.is_empty() {
        return Ok(());
    }
    outbox::enqueue(tx, &ctx.ids, now, &OutboxMessage::DevicesChanged { link, devices, keys }).await
}

/// The same for devices that something else than a fetch touched.
pub(crate) async fn announce_touched(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    touched: &[TouchedDevice],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    for some in touched.chunks(1000) {
        outbox::enqueue(tx, &ctx.ids, now, &devices::changed(link, some)).await?;
    }
    Ok(())
}
