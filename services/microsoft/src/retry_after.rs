//! `Retry-After` (RFC 9110 10.2.3): seconds, or an HTTP date.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

/// Longer waits are cut: a wrong clock on either side must not stop a link for days.
pub(crate) const MAX: Duration = Duration::from_secs(24 * 3600);

/// How long to wait; `None` where the value says nothing.
pub(crate) fn parse(value: &str, now: OffsetDateTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are a long wait all the same.
        return Some(value.parse().map_or(MAX, Duration::from_secs).min(MAX));
    }
    // Some proxies send fractions.
    if let Ok(seconds) = value.parse::<f64>() {
        let wait = (seconds.is_finite() && seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).ok());
        return wait.map(|wait| wait.unwrap_or(MAX).min(MAX));
    }
    let at = OffsetDateTime::from(
        httpdate::parse_http_date(value).ok().filter(|at| *at > SystemTime::UNIX_EPOCH)?,
    );
    // A date that has passed means: now.
    Some(Duration::try_from(at - now).unwrap_or(Duration::ZERO).min(MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    #[test]
    fn seconds_and_dates() {
        for (value, wait) in [
            ("0", Some(0)),
            (" 17 ", Some(17)),
            ("1.0", Some(1)),
            ("7200", Some(7200)),
            ("86400", Some(86_400)),
            ("86401", Some(86_400)),
            ("99999999999999999999999", Some(86_400)),
            ("Fri, 20 Nov 2026 14:00:00 GMT", Some(7200)),
            ("Sun, 20 Dec 2026 12:00:00 GMT", Some(86_400)),
            ("Fri, 20 Nov 2026 12:00:30 GMT", Some(30)),
            ("Fri, 20 Nov 2026 11:59:30 GMT", Some(0)),
            ("Friday, 20-Nov-26 12:00:05 GMT", Some(5)),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse(value, NOW), wait.map(Duration::from_secs), "{value}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(value in "\\PC*") {
            prop_assert!(parse(&value, NOW).is_none_or(|wait| wait <= MAX));
        }
    }
}
