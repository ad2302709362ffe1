//! The prompt on a terminal.

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, Editor, ExternalPrinter};

use super::drive::{FromUser, Session, Tail};
use super::start_thread;
use crate::peer::command::{Command, Ending};
use crate::peer::prompt::{self, Editing, Line};

/// How long the messages may take to be delivered or stored after `/quit`.
const DRAIN_SECONDS: u64 = 2;
const HISTORY_LINES: usize = 1000;

type Lines = Editor<Editing, DefaultHistory>;

/// Reads commands from the terminal until `/quit` or Ctrl-D. `history` is the file for the typed lines, if they are
/// kept.
///
/// # Errors
/// When the terminal cannot be used, and those of [`Session::run`].
pub(super) fn run(mut session: Session<'_>, history: Option<PathBuf>) -> Result<Ending, String> {
    let mut editor = editor(history.as_ref(), Editing::new(Arc::clone(&session.is_online)))
        .map_err(|e| format!("the terminal cannot be used: {e}; give a command, see --help"))?;
    session.renderer.is_at_prompt = true;
    match editor.create_external_printer() {
        Ok(mut printer) => {
            session.printer = Some(Box::new(move |text| {
                // If the terminal is gone, the prompt ends as well.
                let _ = printer.print(format!("{text}\n"));
            }));
        }
        Err(e) => eprintln!("peer: messages may interrupt the line that you type: {e}"),
    }
    let (sender, from_user) = bounded(1);
    let reader = start_thread("prompt", move || {
        read(&mut editor, &sender);
        if let Some(path) = history {
            // If it fails, the next prompt starts without a history.
            let _ = editor.save_history(&path);
        }
    })?;
    let ending = session.run(&from_user, Tail::Drain(DRAIN_SECONDS));
    drop(from_user);
    if reader.is_finished() {
        let _ = reader.join();
    }
    ending
}

fn editor(history: Option<&PathBuf>, editing: Editing) -> rustyline::Result<Lines> {
    let config = Config::builder().max_history_size(HISTORY_LINES)?.auto_add_history(true).build();
    let mut editor = Lines::with_config(config)?;
    editor.set_helper(Some(editing));
    if let Some(path) = history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    Ok(editor)
}

fn read(editor: &mut Lines, sender: &Sender<FromUser>) {
    let mut next = vec![Ok(Line::Command(Command::View))];
    loop {
        for user in next {
            let quits = matches!(user, Ok(Line::Quit));
            if sender.send(user).is_err() || quits {
                return;
            }
        }
        let prompt = editor.helper().map_or("", Editing::prompt);
        next = match editor.readline(prompt) {
            Ok(input) => prompt::commands(&input).iter().map(|line| prompt::parse(line)).collect(),
            Err(ReadlineError::Interrupted) => vec![Ok(Line::Interrupt)],
            Err(_) => vec![Ok(Line::Quit)],
        };
    }
}
