//! What each request is answered with.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use wire::http::{BadRequest, KeptHead, RequestHead, SitePath, Status, prefers_json};

use super::access::{self, Access, Proof};
use super::admin::Admin;
use super::brief::Brief;
use super::connection::Next;
use super::leases::{Lease, Leases};
use super::outbox::{Outbox, Written};
use super::sites::{Site, Sites, redirected};
use super::verified::Verified;
use super::writer::{After, Ask, Request, Writer};
use super::{Services, cors};
use crate::commands::absence::Absence;
use crate::commands::asset::Asset;
use crate::commands::connection::{Door, Visitor};
use crate::commands::file_server::Found;
use crate::metrics::WebCounts;
use crate::transport::{Patience, Transport};

/// Answers requests: those of all connections of a poller, or of a session thread.
pub(crate) struct Responder {
    sites: Arc<Sites>,
    admin: Arc<Admin>,
    stopping: Arc<AtomicBool>,
    /// For each site.
    leases: Vec<Leases>,
    /// For each site, who has proved who they are.
    verified: Vec<Verified>,
    learned: Vec<Learned>,
    writer: Writer,
}

/// What was found out while an answer waited, so that the next one like it need not wait.
#[derive(Debug)]
pub(crate) struct Learned {
    site: usize,
    fact: Fact,
}

#[derive(Debug)]
enum Fact {
    /// What a path names.
    Lease(Lease),
    /// Who somebody is.
    Proof(Proof),
}

/// What an answer has to wait for. `site` is a place in [`Sites::all`].
#[derive(Debug)]
pub(super) enum Need {
    /// All counts are added up.
    Metrics,
    /// A password is checked.
    Password { site: usize },
    /// FileServer says what the path names.
    File { site: usize, user: Option<String> },
}

/// A request whose answer has to wait.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(super) head: KeptHead,
    pub(super) after: After,
    pub(super) need: Need,
    /// What the connection does behind the answer.
    pub(super) next: Next,
}

impl Responder {
    pub(crate) fn new(services: &Services, admin: Arc<Admin>, counts: Arc<WebCounts>) -> Self {
        let Services { sites, access_log, stopping } = services.clone();
        let leases = sites.all().iter().map(|_| Leases::default()).collect();
        let verified = sites.all().iter().map(|_| Verified::default()).collect();
        let writer = Writer::new(counts, access_log);
        Self { sites, admin, stopping, leases, verified, learned: Vec::new(), writer }
    }

    /// What has been answered and not been written.
    pub(super) fn outbox(&mut self) -> &mut Outbox {
        &mut self.writer.outbox
    }

    /// Writes what is in the outbox.
    pub(super) fn write(&mut self, transport: &Transport, patience: Patience) -> io::Result<Written> {
        self.writer.write(transport, patience)
    }

    /// Forgets what is in the outbox because its connection ends.
    pub(super) fn cut(&mut self, visitor: &Visitor, transport: &Transport) {
        self.writer.cut(visitor, transport);
    }

    /// Forgets what belongs to a connection that has failed.
    pub(crate) fn reset(&mut self) {
        self.writer.outbox = Outbox::default();
        self.learned.clear();
    }

    pub(crate) fn counts(&self) -> &WebCounts {
        &self.writer.counts
    }

    /// Tells the time for the answers to come.
    pub(crate) fn set_time(&mut self, now: SystemTime) {
        self.writer.set_time(now);
    }

    /// Hands over what is to be written down about the answers so far.
    pub(crate) fn flush_log(&mut self) {
        self.writer.flush_log();
    }

    /// What has been found out since this was last asked.
    pub(crate) fn take_learned(&mut self) -> Vec<Learned> {
        std::mem::take(&mut self.learned)
    }

    /// Takes over what was found out, here or by another thread.
    pub(crate) fn learn(&mut self, learned: Vec<Learned>) {
        for Learned { site, fact } in learned {
            match fact {
                Fact::Lease(lease) => self.leases[site].keep(lease),
                Fact::Proof(proof) => proof.note(&mut self.verified[site]),
            }
        }
    }

    /// Lets go of what will not be sent again.
    pub(crate) fn drop_revoked(&mut self) {
        self.leases.iter_mut().for_each(Leases::drop_revoked);
    }

    /// Whether every answer is to be the last on its connection.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Answers `bytes`, which are no request, or not yet; the connection ends after it.
    pub(crate) fn refuse(&mut self, visitor: &Visitor, bad: BadRequest, bytes: &[u8]) {
        self.writer.push_bad_request(visitor, bad, !begins_with_head_method(bytes));
    }

    /// Answers a request, into the outbox, unless that has to wait for something: then [`Responder::answer_deferred`] gives
    /// the answer.
    pub(super) fn answer(&mut self, ask: Ask<'_>) -> Option<Need> {
        let head = ask.head;
        if ask.visitor.door == Door::Admin {
            return Some(Need::Metrics);
        }
        let index = self.sites.index_of(head.host);
        let site = &self.sites.all()[index];
        if let Some(mut brief) = Brief::for_method(head.method) {
            brief.fields.to_mut().push_str(cors::preflight_fields(site.config.cors.as_ref(), head));
            push_brief(&mut self.writer, site, None, ask, &brief);
            return None;
        }
        let user = match &site.users {
            None => None,
            Some(users) => match access::known(users, &mut self.verified[index], head) {
                Access::Granted(user) => Some(user),
                Access::Unknown => return Some(Need::Password { site: index }),
                Access::Refused(brief) => {
                    push_brief(&mut self.writer, site, None, ask, &brief);
                    return None;
                }
            },
        };
        self.answer_user(index, user, ask)
    }

    /// Answers a request of somebody who may see the site, from what is known, or says what that needs.
    fn answer_user(&mut self, index: usize, user: Option<String>, ask: Ask<'_>) -> Option<Need> {
        let site = &self.sites.all()[index];
        let target = &ask.head.target;
        if !site.config.redirects.is_empty()
            && let Some((rule, location)) = redirected(&site.config.redirects, target.path)
        {
            let brief = Brief::redirect(rule.status, &location, target.query);
            push_brief(&mut self.writer, site, user.as_deref(), ask, &brief);
            return None;
        }
        let Some(asset) = self.leases[index].get(target.path) else {
            return Some(Need::File { site: index, user });
        };
        asset.touch();
        push_asset(&mut self.writer, site, user.as_deref(), ask, asset);
        None
    }

    /// Waits for what an answer needs, and gives it, into the outbox. Returns what the connection does then.
    pub(super) fn answer_deferred(&mut self, deferred: Deferred, visitor: &Visitor) -> Next {
        let Deferred { head, after, mut need, next: then } = deferred;
        let ask = Ask { head: &head.head(), visitor, after };
        loop {
            let next = match need {
                Need::Metrics => self.answer_admin(ask),
                Need::Password { site } => self.check_password(site, ask),
                Need::File { site, user } => self.answer_file(site, user.as_deref(), ask),
            };
            match next {
                Some(next) => need = next,
                None => return then,
            }
        }
    }

    fn answer_admin(&mut self, ask: Ask<'_>) -> Option<Need> {
        let request = Request { ask, user: None, fields: "", site_fields: "" };
        match self.admin.page(ask.head) {
            Ok((media_type, text)) => self.writer.push_text(&request, media_type, &text),
            Err(brief) => self.writer.push_brief(&request, &brief),
        }
        None
    }

    fn check_password(&mut self, index: usize, ask: Ask<'_>) -> Option<Need> {
        let site = &self.sites.all()[index];
        let checked = site.users.as_ref().map(|users| access::check(users, ask.head)).transpose();
        match checked {
            Ok(checked) => {
                let (user, proof) = checked.unzip();
                self.learned.extend(proof.map(|proof| Learned { site: index, fact: Fact::Proof(proof) }));
                self.answer_user(index, user, ask)
            }
            Err(brief) => {
                push_brief(&mut self.writer, site, None, ask, &brief);
                None
            }
        }
    }

    fn answer_file(&mut self, index: usize, user: Option<&str>, ask: Ask<'_>) -> Option<Need> {
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
        None
    }
}

fn push_asset(writer: &mut Writer, site: &Site, user: Option<&str>, ask: Ask<'_>, asset: &Asset) {
    let fields = cors::fields(site.config.cors.as_ref(), ask.head);
    writer.push_asset(&Request { ask, user, fields: &fields, site_fields: site.fields() }, asset);
}

fn push_brief(writer: &mut Writer, site: &Site, user: Option<&str>, ask: Ask<'_>, brief: &Brief<'_>) {
    let fields = cors::fields(site.config.cors.as_ref(), ask.head);
    writer.push_brief(&Request { ask, user, fields: &fields, site_fields: site.fields() }, brief);
}

/// Whether a request, complete or not and however malformed behind its method, is a HEAD: no answer to that has a body, not
/// even a refusal (RFC 9110, section 9.3.2). Empty lines before a request do not count (RFC 9112, section 2.2).
fn begins_with_head_method(mut request: &[u8]) -> bool {
    while let Some(rest) = request.strip_prefix(b"\r\n") {
        request = rest;
    }
    request.starts_with(b"HEAD ")
}

/// What FileServer has for a request.
struct Answer {
    asset: Arc<Asset>,
    /// Whether it may be given again without asking.
    is_lease: bool,
    absence: Option<Absence>,
}

/// Asks FileServer, and waits for it.
fn find(site: &Site, head: &RequestHead<'_>) -> Result<Answer, Brief<'static>> {
    let target = &head.target;
    let path = match SitePath::decode(target.path, site.config.hidden_files) {
        Ok(path) => Some(path),
        Err(bad) if bad.status() == Status::NotFound => None,
        Err(bad) => return Err(Brief::new(bad.status(), "the path is malformed")),
    };
    let lease = |asset, absence| Ok(Answer { asset, is_lease: true, absence });
    let once = |asset| Ok(Answer { asset, is_lease: false, absence: None });
    match site.files.find(path).map_err(|_| Brief::busy())? {
        Found::Asset(asset) => lease(asset, None),
        Found::Nothing { page, absence } => lease(page, Some(absence)),
        Found::Listing { html, json } => once(if prefers_json(head.fields) { json } else { html }),
        Found::Busy(Some(page)) | Found::Failed(Some(page)) => once(page),
        Found::Redirect(location) => Err(Brief::redirect(Status::PermanentRedirect, &location, target.query)),
        Found::Refused => Err(Brief::new(Status::Forbidden, "this is not for the web")),
        Found::Busy(None) => Err(Brief::busy()),
        Found::Failed(None) => Err(Brief::new(Status::InternalServerError, "the file could not be read")),
    }
}
