//! The certificates of a server with the real binaries: chosen by name, replaced while it runs, and refused at the start.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use integration::{Process, Sandbox, Server, binary};
use rustix::process::Signal;

use crate::tls::{TlsServer, make_certificate, make_expired_certificate, put_site};

#[test]
fn certificates_are_read_again_without_ending_connections() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let server = TlsServer::start(&sandbox, &[]);
    let shows = |server: &TlsServer| {
        let output = server.openssl(&["-showcerts"], "");
        let begin = output.find("-----BEGIN CERTIFICATE-----").expect("a certificate is shown");
        output[begin..].split("-----END").next().expect("it has an end").trim().to_owned()
    };
    let pem = |path: &Path| {
        let text = std::fs::read_to_string(path).expect("it is there");
        text.split("-----END").next().expect("it has an end").trim().to_owned()
    };
    let first = pem(&server.certificate);
    assert_eq!(shows(&server), first);
    let request = "GET /small.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let ticket = sandbox.path("ticket").to_str().expect("it is UTF-8").to_owned();
    server.openssl(&["-ign_eof", "-sess_out", &ticket], request);
    // A connection that stays open over both changes.
    let mut open = HeldOpen::start(server.tls, "localhost");
    open.ask();
    let [other_certificate, other_key] = make_certificate(&sandbox, "other", "DNS:localhost,IP:127.0.0.1");
    std::fs::copy(&other_certificate, &server.certificate).expect("it can be replaced");
    let logged = |words: &str| {
        server.server.process().wait(words, |lines| lines.iter().find(|line| line.contains(words)).cloned());
    };
    // The key of the new certificate is missing.
    logged("the previous TLS certificates stay in use");
    assert_eq!(shows(&server), first);
    std::fs::copy(&other_key, sandbox.path("server.key")).expect("it can be replaced");
    logged("the TLS certificates were read again");
    assert_eq!(shows(&server), pem(&other_certificate));
    open.ask();
    open.end();
    // The keys for session tickets stay the same.
    let resumed = server.openssl(&["-ign_eof", "-sess_in", &ticket], request);
    assert!(resumed.contains("Reused, TLSv1") && resumed.contains("a small file"), "{resumed}");
    // A signal reads them at once, changed or not.
    let before = server.server.process().wait("lines", |lines| Some(lines.len()));
    server.server.process().signal(Signal::HUP);
    server.server.process().wait("another reading", |lines| {
        lines[before..].iter().find(|line| line.contains("were read again")).cloned()
    });
}

/// A connection of `openssl s_client` that stays open.
pub(crate) struct HeldOpen {
    process: Process,
    host: String,
    answers: usize,
}

impl HeldOpen {
    pub(crate) fn start(tls: SocketAddr, host: &str) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &tls.to_string(), "-servername", host, "-quiet"]);
        Self { process: Process::start("openssl s_client", command), host: host.to_owned(), answers: 0 }
    }

    pub(crate) fn ask(&mut self) {
        self.process.type_line(&format!("GET /small.txt HTTP/1.1\r\nHost: {}\r\n\r", self.host));
        self.answers += 1;
        self.process.wait("an answer", |lines| {
            let answers = lines.iter().filter(|line| line.contains("a small file")).count();
            (answers == self.answers).then_some(())
        });
    }

    pub(crate) fn end(mut self) {
        self.process.end_input();
        self.process.kill();
    }
}

/// The first line of `/small.txt` of this host for a client that trusts this authority; `None` if it refuses the certificate.
fn fetched(tls: SocketAddr, host: &str, authority: &Path) -> Option<String> {
    let port = tls.port();
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "60", "--resolve", &format!("{host}:{port}:127.0.0.1")]);
    command.arg("--cacert").arg(authority).arg(format!("https://{host}:{port}/small.txt"));
    let output = command.output().expect("curl is installed");
    // 60: the certificate of the server cannot be verified.
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).expect("it is text")),
        Some(60) => None,
        _ => panic!("{output:?}"),
    }
}

#[test]
fn each_site_has_its_own_certificate_which_can_be_replaced() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let hosts = ["docs.test", "shop.test"];
    let mut text = String::from(
        "listen = [\"127.0.0.1:0\", \"tls:127.0.0.1:0\"]\nroot = \"site\"\ndata = \"data\"\n\
         tls_cert = \"server.pem\"\ntls_key = \"server.key\"\n",
    );
    make_certificate(&sandbox, "server", "DNS:localhost");
    for host in hosts {
        make_certificate(&sandbox, host, &format!("DNS:{host}"));
        let root = sandbox.path(&format!("{host}.site"));
        std::fs::create_dir(&root).expect("the sandbox can be written");
        std::fs::write(root.join("small.txt"), format!("a small file of {host}\n"))
            .expect("the sandbox can be written");
        text.push_str(&format!(
            "[[site]]\nhosts = [\"{host}\"]\nroot = \"{host}.site\"\ntls_cert = \"{host}.pem\"\ntls_key = \"{host}.key\"\n"
        ));
    }
    std::fs::write(sandbox.path("server.toml"), text).expect("the sandbox can be written");
    let mut command = Command::new(binary("server"));
    command.arg("--config").arg(sandbox.path("server.toml"));
    let server = Server::launch(&sandbox.path("data"), command);
    let tls: SocketAddr = server.process().line("listening on tls:").parse().expect("it is an address");
    let of = |host: &str| sandbox.path(&format!("{host}.pem"));
    let file_of = |host: &str| Some(format!("a small file of {host}\n"));
    for host in hosts {
        assert_eq!(fetched(tls, host, &of(host)), file_of(host));
    }
    assert_eq!(fetched(tls, "docs.test", &of("shop.test")), None, "each has only its own");
    assert_eq!(fetched(tls, "localhost", &of("server")), Some("a small file\n".to_owned()));

    let mut open = HeldOpen::start(tls, "docs.test");
    open.ask();
    let old = sandbox.path("old.pem");
    std::fs::copy(of("docs.test"), &old).expect("the sandbox can be written");
    make_certificate(&sandbox, "docs.test", "DNS:docs.test");
    server.process().signal(Signal::HUP);
    server.process().wait("the new certificate", |lines| {
        lines.iter().find(|line| line.contains("were read again")).cloned()
    });
    assert_eq!(fetched(tls, "docs.test", &of("docs.test")), file_of("docs.test"));
    assert_eq!(fetched(tls, "docs.test", &old), None, "it is not used any more");
    assert_eq!(fetched(tls, "shop.test", &of("shop.test")), file_of("shop.test"));
    open.ask();
    open.end();
    server.stop();
}

#[test]
fn the_name_chooses_the_certificate() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let [certificate, key] = make_certificate(&sandbox, "other", "DNS:other.test");
    let paths = [certificate, key].map(|path| path.to_str().expect("it is UTF-8").to_owned());
    let server = TlsServer::start(&sandbox, &["--tls-cert", &paths[0], "--tls-key", &paths[1]]);
    let port = server.tls.port();
    let [first, other] = [server.certificate.to_str().expect("it is UTF-8"), &paths[0]];
    for (host, authority, is_right) in
        [("localhost", first, true), ("other.test", other, true), ("third.test", other, false)]
    {
        let mut command = Command::new("curl");
        command.args(["--silent", "--cacert", authority, "--resolve", &format!("{host}:{port}:127.0.0.1")]);
        let output =
            command.arg(format!("https://{host}:{port}/small.txt")).output().expect("curl is installed");
        assert_eq!(output.status.success(), is_right, "{host}: {output:?}");
    }
}

#[test]
fn a_bad_certificate_prevents_the_start_with_one_line() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let [certificate, key] = make_certificate(&sandbox, "good", "DNS:localhost");
    let [other, _] = make_certificate(&sandbox, "other", "DNS:localhost");
    let [expired, expired_key] = make_expired_certificate(&sandbox);
    let start = |pairs: &[(&str, &Path)], tls: bool| {
        let mut command = Server::site_command(&sandbox.path("data"), &sandbox.path("site"));
        command.args(["--listen", if tls { "tls:127.0.0.1:0" } else { "127.0.0.1:0" }]);
        for (option, path) in pairs {
            command.arg(option).arg(path);
        }
        Process::start("server", command).finish().expect(1)
    };
    let (cert, private) = ("--tls-cert", "--tls-key");
    start(&[(cert, &other), (private, &key)], true).says(&["good.key", "does not belong", "other.pem"]);
    start(&[(cert, &expired), (private, &expired_key)], true).says(&["expired.pem", "expired on", "renew"]);
    start(&[(cert, &key), (private, &key)], true).says(&["good.key", "no certificate"]);
    start(&[(cert, &certificate), (private, &certificate)], true).says(&["good.pem", "no private key"]);
    start(&[(cert, &certificate)], true).says(&["tls_cert is given 1 time(s) and tls_key 0"]);
    start(&[], true).says(&["needs tls_cert and tls_key"]);
    start(&[(cert, &certificate), (private, &key)], false).says(&["no effect without listen tls:"]);
}
