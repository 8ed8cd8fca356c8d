//! Credentials end: whoever brought the app is told 30, 7 and 1 days before.

use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) const CAUSE: &str = "Microsoft takes an app's credential until its end. Without a valid one nothing can be asked of the tenant.";
pub(crate) const REMEDY: &str = "Make another credential on the app's page, add it to the app registration in Entra, and let the old one end.";

/// Days before the end at which it is told, and at the end itself.
pub const NOTICE_DAYS: [i32; 4] = [30, 7, 1, 0];

/// Whole days until `end`, rounded up: less than a day is 1, and 0 is over.
#[must_use]
pub fn days_left(end: OffsetDateTime, now: OffsetDateTime) -> i32 {
    let seconds = (end - now).whole_seconds().max(0);
    i32::try_from(seconds.div_euclid(86_400) + i64::from(seconds % 86_400 != 0)).unwrap_or(i32::MAX)
}

/// The notice that is due: the fewest days that have been reached, unless it, or a later one, was told before.
#[must_use]
pub fn due_notice(end: OffsetDateTime, now: OffsetDateTime, told: Option<i32>) -> Option<i32> {
    let left = days_left(end, now);
    let reached = NOTICE_DAYS.into_iter().filter(|days| left <= *days).min()?;
    told.is_none_or(|told| reached < told).then_some(reached)
}

/// The notice in one sentence. `kind` is `certificate` or `secret`.
pub(crate) fn summary(client_id: Uuid, kind: &str, days: i32) -> String {
    match days {
        ..=0 => format!("The last {kind} of app {client_id} has ended."),
        1 => format!("The last {kind} of app {client_id} ends within a day."),
        _ => format!("The last {kind} of app {client_id} ends in {days} days."),
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn each_notice_is_due_once() {
        let end = datetime!(2027-11-21 03:00 UTC);
        let mut told = None;
        let mut notices = Vec::new();
        let mut now = end - Duration::days(60);
        while now < end + Duration::days(2) {
            if let Some(days) = due_notice(end, now, told) {
                notices.push((days, end - now));
                told = Some(days);
            }
            now += Duration::hours(1);
        }
        let want = NOTICE_DAYS.map(|days| (days, Duration::days(days.into())));
        assert_eq!(notices, want);
    }

    #[test]
    fn who_slept_through_the_first_is_told_the_latest_alone() {
        let end = datetime!(2027-11-21 03:00 UTC);
        assert_eq!(due_notice(end, end - Duration::days(3), None), Some(7));
        assert_eq!(due_notice(end, end - Duration::days(31), None), None);
        assert_eq!(due_notice(end, end, Some(1)), Some(0));
        assert_eq!(days_left(end, end - Duration::seconds(1)), 1);
        assert_eq!(days_left(end, end + Duration::days(9)), 0);
    }
}
