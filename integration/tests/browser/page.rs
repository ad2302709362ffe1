//! The page as a person uses it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use integration::browser::{Browser, Drive, Person, Tab};
use integration::{PATIENCE, Process, Sandbox, Server, keys};
use serde_json::{Value, json};

/// A person with a browser, and the server whose page they use. They are dropped in this order.
pub(crate) struct Scene {
    pub(crate) person: Person,
    pub(crate) server: Server,
    pub(crate) sandbox: Sandbox,
}

impl Scene {
    /// `None` if there is no browser.
    pub(crate) fn new() -> Option<Self> {
        Self::with(Sandbox::server)
    }

    /// With a server that `start` starts.
    pub(crate) fn with(start: impl FnOnce(&Sandbox) -> Server) -> Option<Self> {
        let browser = Browser::shared()?;
        let sandbox = Sandbox::new();
        let server = start(&sandbox);
        Some(Self { person: browser.person(), server, sandbox })
    }

    /// Starts a terminal peer.
    pub(crate) fn terminal(&self, name: &str) -> Process {
        self.sandbox.peer(name, self.server.address()).start(&[])
    }

    /// Another person with a browser.
    pub(crate) fn another_person(&self) -> Person {
        Browser::shared().expect("the scene has a browser").person()
    }

    /// Opens the page in a tab.
    pub(crate) fn open(&self) -> Page<Tab<'_>> {
        Page::open(&self.person, self.server.address())
    }

    /// Opens the page of somebody who has chosen a name before, and waits until the peer has joined.
    pub(crate) fn join(&self, name: &str) -> Page<Tab<'_>> {
        // Seeding from a file of the page that is no page saves loading the page twice.
        let server = self.server.address();
        let page = Page { tab: self.person.open(&format!("http://{server}/switchboard/bytes.js")) };
        page.seed(name);
        page.tab.go(&format!("http://{server}/switchboard/"));
        page.connected();
        page
    }
}

const SEED: &str = include_str!("seed.js");

/// A tab with the page.
pub(crate) struct Page<T> {
    pub(crate) tab: T,
}

impl<'p> Page<Tab<'p>> {
    /// Opens the page.
    pub(crate) fn open(person: &'p Person, server: SocketAddr) -> Self {
        Self { tab: person.open(&format!("http://{server}/switchboard/")) }
    }

    /// Goes on as somebody who has chosen a name before, and waits until the peer has joined.
    pub(crate) fn come_back_as(&self, name: &str) {
        self.choose_name(name);
        self.connected();
    }

    /// Goes on as somebody who has chosen a name before.
    pub(crate) fn choose_name(&self, name: &str) {
        self.welcomes();
        self.seed(name);
        self.tab.reload();
    }

    fn seed(&self, name: &str) {
        let pems = keys::next().expect("a test has few peers");
        let (identity, encryption, name) = (json!(pems.identity), json!(pems.encryption), json!(name));
        self.tab
            .value(&format!("(async () => {{ {SEED}; await seed({name}, {identity}, {encryption}); }})()"));
    }

    /// Gives the page the keys that it makes from now on, until it is loaded again: two pairs for each use of an identity.
    pub(crate) fn provide_keys(&self) {
        let pems = keys::next().expect("a test has few peers");
        let pems = json!([pems.identity, pems.encryption]);
        self.tab.value(&format!("(() => {{ {SEED}; provideKeys({pems}); }})()"));
    }
}

impl<T: Drive> Page<T> {
    /// Waits until the page asks for a name.
    pub(crate) fn welcomes(&self) {
        self.wait("!document.getElementById('welcome').hidden");
    }

    /// All that the page has written down, with bytes in hexadecimal.
    pub(crate) fn stored(&self) -> String {
        let stored = self.tab.value(
            "(async () => {
                const [{ Store }, { hex }] = await Promise.all(['store', 'bytes'].map((name) => import(`/switchboard/${name}.js`)));
                const store = await Store.open();
                const names = ['self', 'contacts', 'numbers', 'messages', 'received', 'conversations'];
                const values = await Promise.all(names.map((name) => store.all(name)));
                return JSON.stringify(values, (_, value) => value instanceof Uint8Array ? hex(value) : value);
            })()",
        );
        stored.as_str().expect("it is JSON").to_owned()
    }

    pub(crate) fn wait(&self, expression: &str) -> Value {
        self.tab.wait(expression)
    }

    /// Waits until the page says that it is connected.
    pub(crate) fn connected(&self) {
        self.wait("document.getElementById('connection').textContent === 'Connected.'");
    }

    /// Fills in the fields of a form and submits it.
    pub(crate) fn submit(&self, form: &str, fields: &[(&str, &str)]) {
        for (field, value) in fields {
            self.fill(field, value);
        }
        self.tab.value(&format!("document.getElementById('{form}').requestSubmit()"));
    }

    /// Types a value into a field.
    pub(crate) fn fill(&self, field: &str, value: &str) {
        let value = json!(value);
        self.tab.value(&format!(
            "(() => {{ const field = document.getElementById('{field}'); field.value = {value};
            field.dispatchEvent(new Event('input')); }})()"
        ));
    }

    pub(crate) fn click(&self, selector: &str) {
        self.tab.value(&format!("document.querySelector({}).click()", json!(selector)));
    }

    /// The text that an element shows.
    pub(crate) fn text(&self, id: &str) -> String {
        let text = self.tab.value(&format!("document.getElementById('{id}').innerText"));
        text.as_str().expect("elements have text").to_owned()
    }

    /// Chooses a file, given by the JavaScript expression for its content.
    pub(crate) fn choose_file(&self, field: &str, name: &str, content: &str) {
        self.tab.value(&format!(
            "(() => {{ const data = new DataTransfer(); data.items.add(new File([{content}], '{name}'));
            document.getElementById('{field}').files = data.files; }})()"
        ));
    }

    /// Opens the conversation with a peer.
    pub(crate) fn talk_to(&self, name: &str) {
        // Until the peer is shown, the page may not listen to the form yet.
        self.wait("!document.getElementById('peer').hidden");
        self.submit("contact-form", &[("contact", name)]);
        self.wait(&format!(
            "document.getElementById('with').textContent === 'Conversation with {name}'
            && !document.getElementById('conversation').hidden"
        ));
    }

    /// Writes a message to the peer whose conversation is open, and waits until it is queued.
    pub(crate) fn write(&self, text: &str) {
        self.submit("composer", &[("text", text)]);
        self.wait("document.getElementById('text').value === ''");
    }

    /// Waits until so many messages of the open conversation are in this state.
    pub(crate) fn shows(&self, state: &str, count: usize) {
        self.wait(&format!("document.querySelectorAll('#messages [data-state={state}]').length === {count}"));
    }

    /// The texts that are shown in this state, from the top.
    pub(crate) fn texts(&self, state: &str) -> Vec<String> {
        let texts = self.tab.value(&format!(
            "[...document.querySelectorAll('#messages [data-state={state}] .text')].map((text) => text.textContent)"
        ));
        let texts = texts.as_array().expect("it is an array").iter();
        texts.map(|text| text.as_str().expect("it is of texts").to_owned()).collect()
    }
}

/// Waits until a file whose name ends with `ending` was downloaded into `folder`, and returns its content.
pub(crate) fn downloaded(folder: &Path, ending: &str) -> Vec<u8> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let entries = std::fs::read_dir(folder).expect("the folder is there");
        let mut paths = entries.map(|entry| entry.expect("a folder can be listed").path());
        // Chromium reserves the name with an empty file, and renames the complete file over it.
        if let Some(path) = paths.find(|path| path.to_string_lossy().ends_with(ending)) {
            let content = std::fs::read(path).expect("the file can be read");
            if !content.is_empty() {
                return content;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing was downloaded");
}
