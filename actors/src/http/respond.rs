//! The response to each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use wire::http::{BadRequest, KeptHead, Method, RequestHead, SitePath, Status, prefers_json};

use super::access::{self, Access};
use super::admin::Admin;
use super::brief::Brief;
use super::connection::Next;
use super::handshake::handshake;
use super::leases::{Lease, Leases};
use super::outbox::Outbox;
use super::page::{Named, Service};
use super::sites::{Site, Sites, redirected};
use super::verified::{Proof, Verified};
use super::writer::{After, Ask, Request, Writer};
use super::{Names, Services, cors, flow, owner};
use crate::commands::absence::Absence;
use crate::commands::asset::Asset;
use crate::commands::connection::{Door, Visitor};
use crate::commands::feed::{FeedHandle, View};
use crate::commands::file_server::Found;
use crate::config::FlowAccess;
use crate::metrics::WebCounts;

/// Answers the requests of all connections of one thread.
pub(crate) struct Responder {
    sites: Arc<Sites>,
    https_port: Option<u16>,
    admin: Arc<Admin>,
    stopping: Arc<AtomicBool>,
    leases: Vec<Leases>,
    verified: Vec<Verified>,
    learned: Vec<Learned>,
    feed: Option<FeedHandle>,
    names: Names,
    /// What the client of the last response watches.
    pub(super) view: Option<View>,
    pub(crate) writer: Writer,
}

/// Something that can be cached, found while a response waited. `site` is an index into [`Sites::all`].
#[derive(Debug)]
pub(crate) struct Learned {
    site: usize,
    fact: Fact,
}

#[derive(Debug)]
enum Fact {
    Lease(Lease),
    Proof(Proof),
}

/// What a response has to wait for. `site` is an index into [`Sites::all`].
#[derive(Debug)]
pub(super) enum Need {
    /// The sums of all counters.
    Metrics,
    Password {
        site: usize,
    },
    /// What passes through the server.
    Flow,
    /// Who owns a name.
    Owner,
    File {
        site: usize,
        user: Option<Box<str>>,
    },
}

/// How far the response to a request is.
#[derive(Debug)]
pub(super) enum Step {
    /// It is in the outbox.
    Done,
    /// It has to wait for this.
    Wait(Need),
    /// It is in the outbox, and with it the connection becomes a WebSocket.
    Upgrade,
}

/// A request whose response has to wait.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(super) head: KeptHead,
    pub(super) after: After,
    pub(super) need: Need,
    /// What the connection does after the response.
    pub(super) next: Next,
}

impl Responder {
    pub(crate) fn new(services: &Services, admin: Arc<Admin>, counts: Arc<WebCounts>) -> Self {
        let Services { sites, https_port, access_log, feed, names, stopping, peers: _ } = services.clone();
        let leases = sites.all().iter().map(|_| Leases::default()).collect();
        let verified = sites.all().iter().map(|_| Verified::default()).collect();
        let writer = Writer::new(counts, access_log);
        let (learned, view) = Default::default();
        Self { sites, https_port, admin, stopping, leases, verified, learned, feed, names, view, writer }
    }

    /// Drops the state of a connection whose request caused a panic.
    pub(crate) fn reset(&mut self) {
        self.writer.outbox = Outbox::default();
        self.learned.clear();
        self.view = None;
    }

    pub(super) fn stopping(&self) -> &AtomicBool {
        &self.stopping
    }

    /// Takes what was found since the last call.
    pub(crate) fn take_learned(&mut self) -> Vec<Learned> {
        std::mem::take(&mut self.learned)
    }

    /// Caches what was found, here or by another thread.
    pub(crate) fn learn(&mut self, learned: Vec<Learned>) {
        for Learned { site, fact } in learned {
            match fact {
                Fact::Lease(lease) => self.leases[site].keep(lease),
                Fact::Proof(proof) => self.verified[site].insert(proof, Instant::now()),
            }
        }
    }

    pub(crate) fn drop_revoked(&mut self) {
        self.leases.iter_mut().for_each(Leases::drop_revoked);
    }

    /// Whether the server is stopping. Then every response is the last on its connection.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Answers `bytes`, which are not a valid request or an incomplete one. The connection must end after it.
    pub(crate) fn refuse(&mut self, visitor: &Visitor, bad: BadRequest, bytes: &[u8]) {
        self.writer.push_bad_request(visitor, bad, !begins_with_head_method(bytes));
    }

    /// Writes the response to a request into the outbox, or returns what it has to wait for: then
    /// [`Responder::answer_deferred`] answers.
    pub(super) fn answer(&mut self, ask: Ask<'_>) -> Step {
        let head = ask.head;
        if ask.visitor.door == Door::Admin {
            return Step::Wait(Need::Metrics);
        }
        let index = self.sites.index_of(head.host);
        let site = &self.sites.all()[index];
        if let Some(port) = self.https_port
            && ask.visitor.needs_tls()
        {
            push_brief(&mut self.writer, site, None, ask, &Brief::https(head, port));
            return Step::Done;
        }
        if let Some(mut brief) = Brief::for_method(head.method) {
            brief.fields.to_mut().push_str(cors::preflight_fields(site.config.cors.as_ref(), head));
            push_brief(&mut self.writer, site, None, ask, &brief);
            return Step::Done;
        }
        let user = match &site.users {
            None => None,
            Some(users) => match access::cached(users, &mut self.verified[index], head) {
                Access::Granted(user) => Some(user),
                Access::Unknown => return Step::Wait(Need::Password { site: index }),
                Access::Refused(brief) => {
                    push_brief(&mut self.writer, site, None, ask, &brief);
                    return Step::Done;
                }
            },
        };
        self.answer_user(index, user, ask)
    }

    /// As [`Responder::answer`], for a user who may see the site.
    fn answer_user(&mut self, index: usize, user: Option<Box<str>>, ask: Ask<'_>) -> Step {
        let site = &self.sites.all()[index];
        let target = &ask.head.target;
        if !site.config.redirects.is_empty()
            && let Some((rule, location)) = redirected(&site.config.redirects, target.path)
        {
            let brief = Brief::redirect(rule.status, &location, target.query);
            push_brief(&mut self.writer, site, user.as_deref(), ask, &brief);
            return Step::Done;
        }
        let Some(asset) = self.leases[index].get(target.path) else {
            let brief = match site.page.as_ref().and_then(|page| page.service(target.path)) {
                None => return Step::Wait(Need::File { site: index, user }),
                Some(Service::Socket) => handshake(ask.head, ask.visitor),
                Some(Service::Owner) => return Step::Wait(Need::Owner),
                Some(Service::Flow) => match &self.feed {
                    Some(feed) if feed.shown_to == FlowAccess::Public => return Step::Wait(Need::Flow),
                    _ => Brief::new(
                        Status::Forbidden,
                        "this is shown at the address of --admin only, if at all (--flow)",
                    ),
                },
            };
            push_brief(&mut self.writer, site, user.as_deref(), ask, &brief);
            return if brief.status == Status::SwitchingProtocols { Step::Upgrade } else { Step::Done };
        };
        asset.touch();
        push_asset(&mut self.writer, site, user.as_deref(), ask, asset);
        Step::Done
    }

    /// Waits for what a response needs and writes it into the outbox. Returns what the connection does then.
    pub(super) fn answer_deferred(&mut self, deferred: Deferred, visitor: &Visitor) -> Next {
        let Deferred { head, after, mut need, next: then } = deferred;
        let ask = Ask { head: &head.head(), visitor, after };
        loop {
            let next = match need {
                Need::Metrics => self.answer_admin(ask),
                Need::Flow => self.answer_flow(ask),
                Need::Owner => self.answer_owner(ask),
                Need::Password { site } => self.check_password(site, ask),
                Need::File { site, user } => self.answer_file(site, user.as_deref(), ask),
            };
            match next {
                Step::Wait(next) => need = next,
                Step::Done => return then,
                Step::Upgrade => return Next::Upgrade,
            }
        }
    }

    fn answer_admin(&mut self, ask: Ask<'_>) -> Step {
        let request = Request { ask, user: None, fields: "", site_fields: "" };
        match self.admin.page(ask.head) {
            Ok((media_type, text)) => self.writer.push_text(&request, media_type, &text),
            Err(brief) if brief.status == Status::NotFound && self.feed.is_some() => {
                return self.answer_admin_page(&request, &brief);
            }
            Err(brief) => self.writer.push_brief(&request, &brief),
        }
        Step::Done
    }

    /// The page of the first site that has one, for its view of the feed. `missing` is the answer for other paths.
    fn answer_admin_page(&mut self, request: &Request<'_>, missing: &Brief<'static>) -> Step {
        let target = &request.ask.head.target;
        let Some(page) = self.sites.all().iter().find_map(|site| site.page.as_ref()) else {
            self.writer.push_brief(request, missing);
            return Step::Done;
        };
        if page.service(target.path) == Some(Service::Flow) {
            return Step::Wait(Need::Flow);
        }
        let flow = page.flow();
        let served =
            format!("only /metrics, /.well-known/switchboard/health, {flow}.html and {flow} are served here");
        let brief = match SitePath::decode(target.path, false)
            .ok()
            .and_then(|path| Some((page.find(&path)?, path)))
        {
            Some((Named::File(file), _)) => {
                self.writer.push_asset(request, &file);
                return Step::Done;
            }
            Some((Named::Prefix, path)) => {
                Brief::redirect(Status::PermanentRedirect, &path.directory_location(), target.query)
            }
            Some((Named::Nothing, _)) | None => Brief::new(Status::NotFound, &served),
        };
        self.writer.push_brief(request, &brief);
        Step::Done
    }

    /// Begins a stream of events, which [`Driver::wait`](super::Driver::wait) goes on with.
    fn answer_flow(&mut self, ask: Ask<'_>) -> Step {
        // Other origins must not read it, whatever the site allows them.
        let request =
            Request { ask: Ask { after: After::Close, ..ask }, user: None, fields: "", site_fields: "" };
        if let Some(reason) = flow::objection(ask.head, ask.visitor.door) {
            self.writer.push_brief(&request, &Brief::new(Status::Forbidden, reason));
            return Step::Done;
        }
        if ask.head.method == Method::Head {
            self.writer.push_events(&request);
            return Step::Done;
        }
        match self.feed.as_ref().and_then(FeedHandle::watch) {
            Some(view) => {
                self.writer.push_events(&request);
                self.view = Some(view);
            }
            None => self.writer.push_brief(&request, &Brief::busy()),
        }
        Step::Done
    }

    fn answer_owner(&mut self, ask: Ask<'_>) -> Step {
        // Other origins must not read it, whatever the site allows them.
        let request = Request { ask, user: None, fields: "", site_fields: "" };
        match owner::answer(&self.names, ask.head, ask.visitor.door) {
            Ok(text) => self.writer.push_text(&request, "application/json", &text),
            Err(brief) => self.writer.push_brief(&request, &brief),
        }
        Step::Done
    }

    fn check_password(&mut self, index: usize, ask: Ask<'_>) -> Step {
        let site = &self.sites.all()[index];
        match site.users.as_ref().map(|users| access::check(users, ask.head)).transpose() {
            Ok(proof) => {
                let user = proof.as_ref().map(|proof| proof.user.clone());
                self.learned.extend(proof.map(|proof| Learned { site: index, fact: Fact::Proof(proof) }));
                self.answer_user(index, user, ask)
            }
            Err(brief) => {
                push_brief(&mut self.writer, site, None, ask, &brief);
                Step::Done
            }
        }
    }

    fn answer_file(&mut self, index: usize, user: Option<&str>, ask: Ask<'_>) -> Step {
        let site = &self.sites.all()[index];
        match find(site, ask.head) {
            Ok(Answer { asset, is_lease, absence }) => {
                push_asset(&mut self.writer, site, user, ask, &asset);
                let path = ask.head.target.path;
                if is_lease && Leases::keeps(path) {
                    let lease = Lease { path: path.into(), asset, absence };
                    self.learned.push(Learned { site: index, fact: Fact::Lease(lease) });
                }
            }
            Err(brief) => push_brief(&mut self.writer, site, user, ask, &brief),
        }
        Step::Done
    }
}

fn push_asset(writer: &mut Writer, site: &Site, user: Option<&str>, ask: Ask<'_>, asset: &Asset) {
    let fields = cors::fields(site.config.cors.as_ref(), ask.head);
    writer.push_asset(&Request { ask, user, fields: &fields, site_fields: &site.fields }, asset);
}

fn push_brief(writer: &mut Writer, site: &Site, user: Option<&str>, ask: Ask<'_>, brief: &Brief<'_>) {
    let fields = cors::fields(site.config.cors.as_ref(), ask.head);
    writer.push_brief(&Request { ask, user, fields: &fields, site_fields: &site.fields }, brief);
}

/// Whether a request, however malformed or incomplete, has the method HEAD. No response to it has a body, not even a refusal
/// (RFC 9110, section 9.3.2). Empty lines before a request are ignored (RFC 9112, section 2.2).
fn begins_with_head_method(mut request: &[u8]) -> bool {
    while let Some(rest) = request.strip_prefix(b"\r\n") {
        request = rest;
    }
    request.starts_with(b"HEAD ")
}

/// What FileServer has for a request.
struct Answer {
    asset: Arc<Asset>,
    /// Whether the asset may be used again without asking.
    is_lease: bool,
    absence: Option<Absence>,
}

/// Asks FileServer, and waits for the answer. Paths below the prefix of the page name only files of the page.
fn find(site: &Site, head: &RequestHead<'_>) -> Result<Answer, Brief<'static>> {
    let target = &head.target;
    let path = match SitePath::decode(target.path, site.config.hidden_files) {
        Ok(path) => Some(path),
        Err(bad) if bad.status() == Status::NotFound => None,
        Err(bad) => return Err(Brief::new(bad.status(), "the path is malformed")),
    };
    let lease = |asset, absence| Ok(Answer { asset, is_lease: true, absence });
    let once = |asset| Ok(Answer { asset, is_lease: false, absence: None });
    if let (Some(page), Some(path)) = (&site.page, &path)
        && let Some(named) = page.find(path)
    {
        return match named {
            Named::File(asset) => lease(asset, None),
            Named::Prefix => {
                Err(Brief::redirect(Status::PermanentRedirect, &path.directory_location(), target.query))
            }
            Named::Nothing => Err(Brief::new(Status::NotFound, "the page has no such file")),
        };
    }
    match site.files.find(path).map_err(|_| Brief::busy())? {
        Found::Asset(asset) => lease(asset, None),
        Found::Nothing { page, absence } => lease(page, Some(absence)),
        Found::Listing { html, json } => once(if prefers_json(head.fields) { json } else { html }),
        Found::Busy(Some(page)) | Found::Failed(Some(page)) => once(page),
        Found::Redirect(location) => Err(Brief::redirect(Status::PermanentRedirect, &location, target.query)),
        Found::Refused => Err(Brief::new(Status::Forbidden, "this file is not served")),
        Found::Busy(None) => Err(Brief::busy()),
        Found::Failed(None) => Err(Brief::new(Status::InternalServerError, "the file could not be read")),
    }
}
