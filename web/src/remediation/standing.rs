//! Where a client stands now: what it was told last, and what it would be told if it asked again.

use domain::answer::{Ground, answer};
use domain::decision::Outcome;
use domain::policy::CompiledPolicy;
use domain::resolver::{LookupKey, MatchStrength};
use domain::{DecisionId, EdgeId, LinkId, Mac, SiteId};
use sealing::PageToken;
use store::views::remediation;
use store::{OrgTx, StoreError, links, looks, orgs};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::candidates::Candidates;

use super::why::Why;

/// Keys that are asked for at once, where nobody knows which device it is.
const KEYS_MAX: usize = 8;
/// A check that was asked for longer ago is not told about any more.
const ASKED_LATELY: Duration = Duration::hours(1);
/// So long a page renews itself while a check goes on.
const PATIENCE: Duration = Duration::seconds(90);
/// Where Microsoft cannot be asked for the client itself, what changed lately has been read by then.
const CHANGES_READ: Duration = Duration::seconds(15);

/// When “Check again” was pressed, as the address says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked(Option<i64>);

impl Asked {
    /// Whatever does not read is nothing.
    pub(super) fn read(text: &str) -> Self {
        Self(text.parse().ok())
    }

    fn when(self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let at = OffsetDateTime::from_unix_timestamp(self.0?).ok()?;
        (at <= now && now - at < ASKED_LATELY).then_some(at)
    }

    /// As a further part of an address's query.
    pub(super) fn and(self) -> String {
        self.0.map_or_else(String::new, |seconds| format!("&asked={seconds}"))
    }
}

/// How a check fares that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    None,
    Waiting,
    Answered,
    /// It takes longer than anybody waits.
    Late,
}

/// What the network makes of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Held(Why),
    /// It would be let in now, and is being moved.
    Moving,
    Settled,
}

/// What a page shows.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub org_name: String,
    /// The organization's own words.
    pub help_text: String,
    pub state: State,
    pub check: Check,
    /// Shown only to who proved to be that device: a MAC address can be copied.
    pub device_name: Option<String>,
    pub mac: Option<Mac>,
    pub last_check_in: Option<OffsetDateTime>,
    /// When Microsoft was last asked.
    pub looked_at: Option<OffsetDateTime>,
    pub grace_ends: Option<OffsetDateTime>,
    /// Microsoft's portal.
    pub portal: Option<&'static str>,
    pub now: OffsetDateTime,
    asked_at: Option<OffsetDateTime>,
}

impl Standing {
    /// After how many seconds there may be more to tell.
    pub(super) fn refresh(&self) -> Option<u32> {
        let lately = self.asked_at.is_some_and(|at| self.now - at < PATIENCE);
        match (self.state, self.check) {
            (State::Held(_), Check::Waiting) => Some(3),
            (State::Moving, _) if lately => Some(5),
            _ => None,
        }
    }
}

/// The client, and what a check would look for.
pub(super) struct Subject {
    pub standing: Standing,
    /// Whether one device matches.
    pub is_known: bool,
    /// By which Microsoft can be asked.
    pub keys: Vec<LookupKey>,
    /// To be asked.
    pub links: Vec<LinkId>,
    /// Where the client is.
    pub edge: EdgeId,
    pub site: SiteId,
}

/// `None` where there is no such session, or where its name belongs to another client by now.
pub(super) async fn read(
    tx: &mut OrgTx,
    token: &PageToken,
    asked: Asked,
    now: OffsetDateTime,
) -> Result<Option<Subject>, StoreError> {
    let Some(session) = remediation::session(tx, token.session).await? else { return Ok(None) };
    if token.mac != session.request.mac && token.mac != session.mac {
        return Ok(None);
    }
    let Some(org) = orgs::get(tx).await? else { return Ok(None) };
    let Some(snapshot) = orgs::snapshot(tx).await? else { return Ok(None) };
    let help_text = orgs::help_text(tx).await?.unwrap_or_default();
    let links = links::list(tx).await?;

    let request = &session.request;
    let candidates = Candidates::of(tx, request).await?;
    let found = candidates.found();
    let policy = snapshot.policy.as_ref().map(|live| CompiledPolicy::compile(live.version, &live.doc));
    let ground = Ground { settings: &snapshot.settings, links: &snapshot.links, policy: policy.as_ref() };
    // As the sync decides sessions again: by the same function, on the same facts.
    let told = answer(ground, request, &found, DecisionId::from(Uuid::nil()), now);

    let device = found.device();
    let keys: Vec<LookupKey> = match device {
        Some(device) => vec![LookupKey::IntuneId(device.id.uuid())],
        None => {
            let keys = candidates.keys().into_iter();
            keys.filter(|key| !matches!(key, LookupKey::Mac(_))).take(KEYS_MAX).collect()
        }
    };
    let waits = looks::person_waits(tx, &keys).await?;
    let asked_at = asked.when(now);
    let of_link = |id: LinkId| links.iter().find(|link| link.id == id);
    let cloud =
        device.and_then(|device| of_link(device.link)).or(links.first()).map(|link| link.cloud.as_str());
    let proven = matches!(found.strength(), Some(MatchStrength::Certificate | MatchStrength::Name))
        && !found.mac_mismatch;
    let standing = Standing {
        org_name: org.name,
        help_text,
        state: state(&session.outcome, &told.decision.outcome, || Why::of(request, &told)),
        check: standing_check(
            asked_at,
            waits,
            !keys.is_empty(),
            told.compliance.fetched_at,
            device.is_some(),
            now,
        ),
        device_name: device.filter(|_| proven).and_then(|device| device.name.clone()),
        mac: request.mac,
        last_check_in: told.compliance.last_check_in,
        looked_at: told.compliance.fetched_at.or(links.iter().filter_map(|link| link.confirmed_at).max()),
        grace_ends: device.and_then(|device| device.grace_expires_at).filter(|ends| *ends > now),
        portal: portal(cloud.unwrap_or("global")),
        now,
        asked_at,
    };
    let links = match device {
        Some(device) => vec![device.link],
        None => links.iter().map(|link| link.id).collect(),
    };
    let (edge, site) = (request.edge, request.site);
    Ok(Some(Subject { standing, is_known: device.is_some(), keys, links, edge, site }))
}

/// `was`: what the client was told; `now`: what it would be told.
fn state(was: &Outcome, now: &Outcome, why: impl FnOnce() -> Why) -> State {
    if !now.permit || now.leads_to_remediation() {
        State::Held(why())
    } else if was == now {
        State::Settled
    } else {
        State::Moving
    }
}

/// `can_ask`: Microsoft can be asked for the client itself; `confirmed`: when the record of a known device was.
fn standing_check(
    asked: Option<OffsetDateTime>,
    waits: bool,
    can_ask: bool,
    confirmed: Option<OffsetDateTime>,
    is_known: bool,
    now: OffsetDateTime,
) -> Check {
    let Some(asked) = asked else { return Check::None };
    if is_known && confirmed.is_some_and(|at| at >= asked) {
        return Check::Answered;
    }
    let patience = if can_ask { PATIENCE } else { CHANGES_READ };
    match waits || !can_ask {
        true if now - asked < patience => Check::Waiting,
        true => Check::Late,
        // The look was done, and nobody bears the keys.
        false if !is_known => Check::Answered,
        false => Check::Late,
    }
}

/// Where people see in Microsoft's words what their device lacks, by cloud.
fn portal(cloud: &str) -> Option<&'static str> {
    match cloud {
        "gcc_high" | "dod" => Some("https://portal.manage.microsoft.us"),
        // Its portal's address is not documented where we could read it; the app works there.
        "china" => None,
        _ => Some("https://portal.manage.microsoft.com"),
    }
}

#[cfg(test)]
mod tests {
    use domain::decision::Redirect;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-28 06:00 UTC);

    #[test]
    fn a_client_is_held_moving_or_settled() {
        let vlan = |vlan: &str| Outcome { permit: true, vlan: Some(vlan.into()), ..Outcome::default() };
        let held = Outcome { redirect_url: Some(Redirect::Remediation), ..vlan("99") };
        let why = || Why::NonCompliant;
        assert_eq!(state(&held, &held, why), State::Held(Why::NonCompliant));
        assert_eq!(state(&held, &Outcome::DENY, why), State::Held(Why::NonCompliant));
        assert_eq!(state(&held, &vlan("10"), why), State::Moving);
        assert_eq!(state(&vlan("10"), &vlan("10"), why), State::Settled);
        // Another page of the organization's is its own affair.
        let elsewhere =
            Outcome { redirect_url: Some(Redirect::Url("https://x.example".into())), ..vlan("10") };
        assert_eq!(state(&elsewhere, &elsewhere, why), State::Settled);
    }

    #[test]
    fn a_check_is_waited_for_but_not_for_ever() {
        let ago = |seconds| Some(NOW - Duration::seconds(seconds));
        let check = |asked, waits, can_ask, confirmed, is_known| {
            standing_check(asked, waits, can_ask, confirmed, is_known, NOW)
        };
        assert_eq!(check(None, true, true, ago(1), true), Check::None);
        assert_eq!(check(ago(5), true, true, ago(600), true), Check::Waiting);
        assert_eq!(check(ago(5), true, true, ago(1), true), Check::Answered);
        assert_eq!(check(ago(5), false, true, ago(600), true), Check::Late);
        assert_eq!(check(ago(120), true, true, ago(600), true), Check::Late);
        // Nobody bears the keys.
        assert_eq!(check(ago(5), true, true, None, false), Check::Waiting);
        assert_eq!(check(ago(5), false, true, None, false), Check::Answered);
        // Nothing but a MAC address.
        assert_eq!(check(ago(5), false, false, None, false), Check::Waiting);
        assert_eq!(check(ago(20), false, false, None, false), Check::Late);
    }

    #[test]
    fn what_an_address_says_of_a_check_is_believed_within_reason() {
        let seconds = NOW.unix_timestamp();
        assert_eq!(Asked::read(&seconds.to_string()).when(NOW), Some(NOW));
        for bad in
            ["", "x", "-1", "9223372036854775807", &(seconds + 1).to_string(), &(seconds - 3_600).to_string()]
        {
            assert_eq!(Asked::read(bad).when(NOW), None, "{bad}");
        }
    }
}
