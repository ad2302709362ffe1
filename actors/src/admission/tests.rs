use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wire::digest::Digest;
use wire::invitation::{Invitation, InvitationClaim, KnownProof};
use wire::{Fingerprint, PeerName};

use super::file::parse;
use super::{StartError, start};
use crate::commands::admission::{
    AdmissionHandle, Admitted, Answer, Candidate, Claim, Command, Entry, NotAdmitted,
};

mod cluster;
mod model;

const SECRET: [u8; 16] = [0xa5; 16];

fn key(text: &str) -> Fingerprint {
    Digest::of(text.as_bytes())
}

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

fn in_an_hour() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    now.as_secs() + 3600
}

fn claim(secret: [u8; 16], proof_text: &[u8]) -> InvitationClaim {
    Invitation::new(secret, &key("server")).claim(proof_text)
}

fn admit(admission: &AdmissionHandle, who: &str, claim: Option<InvitationClaim>) -> Answer {
    let claim = claim.map(|claim| (claim, false));
    let admitted = ask(admission, who, claim);
    admitted.map(|proof| assert_eq!(proof, None, "it is not asked for"))
}

/// The flag of a claim says that the invitation names another server.
fn ask(admission: &AdmissionHandle, who: &str, claim: Option<(InvitationClaim, bool)>) -> Admitted {
    let proof_text = who.as_bytes().to_vec();
    let claim = claim.map(|(invitation, is_elsewhere)| Claim { invitation, proof_text, is_elsewhere });
    let candidate = Candidate { name: name(who), fingerprint: key(who), predecessors: Vec::new(), claim };
    admission.ask(|reply| Command::Admit(candidate, reply)).expect("it answers")
}

fn add(admission: &AdmissionHandle, entry: Entry) {
    admission.ask(|reply| Command::Add(entry, reply)).expect("it answers").expect("it is written");
}

fn invite(admission: &AdmissionHandle, until: u64, only: Option<PeerName>) {
    add(admission, Entry::Invitation { secret: SECRET, until, name: only });
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it is there")
}

#[test]
fn only_those_who_are_listed_may_join() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let path = folder.path().join("members");
    std::fs::write(&path, format!("# us\n{} # the first\n{} B # by name\n\n", key("A"), key("C")))
        .expect("it is written");
    let admission = start(&path, |_| {}).expect("it starts");
    assert_eq!(admit(&admission, "A", None), Ok(()));
    assert_eq!(admit(&admission, "B", None), Err(NotAdmitted::NoMember(key("B"))));
    assert_eq!(admit(&admission, "C", None), Err(NotAdmitted::OtherName(name("B"))));
}

#[test]
fn an_invitation_admits_one_key_and_is_used_up() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let path = folder.path().join("members");
    let admission = start(&path, |_| {}).expect("it makes the file");
    invite(&admission, in_an_hour(), None);
    assert!(read(&path).contains("invitation a5a5"), "it survives a restart");
    let other = claim([1; 16], b"A");
    assert_eq!(admit(&admission, "A", Some(other)), Err(NotAdmitted::NoInvitation));
    let for_another_join = claim(SECRET, b"B");
    assert_eq!(admit(&admission, "A", Some(for_another_join)), Err(NotAdmitted::NoInvitation));
    assert_eq!(admit(&admission, "A", Some(claim(SECRET, b"A"))), Ok(()));
    let text = read(&path);
    assert!(text.contains(&format!("{} A\n", key("A"))) && !text.contains("\ninvitation"), "{text}");
    assert_eq!(admit(&admission, "B", Some(claim(SECRET, b"B"))), Err(NotAdmitted::NoInvitation));
    drop(admission);
    let admission = start(&path, |_| {}).expect("it starts again");
    assert_eq!(admit(&admission, "A", None), Ok(()));
    assert_eq!(admit(&admission, "A", Some(claim(SECRET, b"A"))), Ok(()), "a member needs none");
}

#[test]
fn who_has_an_invitation_that_names_another_server_is_shown_that_this_one_knows_it() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let path = folder.path().join("members");
    std::fs::write(&path, format!("{}\n", key("A"))).expect("it is written");
    let admission = start(&path, |_| {}).expect("it starts");
    invite(&admission, in_an_hour(), None);
    let unknown = |who: &str| ask(&admission, who, Some((claim([1; 16], who.as_bytes()), true)));
    assert_eq!(unknown("B"), Err(NotAdmitted::NoInvitation));
    assert_eq!(unknown("A"), Ok(None), "a member needs none");
    let admitted = ask(&admission, "B", Some((claim(SECRET, b"B"), true)));
    assert!(is_shown(&admitted, "B"), "{admitted:?}");
    assert_eq!(ask(&admission, "B", None), Ok(None));
}

fn is_shown(admitted: &Admitted, who: &str) -> bool {
    let invitation = Invitation::new(SECRET, &key("server"));
    let is_proof = |proof: &KnownProof| invitation.is_known(who.as_bytes(), proof);
    admitted.as_ref().is_ok_and(|proof| proof.as_ref().is_some_and(is_proof))
}

#[test]
fn an_invitation_may_be_for_one_name_and_until_a_time() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let path = folder.path().join("members");
    let admission = start(&path, |_| {}).expect("it makes the file");
    invite(&admission, 1, None);
    assert_eq!(admit(&admission, "A", Some(claim(SECRET, b"A"))), Err(NotAdmitted::NoInvitation));
    assert_eq!(
        admission.ask(Command::List).expect("it answers"),
        Some(Vec::new()),
        "an expired one is not open"
    );
    invite(&admission, in_an_hour(), Some(name("b")));
    let refused = admit(&admission, "A", Some(claim(SECRET, b"A")));
    assert_eq!(refused, Err(NotAdmitted::OtherName(name("b"))));
    assert_eq!(admit(&admission, "B", Some(claim(SECRET, b"B"))), Ok(()));
    assert!(!read(&path).contains("\ninvitation"), "expired ones are dropped");
}

#[test]
fn removing_a_member_removes_the_lines_of_its_key_and_name_and_its_invitations() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let path = folder.path().join("members");
    let invitation = format!("invitation {} {} a", "a5".repeat(16), in_an_hour());
    let lines = [format!("{}", key("A")), format!("{} a", key("old")), format!("{} B", key("B")), invitation];
    std::fs::write(&path, lines.join("\n")).expect("it is written");
    let admission = start(&path, |_| {}).expect("it starts");
    let removed =
        admission.ask(|reply| Command::Remove { name: name("A"), fingerprint: Some(key("A")), reply });
    assert_eq!(removed, Ok(Ok(())));
    assert_eq!(read(&path), format!("{} B\n", key("B")));
    assert_eq!(admit(&admission, "A", None), Err(NotAdmitted::NoMember(key("A"))));
}

#[test]
fn an_edit_counts_within_seconds_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let path = folder.path().join("members");
    let admission = start(&path, |_| {}).expect("it makes the file");
    assert!(admit(&admission, "A", None).is_err());
    std::fs::write(&path, format!("{}\n", key("A"))).expect("it is written");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while admit(&admission, "A", None).is_err() {
        assert!(std::time::Instant::now() < deadline, "the edit is not seen");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::write(&path, "nonsense\n").expect("it is written");
    // A change does not overwrite an edit that has not been read yet.
    let entry = Entry::Member { fingerprint: key("B"), name: None };
    let refused = admission.ask(|reply| Command::Add(entry, reply)).expect("it answers");
    assert!(matches!(refused, Err(NotAdmitted::NotWritten(_))), "{refused:?}");
    assert_eq!(read(&path), "nonsense\n");
    assert_eq!(admit(&admission, "A", None), Ok(()));
}

#[test]
fn a_change_is_refused_and_has_no_effect_while_the_file_is_invalid_or_gone() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let path = folder.path().join("members");
    std::fs::write(&path, format!("{}\n", key("A"))).expect("it is written");
    let admission = start(&path, |_| {}).expect("it starts");
    let change = |who: &str| {
        let entry = Entry::Member { fingerprint: key(who), name: None };
        admission.ask(|reply| Command::Add(entry, reply)).expect("it answers")
    };
    std::fs::write(&path, "nonsense\n").expect("it is written");
    // The second change finds an error that was reported before.
    for who in ["B", "C"] {
        let refused = change(who);
        assert!(matches!(refused, Err(NotAdmitted::NotWritten(_))), "{who}: {refused:?}");
        assert_eq!(admit(&admission, who, None), Err(NotAdmitted::NoMember(key(who))));
        assert_eq!(read(&path), "nonsense\n", "the edit is not overwritten");
    }
    std::fs::remove_file(&path).expect("it is removed");
    for who in ["B", "C"] {
        assert!(matches!(change(who), Err(NotAdmitted::NotWritten(_))), "{who}");
        assert!(!path.exists(), "nobody is admitted by a file that the administrator has removed");
    }
    assert_eq!(admit(&admission, "A", None), Ok(()), "the list that was read last stays in use");
}

#[test]
fn a_list_that_cannot_be_written_admits_nobody_new() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let path = folder.path().join("members");
    let admission = start(&path, |_| {}).expect("it makes the file");
    invite(&admission, in_an_hour(), None);
    // A directory of this name prevents the creation of the new file.
    std::fs::create_dir(folder.path().join("members.new")).expect("it is made");
    let refused = admit(&admission, "A", Some(claim(SECRET, b"A")));
    assert!(matches!(refused, Err(NotAdmitted::NotWritten(_))), "{refused:?}");
    assert_eq!(admit(&admission, "A", None), Err(NotAdmitted::NoMember(key("A"))));
    std::fs::remove_dir(folder.path().join("members.new")).expect("it is removed");
    assert_eq!(admit(&admission, "A", Some(claim(SECRET, b"A"))), Ok(()), "the invitation is still open");
}

#[test]
fn what_is_wrong_with_a_line_is_said_without_its_secret() {
    let good = key("A");
    for (line, reason) in [
        ("A", "\"A\" is not a fingerprint"),
        (&*format!("{good} a/b"), "a/b"),
        (&format!("{good} A B"), "more than a name"),
        ("invitation", "a secret of 32"),
        ("invitation a5a5 1", "a secret of 32"),
        (&format!("invitation {} soon", "a5".repeat(16)), "not followed by a time"),
    ] {
        let error = parse(&format!("\n{line}\n")).expect_err(line);
        assert!(error.starts_with("line 2: ") && error.contains(reason), "{line}: {error}");
        assert!(!error.contains("a5a5"), "{error}");
    }
    let folder = tempfile::tempdir().expect("there is a folder");
    let path = folder.path().join("members");
    std::fs::write(&path, "A\n").expect("it is written");
    assert!(matches!(start(&path, |_| {}), Err(StartError::Lines { .. })));
    assert!(matches!(start(folder.path(), |_| {}), Err(StartError::File { .. })), "a directory");
}

#[test]
fn the_successor_of_a_member_takes_its_place() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let path = folder.path().join("members");
    std::fs::write(&path, format!("{} A # keys change\n{}\n", key("A"), key("B"))).expect("it is written");
    let admission = start(&path, |_| {}).expect("it starts");
    let succeed = |who: &str, successor: &str, predecessor: &str| {
        let predecessors = vec![key(predecessor)];
        let candidate = Candidate { name: name(who), fingerprint: key(successor), predecessors, claim: None };
        admission.ask(|reply| Command::Admit(candidate, reply)).expect("it answers").map(drop)
    };
    assert_eq!(succeed("A", "new", "nobody"), Err(NotAdmitted::NoMember(key("new"))));
    assert_eq!(
        succeed("C", "new", "A"),
        Err(NotAdmitted::NoMember(key("new"))),
        "the key is for another name"
    );
    assert_eq!(succeed("A", "new", "A"), Ok(()));
    assert_eq!(succeed("A", "new", "A"), Ok(()), "it is a member now");
    assert_eq!(
        admit(&admission, "A", None),
        Err(NotAdmitted::NoMember(key("A"))),
        "the old key is none any more"
    );
    assert!(
        read(&path).contains(&format!("{} A", key("new"))) && read(&path).contains(&key("B").to_string())
    );
}
