//! What would be served, for a person to read.

use std::fmt::{self, Write as _};
use std::path::Path;

use actors::Config;
use actors::config::{AccessLogFormat, Listen};
use actors::site::{Cors, FieldRule, SiteConfig};
use humantime::format_duration;
use wire::escape::Escaped;

/// A place to listen at, without who may connect.
pub(super) fn listen_name(listen: &Listen) -> String {
    match listen {
        Listen::Address(address) => address.to_string(),
        Listen::Unix { path, .. } => format!("unix:{}", shown(path)),
        Listen::Inherited => "systemd".to_owned(),
    }
}

/// Lines of words and values.
pub(super) fn summary(config: &Config) -> String {
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = write_server(&mut text, config);
    for (index, site) in config.sites.iter().enumerate() {
        let _ = write_site(&mut text, site, index == 0);
    }
    text
}

fn write_server(out: &mut String, config: &Config) -> fmt::Result {
    for listen in &config.listen {
        let mode = match listen {
            Listen::Unix { mode, .. } => format!(" (mode {mode:04o})"),
            Listen::Address(_) | Listen::Inherited => String::new(),
        };
        line(out, "listen", format_args!("{}{mode}", listen_name(listen)))?;
    }
    if let Some(admin) = config.admin {
        line(out, "admin", admin)?;
    }
    line(out, "data", shown(&config.data))?;
    let limits = &config.limits;
    line(
        out,
        "connections",
        format_args!("{}, {} from one address", limits.connections, limits.connections_per_address),
    )?;
    let (head, idle, write) = (limits.head_timeout, limits.idle_timeout, limits.write_timeout);
    let (head, idle, write) = (format_duration(head), format_duration(idle), format_duration(write));
    line(out, "timeouts", format_args!("head {head}, idle {idle}, write {write}"))?;
    line(out, "cache", format_args!("{} bytes, {} files", config.cache.bytes, config.cache.entries))?;
    if let Some(log) = &config.access_log {
        let format = match log.format {
            AccessLogFormat::Combined => "combined",
            AccessLogFormat::Json => "json",
        };
        line(out, "access log", format_args!("{} ({format})", shown(&log.path)))?;
    }
    Ok(())
}

fn write_site(out: &mut String, site: &SiteConfig, is_default: bool) -> fmt::Result {
    let hosts = if is_default { "all other hosts".to_owned() } else { site.hosts.join(", ") };
    writeln!(out, "site for {hosts}")?;
    line(out, "  root", shown(&site.root))?;
    let switches = [
        ("compression", site.compression),
        ("listing", site.listing),
        ("hidden files", site.hidden_files),
        ("clean urls", site.clean_urls),
        ("spa", site.spa),
    ];
    let on: Vec<&str> = switches.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| *name).collect();
    line(out, "  on", if on.is_empty() { "nothing".to_owned() } else { on.join(", ") })?;
    for FieldRule { paths, name, value } in &site.fields {
        match paths {
            Some(paths) => line(out, "  header", format_args!("{name}: {value} (on {})", paths.glob()))?,
            None => line(out, "  header", format_args!("{name}: {value}"))?,
        }
    }
    match &site.cors {
        Some(Cors::Any) => line(out, "  cors", "all origins")?,
        Some(Cors::Origins(origins)) => line(out, "  cors", origins.join(", "))?,
        None => {}
    }
    for redirect in &site.redirects {
        let status = redirect.status.code();
        line(out, "  redirect", format_args!("{} to {} ({status})", redirect.from, redirect.to))?;
    }
    if let Some(users) = &site.users_file {
        line(out, "  users", format_args!("only those in {}", shown(users)))?;
    }
    Ok(())
}

fn line(out: &mut String, words: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(out, "{words:<13} {value}")
}

fn shown(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}
