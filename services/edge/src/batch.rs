//! Which records go to the cloud in one request: events that stand next to each other do, everything else alone.

use serde::Deserialize;
use serde_json::Value;
use wire::events;

use crate::spool::Record;

/// Bytes of events in one request, well below what the cloud takes.
const BYTES_MAX: usize = 1 << 20;

/// Records that go out together, in their order.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    records: Vec<(u64, Record)>,
    /// The events of each record; empty where it is a record of another kind, alone.
    events: Vec<Vec<Value>>,
}

/// An event that the cloud does not take, and will not.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The record's number.
    pub record: u64,
    pub code: String,
    pub message: String,
}

/// What the cloud says of events, as far as it matters here.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    /// As in `events[3]`.
    field: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Gathers records into groups; their order stays.
pub fn gather(records: Vec<(u64, Record)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (number, record) in records {
        let events = events_of(&record);
        match (events, groups.last_mut()) {
            (Some(events), Some(last)) if last.has_room_for(&record, &events) => {
                last.records.push((number, record));
                last.events.push(events);
            }
            (events, _) => {
                groups.push(Group { records: vec![(number, record)], events: events.into_iter().collect() });
            }
        }
    }
    groups
}

impl Group {
    fn has_room_for(&self, record: &Record, events: &[Value]) -> bool {
        let bytes: usize = self.records.iter().map(|(_, record)| record.body.len()).sum();
        let count: usize = self.events.iter().map(Vec::len).sum();
        !self.events.is_empty()
            && bytes + record.body.len() <= BYTES_MAX
            && count + events.len() <= events::EVENTS_MAX
    }

    /// Where it goes.
    pub fn path(&self) -> &str {
        self.records.first().map_or("", |(_, record)| record.path.as_str())
    }

    /// What is posted. A record that goes alone goes as it came.
    pub fn body(&self) -> String {
        match &self.records[..] {
            [(_, record)] => record.body.clone(),
            _ => events::body(&self.events.concat()).to_string(),
        }
    }

    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.records.iter().map(|(number, _)| *number)
    }

    /// Two halves, in order; itself where it is one record.
    pub fn halves(mut self) -> Result<[Self; 2], Self> {
        let half = self.records.len() / 2;
        if half == 0 {
            return Err(self);
        }
        let rest = Self { records: self.records.split_off(half), events: self.events.split_off(half) };
        Ok([self, rest])
    }

    /// Which of its events the cloud refused, by its answer to the whole.
    pub fn refusals(&self, answer: &[u8]) -> Vec<Refusal> {
        if self.events.is_empty() {
            return Vec::new();
        }
        let Ok(Answer { refused }) = serde_json::from_slice(answer) else { return Vec::new() };
        // The record of each event.
        let owners: Vec<u64> = self
            .records
            .iter()
            .zip(&self.events)
            .flat_map(|((number, _), events)| std::iter::repeat_n(*number, events.len()))
            .collect();
        let refusal = |Refused { field, code, message }| {
            let place = field.strip_prefix("events[")?.split(']').next()?.parse::<usize>().ok()?;
            Some(Refusal { record: *owners.get(place)?, code, message })
        };
        refused.into_iter().filter_map(refusal).collect()
    }
}

/// The events of a record that holds nothing else.
fn events_of(record: &Record) -> Option<Vec<Value>> {
    if record.path != events::PATH {
        return None;
    }
    let Ok(Value::Object(mut body)) = serde_json::from_str(&record.body) else { return None };
    match (body.remove("events"), body.is_empty()) {
        (Some(Value::Array(events)), true) => Some(events),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
