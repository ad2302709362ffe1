//! The header fields that a site sets for its files.

use std::fmt::Write as _;
use std::path::Path;

use wire::http::{Status, content_type};

use crate::commands::asset::AssetFields;
use crate::site::{FieldRule, SiteConfig};

/// Clients may cache a response but must revalidate it, which costs a 304.
const CACHING: &str = "Cache-Control: no-cache\r\n";

/// Browsers must not guess the type, because they could take a file for a script.
const SNIFFING: &str = "X-Content-Type-Options: nosniff\r\n";

/// The fields for the file at `path` below the root. Of rules with the same name the last that matches decides. Rules for
/// caching do not apply to error pages.
pub(super) fn fields_of<'s>(site: &'s SiteConfig, path: &Path, status: Status) -> AssetFields<'s> {
    let media_type = site.media_types.iter().rev().find(|rule| rule.paths.is_match(path));
    let mut fields = AssetFields {
        content_type: match media_type {
            Some(rule) => rule.media_type.as_str().into(),
            None => content_type(&path.to_string_lossy()),
        },
        caching: CACHING.to_owned(),
        policy: SNIFFING.to_owned(),
    };
    for rule in site.fields.iter().filter(|rule| fits(rule, path)) {
        let is = |name: &str| rule.name.eq_ignore_ascii_case(name);
        if !is("Cache-Control") && !is("Expires") {
            replace(&mut fields.policy, &rule.name, &rule.value);
        } else if status == Status::Ok {
            replace(&mut fields.caching, &rule.name, &rule.value);
        }
    }
    fields
}

fn fits(rule: &FieldRule, path: &Path) -> bool {
    rule.paths.as_ref().is_none_or(|paths| paths.is_match(path))
}

/// Adds a line, or replaces the one with the same name.
fn replace(lines: &mut String, name: &str, value: &str) {
    let is_other = |line: &&str| line.split(':').next().is_some_and(|has| !has.eq_ignore_ascii_case(name));
    let mut others: String = lines.split_inclusive("\r\n").filter(is_other).collect();
    // Writing into a String cannot fail.
    let _ = write!(others, "{name}: {value}\r\n");
    *lines = others;
}

impl AssetFields<'_> {
    /// Replaces a field of the policy, because two of them would both apply.
    pub(super) fn replace(&mut self, name: &str, value: &str) {
        replace(&mut self.policy, name, value);
    }

    /// Adds a `Vary` (RFC 9110, section 12.5.5).
    pub(super) fn varies_by(&mut self, name: &str) {
        self.policy.push_str("Vary: ");
        self.policy.push_str(name);
        self.policy.push_str("\r\n");
    }
}
