//! What is heard of edges beside what they ask: kept in memory, and written down once in a while by
//! [`crate::background`], so that no decision pays for it.
//!
//! What a process heard in its last moments is lost with it where it is killed, decisions of those seconds too; they
//! themselves are recorded elsewhere.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, HeaderName, header};
use domain::edge::{AgentReport, Channel};
use domain::{CredentialId, EdgeId, OrgId};
use store::edge_status::Heard;
use time::OffsetDateTime;

/// An edge tells by it what its own clock says: seconds since 1970, as in `1764330896` or `1764330896.250`.
pub const CLOCK: HeaderName = HeaderName::from_static("gatehouse-clock");

/// Programs of one edge that are told apart between two writings.
const CALLERS_MAX: usize = 4;
const CALLER_CHARS_MAX: usize = 120;
/// Minutes of one edge that are kept while PostgreSQL is away; the oldest are dropped.
const MINUTES_MAX: usize = 120;

type Edge = (OrgId, EdgeId);

#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<Edge, Heard>>);

impl Seen {
    /// An edge called.
    pub fn called(
        &self,
        org: OrgId,
        edge: EdgeId,
        credential: CredentialId,
        headers: &HeaderMap,
        now: OffsetDateTime,
    ) {
        let caller = headers.get(header::USER_AGENT).and_then(|name| name.to_str().ok());
        let skew = headers.get(CLOCK).and_then(|told| told.to_str().ok()).and_then(|told| skew(told, now));
        let mut map = self.lock();
        let heard = map.entry((org, edge)).or_default();
        heard.at = Some(now);
        match heard.credentials.iter_mut().find(|(id, _)| *id == credential) {
            Some((_, at)) => *at = now,
            None => heard.credentials.push((credential, now)),
        }
        if let Some(caller) = caller.map(str::trim).filter(|caller| !caller.is_empty()) {
            let caller = caller.get(..CALLER_CHARS_MAX).unwrap_or(caller);
            let known = heard.callers.iter().position(|(name, _)| name == caller);
            match known {
                Some(known) => heard.callers[known].1 = now,
                None if heard.callers.len() < CALLERS_MAX => heard.callers.push((caller.to_owned(), now)),
                None => {}
            }
        }
        // The way here makes an edge's clock look late; the request that took the shortest way shows it best.
        if let Some(skew) = skew
            && heard.skew.is_none_or(|(known, _)| known <= skew)
        {
            heard.skew = Some((skew, now));
        }
    }

    /// A decision was answered.
    pub fn decided(&self, org: OrgId, edge: EdgeId, permit: bool, at: OffsetDateTime) {
        let minute = at.truncate_to_minute();
        let (permits, denies) = if permit { (1, 0) } else { (0, 1) };
        add(&mut self.lock().entry((org, edge)).or_default().minutes, (minute, permits, denies));
    }

    /// An edge listens for commands.
    pub fn listened(&self, org: OrgId, edge: EdgeId, channel: Channel, at: OffsetDateTime) {
        let mut map = self.lock();
        let heard = map.entry((org, edge)).or_default();
        match channel {
            Channel::Poll => heard.polled_at = Some(at),
            Channel::Stream => heard.streamed_at = Some(at),
        }
    }

    /// An agent told how it stands.
    pub fn reported(&self, org: OrgId, edge: EdgeId, report: AgentReport, at: OffsetDateTime) {
        self.lock().entry((org, edge)).or_default().report = Some((report, at));
    }

    /// What was heard since the last time.
    pub fn take(&self) -> HashMap<OrgId, Vec<(EdgeId, Heard)>> {
        let mut orgs: HashMap<OrgId, Vec<(EdgeId, Heard)>> = HashMap::new();
        for ((org, edge), heard) in std::mem::take(&mut *self.lock()) {
            orgs.entry(org).or_default().push((edge, heard));
        }
        orgs
    }

    /// Keeps what was counted, and could not be written.
    pub fn put_back(&self, org: OrgId, edges: Vec<(EdgeId, Heard)>) {
        let mut map = self.lock();
        for (edge, before) in edges {
            match map.entry((org, edge)) {
                Entry::Vacant(place) => {
                    place.insert(before);
                }
                Entry::Occupied(mut place) => {
                    for minute in before.minutes {
                        add(&mut place.get_mut().minutes, minute);
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Edge, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(minutes: &mut Vec<(OffsetDateTime, i64, i64)>, (minute, permits, denies): (OffsetDateTime, i64, i64)) {
    match minutes.iter_mut().rev().find(|(known, ..)| *known == minute) {
        Some((_, permitted, denied)) => {
            *permitted += permits;
            *denied += denies;
        }
        None => {
            minutes.push((minute, permits, denies));
            if minutes.len() > MINUTES_MAX {
                minutes.sort_unstable();
                minutes.remove(0);
            }
        }
    }
}

/// By how many milliseconds the clock that was told is ahead of ours.
fn skew(told: &str, now: OffsetDateTime) -> Option<i64> {
    let told = told.trim();
    let (seconds, fraction) = told.split_once('.').unwrap_or((told, ""));
    let digits = |text: &str| text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) {
        return None;
    }
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let millis = seconds.parse::<i64>().ok()?.checked_mul(1_000)? + thousandths.parse::<i64>().ok()?;
    let ours = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).ok()?;
    Some(millis - ours)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00:30.5 UTC);

    #[test]
    fn a_clock_is_read_in_seconds_and_parts_of_them() {
        let ours = NOW.unix_timestamp();
        for (told, ahead) in [
            (format!("{ours}"), -500),
            (format!("{ours}.5"), 0),
            (format!("{}.2501", ours + 90), 89_750),
            (format!(" {} ", ours - 3_600), -3_600_500),
        ] {
            assert_eq!(skew(&told, NOW), Some(ahead), "{told}");
        }
        for told in ["", ".5", "-1", "soon", "1e9", "17643308960000000", "1764330896.x"] {
            assert_eq!(skew(told, NOW), None, "{told}");
        }
    }

    #[test]
    fn what_was_heard_is_gathered_and_stays_bounded() {
        let (org, edge) = (OrgId(Uuid::from_u128(1)), EdgeId(Uuid::from_u128(2)));
        let (old, new) = (CredentialId(Uuid::from_u128(3)), CredentialId(Uuid::from_u128(4)));
        let seen = Seen::default();
        let mut headers = HeaderMap::new();
        for n in 0..9 {
            headers.insert(header::USER_AGENT, HeaderValue::from_str(&format!("program/{n}")).unwrap());
            // The second request came the quickest way.
            let late = NOW.unix_timestamp() - [3, 1, 2][n % 3];
            headers.insert(CLOCK, HeaderValue::from(late));
            seen.called(org, edge, if n == 0 { old } else { new }, &headers, NOW);
            seen.decided(org, edge, n % 2 == 0, NOW + time::Duration::minutes(i64::try_from(n / 6).unwrap()));
        }
        let mut taken = seen.take();
        let [(_, heard)] = &taken.remove(&org).unwrap()[..] else { panic!("one edge") };
        assert_eq!(heard.callers.len(), CALLERS_MAX);
        assert_eq!(heard.credentials, [(old, NOW), (new, NOW)]);
        assert_eq!(heard.skew, Some((-1_500, NOW)));
        let minute = datetime!(2026-11-20 12:00 UTC);
        assert_eq!(heard.minutes, [(minute, 3, 3), (minute + time::Duration::MINUTE, 2, 1)]);
        assert!(seen.take().is_empty());

        // What could not be written is added to what was heard meanwhile.
        let before = vec![(edge, heard.clone())];
        seen.decided(org, edge, true, NOW);
        seen.put_back(org, before);
        let heard = &seen.take()[&org][0].1;
        assert_eq!(heard.minutes.iter().find(|(at, ..)| *at == minute), Some(&(minute, 4, 3)));
        for n in 0..500 {
            seen.decided(org, edge, true, NOW + time::Duration::minutes(n));
        }
        let heard = &seen.take()[&org][0].1;
        assert_eq!(heard.minutes.len(), MINUTES_MAX);
        assert_eq!(heard.minutes[MINUTES_MAX - 1].0, minute + time::Duration::minutes(499));
    }
}
