//! The frame around every page.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum_extra::extract::CookieJar;
use domain::coa::hold::HoldState;
use domain::{HoldId, OrgId};
use store::views::holds::HoldView;
use time::OffsetDateTime;

use crate::error::PageError;
use crate::session::{Flash, Person};

/// Light, dark, or as the system has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    /// The cookie that keeps the choice.
    pub(crate) const COOKIE: &'static str = "gh_theme";

    pub(crate) fn of(jar: &CookieJar) -> Self {
        jar.get(Self::COOKIE).map_or(Self::System, |cookie| Self::parse(cookie.value()))
    }

    pub(crate) fn parse(word: &str) -> Self {
        match word {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Each choice with its icon and its name for screen readers.
    pub(crate) fn choices() -> [(Self, &'static str, &'static str); 3] {
        [
            (Self::System, "auto", "Colours as the system has them"),
            (Self::Light, "sun", "Light colours"),
            (Self::Dark, "moon", "Dark colours"),
        ]
    }
}

/// The area of an organization that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    None,
    Overview,
    IdentityProviders,
    Labels,
    AuthPolicies,
    Events,
    Clients,
    Devices,
    Sites,
    Settings,
    Audit,
}

/// One entry of the side bar.
pub(crate) struct NavItem {
    pub area: Area,
    pub path: &'static str,
    pub icon: &'static str,
    pub name: &'static str,
}

const fn item(area: Area, path: &'static str, icon: &'static str, name: &'static str) -> NavItem {
    NavItem { area, path, icon, name }
}

/// The side bar: groups of entries.
pub(crate) const NAV: &[(&str, &[NavItem])] = &[
    (
        "Watch",
        &[
            item(Area::Overview, "", "overview", "Overview"),
            item(Area::Events, "events", "events", "NAC Events"),
            item(Area::Clients, "clients", "clients", "Clients"),
            item(Area::Devices, "devices", "devices", "Devices"),
        ],
    ),
    (
        "Decide",
        &[
            item(Area::AuthPolicies, "auth-policies", "rules", "Auth Policies"),
            item(Area::Labels, "labels", "tag", "Labels"),
        ],
    ),
    (
        "Connect",
        &[
            item(Area::IdentityProviders, "identity-providers", "link", "Identity Providers"),
            item(Area::Sites, "sites", "edge", "Sites & edges"),
        ],
    ),
    (
        "Organization",
        &[
            item(Area::Settings, "settings", "settings", "Settings"),
            item(Area::Audit, "audit", "audit", "Audit log"),
        ],
    ),
];

/// The organization, as the side bar shows it.
#[derive(Clone, Debug)]
pub(crate) struct OrgNav {
    pub id: OrgId,
    pub name: String,
}

/// Moves that wait, as every page of the organization tells it.
#[derive(Clone, Debug)]
pub(crate) struct HoldBanner {
    pub id: HoldId,
    pub tenant_name: String,
    /// The sync still runs, and may yet show that few are concerned.
    pub is_suspected: bool,
    pub worse: u64,
    pub fleet: u64,
}

impl From<&HoldView> for HoldBanner {
    fn from(view: &HoldView) -> Self {
        Self {
            id: view.hold.id,
            tenant_name: view.tenant_name.clone(),
            is_suspected: view.hold.state == HoldState::Suspected,
            worse: view.hold.worse,
            fleet: view.hold.fleet,
        }
    }
}

/// What the layout needs.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    pub theme: Theme,
    pub person: Option<Person>,
    pub org: Option<OrgNav>,
    pub area: Area,
    pub flash: Option<Flash>,
    pub holds: Vec<HoldBanner>,
    pub now: OffsetDateTime,
    /// A page to come back to.
    pub path: String,
    /// Whether the page answers a GET. What answers a form may show what is shown once, or hold what was typed: the
    /// colours are then changed in place, or not at all.
    pub is_get: bool,
}

impl Shell {
    /// The frame of a page that knows nothing of its visitor.
    pub(crate) fn bare(theme: Theme, now: OffsetDateTime) -> Self {
        Self {
            theme,
            person: None,
            org: None,
            area: Area::None,
            flash: None,
            holds: Vec::new(),
            now,
            path: "/".to_owned(),
            is_get: true,
        }
    }
}

/// Renders a page, never to be kept by caches.
pub(crate) fn page(template: &impl Template) -> Result<Response, PageError> {
    page_as(StatusCode::OK, template)
}

/// Renders a page with another status, such as 422 for a form that was not accepted.
pub(crate) fn page_as(status: StatusCode, template: &impl Template) -> Result<Response, PageError> {
    let body = Html(template.render()?);
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((status, headers, body).into_response())
}
