//! TLS at the server, with the real binaries and with clients that share no code with them: curl and openssl.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use integration::http::HttpConnection;
use integration::{PATIENCE, Process, Sandbox, Server, binary, sha256_hex};

use crate::certificates::HeldOpen;

/// Makes a certificate with openssl: its own authority, for these names (`DNS:...` or `IP:...`).
pub(crate) fn make_certificate(sandbox: &Sandbox, file: &str, names: &str) -> [PathBuf; 2] {
    let [certificate, key] = ["pem", "key"].map(|extension| sandbox.path(&format!("{file}.{extension}")));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    command.args(["-days", "10", "-subj", "/CN=test", "-addext", &format!("subjectAltName={names}")]);
    command.arg("-out").arg(&certificate).arg("-keyout").arg(&key);
    let made = command.output().expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    [certificate, key]
}

/// Makes a certificate that expired in 2020, which openssl cannot do with one command.
pub(crate) fn make_expired_certificate(sandbox: &Sandbox) -> [PathBuf; 2] {
    let key = rcgen::KeyPair::generate().expect("there is randomness");
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]);
    let mut params = params.expect("the name is good");
    params.not_after = rcgen::date_time_ymd(2020, 1, 31);
    // As openssl makes them.
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("it can be signed");
    put_certificate(sandbox, "expired", &certificate, &key)
}

/// Writes a certificate and its key into files.
pub(crate) fn put_certificate(
    sandbox: &Sandbox,
    file: &str,
    certificate: &rcgen::Certificate,
    key: &rcgen::KeyPair,
) -> [PathBuf; 2] {
    let paths = ["pem", "key"].map(|extension| sandbox.path(&format!("{file}.{extension}")));
    std::fs::write(&paths[0], certificate.pem()).expect("the sandbox can be written");
    std::fs::write(&paths[1], key.serialize_pem()).expect("the sandbox can be written");
    paths
}

/// A server with TLS and without it, whose site is the directory `site`.
pub(crate) struct TlsServer {
    pub(crate) server: Server,
    pub(crate) tls: SocketAddr,
    pub(crate) certificate: PathBuf,
}

impl TlsServer {
    pub(crate) fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        // Not its own authority, so that every client accepts it for the server that it names.
        let key = rcgen::KeyPair::generate().expect("there is randomness");
        let params = rcgen::CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned));
        let certificate = params.and_then(|params| params.self_signed(&key)).expect("the names are good");
        Self::with_certificate(sandbox, put_certificate(sandbox, "server", &certificate, &key), arguments)
    }

    /// The same with another certificate and its key.
    pub(crate) fn with_certificate(
        sandbox: &Sandbox,
        [certificate, key]: [PathBuf; 2],
        arguments: &[&str],
    ) -> Self {
        let data = sandbox.path("server_data");
        let mut command = Server::site_command(&data, &sandbox.path("site"));
        command.args(["--listen", "127.0.0.1:0", "--listen", "tls:127.0.0.1:0"]).args(arguments);
        command.arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(key);
        let server = Server::launch(&data, command);
        let tls = server.process().line("listening on tls:").parse().expect("it is an address");
        Self { server, tls, certificate }
    }

    /// Runs curl on `https://localhost/PATH`, with this server's certificate as the authority.
    fn curl(&self, path: &str, arguments: &[&str]) -> (Option<i32>, Vec<u8>, String) {
        let port = self.tls.port();
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]).arg(&self.certificate);
        command.args(["--resolve", &format!("localhost:{port}:127.0.0.1")]).args(arguments);
        let output = command.arg(format!("https://localhost:{port}{path}")).output();
        let output = output.expect("curl is installed");
        (output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs `openssl s_client` with this standard input, and returns all that it prints.
    pub(crate) fn openssl(&self, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.tls.to_string(), "-servername", "localhost"]);
        command.arg("-CAfile").arg(&self.certificate).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("openssl is installed");
        // It may have ended already.
        let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

/// A site with a small file and one that is sent from the disk.
pub(crate) fn put_site(sandbox: &Sandbox) -> Vec<u8> {
    let large: Vec<u8> = (0..12_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    sandbox.put_site(&[("small.txt", "a small file\n")]);
    std::fs::write(sandbox.path("site/large.bin"), &large).expect("the sandbox can be written");
    large
}

#[test]
fn curl_gets_small_and_large_files_and_ranges_with_both_versions_of_tls() {
    let sandbox = Sandbox::new();
    let large = put_site(&sandbox);
    for mode in [&[][..], &["--http-threads"]] {
        let server = TlsServer::start(&sandbox, mode);
        for version in ["1.2", "1.3"] {
            let versions = [format!("--tlsv{version}"), "--tls-max".to_owned(), version.to_owned()];
            let versions = versions.each_ref().map(String::as_str);
            let get = |path: &str, more: &[&str]| {
                let (code, body, error) = server.curl(path, &[&versions, more].concat());
                assert_eq!(code, Some(0), "{path}: {error}");
                body
            };
            assert_eq!(get("/small.txt", &[]), b"a small file\n");
            assert_eq!(sha256_hex(&get("/large.bin", &[])), sha256_hex(&large));
            assert_eq!(get("/large.bin", &["--range", "5000000-9000000"]), large[5_000_000..=9_000_000]);
            let head = String::from_utf8(get("/small.txt", &["--head"])).expect("it is text");
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        }
        server.server.stop();
    }
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let server = TlsServer::start(&sandbox, &[]);
    // curl reports each connection that it makes.
    let port = server.tls.port();
    let url = format!("https://localhost:{port}/small.txt");
    let (code, body, verbose) = server.curl("/small.txt", &["--verbose", &url, &url]);
    assert_eq!(code, Some(0), "{verbose}");
    assert_eq!(body, b"a small file\n".repeat(3));
    assert_eq!(verbose.matches("Connected to").count(), 1, "{verbose}");
    assert!(verbose.contains("ALPN"), "{verbose}");
    // Pipelined: all requests in one record, and the last one ends the connection.
    let one = "GET /small.txt HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /large.bin HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-9\r\nConnection: close\r\n\r\n";
    let output = server.openssl(&["-quiet", "-ign_eof"], &[&one.repeat(500), last].concat());
    assert_eq!(output.matches("a small file").count(), 500);
    assert_eq!(output.matches("HTTP/1.1 206 ").count(), 1);
}

#[test]
fn sessions_are_resumed_and_old_versions_refused() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let server = TlsServer::start(&sandbox, &[]);
    let request = "GET /small.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let ticket = sandbox.path("ticket").to_str().expect("it is UTF-8").to_owned();
    for version in ["-tls1_2", "-tls1_3"] {
        let first = server.openssl(&[version, "-ign_eof", "-sess_out", &ticket], request);
        assert!(first.contains("New, TLSv1") && first.contains("Verify return code: 0"), "{first}");
        let second = server.openssl(&[version, "-ign_eof", "-sess_in", &ticket], request);
        assert!(second.contains("Reused, TLSv1") && second.contains("a small file"), "{second}");
    }
    // Debian's openssl offers TLS 1.1 only at this level.
    let old = server.openssl(&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], "");
    assert!(old.contains("alert"), "{old}");
    server.server.process().wait("the reason", |lines| {
        lines.iter().find(|line| line.contains("neither TLS 1.2 nor TLS 1.3")).cloned()
    });
}

#[test]
fn slow_and_silent_handshakes_end_in_time() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let server = TlsServer::start(&sandbox, &["--head-timeout", "500ms"]);
    let mut silent = TcpStream::connect(server.tls).expect("the server accepts");
    let mut slow = TcpStream::connect(server.tls).expect("the server accepts");
    for stream in [&silent, &slow] {
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    }
    // The head of a record whose rest does not come.
    slow.write_all(&[22, 3, 1, 2, 0, 1]).expect("the server reads");
    for stream in [&mut silent, &mut slow] {
        // What comes before the end is an alert.
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(!matches!(ended, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock), "it is still open");
    }
    assert_eq!(server.curl("/small.txt", &[]).0, Some(0));
}

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    let sandbox = Sandbox::new();
    let large = put_site(&sandbox);
    let server = TlsServer::start(&sandbox, &[]);
    let (code, body, error) = server.curl("/large.bin", &["--limit-rate", "6M"]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(sha256_hex(&body), sha256_hex(&large));
}

#[test]
fn the_server_ends_in_order_with_connections_of_tls() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let server = TlsServer::start(&sandbox, &[]);
    let mut open = HeldOpen::start(server.tls, "localhost");
    open.ask();
    let silent = TcpStream::connect(server.tls).expect("the server accepts");
    let begun = std::time::Instant::now();
    server.server.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "it waits for idle connections");
    // The system reports the end of the connection.
    let _ = silent.shutdown(Shutdown::Both);
    open.end();
}

/// Runs the web client in the sandbox.
pub(crate) fn webclient(sandbox: &Sandbox, arguments: &[&str]) -> integration::Finished {
    let mut command = Command::new(binary("webclient"));
    command.current_dir(sandbox.path("")).args(arguments);
    Process::start(format!("webclient {}", arguments.join(" ")), command).finish()
}

#[test]
fn the_web_client_accepts_the_authorities_that_it_is_told() {
    let sandbox = Sandbox::new();
    let large = put_site(&sandbox);
    let server = TlsServer::start(&sandbox, &[]);
    let port = server.tls.port();
    let url = format!("https://localhost:{port}/small.txt");
    let fetched = webclient(&sandbox, &[&url, "--ca", "server.pem", "--body"]).expect(0);
    assert_eq!(fetched.lines, ["a small file"]);
    let by_address = format!("https://127.0.0.1:{port}/large.bin");
    webclient(&sandbox, &[&by_address, "--ca", "server.pem", "--output", "large"]).expect(0);
    let saved = std::fs::read(sandbox.path("large")).expect("it is saved");
    assert_eq!(sha256_hex(&saved), sha256_hex(&large));
    // Those of this machine do not include it.
    webclient(&sandbox, &[&url]).expect(2).says(&["no TLS connection", "no known authority", "--ca FILE"]);
}

#[test]
fn the_web_client_pins_a_certificate_at_first_use_and_refuses_another() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let server = TlsServer::start(&sandbox, &[]);
    let url = format!("https://localhost:{}/small.txt", server.tls.port());
    let get = || webclient(&sandbox, &[&url, "--pin", "pins", "--body"]);
    let first = get().expect(0);
    first.says(&["pinned the certificate", "seen for the first time", "SHA-256"]);
    let pins = std::fs::read_to_string(sandbox.path("pins")).expect("it is made");
    assert!(pins.starts_with(&format!("localhost:{} ", server.tls.port())), "{pins}");
    assert_eq!(get().expect(0).stderr, "");
    let [other, other_key] = make_certificate(&sandbox, "other", "DNS:localhost");
    std::fs::copy(other_key, sandbox.path("server.key")).expect("it can be replaced");
    std::fs::copy(other, &server.certificate).expect("it can be replaced");
    server.server.process().signal(rustix::process::Signal::HUP);
    server.server.process().wait("the new certificate", |lines| {
        lines.iter().find(|line| line.contains("were read again")).cloned()
    });
    let pinned = pins.split_whitespace().nth(1).expect("it has a fingerprint");
    get().expect(2).says(&["its certificate has changed", pinned, "remove its line"]);
    let known = || std::fs::read_to_string(sandbox.path("pins")).expect("it is there");
    assert_eq!(known(), pins);
    // By its address it is another server, and the disk has no room for its pin.
    let url = format!("https://127.0.0.1:{}/small.txt", server.tls.port());
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]).arg(binary("webclient"));
    command.args([&url, "--pin", "pins", "--body"]).current_dir(sandbox.path(""));
    let refused = Process::start("webclient without room", command).finish().expect(1);
    refused.says(&["cannot use the pinned certificates in pins", "has room", "--pin"]);
    assert_eq!(known(), pins);
    webclient(&sandbox, &[&url, "--pin", "pins"]).expect(0);
    assert!(known().starts_with(&pins) && known().lines().count() == 2, "{}", known());
}

#[test]
fn a_certificate_can_be_made_for_names_and_addresses() {
    let sandbox = Sandbox::new();
    put_site(&sandbox);
    let make = |names: &[&str]| {
        let mut command = Command::new(binary("server"));
        command.current_dir(sandbox.path("")).arg("--make-certificate").args(names);
        Process::start("server --make-certificate", command).finish()
    };
    make(&["not a name"]).expect(1).says(&["not a name", "neither a host name nor an address"]);
    let made = make(&["localhost", "127.0.0.1", "::1", "*.lab.test"]).expect(0);
    let [certificate, key] = ["certificate.pem", "certificate.key"].map(|name| sandbox.path(name));
    let mode = std::fs::metadata(&key).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-fingerprint", "-sha256", "-ext", "subjectAltName", "-in"]);
    let shown = command.arg(&certificate).output().expect("openssl is installed");
    let shown = String::from_utf8(shown.stdout).expect("it is text");
    for name in ["DNS:localhost", "IP Address:127.0.0.1", "IP Address:0:0:0:0:0:0:0:1", "DNS:*.lab.test"] {
        assert!(shown.contains(name), "{shown}");
    }
    let fingerprint = shown
        .lines()
        .find_map(|line| line.to_lowercase().split_once("fingerprint=").map(|(_, hex)| hex.replace(':', "")));
    let printed = made.lines.iter().find_map(|line| line.strip_prefix("SHA-256 fingerprint "));
    assert_eq!(printed.map(str::to_owned), fingerprint);
    make(&["localhost"]).expect(1).says(&["certificate.key is there already"]);

    let mut command = Server::site_command(&sandbox.path("data"), &sandbox.path("site"));
    command.args(["--listen", "127.0.0.1:0", "--listen", "tls:127.0.0.1:0", "--redirect-to-https"]);
    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
    let server = Server::launch(&sandbox.path("data"), command);
    let tls: SocketAddr = server.process().line("listening on tls:").parse().expect("it is an address");
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}/small.txt", tls.port());
        webclient(&sandbox, &[&url, "--ca", "certificate.pem"]).expect(0);
    }
    // Plain requests are redirected there.
    let answer = HttpConnection::open(server.address()).get("/small.txt?a=b", &[]);
    let location = format!("https://localhost:{}/small.txt?a=b", tls.port());
    assert_eq!((answer.status, answer.field("location")), (308, Some(location.as_str())));
    let port = server.address().port().to_string();
    let arguments = ["localhost", &port, "small.txt", "--follow", "--ca", "certificate.pem", "--body"];
    assert_eq!(webclient(&sandbox, &arguments).expect(0).lines, ["a small file"]);
    // HTTP/1.0 without a host has nowhere to go.
    let mut old = HttpConnection::open(server.address());
    old.send(b"GET /small.txt HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer().expect("the server answers").status, 400);
}
