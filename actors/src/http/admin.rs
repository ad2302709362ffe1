//! What the server tells about itself, on an address of its own.

use std::sync::Arc;

use wire::http::{RequestHead, Status};

use super::brief::Brief;
use super::sites::Sites;
use crate::commands::cache_counts::CacheCounts;
use crate::commands::credentials::CredentialsHandle;
use crate::commands::gate::Gate;
use crate::linux;
use crate::metrics::{Page, WebCounts, sum};

/// Where it says whether it is well.
const HEALTH: &str = "/.well-known/switchboard/health";
/// Where its counts are.
const METRICS: &str = "/metrics";

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) sites: Arc<Sites>,
    pub(crate) gate: Arc<Gate>,
    /// Of the pollers, and of all sessions together.
    pub(crate) web: Vec<Arc<WebCounts>>,
}

impl Admin {
    /// The page at a path with its media type.
    pub(super) fn page(&self, head: &RequestHead<'_>) -> Result<(&'static str, String), Brief<'static>> {
        if let Some(brief) = Brief::for_method(head.method) {
            return Err(brief);
        }
        match head.target.path {
            HEALTH => Ok(("text/plain; charset=utf-8", "well\n".into())),
            METRICS => Ok(("text/plain; version=0.0.4; charset=utf-8", self.metrics())),
            _ => Err(Brief::new(
                Status::NotFound,
                "there are only /metrics and /.well-known/switchboard/health here",
            )),
        }
    }

    fn metrics(&self) -> String {
        let mut page = Page::default();
        let name = "switchboard_http_requests_total";
        page.begin(name, "Requests answered, by the first digit of their status.", "counter");
        for (digit, class) in [(2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")] {
            page.sample(name, &[("status", class)], sum(&self.web, |counts| &counts.requests[digit]));
        }
        let web = |of: fn(&WebCounts) -> &std::sync::atomic::AtomicU64| sum(&self.web, of);
        page.counter("switchboard_http_body_bytes_total", "Bytes of bodies sent.", web(|c| &c.body_bytes));
        let help = "Times that an answer had to wait for the disk or a password.";
        page.counter("switchboard_http_waited_total", help, web(|c| &c.waited));
        let help = "Threads that serve a peer or an answer that waits, this one among them.";
        page.gauge("switchboard_sessions", help, web(|c| &c.sessions));
        page.counter("switchboard_connections_total", "Connections accepted.", web(|c| &c.accepted));
        let help = "Connections turned away because there were too many.";
        page.counter("switchboard_connections_turned_away_total", help, web(|c| &c.turned_away));
        let help = "Connections ended because their client was too slow or idle.";
        page.counter("switchboard_connections_timed_out_total", help, web(|c| &c.timed_out));
        page.gauge("switchboard_connections_open", "Connections open now.", self.gate.open());
        let users = self.sites.all().iter().filter_map(|site| site.users.as_ref());
        let help = "Passwords of users of a site that were checked.";
        let checked: u64 = users.map(CredentialsHandle::checked).sum();
        page.counter("switchboard_passwords_checked_total", help, checked);
        self.push_cache(&mut page);
        if let Some(bytes) = linux::resident_bytes() {
            page.gauge("process_resident_memory_bytes", "Resident memory in bytes.", bytes);
        }
        if let Some(descriptors) = linux::open_descriptors() {
            page.gauge("process_open_fds", "Open file descriptors.", descriptors);
        }
        page.into_text()
    }

    fn push_cache(&self, page: &mut Page) {
        type Count = fn(&CacheCounts) -> u64;
        let metrics: [(&str, &str, &str, Count); 7] = [
            ("hits_total", "counter", "Questions to FileServer answered from its cache.", |c| c.hits()),
            ("misses_total", "counter", "Files read.", |c| c.misses()),
            ("revocations_total", "counter", "Leases ended by a change.", |c| c.revocations()),
            ("evictions_total", "counter", "Leases ended to make room.", |c| c.evictions()),
            ("compressed_total", "counter", "Contents compressed.", |c| c.compressed()),
            ("entries", "gauge", "Files kept.", |c| c.entries()),
            ("bytes", "gauge", "Bytes kept in memory.", |c| c.bytes()),
        ];
        for (name, kind, help, count) in metrics {
            let name = format!("switchboard_cache_{name}");
            page.begin(&name, help, kind);
            for site in self.sites.all() {
                let host = site.config.hosts.first().map_or("default", String::as_str);
                page.sample(&name, &[("site", host)], count(site.files.counts()));
            }
        }
    }
}
