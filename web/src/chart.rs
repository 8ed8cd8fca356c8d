//! A column chart of decisions, drawn on the server with a real axis. The numbers are also in a table below it.

use std::fmt::Write;

use store::views::overview::DecisionCount;
use time::{Duration, OffsetDateTime};

use crate::format;

const WIDTH: i64 = 760;
const HEIGHT: i64 = 200;
const LEFT: i64 = 46;
const RIGHT: i64 = 8;
const TOP: i64 = 10;
const BOTTOM: i64 = 24;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub at: OffsetDateTime,
    pub permits: i64,
    pub denies: i64,
}

/// Every stretch from `from` on, also those without a decision.
pub(crate) fn columns(counts: &[DecisionCount], from: OffsetDateTime, step: Duration, n: i32) -> Vec<Column> {
    let column = |i| {
        let at = from + step * i;
        let found = counts.iter().find(|c| c.at == at);
        Column { at, permits: found.map_or(0, |c| c.permits), denies: found.map_or(0, |c| c.denies) }
    };
    (0..n).map(column).collect()
}

/// A step of 1, 2 or 5 times a power of ten, so that at most `ticks` steps reach `max`; and the top that they reach.
pub(crate) fn nice_scale(max: i64, ticks: i64) -> (i64, i64) {
    let max = max.max(1);
    let mut power = 1;
    loop {
        for factor in [1, 2, 5] {
            let step = factor * power;
            if step * ticks >= max {
                return (step, (max + step - 1) / step * step);
            }
        }
        power *= 10;
    }
}

/// The chart as SVG, without inline style: shapes are placed by attributes, and coloured by classes.
pub(crate) fn svg(columns: &[Column], step: Duration) -> String {
    let max = columns.iter().map(|c| c.permits + c.denies).max().unwrap_or(0);
    let (tick, top) = nice_scale(max, 4);
    let plot = HEIGHT - TOP - BOTTOM;
    let y = |value: i64| TOP + plot - value * plot / top;
    let mut out = format!(
        r#"<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Decisions over time, permitted and denied; the numbers are in the table below">"#
    );
    let mut value = 0;
    while value <= top {
        let (at, class) = (y(value), if value == 0 { "axis base" } else { "axis" });
        let _ = write!(
            out,
            r#"<line class="{class}" x1="{LEFT}" x2="{}" y1="{at}" y2="{at}"/><text x="{}" y="{}" text-anchor="end">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 8,
            at + 4,
            format::count(value),
        );
        value += tick;
    }
    let n = i64::try_from(columns.len()).unwrap_or(1).max(1);
    let slot = (WIDTH - LEFT - RIGHT) * 10 / n;
    let every = (n / 8).max(1);
    for (i, column) in (0..).zip(columns) {
        let x = LEFT * 10 + slot * i;
        let width = slot * 7 / 10;
        let title = format!(
            "{}, {}: {} permitted, {} denied",
            format::stamp(column.at, column.at),
            format::exact_span(step.whole_seconds()),
            column.permits,
            column.denies
        );
        let mut bar = |class: &str, from: i64, to: i64| {
            if to > from {
                let (high, low) = (y(to), y(from));
                let _ = write!(
                    out,
                    r#"<rect class="{class}" x="{}" y="{high}" width="{}" height="{}" rx="1.5"><title>{title}</title></rect>"#,
                    tenths(x + slot * 3 / 20),
                    tenths(width),
                    (low - high).max(2),
                );
            }
        };
        bar("f-good", 0, column.permits);
        bar("f-bad", column.permits, column.permits + column.denies);
        if i % every == 0 {
            let label = if step >= Duration::hours(6) && column.at.hour() == 0 {
                format!("{} {}", column.at.day(), &column.at.month().to_string()[..3])
            } else {
                format!("{:02}:{:02}", column.at.hour(), column.at.minute())
            };
            let _ = write!(
                out,
                r#"<text x="{}" y="{}" text-anchor="middle">{label}</text>"#,
                tenths(x + slot / 2),
                HEIGHT - 6
            );
        }
    }
    out.push_str("</svg>");
    out
}

fn tenths(n: i64) -> String {
    format!("{}.{}", n / 10, n % 10)
}

/// One part of a stacked bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// `good`, `bad`, `warn`, `lapse` or `idle`.
    pub tone: &'static str,
    pub name: String,
    pub count: i64,
}

/// A bar of parts, at least a sliver for each that is not nought.
pub(crate) fn stacked(parts: &[Part]) -> String {
    const FULL: i64 = 10_000;
    const SLIVER: i64 = 60;
    const GAP: i64 = 16;
    let total: i64 = parts.iter().map(|part| part.count).sum();
    let mut out = format!(
        r#"<svg class="bar" viewBox="0 0 {FULL} 100" preserveAspectRatio="none" aria-hidden="true">"#
    );
    if total > 0 {
        let shown: Vec<_> = parts.iter().filter(|part| part.count > 0).collect();
        let n = i64::try_from(shown.len()).unwrap_or(1);
        let free = FULL - n * SLIVER - (n - 1) * GAP;
        let mut x = 0;
        for part in shown {
            let width = SLIVER + free * part.count / total;
            let _ =
                write!(out, r#"<rect class="f-{}" x="{x}" y="0" width="{width}" height="100"/>"#, part.tone);
            x += width + GAP;
        }
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn scales_end_on_round_numbers() {
        for (max, step, top) in
            [(0, 1, 1), (3, 1, 3), (7, 2, 8), (18, 5, 20), (97, 50, 100), (1_234, 500, 1_500)]
        {
            assert_eq!(nice_scale(max, 4), (step, top), "{max}");
        }
    }

    #[test]
    fn empty_stretches_are_there() {
        let from = datetime!(2026-11-20 10:00 UTC);
        let counts = [DecisionCount { at: datetime!(2026-11-20 12:00 UTC), permits: 3, denies: 1 }];
        let columns = columns(&counts, from, Duration::hours(1), 4);
        assert_eq!(columns.iter().map(|c| c.permits).collect::<Vec<_>>(), [0, 0, 3, 0]);
        let svg = svg(&columns, Duration::hours(1));
        assert!(svg.contains("20 Nov 12:00:00 UTC, 1 h: 3 permitted, 1 denied"));
        assert!(!svg.contains("style="));
    }

    #[test]
    fn nothing_is_too_small_to_see() {
        let part = |count| Part { tone: "good", name: String::new(), count };
        let svg = stacked(&[part(1_000_000), part(1), part(0)]);
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(svg.contains(r#"width="60""#));
    }
}
