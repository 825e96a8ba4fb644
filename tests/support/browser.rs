//! A real browser without a window: Chromium, spoken to over the two pipes of `--remote-debugging-pipe`, each message
//! a JSON text that ends with a NUL (the DevTools protocol).

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

/// No answer takes this long, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// For asynchronous functions: what was scrolled has been drawn, and the event that says so has been heard.
pub const FRAME: &str =
    "await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));";

/// A browser with one tab, which ends with this value.
pub struct Browser {
    process: Child,
    commands: RefCell<ChildStdin>,
    messages: Receiver<Value>,
    next: Cell<u64>,
    session: RefCell<Option<String>>,
    complaints: RefCell<Vec<String>>,
    requests: RefCell<Vec<String>>,
    _profile: TempDir,
}

/// `$ATTNSCOPE_CHROMIUM`, or the first of the usual names on the path.
fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ATTNSCOPE_CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)))
        .find(|program| program.is_file())
}

impl Browser {
    /// Starts a browser whose window is `width` × `height`; `None`, saying so, where none is installed.
    pub fn start(width: u32, height: u32) -> Option<Self> {
        let Some(program) = chromium() else {
            eprintln!("skipped: no chromium on the path, and ATTNSCOPE_CHROMIUM names none");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // The browser reads from descriptor 3 and writes to 4.
        let mut process = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
            ])
            .arg(program)
            .args([
                "--headless=new",
                "--remote-debugging-pipe",
                // Chromium's sandbox refuses to work for root, and the pages are our own.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-extensions",
                "--disable-sync",
                "--no-first-run",
                "--hide-scrollbars",
                "--force-color-profile=srgb",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let commands = RefCell::new(process.stdin.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while output
                .read_until(0, &mut message)
                .is_ok_and(|length| length > 0)
            {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else {
                    return;
                };
                if sender.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let browser = Self {
            process,
            commands,
            messages,
            next: Cell::new(1),
            session: RefCell::default(),
            complaints: RefCell::default(),
            requests: RefCell::default(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = browser.call(
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        );
        *browser.session.borrow_mut() = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(width, height);
        Some(browser)
    }

    /// Opens a file, and waits until it is loaded.
    pub fn open(&self, path: &Path) {
        self.complaints.borrow_mut().clear();
        self.requests.borrow_mut().clear();
        let url = format!("file://{}", path.canonicalize().unwrap().display());
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert_eq!(answer.get("errorText"), None, "{answer}");
        self.wait_for("document.readyState === 'complete'");
        // The file itself.
        self.requests.borrow_mut().retain(|asked| *asked != url);
    }

    /// The size of the view.
    pub fn resize(&self, width: u32, height: u32) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
    }

    /// What the system wants: `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
    }

    /// The value of an expression; of a promise what it comes to.
    #[track_caller]
    pub fn evaluate(&self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true }),
        );
        let thrown = answer.get("exceptionDetails");
        assert!(thrown.is_none(), "{expression}\n{thrown:#?}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait_for(&self, condition: &str) {
        let start = Instant::now();
        while !self.holds(condition) {
            assert!(
                start.elapsed() < PATIENCE,
                "never came true: {condition}\n{:#?}",
                self.complaints.borrow()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn holds(&self, condition: &str) -> bool {
        self.evaluate(&format!("Boolean({condition})")) == true
    }

    /// Clicks into the middle of an element until something is true: a chart that is just being drawn anew does not hear
    /// the first click.
    #[track_caller]
    pub fn click_until(&self, selector: &str, condition: &str) {
        for _ in 0..10 {
            self.click(self.middle(selector));
            for _ in 0..50 {
                if self.holds(condition) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.wait_for(condition);
    }

    /// The place in the view of the middle of the first element that the selector names, scrolled to.
    #[track_caller]
    pub fn middle(&self, selector: &str) -> (f64, f64) {
        let place = self.evaluate(&format!(
            "(async () => {{ const e = document.querySelector({}); e.scrollIntoView({{ block: 'center' }}); {FRAME}
               const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()",
            json!(selector)
        ));
        (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
    }

    /// Moves the pointer.
    pub fn hover(&self, (x, y): (f64, f64)) {
        self.mouse("mouseMoved", (x, y), 0);
    }

    /// Moves the pointer and clicks.
    pub fn click(&self, place: (f64, f64)) {
        self.mouse("mouseMoved", place, 0);
        self.mouse("mousePressed", place, 1);
        self.mouse("mouseReleased", place, 1);
    }

    /// Presses the button at one place and lets go of it at another.
    pub fn drag(&self, from: (f64, f64), to: (f64, f64)) {
        let between = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
        self.mouse("mouseMoved", from, 0);
        self.mouse("mousePressed", from, 1);
        for place in [between, to] {
            let moved = json!({ "type": "mouseMoved", "x": place.0, "y": place.1, "button": "left", "buttons": 1 });
            self.call("Input.dispatchMouseEvent", moved);
        }
        self.mouse("mouseReleased", to, 1);
    }

    fn mouse(&self, kind: &str, (x, y): (f64, f64), clicks: u32) {
        let button = if clicks > 0 { "left" } else { "none" };
        self.call(
            "Input.dispatchMouseEvent",
            json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": clicks }),
        );
    }

    /// Presses a key, such as `Tab` or `Enter`, where the focus is.
    pub fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "ArrowDown" => 40,
            "ArrowRight" => 39,
            other => panic!("no code for {other}"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Types a text where the focus is.
    pub fn type_text(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Puts a picture (PNG) of the view, or of the whole page, at `path`.
    pub fn screenshot(&self, path: &Path, whole: bool) {
        let picture = self.call(
            "Page.captureScreenshot",
            json!({ "captureBeyondViewport": whole }),
        );
        let data = BASE64.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }

    /// Errors and warnings of the console, exceptions, and what the Content-Security-Policy refused.
    pub fn complaints(&self) -> Vec<String> {
        self.evaluate("0");
        self.complaints.borrow().clone()
    }

    /// What the page asked a network or a disk for, itself aside.
    pub fn requests(&self) -> Vec<String> {
        self.evaluate("0");
        self.requests.borrow().clone()
    }

    /// Sends a command and waits for its answer.
    #[track_caller]
    fn call(&self, method: &str, parameters: Value) -> Value {
        let id = self.next.replace(self.next.get() + 1);
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &*self.session.borrow() {
            message["sessionId"] = json!(session);
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.commands.borrow_mut().write_all(&text).unwrap();
        loop {
            let message = match self.messages.recv_timeout(PATIENCE) {
                Ok(message) => message,
                Err(error) => panic!("{method}: the browser does not answer: {error}"),
            };
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    /// Keeps what an event says that a test may want to know.
    fn note(&self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints
                    .borrow_mut()
                    .push(parameters["exceptionDetails"].to_string());
            }
            Some("Runtime.consoleAPICalled")
                if ["error", "warning", "assert"]
                    .contains(&parameters["type"].as_str().unwrap_or("")) =>
            {
                self.complaints
                    .borrow_mut()
                    .push(parameters["args"].to_string());
            }
            Some("Log.entryAdded") => {
                self.complaints
                    .borrow_mut()
                    .push(parameters["entry"].to_string());
            }
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap_or("?");
                // Those two are parts of the page.
                if !url.starts_with("data:") && !url.starts_with("blob:") {
                    self.requests.borrow_mut().push(url.to_owned());
                }
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self
            .commands
            .borrow_mut()
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if let Ok(Some(_)) = self.process.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
