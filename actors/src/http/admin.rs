//! The health check and the metrics, which have an address of their own (`--admin`).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType::{self, Counter, Gauge};

use wire::http::{RequestHead, Status};

use super::brief::Brief;
use super::sites::Sites;
use crate::commands::gate::Gate;
use crate::commands::peer_counts::PeerCounts;
use crate::linux;
use crate::metrics::{self, CacheCounts, Count, Page, WebCounts, sum};

const HEALTH: &str = "/.well-known/switchboard/health";
const METRICS: &str = "/metrics";

/// The sources of the metrics.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) sites: Arc<Sites>,
    pub(crate) gate: Arc<Gate>,
    /// Those of each poller, and one for all sessions together.
    pub(crate) web: Vec<Arc<WebCounts>>,
    pub(crate) peers: Arc<PeerCounts>,
}

impl Admin {
    /// Media type and text of the requested page.
    ///
    /// A page of another site whose host name has been made to resolve to the admin address (DNS rebinding) is of the same origin
    /// for the browser, but sends its own name as Host. The admin address has no name of its own, so only IP addresses and
    /// `localhost` are accepted. The health check says nothing that such a page could use, so it is for everybody.
    pub(super) fn page(
        self: &Arc<Self>,
        head: &RequestHead<'_>,
    ) -> Result<(&'static str, String), Brief<'static>> {
        if let Some(brief) = Brief::for_method(head.method) {
            return Err(brief);
        }
        match head.target.path {
            HEALTH => Ok(("text/plain; charset=utf-8", "well\n".into())),
            _ if !head.host.is_none_or(has_no_name) => Err(Brief::new(
                Status::Forbidden,
                "at the address of --admin this is shown only under an IP address or localhost",
            )),
            METRICS => Ok((metrics::CONTENT_TYPE, metrics::page_text(Arc::clone(self)))),
            _ => Err(Brief::new(
                Status::NotFound,
                "only /metrics and /.well-known/switchboard/health are served here",
            )),
        }
    }

    fn push_web(&self, page: &mut Page<'_>) -> fmt::Result {
        let classes = [(1, "1xx"), (2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")];
        let requests =
            classes.map(|(digit, class)| (class, sum(&self.web, |counts| &counts.requests[digit])));
        let help = "Requests answered, by the first digit of their status.";
        page.by_label(Counter, "switchboard_http_requests", help, "status", requests)?;
        for (kind, name, help, count) in WEB_METRICS {
            page.value(kind, &format!("switchboard_{name}"), help, sum(&self.web, count))?;
        }
        let open = self.gate.open() as u64;
        page.value(Gauge, "switchboard_connections_open", "Connections open now.", open)
    }

    fn push_peers(&self, page: &mut Page<'_>) -> fmt::Result {
        let help = "How often a peer has reached a limit, by the option that sets it.";
        let reached = self.peers.reached();
        page.by_label(Counter, "switchboard_limit_reached", help, "limit", reached)?;
        for (kind, name, help, count) in PEER_METRICS {
            page.value(kind, &format!("switchboard_{name}"), help, count(&self.peers).get())?;
        }
        Ok(())
    }

    fn push_cache(&self, page: &mut Page<'_>) -> fmt::Result {
        for (kind, name, help, count) in CACHE_METRICS {
            let samples = self.sites.all().iter().map(|site| {
                let host = site.config.hosts.first().map_or("default", String::as_str);
                (host, count(&site.files.counts).get())
            });
            page.by_label(kind, &format!("switchboard_cache_{name}"), help, "site", samples)?;
        }
        Ok(())
    }
}

/// Whether a `Host` is an IP address or `localhost`.
fn has_no_name(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// Kind, name, help and source of a metric.
type Metric<C> = (MetricType, &'static str, &'static str, fn(&C) -> &Count);

const WEB_METRICS: [Metric<WebCounts>; 6] = [
    (Counter, "http_body_bytes", "Bytes of bodies sent.", |c| &c.body_bytes),
    (
        Counter,
        "http_waited",
        "Responses that had to wait for the disk or for a password to be checked.",
        |c| &c.waited,
    ),
    (
        Gauge,
        "sessions",
        "Threads that serve a peer or a response that waits, including the one that answers this.",
        |c| &c.sessions,
    ),
    (Counter, "connections", "Connections accepted.", |c| &c.accepted),
    (Counter, "connections_turned_away", "Connections refused because there were too many.", |c| {
        &c.turned_away
    }),
    (Counter, "connections_timed_out", "Connections closed because the client was too slow or idle.", |c| {
        &c.timed_out
    }),
];

const PEER_METRICS: [Metric<PeerCounts>; 6] = [
    (Counter, "mail_expired", "Stored envelopes that were dropped because nobody took them in time.", |c| {
        &c.expired
    }),
    (Gauge, "mail_bytes", "What stored mail takes up of --mail-bytes.", |c| &c.mail_bytes),
    (Gauge, "waiting_names", "Names with mail or waited for that nobody has joined under.", |c| {
        &c.waiting_names
    }),
    (Gauge, "cluster_connected", "1 while there is a connection to the NATS of --cluster.", |c| {
        &c.cluster_connected
    }),
    (Gauge, "cluster_servers", "Other servers of the cluster that are alive.", |c| &c.cluster_servers),
    (Gauge, "cluster_peers", "Peers that are connected to other servers of the cluster.", |c| {
        &c.cluster_peers
    }),
];

const CACHE_METRICS: [Metric<CacheCounts>; 7] = [
    (Counter, "hits", "Requests to FileServer answered from its cache.", |c| &c.hits),
    (Counter, "misses", "Files read.", |c| &c.misses),
    (Counter, "revocations", "Leases ended by a change.", |c| &c.revocations),
    (Counter, "evictions", "Leases ended to make room.", |c| &c.evictions),
    (Counter, "compressed", "Contents compressed.", |c| &c.compressed),
    (Gauge, "entries", "Files in the cache.", |c| &c.entries),
    (Gauge, "bytes", "Bytes of files in the cache.", |c| &c.bytes),
];

impl Collector for Admin {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.push_web(&mut page)?;
        self.push_peers(&mut page)?;
        let users = self.sites.all().iter().filter_map(|site| site.users.as_ref());
        let checked = users.map(|users| users.checked.get()).sum();
        let help = "Passwords of users of a site that were checked.";
        page.value(Counter, "switchboard_passwords_checked", help, checked)?;
        self.push_cache(&mut page)?;
        if let Some(bytes) = linux::resident_bytes() {
            page.value(Gauge, "process_resident_memory_bytes", "Resident memory in bytes.", bytes)?;
        }
        if let Some(descriptors) = linux::open_descriptors() {
            page.value(Gauge, "process_open_fds", "Open file descriptors.", descriptors as u64)?;
        }
        Ok(())
    }
}
