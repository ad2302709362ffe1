//! The page for peers in a browser: files that are built into the server and served below a prefix of a site.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use wire::Digest;
use wire::http::{EntityTag, SitePath, Status, Validators, content_type};

use crate::commands::asset::{Asset, AssetFields, Body, Representation};
use crate::site::PagePrefix;

/// Name and content of each file, sorted by name.
const FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The file that is served for the prefix itself.
const INDEX_FILE: &str = "index.html";

/// The page holds private keys, so it runs no script but its own files, and talks to no other server. `'self'` includes
/// WebSockets to the same host and port (CSP level 3, section 6.7.2.8).
const POLICY: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'\r\n\
    Cross-Origin-Opener-Policy: same-origin\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n\
    Referrer-Policy: no-referrer\r\n\
    X-Content-Type-Options: nosniff\r\n";

/// The SHA-256 digest that identifies the files of the page: that of the output of `LC_ALL=C sha256sum *` in their folder.
pub fn page_digest() -> Digest {
    let lines: String =
        FILES.iter().map(|(name, content)| format!("{}  {name}\n", Digest::of(content))).collect();
    Digest::of(lines.as_bytes())
}

#[derive(Debug)]
pub(super) struct Page {
    prefix: PagePrefix,
    files: HashMap<&'static [u8], Arc<Asset>>,
    /// The path of [`Service::Socket`].
    socket: String,
    /// The path of [`Service::Flow`].
    flow: String,
    /// The path of [`Service::Owner`].
    owner: String,
}

/// What is at a path of the page and is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// The WebSocket of a peer.
    Socket,
    /// The events of the feed.
    Flow,
    /// Who owns the name in the query.
    Owner,
}

/// What a path at or below the prefix names.
#[derive(Debug)]
pub(super) enum Named {
    File(Arc<Asset>),
    /// The prefix without the slash at its end, with which relative links would be wrong.
    Prefix,
    Nothing,
}

impl Page {
    pub(super) fn new(prefix: PagePrefix) -> Self {
        // The files may be others since the last start, and their own times are not built in.
        let modified = SystemTime::now();
        let file = |(name, content): &(&'static str, &'static [u8])| {
            let fields = AssetFields {
                content_type: content_type(name),
                caching: "Cache-Control: no-cache\r\n".to_owned(),
                policy: POLICY.to_owned(),
            };
            let validators = Validators { tag: EntityTag::of_content(content), modified };
            let body = Body::Memory(Bytes::from_static(content));
            let plain = Representation::build(Status::Ok, &fields, None, Some(validators), body);
            (name.as_bytes(), Arc::new(Asset::new(Status::Ok, false, plain, Vec::new())))
        };
        let start = match prefix.as_str() {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        };
        let [socket, flow, owner] = ["socket", "flow", "owner"].map(|name| format!("{start}/{name}"));
        Self { prefix, socket, flow, owner, files: FILES.iter().map(file).collect() }
    }

    /// The path of the events.
    pub(super) fn flow(&self) -> &str {
        &self.flow
    }

    /// What is at `path`, which is not decoded, if it is no file.
    pub(super) fn service(&self, path: &str) -> Option<Service> {
        match path {
            _ if path == self.socket => Some(Service::Socket),
            _ if path == self.flow => Some(Service::Flow),
            _ if path == self.owner => Some(Service::Owner),
            _ => None,
        }
    }

    /// What `path` names; `None` if it is not at or below the prefix.
    pub(super) fn find(&self, path: &SitePath) -> Option<Named> {
        let below = match self.prefix.as_str() {
            "" => path.as_bytes(),
            prefix => match path.as_bytes().strip_prefix(prefix.as_bytes())? {
                b"" if !path.is_directory() => return Some(Named::Prefix),
                b"" => b"",
                below => below.strip_prefix(b"/")?,
            },
        };
        let name = match below {
            b"" => INDEX_FILE.as_bytes(),
            _ if path.is_directory() => return Some(Named::Nothing),
            name => name,
        };
        Some(self.files.get(name).map_or(Named::Nothing, |file| Named::File(Arc::clone(file))))
    }
}
