//! What is done for a link, as its page tells it: the kinds of work, the budgets, the clocks, the backlog.

use std::time::Duration as StdDuration;

use cache::BudgetUse;
use domain::LinkId;
use store::OrgTx;
use store::jobs::JobKind;
use store::views::links::work::{self, Backlog, ChangeRow, Clock, Clocks, JobView};
use store::views::links::{LinkView, RunView};
use time::{Duration, OffsetDateTime};

use crate::app::App;
use crate::error::PageError;
use crate::format;

/// The stretch that clocks and changes are told of.
const WINDOW: Duration = Duration::hours(24);
const RUNS_SHOWN: i64 = 10;
const CHANGES_SHOWN: i64 = 10;
/// A page does not wait longer for Redis to tell how much of a budget is used.
const BUDGET_PATIENCE: StdDuration = StdDuration::from_millis(500);

/// How much of one of Microsoft's budgets is used.
pub(super) struct Meter {
    pub name: &'static str,
    pub unit: &'static str,
    pub used: BudgetUse,
}

impl Meter {
    pub(super) fn window(&self) -> String {
        format::exact_span(i64::try_from(self.used.window.as_secs()).unwrap_or(i64::MAX))
    }
}

/// All that a link's page tells besides the account itself.
pub(super) struct Work {
    pub runs: Vec<RunView>,
    pub jobs: Vec<JobView>,
    pub clocks: Clocks,
    pub backlog: Backlog,
    pub changes: Vec<ChangeRow>,
    pub changes_count: i64,
    pub meters: Vec<Meter>,
    /// Budgets that nobody took from lately.
    pub unused: Vec<&'static str>,
    /// Redis told nothing of the budgets.
    pub meters_unknown: bool,
}

/// Reads it all, each part bounded.
pub(super) async fn read(tx: &mut OrgTx, link: LinkId, now: OffsetDateTime) -> Result<Work, PageError> {
    let from = now - WINDOW;
    let (changes, changes_count) = work::changes(tx, link, from, CHANGES_SHOWN).await?;
    Ok(Work {
        runs: store::views::links::runs(tx, link, RUNS_SHOWN).await?,
        jobs: work::jobs(tx, link).await?,
        clocks: work::clocks(tx, link, from).await?,
        backlog: work::backlog(tx, link, now).await?,
        changes,
        changes_count,
        meters: Vec::new(),
        unused: Vec::new(),
        meters_unknown: false,
    })
}

/// Adds what Redis knows of the budgets. One that nobody took from lately is not there: it is unused, and how large
/// it is the sync alone knows.
pub(super) async fn measure(app: &App, work: &mut Work, link: &LinkView) {
    let client_id = link.client_id.unwrap_or(app.config().client_id);
    let wanted = [
        (cache::intune_budget(client_id, link.tid), "Intune", "requests"),
        (cache::directory_budget(client_id, link.tid), "Entra directory", "units"),
    ];
    for (budget, name, unit) in wanted {
        match tokio::time::timeout(BUDGET_PATIENCE, app.cache.budget_used(&budget)).await {
            Ok(Ok(Some(used))) => work.meters.push(Meter { name, unit, used }),
            Ok(Ok(None)) => work.unused.push(name),
            Ok(Err(_)) | Err(_) => work.meters_unknown = true,
        }
    }
}

/// A kind of work in words: its name, and what it is for.
pub(crate) const fn job_words(kind: &JobKind) -> (&'static str, &'static str) {
    match kind {
        JobKind::Sweep => ("Full sync", "Reads every device, and finds those that are gone."),
        JobKind::Delta => {
            ("Entra's change feed", "One request tells which devices changed; those are looked at.")
        }
        JobKind::Look => {
            ("Looks at single devices", "Those that are quarantined, unknown, in grace, new, or asked for.")
        }
        JobKind::Enrich => ("Missing fields", "Ethernet MAC and UDID, which lists leave out."),
        JobKind::Clock => ("The clock", "Grace that ends and records that go stale; asks Microsoft nothing."),
    }
}

/// Seconds of a clock, as precise as they are of interest: `3.4 s`, `94 s`, `12 min 30 s`, `3 h`.
pub(crate) fn latency(seconds: &f64) -> String {
    let seconds = *seconds;
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let length = Duration::seconds_f64(seconds.round());
    match length.whole_seconds() {
        n @ ..=119 => format!("{n} s"),
        n @ 120..=7199 if n % 60 == 0 => format!("{} min", n / 60),
        n @ 120..=7199 => format!("{} min {} s", n / 60, n % 60),
        _ => format::span(length),
    }
}

/// Whether a job's time has come.
pub(crate) fn is_due(job: &JobView, now: &OffsetDateTime) -> bool {
    job.next_due_at <= *now
}

/// A clock's figures, for a table.
pub(crate) fn figure(value: &Option<f64>) -> String {
    value.as_ref().map_or_else(|| "–".to_owned(), latency)
}

/// The two clocks with what they are called and how they are measured.
pub(crate) fn clock_rows(clocks: &Clocks) -> [(&'static str, &'static str, Clock); 2] {
    [
        (
            "Microsoft to Gatehouse",
            "From the earliest moment at which Microsoft can have shown a change (the device's own check-in, or the \
             last look that did not show it) until Gatehouse saw it. It errs on the long side.",
            clocks.to_gatehouse,
        ),
        (
            "Gatehouse to moved client",
            "From there until the edge acknowledged the Change of Authorization; the wait for an edge's turn counts, \
             the wait for an admin's decision does not.",
            clocks.to_acknowledged,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_as_precise_as_they_are_of_interest() {
        for (seconds, text) in [
            (0.04, "0.0 s"),
            (3.44, "3.4 s"),
            (9.97, "10 s"),
            (94.2, "94 s"),
            (750.0, "12 min 30 s"),
            (600.0, "10 min"),
            (10_800.0, "3 h"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(latency(&seconds), text);
        }
    }
}
