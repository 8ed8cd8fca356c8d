//! Headless Chromium, driven through chromedriver.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use url::Url;

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with a profile of its own. Ended when dropped.
pub struct Browser {
    pub client: Client,
    driver: Child,
    /// Removed when dropped, after the driver has ended.
    profile: tempfile::TempDir,
    screenshots: PathBuf,
    taken: std::cell::Cell<u32>,
}

impl Browser {
    pub async fn start() -> Self {
        let port = devservers::free_port();
        let mut command = devservers::dies_with_parent("KILL");
        let driver = command
            .arg(on_path(&["chromedriver"]))
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts: ./dev test installs it");
        let profile = tempfile::tempdir().expect("a temporary folder");
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": {
                "binary": on_path(&["chromium", "chromium-browser", "google-chrome"]),
                "args": [
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--disable-dev-shm-usage",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--window-size=1360,900",
                    "--lang=en",
                    format!("--user-data-dir={}", profile.path().display()),
                ],
            },
        });
        let serde_json::Value::Object(capabilities) = capabilities else { unreachable!() };
        let url = format!("http://127.0.0.1:{port}");
        let client = crate::eventually("chromedriver", || async {
            ClientBuilder::new(HttpConnector::new())
                .capabilities(capabilities.clone())
                .connect(&url)
                .await
                .ok()
        })
        .await;
        let screenshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        std::fs::create_dir_all(&screenshots).expect("target/screenshots");
        Self { client, driver, profile, screenshots, taken: std::cell::Cell::new(0) }
    }

    pub async fn go(&self, url: &Url) {
        self.client.goto(url.as_str()).await.expect("the page opens");
    }

    /// The element, waited for.
    pub async fn find(&self, css: &str) -> Element {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("{css} is not on {}: {error}\n{}", self.url().await, self.text().await),
        }
    }

    pub async fn click(&self, css: &str) {
        let element = self.find(css).await;
        self.press(element, css).await;
    }

    /// Clicks the link or button with this text.
    pub async fn click_text(&self, text: &str) {
        let path = format!("//a[normalize-space()={text:?}] | //button[normalize-space()={text:?}]");
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::XPath(&path)).await;
        match found {
            Ok(element) => self.press(element, text).await,
            Err(error) => panic!("“{text}” is not on {}: {error}\n{}", self.url().await, self.text().await),
        }
    }

    async fn press(&self, element: Element, what: &str) {
        let _ =
            self.client.execute("arguments[0].scrollIntoView({block: 'center'})", vec![json!(element)]).await;
        if let Err(error) = element.click().await {
            panic!("{what} on {} cannot be clicked: {error}", self.url().await);
        }
    }

    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.find(css).await;
        element.clear().await.expect("the field can be emptied");
        element.send_keys(text).await.expect("the field takes text");
    }

    /// Ticks the checkbox of this name whose label begins with the text.
    pub async fn check_label(&self, name: &str, text: &str) {
        let path = format!(
            "//label[input[@name={name:?}] and (normalize-space(span/text()[normalize-space()][1])={text:?})]/input"
        );
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::XPath(&path)).await;
        let element = found.unwrap_or_else(|error| panic!("no checkbox {name} “{text}”: {error}"));
        self.press(element, text).await;
    }

    /// Chooses the option whose text begins so.
    pub async fn choose(&self, css: &str, text: &str) {
        self.find(css).await;
        let script = "const select = document.querySelector(arguments[0]);
            const option = [...select.options].find(o => o.text.trim().startsWith(arguments[1]));
            return option ? option.index : null";
        let index =
            self.client.execute(script, vec![json!(css), json!(text)]).await.expect("the page runs scripts");
        let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
        let Some(index) = index else {
            panic!("{css} on {} has no option “{text}”", self.url().await);
        };
        self.find(css).await.select_by_index(index).await.expect("the option can be chosen");
    }

    /// Waits until the page shows the text.
    pub async fn see(&self, text: &str) {
        let started = std::time::Instant::now();
        loop {
            let shown = self.text().await;
            if shown.contains(text) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{} does not show “{text}”:\n{shown}", self.url().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reloads until the page shows the text.
    pub async fn see_after_reload(&self, text: &str) {
        let started = std::time::Instant::now();
        while !self.text().await.contains(text) {
            assert!(
                started.elapsed() < PATIENCE,
                "{} does not show “{text}”:\n{}",
                self.url().await,
                self.text().await
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
            self.client.refresh().await.expect("the page opens again");
        }
    }

    /// What a person reads.
    pub async fn text(&self) -> String {
        let script = "return document.body ? document.body.innerText : ''";
        let text = self.client.execute(script, Vec::new()).await;
        text.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    pub async fn url(&self) -> Url {
        self.client.current_url().await.expect("the browser is somewhere")
    }

    /// Keeps the whole page as `target/screenshots/<number>-<name>-<light|dark>.png`, light and dark.
    pub async fn screenshots(&self, name: &str) {
        let number = self.taken.get() + 1;
        self.taken.set(number);
        for scheme in ["light", "dark"] {
            self.devtools(
                "Emulation.setEmulatedMedia",
                json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
            )
            .await;
            let shot =
                self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
            let png = shot["data"].as_str().and_then(|data| {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.decode(data).ok()
            });
            let png = png.expect("a screenshot");
            let file = self.screenshots.join(format!("{number:02}-{name}-{scheme}.png"));
            std::fs::write(file, png).expect("the screenshot can be kept");
        }
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [] })).await;
    }

    async fn devtools(&self, command: &str, parameters: serde_json::Value) -> serde_json::Value {
        let done = self.client.issue_cmd(Devtools { command: command.to_owned(), parameters }).await;
        done.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Ends the browser in an orderly way.
    pub async fn close(self) {
        let _ = self.client.clone().close().await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // A driver that is killed leaves its browser behind; this one's names the profile.
        for process in processes_with(&self.profile.path().display().to_string()) {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
    }
}

/// The processes whose command line holds the text.
fn processes_with(text: &str) -> Vec<i32> {
    let Ok(entries) = Path::new("/proc").read_dir() else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            String::from_utf8_lossy(&line).contains(text).then_some(pid)
        })
        .collect()
}

/// Chromedriver's own command for the DevTools protocol.
#[derive(Debug)]
struct Devtools {
    command: String,
    parameters: serde_json::Value,
}

impl fantoccini::wd::WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "cmd": self.command, "params": self.parameters }).to_string()))
    }
}

fn on_path(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = names
        .iter()
        .find_map(|name| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()));
    found.unwrap_or_else(|| panic!("{names:?} is not installed: run the tests with ./dev test"))
}
