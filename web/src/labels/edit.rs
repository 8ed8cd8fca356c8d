//! Making and changing a label.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::compliance::Literal;
use domain::policy::draft::FieldError;
use domain::policy::edit::Edit;
use domain::policy::{AuthMatch, Label, LabelKind, MatchLabelKey};
use domain::resolver::MatchStrength;
use domain::{LabelId, OrgId};
use policy::EditError;
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::form::{Errors, lines};
use crate::session::Flash;
use crate::shell::{Area, Shell, page, page_as};
use crate::ui;
use crate::visit::Member;

use super::{KINDS, Kind, kind, kind_word};

/// The form, as it was sent.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct LabelForm {
    revision: i64,
    kind: String,
    #[serde(default)]
    name: String,
    /// The values that were checked.
    #[serde(default)]
    values: Vec<String>,
    /// `any`: one of the values; `none`: none of them.
    #[serde(default)]
    sense: String,
    /// Values, one per line.
    #[serde(default)]
    text: String,
    /// All lines must hold, instead of any.
    #[serde(default)]
    match_all: Option<String>,
    #[serde(default)]
    vlan: String,
    #[serde(default)]
    radius_group: String,
    #[serde(default)]
    session_timeout: String,
}

/// One literal that can be checked.
struct Choice {
    word: String,
    help: &'static str,
    checked: bool,
}

#[derive(Template)]
#[template(path = "labels/kinds.html")]
struct KindsPage {
    shell: Shell,
    base: String,
}

#[derive(Template)]
#[template(path = "labels/edit.html")]
struct EditPage {
    shell: Shell,
    base: String,
    /// `None`: a new label.
    id: Option<LabelId>,
    kind: &'static Kind,
    form: LabelForm,
    /// Of kinds whose values are words of a list; empty where values are text.
    choices: Vec<Choice>,
    errors: Errors,
    /// Who changed the draft in the meantime.
    conflict: Option<String>,
    used_by: Vec<String>,
}

/// Which words a kind's values are, with a hint for each; `None` where values are text.
fn words(kind: &str) -> Option<Vec<(String, &'static str)>> {
    match kind.parse::<MatchLabelKey>().ok()? {
        MatchLabelKey::MdmStatus => {
            Some(Literal::ALL.iter().map(|literal| (literal.to_string(), literal_help(*literal))).collect())
        }
        MatchLabelKey::AuthType => {
            Some(AuthMatch::ALL.iter().map(|method| (method.to_string(), auth_help(*method))).collect())
        }
        MatchLabelKey::MatchStrength => Some(
            MatchStrength::ALL
                .iter()
                .map(|strength| (strength.to_string(), strength_help(*strength)))
                .collect(),
        ),
        MatchLabelKey::Ssid | MatchLabelKey::ClientMac => None,
    }
}

const fn literal_help(literal: Literal) -> &'static str {
    match literal {
        Literal::Compliant => "Compliant, or in grace where the organization counts that as compliant",
        Literal::NonCompliant => "Not compliant, or its grace is over",
        Literal::Unknown => "Everything else: exactly one of these first three always holds",
        Literal::InGracePeriod => "Not compliant, but still in grace",
        Literal::NotEvaluated => "Enrolled, and not evaluated yet",
        Literal::Error => "Intune failed to evaluate it",
        Literal::Conflict => "Its compliance policies contradict each other",
        Literal::ConfigManager => "Evaluated by Configuration Manager",
        Literal::Other => "A state that Microsoft added lately",
        Literal::NotEnrolled => "No device of the fleet fits the client",
        Literal::Ambiguous => "Several devices fit the client",
        Literal::Stale => "What is known of it is too old",
        Literal::Unlinked => "No account is linked, or none was ever synced",
    }
}

const fn auth_help(method: AuthMatch) -> &'static str {
    match method {
        AuthMatch::Cert => "Any method that presented a client certificate",
        AuthMatch::Idp => "Any method that presented a password",
        AuthMatch::Exactly(_) => "",
    }
}

const fn strength_help(strength: MatchStrength) -> &'static str {
    match strength {
        MatchStrength::Certificate => "Its certificate names the device",
        MatchStrength::Name => "Its certificate bears the device's name",
        MatchStrength::Mac => "Only its MAC address fits: addresses can be forged",
    }
}

impl LabelForm {
    fn empty(kind: &Kind, revision: i64) -> Self {
        Self { revision, kind: kind.word.to_owned(), sense: "any".to_owned(), ..Self::default() }
    }

    /// The form that would make this label.
    fn of(label: &Label, revision: i64) -> Self {
        let mut form = Self {
            revision,
            kind: kind_word(&label.kind).to_owned(),
            name: label.name.clone(),
            sense: "any".to_owned(),
            ..Self::default()
        };
        match &label.kind {
            LabelKind::Match { values, match_all, .. } => {
                form.text = values.join("\n");
                form.match_all = match_all.then(|| "on".to_owned());
                let negated: Vec<_> =
                    values.iter().filter_map(|v| v.strip_prefix('!')).map(str::to_owned).collect();
                if *match_all && negated.len() == values.len() {
                    form.sense = "none".to_owned();
                    form.values = negated;
                } else {
                    form.values = values.clone();
                }
            }
            LabelKind::Vlan { vlan } => form.vlan = vlan.clone(),
            LabelKind::RadiusGroup { radius_group } => form.radius_group = radius_group.clone(),
            LabelKind::SessionTimeout { session_timeout } => {
                form.session_timeout = session_timeout.to_string();
            }
        }
        form
    }

    /// Whether the values can be shown as checked words. A label that was written elsewhere may mix `!` and plain
    /// values: then they are shown as text.
    fn fits_choices(&self, words: &[(String, &'static str)]) -> bool {
        self.values.iter().all(|value| words.iter().any(|(word, _)| word.eq_ignore_ascii_case(value)))
    }

    /// The label that was typed, or what cannot be read of it. Everything else is checked by the policy.
    fn label(&self, id: LabelId) -> Result<Label, Vec<FieldError>> {
        let bad_kind = || vec![FieldError::new("kind", "unknown", "Choose what the label matches or gives.")];
        let kind = match self.kind.as_str() {
            "vlan" => LabelKind::Vlan { vlan: self.vlan.trim().to_owned() },
            "radius_group" => LabelKind::RadiusGroup { radius_group: self.radius_group.trim().to_owned() },
            "session_timeout" => match self.session_timeout.trim().parse() {
                Ok(session_timeout) => LabelKind::SessionTimeout { session_timeout },
                Err(_) => {
                    return Err(vec![FieldError::new(
                        "session_timeout",
                        "not_a_number",
                        "Give a number of seconds from 60 (a minute) to 2592000 (30 days).",
                    )]);
                }
            },
            other => {
                let key: MatchLabelKey = other.parse().map_err(|_| bad_kind())?;
                let (values, match_all) = match words(other) {
                    Some(_) if self.text.trim().is_empty() => match self.sense.as_str() {
                        "none" => (self.values.iter().map(|v| format!("!{v}")).collect(), true),
                        _ => (self.values.clone(), false),
                    },
                    _ => (lines(&self.text), self.match_all.is_some()),
                };
                LabelKind::Match { key, values, match_all }
            }
        };
        Ok(Label { id, name: self.name.trim().to_owned(), kind })
    }
}

impl EditPage {
    async fn new(
        member: &Member,
        id: Option<LabelId>,
        kind: &'static Kind,
        mut form: LabelForm,
    ) -> Result<Self, PageError> {
        let words = words(kind.word).filter(|words| form.fits_choices(words)).unwrap_or_default();
        let choices = words.into_iter().map(|(word, help)| {
            let checked = form.values.iter().any(|value| value.eq_ignore_ascii_case(&word));
            Choice { word, help, checked }
        });
        let choices: Vec<_> = choices.collect();
        if !choices.is_empty() {
            form.text = String::new();
        }
        Ok(Self {
            shell: member.shell(Area::Labels).await?,
            base: member.path("labels"),
            id,
            kind,
            form,
            choices,
            errors: Errors::default(),
            conflict: None,
            used_by: Vec::new(),
        })
    }
}

#[derive(Deserialize)]
pub(super) struct NewQuery {
    kind: Option<String>,
}

/// `GET /orgs/{org_id}/labels/new?kind=`
pub(super) async fn new(
    member: Member,
    State(app): State<App>,
    Query(query): Query<NewQuery>,
) -> Result<Response, PageError> {
    let Some(kind) = query.kind.as_deref().and_then(kind) else {
        return page(&KindsPage { shell: member.shell(Area::Labels).await?, base: member.path("labels") });
    };
    let revision = app.policies.overview(member.org.id).await?.draft.revision;
    page(&EditPage::new(&member, None, kind, LabelForm::empty(kind, revision)).await?)
}

/// `GET /orgs/{org_id}/labels/{label_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LabelId)>,
) -> Result<Response, PageError> {
    let draft = app.policies.overview(member.org.id).await?.draft;
    let label = draft.doc.label(id).ok_or(PageError::NotFound)?;
    let kind = kind(kind_word(&label.kind)).ok_or(PageError::NotFound)?;
    let mut view = EditPage::new(&member, Some(id), kind, LabelForm::of(label, draft.revision)).await?;
    view.used_by = draft.doc.users_of(id).map(|rule| rule.name.clone()).collect();
    page(&view)
}

/// `POST /orgs/{org_id}/labels`
pub(super) async fn create(
    member: Member,
    State(app): State<App>,
    Form(form): Form<LabelForm>,
) -> Result<Response, PageError> {
    save(&member, &app, None, form).await
}

/// `POST /orgs/{org_id}/labels/{label_id}`
pub(super) async fn update(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LabelId)>,
    Form(form): Form<LabelForm>,
) -> Result<Response, PageError> {
    save(&member, &app, Some(id), form).await
}

async fn save(
    member: &Member,
    app: &App,
    id: Option<LabelId>,
    form: LabelForm,
) -> Result<Response, PageError> {
    let kind = kind(&form.kind)
        .ok_or_else(|| PageError::BadRequest("Choose what the label is about.".to_owned()))?;
    let label_id = id.unwrap_or_else(|| app.ids.make(member.now()));
    let saved = match form.label(label_id) {
        Err(errors) => Err(EditError::Fields(errors)),
        Ok(label) => {
            let name = label.name.clone();
            let edit = Edit::PutLabel(label);
            app.policies.edit(member.org.id, &member.actor(), form.revision, edit).await.map(|_| name)
        }
    };
    match saved {
        Ok(name) => {
            let text =
                format!("Label “{name}” is saved in the draft. It takes effect when the draft is published.");
            member.flash(Flash::good(text)).await?;
            Ok(Redirect::to(&member.path("labels")).into_response())
        }
        Err(EditError::Fields(errors)) => {
            let mut view = EditPage::new(member, id, kind, form).await?;
            view.errors = Errors(errors);
            page_as(StatusCode::UNPROCESSABLE_ENTITY, &view)
        }
        Err(EditError::Conflict { current, by }) => {
            let mut view = EditPage::new(member, id, kind, LabelForm { revision: current, ..form }).await?;
            view.conflict = Some(by);
            page_as(StatusCode::CONFLICT, &view)
        }
        Err(EditError::NotFound | EditError::InUse(_)) => Err(PageError::NotFound),
        Err(EditError::Store(error)) => Err(error.into()),
    }
}
