//! What a cloud's schema does not know.
//!
//! A cloud whose schema is older than ours refuses a whole request because of one property in `$select`. It is asked
//! again without; and because it would refuse the next one as well, that is remembered for a day.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

/// Clouds are updated.
const REMEMBERED_FOR: Duration = Duration::DAY;

/// Refused selections, by cloud and by what was selected.
#[derive(Debug, Default)]
pub(crate) struct Schemas(Mutex<HashMap<(Arc<str>, &'static str), OffsetDateTime>>);

impl Schemas {
    /// Whether the cloud takes `select`, as far as is known.
    pub(crate) fn takes(&self, cloud: &Arc<str>, select: &'static str, now: OffsetDateTime) -> bool {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(&(cloud.clone(), select)).is_none_or(|at| (now - *at).abs() >= REMEMBERED_FOR)
    }

    /// The cloud refused `select`.
    pub(crate) fn refused(&self, cloud: &Arc<str>, select: &'static str, now: OffsetDateTime) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((cloud.clone(), select), now);
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_its_cloud_and_selection_and_for_a_day() {
        let now = datetime!(2026-11-20 12:00 UTC);
        let (one, other) = (Arc::from("https://login.one"), Arc::from("https://login.other"));
        let schemas = Schemas::default();
        assert!(schemas.takes(&one, "id,state", now));
        schemas.refused(&one, "id,state", now);
        assert!(!schemas.takes(&one, "id,state", now));
        assert!(schemas.takes(&one, "id", now));
        assert!(schemas.takes(&other, "id,state", now));
        assert!(!schemas.takes(&one, "id,state", now + Duration::hours(23)));
        assert!(schemas.takes(&one, "id,state", now + Duration::DAY));
    }
}
