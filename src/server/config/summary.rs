//! All options in effect, for a person who checks a configuration.

use std::fmt::{Display, Write as _};

use actors::site::{FieldRule, RedirectRule};
use clap::{ArgMatches, Args, Command};
use wire::escape::Escaped;

use super::options::{LogOptions, Rules, ServerOptions, SiteOptions};

/// The options of the server as a whole.
pub(super) fn of_server(matches: &ArgMatches) -> String {
    let command = LogOptions::augment_args(ServerOptions::augment_args(Command::new("")));
    let mut lines = String::new();
    values(&command, matches, &mut lines);
    lines
}

/// The options of one site; without `hosts` the default one.
pub(super) fn of_site(matches: &ArgMatches, site: &SiteOptions, hosts: &[String]) -> String {
    let hosts = if hosts.is_empty() { "all other hosts".to_owned() } else { hosts.join(", ") };
    let mut lines = format!("site for {hosts}\n");
    values(&SiteOptions::augment_args(Command::new("")), matches, &mut lines);
    let Rules { header, cache_control, redirect } = &site.rules;
    for FieldRule { paths, name, value, .. } in header.iter().chain(cache_control) {
        let paths = paths.as_ref().map(|paths| format!("{} ", paths.glob())).unwrap_or_default();
        line("header", format_args!("{paths}{name}: {value}"), &mut lines);
    }
    for RedirectRule { from, to, status } in redirect {
        line("redirect", format_args!("{from} {to} {}", status.code()), &mut lines);
    }
    lines
}

/// The options of `command`, except for the rules, which may have been tables.
fn values(command: &Command, matches: &ArgMatches, lines: &mut String) {
    let rules = Rules::augment_args(Command::new(""));
    for option in command.get_arguments() {
        if rules.get_arguments().any(|rule| rule.get_id() == option.get_id()) {
            continue;
        }
        for value in matches.get_raw(option.get_id().as_str()).into_iter().flatten() {
            let name = option.get_long().unwrap_or_default();
            line(name, Escaped(&value.to_string_lossy()), lines);
        }
    }
}

fn line(name: &str, value: impl Display, lines: &mut String) {
    // Writing into a String cannot fail.
    let _ = writeln!(lines, "{name:<24} {value}");
}
