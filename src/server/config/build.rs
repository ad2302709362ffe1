//! From what all sources say together to what the server is told.

use std::collections::HashSet;
use std::net::SocketAddr;

use actors::Config;
use actors::config::{AccessLogConfig, CacheConfig, Limits, Listen};
use actors::site::{Cors, FieldRule, SiteConfig};

use super::file::NamedSite;
use super::options::{LogOptions, Options, ServerOptions, SiteOptions};
use super::problem::Problem;
use super::values::is_unix_path_short_enough;

/// Puts defaults where nothing was said. What does not go together is added to `problems`.
pub(super) fn build(options: Options, named: Vec<NamedSite>, problems: &mut Vec<Problem>) -> Config {
    let Options { server, site, log } = options;
    let default = Config::default();
    let limits = build_limits(&server, &default.limits);
    let ServerOptions { listen, data, cache_bytes, cache_entries, admin, .. } = server;
    let cache = CacheConfig {
        bytes: cache_bytes.unwrap_or(default.cache.bytes),
        entries: cache_entries.unwrap_or(default.cache.entries),
    };
    let listen = if listen.is_empty() { default.listen } else { listen };
    check_listen(&listen, admin, problems);
    let mut sites = vec![build_site(site, Vec::new(), problems)];
    sites.extend(named.into_iter().map(|named| build_site(named.options, named.hosts, problems)));
    Config {
        listen,
        data: data.unwrap_or(default.data),
        sites,
        limits,
        cache,
        access_log: build_access_log(log, problems),
        admin,
    }
}

fn build_limits(said: &ServerOptions, default: &Limits) -> Limits {
    let connections = said.sessions_max.unwrap_or(default.connections);
    let share = Limits::share_of_one_address(connections);
    Limits {
        connections,
        connections_per_address: said.connections_per_address.unwrap_or(share),
        head_timeout: said.head_timeout.unwrap_or(default.head_timeout),
        idle_timeout: said.idle_timeout.unwrap_or(default.idle_timeout),
        write_timeout: said.write_timeout.unwrap_or(default.write_timeout),
        unread_body_bytes: default.unread_body_bytes,
        linger: default.linger,
    }
}

fn build_site(said: SiteOptions, hosts: Vec<String>, problems: &mut Vec<Problem>) -> SiteConfig {
    SiteConfig {
        // A site with hosts has to have one; that was checked where it was read.
        root: said.root.unwrap_or_else(|| "www".into()),
        hosts,
        listing: said.listing.unwrap_or(false),
        hidden_files: said.hidden_files.unwrap_or(false),
        clean_urls: said.clean_urls.unwrap_or(false),
        spa: said.spa.unwrap_or(false),
        compression: said.compression.unwrap_or(true),
        fields: build_fields(said.header, said.cache_control),
        cors: build_cors(said.cors, problems),
        media_types: Vec::new(),
        redirects: said.redirect,
        users_file: said.users,
    }
}

/// Of rules for the same field the last that fits decides, so a `Cache-Control` for all paths comes first.
fn build_fields(header: Vec<FieldRule>, cache_control: Vec<FieldRule>) -> Vec<FieldRule> {
    let (some, all): (Vec<_>, Vec<_>) = cache_control.into_iter().partition(|rule| rule.paths.is_some());
    header.into_iter().chain(all).chain(some).collect()
}

fn build_cors(origins: Vec<String>, problems: &mut Vec<Problem>) -> Option<Cors> {
    match &origins[..] {
        [] => None,
        [only] if only == "*" => Some(Cors::Any),
        _ => {
            if origins.iter().any(|origin| origin == "*") {
                problems.push(Problem::whole("cors: * lets all origins read; leave out the others"));
            }
            Some(Cors::Origins(origins))
        }
    }
}

fn build_access_log(said: LogOptions, problems: &mut Vec<Problem>) -> Option<AccessLogConfig> {
    if said.access_log.is_none() && said.access_log_format.is_some() {
        problems.push(Problem::whole("access_log_format is of no use without access_log"));
    }
    let format = said.access_log_format.unwrap_or_default();
    said.access_log.map(|path| AccessLogConfig { path, format })
}

/// Places to listen at, and to answer questions at, have to be different. Port 0 is a different port each time.
fn check_listen(listen: &[Listen], admin: Option<SocketAddr>, problems: &mut Vec<Problem>) {
    let admin = admin.map(Listen::Address);
    let mut seen = HashSet::new();
    for place in listen.iter().chain(&admin) {
        let is_any_port = matches!(place, Listen::Address(address) if address.port() == 0);
        // Two sockets of one name with different modes are one socket.
        let what = super::summary::listen_name(place);
        if !is_any_port && !seen.insert(what.clone()) {
            problems.push(Problem::whole(format!("listen: {what} is taken twice")));
        }
        if let Listen::Unix { path, .. } = place
            && !is_unix_path_short_enough(path)
        {
            problems.push(Problem::whole(format!("listen: {what} is too long a path for a Unix socket")));
        }
    }
}
