//! Commands that change the identity itself. They need the directory for themselves, because a process that runs the peer goes on with
//! the identity that it has started with.

use std::time::{SystemTime, UNIX_EPOCH};

use wire::keys::KEY_BITS;

use super::arguments::{Arguments, Sub};
use super::{directory, passphrase};
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event};
use crate::peer::home::Home;
use crate::peer::render::Renderer;

/// Carries out the command of these arguments, if it is one of those.
pub(super) fn run(arguments: &Arguments, renderer: &mut Renderer) -> Option<Result<Ending, String>> {
    match arguments.command {
        Some(Sub::Successor) => Some(successor(arguments).and_then(|answer| show(renderer, answer))),
        _ => None,
    }
}

fn show(renderer: &mut Renderer, answer: Answer) -> Result<Ending, String> {
    let shown = renderer.show(&Event::Result(answer));
    shown.map(|()| Ending::Done).map_err(|e| format!("standard output cannot be written: {e}"))
}

fn successor(arguments: &Arguments) -> Result<Answer, String> {
    let dir = directory(arguments);
    let home = Home::open(dir).map_err(|e| e.to_string())?;
    let busy = || format!("another process runs {}; end it and try again", dir.display());
    let _lock = home.try_lock().map_err(|e| e.to_string())?.ok_or_else(busy)?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => home.default_name().map_err(|e| e.to_string())?,
    };
    let (passphrase, rng) = (passphrase(arguments, &home, true)?, &mut rand::rng());
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_str());
    home.store_key(passphrase, rng).map_err(|e| e.to_string())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let replaced = home.replace_identity(&name, passphrase, KEY_BITS, now, rng);
    let [old, new] = replaced.map_err(|e| e.to_string())?;
    Ok(Answer::NewKey { name, old, new })
}
