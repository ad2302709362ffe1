//! `--check`: what only a look at the disk tells, and what would be served.

use super::{folder, load, path_in};

/// Of a password, as `htpasswd -B` makes it.
const HASH: &str = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";

/// Checks a configuration with a good root beside its file, and returns what is said about it.
fn said(text: &str) -> Vec<String> {
    let folder = folder(text);
    let path = folder.path();
    std::fs::create_dir(path.join("www")).expect("the folder can be written");
    for (name, text) in [
        ("file", "text"),
        ("users", &format!("# who\n\nann:{HASH}\nbob:{HASH}\n")),
        ("nobody", "# nobody\n"),
        ("broken", &format!("ann:{HASH}\nbob\n:{HASH}\ncyd:{{SHA}}hash\nann:{HASH}\n")),
    ] {
        std::fs::write(path.join(name), text).expect("the folder can be written");
    }
    let config = path_in(&folder, "server.toml");
    match load(&["--config", &config, "--check"], &[]) {
        Ok(_) => Vec::new(),
        Err(problems) => {
            let folder = format!("{}/", path.display());
            problems.0.iter().map(|problem| problem.replace(&folder, "")).collect()
        }
    }
}

#[test]
fn what_is_not_there_is_named() {
    for (text, expected) in [
        ("root = \"none\"", "1:8: root: none: No such file or directory"),
        ("root = \"file\"", "1:8: root: file: Not a directory"),
        ("root = \"www\"\nspa = true", "2:7: spa: www: there is no index.html in it"),
        ("root = \"www\"\nusers = \"none\"", "2:9: users: none: No such file"),
        ("root = \"www\"\nusers = \"nobody\"", "2:9: users: nobody: it has no user"),
        ("root = \"www\"\ndata = \"file\"", "2:8: data: file: it is not a directory"),
        ("root = \"www\"\ndata = \"file/data\"", "2:8: data: file/data: Not a directory"),
        ("root = \"www\"\naccess_log = \"www\"", "2:14: access_log: www: it is a directory"),
        (
            "root = \"www\"\naccess_log = \"none/log\"",
            "2:14: access_log: none/log: the directory that it would be in",
        ),
        (
            "root = \"www\"\nlisten = \"unix:file\"",
            "2:10: listen: file: something that is not a socket is there",
        ),
        (
            "root = \"www\"\nlisten = \"unix:none/a\"",
            "2:10: listen: none/a: the directory that it would be in",
        ),
        ("root = \"www\"\n[[site]]\nhosts = \"a\"\nroot = \"none\"", "4:8: root: none: No such file"),
        (
            "root = \"www\"\nlisten = \"tls:127.0.0.1:1\"\ntls_cert = \"none\"\ntls_key = \"none\"",
            "3:12: cannot use the TLS certificate none: ",
        ),
    ] {
        let said = said(text);
        let expected = format!("server.toml:{expected}");
        assert!(said.len() == 1 && said[0].starts_with(&expected), "{text}: {expected:?} is not {said:?}");
    }
    let broken = said("root = \"www\"\nusers = \"broken\"");
    let expected = [
        "2: it is not NAME:HASH",
        "3: the name is empty",
        "4: the hash is SHA-1; only bcrypt is taken, as htpasswd -B makes it",
        "5: ann is already on line 1",
    ];
    assert_eq!(broken, expected.map(|said| format!("server.toml:2:9: users: broken: line {said}")));
}

#[test]
fn what_is_there_or_can_be_made_is_good() {
    let text =
        "root = \"www\"\nusers = \"users\"\ndata = \"none/data\"\naccess_log = \"log\"\nlisten = \"unix:s\"";
    assert_eq!(said(text), Vec::<String>::new());
}

#[test]
fn a_mistake_that_is_not_from_the_file_has_no_place_in_it() {
    let folder = folder("root = \"www\"\nlisten = \"unix:none/a\"");
    let config = path_in(&folder, "server.toml");
    let arguments = ["--config", &config, "--root=none", "--listen=unix:/none/b", "--check"];
    let problems = load(&arguments, &[]).expect_err("neither is there").0;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].starts_with("listen: /none/b: ") && problems[1].starts_with("root: none: "),
        "{problems:?}"
    );
}

#[test]
fn mistakes_in_the_file_and_on_the_disk_are_named_together() {
    let said = said("root = \"none\"\nspa = 1");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("server.toml:2:7: ") && said[1].starts_with("server.toml:1:8: root: none: "),
        "{said:?}"
    );
}

#[test]
fn without_check_the_disk_is_left_alone() {
    load(&["--root=/nowhere", "--users=/nowhere"], &[]).expect("nobody looks");
}

#[test]
fn the_summary_tells_what_would_be_served() {
    let folder = folder(
        "listen = [\"127.0.0.1:80\", \"unix:/s,mode=0606\", \"systemd\"]\nadmin = \"[::1]:81\"\ndata = \"/d\"\n\
         sessions_max = 8\naccess_log = \"/l\"\naccess_log_format = \"json\"\nroot = \"/r\"\ncompression = false\n\
         [[site]]\nhosts = [\"a\", \"b\"]\nroot = \"/e\\u001b\\u0085\"\nspa = true\nusers = \"/u\"\ncors = \"*\"\n\
         header = [\"X-A: a\", { paths = \"*.css\", name = \"X-B\", value = \"b\" }]\nredirect = \"/a /b 302\"\n",
    );
    let settings = load(&["--config", &path_in(&folder, "server.toml")], &[]).expect("it is good");
    let expected = r#"listen = ["127.0.0.1:80", "unix:/s,mode=0606", "systemd"]
tls_cert = []
tls_key = []
redirect_to_https = false
data = "/d"
cluster = []
cluster_name = "switchboard"
sessions_max = 8
connections_per_address = 6
head_timeout = "30s"
idle_timeout = "75s"
write_timeout = "30s"
http_threads = false
cache_bytes = "64M"
cache_entries = 65536
admin = "[::1]:81"
flow = "admin"
mail_bytes = "16G"
mail_bytes_per_address = "4G"
mail_bytes_per_sender = "64M"
mail_bytes_per_recipient = "256M"
mail_rate = "8M"
mail_lifetime = "30d"
waiting_names = 10000
waiting_names_per_address = 2500
waiting_names_per_sender = 256
watched_names = 4096
read_timeout = "30s"
taken_timeout = "30s"
session_memory = "256M"
index_pairs = 16000000
index_pairs_per_address = 4000000
index_pairs_per_peer = 1000000
new_names_per_hour = 256
openings_per_minute = 6000
transfers = 512
transfers_per_address = 128
transfers_per_peer = 32
transfer_rate = "64M"
log_format = "text"
quiet = false
access_log = "/l"
access_log_format = "json"
root = "/r"
listing = false
hidden_files = false
clean_urls = false
spa = false
compression = false
header = []
cache_control = []
redirect = []
media_type = []
cors = []
app = true
app_prefix = "/switchboard/"
[[site]]
hosts = ["a", "b"]
root = "/e\u001B\u0085"
listing = false
hidden_files = false
clean_urls = false
spa = true
compression = true
header = ["X-A: a", "**/*.css X-B: b"]
cache_control = []
redirect = ["/a /b 302"]
media_type = []
cors = ["*"]
app = false
app_prefix = "/switchboard/"
users = "/u"
"#;
    assert_eq!(settings.summary, expected);
    // It is a configuration file itself.
    let again = self::folder(&settings.summary);
    let again = load(&["--config", &path_in(&again, "server.toml")], &[]).expect("it is good");
    assert_eq!(again.summary, expected);
}
