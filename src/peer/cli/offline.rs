//! Commands that replace, copy or encrypt the identity. No other process may use the directory meanwhile, because it would
//! continue with the old identity and the old files, and would use more message numbers.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rand::rngs::ThreadRng;
use wire::PeerName;
use wire::keys::KEY_BITS;
use zeroize::Zeroizing;

use super::arguments::{Arguments, Sub};
use super::{directory, name, passphrase, read_passphrase};
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event};
use crate::peer::home::{Exported, Home, Lock, PRIVATE_FILE_MODE};
use crate::peer::render::Renderer;
use crate::peer::runner::PeerError;
use crate::peer::store::Store;
use crate::{terminal, unix_now};

/// Runs the command of these arguments if it is one of these. `None` leaves other commands to the peer.
pub(super) fn run(arguments: &Arguments, renderer: &mut Renderer) -> Option<Result<Ending, String>> {
    let answer = match &arguments.command {
        Some(Sub::Successor) => successor(arguments),
        Some(Sub::Export { file, file_passphrase }) => export(arguments, file, file_passphrase.as_deref()),
        Some(Sub::Passphrase { new_passphrase_file, remove }) => {
            change_passphrase(arguments, new_passphrase_file.as_deref(), *remove)
        }
        Some(Sub::Import { file, file_passphrase }) => {
            // If the file cannot be read, the peer's own `import` reports that.
            let text =
                Zeroizing::new(std::fs::read_to_string(file).ok().filter(|text| Exported::is_one(text))?);
            import(arguments, file, &text, file_passphrase.as_deref())
        }
        _ => return None,
    };
    Some(answer.and_then(|answer| show(renderer, answer)))
}

fn show(renderer: &mut Renderer, answer: Answer) -> Result<Ending, String> {
    let shown = renderer.show(&Event::Result(answer));
    shown.map(|()| Ending::Done).map_err(|e| format!("standard output cannot be written: {e}"))
}

/// A peer's directory that no other process uses.
struct Alone {
    home: Home,
    name: PeerName,
    passphrase: Option<Zeroizing<String>>,
    rng: ThreadRng,
    _lock: Lock,
}

impl Alone {
    fn open(arguments: &Arguments) -> Result<Self, String> {
        let dir = directory(arguments);
        let home = Home::open(dir).map_err(described)?;
        let busy = || format!("another process runs {}; end it and try again", dir.display());
        let lock = home.try_lock().map_err(described)?.ok_or_else(busy)?;
        let name = name(arguments, &home)?;
        let passphrase = passphrase(arguments, &home, true)?;
        Ok(Self { home, name, passphrase, rng: rand::rng(), _lock: lock })
    }

    fn passphrase(&self) -> Option<&str> {
        self.passphrase.as_ref().map(|passphrase| passphrase.as_str())
    }

    /// Opens the store, which also checks the passphrase.
    fn store(&mut self) -> Result<Store, String> {
        let passphrase = self.passphrase.as_ref().map(|passphrase| passphrase.as_str());
        let key = self.home.store_key(passphrase, &mut self.rng).map_err(described)?;
        Store::open(self.home.private(), key.as_ref(), true).map_err(described)
    }
}

fn described(error: impl Into<PeerError>) -> String {
    error.into().to_string()
}

fn successor(arguments: &Arguments) -> Result<Answer, String> {
    let mut alone = Alone::open(arguments)?;
    alone.store()?;
    let passphrase = alone.passphrase.as_ref().map(|passphrase| passphrase.as_str());
    let replaced = alone.home.replace_identity(&alone.name, passphrase, KEY_BITS, unix_now(), &mut alone.rng);
    let [old, new] = replaced.map_err(described)?;
    Ok(Answer::NewKey { name: alone.name, old, new })
}

fn export(arguments: &Arguments, file: &Path, file_passphrase: Option<&Path>) -> Result<Answer, String> {
    let mut alone = Alone::open(arguments)?;
    let store = alone.store()?;
    let numbers = store.numbers().map_err(described)?;
    let queued = store.outbox().map_err(described)?.len();
    let exported = alone.home.export(alone.name.clone(), alone.passphrase(), numbers).map_err(described)?;
    let path = std::path::absolute(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let under = passphrase_of_file(file_passphrase, &path, true)?;
    let text = exported.to_text(&under, &mut alone.rng);
    write_new(&path, &text).map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
    Ok(Answer::Exported { path, queued })
}

fn change_passphrase(arguments: &Arguments, new: Option<&Path>, remove: bool) -> Result<Answer, String> {
    let mut alone = Alone::open(arguments)?;
    let dir = alone.home.path().to_owned();
    if !alone.home.has_identity().map_err(described)? {
        return Err(format!(
            "{} has no keys yet; give --passphrase-file with its first command",
            dir.display()
        ));
    }
    let is_locked = alone.home.is_locked().map_err(described)?;
    if !is_locked && (remove || alone.passphrase.is_some()) {
        return Err(format!("{} has no passphrase; set one with --new-passphrase-file FILE", dir.display()));
    }
    let store = alone.store()?;
    let new = match remove {
        true => None,
        false => {
            Some(secret(new, "--new-passphrase-file", &format!("new passphrase of {}", dir.display()), true)?)
        }
    };
    let (old, new) = (alone.passphrase.as_deref().map(String::as_str), new.as_deref().map(String::as_str));
    let staged = alone.home.stage_passphrase(old, new, &mut alone.rng).map_err(described)?;
    store.stage(alone.home.private(), staged.store_key()).map_err(described)?;
    staged.adopt().map_err(described)?;
    // It contains messages, and is destroyed if there is a passphrase.
    alone.home.prompt_history(true).map_err(described)?;
    Ok(Answer::Passphrase { is_set: new.is_some() })
}

fn write_new(path: &PathBuf, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE_MODE).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // An incomplete file is useless.
    written.inspect_err(|_| drop(std::fs::remove_file(path)))
}

fn import(
    arguments: &Arguments,
    file: &Path,
    text: &str,
    file_passphrase: Option<&Path>,
) -> Result<Answer, String> {
    let mut alone = Alone::open(arguments)?;
    if alone.home.has_identity().map_err(described)? {
        let dir = alone.home.path().display();
        return Err(format!("{dir} has an identity already; import it into a new directory"));
    }
    let under = passphrase_of_file(file_passphrase, file, false)?;
    let exported = Exported::from_text(text, &under).map_err(|e| format!("{}: {e}", file.display()))?;
    let name = exported.name.clone();
    if name.folded() != alone.name.folded() {
        return Err(format!(
            "this is the identity of {name}; import it into a directory of that name, or add --name {name}"
        ));
    }
    let store = alone.store()?;
    store.write_numbers(&exported.numbers).map_err(described)?;
    drop(store);
    let fingerprint = alone.home.import(&exported, alone.passphrase()).map_err(described)?;
    Ok(Answer::Imported { name, fingerprint })
}

/// The passphrase of an exported identity. If it `is_new`, asks for it twice.
fn passphrase_of_file(given: Option<&Path>, file: &Path, is_new: bool) -> Result<Zeroizing<String>, String> {
    secret(given, "--file-passphrase", &format!("passphrase for {}", file.display()), is_new)
}

/// A passphrase from the file that the user has given with `option`, or else from the terminal. If it `is_new`, asks for
/// it twice.
fn secret(given: Option<&Path>, option: &str, what: &str, is_new: bool) -> Result<Zeroizing<String>, String> {
    if let Some(path) = given {
        return read_passphrase(path);
    }
    if !io::stdin().is_terminal() {
        return Err(format!("give the {what} with {option} FILE"));
    }
    let ask = |prompt: &str| {
        terminal::ask_secret(prompt).map_err(|e| format!("the passphrase cannot be read: {e}"))
    };
    let passphrase = ask(&format!("{what}: "))?;
    if passphrase.is_empty() {
        return Err("the passphrase is empty; choose another one".into());
    }
    if is_new && *ask("once more: ")? != *passphrase {
        return Err("the two passphrases differ; try again".into());
    }
    Ok(passphrase)
}
