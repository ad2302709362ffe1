//! Which certificates are refused, and which one a client gets.

use super::*;

#[test]
fn a_bad_certificate_is_refused_with_the_file_and_the_reason() {
    let folder = Folder::new();
    let good = folder.certificate(&["a.test"]);
    let other = folder.certificate(&["b.test"]);
    let expired =
        folder.certificate_with(&["c.test"], |params| params.not_after = date_time_ymd(2020, 1, 31));
    let future = folder.certificate_with(&["d.test"], |params| params.not_before = date_time_ymd(2999, 1, 1));
    let empty = folder.put("empty.pem", "nothing\n");
    let cut = folder.put("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let refused = |files: TlsFiles, words: &[&str]| {
        let error = load(std::slice::from_ref(&files)).expect_err("it cannot be used");
        for word in words {
            assert!(error.contains(word), "{word} is not in {error}");
        }
    };
    let with = |certificate: &PathBuf, key: &PathBuf| TlsFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        hosts: Vec::new(),
    };
    refused(with(&"missing.pem".into(), &good.key), &["certificate missing.pem", "No such file"]);
    refused(with(&empty, &good.key), &["empty.pem", "no certificate"]);
    refused(with(&good.key, &good.key), &["a.test.key", "no certificate"]);
    refused(with(&cut, &good.key), &["cut.pem", "not PEM"]);
    refused(with(&good.certificate, &empty), &["key", "empty.pem", "no private key"]);
    refused(with(&good.certificate, &other.key), &["b.test.key", "does not belong", "a.test.pem"]);
    refused(expired, &["c.test.pem", "expired on Fri, 31 Jan 2020"]);
    refused(future, &["d.test.pem", "valid only from Tue, 01 Jan 2999"]);
    assert!(load(&[good, other]).is_ok());
}

/// The certificate that a client gets that asks for `name`, and trusts all of `files`.
fn presented(config: &TlsConfig, files: &[&TlsFiles], name: &'static str) -> Option<Vec<u8>> {
    let mut pair = Pair::new(config, client_config(files, &[&version::TLS13]), usize::MAX);
    let name = name.try_into().expect("it is a name");
    pair.client = ClientConnection::new(client_config(files, &[&version::TLS13]), name).expect("it is good");
    pair.send();
    assert!(is_waiting(&pair.server.read(&mut pair.socket, &mut [0])));
    pair.client.read_tls(&mut &pair.socket.outgoing[..]).expect("it is memory");
    pair.client.process_new_packets().ok()?;
    pair.client.peer_certificates().map(|chain| chain[0].to_vec())
}

fn der(files: &TlsFiles) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_file(&files.certificate).expect("it is there").to_vec()
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let folder = Folder::new();
    let files = [folder.certificate(&["a.test"]), folder.certificate(&["*.b.test", "b.test"])];
    let der = files.each_ref().map(der);
    let trusted = files.each_ref();
    let config = load(&files).expect("they are good");
    assert_eq!(presented(&config, &trusted, "a.test"), Some(der[0].clone()));
    assert_eq!(presented(&config, &trusted, "b.test"), Some(der[1].clone()));
    assert_eq!(presented(&config, &trusted, "x.b.test"), Some(der[1].clone()));
    // The first one, which is not for this name, so the client refuses it.
    assert_eq!(presented(&config, &trusted, "c.test"), None);
}

#[test]
fn a_chain_is_sent_whole() {
    let folder = Folder::new();
    let authority_key = KeyPair::generate().expect("there is randomness");
    let mut params = CertificateParams::new(Vec::new()).expect("it has no names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("it can be signed");
    let root = TlsFiles {
        certificate: folder.put("root.pem", &authority.pem()),
        key: PathBuf::new(),
        hosts: Vec::new(),
    };
    let authority_issuer = Issuer::new(params, authority_key);
    let (middle_key, leaf_key) = (KeyPair::generate(), KeyPair::generate());
    let (middle_key, leaf_key) =
        (middle_key.expect("there is randomness"), leaf_key.expect("there is randomness"));
    let mut params = CertificateParams::new(Vec::new()).expect("it has no names");
    params.distinguished_name.push(rcgen::DnType::CommonName, "middle");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let middle = params.signed_by(&middle_key, &authority_issuer).expect("it can be signed");
    let issuer = Issuer::new(params, middle_key);
    let params = CertificateParams::new(vec!["a.test".to_owned()]).expect("the name is good");
    let leaf = params.signed_by(&leaf_key, &issuer).expect("it can be signed");
    let key = folder.put("leaf.key", &leaf_key.serialize_pem());
    let whole = folder.put("whole.pem", &format!("{}{}", leaf.pem(), middle.pem()));
    let part = folder.put("part.pem", &leaf.pem());
    let config =
        load(&[TlsFiles { certificate: whole, key: key.clone(), hosts: Vec::new() }]).expect("it is good");
    assert_eq!(presented(&config, &[&root], "a.test"), Some(leaf.der().to_vec()));
    // Only a warning, because the clients may know the authority in the middle.
    let config = load(&[TlsFiles { certificate: part, key, hosts: Vec::new() }]).expect("it can be used");
    assert_eq!(presented(&config, &[&root], "a.test"), None);
}

#[test]
fn a_site_has_a_certificate_of_its_own() {
    let folder = Folder::new();
    let [of_server, of_site] =
        [&["c.test", "a.test"], &["a.test", "b.test"]].map(|names| folder.certificate(names));
    let with_hosts = |hosts: &[&str]| TlsFiles {
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        ..of_site.clone()
    };
    let all = [&of_server, &of_site];
    let shown = |config: &TlsConfig, name| {
        let shown = presented(config, &all, name).expect("there is one");
        all.map(|files| der(files) == shown)
    };
    let config = load(&[of_server.clone(), with_hosts(&["a.test"])]).expect("they are good");
    assert_eq!(shown(&config, "a.test"), [false, true]);
    assert_eq!(shown(&config, "c.test"), [true, false], "it is a name of the server");
    // A site that is named first is not for the names of others.
    let config = load(&[with_hosts(&["b.test"]), of_server.clone()]).expect("they are good");
    assert_eq!(shown(&config, "a.test"), [true, false]);
    let error = load(&[with_hosts(&["b.test", "c.test"])]).expect_err("it is not for c.test");
    for words in ["of the site b.test", "it is not for c.test"] {
        assert!(error.contains(words), "{error}");
    }
}
