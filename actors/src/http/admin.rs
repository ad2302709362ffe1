//! Health and metrics, on an address of their own (`--admin`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use wire::http::{RequestHead, Status};

use super::brief::Brief;
use super::sites::Sites;
use crate::commands::cache_counts::CacheCounts;
use crate::commands::credentials::CredentialsHandle;
use crate::commands::gate::Gate;
use crate::linux;
use crate::metrics::{self, Page, WebCounts, sum};

const HEALTH: &str = "/.well-known/switchboard/health";
const METRICS: &str = "/metrics";

/// Everything that the metrics are read from.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) sites: Arc<Sites>,
    pub(crate) gate: Arc<Gate>,
    /// One for each poller, and one for all sessions together.
    pub(crate) web: Vec<Arc<WebCounts>>,
}

impl Admin {
    /// The media type and the text of the page that a request asks for.
    pub(super) fn page(
        self: &Arc<Self>,
        head: &RequestHead<'_>,
    ) -> Result<(&'static str, String), Brief<'static>> {
        if let Some(brief) = Brief::for_method(head.method) {
            return Err(brief);
        }
        match head.target.path {
            HEALTH => Ok(("text/plain; charset=utf-8", "well\n".into())),
            METRICS => Ok((metrics::CONTENT_TYPE, metrics::page_text(Arc::clone(self)))),
            _ => Err(Brief::new(
                Status::NotFound,
                "only /metrics and /.well-known/switchboard/health are served here",
            )),
        }
    }

    fn web(&self, counter: fn(&WebCounts) -> &AtomicU64) -> u64 {
        sum(&self.web, counter)
    }

    fn push_web(&self, page: &mut Page<'_>) -> fmt::Result {
        let classes = [(2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")];
        let requests =
            classes.map(|(digit, class)| (class, sum(&self.web, |counts| &counts.requests[digit])));
        let help = "Requests answered, by the first digit of their status.";
        page.by_label(MetricType::Counter, "switchboard_http_requests", help, "status", requests)?;
        page.counter("switchboard_http_body_bytes", "Bytes of bodies sent.", self.web(|c| &c.body_bytes))?;
        let help = "Answers that had to wait for the disk or for a password to be checked.";
        page.counter("switchboard_http_waited", help, self.web(|c| &c.waited))?;
        let help = "Threads that serve a peer or an answer that waits, including the one that answers this.";
        page.gauge("switchboard_sessions", help, self.web(|c| &c.sessions))?;
        page.counter("switchboard_connections", "Connections accepted.", self.web(|c| &c.accepted))?;
        let help = "Connections refused because there were too many.";
        page.counter("switchboard_connections_turned_away", help, self.web(|c| &c.turned_away))?;
        let help = "Connections closed because the client was too slow or idle.";
        page.counter("switchboard_connections_timed_out", help, self.web(|c| &c.timed_out))?;
        page.gauge("switchboard_connections_open", "Connections open now.", self.gate.open() as u64)
    }

    fn push_cache(&self, page: &mut Page<'_>) -> fmt::Result {
        type Count = fn(&CacheCounts) -> u64;
        const METRICS: [(&str, MetricType, &str, Count); 7] = [
            ("hits", MetricType::Counter, "Requests to FileServer answered from its cache.", |c| c.hits()),
            ("misses", MetricType::Counter, "Files read.", |c| c.misses()),
            ("revocations", MetricType::Counter, "Leases ended by a change.", |c| c.revocations()),
            ("evictions", MetricType::Counter, "Leases ended to make room.", |c| c.evictions()),
            ("compressed", MetricType::Counter, "Contents compressed.", |c| c.compressed()),
            ("entries", MetricType::Gauge, "Files in the cache.", |c| c.entries()),
            ("bytes", MetricType::Gauge, "Bytes of files in the cache.", |c| c.bytes()),
        ];
        for (name, kind, help, count) in METRICS {
            let samples = self.sites.all().iter().map(|site| {
                let host = site.config.hosts.first().map_or("default", String::as_str);
                (host, count(site.files.counts()))
            });
            page.by_label(kind, &format!("switchboard_cache_{name}"), help, "site", samples)?;
        }
        Ok(())
    }
}

impl Collector for Admin {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.push_web(&mut page)?;
        let users = self.sites.all().iter().filter_map(|site| site.users.as_ref());
        let help = "Passwords of users of a site that were checked.";
        page.counter("switchboard_passwords_checked", help, users.map(CredentialsHandle::checked).sum())?;
        self.push_cache(&mut page)?;
        if let Some(bytes) = linux::resident_bytes() {
            page.gauge("process_resident_memory_bytes", "Resident memory in bytes.", bytes)?;
        }
        if let Some(descriptors) = linux::open_descriptors() {
            page.gauge("process_open_fds", "Open file descriptors.", descriptors as u64)?;
        }
        Ok(())
    }
}
