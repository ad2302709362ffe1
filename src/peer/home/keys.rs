//! The key files: `identity.pem`, and `encryption/<seconds since 1970>.pem` for each encryption key pair, named after
//! the time at which it was made.
//!
//! So the file names alone tell which pair is current, when the next one is due, and which pairs must be destroyed. If
//! the peer has a passphrase, a key file that is not encrypted yet is encrypted when it is read.

use std::io;
use std::path::{Path, PathBuf};

use rsa::rand_core::CryptoRng;
use wire::card::{Card, Term};
use wire::keys::{BadKey, EncryptionKey, IdentityKey, PrivateKey, Signing, Wrapping, is_under_passphrase};
use wire::succession::{SUCCESSIONS_MAX, Succession};
use wire::{Fingerprint, PeerName};
use zeroize::Zeroizing;

use super::{Home, HomeError, KeyTimes, PRIVATE_FILE_MODE, read_private};
use crate::peer::folder::{FileError, Folder};

const IDENTITY: &str = "identity.pem";
pub(super) const ENCRYPTION: &str = "encryption";
const SUFFIX: &str = ".pem";

/// Largest key file. A key of 4096 bits under a passphrase takes 3.5 KB.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

const ADVICE_IDENTITY: &str =
    "put it back from a backup, or remove .switchboard to start as somebody new with this name";
const ADVICE_ENCRYPTION: &str =
    "put it back from a backup, or remove this file: what was written to this key then stays unreadable";
const ADVICE_NEW: &str = "try again without the passphrase";
const ADVICE_IMPORT: &str = "export the identity again";
const ADVICE_PASSPHRASE: &str =
    "give the passphrase that it was encrypted with; if it is the right one, put the file back from a backup";

pub struct EncryptionPair {
    pub key: EncryptionKey,
    /// When it was made, in seconds since 1970.
    pub made_at: u64,
}

pub struct Keys {
    pub identity: IdentityKey,
    /// The encryption pairs, newest first: the current one, and those kept for late mail.
    pub encryption: Vec<EncryptionPair>,
    /// Whether the identity key was made by this call: the first run.
    pub made_identity: bool,
    /// The statements of the old identity keys, newest first.
    pub succeeds: Vec<Succession>,
}

impl Keys {
    /// The pair whose public key is on the peer's card.
    pub fn current(&self) -> &EncryptionPair {
        self.encryption
            .first()
            .expect("keys are only made by load_or_make, which makes a pair if there is none")
    }

    /// Issues a card for the current encryption pair. It contains the statements of the old identity keys, if they
    /// are for this name.
    pub fn issue_card(&self, name: &PeerName, term: Term, rng: &mut impl CryptoRng) -> Card {
        let known = self.succeeds.iter().take_while(|statement| statement.is_for(name)).count();
        let encryption = self.current().key.public();
        let succeeds = &self.succeeds[..known];
        Card::issue_for_successor(name.clone(), &self.identity, encryption, term, succeeds, rng)
    }

    /// The key with this fingerprint; `None` if it is unknown or destroyed.
    pub fn by_fingerprint(&self, fingerprint: &Fingerprint) -> Option<&EncryptionKey> {
        let mut keys = self.encryption.iter().map(|pair| &pair.key);
        keys.find(|key| key.public().fingerprint() == *fingerprint)
    }
}

impl Home {
    /// Loads the keys. Makes those that are missing or due, and destroys those that are overdue. Only for the process
    /// that holds the [`super::Lock`].
    ///
    /// `key_bits` is the size of new keys; `now` is in seconds since 1970. If there is a passphrase, new keys are encrypted
    /// under it, and so are those that are not encrypted yet.
    pub fn keys(
        &self,
        passphrase: Option<&str>,
        key_bits: usize,
        times: &KeyTimes,
        now: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<Keys, HomeError> {
        let shelf = Shelf::open(&self.private, passphrase)?;
        let mut made = shelf.dates()?;
        let (identity, succeeds, made_identity) =
            identity(&self.private, passphrase, key_bits, made.is_empty(), rng)?;
        shelf.redate_if_from_the_future(&mut made, times, now)?;
        // Before the others are read: a damaged key that is overdue must not be an error.
        shelf.destroy_overdue(&mut made, times, now)?;
        let mut encryption = Vec::with_capacity(made.len() + 1);
        if made.last().is_none_or(|newest| now >= times.renewed_at(*newest)) {
            encryption.push(shelf.make(key_bits, now, rng)?);
        }
        for made_at in made.into_iter().rev() {
            encryption.push(EncryptionPair { key: shelf.load(made_at)?, made_at });
        }
        Ok(Keys { identity, encryption, made_identity, succeeds })
    }

    /// Makes an encryption pair, which is on the disk when this returns. Takes a second or more. `key_bits`, `now` and
    /// `passphrase` as in [`Home::keys`].
    pub fn make_encryption_pair(
        &self,
        passphrase: Option<&str>,
        key_bits: usize,
        now: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<EncryptionPair, HomeError> {
        Shelf::open(&self.private, passphrase)?.make(key_bits, now, rng)
    }

    /// Destroys the encryption pair that was made at `made_at` (seconds since 1970).
    pub fn destroy_encryption_pair(&self, made_at: u64) -> Result<(), HomeError> {
        Shelf::open(&self.private, None)?.destroy(made_at)
    }

    pub fn has_identity(&self) -> Result<bool, HomeError> {
        Ok(read_pem(&self.private, IDENTITY)?.is_some())
    }

    /// Replaces the identity key by a new one, and destroys the old one. The old key signs that the new one is its
    /// successor for `name`. The statement is stored after the new key in the same file, so that a crash cannot separate
    /// them. Returns the fingerprints of the old and the new key. Only for the process that holds the [`super::Lock`]. The
    /// other arguments are as in [`Home::keys`].
    pub fn replace_identity(
        &self,
        name: &PeerName,
        passphrase: Option<&str>,
        key_bits: usize,
        now: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<[Fingerprint; 2], HomeError> {
        let path = self.private_path().join(IDENTITY);
        let (old, mut statements) =
            read_identity(&self.private, passphrase)?.ok_or_else(|| HomeError::NoIdentity(path.clone()))?;
        let new = IdentityKey::generate(key_bits, rng).map_err(unusable(&path, "choose another size"))?;
        let fingerprints = [&old, &new].map(|key| key.public().fingerprint());
        statements.insert(0, Succession::sign(&old, name, fingerprints[1], now, rng));
        statements.truncate(SUCCESSIONS_MAX);
        let file = pem_file(&new, passphrase, &texts(&statements), &path, ADVICE_NEW)?;
        let written = self.private.write_over(IDENTITY, file.as_bytes(), PRIVATE_FILE_MODE);
        written.map_err(FileError::of("replace the key", path))?;
        Ok(fingerprints)
    }
}

fn identity(
    private: &Folder,
    passphrase: Option<&str>,
    bits: usize,
    is_first_run: bool,
    rng: &mut impl CryptoRng,
) -> Result<(IdentityKey, Vec<Succession>, bool), HomeError> {
    let path = private.path().join(IDENTITY);
    private.clear_unfinished().map_err(FileError::of("clear what a crash left", private.path()))?;
    if let Some((key, succeeds)) = read_identity(private, passphrase)? {
        return Ok((key, succeeds, false));
    }
    if !is_first_run {
        return Err(HomeError::IdentityMissing(path));
    }
    let key = IdentityKey::generate(bits, rng).map_err(unusable(&path, "choose another size"))?;
    let pem = key.to_pem(passphrase).map_err(unusable(&path, ADVICE_NEW))?;
    write_pem(private, IDENTITY, &pem)?;
    Ok((key, Vec::new(), true))
}

/// The directory of the encryption pairs.
struct Shelf<'a> {
    pairs: Folder,
    passphrase: Option<&'a str>,
}

impl<'a> Shelf<'a> {
    fn open(private: &Folder, passphrase: Option<&'a str>) -> Result<Self, HomeError> {
        let pairs = private
            .private_child(ENCRYPTION)
            .map_err(FileError::of("open the folder", private.path().join(ENCRYPTION)))?;
        Ok(Self { pairs, passphrase })
    }

    fn path(&self, made_at: u64) -> PathBuf {
        self.pairs.path().join(file_name(made_at))
    }

    /// The times at which the pairs were made, oldest first. Files with other names are ignored.
    fn dates(&self) -> Result<Vec<u64>, HomeError> {
        let doing = FileError::of("list the keys", self.pairs.path());
        let names = self.pairs.clear_unfinished().and_then(|()| self.pairs.names()).map_err(doing)?;
        let mut dates: Vec<u64> = names.iter().filter_map(|name| date(name.to_str()?)).collect();
        dates.sort_unstable();
        Ok(dates)
    }

    /// A pair that was made while the clock was far ahead would stay current until that day, so its file is renamed to
    /// the present time. This is done only if the pair stays the newest: if the clock is behind, renaming could retire
    /// pairs that are still used.
    fn redate_if_from_the_future(
        &self,
        made: &mut [u64],
        times: &KeyTimes,
        now: u64,
    ) -> Result<(), HomeError> {
        let [older @ .., newest] = made else {
            return Ok(());
        };
        let stays_newest = older.last().is_none_or(|older| *older < now);
        if *newest <= times.renewed_at(now) || !stays_newest {
            return Ok(());
        }
        self.pairs
            .rename(file_name(*newest), file_name(now))
            .and_then(|()| self.pairs.sync())
            .map_err(FileError::of("rename the key", self.path(*newest)))?;
        *newest = now;
        Ok(())
    }

    fn destroy_overdue(&self, made: &mut Vec<u64>, times: &KeyTimes, now: u64) -> Result<(), HomeError> {
        // In ascending order, so the overdue pairs come first.
        let overdue = made.iter().take_while(|made_at| now >= times.destroyed_at(**made_at)).count();
        made.drain(..overdue).try_for_each(|made_at| self.destroy(made_at))
    }

    fn destroy(&self, made_at: u64) -> Result<(), HomeError> {
        match self.pairs.destroy(file_name(made_at)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::of("destroy the old key", self.path(made_at))(error).into())
            }
            _ => Ok(()),
        }
    }

    fn make(&self, bits: usize, now: u64, rng: &mut impl CryptoRng) -> Result<EncryptionPair, HomeError> {
        let path = self.path(now);
        let key = EncryptionKey::generate(bits, rng).map_err(unusable(&path, "choose another size"))?;
        let pem = key.to_pem(self.passphrase).map_err(unusable(&path, ADVICE_NEW))?;
        write_pem(&self.pairs, &file_name(now), &pem)?;
        Ok(EncryptionPair { key, made_at: now })
    }

    fn load(&self, made_at: u64) -> Result<EncryptionKey, HomeError> {
        let missing = || {
            HomeError::from(FileError::of("read the key", self.path(made_at))(io::ErrorKind::NotFound.into()))
        };
        let read = read_key(&self.pairs, &file_name(made_at), self.passphrase, ADVICE_ENCRYPTION)?;
        read.map(|(key, _)| key).ok_or_else(missing)
    }
}

fn file_name(made_at: u64) -> String {
    format!("{made_at}{SUFFIX}")
}

/// The inverse of [`file_name`].
fn date(name: &str) -> Option<u64> {
    let made_at = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (file_name(made_at) == name).then_some(made_at)
}

/// The identity key with its statement, and the encryption keys with the times at which they were made. The keys are
/// not encrypted.
pub(super) fn export(
    private: &Folder,
    passphrase: Option<&str>,
) -> Result<(String, Vec<(u64, String)>), HomeError> {
    let path = private.path().join(IDENTITY);
    let (key, statements) =
        read_identity(private, passphrase)?.ok_or_else(|| HomeError::NoIdentity(path.clone()))?;
    let identity = pem_file(&key, None, &texts(&statements), &path, ADVICE_IDENTITY)?.to_string();
    let shelf = Shelf::open(private, passphrase)?;
    let mut encryption = Vec::new();
    for made_at in shelf.dates()? {
        let pem = shelf.load(made_at)?.to_pem(None);
        let pem = pem.map_err(unusable(&shelf.path(made_at), ADVICE_ENCRYPTION))?;
        encryption.push((made_at, pem.to_string()));
    }
    Ok((identity, encryption))
}

/// Writes the result of [`export`], the identity key last. Returns the fingerprint of that key.
pub(super) fn import(
    private: &Folder,
    identity: &str,
    encryption: &[(u64, String)],
    passphrase: Option<&str>,
) -> Result<Fingerprint, HomeError> {
    let shelf = Shelf::open(private, passphrase)?;
    for (made_at, pem) in encryption {
        let key = EncryptionKey::from_pem(pem, None).and_then(|key| key.to_pem(passphrase));
        let pem = key.map_err(unusable(&shelf.path(*made_at), ADVICE_IMPORT))?;
        write_pem(&shelf.pairs, &file_name(*made_at), &pem)?;
    }
    let path = private.path().join(IDENTITY);
    let (pem, statement) = identity.split_at(end_of_pem(identity));
    let key = IdentityKey::from_pem(pem, None).map_err(unusable(&path, ADVICE_IMPORT))?;
    write_pem(private, IDENTITY, &pem_file(&key, passphrase, statement, &path, ADVICE_IMPORT)?)?;
    Ok(key.public().fingerprint())
}

/// Writes all keys, encrypted under the passphrase `new`, to their temporary files.
pub(super) fn stage(private: &Folder, old: Option<&str>, new: Option<&str>) -> Result<(), HomeError> {
    private.clear_unfinished().map_err(FileError::of("clear what a crash left", private.path()))?;
    stage_key::<Signing>(private, IDENTITY, [old, new], ADVICE_IDENTITY)?;
    let shelf = Shelf::open(private, old)?;
    shelf.dates()?.into_iter().try_for_each(|made_at| {
        stage_key::<Wrapping>(&shelf.pairs, &file_name(made_at), [old, new], ADVICE_ENCRYPTION)
    })
}

fn stage_key<Use>(
    folder: &Folder,
    name: &str,
    [old, new]: [Option<&str>; 2],
    advice: &'static str,
) -> Result<(), HomeError> {
    let path = folder.path().join(name);
    let read = read_key::<Use>(folder, name, old, advice)?;
    let (key, rest) = read.ok_or_else(|| HomeError::NoIdentity(path.clone()))?;
    let file = pem_file(&key, new, &rest, &path, advice)?;
    let written = folder.stage(name, file.as_bytes(), PRIVATE_FILE_MODE);
    Ok(written.map_err(FileError::of("write the key", path))?)
}

pub(super) fn is_identity_locked(private: &Folder) -> Result<bool, HomeError> {
    let pem = read_pem(private, IDENTITY)?;
    Ok(pem.is_some_and(|pem| is_under_passphrase(&pem)))
}

/// Checks that a passphrase opens the identity key, if that is encrypted.
pub(super) fn check_passphrase(private: &Folder, passphrase: &str) -> Result<(), HomeError> {
    if is_identity_locked(private)? {
        read_key::<Signing>(private, IDENTITY, Some(passphrase), ADVICE_IDENTITY)?;
    }
    Ok(())
}

fn texts(statements: &[Succession]) -> String {
    statements.iter().map(Succession::to_text).collect()
}

/// Reads the identity key and the statements after it; `None` if there is no file.
fn read_identity(
    private: &Folder,
    passphrase: Option<&str>,
) -> Result<Option<(IdentityKey, Vec<Succession>)>, HomeError> {
    let Some((key, statements)) = read_key(private, IDENTITY, passphrase, ADVICE_IDENTITY)? else {
        return Ok(None);
    };
    let key: IdentityKey = key;
    let damaged = |_| HomeError::StatementDamaged(private.path().join(IDENTITY));
    let succeeds = Succession::from_texts(&statements, key.public().fingerprint()).map_err(damaged)?;
    Ok(Some((key, succeeds)))
}

/// Reads a key, and the text after it; `None` if there is no file. Encrypts the key if there is a passphrase and it is
/// not encrypted yet.
fn read_key<Use>(
    folder: &Folder,
    name: &str,
    passphrase: Option<&str>,
    advice: &'static str,
) -> Result<Option<(PrivateKey<Use>, String)>, HomeError> {
    let path = folder.path().join(name);
    let Some(text) = read_pem(folder, name)? else { return Ok(None) };
    let (pem, rest) = text.split_at(end_of_pem(&text));
    let key = PrivateKey::from_pem(pem, passphrase).map_err(unusable(&path, advice))?;
    if passphrase.is_some() && !is_under_passphrase(pem) {
        let file = pem_file(&key, passphrase, rest, &path, advice)?;
        let written = folder.write_over(name, file.as_bytes(), PRIVATE_FILE_MODE);
        written.map_err(FileError::of("encrypt the key", path))?;
    }
    Ok(Some((key, rest.to_owned())))
}

/// The end of the first PEM block, with its line ending.
fn end_of_pem(text: &str) -> usize {
    let end = text.find("-----END ").and_then(|at| Some(at + text[at..].find('\n')? + 1));
    end.unwrap_or(text.len())
}

/// A file that is not UTF-8 reads as an empty one: either way it is not a key.
fn read_pem(folder: &Folder, name: &str) -> Result<Option<Zeroizing<String>>, HomeError> {
    let failed = FileError::of("read the key", folder.path().join(name));
    let bytes = read_private(folder, name, KEY_FILE_BYTES_MAX).map_err(failed)?.map(Zeroizing::new);
    let text = |bytes: Zeroizing<Vec<u8>>| std::str::from_utf8(&bytes).unwrap_or_default().to_owned();
    Ok(bytes.map(text).map(Zeroizing::new))
}

/// The content of a key file: the key, encrypted if there is a passphrase, and `rest`.
fn pem_file<Use>(
    key: &PrivateKey<Use>,
    passphrase: Option<&str>,
    rest: &str,
    path: &Path,
    advice: &'static str,
) -> Result<Zeroizing<String>, HomeError> {
    let pem = key.to_pem(passphrase).map_err(unusable(path, advice))?;
    Ok(Zeroizing::new(format!("{}{rest}", pem.as_str())))
}

fn write_pem(folder: &Folder, name: &str, pem: &str) -> Result<(), HomeError> {
    let failed = FileError::of("write the key", folder.path().join(name));
    Ok(folder.write(name, pem.as_bytes(), PRIVATE_FILE_MODE).map_err(failed)?)
}

fn unusable(path: &Path, advice: &'static str) -> impl FnOnce(BadKey) -> HomeError {
    move |source| match source {
        BadKey::PassphraseMissing => HomeError::PassphraseMissing(path.to_owned()),
        BadKey::Passphrase => HomeError::Key { path: path.to_owned(), advice: ADVICE_PASSPHRASE, source },
        source => HomeError::Key { path: path.to_owned(), advice, source },
    }
}
