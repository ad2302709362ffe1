//! Changes the passphrase: each private file is written anew under its temporary name, and then all new files take the
//! places of the old ones.
//!
//! Several files cannot be replaced in one atomic operation, so the file `passphrase.changed` marks that all new files
//! are complete. After a crash before it is made, the old files are in place, and the next start destroys the temporary
//! ones. After a crash later, the next process that locks the directory continues. What is left to do follows from the
//! names that exist.

use std::ffi::{OsStr, OsString};
use std::io;

use rsa::rand_core::CryptoRng;
use wire::keys::Secret;

use super::store_key::{self, STORE_KEY};
use super::{Home, HomeError, PRIVATE_FILE_MODE, keys, read_private};
use crate::peer::folder::{FileError, Folder};

const MARKER: &str = "passphrase.changed";
const MARKER_BYTES_MAX: u64 = 64;
/// The contents of the marker: whether there is a passphrase now. Without one, no `store.key` may stay.
const WITH_PASSPHRASE: &[u8] = b"there is a passphrase\n";
const WITHOUT_PASSPHRASE: &[u8] = b"there is no passphrase\n";

/// The keys under a new passphrase, in temporary files.
#[must_use = "nothing is changed before the files take their places"]
pub struct Staged<'h> {
    private: &'h Folder,
    store_key: Option<Secret>,
}

impl Home {
    /// Writes the keys, encrypted under the passphrase `new`, and a new key of the store to temporary files. `old` is
    /// the present passphrase. Only for the process that holds the [`super::Lock`].
    pub fn stage_passphrase(
        &self,
        old: Option<&str>,
        new: Option<&str>,
        rng: &mut impl CryptoRng,
    ) -> Result<Staged<'_>, HomeError> {
        keys::stage(&self.private, old, new)?;
        let store_key = new.map(|new| store_key::stage(&self.private, new, rng)).transpose()?;
        Ok(Staged { private: &self.private, store_key })
    }
}

impl Staged<'_> {
    /// The new key of the store; `None` if there is no new passphrase.
    pub fn store_key(&self) -> Option<&Secret> {
        self.store_key.as_ref()
    }

    /// Puts the files in their places and destroys the old ones. The store must have been copied to its temporary file.
    ///
    /// # Errors
    /// [`HomeError::Io`]. The next process that locks the directory continues, unless the marker could not be made.
    pub fn adopt(self) -> Result<(), HomeError> {
        self.mark().map_err(FileError::of("mark the new files as complete", self.private.path()))?;
        complete(self.private)
    }

    fn mark(&self) -> io::Result<()> {
        self.private.private_child(keys::ENCRYPTION)?.sync()?;
        let state = if self.store_key.is_some() { WITH_PASSPHRASE } else { WITHOUT_PASSPHRASE };
        // It also makes the names of the temporary files in this directory durable.
        self.private.sync()?;
        self.private.write(MARKER, state, PRIVATE_FILE_MODE)
    }
}

/// Completes a change of the passphrase, if one was marked.
pub(super) fn complete(private: &Folder) -> Result<(), HomeError> {
    let next = || step(private);
    while next().map_err(FileError::of("complete the change of the passphrase", private.path()))? {}
    Ok(())
}

/// Does one step, which is durable when this returns. Returns whether there may be another one.
fn step(private: &Folder) -> io::Result<bool> {
    let Some(state) = read_private(private, MARKER, MARKER_BYTES_MAX)? else { return Ok(false) };
    let pairs = private.private_child(keys::ENCRYPTION)?;
    for folder in [private, &pairs] {
        let names = folder.names()?;
        if let Some((temporary, target)) = names.iter().find_map(|name| Some((name, staged(name)?))) {
            if names.iter().any(|name| name == target) {
                folder.rename(target, replaced(target))?;
            } else {
                folder.rename(temporary, target)?;
            }
            folder.sync()?;
            return Ok(true);
        }
    }
    if state == WITHOUT_PASSPHRASE && store_key::exists(private).map_err(io::Error::other)? {
        private.rename(STORE_KEY, replaced(OsStr::new(STORE_KEY)))?;
    }
    private.remove(MARKER)?;
    private.sync()?;
    // After a crash from here on, the next start does this.
    private.clear_unfinished()?;
    pairs.clear_unfinished()?;
    Ok(false)
}

/// The file whose new content has this name; `None` for other names.
fn staged(name: &OsStr) -> Option<&OsStr> {
    Folder::target(name).filter(|target| Folder::target(target).is_none())
}

/// The name of the old content until it is destroyed. It is also one of a temporary file.
fn replaced(target: &OsStr) -> OsString {
    let twice = |target: &OsStr| Folder::unfinished(&target.to_string_lossy());
    twice(OsStr::new(&twice(target))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 4] = ["identity.pem", STORE_KEY, "store.redb", "encryption/1800000000.pem"];

    /// A private folder with old files, and new ones in temporary files.
    fn private(old: &[&str], new: &[&str]) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let private = Folder::open(dir.path()).expect("it opens");
        let pairs = private.private_child(keys::ENCRYPTION).expect("it is made");
        private.write("known_peers", b"other", 0o600).expect("it is written");
        let place = |name: &str| match name.strip_prefix("encryption/") {
            Some(name) => (pairs.try_clone().expect("it is open"), name.to_owned()),
            None => (private.try_clone().expect("it is open"), name.to_owned()),
        };
        for name in old {
            let (folder, name) = place(name);
            folder.write(&name, b"old", 0o600).expect("it is written");
        }
        for name in new {
            let (folder, name) = place(name);
            folder.stage(&name, b"new", 0o600).expect("it is written");
        }
        (dir, private)
    }

    /// All files with their contents, after the next start has cleared what a crash left.
    fn cleared(private: &Folder) -> Vec<(String, String)> {
        private.clear_unfinished().expect("it is cleared");
        let pairs = private.private_child(keys::ENCRYPTION).expect("it is there");
        pairs.clear_unfinished().expect("it is cleared");
        let mut files = Vec::new();
        for (folder, path) in [(private, ""), (&pairs, "encryption/")] {
            for name in folder.names().expect("it reads") {
                let name = name.to_str().expect("plain names").to_owned();
                if let Some(bytes) = read_private(folder, &name, 100).ok().flatten() {
                    files.push((format!("{path}{name}"), String::from_utf8(bytes).expect("it is text")));
                }
            }
        }
        files.sort();
        files
    }

    fn expected(names: &[&str], content: &str) -> Vec<(String, String)> {
        let mut files: Vec<_> = names.iter().map(|name| ((*name).to_owned(), content.to_owned())).collect();
        files.push(("known_peers".into(), "other".into()));
        files.sort();
        files
    }

    /// A change that is interrupted after this many steps and then completed. Returns whether it was complete before.
    fn interrupted_after(steps: usize, old: &[&str], new: &[&str]) -> bool {
        let (_dir, private) = private(old, new);
        let store_key = new.contains(&STORE_KEY).then(|| Secret::new([1; 32]));
        Staged { private: &private, store_key }.mark().expect("it is marked");
        let done = (0..steps).take_while(|_| step(&private).expect("a step")).count();
        complete(&private).expect("it is completed");
        assert_eq!(cleared(&private), expected(new, "new"), "after {steps} steps from {old:?} to {new:?}");
        done < steps
    }

    #[test]
    fn an_interrupted_change_of_the_passphrase_is_completed_or_has_changed_nothing() {
        let plain: Vec<_> = FILES.into_iter().filter(|name| *name != STORE_KEY).collect();
        for [old, new] in [[&FILES[..], &FILES], [&plain, &FILES], [&FILES, &plain]] {
            let (_dir, unmarked) = private(old, new);
            complete(&unmarked).expect("there is nothing to do");
            assert_eq!(cleared(&unmarked), expected(old, "old"), "without the marker");
            let steps = (0..100).take_while(|steps| !interrupted_after(*steps, old, new)).count();
            // Each file that is replaced takes two, and the last one removes the marker.
            assert!(steps > old.len() + new.len() - 1, "{steps} steps");
        }
    }

    #[test]
    fn what_a_change_of_the_passphrase_replaces_is_overwritten() {
        let (dir, private) = private(&FILES, &FILES);
        std::fs::hard_link(dir.path().join("identity.pem"), dir.path().join("witness"))
            .expect("a second name");
        Staged { private: &private, store_key: None }.adopt().expect("it is adopted");
        assert_eq!(std::fs::read(dir.path().join("witness")).ok(), Some(vec![0; 3]));
        assert!(!dir.path().join(STORE_KEY).exists(), "without a passphrase there is no key of the store");
    }
}
