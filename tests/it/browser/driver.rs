//! A Chromium with a fresh profile, driven through the HTTP interface of WebDriver.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine};
use futures_util::FutureExt;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::program::{Program, launch};
use crate::support::{POLL_INTERVAL, TIMEOUT, with_timeout};

/// The keys that a person presses, as WebDriver names them.
pub(super) const TAB: &str = "\u{e004}";
pub(super) const ENTER: &str = "\u{e007}";

/// A time zone that is never UTC.
const TIME_ZONE: &str = "America/New_York";

/// The name of an element's identifier in WebDriver.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(super) struct Browser {
    client: reqwest::Client,
    /// `http://127.0.0.1:PORT/session/ID`
    session: String,
    _driver: Program,
    _profile: TempDir,
}

/// Runs a test in a new browser, and ends the browser also if the test fails.
pub(super) async fn browse(test: impl AsyncFnOnce(&Browser)) {
    let browser = Browser::start().await;
    let result = AssertUnwindSafe(test(&browser)).catch_unwind().await;
    // The request waits for the end of Chromium. Without an answer, Chromium ends with its driver.
    let _ = browser.attempt(Method::DELETE, "", None).await;
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

impl Browser {
    async fn start() -> Browser {
        let profile = tempfile::tempdir().expect("a temporary directory");
        let port = port();
        let driver = launch("chromedriver", [format!("--port={port}").as_str()]);
        let driver = driver.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("TZ", TIME_ZONE).env("LANG", "en_US.UTF-8");
        let mut driver = driver.start();
        driver.wait_for_line("started successfully on port ").await;
        let base = format!("http://127.0.0.1:{port}/session");
        let client = reqwest::Client::new();
        let created = client.post(&base).json(&capabilities(&profile)).send();
        let created = with_timeout("a browser", created).await.expect("a response of chromedriver");
        let created: Value = created.json().await.expect("JSON");
        let id = created["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {created:#}"));
        Browser { session: format!("{base}/{id}"), client, _driver: driver, _profile: profile }
    }

    /// Sends a command of WebDriver. Returns its value, or the error.
    async fn attempt(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, String> {
        let request = self.client.request(method, format!("{}{path}", self.session));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = with_timeout(path, request.send()).await.map_err(|error| error.to_string())?;
        let is_success = response.status().is_success();
        let mut answer: Value = response.json().await.map_err(|error| error.to_string())?;
        let value = answer["value"].take();
        // An error also has a stack of chromedriver.
        if is_success { Ok(value) } else { Err(value["message"].to_string()) }
    }

    async fn get(&self, path: &str) -> Value {
        self.attempt(Method::GET, path, None).await.unwrap_or_else(|error| panic!("{path} failed: {error}"))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.attempt(Method::POST, path, Some(body)).await;
        answer.unwrap_or_else(|error| panic!("{path} failed: {error}"))
    }

    /// Opens a URL, and waits until it is loaded.
    pub(super) async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    pub(super) async fn reload(&self) {
        self.post("/refresh", json!({})).await;
    }

    pub(super) async fn back(&self) {
        self.post("/back", json!({})).await;
    }

    /// Returns the path and query of the page.
    pub(super) async fn path(&self) -> String {
        self.text_of("return location.pathname + location.search").await
    }

    /// Waits for an element, and returns its path in WebDriver.
    async fn element(&self, strategy: &str, value: &str) -> String {
        let found = self.post("/element", json!({ "using": strategy, "value": value })).await;
        format!("/element/{}", found[ELEMENT].as_str().expect("an identifier"))
    }

    /// Waits for the page with this heading.
    pub(super) async fn heading(&self, text: &str) {
        self.element("xpath", &format!("//h1[normalize-space()='{text}']")).await;
    }

    /// Waits for the page whose search box shows this text.
    pub(super) async fn search_box(&self, text: &str) {
        self.element("css selector", &format!("#q[value={text:?}]")).await;
    }

    /// Clicks the first element of this selector, when it is there.
    pub(super) async fn click(&self, selector: &str) {
        let element = self.element("css selector", selector).await;
        self.post(&format!("{element}/click"), json!({})).await;
    }

    /// Follows the link with this text to another page.
    pub(super) async fn follow(&self, text: &str) {
        let before = self.path().await;
        let link = self.element("link text", text).await;
        self.post(&format!("{link}/click"), json!({})).await;
        let arrival = async {
            while self.path().await == before {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout("another page", arrival).await;
    }

    /// Replaces the text in the search box, and clicks the button.
    pub(super) async fn search(&self, text: &str) {
        let input = self.element("css selector", "#q").await;
        self.post(&format!("{input}/clear"), json!({})).await;
        self.post(&format!("{input}/value"), json!({ "text": text })).await;
        self.click("form button").await;
    }

    /// Presses and releases each of these keys, whatever has the focus.
    pub(super) async fn press(&self, keys: &str) {
        let keys = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() })));
        let actions: Vec<_> = keys.collect();
        self.post("/actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] })).await;
    }

    /// Runs the body of a function in the page, and returns its result.
    pub(super) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    pub(super) async fn text_of(&self, script: &str) -> String {
        self.run(script).await.as_str().unwrap_or_else(|| panic!("no text: {script}")).to_owned()
    }

    /// Returns the texts that a person sees in the elements of this selector.
    pub(super) async fn texts(&self, selector: &str) -> Vec<String> {
        let script = format!(
            "return [...document.querySelectorAll({selector:?})].filter(e => e.checkVisibility()).map(e => e.innerText)"
        );
        let texts = self.run(&script).await;
        texts.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
    }

    /// Returns the whole text that a person sees.
    pub(super) async fn text(&self) -> String {
        self.texts("main").await.concat()
    }

    pub(super) async fn has_dialog(&self) -> bool {
        self.attempt(Method::GET, "/alert/text", None).await.is_ok()
    }

    /// Sends a command of the DevTools protocol.
    pub(super) async fn devtools(&self, command: &str, parameters: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
    }

    pub(super) async fn emulate(&self, width: u32, height: u32, scale: f64, is_phone: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    pub(super) async fn prefer(&self, color_scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": color_scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Returns what Chromium wrote to its console since the last call.
    pub(super) async fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "browser" })).await;
        entries.as_array().expect("a list").iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// Returns the URL of each request of a page since the last call.
    pub(super) async fn requests(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "performance" })).await;
        let messages = entries.as_array().expect("a list").iter().map(|entry| {
            let text = entry["message"].as_str().expect("a text");
            serde_json::from_str::<Value>(text).expect("JSON")["message"].take()
        });
        let requests = messages.filter(|message| message["method"] == "Network.requestWillBeSent");
        let requests = requests.map(|mut request| request["params"].take());
        let url = |value: &Value| value.as_str().expect("a URL").to_owned();
        // Chromium's own first page is none of ours.
        let ours = requests.filter(|request| !url(&request["documentURL"]).starts_with("chrome:"));
        ours.map(|request| url(&request["request"]["url"])).collect()
    }

    /// Writes what a person sees to a PNG file.
    pub(super) async fn draw(&self, file: &Path) {
        let picture = self.get("/screenshot").await;
        let picture = BASE64_STANDARD.decode(picture.as_str().expect("Base64")).expect("Base64");
        std::fs::write(file, picture).expect("a writable file");
    }
}

/// Returns a free port. chromedriver itself would take any port that is free on `::1`, and fail if it is not on `127.0.0.1`.
/// The port is below those that the system assigns, so that no connection takes it before chromedriver listens.
fn port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random_range(10_000..25_000)));
    let is_taken =
        |ip: IpAddr, port: u16| TcpListener::bind((ip, port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if !is_taken(Ipv4Addr::LOCALHOST.into(), port) && !is_taken(Ipv6Addr::LOCALHOST.into(), port) {
            return port;
        }
    }
}

/// Describes a browser that has no window. It ends when the pipe to its driver closes.
fn capabilities(profile: &TempDir) -> Value {
    let profile = format!("--user-data-dir={}", profile.path().display());
    // Containers lack the name spaces of the sandbox, and have little shared memory. Only our own page is opened.
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--force-color-profile=srgb",
        "--hide-scrollbars",
        "--remote-debugging-pipe",
        "--window-size=1000,900",
        &profile,
    ];
    let milliseconds = TIMEOUT.as_millis() as u64 - 5_000;
    json!({ "capabilities": { "alwaysMatch": {
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        "timeouts": { "implicit": milliseconds, "pageLoad": milliseconds, "script": milliseconds },
        // A dialog stays open, and fails every command.
        "unhandledPromptBehavior": "ignore",
    } } })
}
