//! A real browser: Chromium without a window, driven by the Chrome DevTools Protocol over a pair of pipes.
//!
//! The protocol is JSON messages with a zero byte after each. Chromium ends when the pipes close, so it does not outlive
//! the tests, however they end.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use crate::PATIENCE;

/// Starts no more processes than the tests need: renderers in reserve cost more processor time than the pages.
///
/// Connects the pipes of the protocol, which Chromium expects as descriptors 3 and 4, and removes the profile in the end.
/// The shell does this after Chromium even if the tests were killed.
const LAUNCH: &str = r#"
profile=$(mktemp -d) || exit 1
chromium --headless=new --disable-gpu --no-sandbox --no-first-run --disable-extensions --disable-dev-shm-usage \
    --disable-background-timer-throttling --disable-renderer-backgrounding --disable-backgrounding-occluded-windows \
    --disable-background-networking \
    --disable-features=SpareRendererForSitePerProcess,WebUIPreload,PreloadTopChromeWebUI \
    --remote-debugging-pipe --user-data-dir="$profile" about:blank 3<&0 4>&1 >/dev/null 2>&1
rm -rf "$profile"
"#;

type Waiting = Arc<Mutex<HashMap<u64, Sender<Result<Value, String>>>>>;

/// A running Chromium.
#[derive(Debug)]
pub struct Browser {
    input: Mutex<ChildStdin>,
    next: AtomicU64,
    waiting: Waiting,
}

impl Browser {
    /// The browser of this test process, started at the first call. `None` if `chromium` is not installed.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn shared() -> Option<&'static Self> {
        static BROWSER: OnceLock<Option<Browser>> = OnceLock::new();
        BROWSER.get_or_init(Self::start).as_ref()
    }

    fn start() -> Option<Self> {
        let found = Command::new("sh").args(["-c", "command -v chromium"]).stdout(Stdio::null()).status();
        if !found.expect("there is a shell").success() {
            eprintln!("skipped: there is no chromium on this machine; its package is called chromium");
            return None;
        }
        let mut command = Command::new("sh");
        command.args(["-c", LAUNCH]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A signal for the tests from the terminal must not end the shell before it has removed the profile.
        let mut child = command.process_group(0).spawn().expect("there is a shell");
        let output = child.stdout.take().expect("standard output is piped");
        let input = Mutex::new(child.stdin.take().expect("standard input is piped"));
        let waiting = Waiting::default();
        let answered = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                answer(&answered, &message);
            }
            // Whoever waits is told by its dropped sender.
            answered.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let _ = child.wait();
        });
        Some(Self { input, next: AtomicU64::new(1), waiting })
    }

    /// Calls a method of the protocol and waits for its result. `session` is a tab, or empty for the browser.
    fn call(&self, session: &str, method: &str, parameters: &Value) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !session.is_empty() {
            message["sessionId"] = session.into();
        }
        let (sender, receiver) = channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let written = {
            let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
            input.write_all(format!("{message}\0").as_bytes())
        };
        written.map_err(|error| format!("the browser has ended: {error}"))?;
        receiver.recv_timeout(PATIENCE).map_err(|error| format!("{method} has no answer: {error}"))?
    }

    fn expect(&self, session: &str, method: &str, parameters: &Value) -> Value {
        self.call(session, method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// A new browser context: cookies, databases and locks of its own, as if another person had started a browser.
    pub fn person(&'static self) -> Person {
        let created = self.expect("", "Target.createBrowserContext", &json!({}));
        Person { browser: self, context: text(&created["browserContextId"]) }
    }
}

fn answer(waiting: &Waiting, message: &[u8]) {
    let Ok(message) = serde_json::from_slice::<Value>(message) else { return };
    // Messages without an id are events.
    let Some(id) = message["id"].as_u64() else { return };
    if let Some(sender) = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
        let result = match &message["error"] {
            Value::Null => Ok(message["result"].clone()),
            error => Err(error.to_string()),
        };
        // The caller may have lost its patience.
        let _ = sender.send(result);
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("the protocol gives a text here").to_owned()
}

/// A browser context, which is removed when this is dropped.
#[derive(Debug)]
pub struct Person {
    browser: &'static Browser,
    context: String,
}

impl Person {
    /// Opens a tab and waits until the page is loaded. The tab is never drawn, because drawing takes most of the
    /// processor time of a page.
    ///
    /// # Panics
    /// The page cannot be loaded.
    pub fn open(&self, url: &str) -> Tab<'_> {
        self.create(url, true)
    }

    /// Like [`open`](Self::open), for a page that is drawn: it has frames of animation, and pictures can be taken of it.
    ///
    /// # Panics
    /// The page cannot be loaded.
    pub fn open_drawn(&self, url: &str) -> Tab<'_> {
        self.create(url, false)
    }

    fn create(&self, url: &str, is_hidden: bool) -> Tab<'_> {
        let how = json!({ "url": "about:blank", "browserContextId": self.context, "hidden": is_hidden });
        let created = self.browser.expect("", "Target.createTarget", &how);
        let target = text(&created["targetId"]);
        let attached = json!({ "targetId": target, "flatten": true });
        let session = text(&self.browser.expect("", "Target.attachToTarget", &attached)["sessionId"]);
        let tab = Tab { person: self, target, session };
        // Several tabs are in use at the same time, and each behaves as if it were in front.
        tab.expect("Emulation.setFocusEmulationEnabled", &json!({ "enabled": true }));
        tab.go(url);
        tab
    }

    /// Decides for this person about notifications: `granted` or `denied`.
    pub fn decide_about_notifications(&self, setting: &str) {
        let permission = json!({ "name": "notifications" });
        let how = json!({ "permission": permission, "setting": setting, "browserContextId": self.context });
        self.browser.expect("", "Browser.setPermission", &how);
    }

    /// Has downloads of this person put into a folder, which is created.
    ///
    /// # Panics
    /// That is not possible.
    pub fn download_into(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("the sandbox can be written");
        let how = json!({ "behavior": "allow", "browserContextId": self.context, "downloadPath": folder });
        self.browser.expect("", "Browser.setDownloadBehavior", &how);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // The browser may have ended.
        let _ = self.browser.call(
            "",
            "Target.disposeBrowserContext",
            &json!({ "browserContextId": self.context }),
        );
    }
}

/// A tab of a browser, which is closed when this is dropped.
#[derive(Debug)]
pub struct Tab<'p> {
    person: &'p Person,
    target: String,
    session: String,
}

impl Tab<'_> {
    fn call(&self, method: &str, parameters: &Value) -> Result<Value, String> {
        self.person.browser.call(&self.session, method, parameters)
    }

    /// Loads another page, or the same again, and waits for it.
    ///
    /// # Panics
    /// It cannot be loaded.
    pub fn go(&self, url: &str) {
        let result = self.call("Page.navigate", &json!({ "url": url }));
        let result = result.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(result["errorText"], Value::Null, "{url} cannot be loaded");
        self.wait(&format!("location.href === '{url}' && document.readyState === 'complete'"));
    }

    fn expect(&self, method: &str, parameters: &Value) -> Value {
        self.person.browser.expect(&self.session, method, parameters)
    }

    /// Loads the page again. What it showed before is gone when this returns.
    pub fn reload(&self) {
        self.value("globalThis.isOld = true");
        self.expect("Page.reload", &json!({}));
        self.wait("!globalThis.isOld && document.readyState === 'complete'");
    }

    /// Gives the page another size, in CSS pixels; up to 480 wide, as on a phone.
    pub fn resize(&self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width <= 480 });
        self.expect("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Prefers a colour scheme, `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.expect("Emulation.setEmulatedMedia", &features);
    }

    /// What the tab shows, as a PNG.
    ///
    /// # Panics
    /// The browser gives none.
    pub fn screenshot(&self) -> Vec<u8> {
        let taken = self.expect("Page.captureScreenshot", &json!({ "format": "png" }));
        data_encoding::BASE64.decode(text(&taken["data"]).as_bytes()).expect("it is base64")
    }

    /// Presses the key `Tab` or `Enter`.
    pub fn press(&self, key: &str) {
        let (code, text) = if key == "Enter" { (13, "\r") } else { (9, "") };
        let mut event = json!({ "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
        self.expect("Input.dispatchKeyEvent", &event);
        event["type"] = "keyUp".into();
        self.expect("Input.dispatchKeyEvent", &event);
    }

    /// Types a text into the field that has the focus.
    pub fn type_text(&self, text: &str) {
        self.expect("Input.insertText", &json!({ "text": text }));
    }
}

impl Drop for Tab<'_> {
    /// Closes it, as a person would. A tab that is never drawn is not closed with its browser context: Chromium waits for it for a
    /// minute and then crashes.
    fn drop(&mut self) {
        // The browser may have ended.
        let _ = self.person.browser.call("", "Target.closeTarget", &json!({ "targetId": self.target }));
    }
}

impl Drive for Tab<'_> {
    fn evaluate(&self, expression: &str) -> Result<Value, String> {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", &parameters)?;
        match &result["exceptionDetails"] {
            Value::Null => Ok(result["result"]["value"].clone()),
            details => Err(details["exception"]["description"].as_str().unwrap_or("an exception").to_owned()),
        }
    }
}

/// A page that evaluates JavaScript.
pub trait Drive {
    /// The value of an expression in the page, once its promise is settled.
    ///
    /// # Errors
    /// What it throws.
    fn evaluate(&self, expression: &str) -> Result<Value, String>;

    /// The value of an expression in the page, once its promise is settled.
    ///
    /// # Panics
    /// It throws.
    #[track_caller]
    fn value(&self, expression: &str) -> Value {
        self.evaluate(expression).unwrap_or_else(|error| panic!("{expression}\n{error}"))
    }

    /// Waits until an expression has a value that is true, and returns it. It may throw until then, because the page is
    /// not ready.
    ///
    /// # Panics
    /// It does not become true in time.
    #[track_caller]
    fn wait(&self, expression: &str) -> Value {
        // The page looks again by itself, so that a wait is one call. A call ends early when the page is replaced.
        let looking = format!(
            "new Promise((found) => {{
                const look = () => {{
                    let value; try {{ value = ({expression}); }} catch {{}}
                    if (value) found(value); else if (performance.now() > end) found(null); else setTimeout(look, 10);
                }};
                const end = performance.now() + 1000;
                look();
            }})"
        );
        let end = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < end {
            match self.evaluate(&looking) {
                Ok(Value::Null) => {}
                Ok(value) => return value,
                Err(error) => last = error,
            }
        }
        let page = self.evaluate("document.body.innerText").unwrap_or_default();
        panic!("{expression} does not become true. {last}\n{}", page.as_str().unwrap_or_default());
    }
}
