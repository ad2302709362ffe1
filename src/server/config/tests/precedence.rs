//! The command line counts more than the environment, that more than the file, and that more than defaults.

use std::collections::BTreeSet;

use actors::Config;
use clap::CommandFactory;

use super::{folder, load, loaded, path_in};
use crate::server::config::Arguments;

/// For each option three values that differ from each other and from the default, as text.
const VALUES: [(&str, [&str; 3]); 57] = [
    ("listen", ["127.0.0.1:1", "unix:/u,mode=0600", "systemd"]),
    ("data", ["/a", "/b", "/c"]),
    ("members", ["/a", "/b", "/c"]),
    ("cluster", ["nats://a:1", "tls://b:2", "nats://[::1]:3"]),
    ("cluster-name", ["a", "b", "c"]),
    ("cluster-credentials", ["/a", "/b", "/c"]),
    ("advertise", ["a:1", "b:2", "[::1]:3"]),
    ("sessions-max", ["1", "2", "3"]),
    ("connections-per-address", ["1", "2", "3"]),
    ("head-timeout", ["1s", "2s", "3s"]),
    ("idle-timeout", ["1s", "2s", "3s"]),
    ("write-timeout", ["1s", "2s", "3s"]),
    ("http-threads", ["on", "off", "on"]),
    ("cache-bytes", ["1", "2K", "3M"]),
    ("cache-entries", ["1", "2", "3"]),
    ("mail-bytes", ["1", "2K", "3M"]),
    ("mail-bytes-per-address", ["1", "2K", "3M"]),
    ("mail-bytes-per-sender", ["1", "2K", "3M"]),
    ("mail-bytes-per-recipient", ["1", "2K", "3M"]),
    ("mail-rate", ["1", "2K", "3M"]),
    ("mail-lifetime", ["1s", "2h", "3d"]),
    ("waiting-names", ["1", "2", "3"]),
    ("waiting-names-per-address", ["1", "2", "3"]),
    ("waiting-names-per-sender", ["1", "2", "3"]),
    ("watched-names", ["1", "2", "3"]),
    ("read-timeout", ["1s", "2s", "3s"]),
    ("taken-timeout", ["1s", "2s", "3s"]),
    ("session-memory", ["1", "2K", "3M"]),
    ("index-pairs", ["1", "2", "3"]),
    ("index-pairs-per-address", ["1", "2", "3"]),
    ("index-pairs-per-peer", ["1", "2", "3"]),
    ("new-names-per-hour", ["1", "2", "3"]),
    ("openings-per-minute", ["1", "2", "3"]),
    ("transfers", ["1", "2", "3"]),
    ("transfers-per-address", ["1", "2", "3"]),
    ("transfers-per-peer", ["1", "2", "3"]),
    ("transfer-rate", ["1", "2K", "3M"]),
    ("admin", ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]),
    ("flow", ["public", "off", "public"]),
    ("root", ["/a", "/b", "/c"]),
    ("listing", ["on", "off", "on"]),
    ("hidden-files", ["on", "off", "on"]),
    ("clean-urls", ["on", "off", "on"]),
    ("spa", ["on", "off", "on"]),
    ("compression", ["off", "on", "off"]),
    ("header", ["X-A: a", "X-A: b", "*.css X-A: c"]),
    ("cache-control", ["max-age=1", "max-age=2", "*.css=max-age=3"]),
    ("media-type", ["*.a=a/b", "*.a=a/c", "*.b=a/b"]),
    ("cors", ["*", "https://a.example", "https://b.example"]),
    ("redirect", ["/a /b", "/a /c", "/a /c 302"]),
    ("app", ["off", "on", "off"]),
    ("app-prefix", ["/a/", "/", "/b/c/"]),
    ("users", ["/a", "/b", "/c"]),
    ("log-format", ["json", "text", "json"]),
    ("quiet", ["on", "off", "on"]),
    ("access-log", ["/a", "/b", "/c"]),
    ("access-log-format", ["json", "combined", "json"]),
];

/// Options that need each other, which `certificates_can_be_said_in_each_source` tries.
const TOGETHER: [&str; 3] = ["tls-cert", "tls-key", "redirect-to-https"];

/// How a file says it.
fn line(option: &str, value: &str) -> String {
    let value = match value {
        "on" => "true".to_owned(),
        "off" => "false".to_owned(),
        _ if value.bytes().all(|byte| byte.is_ascii_digit()) => value.to_owned(),
        _ => format!("{value:?}"),
    };
    format!("{} = {value}\n", option.replace('-', "_"))
}

#[test]
fn every_option_can_be_said_in_each_source_and_the_stronger_one_counts() {
    for (option, [a, b, c]) in VALUES {
        // Without a log there is nothing to have a format, and without a cluster nothing to have a name.
        let common: &[&str] = match option {
            "access-log-format" => &["--access-log=/log"],
            "cluster-name" | "cluster-credentials" | "advertise" => &["--cluster=nats://z:1"],
            _ => &[],
        };
        let argument = |value: &str| format!("--{option}={value}");
        let alone = |value: &str| loaded(&[common, &[&argument(value)]].concat(), &[]);
        let default = alone(a);
        assert_ne!(default, loaded(common, &[]), "{option}: the first value is no default");
        assert_ne!(alone(a), alone(b), "{option}");

        let folder = folder(&line(option, c));
        let config = path_in(&folder, "server.toml");
        let name = format!("SWITCHBOARD_{}", option.replace('-', "_").to_ascii_uppercase());
        let in_file = [common, &["--config", &config]].concat();
        assert_eq!(loaded(&in_file, &[]), alone(c), "{option} in a file");
        assert_eq!(loaded(common, &[(&name, b)]), alone(b), "{option} in the environment");
        assert_eq!(loaded(&in_file, &[(&name, b)]), alone(b), "{option}: the environment over the file");
        assert_eq!(loaded(&in_file, &[(&name, "")]), alone(c), "{option}: an empty variable is none");
        let strongest = argument(a);
        let in_all = [&in_file[..], &[&strongest]].concat();
        assert_eq!(loaded(&in_all, &[(&name, b)]), alone(a), "{option}: the command line over all");
        // The file itself can be named by the environment, over which the command line counts too.
        let named = [("SWITCHBOARD_CONFIG", &*config)];
        assert_eq!(loaded(common, &named), alone(c), "{option} in a file of the environment");
        let nowhere = [("SWITCHBOARD_CONFIG", "/nowhere")];
        assert_eq!(loaded(&in_file, &nowhere), alone(c), "{option} in a file of the command line");
    }
}

#[test]
fn certificates_can_be_said_in_each_source() {
    let said = |cert: &str, key: &str, redirect: String| {
        let arguments = [format!("--tls-cert={cert}"), format!("--tls-key={key}"), redirect];
        let arguments = arguments.each_ref().map(String::as_str);
        loaded(&[&["--listen=tls:127.0.0.1:1"][..], &arguments].concat(), &[])
    };
    let (off, on) = (|| "--redirect-to-https=off".to_owned(), || "--redirect-to-https".to_owned());
    let folder = folder(
        "listen = \"tls:127.0.0.1:1\"\ntls_cert = \"c\"\ntls_key = [\"k\"]\nredirect_to_https = true\n",
    );
    let in_file = ["--config", &path_in(&folder, "server.toml")];
    assert_eq!(loaded(&in_file, &[]), said(&path_in(&folder, "c"), &path_in(&folder, "k"), on()));
    let other = [
        ("SWITCHBOARD_TLS_CERT", "/d"),
        ("SWITCHBOARD_TLS_KEY", "/l"),
        ("SWITCHBOARD_REDIRECT_TO_HTTPS", "off"),
    ];
    assert_eq!(loaded(&in_file, &other), said("/d", "/l", off()));
    let strongest = [&in_file[..], &["--tls-cert=/e", "--tls-key=/m"]].concat();
    assert_eq!(loaded(&strongest, &other), said("/e", "/m", off()));
    assert_ne!(said("/c", "/k", on()), said("/c", "/k", off()));
}

#[test]
fn no_option_is_forgotten_here() {
    let only_arguments = [
        "config",
        "check",
        "print-config",
        "cluster-import",
        "completions",
        "hash-password",
        "make-certificate",
        "help",
        "version",
    ];
    let command = Arguments::command();
    let all: BTreeSet<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    let tried = VALUES.iter().map(|(option, _)| *option).chain(TOGETHER).chain(only_arguments).collect();
    // Help and version belong to clap, which adds them later.
    let all = all.into_iter().chain(["help", "version"]).collect::<BTreeSet<_>>();
    assert_eq!(all, tried);
}

#[test]
fn the_defaults_are_those_of_the_actors() {
    assert_eq!(loaded(&[], &[]), format!("{:#?} Text false", Config::default()));
    // One default depends on another option, and one is the server's own and no field of the configuration.
    let help = Arguments::command().render_long_help().to_string();
    for default in
        ["three quarters of --sessions-max", "no-cache", "combined", "127.0.0.1:6789", "75s", "64M"]
    {
        assert!(help.contains(&format!("[default: {default}]")), "{default}");
    }
    assert!(!help.contains("true, false"), "switches are on or off");
    assert_eq!(loaded(&["--connections-per-address=12288"], &[]), loaded(&[], &[]));
    let log = "--access-log=/log";
    assert_eq!(loaded(&[log, "--access-log-format=combined"], &[]), loaded(&[log], &[]));
}

#[test]
fn the_origin_of_each_option_is_told() {
    let folder =
        folder("mail_rate = 5\nmail_bytes = 5\ntransfers = 5\n[[site]]\nhosts = \"a\"\nroot = \"a\"");
    let config = path_in(&folder, "server.toml");
    let variables =
        [("SWITCHBOARD_MAIL_RATE", "6"), ("SWITCHBOARD_MAIL_BYTES", "6"), ("SWITCHBOARD_QUIET", "")];
    let settings = load(&["--config", &config, "--mail-rate=7"], &variables).expect("it is good");
    let line = |key: &str| {
        let line = settings.origins.lines().find(|line| line.starts_with(&format!("{key} = ")));
        line.unwrap_or_else(|| panic!("no {key} in {}", settings.origins))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(line("mail_rate"), ["mail_rate", "=", "\"7\"", "#", "command", "line"]);
    assert_eq!(line("mail_bytes"), ["mail_bytes", "=", "\"6\"", "#", "environment"]);
    assert_eq!(line("transfers"), ["transfers", "=", "5", "#", "file"]);
    assert_eq!(line("quiet"), ["quiet", "=", "false", "#", "default"]);
    // It is still a configuration file.
    assert!(toml::de::DeTable::parse(&settings.origins).is_ok(), "{}", settings.origins);
}

#[test]
fn a_flag_alone_is_on() {
    for option in ["--listing", "--hidden-files", "--clean-urls", "--spa", "--quiet"] {
        assert_eq!(loaded(&[option], &[]), loaded(&[&format!("{option}=on")], &[]));
    }
}

#[test]
fn one_address_gets_three_quarters_of_what_there_is() {
    for (all, one) in [("4", 3), ("100", 75), ("1", 1)] {
        let limits = load(&["--sessions-max", all], &[]).expect("it is good").config.limits;
        assert_eq!(limits.connections_per_address, one, "of {all}");
    }
}

#[test]
fn several_values_are_repeated_or_stand_on_lines_of_a_variable_and_replace_those_of_the_file() {
    let folder = folder("header = [\"X-C: c\", \"X-D: d\"]\ncors = \"https://c.example\"");
    let config = ["--config", &path_in(&folder, "server.toml")];
    let twice = ["--header", "X-A: a, b", "--header", "X-B: b"];
    let settings = load(&[&config[..], &twice].concat(), &[]).expect("it is good");
    let names: Vec<_> = settings.config.sites[0].fields.iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["X-A", "X-B"]);
    let variables = [("SWITCHBOARD_HEADER", "X-A: a, b\n\n  X-B: b\n")];
    assert_eq!(loaded(&config, &variables), loaded(&[&config[..], &twice].concat(), &[]));
}

#[test]
fn what_is_wrong_in_the_environment_is_named_by_its_variables() {
    let variables = [
        ("SWITCHBOARD_HEAD_TIMEOUT", "30"),
        ("SWITCHBOARD_LOG_FORMAT", "xml"),
        ("SWITCHBOARD_HEADER", "X-A: a\nDate: b"),
        ("SWITCHBOARD_ROOT", "/a\n/b"),
    ];
    let problems = load(&[], &variables).expect_err("four are wrong").to_string();
    let lines: Vec<&str> = problems.lines().collect();
    assert_eq!(lines.len(), 4, "{problems}");
    for (name, words) in [
        ("SWITCHBOARD_HEAD_TIMEOUT: ", "unit"),
        ("SWITCHBOARD_LOG_FORMAT: ", "\"xml\" is not one of text, json"),
        ("SWITCHBOARD_HEADER: ", "the server sends the field Date itself"),
        ("SWITCHBOARD_ROOT: ", "cannot be used multiple times"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(name)).expect(name);
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn a_misspelt_variable_is_named_with_the_option_that_was_meant() {
    for (name, hint) in [
        ("SWITCHBOARD_LISEN", "; did you mean SWITCHBOARD_LISTEN?"),
        ("SWITCHBOARD_ACESS_LOG", "; did you mean SWITCHBOARD_ACCESS_LOG?"),
        ("SWITCHBOARD_listen", ""),
        ("SWITCHBOARD_CHECK", ""),
        ("SWITCHBOARD_COLOUR", ""),
        ("SWITCHBOARD_", ""),
    ] {
        let problems = load(&[], &[(name, "1")]).expect_err(name);
        assert_eq!(problems.0, [format!("{name}: the server has no such variable{hint}")]);
    }
    // Kubernetes sets these for a service with this name; nobody has typed them.
    let others = [
        ("SWITCHBOARD_SERVICE_HOST", "10.0.0.1"),
        ("SWITCHBOARD_SERVICE_PORT_WEB", "6789"),
        ("SWITCHBOARD_PORT", "tcp://10.0.0.1:6789"),
        ("SWITCHBOARD_PORT_6789_TCP_ADDR", "10.0.0.1"),
        ("OTHER_LISEN", "1"),
    ];
    assert_eq!(loaded(&[], &others), loaded(&[], &[]));
}
