//! What people read: progress on stderr, tables on stdout.

use std::time::Duration;

/// A line of progress.
#[expect(clippy::print_stderr, reason = "a command for people")]
pub fn note(line: &str) {
    eprintln!("{line}");
}

/// A line of the result.
#[expect(clippy::print_stdout, reason = "a command for people")]
pub fn say(line: &str) {
    println!("{line}");
}

/// A Markdown table.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    say(&format!("\n| {} |", head.join(" | ")));
    say(&format!("|{}", " --- |".repeat(head.len())));
    for row in rows {
        say(&format!("| {} |", row.join(" | ")));
    }
    say("");
}

/// The middle one; of an even number, the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// The smallest value that so many percent of all do not exceed (nearest rank).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank within the length")]
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * as_f64(sorted.len())).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// Seconds of CPU per second that passed: 1.00 is one core.
pub fn cores(cpu: Duration, wall: Duration) -> String {
    format!("{:.2}", cpu.as_secs_f64() / wall.as_secs_f64().max(1e-9))
}

/// A count, for arithmetic with ratios.
#[expect(clippy::cast_precision_loss, reason = "counts here stay far below 2^52")]
pub const fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ranks() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&hundred, 99.0) - 99.0).abs() < 1e-9);
        assert!((percentile(&hundred, 50.0) - 50.0).abs() < 1e-9);
        assert!((percentile(&[7.0], 99.0) - 7.0).abs() < 1e-9);
    }
}
