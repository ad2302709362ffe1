//! Firefox and WebKit, driven by the WebDriver protocol (<https://www.w3.org/TR/webdriver2/>), which is JSON over HTTP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::browser::Drive;

/// Runs the driver `$1` on port `$2` until standard input ends, which it also does when the tests are killed. Then it ends
/// the browser too, because that is in the same process group.
const LAUNCH: &str = r#"
trap '' TERM
folder=$(mktemp -d) || exit 1
export HOME="$folder" TMPDIR="$folder"
if [ "$1" = WebKitWebDriver ]; then
    # It has no mode without a window, and its sandbox does not work in containers.
    mkfifo "$folder/display"
    (trap - TERM; exec Xvfb -displayfd 3 -nolisten tcp 3>"$folder/display") &
    read -r display <"$folder/display"
    export DISPLAY=":$display" WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS=1
fi
(trap - TERM; exec "$1" --port="$2") &
cat >/dev/null
kill -TERM 0
wait
rm -rf "$folder"
"#;

/// Browsers with a driver.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Firefox, with `geckodriver`.
    Firefox,
    /// WebKitGTK, with the driver and the browser of Debian's `webkit2gtk-driver`.
    WebKit,
}

impl Kind {
    /// The programs that it needs, and how to get them.
    fn needs(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Firefox => {
                (&["firefox-esr", "geckodriver"], "apt install firefox-esr; cargo install geckodriver")
            }
            Self::WebKit => (&["WebKitWebDriver", "Xvfb"], "apt install webkit2gtk-driver xvfb"),
        }
    }

    fn driver(self) -> &'static str {
        match self {
            Self::Firefox => "geckodriver",
            Self::WebKit => "WebKitWebDriver",
        }
    }

    fn capabilities(self) -> Value {
        match self {
            Self::Firefox => {
                json!({ "moz:firefoxOptions": { "binary": path_of("firefox-esr"), "args": ["-headless"] } })
            }
            // The driver knows where its browser is.
            Self::WebKit => json!({}),
        }
    }
}

fn path_of(program: &str) -> Option<String> {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let found = found.expect("there is a shell");
    found.status.success().then(|| String::from_utf8_lossy(&found.stdout).trim().to_owned())
}

/// A browser with one tab.
#[derive(Debug)]
pub struct OtherBrowser {
    /// Ends with its standard input.
    launcher: Child,
    driver: SocketAddr,
    session: String,
}

impl OtherBrowser {
    /// Starts a browser. `None`, with a word on standard error, if something for it is not installed.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(kind: Kind) -> Option<Self> {
        let (programs, how) = kind.needs();
        if let Some(missing) = programs.iter().find(|program| path_of(program).is_none()) {
            eprintln!("skipped: there is no {missing} on this machine ({how})");
            return None;
        }
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let driver = free.expect("there is a free port");
        let launcher = Command::new("sh")
            .args(["-c", LAUNCH, "sh", kind.driver(), &driver.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("there is a shell");
        let mut browser = Self { launcher, driver, session: String::new() };
        let end = Instant::now() + PATIENCE;
        while let Err(error) = browser.call("GET", "/status", None) {
            assert!(Instant::now() < end, "{kind:?} has not started: {error}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": kind.capabilities() } });
        let made = browser.expect("POST", "/session", Some(&wanted));
        browser.session = format!("/session/{}", made["sessionId"].as_str().expect("a session has an id"));
        Some(browser)
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut answer = Vec::new();
        let mut exchange = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(self.driver)?;
            // A session begins only when the browser has started, whose first start takes long.
            stream.set_read_timeout(Some(3 * PATIENCE))?;
            let length = body.len();
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{body}",
                self.driver
            )?;
            stream.read_to_end(&mut answer).map(drop)
        };
        exchange().map_err(|error| error.to_string())?;
        let start = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
        let mut said: Value = serde_json::from_slice(&answer[start..]).map_err(|error| error.to_string())?;
        match &said["value"]["error"] {
            Value::String(error) => Err(format!("{error}: {}", said["value"]["message"])),
            _ => Ok(said["value"].take()),
        }
    }

    fn expect(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.call(method, path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Loads a page, or the same again, and waits for it.
    pub fn go(&self, url: &str) {
        self.expect("POST", &format!("{}/url", self.session), Some(&json!({ "url": url })));
    }
}

impl Drive for OtherBrowser {
    fn evaluate(&self, expression: &str) -> Result<Value, String> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
            (async () => ({expression}))().then((value) => done({{ value }}), (error) => done({{ error: String(error) }}));"
        );
        let body = json!({ "script": script, "args": [] });
        let mut said = self.call("POST", &format!("{}/execute/async", self.session), Some(&body))?;
        match &said["error"] {
            Value::String(error) => Err(error.clone()),
            _ => Ok(said["value"].take()),
        }
    }
}

impl Drop for OtherBrowser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.call("DELETE", &self.session, None);
        }
        drop(self.launcher.stdin.take());
        let _ = self.launcher.wait();
    }
}
