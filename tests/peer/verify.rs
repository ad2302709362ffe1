//! `verify` asks on a terminal whether the keys are equal, and remembers it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::peer;
use crate::pty::terminal;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `verify B` and types an answer.
fn verify(dir: &Path, answer: &str) -> Output {
    let (mut ours, theirs) = terminal();
    let child = peer(dir, &["verify", "B"]).stdin(Stdio::from(theirs)).spawn().expect("it can be started");
    ours.write_all(answer.as_bytes()).expect("it is open");
    child.wait_with_output().expect("it was started")
}

#[test]
fn the_answer_to_whether_keys_are_equal_is_remembered() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let [a, b] = ["A", "B"].map(|name| folder.path().join(name));
    let card = peer(&b, &["card"]).output().expect("it can be started");
    let file = folder.path().join("B.card");
    std::fs::write(&file, &card.stdout).expect("the folder can be written");
    let file = file.to_str().expect("temporary folders have plain names");
    let imported = peer(&a, &["import", file]).output().expect("it can be started");
    assert_eq!(imported.status.code(), Some(0), "{}", text(&imported.stderr));
    let pins = || std::fs::read_to_string(a.join(".switchboard/known_peers")).expect("it is there");

    let no = verify(&a, "n\n");
    assert_eq!(no.status.code(), Some(1));
    assert!(text(&no.stdout).contains('\u{2588}'), "a QR code is shown: {}", text(&no.stdout));
    assert!(text(&no.stderr).contains("Are they equal at both ends?"), "{}", text(&no.stderr));
    assert!(text(&no.stderr).contains("B is not marked") && !pins().contains("compared"), "{}", pins());
    let yes = verify(&a, "y\n");
    assert_eq!(yes.status.code(), Some(0), "{}", text(&yes.stderr));
    assert!(text(&yes.stdout).contains("the key of B is marked as compared"), "{}", text(&yes.stdout));
    assert!(pins().trim_end().ends_with("compared"), "{}", pins());
}
