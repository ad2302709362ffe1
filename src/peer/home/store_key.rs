//! The file `store.key`: the random key that encrypts the records of the store, itself encrypted under the passphrase.
//!
//! It is written before any other file is encrypted: its presence makes the program ask for the passphrase, so a crash
//! in between never leaves encrypted files for which nobody asks it.

use std::io;

use rsa::rand_core::CryptoRng;
use wire::keys::Secret;

use super::{BadLocked, Home, HomeError, PRIVATE_FILE_MODE, keys, locked, read_private};
use crate::peer::folder::{FileError, Folder};

pub(super) const STORE_KEY: &str = "store.key";
const PURPOSE: &[u8] = b"switchboard store key";
const FILE_BYTES_MAX: u64 = 4096;

pub(super) fn exists(private: &Folder) -> Result<bool, HomeError> {
    match private.open_file(STORE_KEY) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::of("open the key", private.path().join(STORE_KEY))(error).into()),
    }
}

impl Home {
    /// The key that encrypts the records of the store; `None` without a passphrase. The first call with a passphrase
    /// makes it. Only for the process that holds the [`super::Lock`].
    pub fn store_key(
        &self,
        passphrase: Option<&str>,
        rng: &mut impl CryptoRng,
    ) -> Result<Option<Secret>, HomeError> {
        let private = &self.private;
        let path = private.path().join(STORE_KEY);
        let file =
            read_private(private, STORE_KEY, FILE_BYTES_MAX).map_err(FileError::of("read the key", &path))?;
        match (file, passphrase) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(HomeError::PassphraseMissing(path)),
            (Some(file), Some(passphrase)) => {
                let opened = locked::unlock(passphrase, PURPOSE, &file)
                    .and_then(|key| key.as_slice().try_into().map_err(|_| BadLocked::Damaged));
                opened.map(|key| Some(Secret::new(key))).map_err(|source| HomeError::Locked { path, source })
            }
            (None, Some(passphrase)) => {
                // If the identity key is already encrypted, a mistyped passphrase must not become that of the store.
                keys::check_passphrase(private, passphrase)?;
                let (key, file) = make(passphrase, rng);
                let written = private.write(STORE_KEY, &file, PRIVATE_FILE_MODE);
                written.map_err(FileError::of("write the key", path))?;
                Ok(Some(key))
            }
        }
    }
}

/// Writes a new key to the temporary file, and returns it.
pub(super) fn stage(
    private: &Folder,
    passphrase: &str,
    rng: &mut impl CryptoRng,
) -> Result<Secret, HomeError> {
    let (key, file) = make(passphrase, rng);
    let written = private.stage(STORE_KEY, &file, PRIVATE_FILE_MODE);
    written.map_err(FileError::of("write the key", private.path().join(STORE_KEY)))?;
    Ok(key)
}

/// A new key, and the content of its file.
fn make(passphrase: &str, rng: &mut impl CryptoRng) -> (Secret, Vec<u8>) {
    let mut key = Secret::default();
    rng.fill_bytes(key.as_mut_slice());
    let file = locked::lock(passphrase, PURPOSE, key.as_slice(), rng);
    (key, file)
}
