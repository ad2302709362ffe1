//! What each request is answered with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use wire::http::{BadRequest, RequestHead, SitePath, Status, prefers_json};

use super::access::{self, Access, Proof};
use super::admin::Admin;
use super::brief::Brief;
use super::cors;
use super::leases::{Lease, Leases};
use super::outbox::Outbox;
use super::sites::{Site, Sites, redirected};
use super::verified::Verified;
use super::writer::{After, Request, Writer};
use crate::commands::absence::Absence;
use crate::commands::access_log::AccessLogHandle;
use crate::commands::asset::Asset;
use crate::commands::connection::{Door, Visitor};
use crate::commands::file_server::Found;
use crate::metrics::WebCounts;

/// Answers requests: those of all connections of a poller, or the one that a session waits for.
pub(crate) struct Responder {
    sites: Arc<Sites>,
    admin: Arc<Admin>,
    stopping: Arc<AtomicBool>,
    /// Whether answers may wait, or are to be [`Answered::MustWait`].
    may_wait: bool,
    /// For each site.
    leases: Vec<Leases>,
    /// For each site, who has proved who they are.
    verified: Vec<Verified>,
    learned: Vec<Learned>,
    writer: Writer,
}

/// What has been found out about a request, for the thread that answers it or the next one like it.
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
    Proof(String, Proof),
}

/// Whether a request has its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It is in the outbox.
    Done,
    /// It has to wait for something. Nothing has been done yet.
    MustWait,
}

impl Responder {
    pub(crate) fn new(
        sites: Arc<Sites>,
        admin: Arc<Admin>,
        stopping: Arc<AtomicBool>,
        counts: Arc<WebCounts>,
        log: Option<AccessLogHandle>,
        may_wait: bool,
    ) -> Self {
        let leases = sites.all().iter().map(|_| Leases::default()).collect();
        let verified = sites.all().iter().map(|_| Verified::default()).collect();
        let writer = Writer::new(counts, log);
        Self { sites, admin, stopping, may_wait, leases, verified, learned: Vec::new(), writer }
    }

    /// What has been answered and not been written.
    pub(crate) fn outbox(&mut self) -> &mut Outbox {
        &mut self.writer.outbox
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

    /// Takes over what another thread has found out.
    pub(crate) fn learn(&mut self, learned: Vec<Learned>) {
        for Learned { site, fact } in learned {
            match fact {
                Fact::Lease(lease) => self.leases[site].keep(lease),
                Fact::Proof(user, proof) => proof.note(&mut self.verified[site], &user),
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

    /// Answers a request, into the outbox.
    pub(crate) fn answer(&mut self, head: &RequestHead<'_>, visitor: &Visitor, after: After) -> Answered {
        if visitor.door == Door::Admin {
            // Adding up takes a while.
            if !self.may_wait {
                return Answered::MustWait;
            }
            let request = Request { head, visitor, after, user: None, fields: "", site_fields: "" };
            match self.admin.page(head) {
                Ok((media_type, text)) => self.writer.push_text(&request, media_type, &text),
                Err(brief) => self.writer.push_brief(&request, &brief),
            }
            return Answered::Done;
        }
        let index = self.sites.index_of(head.host);
        let site = &self.sites.all()[index];
        let cors = site.config.cors.as_ref();
        let fields = cors::fields(cors, head);
        let mut request =
            Request { head, visitor, after, user: None, fields: &fields, site_fields: site.fields() };
        if let Some(mut brief) = Brief::for_method(head.method) {
            brief.fields.to_mut().push_str(cors::preflight_fields(cors, head));
            self.writer.push_brief(&request, &brief);
            return Answered::Done;
        }
        let mut granted = None;
        if let Some(users) = &site.users {
            match access::check(users, &mut self.verified[index], head, self.may_wait) {
                Access::Granted { user, proof, is_new } => {
                    if is_new {
                        self.learned.push(Learned { site: index, fact: Fact::Proof(user.clone(), proof) });
                    }
                    granted = Some((user, proof));
                }
                Access::Refused(brief) => {
                    self.writer.push_brief(&request, &brief);
                    return Answered::Done;
                }
                Access::MustWait => return Answered::MustWait,
            }
            request.user = granted.as_ref().map(|(user, _)| user.as_str());
        }
        let path = head.target.path;
        if !site.config.redirects.is_empty()
            && let Some((rule, location)) = redirected(&site.config.redirects, path)
        {
            self.writer.push_brief(&request, &Brief::redirect(rule.status, &location, head.target.query));
            return Answered::Done;
        }
        if let Some(asset) = self.leases[index].get(path) {
            asset.touch();
            self.writer.push_asset(&request, asset);
            return Answered::Done;
        }
        if !self.may_wait {
            // The session need not check the password again.
            let proof = granted.map(|(user, proof)| Learned { site: index, fact: Fact::Proof(user, proof) });
            self.learned.extend(proof);
            return Answered::MustWait;
        }
        match find(site, &request) {
            Ok(Answer { asset, is_lease, absence }) => {
                self.writer.push_asset(&request, &asset);
                if is_lease && Leases::keeps(path) {
                    let lease = Lease { path: path.into(), asset, absence };
                    self.learned.push(Learned { site: index, fact: Fact::Lease(lease) });
                }
            }
            Err(brief) => self.writer.push_brief(&request, &brief),
        }
        Answered::Done
    }
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
fn find(site: &Site, request: &Request<'_>) -> Result<Answer, Brief<'static>> {
    let target = &request.head.target;
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
        Found::Listing { html, json } => once(if prefers_json(request.head.fields) { json } else { html }),
        Found::Busy(Some(page)) | Found::Failed(Some(page)) => once(page),
        Found::Redirect(location) => Err(Brief::redirect(Status::PermanentRedirect, &location, target.query)),
        Found::Refused => Err(Brief::new(Status::Forbidden, "this is not for the web")),
        Found::Busy(None) => Err(Brief::busy()),
        Found::Failed(None) => Err(Brief::new(Status::InternalServerError, "the file could not be read")),
    }
}
