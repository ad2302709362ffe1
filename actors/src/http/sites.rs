//! The web sites of the server, and which of them a request is for.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::commands::credentials::CredentialsHandle;
use crate::commands::file_server::FileServerHandle;
use crate::site::{FieldRule, RedirectRule, SiteConfig};

/// One web site.
#[derive(Debug)]
pub struct Site {
    pub(super) config: Arc<SiteConfig>,
    pub(super) files: FileServerHandle,
    pub(super) users: Option<CredentialsHandle>,
    fields: String,
}

/// Fields of which a rule that is for all files says nothing about other answers.
const OF_FILES: [&str; 2] = ["Cache-Control", "Expires"];

impl Site {
    /// `files` is where its files are asked for, `users` where passwords are checked; everybody may see the site if there is
    /// none.
    pub fn new(config: Arc<SiteConfig>, files: FileServerHandle, users: Option<CredentialsHandle>) -> Self {
        let is_general = |rule: &&FieldRule| {
            rule.paths.is_none() && !OF_FILES.iter().any(|name| name.eq_ignore_ascii_case(&rule.name))
        };
        let mut fields = String::new();
        for (index, rule) in config.fields.iter().enumerate().filter(|(_, rule)| is_general(rule)) {
            let is_said_later = |later: &FieldRule| later.name.eq_ignore_ascii_case(&rule.name);
            if !config.fields[index + 1..].iter().filter(is_general).any(is_said_later) {
                // Writing into a String cannot fail.
                let _ = write!(fields, "{}: {}\r\n", rule.name, rule.value);
            }
        }
        Self { config, files, users, fields }
    }

    /// The fields that the site adds to answers that are not of a file of its own, each with its CRLF.
    pub(super) fn fields(&self) -> &str {
        &self.fields
    }
}

/// All web sites, at least one.
#[derive(Debug)]
pub struct Sites {
    sites: Vec<Site>,
    /// Empty when there is but one, so that nobody looks.
    by_host: HashMap<String, usize>,
}

impl Sites {
    /// The first of `sites` answers to every host that no other has.
    pub fn new(sites: Vec<Site>) -> Self {
        let mut by_host = HashMap::new();
        if sites.len() > 1 {
            for (index, site) in sites.iter().enumerate() {
                by_host.extend(site.config.hosts.iter().map(|host| (host.clone(), index)));
            }
        }
        Self { sites, by_host }
    }

    /// All of them, the default first.
    pub(crate) fn all(&self) -> &[Site] {
        &self.sites
    }

    /// The place in [`Sites::all`] of the site for a `Host` without its port. Case and a dot at the end make no difference.
    pub(super) fn index_of(&self, host: Option<&str>) -> usize {
        if self.by_host.is_empty() {
            return 0;
        }
        let host = host.unwrap_or_default();
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.by_host.get(&host).copied().unwrap_or(0)
    }
}

/// Where a path has moved to, as the value of a `Location`. `path` is as it was sent.
pub(super) fn redirected<'c>(rules: &'c [RedirectRule], path: &str) -> Option<(&'c RedirectRule, String)> {
    rules.iter().find_map(|rule| {
        let rest = match rule.from.strip_suffix('*') {
            Some(start) => path.strip_prefix(start)?,
            None => (path == rule.from).then_some("")?,
        };
        let location = match rule.to.strip_suffix('*') {
            Some(start) => joined(start, rest),
            None => rule.to.clone(),
        };
        Some((rule, location))
    })
}

/// `start` with `rest` behind it, which can change nothing about the host: two slashes at the start would name one, and what
/// follows a host without a slash would be part of its name.
fn joined(start: &str, rest: &str) -> String {
    let is_bare_host = start.split_once("://").is_some_and(|(_, host)| !host.contains('/'));
    match start.strip_suffix('/') {
        None if !is_bare_host => format!("{start}{rest}"),
        start_or_none => {
            format!("{}/{}", start_or_none.unwrap_or(start), rest.trim_start_matches(['/', '\\']))
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::http::Status;

    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides_and_leads_to_no_other_host() {
        let rule = |from: &str, to: &str| RedirectRule {
            from: from.into(),
            to: to.into(),
            status: Status::MovedPermanently,
        };
        let rules = [
            rule("/old", "/new"),
            rule("/blog/*", "/posts/*"),
            rule("/go/*", "/*"),
            rule("/x*", "/y"),
            rule("/moved*", "/there*"),
            rule("/away*", "https://b.example*"),
        ];
        let to = |path: &str| redirected(&rules, path).map(|(_, location)| location);
        assert_eq!(to("/old").as_deref(), Some("/new"));
        assert_eq!(to("/old/"), None);
        assert_eq!(to("/blog/a/b").as_deref(), Some("/posts/a/b"));
        assert_eq!(to("/go//evil.example/").as_deref(), Some("/evil.example/"));
        assert_eq!(to("/go/\\evil.example/").as_deref(), Some("/evil.example/"));
        assert_eq!(to("/xyz").as_deref(), Some("/y"));
        assert_eq!(to("/moved").as_deref(), Some("/there"));
        assert_eq!(to("/moved/a").as_deref(), Some("/there/a"));
        assert_eq!(to("/away/a").as_deref(), Some("https://b.example/a"));
        assert_eq!(to("/away.evil.example/a").as_deref(), Some("https://b.example/.evil.example/a"));
        assert_eq!(to("/away@evil.example").as_deref(), Some("https://b.example/@evil.example"));
        assert_eq!(to("/new"), None);
    }
}
