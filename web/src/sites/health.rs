//! What is to be said of how an edge stands, the worst first. Pure.

use store::views::sites::EdgeView;
use time::{Duration, OffsetDateTime};

use crate::format;

/// An edge with an agent calls every few seconds; one without calls when a client comes.
const SILENT_AGENT: Duration = Duration::minutes(5);
const SILENT: Duration = Duration::hours(1);
/// Who listened for commands within this has an agent.
const HAS_AGENT: Duration = Duration::days(7);
/// An agent tells once a minute how it stands.
const REPORT_OLD: Duration = Duration::minutes(5);
/// Clocks may differ by this …
const SKEW: i64 = 5_000;
/// … and by this at most before certificates and events are judged wrongly.
const SKEW_BAD: i64 = 5 * 60_000;
/// A command that is not through after this is late.
const COMMAND_LATE: Duration = Duration::minutes(2);
/// An agent fetches its bundle every minute.
const BUNDLE_OLD: Duration = Duration::hours(1);
/// A token that is still in use should be replaced in the edge before this.
pub(super) const ENDS_SOON: Duration = Duration::hours(6);

/// How bad something is, in the order of badness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tone {
    Good,
    /// Nothing to be done, but not at work either.
    Idle,
    Warn,
    Bad,
}

impl Tone {
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Idle => "",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    /// For whoever cannot see the colour.
    pub(crate) const fn said(self) -> &'static str {
        match self {
            Self::Good => "works",
            Self::Idle => "not known yet",
            Self::Warn => "needs a look",
            Self::Bad => "does not work",
        }
    }

    pub(crate) const fn icon(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Idle => "ring",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub tone: Tone,
    /// In a word or two.
    pub word: &'static str,
    pub text: String,
}

/// Everything there is to say, the worst first; where all is well, that.
pub(super) fn findings(edge: &EdgeView, now: OffsetDateTime) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |tone, word, text: String| found.push(Finding { tone, word, text });
    if let Some(at) = edge.disabled_at {
        let text = format!(
            "It was switched off {}: its tokens are refused. Switch it on below.",
            format::age(at, now)
        );
        return vec![Finding { tone: Tone::Idle, word: "switched off", text }];
    }
    if edge.credentials == 0 {
        say(Tone::Bad, "no token", "It has no valid token, so whatever it asks is refused.".to_owned());
    }
    let Some(seen) = edge.last_seen_at else {
        say(Tone::Idle, "never called", "Nothing was heard of it yet.".to_owned());
        return sorted(found);
    };
    let has_agent = edge.listened_at().is_some_and(|at| at > now - HAS_AGENT);
    if has_agent && now - seen > SILENT_AGENT {
        let text = format!("It last called {}, though its agent calls all the time.", format::age(seen, now));
        say(Tone::Bad, "silent", text);
    } else if now - seen > SILENT {
        let text =
            format!("It last called {}. That is well where no client came since.", format::age(seen, now));
        say(Tone::Idle, "quiet", text);
    }
    if let Some((skew, _)) = edge.skew
        && skew.abs() > SKEW
    {
        let tone = if skew.abs() > SKEW_BAD { Tone::Bad } else { Tone::Warn };
        say(tone, "clock is off", format!("Its clock is {}: set it by NTP.", skew_words(skew)));
    }
    if let Some(end) = edge.used_ends_at {
        let left = end - now;
        if left <= Duration::ZERO {
            let text = format!("The token that it used last ended {}.", format::age(end, now));
            say(Tone::Bad, "token ended", text);
        } else {
            let tone = if left < ENDS_SOON { Tone::Warn } else { Tone::Idle };
            let text = format!("It still uses the old token, which ends {}.", format::age(end, now));
            say(tone, "old token", text);
        }
    }
    if let Some(oldest) = edge.backlog.oldest_at
        && now - oldest > COMMAND_LATE
    {
        let text = format!("The oldest command waits since {}.", format::span(now - oldest));
        say(Tone::Warn, "commands wait", text);
    }
    agent(edge, now, &mut say);
    sorted(found)
}

fn agent(edge: &EdgeView, now: OffsetDateTime, say: &mut impl FnMut(Tone, &'static str, String)) {
    let Some((report, at)) = &edge.report else { return };
    if now - *at > REPORT_OLD {
        // Whatever it said then, it may be otherwise now.
        return;
    }
    if report.waiting > 0 {
        let text = format!(
            "{} of its messages wait on its disk to be delivered.",
            format::count(i64::try_from(report.waiting).unwrap_or(i64::MAX))
        );
        say(Tone::Warn, "messages wait", text);
    }
    if report.refused > 0 {
        let text = format!(
            "{} of its messages were refused for good, and are kept on its disk.",
            format::count(i64::try_from(report.refused).unwrap_or(i64::MAX))
        );
        say(Tone::Warn, "messages refused", text);
    }
    match report.bundle {
        Some(bundle) if bundle.over => {
            let text = "Its bundle is too old to decide from: without Gatehouse only the fallback is left.";
            say(Tone::Bad, "bundle too old", text.to_owned());
        }
        Some(bundle) if now - bundle.issued_at > BUNDLE_OLD => {
            let text = format!("Its bundle is of {}.", format::age(bundle.issued_at, now));
            say(Tone::Warn, "bundle old", text);
        }
        _ => {}
    }
}

fn sorted(mut found: Vec<Finding>) -> Vec<Finding> {
    if found.is_empty() {
        let text = "It calls, its clock agrees, and nothing waits.".to_owned();
        found.push(Finding { tone: Tone::Good, word: "well", text });
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.tone));
    found
}

/// `2.3 s ahead`, `4 min behind`, `right to the second`.
pub(crate) fn skew_words(skew: i64) -> String {
    let side = if skew > 0 { "ahead" } else { "behind" };
    match skew.unsigned_abs() {
        // Whole seconds are told, and the way takes time.
        0..=1_500 => "right to the second".to_owned(),
        ms @ 1_501..=89_999 => format!("{}.{} s {side}", ms / 1_000, ms % 1_000 / 100),
        ms => {
            let span = Duration::seconds(i64::try_from(ms / 1_000).unwrap_or(i64::MAX));
            format!("{} {side}", format::span(span))
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::edge::{AgentReport, Channel, HeldBundle};
    use domain::{EdgeId, SiteId};
    use store::views::sites::{Backlog, EdgeHeard};
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    fn edge() -> EdgeView {
        let report = AgentReport {
            version: "0.1.0".to_owned(),
            started_at: NOW - Duration::HOUR,
            channel: Some(Channel::Stream),
            radius: None,
            waiting: 0,
            refused: 0,
            bundle: Some(HeldBundle { version: 1, issued_at: NOW - Duration::MINUTE, over: false }),
            nas: 1,
            decided_offline: 0,
            decided_offline_at: None,
        };
        let heard = EdgeHeard {
            id: EdgeId(Uuid::nil()),
            name: "radius-1".to_owned(),
            site: SiteId(Uuid::nil()),
            site_name: "HQ".to_owned(),
            created_at: NOW - Duration::DAY,
            disabled_at: None,
            last_seen_at: Some(NOW - Duration::SECOND),
            credentials: 1,
            used_ends_at: None,
            skew: Some((-400, NOW)),
            polled_at: None,
            streamed_at: Some(NOW - Duration::SECOND),
            report: Some((report, NOW - Duration::seconds(30))),
            probe: None,
            caller: None,
        };
        EdgeView {
            heard,
            active_sessions: 0,
            sessions_cut: false,
            decisions: 10,
            backlog: Backlog::default(),
        }
    }

    fn words(change: impl FnOnce(&mut EdgeView)) -> Vec<(Tone, &'static str)> {
        let mut edge = edge();
        change(&mut edge);
        findings(&edge, NOW).into_iter().map(|finding| (finding.tone, finding.word)).collect()
    }

    #[test]
    fn the_worst_is_said_first() {
        assert_eq!(words(|_| {}), [(Tone::Good, "well")]);
        assert_eq!(words(|e| e.heard.disabled_at = Some(NOW)), [(Tone::Idle, "switched off")]);
        assert_eq!(words(|e| e.heard.last_seen_at = None), [(Tone::Idle, "never called")]);
        let silent = words(|e| {
            e.heard.last_seen_at = Some(NOW - Duration::minutes(6));
            e.heard.skew = Some((6_000, NOW));
        });
        assert_eq!(silent, [(Tone::Bad, "silent"), (Tone::Warn, "clock is off")]);
        let quiet = words(|e| {
            e.heard.last_seen_at = Some(NOW - Duration::hours(2));
            e.heard.streamed_at = None;
        });
        assert_eq!(quiet, [(Tone::Idle, "quiet")]);
        assert_eq!(words(|e| e.heard.skew = Some((-301_000, NOW))), [(Tone::Bad, "clock is off")]);
        assert_eq!(words(|e| e.heard.credentials = 0), [(Tone::Bad, "no token")]);
        for (hours, tone, word) in
            [(20, Tone::Idle, "old token"), (5, Tone::Warn, "old token"), (-1, Tone::Bad, "token ended")]
        {
            assert_eq!(words(|e| e.heard.used_ends_at = Some(NOW + Duration::hours(hours))), [(tone, word)]);
        }
        let waiting = words(|e| e.backlog.oldest_at = Some(NOW - Duration::minutes(3)));
        assert_eq!(waiting, [(Tone::Warn, "commands wait")]);
        let spool = words(|e| {
            let (report, _) = e.heard.report.as_mut().unwrap();
            report.waiting = 3;
            report.bundle.as_mut().unwrap().over = true;
        });
        assert_eq!(spool, [(Tone::Bad, "bundle too old"), (Tone::Warn, "messages wait")]);
        // An old report says nothing of now.
        let old = words(|e| {
            let (report, at) = e.heard.report.as_mut().unwrap();
            report.waiting = 3;
            *at = NOW - Duration::HOUR;
        });
        assert_eq!(old, [(Tone::Good, "well")]);
    }

    #[test]
    fn skews_are_in_a_sensible_unit() {
        for (skew, text) in [
            (0, "right to the second"),
            (-1_400, "right to the second"),
            (2_345, "2.3 s ahead"),
            (-90_000, "2 min behind"),
            (7_200_000, "2 h ahead"),
        ] {
            assert_eq!(skew_words(skew), text);
        }
    }
}
