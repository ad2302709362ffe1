//! The file: what it says, and each mistake in it at its line and column.

use std::path::Path;

use actors::config::Listen;
use actors::site::Cors;
use actors::tls::TlsFiles;

use super::{folder, load, path_in};
use crate::server::config::file;

/// The lines that are said about a file, without its name.
fn said(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    file::parse(Path::new("f"), text, &mut problems);
    problems.iter().map(|line| line.strip_prefix("f:").expect("all are about the file").to_owned()).collect()
}

#[test]
fn every_mistake_is_named_with_line_and_column() {
    let site = "[[site]]\nroot = \"a\"\nhosts = \"a\"\n";
    for (text, expected) in [
        ("lisen = 1", "1:1: unknown key \"lisen\"; did you mean listen?"),
        ("log-format = \"json\"", "1:1: unknown key \"log-format\"; did you mean log_format?"),
        ("rot = \"a\"", "1:1: unknown key \"rot\"; did you mean root?"),
        ("  colour = 1", "1:3: unknown key \"colour\""),
        ("config = \"a\"", "1:1: unknown key \"config\""),
        ("# \u{e9}\nlisting = 1", "2:11: invalid type: integer `1`, expected a boolean"),
        (
            "site = [{ hosts = \"a\", root = \"\u{e9}\", spa = 1 }]",
            "1:42: invalid type: integer `1`, expected a boolean",
        ),
        ("spa = \"on\"", "1:7: invalid type: string \"on\", expected a boolean"),
        ("root = 1.5", "1:8: invalid type: floating point `1.5`, expected path string"),
        ("root = ['a']", "1:9: invalid type: sequence, expected path string"),
        ("root = []", "1:8: invalid type: sequence, expected path string"),
        ("root = {}", "1:8: invalid type: map, expected path string"),
        ("root = 2020-01-01", "1:8: invalid type: map, expected path string"),
        ("root = \"\"", "1:8: a path cannot be empty"),
        ("sessions_max = true", "1:16: invalid type: boolean `true`, expected a nonzero usize"),
        ("sessions_max = 0", "1:16: invalid value: integer `0`, expected a nonzero usize"),
        ("cache_bytes = 1.5", "1:15: invalid type: floating point `1.5`, expected a size such as 65536"),
        ("cache_bytes = -1", "1:15: \"-1\" is not a size such as 65536, 500K, 64M or 2G"),
        ("head_timeout = true", "1:16: invalid type: boolean `true`, expected a time such as 500ms"),
        ("listen = [\"systemd\", \"here\"]", "1:22: \"here\" is not an address"),
        ("cors = [\n  \"*\",\n  \"a\"\n]", "3:3: \"a\" is not an origin"),
        ("header = \"a\"", "1:10: \"a\" is not a field"),
        ("header = 1", "1:10: \"1\" is not a field such as"),
        ("[[header]]\nvalue = \"a\"", "1:1: missing field `name`"),
        ("[[header]]\nname = \"a\"", "1:1: missing field `value`"),
        ("[[header]]\nname = \"Date\"\nvalue = \"a\"", "1:1: the server sends the field Date itself"),
        ("[[header]]\nname = \"a\"\nvalue = \"a\\nb\"", "1:1: the value \"a\\nb\" of the field a is not all"),
        (
            "header = [{ name = \"a\", value = \"b\", paths = \"[\" }]",
            "1:46: \"[\" is not a pattern of paths",
        ),
        (
            "[[header]]\nname = \"a\"\nvalue = \"b\"\npath = \"c\"",
            "4:1: unknown field `path`, expected one of `paths`",
        ),
        ("[[cache_control]]\npaths = \"a\"", "1:1: missing field `value`"),
        ("[[redirect]]\nto = \"/a\"", "1:1: missing field `from`"),
        ("[[redirect]]\nfrom = \"/a\"", "1:1: missing field `to`"),
        (
            "[[redirect]]\nfrom = \"/a\"\nto = \"/b\"\nstatus = 200",
            "4:10: 200 is not the status of a redirect",
        ),
        ("[[redirect]]\nfrom = \"/a\"\nto = \"b\"", "1:1: the redirect from \"/a\" to \"b\" leads neither"),
        ("site = 1", "1:8: a site is a table that starts with [[site]]"),
        ("[[site]]\nhosts = \"a\"", "1:1: the key root is missing here"),
        ("[[site]]\nroot = \"a\"", "1:1: the key hosts is missing here"),
        ("[[site]]\nroot = \"a\"\nhosts = []", "1:1: this site has no host"),
        ("[[site]]\nroot = \"a\"\nhosts = \"-\"", "3:9: \"-\" is not a host name"),
        ("[[site]]\nroot = \"a\"\nhosts = [\"a\", \"A\"]", "3:15: a is already the host of a site"),
        (&format!("{site}{site}"), "6:9: a is already the host of a site"),
        (&*format!("{site}data = \"b\""), "4:1: unknown key \"data\""),
        (&*format!("{site}[[site.header]]\nname = \"a\""), "4:1: missing field `value`"),
        ("a = ", "1:5: "),
        ("root = \"a\"\nroot = \"b\"", "2:1: duplicate key"),
    ] {
        let said = said(text);
        assert!(said.len() == 1 && said[0].starts_with(expected), "{text}: {expected:?} is not {said:?}");
    }
}

#[test]
fn all_mistakes_are_named_in_the_order_of_the_text() {
    let said = said("lisen = 1\nspa = 1\nroot = \"a\"\nlisten = [\"a\", 1]\n[[site]]\nhosts = \"-\"\n");
    let places: Vec<&str> =
        said.iter().map(|line| line.split_once(": ").expect("each has a place").0).collect();
    assert_eq!(places, ["1:1", "2:7", "4:11", "4:16", "5:1", "6:9"], "{said:?}");
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let folder = folder(
        "listen = \"unix:s\"\ndata = \"d\"\nroot = \"r\"\nusers = \"u\"\naccess_log = \"l\"\n\
         [[site]]\nhosts = \"a\"\nroot = \"../r\"\nusers = \"/v\"",
    );
    let config = load(&["--config", &path_in(&folder, "server.toml")], &[]).expect("it is good").config;
    let path = folder.path();
    assert_eq!(config.listen, [Listen::Unix { path: path.join("s"), mode: 0o660 }]);
    assert_eq!(config.data, path.join("d"));
    assert_eq!(config.sites[0].root, path.join("r"));
    assert_eq!(config.sites[0].users_file, Some(path.join("u")));
    assert_eq!(config.access_log.map(|log| log.path), Some(path.join("l")));
    assert_eq!(config.sites[1].root, path.join("../r"));
    assert_eq!(config.sites[1].users_file, Some("/v".into()));
    // Those of the command line are not, and neither are defaults.
    let arguments = ["--config", &path_in(&folder, "server.toml"), "--root", "r"];
    assert_eq!(load(&arguments, &[]).expect("it is good").config.sites[0].root, Path::new("r"));
}

#[test]
fn sites_with_hosts_take_nothing_from_the_default_one() {
    let folder = folder(
        "compression = false\nlisting = true\ncors = \"*\"\n[[site]]\nhosts = [\"a\", \"b\"]\nroot = \"r\"\nspa = true\n\
         [[site.redirect]]\nfrom = \"/a\"\nto = \"/b\"\n",
    );
    let sites = load(&["--config", &path_in(&folder, "server.toml"), "--clean-urls"], &[])
        .expect("good")
        .config
        .sites;
    assert_eq!(sites.len(), 2);
    let (first, second) = (&sites[0], &sites[1]);
    assert_eq!((first.compression, first.listing, first.spa, first.clean_urls), (false, true, false, true));
    assert_eq!((first.cors.as_ref(), first.redirects.len(), first.hosts.len()), (Some(&Cors::Any), 0, 0));
    assert_eq!(
        (second.compression, second.listing, second.spa, second.clean_urls),
        (true, false, true, false)
    );
    assert_eq!((second.cors.as_ref(), second.redirects.len()), (None, 1));
    assert_eq!(second.hosts, ["a", "b"]);
}

#[test]
fn the_page_is_on_for_the_default_site_and_off_for_others() {
    let folder = folder(
        "[[site]]\nhosts = \"a\"\nroot = \".\"\n[[site]]\nhosts = \"b\"\nroot = \".\"\napp = true\napp_prefix = \"/\"",
    );
    let pages = |arguments: &[&str]| -> Vec<Option<String>> {
        let sites = load(arguments, &[]).expect("it is good").config.sites;
        sites.into_iter().map(|site| site.page.map(|page| page.as_str().to_owned())).collect()
    };
    let config = path_in(&folder, "server.toml");
    let on = Some("switchboard".to_owned());
    assert_eq!(pages(&["--config", &config]), [on.clone(), None, Some(String::new())]);
    assert_eq!(pages(&["--config", &config, "--app=off"]), [None, None, Some(String::new())]);
    assert_eq!(pages(&[]), [on]);
    assert_eq!(pages(&["--app-prefix", "/a/b/"]), [Some("a/b".to_owned())]);
}

#[test]
fn a_cache_control_for_all_paths_comes_before_those_for_some() {
    let folder = folder(
        "cache_control = [\"*.css=a\", \"b\", { paths = \"*.js\", value = \"c\" }]\nheader = \"X-D: d\"",
    );
    let sites = load(&["--config", &path_in(&folder, "server.toml")], &[]).expect("it is good").config.sites;
    let values: Vec<&str> = sites[0].fields.iter().map(|rule| &*rule.value).collect();
    assert_eq!(values, ["d", "b", "a", "c"]);
}

#[test]
fn what_does_not_go_together_is_said() {
    let long = format!("unix:{}", "a".repeat(108));
    for (arguments, expected) in [
        (&["--listen=127.0.0.1:1", "--listen=127.0.0.1:1"][..], "listen: 127.0.0.1:1 is given twice"),
        (&["--listen=unix:a", "--listen=unix:a,mode=0600"], "listen: unix:a is given twice"),
        (&["--listen=systemd", "--listen=systemd"], "listen: systemd is given twice"),
        (&["--admin=127.0.0.1:6789"], "listen: 127.0.0.1:6789 is given twice"),
        (&["--listen", &long], "too long a path for a Unix socket"),
        (&["--cors=*", "--cors=https://a.example"], "cors: * allows every origin"),
        (&["--access-log-format=json"], "access_log_format has no effect without access_log"),
        (&["--advertise=a:1"], "advertise has no effect without cluster"),
    ] {
        let problems = load(arguments, &[]).expect_err("it is wrong").to_string();
        assert!(problems.contains(expected) && problems.lines().count() == 1, "{arguments:?}: {problems}");
    }
    load(&["--listen=127.0.0.1:0", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"], &[])
        .expect("ports differ");
}

#[test]
fn what_does_not_go_together_in_the_file_is_said_with_its_place() {
    let site = "[[site]]\nhosts = \"a\"\nroot = \"b\"\n";
    for (text, expected) in [
        ("listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]", "1:26: listen: 127.0.0.1:1 is given twice"),
        ("admin = \"127.0.0.1:6789\"", "1:9: listen: 127.0.0.1:6789 is given twice"),
        ("listen = \"tls:127.0.0.1:1\"", "1:10: listen: tls: needs tls_cert and tls_key"),
        ("redirect_to_https = true", "1:21: redirect_to_https has no effect without listen"),
        (
            "tls_cert = [\"a\", \"b\"]\ntls_key = \"c\"\nlisten = \"tls:127.0.0.1:1\"",
            "1:18: tls_cert is given 2 time(s) and tls_key 1",
        ),
        (&*format!("{site}tls_cert = \"c\"\ntls_key = \"d\""), "4:12: tls_cert has no effect without listen"),
        (&*format!("{site}cors = [\"https://a.example\", \"*\"]"), "4:30: cors: * allows every origin"),
        ("\n  access_log_format = \"json\"", "2:23: access_log_format has no effect without access_log"),
        ("advertise = \"a:1\"", "1:13: advertise has no effect without cluster"),
        ("cluster_credentials = \"a\"", "1:23: cluster_credentials has no effect without cluster"),
    ] {
        let folder = folder(text);
        let config = path_in(&folder, "server.toml");
        let problems = load(&["--config", &config], &[]).expect_err("it is wrong").0;
        let expected = format!("{config}:{expected}");
        assert!(problems.len() == 1 && problems[0].starts_with(&expected), "{expected}: {problems:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_the_only_thing_that_is_said() {
    let folder = folder("a =");
    std::fs::write(folder.path().join("binary"), [0xff, 0xfe]).expect("the folder can be written");
    for (path, words) in [
        (path_in(&folder, "nothing"), "No such file"),
        (path_in(&folder, ""), "Is a directory"),
        (path_in(&folder, "binary"), "UTF-8"),
        ("/dev/zero".to_owned(), "too large"),
        (path_in(&folder, "server.toml"), ":1:4: "),
    ] {
        let arguments = ["--config", &path, "--check", "--root=/nowhere"];
        let problems = load(&arguments, &[]).expect_err(&path).to_string();
        assert!(problems.contains(words) && problems.contains(&path), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn a_site_has_certificates_for_its_hosts() {
    let text = "listen = \"tls:127.0.0.1:1\"\ntls_cert = \"c\"\ntls_key = \"k\"\n[[site]]\nhosts = [\"a\", \"b\"]\nroot = \"r\"\n\
                tls_cert = [\"/x\", \"y\"]\ntls_key = [\"z\", \"w\"]\n";
    let folder = folder(text);
    let settings = load(&["--config", &path_in(&folder, "server.toml")], &[]).expect("it is good");
    let of_server =
        TlsFiles { certificate: folder.path().join("c"), key: folder.path().join("k"), hosts: Vec::new() };
    let of_site = |certificate: &str, key: &str| TlsFiles {
        certificate: folder.path().join(certificate),
        key: folder.path().join(key),
        hosts: ["a", "b"].map(str::to_owned).into(),
    };
    assert_eq!(settings.config.tls, [of_server, of_site("/x", "z"), of_site("y", "w")]);

    let lonely = super::folder(&text.replace("[\"z\", \"w\"]", "\"z\""));
    let problems = load(&["--config", &path_in(&lonely, "server.toml")], &[]).expect_err("a key is missing");
    assert!(
        problems.to_string().contains("the site a: tls_cert is given 2 time(s) and tls_key 1"),
        "{problems}"
    );
}
