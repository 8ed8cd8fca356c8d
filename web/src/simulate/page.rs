//! The form, and what comes of it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum_extra::extract::Form;
use domain::compliance::assess;
use domain::decision::{Decision, MatchOutcomeName, MatchRecord};
use domain::event::DecisionRecord;
use domain::policy::explain::explain;
use domain::policy::trace::retell;
use domain::policy::{CompiledPolicy, decide};
use domain::request::{AccessRequest, AuthType, PortType};
use domain::resolver::MatchKey;
use domain::{EventId, Mac, SiteId};
use serde::Deserialize;
use store::OrgTx;

use crate::app::App;
use crate::candidates::Candidates;
use crate::error::PageError;
use crate::events::explain::{Links, Told};
use crate::form::{Errors, given};
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

use super::form::{AMBIGUOUS, Case, NOT_ENROLLED, STATES, SimulateForm, UNLINKED};

/// Where the form begins: empty, or with a real client.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Start {
    #[serde(default)]
    mac: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    against: String,
}

struct Outcome {
    name: String,
    decision: Decision,
    told: Told,
    compliance: domain::compliance::Compliance,
}

#[derive(Template)]
#[template(path = "simulate/page.html")]
struct Page {
    shell: Shell,
    base: String,
    rules: String,
    form: SimulateForm,
    errors: Errors,
    /// Where the fields come from.
    source: Option<String>,
    sites: Vec<(SiteId, String)>,
    live: Option<i32>,
    outcome: Option<Outcome>,
}

impl Page {
    /// A text field.
    fn input(&self, name: &'static str, label: &'static str, value: &str, mono: bool) -> String {
        let value = ui::escape(value);
        let mono = if mono { " mono" } else { "" };
        let (attributes, errors) = (self.errors.attributes(name), self.errors.of(name));
        format!(
            r#"<div class="field"><label for="{name}">{label}</label><input class="input{mono}" id="{name}" name="{name}" value="{value}" autocomplete="off" spellcheck="false"{attributes}>{errors}</div>"#
        )
    }

    /// A text field of several lines.
    fn area(&self, name: &'static str, label: &'static str, value: &str) -> String {
        let value = ui::escape(value);
        let (attributes, errors) = (self.errors.attributes(name), self.errors.of(name));
        format!(
            "<div class=\"field\"><label for=\"{name}\">{label}</label><textarea id=\"{name}\" name=\"{name}\" rows=\"2\" spellcheck=\"false\"{attributes}>\n{value}</textarea>{errors}</div>"
        )
    }

    /// A choice of words; the present one is offered whatever it is.
    fn select<'w>(
        &self,
        name: &'static str,
        label: &'static str,
        value: &str,
        words: impl AsRef<[&'w str]>,
    ) -> String {
        let words = words.as_ref();
        let mut options = String::new();
        let others = (!words.contains(&value)).then_some(value);
        for word in words.iter().copied().chain(others) {
            let selected = if word == value { " selected" } else { "" };
            let shown = if word.is_empty() { "not told" } else { word };
            let (word, shown) = (ui::escape(word), ui::escape(shown));
            options.push_str(&format!(r#"<option value="{word}"{selected}>{shown}</option>"#));
        }
        let (attributes, errors) = (self.errors.attributes(name), self.errors.of(name));
        format!(
            r#"<div class="field"><label for="{name}">{label}</label><select id="{name}" name="{name}"{attributes}>{options}</select>{errors}</div>"#
        )
    }

    fn auth_types() -> Vec<&'static str> {
        std::iter::once("").chain(AuthType::ALL.iter().map(|word| word.as_str())).collect()
    }

    fn port_types() -> Vec<&'static str> {
        std::iter::once("").chain(PortType::ALL.iter().map(|word| word.as_str())).collect()
    }

    fn states() -> Vec<&'static str> {
        STATES.iter().map(domain::device::ComplianceState::as_str).collect()
    }

    fn matches() -> Vec<(&'static str, String)> {
        let found = MatchKey::ALL.iter().map(|key| {
            (key.as_str(), format!("found by {} (strength: {})", key.as_str(), key.strength().as_str()))
        });
        let not = [
            (NOT_ENROLLED, "not enrolled: no device bears its keys".to_owned()),
            (AMBIGUOUS, "ambiguous: several devices bear a key".to_owned()),
            (UNLINKED, "unlinked: no Intune account was ever read".to_owned()),
        ];
        found.chain(not).collect()
    }
}

/// `GET /orgs/{org_id}/auth-policies/simulate`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Query(start): Query<Start>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let against = if start.against == "live" { "live" } else { "draft" };
    let (form, source) = if let Some(id) = given(&start.event) {
        let id: EventId = id.parse().map_err(|_| PageError::NotFound)?;
        let record = recorded(&mut tx, id).await?.ok_or(PageError::NotFound)?;
        let at = crate::format::stamp(record.answer.at, member.now());
        (Some(of_record(&record)), Some(format!("The decision of {at}, with the facts as they were then.")))
    } else if let Some(mac) = given(&start.mac) {
        let mac: Mac = mac.parse().map_err(|_| PageError::NotFound)?;
        let sessions = store::views::clients::sessions(&mut tx, mac, 20).await?;
        let decision = sessions.iter().find_map(|session| session.decision);
        let record = match decision {
            Some(id) => recorded(&mut tx, EventId(id)).await?,
            None => None,
        };
        let record = record.ok_or(PageError::NotFound)?;
        let at = crate::format::stamp(record.answer.at, member.now());
        let form = of_client(&mut tx, &record.request, member.now()).await?;
        (
            Some(form),
            Some(format!("Client {mac}: its request of {at}, with what is known of its device now.")),
        )
    } else {
        (None, None)
    };
    tx.commit().await?;
    let asked = form.is_some();
    let form = form.map(|form| SimulateForm { against: against.to_owned(), ..form });
    show(&member, &app, form, source, asked).await
}

/// `POST /orgs/{org_id}/auth-policies/simulate`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Form(form): Form<SimulateForm>,
) -> Result<Response, PageError> {
    show(&member, &app, Some(form), None, true).await
}

async fn show(
    member: &Member,
    app: &App,
    form: Option<SimulateForm>,
    source: Option<String>,
    asked: bool,
) -> Result<Response, PageError> {
    let mut tx = member.tx(app).await?;
    let org = store::orgs::get(&mut tx).await?.ok_or(PageError::NotFound)?;
    let sites: Vec<_> =
        store::edges::list_sites(&mut tx).await?.into_iter().map(|site| (site.id, site.name)).collect();
    let draft = store::policies::draft(&mut tx).await?;
    let form = form.unwrap_or_else(|| SimulateForm::example(sites.first().map(|(id, _)| *id)));
    let policy = super::against(&mut tx, &form.against).await?;
    tx.commit().await?;

    let links = Links::new(member, &draft.doc, sites.iter().cloned().collect::<HashMap<_, _>>());
    let mut errors = Vec::new();
    let mut outcome = None;
    if asked {
        match (form.case(&org.settings, member.now()), policy) {
            (Ok(case), Some((name, version, doc))) => {
                let compiled = CompiledPolicy::compile(version, &doc);
                outcome = Some(simulate(name, &compiled, &case, &links));
            }
            (case, policy) => {
                errors.extend(case.err().unwrap_or_default());
                if policy.is_none() {
                    let message = "Nothing is published yet: choose the draft.";
                    errors.push(domain::policy::FieldError::new("against", "bad_value", message));
                }
            }
        }
    }
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let template = Page {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies/simulate"),
        rules: member.path("auth-policies"),
        form,
        errors: Errors(errors),
        source,
        sites,
        live: org.policy_version,
        outcome,
    };
    page_as(status, &template)
}

fn simulate(name: String, policy: &CompiledPolicy, case: &Case, links: &Links) -> Outcome {
    let (decision, trace, explanation) = case.with(|input| {
        let decision = decide(Some(policy), input);
        let trace = retell(policy, input, &decision).unwrap_or_default();
        (decision, trace, explain(Some(policy), input))
    });
    let vendor = case.request.nas.vendor.as_deref();
    let told = Told::of(&decision, &trace, vendor, explanation.nearest, links);
    Outcome { name, decision, told, compliance: case.compliance.clone() }
}

async fn recorded(tx: &mut OrgTx, id: EventId) -> Result<Option<DecisionRecord>, PageError> {
    let event = store::views::events::one(tx, id).await?;
    Ok(event.and_then(|(_, detail)| serde_json::from_value(detail).ok()))
}

fn found_word(outcome: MatchOutcomeName, key: Option<MatchKey>) -> &'static str {
    match (outcome, key) {
        (MatchOutcomeName::Matched, Some(key)) => key.as_str(),
        (MatchOutcomeName::Ambiguous, _) => AMBIGUOUS,
        (MatchOutcomeName::NotEnrolled, _) | (MatchOutcomeName::Matched, None) => NOT_ENROLLED,
    }
}

fn of_record(record: &DecisionRecord) -> SimulateForm {
    let found = &record.answer.found;
    let posture = found.posture.clone().unwrap_or_default();
    SimulateForm::default().request(&record.request).facts(
        found_word(found.outcome, found.key),
        &record.answer.compliance,
        &posture,
        Some(record.answer.at),
    )
}

async fn of_client(
    tx: &mut OrgTx,
    request: &AccessRequest,
    now: time::OffsetDateTime,
) -> Result<SimulateForm, PageError> {
    let snapshot = store::orgs::snapshot(tx).await?.ok_or(PageError::NotFound)?;
    let candidates = Candidates::of(tx, request).await?;
    let found = candidates.found();
    let compliance = assess(&found, &snapshot.links, &snapshot.settings, now);
    let record = MatchRecord::of(&found);
    let posture = record.posture.clone().unwrap_or_default();
    let word = found_word(record.outcome, record.key);
    Ok(SimulateForm::default().request(request).facts(word, &compliance, &posture, None))
}
