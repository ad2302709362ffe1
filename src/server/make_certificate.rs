//! `server --make-certificate`: a certificate for a server whose name no authority can check.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use data_encoding::HEXLOWER;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::pki_types::ServerName;
use sha2::{Digest as _, Sha256};
use wire::escape::Escaped;

/// The files, in the current directory.
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "certificate.key";
/// How long it is valid, in days. Some systems refuse certificates of more than 825 days.
const VALID_DAYS: i64 = 730;
/// Valid from the day before, because the clocks of clients may be behind.
const VALID_BEFORE_DAYS: i64 = 1;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{} is neither a host name nor an address, so there can be no certificate for it", Escaped(.0))]
    Name(String),
    #[error("{0} is there already; remove it, or make the certificate in another directory")]
    Exists(&'static str),
    #[error("cannot write {0}: {1}")]
    Write(&'static str, io::Error),
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Makes a certificate for these host names and addresses, and its private key, and writes both into `folder`. Returns what to
/// tell the user.
///
/// # Errors
/// [`Error`]; nothing is overwritten.
pub(super) fn make_certificate(names: &[String], folder: &Path) -> Result<String, Error> {
    for name in names {
        // A wildcard is good in a certificate, and not as the name of a server.
        let host = name.strip_prefix("*.").unwrap_or(name);
        if ServerName::try_from(host).is_err() {
            return Err(Error::Name(name.clone()));
        }
    }
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let (first_day, last_day) = (today - VALID_BEFORE_DAYS.days(), today + VALID_DAYS.days());
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, names[0].as_str());
    // The numbers are positive. There is no name for the type of `not_before` here.
    let numbers = |day: Date| (i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs());
    let ((year, month, day), (last_year, last_month, last)) = (numbers(first_day), numbers(last_day));
    params.not_before = date_time_ymd(year, month, day);
    params.not_after = date_time_ymd(last_year, last_month, last);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    // The key first: a certificate without a key is of no use, and can be made again.
    write_new(folder, KEY, 0o600, &key.serialize_pem())?;
    write_new(folder, CERTIFICATE, 0o644, &certificate.pem()).inspect_err(|_| {
        // Otherwise the key would be in the way of the next attempt, and could be taken for that of another certificate.
        let _ = fs::remove_file(folder.join(KEY));
    })?;
    let fingerprint = HEXLOWER.encode(&Sha256::digest(certificate.der()));
    let names = names.join(", ");
    Ok(format!(
        "wrote {CERTIFICATE} and {KEY} for {names}, valid until {last_day}\n\
         SHA-256 fingerprint {fingerprint}\n\
         use them with --listen tls:ADDR:PORT --tls-cert {CERTIFICATE} --tls-key {KEY}"
    ))
}

fn write_new(folder: &Path, name: &'static str, mode: u32, text: &str) -> Result<(), Error> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(folder.join(name));
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists(name),
        _ => Error::Write(name, error),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = fs::remove_file(folder.join(name));
        Error::Write(name, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_there_already_stays_and_no_key_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let [certificate, key] = [CERTIFICATE, KEY].map(|name| folder.path().join(name));
        fs::write(&certificate, "mine").expect("the folder can be written to");
        let made = make_certificate(&["localhost".to_owned()], folder.path());
        assert!(matches!(made, Err(Error::Exists(CERTIFICATE))), "{made:?}");
        assert_eq!(fs::read_to_string(&certificate).expect("it is there"), "mine");
        assert!(!key.exists());
        fs::remove_file(&certificate).expect("it is there");
        make_certificate(&["localhost".to_owned()], folder.path()).expect("nothing is in the way any more");
    }
}
