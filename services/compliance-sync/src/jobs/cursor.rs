//! Where a sweep stands, so that whoever holds the job next goes on from there.

use domain::DeviceId;
use microsoft::NextLink;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::StoreError;
use store::devices::MissingPlace;
use store::runs::Counts;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Pages are read.
    Pages,
    /// All pages are read; what they did not show is looked at.
    Missing,
}

/// The stored form. Whatever cannot be read starts the sweep over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The line of `sync_run`.
    pub run: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub saved_at: OffsetDateTime,
    pub phase: Phase,
    /// `None` at the first page.
    pub next: Option<NextLink>,
    pages: u32,
    seen: u32,
    changed: u32,
    transitions: u32,
}

impl Cursor {
    pub(crate) const fn begin(run: Uuid, now: OffsetDateTime) -> Self {
        Self {
            run,
            started_at: now,
            saved_at: now,
            phase: Phase::Pages,
            next: None,
            pages: 0,
            seen: 0,
            changed: 0,
            transitions: 0,
        }
    }

    /// The cursor and bitmap that were stored, where they can be gone on from: readable, and not older than
    /// `age_max`, because Microsoft's next pages expire.
    pub(crate) fn resume(
        cursor: Option<Value>,
        seen: Option<&[u8]>,
        now: OffsetDateTime,
        age_max: Duration,
    ) -> Option<(Self, RoaringBitmap)> {
        let cursor: Self = serde_json::from_value(cursor?).ok()?;
        let seen = RoaringBitmap::deserialize_from(seen?).ok()?;
        (now - cursor.saved_at <= age_max).then_some((cursor, seen))
    }

    pub(crate) const fn counts(&self) -> Counts {
        Counts { pages: self.pages, seen: self.seen, changed: self.changed, transitions: self.transitions }
    }

    pub(crate) const fn add(&mut self, more: Counts) {
        self.pages += more.pages;
        self.seen += more.seen;
        self.changed += more.changed;
        self.transitions += more.transitions;
    }

    pub(crate) fn to_value(&self) -> Result<Value, StoreError> {
        serde_json::to_value(self).map_err(|e| StoreError::corrupt("sync_job.cursor", e))
    }
}

/// What a sweep that is done left over: missing devices that nobody was asked about yet. The other stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    /// When the sweep began.
    #[serde(with = "time::serde::rfc3339")]
    pub began_at: OffsetDateTime,
    /// When the next one is due.
    #[serde(with = "time::serde::rfc3339")]
    pub sweep_due_at: OffsetDateTime,
    /// Those that were asked about already, the longest missing first, end here.
    after: Option<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
    id: DeviceId,
}

impl Left {
    pub(crate) fn new(
        began_at: OffsetDateTime,
        sweep_due_at: OffsetDateTime,
        after: Option<MissingPlace>,
    ) -> Self {
        let mut left = Self { began_at, sweep_due_at, after: None };
        left.go_on(after);
        left
    }

    /// What was stored, where the next sweep is not due at `now`.
    pub(crate) fn resume(cursor: Option<&Value>, now: OffsetDateTime) -> Option<Self> {
        let left: Self = serde_json::from_value(cursor?.clone()).ok()?;
        (now < left.sweep_due_at).then_some(left)
    }

    pub(crate) fn after(&self) -> Option<MissingPlace> {
        self.after.map(|Place { since, id }| MissingPlace { since, id })
    }

    pub(crate) fn go_on(&mut self, after: Option<MissingPlace>) {
        self.after = after.map(|MissingPlace { since, id }| Place { since, id });
    }

    pub(crate) fn to_value(self) -> Result<Value, StoreError> {
        serde_json::to_value(self).map_err(|e| StoreError::corrupt("sync_job.cursor", e))
    }
}

/// The bitmap as it is stored: dense runs take a few bytes.
pub(crate) fn serialize(seen: &mut RoaringBitmap) -> Result<Vec<u8>, StoreError> {
    seen.optimize();
    let mut bytes = Vec::with_capacity(seen.serialized_size());
    seen.serialize_into(&mut bytes).map_err(|e| StoreError::corrupt("sync_job.seen", e))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    #[test]
    fn a_young_cursor_is_gone_on_from_and_an_old_one_is_not() {
        let mut cursor = Cursor::begin(Uuid::from_u128(7), NOW);
        cursor.next = Some(NextLink::from("https://graph.example/next".to_owned()));
        cursor.add(Counts { pages: 1, seen: 3, changed: 2, transitions: 1 });
        let mut seen = RoaringBitmap::from_iter([1, 2, 900_000]);
        let (value, bytes) = (cursor.to_value().unwrap(), serialize(&mut seen).unwrap());
        let resume = |minutes| {
            let now = NOW + Duration::minutes(minutes);
            Cursor::resume(Some(value.clone()), Some(&bytes), now, Duration::minutes(10))
        };
        assert_eq!(resume(10), Some((cursor, seen)));
        assert_eq!(resume(11), None);
        assert_eq!(Cursor::resume(Some(value.clone()), Some(b"?"), NOW, Duration::MINUTE), None);
        assert_eq!(Cursor::resume(Some(Value::Null), Some(&bytes), NOW, Duration::MINUTE), None);
    }

    #[test]
    fn what_is_left_is_told_from_a_sweep_and_ends_when_the_next_is_due() {
        let place = MissingPlace { since: NOW + Duration::MICROSECOND, id: DeviceId(Uuid::from_u128(9)) };
        let left = Left::new(NOW, NOW + Duration::MINUTE, Some(place));
        let value = left.to_value().unwrap();
        assert_eq!(Left::resume(Some(&value), NOW), Some(left));
        assert_eq!(left.after(), Some(place));
        assert_eq!(Left::resume(Some(&value), NOW + Duration::MINUTE), None);
        assert_eq!(Left::resume(None, NOW), None);
        let seen = serialize(&mut RoaringBitmap::new()).unwrap();
        assert_eq!(Cursor::resume(Some(value), Some(&seen), NOW, Duration::MINUTE), None);
        let sweep = Cursor::begin(Uuid::from_u128(7), NOW).to_value().unwrap();
        assert_eq!(Left::resume(Some(&sweep), NOW), None);
    }

    #[test]
    fn a_million_devices_in_a_row_take_little_room() {
        let mut seen = RoaringBitmap::new();
        seen.insert_range(0..1_000_000);
        assert!(serialize(&mut seen).unwrap().len() < 1000);
    }
}
