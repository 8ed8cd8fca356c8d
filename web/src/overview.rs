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

/// A share of the fleet.
struct Share {
    literal: Literal,
    verdict: Verdict,
    /// The literal is the verdict itself.
    is_verdict: bool,
    tone: &'static str,
    devices: i64,
    percent: String,
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
    let counts = store::views::overview::decisions(&mut tx, from, seconds).await?;
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
    let denials = store::views::events::list(&mut tx, &filter, None, 8).await?;
    tx.commit().await?;

    let columns = chart::columns(&counts, from, step, n);
    let steps = steps(&links, &policy.draft.doc, policy.live.is_some(), &figures);
    let shares = shares(&fleet);
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
        columns,
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

/// The fleet by what an `mdm_status` label would see, the largest verdicts first.
fn shares(fleet: &[FleetGroup]) -> Vec<Share> {
    let total: i64 = fleet.iter().map(|group| group.devices).sum();
    let mut shares: Vec<Share> = Vec::new();
    for group in fleet {
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
            Some(share) => share.devices += group.devices,
            None => {
                let tone = match ui::literal_look(literal).0 {
                    "" => "idle",
                    tone => tone,
                };
                let is_verdict = !bare(&literal);
                shares.push(Share {
                    literal,
                    verdict,
                    is_verdict,
                    tone,
                    devices: group.devices,
                    percent: String::new(),
                });
            }
        }
    }
    shares.sort_by_key(|share| (share.verdict, share.literal));
    for share in &mut shares {
        share.percent = crate::format::percent(share.devices, total);
    }
    shares
}
