//! From the options of all sources to what the actors are told.

use std::collections::HashSet;

use actors::Config;
use actors::config::{AccessLogConfig, CacheConfig, Limits, Listen};
use actors::site::{Cors, FieldRule, SiteConfig};

use super::file::{NamedSite, SiteTable};
use super::options::{LogOptions, Options, ServerOptions, SiteOptions};
use super::shown;
use super::values::is_unix_path_short_enough;

/// Adds what contradicts itself to `problems`.
pub(super) fn build(options: Options, named: Vec<NamedSite>, problems: &mut Vec<String>) -> Config {
    let Options { server, site, log } = options;
    let default = SiteTable { hosts: Vec::new(), options: site };
    let sites = std::iter::once(default).chain(named.into_iter().map(|site| site.table));
    let config = Config {
        limits: limits(&server),
        listen: server.listen,
        data: server.data,
        sites: sites.map(|site| build_site(site.options, site.hosts, problems)).collect(),
        cache: CacheConfig { bytes: server.cache_bytes, entries: server.cache_entries },
        http_threads: server.http_threads,
        access_log: access_log(log, problems),
        admin: server.admin,
    };
    check_listen(&config, problems);
    config
}

fn limits(options: &ServerOptions) -> Limits {
    let connections = options.sessions_max;
    let share = Limits::share_of_one_address(connections);
    Limits {
        connections,
        connections_per_address: options.connections_per_address.unwrap_or(share),
        head_timeout: options.head_timeout,
        idle_timeout: options.idle_timeout,
        write_timeout: options.write_timeout,
        ..Limits::default()
    }
}

fn build_site(options: SiteOptions, hosts: Vec<String>, problems: &mut Vec<String>) -> SiteConfig {
    SiteConfig {
        root: options.root,
        hosts,
        listing: options.listing,
        hidden_files: options.hidden_files,
        clean_urls: options.clean_urls,
        spa: options.spa,
        compression: options.compression,
        fields: fields(options.rules.header, options.rules.cache_control),
        cors: cors(options.cors, problems),
        media_types: options.media_type,
        redirects: options.rules.redirect,
        users_file: options.users,
    }
}

/// Of the rules for one field the last that matches decides, so a `Cache-Control` for all paths goes first.
fn fields(header: Vec<FieldRule>, cache_control: Vec<FieldRule>) -> Vec<FieldRule> {
    let (some, all): (Vec<_>, Vec<_>) = cache_control.into_iter().partition(|rule| rule.paths.is_some());
    header.into_iter().chain(all).chain(some).collect()
}

fn cors(origins: Vec<String>, problems: &mut Vec<String>) -> Option<Cors> {
    if origins.is_empty() {
        return None;
    }
    if !origins.iter().any(|origin| origin == "*") {
        return Some(Cors::Origins(origins));
    }
    if origins.len() > 1 {
        problems.push("cors: * allows every origin; leave out the others".to_owned());
    }
    Some(Cors::Any)
}

fn access_log(options: LogOptions, problems: &mut Vec<String>) -> Option<AccessLogConfig> {
    if options.access_log.is_none() && options.access_log_format.is_some() {
        problems.push("access_log_format has no effect without access_log".to_owned());
    }
    let format = options.access_log_format.unwrap_or_default();
    options.access_log.map(|path| AccessLogConfig { path, format })
}

/// Addresses to listen on, with that of the metrics, have to be different. Port 0 is a different port each time.
fn check_listen(config: &Config, problems: &mut Vec<String>) {
    let admin = config.admin.map(Listen::Address);
    let mut seen = HashSet::new();
    for listen in config.listen.iter().chain(&admin) {
        // Two sockets of one name with different modes are one socket.
        let name = match listen {
            Listen::Address(address) => address.to_string(),
            Listen::Unix { path, .. } => format!("unix:{}", shown(path)),
            Listen::Inherited => "systemd".to_owned(),
        };
        if let Listen::Unix { path, .. } = listen
            && !is_unix_path_short_enough(path)
        {
            problems.push(format!("listen: {name} is too long a path for a Unix socket"));
        }
        let is_any_port = matches!(listen, Listen::Address(address) if address.port() == 0);
        if !is_any_port && !seen.insert(name.clone()) {
            problems.push(format!("listen: {name} is given twice"));
        }
    }
}
