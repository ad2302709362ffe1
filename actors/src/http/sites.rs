//! The web sites of the server, and the choice of one by the `Host` of a request.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::page::Page;
use crate::commands::credentials::CredentialsHandle;
use crate::commands::file_server::FileServerHandle;
use crate::site::{FieldRule, RedirectRule, SiteConfig};

#[derive(Debug)]
pub(crate) struct Site {
    pub(super) config: Arc<SiteConfig>,
    pub(super) files: FileServerHandle,
    pub(super) users: Option<CredentialsHandle>,
    pub(super) page: Option<Page>,
    /// The fields that the site adds to responses without a file, each with its CRLF.
    pub(super) fields: String,
}

/// Fields that a site sets for its files, and not for other responses.
const OF_FILES: [&str; 2] = ["Cache-Control", "Expires"];

impl Site {
    /// A site of which only `users` may see `files`, or everybody if there are no users.
    pub(crate) fn new(
        config: Arc<SiteConfig>,
        files: FileServerHandle,
        users: Option<CredentialsHandle>,
    ) -> Self {
        let is_general = |rule: &&FieldRule| {
            rule.paths.is_none() && !OF_FILES.iter().any(|name| name.eq_ignore_ascii_case(&rule.name))
        };
        let mut fields = String::new();
        for (index, rule) in config.fields.iter().enumerate().filter(|(_, rule)| is_general(rule)) {
            let is_replaced = |later: &FieldRule| later.name.eq_ignore_ascii_case(&rule.name);
            if !config.fields[index + 1..].iter().filter(is_general).any(is_replaced) {
                // Writing into a String cannot fail.
                let _ = write!(fields, "{}: {}\r\n", rule.name, rule.value);
            }
        }
        let page = config.page.clone().map(Page::new);
        Self { config, files, users, page, fields }
    }
}

/// All web sites, at least one.
#[derive(Debug)]
pub(crate) struct Sites {
    sites: Vec<Site>,
    /// Indices into `sites`. Empty if there is only one, to save the lookup.
    by_host: HashMap<String, usize>,
}

impl Sites {
    /// The first of `sites` also answers requests for all other hosts.
    pub(crate) fn new(sites: Vec<Site>) -> Self {
        let mut by_host = HashMap::new();
        if sites.len() > 1 {
            for (index, site) in sites.iter().enumerate() {
                by_host.extend(site.config.hosts.iter().map(|host| (host.clone(), index)));
            }
        }
        Self { sites, by_host }
    }

    /// All sites, the default first.
    pub(crate) fn all(&self) -> &[Site] {
        &self.sites
    }

    /// The index into [`Sites::all`] of the site for a `Host` without port, ignoring case and a final dot.
    pub(super) fn index_of(&self, host: Option<&str>) -> usize {
        if self.by_host.is_empty() {
            return 0;
        }
        let host = host.unwrap_or_default();
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.by_host.get(&host).copied().unwrap_or(0)
    }
}

/// The rule for a path and the value of the `Location`. `path` is not decoded.
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

/// Joins the two so that `rest`, which the client chose, cannot change the host: two slashes at the start would begin a
/// host, and text after a host without a slash would belong to its name.
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
