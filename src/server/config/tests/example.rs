//! `server.example.toml` at the top of the repository.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::{folder, load, loaded, path_in, text_of};
use crate::server::config::Arguments;
use crate::server::config::file;
use crate::server::config::options::SiteOptions;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("server.example.toml")
}

fn text() -> String {
    std::fs::read_to_string(example()).expect("the example is there")
}

/// Everything that is only an example there, for good. Of a key with a default and an example the example stays.
fn everything() -> String {
    let is_example = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let text = text();
    let lines =
        text.lines().map(|line| line.strip_prefix('#').filter(|rest| is_example(rest)).unwrap_or(line));
    let lines: Vec<&str> = lines.filter(|line| *line != "listen = \"127.0.0.1:6789\"").collect();
    lines.join("\n")
}

#[test]
fn as_it_stands_it_has_all_defaults() {
    // Its paths are relative to itself, those of the defaults to where the server starts.
    let folder = folder(&text());
    let config = path_in(&folder, "server.toml");
    let with_paths = [
        format!("--root={}", path_in(&folder, "www")),
        format!("--data={}", path_in(&folder, "server_data")),
    ];
    let default = loaded(&with_paths.each_ref().map(String::as_str), &[]);
    assert_eq!(loaded(&["--config", &config], &[]), default);
    load(&["--check", "--config", &text_of(&example())], &[]).expect("it serves the site beside it");
}

#[test]
fn every_option_is_in_it() {
    let text = everything();
    let table = toml::de::DeTable::parse(&text).expect("it is TOML").into_inner();
    let command = Arguments::command();
    for option in command.get_arguments().filter_map(clap::Arg::get_long) {
        let no_options = ["config", "check", "print-config", "cluster-import", "completions"];
        if no_options
            .iter()
            .chain(&["hash-password", "make-certificate"])
            .any(|no_option| *no_option == option)
        {
            continue;
        }
        assert!(table.contains_key(&*option.replace('-', "_")), "{option} is not in the example");
    }
}

#[test]
fn all_its_examples_are_good() {
    let text = everything();
    let mut problems = Vec::new();
    let file = file::parse(&example(), &text, &mut problems).expect("it is TOML");
    assert_eq!(problems, [""; 0]);
    assert_eq!((file.site.header.len(), file.site.redirect.len()), (2, 2));
    assert_eq!((file.server.listen.len(), file.sites.len()), (5, 1));
    assert_eq!(file.sites[0].header.len(), 1);
    let folder = folder(&text);
    load(&["--config", &path_in(&folder, "server.toml")], &[]).expect("what it says goes together");
    // Each line that stands in the text for one in a table says the same.
    for (key, count) in [("header = [", 2), ("redirect = [", 2)] {
        let start = text.find(key).expect("the comment has it");
        let end = start + text[start..].find(']').expect("the list ends");
        let line = &text[start..=end];
        let mut problems = Vec::new();
        let short = file::parse(Path::new("f"), line, &mut problems).expect("it is TOML").site;
        assert_eq!(problems, [""; 0], "{line}");
        assert_eq!(short.header.len() + short.redirect.len(), count);
        let rules = |site: &SiteOptions| {
            let header: Vec<_> = site.header.iter().map(|rule| &rule.value).collect();
            let redirect: Vec<_> = site.redirect.iter().map(|rule| &rule.value).collect();
            if short.header.is_empty() { format!("{redirect:?}") } else { format!("{header:?}") }
        };
        assert_eq!(rules(&short), rules(&file.site));
    }
}
