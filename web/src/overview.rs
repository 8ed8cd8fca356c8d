//! The organization at a glance, and what to do next while it is new.

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use domain::compliance::{Literal, Verdict};
use domain::event::EventKind;
use domain::policy::PolicyDoc;
use serde::Deserialize;
use store::views::COUNT_MAX;
use store::views::events::{EventFilter, EventRow};
use store::views::links::LinkView;
use store::views::links::work::Clocks;
use store::views::overview::{Figures, FleetGroup};
use time::{Duration, OffsetDateTime};

use crate::app::App;
use crate::chart::{self, Column, Part};
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/", get(show))
}

/// Clocks of more accounts than this are told on their own pages alone.
const CLOCKS_MAX: usize = 10;

/// One thing to do while the organization is new.
struct Step {
    id: &'static str,
    title: &'static str,
    text: &'static str,
    action: &'static str,
    path: &'static str,
    done: bool,
}

/// How sure a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sure {
    Counted,
    /// What is left of the fleet's number, once all else is counted.
    About,
    AtLeast,
}

/// A share of the fleet.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    literal: Literal,
    verdict: Verdict,
    /// The literal is the verdict itself.
    is_verdict: bool,
    tone: &'static str,
    devices: i64,
    sure: Sure,
    percent: String,
}

impl Share {
    fn count(&self) -> String {
        let text = crate::format::count(self.devices);
        match self.sure {
            Sure::Counted => text,
            Sure::About => format!("about {text}"),
            Sure::AtLeast => format!("{text} or more"),
        }
    }
}

#[derive(Template)]
#[template(path = "overview/overview.html")]
struct Page {
    shell: Shell,
    base: String,
    org_name: String,
    steps: Vec<Step>,
    done: usize,
    /// The first step that is not done; none once all are.
    next: Option<&'static str>,
    figures: Figures,
    shares: Vec<Share>,
    bar: String,
    window: &'static str,
    chart: String,
    columns: Vec<Column>,
    permits: i64,
    denies: i64,
    /// Some stretch has more decisions than were counted.
    decisions_cut: bool,
    devices: i64,
    links: Vec<LinkView>,
    /// The clocks of each, in their order.
    clocks: Vec<Clocks>,
    denials: Vec<EventRow>,
    version: Option<i32>,
    draft_changes: usize,
}

impl Page {
    fn clocks_of(&self, link: &usize) -> Option<&Clocks> {
        self.clocks.get(*link)
    }
}

#[derive(Deserialize)]
struct Window {
    window: Option<String>,
}

/// `GET /orgs/{org_id}`
async fn show(
    member: Member,
    State(app): State<App>,
    Query(query): Query<Window>,
) -> Result<Response, PageError> {
    let now = member.now();
    let (window, step, n) = match query.window.as_deref() {
        Some("7d") => ("7d", Duration::hours(6), 28),
        _ => ("24h", Duration::hours(1), 24),
    };
    let from = floor(now, step) - step * (n - 1);

    let policy = app.policies.overview(member.org.id).await?;
    let mut tx = member.tx(&app).await?;
    let settings = store::orgs::get(&mut tx).await?.ok_or(PageError::NotFound)?.settings;
    let figures = store::views::overview::figures(&mut tx, now).await?;
    let fleet = store::views::overview::fleet(&mut tx, &settings, now).await?;
    let seconds = u32::try_from(step.whole_seconds()).unwrap_or(3600);
    let stretches = u32::try_from(n).unwrap_or_default();
    let counts = store::views::overview::decisions(&mut tx, from, seconds, stretches).await?;
    let links = store::views::links::list(&mut tx).await?;
    let mut clocks = Vec::with_capacity(links.len());
    for link in links.iter().take(CLOCKS_MAX) {
        clocks.push(store::views::links::work::clocks(&mut tx, link.id, now - Duration::hours(24)).await?);
    }
    let filter = EventFilter {
        kind: Some(EventKind::NacClientDeny),
        from: Some(now - Duration::days(7)),
        ..Default::default()
    };
    let denials = store::views::events::list(&mut tx, &filter, None, 8).await?.rows;
    tx.commit().await?;

    let columns = chart::columns(&counts, from, step, n);
    let steps = steps(&links, &policy.draft.doc, policy.live.is_some(), &figures);
    let devices = links.iter().map(|link| link.devices).sum();
    let shares = shares(&fleet, devices);
    let parts: Vec<_> =
        shares.iter().map(|s| Part { tone: s.tone, name: s.literal.to_string(), count: s.devices }).collect();
    page(&Page {
        shell: member.shell(Area::Overview).await?,
        base: format!("/orgs/{}", member.org.id),
        org_name: member.org.name.clone(),
        next: steps.iter().find(|step| !step.done).map(|step| step.id),
        done: steps.iter().filter(|step| step.done).count(),
        steps,
        figures,
        bar: chart::stacked(&parts),
        shares,
        window,
        chart: chart::svg(&columns, step),
        permits: columns.iter().map(|c| c.permits).sum(),
        denies: columns.iter().map(|c| c.denies).sum(),
        decisions_cut: counts.iter().any(|count| count.permits.max(count.denies) >= COUNT_MAX),
        columns,
        devices,
        links,
        clocks,
        denials,
        version: policy.live.map(|(version, _)| version),
        draft_changes: policy.changes.len(),
    })
}

/// The start of the stretch of `step` that holds `at`, counted from midnight UTC.
fn floor(at: OffsetDateTime, step: Duration) -> OffsetDateTime {
    let unix = at.unix_timestamp();
    let step = step.whole_seconds().max(1);
    OffsetDateTime::from_unix_timestamp(unix - unix.rem_euclid(step)).unwrap_or(at)
}

fn steps(links: &[LinkView], draft: &PolicyDoc, live: bool, figures: &Figures) -> Vec<Step> {
    let matches = draft.labels.iter().any(|label| label.kind.is_match());
    let results = draft.labels.iter().any(|label| !label.kind.is_match());
    vec![
        Step {
            id: "link",
            title: "Link your Intune account",
            text: "One consent of an administrator; the fleet is fetched at once.",
            action: "Link account",
            path: "identity-providers/link",
            done: !links.is_empty(),
        },
        Step {
            id: "labels",
            title: "Make labels",
            text: "What rules match, such as compliant devices; and what they give, such as a VLAN.",
            action: "New label",
            path: "labels/new",
            done: matches && results,
        },
        Step {
            id: "rules",
            title: "Write rules",
            text: "Compliant devices into the corporate VLAN, the rest into quarantine.",
            action: "New rule",
            path: "auth-policies/rules/new",
            done: !draft.rules.is_empty() || live,
        },
        Step {
            id: "publish",
            title: "Publish the policy",
            text: "Until then every client is denied.",
            action: "Publish",
            path: "auth-policies/publish",
            done: live,
        },
        Step {
            id: "edge",
            title: "Connect an edge",
            text: "FreeRADIUS, a wireless controller or a VPN gateway asks with a token of its own.",
            action: "New edge",
            path: "sites/edges/new",
            done: figures.edges > 0,
        },
        Step {
            id: "client",
            title: "See the first client",
            text: "Its decision appears under NAC Events, explained condition by condition.",
            action: "NAC Events",
            path: "events",
            done: figures.any_decision,
        },
    ]
}

/// Groups of the fleet with a number for each. Of a state that has more devices than were read, the number is what is
/// left of `devices`, the fleet's, in the proportion of those that were read; with several such states it is not known.
fn sized(fleet: &[FleetGroup], devices: i64) -> Vec<(&FleetGroup, i64, Sure)> {
    let read: i64 = fleet.iter().map(|group| group.devices).sum();
    let cut: Vec<_> = fleet.iter().filter(|group| group.cut).collect();
    let is_one = cut.windows(2).all(|pair| pair[0].compliance.state == pair[1].compliance.state);
    let of_cut: i64 = cut.iter().map(|group| group.devices).sum();
    let left = devices - (read - of_cut);
    let size = |group: &FleetGroup| {
        if !group.cut {
            return (group.devices, Sure::Counted);
        }
        if !(is_one && left > of_cut) {
            return (group.devices, Sure::AtLeast);
        }
        let part = i128::from(group.devices) * i128::from(left) / i128::from(of_cut.max(1));
        (i64::try_from(part).unwrap_or(i64::MAX), Sure::About)
    };
    let with_size = |group| {
        let (devices, sure) = size(group);
        (group, devices, sure)
    };
    fleet.iter().map(with_size).collect()
}

/// The fleet by what an `mdm_status` label would see, the largest verdicts first. `devices`: how many it has, as far as
/// that is known.
fn shares(fleet: &[FleetGroup], devices: i64) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for (group, devices, sure) in sized(fleet, devices) {
        let verdict = group.compliance.verdict;
        let bare = |literal: &Literal| {
            !matches!(literal, Literal::Compliant | Literal::NonCompliant | Literal::Unknown)
        };
        let literal = group.compliance.literals.iter().copied().find(bare).unwrap_or(match verdict {
            Verdict::Compliant => Literal::Compliant,
            Verdict::NonCompliant => Literal::NonCompliant,
            Verdict::Unknown => Literal::Unknown,
        });
        match shares.iter_mut().find(|share| share.literal == literal && share.verdict == verdict) {
            Some(share) => {
                share.devices += devices;
                if share.sure == Sure::Counted || sure == Sure::AtLeast {
                    share.sure = sure;
                }
            }
            None => {
                let tone = match ui::literal_look(literal).0 {
                    "" => "idle",
                    tone => tone,
                };
                let is_verdict = !bare(&literal);
                let percent = String::new();
                shares.push(Share { literal, verdict, is_verdict, tone, devices, sure, percent });
            }
        }
    }
    shares.sort_by_key(|share| (share.verdict, share.literal));
    let total: i64 = shares.iter().map(|share| share.devices).sum();
    // Of what is not known whole, there are no shares.
    let known = shares.iter().all(|share| share.sure != Sure::AtLeast);
    for share in &mut shares {
        share.percent = if known { crate::format::percent(share.devices, total) } else { "–".to_owned() };
    }
    shares
}

#[cfg(test)]
mod tests {
    use domain::compliance::Compliance;
    use domain::device::ComplianceState;

    use super::*;

    fn group(
        state: ComplianceState,
        verdict: Verdict,
        literals: &[Literal],
        n: i64,
        cut: bool,
    ) -> FleetGroup {
        let literals = literals.to_vec();
        let compliance =
            Compliance { verdict, literals, state: Some(state), last_check_in: None, fetched_at: None };
        FleetGroup { compliance, devices: n, cut }
    }

    fn compliant(n: i64, cut: bool) -> FleetGroup {
        group(ComplianceState::Compliant, Verdict::Compliant, &[Literal::Compliant], n, cut)
    }

    fn stale(n: i64, cut: bool) -> FleetGroup {
        let literals = [Literal::Unknown, Literal::Stale];
        group(ComplianceState::Compliant, Verdict::Unknown, &literals, n, cut)
    }

    fn worse(n: i64, cut: bool) -> FleetGroup {
        group(ComplianceState::Noncompliant, Verdict::NonCompliant, &[Literal::NonCompliant], n, cut)
    }

    fn told(fleet: &[FleetGroup], devices: i64) -> Vec<(Literal, String, String)> {
        let shares = shares(fleet, devices);
        let plain = |text: String| text.replace('\u{202f}', " ");
        shares.iter().map(|share| (share.literal, plain(share.count()), share.percent.clone())).collect()
    }

    #[test]
    fn a_fleet_that_was_read_whole_is_counted() {
        let fleet = [compliant(30, false), stale(10, false), worse(60, false)];
        let expected = [
            (Literal::Compliant, "30", "30.0 %"),
            (Literal::NonCompliant, "60", "60.0 %"),
            (Literal::Stale, "10", "10.0 %"),
        ];
        // Whatever the last sweep saw.
        for devices in [0, 100, 5_000] {
            let told = told(&fleet, devices);
            let told: Vec<_> = told.iter().map(|(l, n, p)| (*l, n.as_str(), p.as_str())).collect();
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn one_state_that_was_cut_has_the_rest_of_the_fleet() {
        let fleet = [compliant(15_000, true), stale(5_000, true), worse(100_000, false)];
        let told = told(&fleet, 900_000);
        let told: Vec<_> = told.iter().map(|(l, n, p)| (*l, n.as_str(), p.as_str())).collect();
        let expected = [
            (Literal::Compliant, "about 600 000", "66.6 %"),
            (Literal::NonCompliant, "100 000", "11.1 %"),
            (Literal::Stale, "about 200 000", "22.2 %"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let two = [compliant(20_000, true), worse(20_000, true)];
        let one = [compliant(20_000, true), worse(3, false)];
        for (fleet, devices, other) in [(&two, 900_000, "20 000 or more"), (&one, 20_003, "3")] {
            let told = told(fleet, devices);
            let told: Vec<_> = told.iter().map(|(_, n, p)| (n.as_str(), p.as_str())).collect();
            assert_eq!(told, [("20 000 or more", "–"), (other, "–")]);
        }
    }
}
