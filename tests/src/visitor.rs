//! A person at the dashboard, without a browser: cookies, forms, redirects.

use gatehouse::dev::simulator::Simulator;
use reqwest::{Client, StatusCode, header};
use url::Url;

/// One browser's worth of cookies.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub url: Url,
    http: Client,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Where a redirect leads, absolute.
    pub location: Option<Url>,
    pub body: String,
}

impl Visitor {
    #[must_use]
    pub fn new(url: Url) -> Self {
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .cookie_store(true)
            .timeout(std::time::Duration::from_secs(60))
            .build()
            .expect("an HTTP client");
        Self { url, http }
    }

    pub async fn get(&self, path: &str) -> Answer {
        let url = self.url.join(path).expect("a path");
        self.send(self.http.get(url)).await
    }

    /// Posts a form as a browser does from a page of the dashboard.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.post_from(&self.url.origin().ascii_serialization(), path, form).await
    }

    /// Posts a form as a browser does from a page of another site.
    pub async fn post_from(&self, origin: &str, path: &str, form: &[(&str, &str)]) -> Answer {
        let url = self.url.join(path).expect("a path");
        self.send(self.http.post(url).header(header::ORIGIN, origin).form(form)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.expect("the dashboard answers");
        let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        Answer {
            status: answer.status(),
            location: location.map(|location| answer.url().join(location).expect("a URL")),
            body: answer.text().await.expect("a text"),
        }
    }

    /// Signs in through the simulator's page. Returns where the dashboard leads then.
    pub async fn sign_in(&self, simulator: &Simulator, user: &str) -> Url {
        let to_microsoft = self.post("/sign-in", &[]).await.redirect();
        let back = simulator.sign_in(&to_microsoft, user).await.expect("the simulator signs in");
        self.get(back.as_str()).await.redirect()
    }

    /// The path of the organization, when signed in to one.
    pub async fn organization(&self) -> String {
        self.get("/").await.redirect().path().to_owned()
    }

    /// Links the visitor's own tenant.
    pub async fn link(&self, simulator: &Simulator, org: &str) -> Answer {
        let to_microsoft = self.post(&format!("{org}/identity-providers/link"), &[]).await.redirect();
        let back = simulator.consent(&to_microsoft).await.expect("the simulator consents");
        self.get(back.as_str()).await
    }
}

impl Answer {
    /// Where it leads; panics where it does not.
    #[track_caller]
    #[must_use]
    pub fn redirect(self) -> Url {
        match self.location {
            Some(location) if self.status.is_redirection() => location,
            _ => panic!("{} instead of a redirect:\n{}", self.status, self.body),
        }
    }

    /// The body; panics where it is no page.
    #[track_caller]
    #[must_use]
    pub fn page(self) -> String {
        assert!(self.status.is_success(), "{} instead of a page:\n{}", self.status, self.body);
        self.body
    }
}

/// The value of a hidden field.
#[track_caller]
#[must_use]
pub fn hidden(page: &str, name: &str) -> String {
    let marker = format!("name=\"{name}\" value=\"");
    let start = page.find(&marker).unwrap_or_else(|| panic!("no field {name} in:\n{page}")) + marker.len();
    let end = page[start..].find('"').expect("a closing quote");
    page[start..start + end].to_owned()
}
