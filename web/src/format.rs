//! Times, ages and numbers, as people read them.

use time::{Duration, OffsetDateTime, UtcOffset};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn month(at: OffsetDateTime) -> &'static str {
    MONTHS[usize::from(u8::from(at.month())) - 1]
}

/// `2026-11-20T12:34:56Z`, for machines.
pub(crate) fn iso(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// `Fri 20 Nov 2026 12:34:56.123 UTC`
pub(crate) fn full(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let day = at.weekday().to_string();
    format!(
        "{} {} {} {:04} {:02}:{:02}:{:02}.{:03} UTC",
        &day[..3],
        at.day(),
        month(at),
        at.year(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

/// `Fri 20 Nov 2026`, in UTC.
pub(crate) fn day(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let day = at.weekday().to_string();
    format!("{} {} {} {:04}", &day[..3], at.day(), month(at), at.year())
}

/// `20 Nov 12:34:56 UTC`; with the year where it is not the present one.
pub(crate) fn stamp(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let year = if at.year() == now.year() { String::new() } else { format!(" {}", at.year()) };
    format!("{} {}{year} {:02}:{:02}:{:02} UTC", at.day(), month(at), at.hour(), at.minute(), at.second())
}

/// `just now`, `40 s ago`, `3 min ago`, `5 h ago`, `12 days ago`; `in 3 min` for what is to come.
pub(crate) fn age(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let past = now - at;
    let seconds = past.whole_seconds();
    if seconds.abs() < 2 {
        return "just now".to_owned();
    }
    let text = span(past.abs());
    if seconds > 0 { format!("{text} ago") } else { format!("in {text}") }
}

/// A length of time in its largest sensible unit.
pub(crate) fn span(length: Duration) -> String {
    let seconds = length.whole_seconds();
    let many = |n: i64, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    match seconds {
        ..=89 => format!("{seconds} s"),
        90..=5399 => format!("{} min", (seconds + 30) / 60),
        5400..=172_799 => format!("{} h", (seconds + 1800) / 3600),
        172_800..=5_183_999 => many((seconds + 43_200) / 86_400, "day"),
        _ => many(seconds / 2_592_000, "month"),
    }
}

/// Seconds given exactly: `24 h`, `90 min`, `1 day`.
pub(crate) fn exact_span(seconds: i64) -> String {
    match seconds {
        s if s > 0 && s % 86_400 == 0 && s > 86_400 => format!("{} days", s / 86_400),
        s if s > 0 && s % 3600 == 0 => format!("{} h", s / 3600),
        s if s > 0 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// `12 345`, with thin spaces that do not break.
pub(crate) fn count(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if n < 0 { format!("−{out}") } else { out }
}

/// A count that stops at a limit says so: `10 000 or more`.
pub(crate) fn capped(n: i64, max: i64) -> String {
    let text = count(n);
    if n >= max { format!("{text} or more") } else { text }
}

/// `12.3 MB`, in powers of 1000.
pub(crate) fn bytes(n: i64) -> String {
    let mut unit = "B";
    let mut size = n.max(0);
    let mut tenths = 0;
    for next in ["kB", "MB", "GB", "TB"] {
        if size < 1000 {
            break;
        }
        tenths = size % 1000 / 100;
        size /= 1000;
        unit = next;
    }
    if unit == "B" || size >= 100 { format!("{size} {unit}") } else { format!("{size}.{tenths} {unit}") }
}

/// A share of a whole in percent: `0 %` and `100 %` only where they are exact.
pub(crate) fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return "–".to_owned();
    }
    if part > 0 && part * 1000 < whole {
        return "< 0.1 %".to_owned();
    }
    let tenths = part * 1000 / whole;
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_name_their_zone() {
        let at = datetime!(2026-11-20 12:34:56.789 UTC);
        assert_eq!(stamp(at, at), "20 Nov 12:34:56 UTC");
        assert_eq!(stamp(at, datetime!(2027-01-01 0:00 UTC)), "20 Nov 2026 12:34:56 UTC");
        assert_eq!(full(at), "Fri 20 Nov 2026 12:34:56.789 UTC");
        assert_eq!(iso(at.to_offset(time::macros::offset!(+2))), "2026-11-20T12:34:56Z");
    }

    #[test]
    fn ages_are_in_a_sensible_unit() {
        let now = datetime!(2026-11-20 12:00 UTC);
        for (seconds, text) in [
            (0, "just now"),
            (40, "40 s ago"),
            (180, "3 min ago"),
            (7200, "2 h ago"),
            (259_200, "3 days ago"),
            (-120, "in 2 min"),
            (9_000_000, "3 months ago"),
        ] {
            assert_eq!(age(now - Duration::seconds(seconds), now), text);
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(-12), "−12");
        assert_eq!(capped(999, 1000), "999");
        assert_eq!(capped(1000, 1000), "1\u{202f}000 or more");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(12_340_000), "12.3 MB");
        assert_eq!(percent(1, 100_000), "< 0.1 %");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(0, 0), "–");
        assert_eq!(exact_span(86_400), "24 h");
        assert_eq!(exact_span(90), "90 s");
    }
}
