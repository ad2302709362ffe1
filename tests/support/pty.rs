//! A pseudo-terminal, for commands that ask for a secret.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// Longest wait for the terminal to turn its echo off.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pseudo-terminal: our end and the end for the command.
pub(crate) fn terminal() -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there is a terminal left");
    grantpt(&ours).expect("it is ours");
    unlockpt(&ours).expect("it is ours");
    let name = ptsname(&ours, Vec::new()).expect("it has a name");
    let theirs = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("it is unlocked");
    (ours.into(), theirs)
}

/// Whether the terminal shows what is typed.
pub(crate) fn shows(terminal: &OwnedFd) -> bool {
    tcgetattr(terminal).expect("it is a terminal").local_modes.contains(LocalModes::ECHO)
}

/// Waits for a prompt, and until the echo is off.
pub(crate) fn wait_for_prompt(child: &mut Child, prompt: &str, theirs: &OwnedFd) {
    let mut shown = vec![0; prompt.len()];
    child.stderr.as_mut().expect("it is a pipe").read_exact(&mut shown).expect("it asks");
    assert_eq!(shown, prompt.as_bytes());
    let deadline = Instant::now() + PATIENCE;
    while shows(theirs) {
        assert!(Instant::now() < deadline, "what is typed would be shown");
        std::thread::sleep(Duration::from_millis(1));
    }
}
