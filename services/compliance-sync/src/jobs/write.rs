//! Writes that several kinds of work share.

use domain::OrgId;
use domain::event::{Event, EventKind};
use domain::outbox::OutboxMessage;
use domain::resolver::LookupKey;
use domain::{DeviceId, LinkId};
use store::devices::TouchedDevice;
use store::jobs::JobKind;
use store::transitions::{self, Transition};
use store::{OrgTx, StoreError, events, outbox};
use time::OffsetDateTime;

use crate::Context;
use crate::reconcile::ComplianceChange;

/// Records changes of compliance: the immutable history, and an event for each device that was known before. New
/// devices make no event, or a fleet's first sweep would bury all others.
pub(crate) async fn compliance_changes(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    changes: &[ComplianceChange],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let rows: Vec<Transition> = changes
        .iter()
        .map(|change| Transition {
            id: ctx.ids.make(now),
            link,
            device: change.device,
            at: now,
            from: change.from.clone(),
            to: change.to.clone(),
            noticed_by: Some(JobKind::Sweep),
            visible_after: None,
        })
        .collect();
    transitions::record(tx, &rows).await?;
    let org = tx.org();
    let lines: Vec<Event> = changes.iter().filter_map(|change| event(ctx, org, link, change, now)).collect();
    events::append_all(tx, &lines).await?;
    ctx.metrics.transitions(changes.len());
    Ok(())
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
pub(crate) async fn announce(
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
        outbox::enqueue(tx, &ctx.ids, now, &store::devices::changed(link, some)).await?;
    }
    Ok(())
}
