//! Name, staleness, grace, how sessions are moved, when so many at once that an admin is asked, and what clients are
//! told beside Gatehouse's words.

use std::ops::RangeInclusive;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::coa::CoaKind;
use domain::coa::hold::MassChange;
use domain::policy::FieldError;
use domain::snapshot::OrgSettings;
use serde::Deserialize;
use serde_json::json;
use store::orgs::{self, OrgRow};
use store::{accounts, audit};

use crate::app::App;
use crate::error::PageError;
use crate::form::Errors;
use crate::session::Flash;
use crate::shell::{Area, Shell, page, page_as};
use crate::ui;
use crate::visit::Member;

/// What an organization may add to its clients' remediation pages.
const HELP_CHARS_MAX: usize = 600;

/// The form, as it was sent.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SettingsForm {
    name: String,
    stale_after: String,
    /// `hours` or `minutes`.
    stale_unit: String,
    grace_is_compliant: Option<String>,
    coa: String,
    mass_change_percent: String,
    mass_change_min: String,
    help_text: String,
}

impl SettingsForm {
    fn of(org: &OrgRow, mass_change: MassChange, help_text: String) -> Self {
        let seconds = org.settings.stale_after_seconds;
        let (stale_after, unit) =
            if seconds.is_multiple_of(3600) { (seconds / 3600, "hours") } else { (seconds / 60, "minutes") };
        Self {
            name: org.name.clone(),
            stale_after: stale_after.to_string(),
            stale_unit: unit.to_owned(),
            grace_is_compliant: org.settings.grace_is_compliant.then(|| "on".to_owned()),
            coa: org.settings.coa.to_string(),
            mass_change_percent: mass_change.percent.to_string(),
            mass_change_min: mass_change.min.to_string(),
            help_text,
        }
    }

    /// What was typed, checked; `before` keeps what the form does not show.
    fn read(&self, before: &OrgSettings) -> Result<Typed, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut settings = before.clone();
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            errors.push(FieldError::new("name", "bad_value", "Write a name of 1 to 64 characters."));
        }
        let unit = if self.stale_unit == "minutes" { 60 } else { 3600 };
        let seconds = self.stale_after.trim().parse::<u32>().ok().and_then(|n| n.checked_mul(unit));
        match seconds {
            Some(seconds) if (300..=31_536_000).contains(&seconds) => settings.stale_after_seconds = seconds,
            _ => {
                let message = "Give a time from 5 minutes to 8760 hours (a year).";
                errors.push(FieldError::new("stale_after", "out_of_range", message));
            }
        }
        settings.grace_is_compliant = self.grace_is_compliant.is_some();
        match self.coa.parse() {
            Ok(coa) => settings.coa = coa,
            Err(_) => errors.push(FieldError::new("coa", "unknown", "Choose how sessions are moved.")),
        }
        let mut number =
            |text: &str, field: &'static str, range: RangeInclusive<u32>, message: &'static str| {
                let read = text.trim().parse().ok().filter(|n| range.contains(n));
                if read.is_none() {
                    errors.push(FieldError::new(field, "out_of_range", message));
                }
                read.unwrap_or_default()
            };
        let mass_change = MassChange {
            percent: number(
                &self.mass_change_percent,
                "mass_change_percent",
                1..=100,
                "Give a whole share from 1 to 100 percent.",
            ),
            min: number(
                &self.mass_change_min,
                "mass_change_min",
                1..=1_000_000,
                "Give a number of devices from 1 to 1000000.",
            ),
        };
        // Browsers send the ends of lines as CR LF.
        let help_text = self.help_text.replace("\r\n", "\n").trim().to_owned();
        if help_text.chars().count() > HELP_CHARS_MAX {
            let message = format!("Use {HELP_CHARS_MAX} characters at most.");
            errors.push(FieldError::new("help_text", "too_long", message));
        } else if help_text.chars().any(|c| c.is_control() && c != '\n') {
            errors.push(FieldError::new("help_text", "bad_characters", "Leave out control characters."));
        }
        let name = name.to_owned();
        if errors.is_empty() { Ok(Typed { name, settings, mass_change, help_text }) } else { Err(errors) }
    }
}

/// What the form holds, where it can be saved.
struct Typed {
    name: String,
    settings: OrgSettings,
    mass_change: MassChange,
    help_text: String,
}

fn shown(limits: MassChange) -> serde_json::Value {
    json!({ "percent": limits.percent, "min": limits.min })
}

/// What a way of moving a session does to its client.
pub(crate) const fn coa_help(kind: &CoaKind) -> (&'static str, &'static str) {
    match kind {
        CoaKind::Reauth => ("Re-authenticate", "The client authenticates again, mostly without noticing."),
        CoaKind::Disconnect => ("Disconnect", "The session is cut; the client comes back by itself."),
        CoaKind::PortBounce => {
            ("Bounce the port", "A wired port goes down and up, so that the client asks for a new address.")
        }
    }
}

#[derive(Template)]
#[template(path = "settings/organization.html")]
struct Page {
    shell: Shell,
    base: String,
    org: OrgRow,
    members: Vec<accounts::MemberRow>,
    form: SettingsForm,
    errors: Errors,
}

async fn view(member: &Member, app: &App) -> Result<Page, PageError> {
    let mut tx = member.tx(app).await?;
    let org = orgs::get(&mut tx).await?.ok_or(PageError::NotFound)?;
    let members = accounts::members(&mut tx).await?;
    let mass_change = store::holds::limits(&mut tx).await?.ok_or(PageError::NotFound)?.mass_change;
    let help_text = orgs::help_text(&mut tx).await?.unwrap_or_default();
    tx.commit().await?;
    Ok(Page {
        shell: member.shell(Area::Settings).await?,
        base: member.path("settings"),
        form: SettingsForm::of(&org, mass_change, help_text),
        org,
        members,
        errors: Errors::default(),
    })
}

/// `GET /orgs/{org_id}/settings`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    page(&view(&member, &app).await?)
}

/// `POST /orgs/{org_id}/settings`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Form(form): Form<SettingsForm>,
) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(&app).await?;
    let before = orgs::get(&mut tx).await?.ok_or(PageError::NotFound)?;
    let mass_before = store::holds::limits(&mut tx).await?.ok_or(PageError::NotFound)?.mass_change;
    let help_before = orgs::help_text(&mut tx).await?.unwrap_or_default();
    let Typed { name, settings, mass_change, help_text } = match form.read(&before.settings) {
        Ok(read) => read,
        Err(errors) => {
            drop(tx);
            let mut view = view(&member, &app).await?;
            view.form = form;
            view.errors = Errors(errors);
            return page_as(StatusCode::UNPROCESSABLE_ENTITY, &view);
        }
    };
    orgs::update(&mut tx, &name, &settings).await?;
    orgs::set_mass_change(&mut tx, mass_change).await?;
    orgs::set_help_text(&mut tx, &help_text).await?;
    let detail = json!({
        "before": {
            "name": before.name, "settings": before.settings, "mass_change": shown(mass_before),
            "help_text": help_before,
        },
        "after": {
            "name": name, "settings": settings, "mass_change": shown(mass_change), "help_text": help_text,
        },
    });
    audit::write(&mut tx, &app.ids, now, &member.actor(), "org.update", &name, detail).await?;
    let redecide = settings != before.settings;
    orgs::changed(&mut tx, &app.ids, now, redecide).await?;
    tx.commit().await?;
    let text = if redecide {
        "The settings are saved. Active sessions are looked at again; those whose answer differs are moved."
    } else {
        "The settings are saved."
    };
    member.flash(Flash::good(text)).await?;
    Ok(Redirect::to(&member.path("settings")).into_response())
}
