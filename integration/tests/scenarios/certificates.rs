//! The certificates of a server with the real binaries: chosen by name, replaced while it runs, and refused at the start.

use std::path::Path;
use std::process::Command;

use integration::{Process, Sandbox, Server};

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
    // A connection that stays open over both changes.
    let mut open = HeldOpen::start(&server);
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
    // A signal reads them at once, changed or not.
    let before = server.server.process().wait("lines", |lines| Some(lines.len()));
    server.server.process().signal(rustix::process::Signal::HUP);
    server.server.process().wait("another reading", |lines| {
        lines[before..].iter().find(|line| line.contains("were read again")).cloned()
    });
}

/// A connection of `openssl s_client` that stays open.
pub(crate) struct HeldOpen {
    process: Process,
    answers: usize,
}

impl HeldOpen {
    pub(crate) fn start(server: &TlsServer) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &server.tls.to_string(), "-quiet"]);
        Self { process: Process::start("openssl s_client", command), answers: 0 }
    }

    pub(crate) fn ask(&mut self) {
        self.process.type_line("GET /small.txt HTTP/1.1\r\nHost: localhost\r\n\r");
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

#[test]
fn the_name_chooses_the_certificate() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let [certificate, key] = make_certificate(&sandbox, "other", "DNS:other.test");
    let paths = [certificate, key].map(|path| path.to_str().expect("it is UTF-8").to_owned());
    let server = TlsServer::start(&sandbox, &["--tls-cert", &paths[0], "--tls-key", &paths[1]]);
    let port = server.tls.port();
    for (host, authority, is_right) in [("other.test", &paths[0], true), ("third.test", &paths[0], false)] {
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
