//! Who asks, and for which organization. An extractor is a permission: a handler that takes a [`Member`] runs for
//! members of the organization in its path alone.

use axum::extract::{FromRequestParts, OriginalUri, RawPathParams};
use axum::http::Method;
use axum::http::request::Parts;
use axum_extra::extract::CookieJar;
use domain::OrgId;
use httpkit::RequestContext;
use store::OrgTx;
use store::audit::Actor;
use store::views::holds::HoldView;
use store::views::org::MemberOrg;
use time::OffsetDateTime;
use tower_sessions::Session;

use crate::app::App;
use crate::error::PageError;
use crate::session::{Flash, Person, key};
use crate::shell::{Area, HoldBanner, OrgNav, Shell, Theme};

/// A request with its session, whoever sent it.
pub(crate) struct Visit {
    pub session: Session,
    pub person: Option<Person>,
    pub theme: Theme,
    /// Path and query of a page to come back to: this one, or the first one where a form was sent, since its address
    /// need not answer a GET.
    pub path: String,
    pub is_get: bool,
    pub now: OffsetDateTime,
}

impl FromRequestParts<App> for Visit {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageError> {
        let session = parts.extensions.get::<Session>().cloned();
        let session = session.ok_or_else(|| PageError::Inside("no session layer".to_owned()))?;
        let person = session.get::<Person>(key::PERSON).await?;
        // The organization's routes are nested, and see only what is left of the path.
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
        let is_get = parts.method == Method::GET;
        let path = uri.path_and_query().filter(|_| is_get).map_or("/", |p| p.as_str()).to_owned();
        Ok(Self {
            session,
            person,
            theme: Theme::of(&CookieJar::from_headers(&parts.headers)),
            path,
            is_get,
            now: app.now(),
        })
    }
}

impl Visit {
    /// The frame of a page outside any organization.
    pub(crate) async fn shell(&self) -> Result<Shell, PageError> {
        let flash = match self.person {
            Some(_) => self.session.remove::<Flash>(key::FLASH).await?,
            None => None,
        };
        Ok(Shell {
            theme: self.theme,
            person: self.person.clone(),
            org: None,
            area: Area::None,
            flash,
            holds: Vec::new(),
            now: self.now,
            path: self.path.clone(),
            is_get: self.is_get,
        })
    }

    /// Leaves a message for the next page.
    pub(crate) async fn flash(&self, flash: Flash) -> Result<(), PageError> {
        Ok(self.session.insert(key::FLASH, flash).await?)
    }
}

/// A request of somebody who signed in.
pub(crate) struct Visitor {
    pub visit: Visit,
    pub person: Person,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageError> {
        let visit = Visit::from_request_parts(parts, app).await?;
        match visit.person.clone() {
            Some(person) => Ok(Self { visit, person }),
            None => Err(PageError::SignedOut {
                return_to: (visit.is_get && wants_page(parts)).then(|| visit.path.clone()),
            }),
        }
    }
}

/// Live streams and fragments are not pages to come back to.
fn wants_page(parts: &Parts) -> bool {
    !parts.uri.path().ends_with("/live")
}

/// A request of a member of the organization in the path. Anybody else learns nothing: 404.
pub(crate) struct Member {
    pub visit: Visit,
    pub person: Person,
    pub org: MemberOrg,
    /// Moves of the organization that wait for an admin, or for the end of a sync.
    pub holds: Vec<HoldView>,
}

impl FromRequestParts<App> for Member {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageError> {
        let Visitor { visit, .. } = Visitor::from_request_parts(parts, app).await?;
        let params = RawPathParams::from_request_parts(parts, app).await.map_err(|_| PageError::NotFound)?;
        let org = params.iter().find(|(name, _)| *name == "org_id").and_then(|(_, value)| value.parse().ok());
        let member = Self::of(visit, app, org.ok_or(PageError::NotFound)?).await?;
        if let Some(context) = parts.extensions.get::<RequestContext>() {
            context.set_org(member.org.id);
        }
        Ok(member)
    }
}

impl Member {
    /// The visitor as a member of an organization that its path does not name; otherwise it does not exist.
    pub(crate) async fn of(visit: Visit, app: &App, org: OrgId) -> Result<Self, PageError> {
        let person = visit.person.clone().ok_or(PageError::SignedOut { return_to: None })?;
        let mut tx = app.store.org(org).await?;
        let found = store::views::org::for_member(&mut tx, person.account).await?;
        let org = found.ok_or(PageError::NotFound)?;
        let holds = store::views::holds::active(&mut tx).await?;
        tx.commit().await?;
        Ok(Self { visit, person, org, holds })
    }

    /// Whether the visitor is still signed in, and still a member: for what goes on after its request was allowed.
    pub(crate) async fn is_still(&self, app: &App) -> Result<bool, PageError> {
        let Some(session) = self.visit.session.id() else { return Ok(false) };
        let mut tx = app.store.system().await?;
        let session = store::browser::load(&mut tx, &session.to_string(), app.now()).await?;
        tx.commit().await?;
        if session.is_none() {
            return Ok(false);
        }
        let mut tx = self.tx(app).await?;
        let member = store::views::org::for_member(&mut tx, self.person.account).await?;
        tx.commit().await?;
        Ok(member.is_some())
    }

    /// A transaction of the organization.
    pub(crate) async fn tx(&self, app: &App) -> Result<OrgTx, PageError> {
        Ok(app.store.org(self.org.id).await?)
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor { account: Some(self.person.account), name: self.person.identity.name.clone() }
    }

    pub(crate) const fn now(&self) -> OffsetDateTime {
        self.visit.now
    }

    /// The frame of a page of the organization.
    pub(crate) async fn shell(&self, area: Area) -> Result<Shell, PageError> {
        let mut shell = self.visit.shell().await?;
        shell.org = Some(OrgNav { id: self.org.id, name: self.org.name.clone() });
        shell.area = area;
        shell.holds = self.holds.iter().map(HoldBanner::from).collect();
        Ok(shell)
    }

    pub(crate) async fn flash(&self, flash: Flash) -> Result<(), PageError> {
        self.visit.flash(flash).await
    }

    /// The path of a page of the organization: `path("labels")`.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/orgs/{}/{rest}", self.org.id)
    }
}
