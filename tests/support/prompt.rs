//! Commands that ask for a secret on a terminal.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, tcgetattr};

/// Longest wait for the terminal to turn its echo off.
const PATIENCE: Duration = Duration::from_secs(20);

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
