//! The passphrase, which a terminal is asked for and must not show.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use crate::peer;
use crate::prompt::{shows, wait_for_prompt};
use crate::pty::terminal;

#[test]
fn the_passphrase_is_asked_for_on_a_terminal_and_not_shown() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let (dir, file) = (folder.path().join("A"), folder.path().join("passphrase"));
    std::fs::write(&file, "open sesame\n").expect("the folder can be written");
    let file = file.to_str().expect("temporary folders have plain names");
    let made = peer(&dir, &["card", "--passphrase-file", file]).output().expect("it can be started");
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    for (typed, status, said) in [("open sesame\n", 0, ""), ("open barley\n", 1, "wrong passphrase")] {
        let (mut ours, theirs) = terminal();
        let stdin = Stdio::from(theirs.try_clone().expect("there are descriptors left"));
        let mut child = peer(&dir, &["card"]).stdin(stdin).spawn().expect("it can be started");
        let prompt = format!("passphrase of {}: ", dir.canonicalize().expect("it is there").display());
        wait_for_prompt(&mut child, &prompt, &theirs);
        ours.write_all(typed.as_bytes()).expect("it is open");
        let output = child.wait_with_output().expect("it was started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{errors}");
        assert!(errors.contains(said) && !errors.contains("remove"), "{errors}");
        assert_eq!(output.stdout == made.stdout, status == 0, "the card is the same");
        assert!(shows(&theirs));
        drop(theirs);
        let mut shown = Vec::new();
        // Reading fails (EIO) once the other end is closed.
        let _ = ours.read_to_end(&mut shown);
        assert!(shown.is_empty(), "{:?}", String::from_utf8_lossy(&shown));
    }
}
