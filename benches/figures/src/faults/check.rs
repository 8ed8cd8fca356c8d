//! Compares the books: the simulator's log of what happened, our history, and what the edges hold.
//!
//! Polling cannot see a state that was overwritten between two looks, so "every transition once and in order" means:
//!
//! 1. Our history of a device is a chain from its enrolment: each line begins where the one before ended.
//! 2. It is a subsequence of the states that the device really had, in order, without repeats or inventions; and
//!    each line was written while its state stood, or within a lease of its end, since no older fetch may be written.
//! 3. A state that stood longer than a sweep interval and the margin for what went wrong is what we held at its end.
//! 4. At the end all are equal: the simulator's state, our last line, our device row; what is gone there is gone here.
//! 5. Where a state stood that long, each session's edge held the answer that belongs to it; at the end, all do, and
//!    a client that asks anew is told the same.
//! 6. No command was carried out twice for the same move: same session, same answer replaced, same outcome.

use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use time::OffsetDateTime;
use uuid::Uuid;

use super::changes::Journal;
use super::{Scale, Seat};
use crate::bed::Database;
use crate::control::Control;
use crate::edges::Edge;
use crate::report::percentile;
use crate::seed::{CORP, Organization, QUARANTINE};

pub struct Books<'a> {
    pub control: &'a Control,
    pub database: &'a Database,
    pub organizations: &'a [Organization],
    pub edges: &'a [Edge],
    pub seats: &'a [Seat],
    pub journal: &'a Journal,
    pub scale: &'a Scale,
    pub started_at: OffsetDateTime,
    pub ended_at: OffsetDateTime,
}

#[derive(Debug, Default)]
pub struct Found {
    pub figures: Vec<String>,
    pub violations: Vec<String>,
}

/// A state of a device from then on; `None`: it is gone.
#[derive(Clone, Debug)]
struct Stand {
    state: Option<String>,
    from: OffsetDateTime,
}

/// A line of our history.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Line {
    device_id: Uuid,
    at: OffsetDateTime,
    from_state: Option<String>,
    to_state: Option<String>,
}

/// Clocks of one machine; the harness notes a retirement after it happened.
const SKEW: time::Duration = time::Duration::seconds(2);

pub async fn all(books: &Books<'_>) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let truth = truth(books, &mut found).await?;
    let ours = ours(books.database).await?;
    let rows: HashMap<Uuid, String> = sqlx::query_as("SELECT id, compliance FROM device")
        .fetch_all(&books.database.pool)
        .await?
        .into_iter()
        .collect();
    let mut waits = Vec::new();
    let (mut standing, mut real, mut lines) = (0, 0, 0);
    for (device, stands) in &truth {
        let Ok(id) = device.parse::<Uuid>() else { continue };
        let history = ours.get(&id).map_or(&[][..], Vec::as_slice);
        real += stands.len() - 1;
        lines += history.len().saturating_sub(1);
        chain(device, history, &mut found);
        subsequence(device, stands, history, books.scale.lease, &mut found);
        standing += stood(books, device, stands, history, &mut found, &mut waits);
        end(device, stands, history, rows.get(&id), &mut found);
    }
    for id in ours.keys().filter(|id| !truth.contains_key(&id.to_string())) {
        found.violations.push(format!("device {id} is in our history, but never was at Microsoft"));
    }
    found.figures.push(format!(
        "{} devices, {real} changes at Microsoft, {lines} of ours; {standing} states stood longer than {} s, each of \
         which must have been seen.",
        truth.len(),
        books.scale.visible.as_secs()
    ));
    found.figures.push(spread("From a change to our noticing it", &waits));
    sessions(books, &truth, &mut found).await?;
    commands(books.database, &mut found).await?;
    Ok(found)
}

fn spread(what: &str, seconds: &[f64]) -> String {
    let rank = |percent| percentile(seconds, percent);
    format!(
        "{what}: p50 {:.1} s, p90 {:.1} s, p99 {:.1} s, longest {:.1} s, of {}.",
        rank(50.0),
        rank(90.0),
        rank(99.0),
        rank(100.0),
        seconds.len()
    )
}

/// What every device really was, and when.
async fn truth(books: &Books<'_>, found: &mut Found) -> anyhow::Result<HashMap<String, Vec<Stand>>> {
    let long_ago = OffsetDateTime::UNIX_EPOCH;
    let mut truth: HashMap<String, Vec<Stand>> = HashMap::new();
    for (device, state) in &books.journal.initial {
        truth.insert(device.clone(), vec![Stand { state: Some(state.clone()), from: long_ago }]);
    }
    for new in &books.journal.enrolled {
        truth.insert(new.device.clone(), vec![Stand { state: Some(new.state.clone()), from: new.at }]);
    }
    for change in books.control.transitions(0).await? {
        let Some(stands) = truth.get_mut(&change.device_id) else { continue };
        let before = stands.last().and_then(|stand| stand.state.as_deref());
        if before == Some(change.to.as_str()) && stands.len() == 1 {
            // The state that it was enrolled with.
            continue;
        }
        if before != Some(change.from.as_str()) {
            found
                .violations
                .push(format!("the simulator's own log has a gap at {}: {change:?}", change.sequence));
        }
        stands.push(Stand { state: Some(change.to), from: change.at });
    }
    for gone in &books.journal.retired {
        if let Some(stands) = truth.get_mut(&gone.device) {
            // The simulator may judge a device that it no longer has; nobody can see that.
            stands.retain(|stand| stand.from <= gone.at);
            stands.push(Stand { state: None, from: gone.at });
        }
    }
    Ok(truth)
}

async fn ours(database: &Database) -> anyhow::Result<HashMap<Uuid, Vec<Line>>> {
    let lines: Vec<Line> = sqlx::query_as(
        "SELECT device_id, at, from_state, to_state FROM device_transition ORDER BY device_id, at, id",
    )
    .fetch_all(&database.pool)
    .await?;
    let mut by_device: HashMap<Uuid, Vec<Line>> = HashMap::new();
    for line in lines {
        by_device.entry(line.device_id).or_default().push(line);
    }
    Ok(by_device)
}

fn told(history: &[Line]) -> String {
    let line = |line: &Line| {
        format!("{}→{} at {}", word(line.from_state.as_ref()), word(line.to_state.as_ref()), clock(line.at))
    };
    history.iter().map(line).collect::<Vec<_>>().join(", ")
}

fn shown(stands: &[Stand]) -> String {
    let stand = |stand: &Stand| format!("{} from {}", word(stand.state.as_ref()), clock(stand.from));
    stands.iter().map(stand).collect::<Vec<_>>().join(", ")
}

fn word(state: Option<&String>) -> &str {
    state.map_or("nothing", String::as_str)
}

fn clock(at: OffsetDateTime) -> String {
    let (hour, minute, second, milli) = at.to_hms_milli();
    format!("{hour:02}:{minute:02}:{second:02}.{milli:03}")
}

fn chain(device: &str, history: &[Line], found: &mut Found) {
    let mut before: Option<&String> = None;
    for line in history {
        if line.from_state.as_ref() != before || line.to_state.as_ref() == before {
            found.violations.push(format!("the history of {device} is no chain: {}", told(history)));
            return;
        }
        before = line.to_state.as_ref();
    }
}

/// Greedy from the front: the earliest real state that fits leaves the most room for what follows.
fn subsequence(device: &str, stands: &[Stand], history: &[Line], lease: Duration, found: &mut Found) {
    let mut next = 0;
    for line in history {
        let fits = |at: usize| {
            let ends = stands.get(at + 1).map(|after| after.from);
            stands[at].state == line.to_state
                && stands[at].from <= line.at + SKEW
                && ends.is_none_or(|ends| ends + lease + SKEW >= line.at)
        };
        match (next..stands.len()).find(|at| fits(*at)) {
            Some(at) => next = at + 1,
            None => {
                found.violations.push(format!(
                    "{device}: {} at {} was not so. Really: {}. Ours: {}",
                    word(line.to_state.as_ref()),
                    clock(line.at),
                    shown(stands),
                    told(history)
                ));
                return;
            }
        }
    }
}

/// States that stood long must have been held at their end. Returns how many there were.
fn stood(
    books: &Books<'_>,
    device: &str,
    stands: &[Stand],
    history: &[Line],
    found: &mut Found,
    waits: &mut Vec<f64>,
) -> usize {
    let mut count = 0;
    for (at, stand) in stands.iter().enumerate() {
        let ends = stands.get(at + 1).map_or(books.ended_at, |next| next.from);
        let seen = history.iter().find(|line| line.at >= stand.from && line.to_state == stand.state);
        if let Some(line) = seen.filter(|line| at > 0 && (line.at < ends || at + 1 == stands.len())) {
            waits.push((line.at - stand.from).as_seconds_f64());
        }
        if ends - stand.from.max(books.started_at) < books.scale.visible {
            continue;
        }
        count += 1;
        let held = history.iter().rev().find(|line| line.at <= ends).and_then(|line| line.to_state.as_ref());
        if held != stand.state.as_ref() {
            found.violations.push(format!(
                "{device}: {} stood from {} to {}, but we held {}. Ours: {}",
                word(stand.state.as_ref()),
                clock(stand.from),
                clock(ends),
                word(held),
                told(history)
            ));
        }
    }
    count
}

fn end(device: &str, stands: &[Stand], history: &[Line], row: Option<&String>, found: &mut Found) {
    let real = stands.last().and_then(|stand| stand.state.as_ref());
    let last = history.last().and_then(|line| line.to_state.as_ref());
    if real != last || real != row {
        found.violations.push(format!(
            "{device} is {} at Microsoft, {} by our history and {} in its row. Really: {}. Ours: {}",
            word(real),
            word(last),
            word(row),
            shown(stands),
            told(history)
        ));
    }
}

fn vlan(state: Option<&String>) -> &'static str {
    match state.map(String::as_str) {
        Some("compliant" | "inGracePeriod") => CORP,
        _ => QUARANTINE,
    }
}

async fn sessions(
    books: &Books<'_>,
    truth: &HashMap<String, Vec<Stand>>,
    found: &mut Found,
) -> anyhow::Result<()> {
    let (mut waits, mut long) = (Vec::new(), 0);
    for seat in books.seats {
        let Some(stands) = truth.get(&seat.device) else { continue };
        let journal = books.edges[seat.tenant].journal();
        let held = journal.held.get(&seat.session).map_or(&[][..], Vec::as_slice);
        for (at, stand) in stands.iter().enumerate() {
            let ends = stands.get(at + 1).map_or(books.ended_at, |next| next.from);
            let wanted = vlan(stand.state.as_ref());
            let differs = at > 0 && vlan(stands[at - 1].state.as_ref()) != wanted;
            let moved = held.iter().find(|held| held.since >= stand.from && held.vlan == wanted);
            if let Some(moved) = moved.filter(|moved| differs && moved.since < ends) {
                waits.push((moved.since - stand.from).as_seconds_f64());
            }
            if ends - stand.from.max(books.started_at) < books.scale.moved {
                continue;
            }
            long += 1;
            // Gatehouse ends a grace at its moment, the simulator's log within a second of it.
            let then = held.iter().rev().find(|held| held.since + SKEW <= ends);
            if then.is_none_or(|then| then.vlan != wanted) {
                found.violations.push(format!(
                    "session {}: its device was {} from {} to {}, but its edge held {then:?}",
                    seat.session,
                    word(stand.state.as_ref()),
                    clock(stand.from),
                    clock(ends)
                ));
            }
        }
    }
    found.figures.push(spread("From a change to the client's new answer", &waits));
    let asked = stream::iter(books.seats).map(|seat| async move {
        (seat, books.edges[seat.tenant].probe(&format!("probe-{}", seat.session), &seat.device).await)
    });
    let mut asked = asked.buffer_unordered(8);
    let mut equal = 0;
    while let Some((seat, now)) = asked.next().await {
        let now = now?;
        let journal = books.edges[seat.tenant].journal();
        let last = journal.held.get(&seat.session).and_then(|held| held.last());
        let real = truth.get(&seat.device).and_then(|stands| stands.last()?.state.clone());
        let wanted = vlan(real.as_ref());
        if last.is_some_and(|last| last.vlan == now) && now == wanted {
            equal += 1;
        } else {
            found.violations.push(format!(
                "session {}: its device is {} at the end, so it belongs to VLAN {wanted}; its edge holds {last:?}, and \
                 a client that asks anew is told {now}",
                seat.session,
                word(real.as_ref())
            ));
        }
    }
    found.figures.push(format!(
        "{equal} of {} sessions of {} tenants hold at the end what a new one would be told; {long} times a state stood \
         longer than {} s, and its session's answer had to follow.",
        books.seats.len(),
        books.organizations.len(),
        books.scale.moved.as_secs()
    ));
    Ok(())
}

async fn commands(database: &Database, found: &mut Found) -> anyhow::Result<()> {
    let states: Vec<(String, i64)> =
        sqlx::query_as("SELECT state, count(*) FROM command GROUP BY 1 ORDER BY 2 DESC")
            .fetch_all(&database.pool)
            .await?;
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    found.figures.push(format!("Commands: {}.", states.join(", ")));
    let doubled: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT session_id, count(*) FROM command WHERE state = 'acked' AND answered_at IS NOT NULL
         GROUP BY org_id, session_id, answered_at, to_outcome HAVING count(*) > 1",
    )
    .fetch_all(&database.pool)
    .await?;
    for (session, count) in doubled {
        found.violations.push(format!("session {session} was told {count} times to make the same move"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    fn at(seconds: i64) -> OffsetDateTime {
        NOON + time::Duration::seconds(seconds)
    }

    fn stands(of: &[(&str, i64)]) -> Vec<Stand> {
        of.iter().map(|(state, from)| Stand { state: Some((*state).to_owned()), from: at(*from) }).collect()
    }

    fn history(of: &[(&str, i64)]) -> Vec<Line> {
        let mut before = None;
        let line = |(state, seconds): &(&str, i64)| {
            let to = Some((*state).to_owned());
            Line {
                device_id: Uuid::nil(),
                at: at(*seconds),
                from_state: std::mem::replace(&mut before, to.clone()),
                to_state: to,
            }
        };
        of.iter().map(line).collect()
    }

    fn violations(real: &[(&str, i64)], ours: &[(&str, i64)]) -> usize {
        let mut found = Found::default();
        chain("d", &history(ours), &mut found);
        subsequence("d", &stands(real), &history(ours), Duration::from_secs(30), &mut found);
        found.violations.len()
    }

    #[test]
    fn what_nobody_could_see_may_be_missing() {
        assert_eq!(
            violations(&[("a", 0), ("b", 100), ("c", 101), ("a", 200)], &[("a", 5), ("c", 110), ("a", 210)]),
            0
        );
    }

    #[test]
    fn inventions_repeats_and_stale_writes_are_found() {
        let real = [("a", 0), ("b", 100)];
        assert_eq!(violations(&real, &[("a", 5), ("c", 50)]), 1, "never so");
        assert_eq!(violations(&real, &[("a", 5), ("b", 50)]), 1, "before it was so");
        assert_eq!(violations(&real, &[("a", 5), ("b", 105), ("a", 110), ("b", 120)]), 1, "a stale write");
        assert_eq!(violations(&real, &[("a", 140)]), 1, "longer than a lease after its end");
        assert_eq!(violations(&real, &[("a", 5), ("a", 6)]), 2, "no chain, and a repeat");
    }
}
