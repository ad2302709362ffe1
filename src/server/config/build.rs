//! From the options to the configuration of the actors.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use actors::Config;
use actors::config::{
    AccessLogConfig, CacheConfig, ClusterConfig, FlowAccess, Limits, Listen, PeerLimits, Quota,
};
use actors::site::{Cors, SiteConfig};
use actors::tls::TlsFiles;

use super::options::{Flow, Options, ServerOptions, SiteOptions};
use super::place::{At, Report};
use super::shown;
use super::site_values::Origin;
use super::values::{Setting, is_unix_path_short_enough};

/// Reports options that contradict each other.
pub(super) fn build(options: Options, report: &mut Report<'_>) -> Config {
    let Options { server, site, sites, origins: _, places: _ } = options;
    let config = Config {
        limits: limits(&server),
        peers: peers(&server),
        access_log: access_log(&server, report),
        tls: certificates(&server, &sites, report),
        redirect_to_https: server.redirect_to_https,
        sites: build_sites(site, sites, report),
        cluster: cluster(&server, report),
        listen: values(server.listen),
        data: server.data,
        members: server.members,
        cache: CacheConfig { bytes: server.cache_bytes.value, entries: server.cache_entries.get() },
        http_threads: server.http_threads,
        admin: server.admin,
        flow: match server.flow {
            Flow::Admin => Some(FlowAccess::Admin),
            Flow::Public => Some(FlowAccess::Public),
            Flow::Off => None,
        },
    };
    check_listen(&config, report);
    config
}

fn values<T>(settings: Vec<Setting<T>>) -> Vec<T> {
    settings.into_iter().map(|setting| setting.value).collect()
}

/// The pairs of certificates and keys of the server, or of a site with these hosts.
fn pairs(
    (certificates, keys): (&[PathBuf], &[PathBuf]),
    site: Option<usize>,
    hosts: &[String],
    report: &mut Report<'_>,
) -> Vec<TlsFiles> {
    if certificates.len() != keys.len() {
        let of_site = hosts.first().map_or_else(String::new, |host| format!("the site {host}: "));
        let counts = (certificates.len(), keys.len());
        let key = if counts.0 > counts.1 { "tls_cert" } else { "tls_key" };
        report.add(
            // The first one without the other.
            At(site, key, counts.0.min(counts.1)),
            format_args!(
                "{of_site}tls_cert is given {} time(s) and tls_key {}; each certificate needs its key",
                counts.0, counts.1
            ),
        );
    }
    let pairs = certificates.iter().cloned().zip(keys.iter().cloned());
    pairs.map(|(certificate, key)| TlsFiles { certificate, key, hosts: hosts.to_vec() }).collect()
}

fn certificates(options: &ServerOptions, sites: &[SiteOptions], report: &mut Report<'_>) -> Vec<TlsFiles> {
    let mut all = pairs((&options.tls_cert, &options.tls_key), None, &[], report);
    for (number, site) in sites.iter().enumerate() {
        let hosts: Vec<String> = site.hosts.iter().map(|host| host.value.0.clone()).collect();
        all.extend(pairs((&site.tls_cert, &site.tls_key), Some(number), &hosts, report));
    }
    let used = options.listen.iter().position(|listen| matches!(listen.value, Listen::Tls(_)));
    if let Some(number) = used
        && all.is_empty()
        && options.tls_cert.is_empty()
        && options.tls_key.is_empty()
    {
        report.add(
            At(None, "listen", number),
            "listen: tls: needs tls_cert and tls_key; server --make-certificate NAME makes a certificate",
        );
    }
    if used.is_none() && !all.is_empty() {
        let site =
            options.tls_cert.is_empty().then(|| sites.iter().position(|site| !site.tls_cert.is_empty()));
        report.add(At(site.flatten(), "tls_cert", 0), "tls_cert has no effect without listen tls:ADDR:PORT");
    }
    if used.is_none() && options.redirect_to_https {
        let key = "redirect_to_https";
        report.add(At::key(key), format_args!("{key} has no effect without listen tls:ADDR:PORT"));
    }
    all
}

fn cluster(options: &ServerOptions, report: &mut Report<'_>) -> Option<ClusterConfig> {
    if options.cluster.is_empty() && options.cluster_credentials.is_some() {
        report.add(At::key("cluster_credentials"), "cluster_credentials has no effect without cluster");
    }
    if options.cluster.is_empty() && options.advertise.is_some() {
        report.add(At::key("advertise"), "advertise has no effect without cluster");
    }
    (!options.cluster.is_empty()).then(|| ClusterConfig {
        servers: options.cluster.iter().map(|url| url.value.0.clone()).collect(),
        name: options.cluster_name.value.0.clone(),
        credentials: options.cluster_credentials.clone(),
        advertise: options.advertise.as_ref().map(|advertise| advertise.value.0.clone()),
    })
}

fn limits(options: &ServerOptions) -> Limits {
    let connections = options.sessions_max.get();
    let share = Limits::share_of_one_address(connections);
    Limits {
        connections,
        connections_per_address: options.connections_per_address.map_or(share, usize::from),
        head_timeout: options.head_timeout.value,
        idle_timeout: options.idle_timeout.value,
        write_timeout: options.write_timeout.value,
        ..Limits::default()
    }
}

fn peers(options: &ServerOptions) -> PeerLimits {
    let count = |count: NonZeroUsize| count.get() as u64;
    PeerLimits {
        mail_bytes: Quota {
            per_sender: options.mail_bytes_per_sender.value,
            per_address: options.mail_bytes_per_address.value,
            in_all: options.mail_bytes.value,
        },
        mail_bytes_per_recipient: options.mail_bytes_per_recipient.value,
        mail_rate: options.mail_rate.value,
        mail_lifetime: options.mail_lifetime.value.0,
        waiting_names: Quota {
            per_sender: count(options.waiting_names_per_sender),
            per_address: count(options.waiting_names_per_address),
            in_all: count(options.waiting_names),
        },
        watched_names: options.watched_names.get(),
        read_timeout: options.read_timeout.value,
        taken_timeout: options.taken_timeout.value,
        index_pairs: Quota {
            per_sender: count(options.index_pairs_per_peer),
            per_address: count(options.index_pairs_per_address),
            in_all: count(options.index_pairs),
        },
        new_names_per_hour: options.new_names_per_hour.get(),
        openings_per_minute: options.openings_per_minute.get(),
        transfers: Quota {
            per_sender: count(options.transfers_per_peer),
            per_address: count(options.transfers_per_address),
            in_all: count(options.transfers),
        },
        transfer_rate: options.transfer_rate.value,
        session_memory: options.session_memory.value,
    }
}

fn build_sites(site: SiteOptions, sites: Vec<SiteOptions>, report: &mut Report<'_>) -> Vec<SiteConfig> {
    let sites = sites.into_iter().enumerate().map(|(number, site)| (Some(number), site));
    std::iter::once((None, site))
        .chain(sites)
        .map(|(number, site)| build_site(site, number, report))
        .collect()
}

fn build_site(options: SiteOptions, number: Option<usize>, report: &mut Report<'_>) -> SiteConfig {
    // Of the rules for one field the last that matches decides, so a Cache-Control for all paths goes first.
    let cache_control = options.cache_control.into_iter().map(|rule| rule.value.0);
    let (some, all): (Vec<_>, Vec<_>) = cache_control.partition(|rule| rule.paths.is_some());
    let header = options.header.into_iter().map(|rule| rule.value.0);
    SiteConfig {
        root: options.root,
        hosts: options.hosts.into_iter().map(|host| host.value.0).collect(),
        listing: options.listing,
        hidden_files: options.hidden_files,
        clean_urls: options.clean_urls,
        spa: options.spa,
        compression: options.compression,
        fields: header.chain(all).chain(some).collect(),
        cors: cors(options.cors, number, report),
        media_types: values(options.media_type),
        redirects: values(options.redirect),
        users_file: options.users,
        page: options.app.unwrap_or_default().then_some(options.app_prefix.value),
    }
}

fn cors(origins: Vec<Setting<Origin>>, site: Option<usize>, report: &mut Report<'_>) -> Option<Cors> {
    let origins: Vec<String> = origins.into_iter().map(|origin| origin.value.0).collect();
    let Some(any) = origins.iter().position(|origin| origin == "*") else {
        return (!origins.is_empty()).then_some(Cors::Origins(origins));
    };
    if origins.len() > 1 {
        report.add(At(site, "cors", any), "cors: * allows every origin; leave out the others");
    }
    Some(Cors::Any)
}

fn access_log(options: &ServerOptions, report: &mut Report<'_>) -> Option<AccessLogConfig> {
    let format = options.access_log_format.as_ref().map(|format| format.value);
    if options.access_log.is_none() && format.is_some() {
        report.add(At::key("access_log_format"), "access_log_format has no effect without access_log");
    }
    options.access_log.clone().map(|path| AccessLogConfig { path, format: format.unwrap_or_default() })
}

/// Addresses to listen on, with that of the metrics, have to be different. Port 0 is a different port each time.
fn check_listen(config: &Config, report: &mut Report<'_>) {
    let admin = config.admin.map(Listen::Address);
    let admin = admin.iter().map(|admin| (At::key("admin"), admin));
    let listening = config.listen.iter().enumerate();
    let listening = listening.map(|(number, listen)| (At(None, "listen", number), listen));
    let mut seen = HashSet::new();
    for (at, listen) in listening.chain(admin) {
        // Two sockets of one name with different modes are one socket.
        let name = match listen {
            Listen::Address(address) | Listen::Tls(address) => address.to_string(),
            Listen::Unix { path, .. } => format!("unix:{}", shown(path)),
            Listen::Inherited => "systemd".to_owned(),
        };
        if let Listen::Unix { path, .. } = listen
            && !is_unix_path_short_enough(path)
        {
            report.add(at, format_args!("listen: {name} is too long a path for a Unix socket"));
        }
        let is_any_port =
            matches!(listen, Listen::Address(address) | Listen::Tls(address) if address.port() == 0);
        if !is_any_port && !seen.insert(name.clone()) {
            report.add(at, format_args!("listen: {name} is given twice"));
        }
    }
}
