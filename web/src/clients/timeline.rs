//! All that happened to a client, or in a session, as one list by days.

use std::collections::HashMap;

use domain::{DeviceId, LinkId, Mac, SessionId};
use serde::Deserialize;
use store::views::timeline::{self, Decision, Entry, Part, Scope, What, Whose};
use store::{OrgTx, StoreError};
use time::{Duration, OffsetDateTime};

use crate::events::{read_cursor, write_cursor};
use crate::format;

const PAGE: usize = 50;
/// Other addresses of the device that are told.
const MACS_MAX: i64 = 12;

/// What of the timeline is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// `decisions`, `sessions`, `compliance`, `coa`; all where it is none of them.
    show: String,
    /// `1d`, `7d`, `30d`; all that is kept where it is none of them.
    period: String,
    /// Where the page before ended.
    before: String,
}

const SHOWN: [(&str, &str, Option<Part>); 5] = [
    ("", "Everything", None),
    ("decisions", "Decisions", Some(Part::Decisions)),
    ("sessions", "Sessions", Some(Part::Sessions)),
    ("compliance", "Compliance", Some(Part::Compliance)),
    ("coa", "Changes of authorization", Some(Part::Commands)),
];

const PERIODS: [(&str, &str, Option<Duration>); 4] = [
    ("", "All kept", None),
    ("30d", "30 days", Some(Duration::days(30))),
    ("7d", "7 days", Some(Duration::days(7))),
    ("1d", "24 hours", Some(Duration::days(1))),
];

fn chosen<T: Copy>(choices: &[(&'static str, &'static str, T)], word: &str) -> (&'static str, T) {
    let choice = choices.iter().find(|choice| choice.0 == word).unwrap_or(&choices[0]);
    (choice.0, choice.2)
}

impl Asked {
    fn show(&self) -> (&'static str, Option<Part>) {
        chosen(&SHOWN, &self.show)
    }

    fn period(&self) -> (&'static str, Option<Duration>) {
        chosen(&PERIODS, &self.period)
    }
}

/// A link that narrows the timeline, or widens it.
pub(super) struct Choice {
    pub text: &'static str,
    pub href: String,
    pub is_chosen: bool,
}

/// What is different from before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub what: &'static str,
    pub from: String,
    pub to: String,
}

/// The session that an entry belongs to.
pub(super) struct Stay {
    pub session: SessionId,
    pub began: Option<OffsetDateTime>,
    /// Sessions that follow each other are told apart by it.
    pub is_odd: bool,
}

/// An entry with what the others say about it.
pub(super) struct Item {
    pub entry: Entry,
    /// Of a decision: what is different from the one before; `None` where there is none before.
    pub changes: Option<Vec<Change>>,
    pub stay: Option<Stay>,
}

impl Item {
    /// How long the session lasted that ended here.
    pub(super) fn lasted(&self) -> Option<String> {
        let What::Ended { seconds, .. } = &self.entry.what else { return None };
        let told = seconds.map(Duration::seconds);
        let began = self.stay.as_ref().and_then(|stay| stay.began).filter(|began| *began <= self.entry.at);
        told.or_else(|| began.map(|began| self.entry.at - began)).map(format::span)
    }
}

/// A day's entries, the latest first.
pub(super) struct Day {
    pub title: String,
    pub items: Vec<Item>,
}

pub(super) struct Timeline {
    pub days: Vec<Day>,
    pub shown: Vec<Choice>,
    pub periods: Vec<Choice>,
    pub is_narrowed: bool,
    /// Without the narrowing.
    pub all: String,
    pub newest: Option<String>,
    pub older: Option<String>,
    /// The sessions are told apart.
    pub tells_sessions: bool,
    pub other_macs: Vec<Mac>,
}

/// What the timeline is about.
pub(super) struct About {
    pub whose: Whose,
    pub devices: Vec<(LinkId, DeviceId)>,
    pub stay: Option<(OffsetDateTime, Option<OffsetDateTime>)>,
    /// The MAC address of the page.
    pub mac: Option<Mac>,
    /// The page's own address.
    pub path: String,
}

/// Reads a page of it.
pub(super) async fn read(
    tx: &mut OrgTx,
    about: About,
    asked: &Asked,
    now: OffsetDateTime,
) -> Result<Timeline, StoreError> {
    let (show, part) = asked.show();
    let (period, length) = asked.period();
    let before = read_cursor(&asked.before);
    let scope = Scope {
        whose: about.whose,
        devices: about.devices,
        from: length.map(|length| now - length),
        stay: about.stay,
        parts: part.map_or_else(|| Part::ALL.to_vec(), |part| vec![part]),
    };
    let (entries, more) = timeline::page(tx, &scope, before, PAGE).await?;
    let oldest = entries.iter().rev().find(|entry| matches!(entry.what, What::Decision(_)));
    let before_oldest = match oldest {
        Some(entry) => timeline::decision_before(tx, about.whose, entry.cursor()).await?,
        None => None,
    };
    let mut sessions: Vec<SessionId> = entries.iter().filter_map(|entry| entry.session).collect();
    sessions.dedup();
    let begins = timeline::begins(tx, &sessions).await?;
    let other_macs = match scope.devices.is_empty() {
        true => Vec::new(),
        false => timeline::other_macs(tx, &scope.devices, about.mac, MACS_MAX).await?,
    };

    let path = about.path.as_str();
    let older = entries.last().filter(|_| more).map(|entry| {
        let separator = if show.is_empty() && period.is_empty() { '?' } else { '&' };
        format!("{}{separator}before={}", address(path, show, period), write_cursor(&entry.cursor()))
    });
    let choice = |text, href: String, is_chosen| Choice { text, href, is_chosen };
    Ok(Timeline {
        days: days(items(entries, before_oldest, &begins)),
        shown: SHOWN
            .iter()
            .map(|(word, text, _)| choice(*text, address(path, word, period), *word == show))
            .collect(),
        periods: PERIODS
            .iter()
            .map(|(word, text, _)| choice(*text, address(path, show, word), *word == period))
            .collect(),
        is_narrowed: part.is_some() || length.is_some(),
        all: path.to_owned(),
        newest: before.map(|_| address(path, show, period)),
        older,
        tells_sessions: matches!(about.whose, Whose::Client(_)),
        other_macs,
    })
}

fn address(path: &str, show: &str, period: &str) -> String {
    let pairs = [("show", show), ("period", period)].into_iter().filter(|(_, word)| !word.is_empty());
    let query: Vec<String> = pairs.map(|(name, word)| format!("{name}={word}")).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

fn items(
    entries: Vec<Entry>,
    before_oldest: Option<Decision>,
    begins: &[(SessionId, OffsetDateTime)],
) -> Vec<Item> {
    let begins: HashMap<SessionId, OffsetDateTime> = begins.iter().copied().collect();
    let mut known: Vec<SessionId> = Vec::new();
    let mut before = before_oldest;
    // From the oldest on, so that each decision finds the one before it.
    let items = entries.into_iter().rev().map(|entry| {
        let changes = match &entry.what {
            What::Decision(decision) => {
                let changes = before.as_ref().map(|before| changes(before, decision));
                before = Some((**decision).clone());
                changes
            }
            _ => None,
        };
        let stay = entry.session.map(|session| {
            let place = known.iter().position(|known| *known == session).unwrap_or_else(|| {
                known.push(session);
                known.len() - 1
            });
            Stay { session, began: begins.get(&session).copied(), is_odd: place % 2 == 1 }
        });
        Item { entry, changes, stay }
    });
    let mut items: Vec<Item> = items.collect();
    items.reverse();
    items
}

fn days(items: Vec<Item>) -> Vec<Day> {
    let mut days: Vec<Day> = Vec::new();
    for item in items {
        let title = format::day(item.entry.at);
        match days.last_mut().filter(|day| day.title == title) {
            Some(day) => day.items.push(item),
            None => days.push(Day { title, items: vec![item] }),
        }
    }
    days
}

/// What an answer has that the one before it had not.
fn changes(before: &Decision, after: &Decision) -> Vec<Change> {
    let words = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let permit = |permit: bool| if permit { "permit" } else { "deny" }.to_owned();
    let version =
        |version: Option<i32>| version.map_or_else(|| "none".to_owned(), |version| version.to_string());
    let device = |decision: &Decision, other: &Decision| match (decision.device, other.device) {
        (None, _) => "none".to_owned(),
        (Some(_), None) => "found".to_owned(),
        (Some(id), Some(_)) => id.to_string(),
    };
    let all = [
        ("answer", permit(before.permit), permit(after.permit)),
        ("VLAN", words(&before.vlan), words(&after.vlan)),
        ("role", words(&before.role), words(&after.role)),
        ("rule", words(&before.rule_name), words(&after.rule_name)),
        ("compliance", words(&before.verdict), words(&after.verdict)),
        ("device", device(before, after), device(after, before)),
        ("policy version", version(before.policy_version), version(after.policy_version)),
    ];
    let changed = all.into_iter().filter(|(_, from, to)| from != to);
    changed.map(|(what, from, to)| Change { what, from, to }).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    fn decision(vlan: &str, verdict: &str) -> Decision {
        Decision {
            permit: true,
            vlan: Some(vlan.to_owned()),
            verdict: Some(verdict.to_owned()),
            ..Decision::default()
        }
    }

    fn entry(at: OffsetDateTime, session: u128, what: What) -> Entry {
        Entry { at, id: Uuid::nil(), session: Some(SessionId(Uuid::from_u128(session))), what }
    }

    #[test]
    fn a_decision_is_compared_with_the_one_before_it_and_no_other() {
        let at = datetime!(2026-11-20 00:30 UTC);
        let told = |vlan, verdict| What::Decision(Box::new(decision(vlan, verdict)));
        let entries = vec![
            entry(at, 2, told("10", "compliant")),
            entry(at - Duration::hours(1), 1, What::Began),
            entry(at - Duration::hours(2), 1, told("10", "compliant")),
            entry(at - Duration::hours(3), 1, told("99", "non-compliant")),
        ];
        let items = items(entries, Some(decision("99", "non-compliant")), &[]);
        let of = |n: usize| items[n].changes.as_ref().map(Vec::len);
        assert_eq!([of(0), of(1), of(2), of(3)], [Some(0), None, Some(2), Some(0)]);
        let vlan = &items[2].changes.as_ref().unwrap()[0];
        assert_eq!((vlan.what, vlan.from.as_str(), vlan.to.as_str()), ("VLAN", "99", "10"));
        let odd: Vec<bool> = items.iter().map(|item| item.stay.as_ref().unwrap().is_odd).collect();
        assert_eq!(odd, [true, false, false, false]);
        let days = days(items);
        let titles: Vec<(&str, usize)> =
            days.iter().map(|day| (day.title.as_str(), day.items.len())).collect();
        assert_eq!(titles, [("Fri 20 Nov 2026", 1), ("Thu 19 Nov 2026", 3)]);
    }

    #[test]
    fn what_changed_names_both_ends() {
        let before = Decision { device: None, ..decision("10", "unknown") };
        let after = Decision {
            device: Some(DeviceId(Uuid::from_u128(1))),
            permit: false,
            vlan: None,
            ..decision("10", "unknown")
        };
        let changes = changes(&before, &after);
        let words: Vec<String> =
            changes.iter().map(|change| format!("{} {} → {}", change.what, change.from, change.to)).collect();
        assert_eq!(words, ["answer permit → deny", "VLAN 10 → none", "device none → found"]);
        assert!(super::changes(&after, &after).is_empty());
    }

    #[test]
    fn addresses_narrow_and_widen() {
        assert_eq!(address("/c", "", ""), "/c");
        assert_eq!(address("/c", "coa", "7d"), "/c?show=coa&period=7d");
        let asked = Asked { show: "nonsense".to_owned(), ..Asked::default() };
        assert_eq!(asked.show(), ("", None));
    }
}
