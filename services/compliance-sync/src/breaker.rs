//! The breaker: when too much of a link's fleet turns worse at once, moves to a worse state are held and an admin is
//! asked. Moves to a better state never are.
//!
//! Devices are counted in the transactions that write their changes, so that a hold is there before the word of the
//! changes reaches planning. What no edge was told of by then is held as well ([`OutboxMessage::HoldChanged`]). A
//! device counts once, for as long as it stands worse; once an admin has decided, the count begins anew.

use domain::coa::hold::{Hold, HoldState, MassChange, Turn, turn};
use domain::outbox::OutboxMessage;
use domain::{DeviceId, LinkId};
use store::audit::{self, Actor};
use store::jobs::{self, JobKind};
use store::{OrgTx, StoreError, events, holds, links, outbox};
use time::OffsetDateTime;

use crate::Context;
use crate::reconcile::ComplianceChange;

/// Counts what turned worse or better, and holds where that and what turned worse within the last interval of sweeps
/// is too much of the fleet. Call it in the transaction that writes the changes, before it commits.
pub(crate) async fn after_changes(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    changes: &[ComplianceChange],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    if changes.iter().all(|change| change.from.is_none()) {
        return Ok(());
    }
    let Some(limits) = holds::limits(tx).await? else { return Ok(()) };
    let turned = |wanted: Turn| -> Vec<DeviceId> {
        let grace = limits.grace_is_compliant;
        let turned = changes.iter().filter(|c| turn(c.from.as_ref(), c.to.as_ref(), grace) == wanted);
        turned.map(|change| change.device).collect()
    };
    let (worse, better) = (turned(Turn::Worse), turned(Turn::Better));
    holds::note_turns(tx, link, &worse, &better, now).await?;
    if worse.is_empty() {
        return Ok(());
    }
    judge(ctx, tx, link, limits.mass_change, window(ctx, now), None, now).await
}

/// In the middle of a sweep that began at `began_at` and has seen `seen` devices: suspects what would be too much if
/// it went on like this.
pub(crate) async fn after_page(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    began_at: OffsetDateTime,
    seen: u32,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let Some(limits) = holds::limits(tx).await? else { return Ok(()) };
    judge(ctx, tx, link, limits.mass_change, began_at, Some(seen.into()), now).await
}

/// At the end of a sweep that began at `began_at`: a suspicion becomes a hold or is cleared, and a hold is cleared
/// where the devices turned back.
pub(crate) async fn at_end(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    began_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let since = window(ctx, now).min(began_at);
    match holds::active_of(tx, link).await? {
        Some(hold) => settle(ctx, tx, hold, now).await,
        // What counts no more.
        None => holds::forget_turns(tx, link, Some(since)).await,
    }
}

/// A sweep that raised a suspicion and does not come to its end leaves nobody waiting for ever: judges what is known.
/// Returns when to look again, where a suspicion is younger than that.
pub(crate) async fn overdue(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let Some(hold) = holds::active_of(tx, link).await? else { return Ok(None) };
    let due = suspected_until(ctx, &hold);
    if hold.state != HoldState::Suspected {
        return Ok(None);
    }
    if due > now {
        return Ok(Some(due));
    }
    settle(ctx, tx, hold, now).await?;
    Ok(None)
}

/// Devices of the link turned worse by the passing of time, and are counted already.
pub(crate) async fn after_time(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let Some(limits) = holds::limits(tx).await? else { return Ok(()) };
    judge(ctx, tx, link, limits.mass_change, window(ctx, now), None, now).await
}

/// The whole link went stale, and with it `worse` devices that were compliant.
pub(crate) async fn after_stale(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    worse: u64,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let Some(limits) = holds::limits(tx).await? else { return Ok(()) };
    let fleet = holds::fleet(tx, link, u64::MAX).await?;
    if !limits.mass_change.is_exceeded(worse, fleet) {
        return Ok(());
    }
    let mut hold = match holds::active_of(tx, link).await? {
        Some(hold) => hold,
        None => new_hold(ctx, link, now, now),
    };
    (hold.worse, hold.fleet) = (worse, fleet);
    become_state(ctx, tx, hold, HoldState::Open, now).await
}

/// Where no hold is active: opens one, or a suspicion, where the devices that turned worse since `since` are too many.
async fn judge(
    ctx: &Context,
    tx: &mut OrgTx,
    link: LinkId,
    limits: MassChange,
    since: OffsetDateTime,
    seen: Option<u64>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let worse = holds::turned_worse(tx, link, since).await?;
    if worse < u64::from(limits.min) || seen.is_some_and(|seen| !limits.is_exceeded(worse, seen)) {
        return Ok(());
    }
    if holds::active_of(tx, link).await?.is_some() {
        return Ok(());
    }
    // With more devices than this they are not too many; there may be a million.
    let enough = worse.saturating_mul(100) / u64::from(limits.percent.max(1)) + 1;
    let counted = holds::fleet(tx, link, enough).await?;
    let Some(state) = limits.judge(worse, seen.unwrap_or(counted), counted) else { return Ok(()) };
    let mut hold = new_hold(ctx, link, since, now);
    (hold.worse, hold.fleet) = (worse, holds::fleet(tx, link, u64::MAX).await?);
    become_state(ctx, tx, hold, state, now).await
}

/// Judges an active hold by the whole fleet.
async fn settle(
    ctx: &Context,
    tx: &mut OrgTx,
    mut hold: Hold,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let Some(limits) = holds::limits(tx).await? else { return Ok(()) };
    hold.worse = holds::turned_worse(tx, hold.link, hold.counted_since).await?;
    hold.fleet = holds::fleet(tx, hold.link, u64::MAX).await?;
    let state = if limits.mass_change.is_exceeded(hold.worse, hold.fleet) {
        HoldState::Open
    } else {
        HoldState::Cleared
    };
    if hold.state == state {
        return holds::save(tx, &hold).await;
    }
    become_state(ctx, tx, hold, state, now).await
}

/// Writes the state with its event, the word to planning and, where an admin is or was asked, a line of the audit log.
async fn become_state(
    ctx: &Context,
    tx: &mut OrgTx,
    mut hold: Hold,
    state: HoldState,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let was = hold.state;
    hold.state = state;
    if !state.is_active() {
        hold.decided_at = Some(now);
    }
    holds::save(tx, &hold).await?;
    let tenant = links::get(tx, hold.link).await?.map(|link| link.tenant_name).unwrap_or_default();
    let line = hold.event(tx.org(), &tenant, ctx.ids.make(now), now);
    tracing::warn!(hold = %hold.id, link = %hold.link, worse = hold.worse, fleet = hold.fleet, %state,
        "moves to a worse state: {}", line.summary);
    events::append(tx, &line).await?;
    if state == HoldState::Open || was == HoldState::Open {
        let action = if state == HoldState::Open { "hold.open" } else { "hold.clear" };
        audit::write(tx, &ctx.ids, now, &Actor::system(), action, &tenant, line.detail).await?;
    }
    outbox::enqueue(tx, &ctx.ids, now, &OutboxMessage::HoldChanged { link: hold.link }).await?;
    if state == HoldState::Suspected {
        jobs::wake(tx, hold.link, JobKind::Clock, suspected_until(ctx, &hold)).await?;
    }
    ctx.metrics.hold(state.as_str());
    Ok(())
}

fn new_hold(ctx: &Context, link: LinkId, since: OffsetDateTime, now: OffsetDateTime) -> Hold {
    Hold {
        id: ctx.ids.make(now),
        link,
        state: HoldState::Suspected,
        opened_at: now,
        counted_since: since,
        worse: 0,
        fleet: 0,
        decided_at: None,
        decided_by: None,
    }
}

fn suspected_until(ctx: &Context, hold: &Hold) -> OffsetDateTime {
    hold.opened_at + time::Duration::seconds(ctx.config.coa_suspect_seconds_max.into())
}

/// Changes since then count together: as long ago as one sweep follows the other.
fn window(ctx: &Context, now: OffsetDateTime) -> OffsetDateTime {
    now - time::Duration::seconds(ctx.config.sweep_interval_seconds.into())
}
