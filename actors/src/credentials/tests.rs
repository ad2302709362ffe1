//! The users file, its errors, checking passwords, and reading the file again.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::core::{Users, Work};
use super::file::COSTS;
use super::shell::{Look, UsersFile};
use super::*;
use crate::commands::credentials::{Verify, detached};
use crate::http::VerifiedKey;
use crate::runtime::{NoAnswer, reply};

/// The hash of "myPassword", from the documentation of Apache httpd.
const APACHE: &str = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";

const SOON: Duration = Duration::from_secs(20);

fn secret(password: &str) -> Zeroizing<String> {
    Zeroizing::new(password.to_owned())
}

/// A line of a user at the lowest cost.
fn line(name: &str, password: &str) -> String {
    format!("{name}:{}\n", bcrypt::hash(password, *COSTS.start()).expect("the system has randomness"))
}

/// A users file in a temporary folder.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let path = folder.path().join("users");
    std::fs::write(&path, text).expect("the folder can be written");
    (folder, path)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn generation(file: &UsersFile) -> u64 {
    file.generation.load(Ordering::Acquire)
}

#[test]
fn users_comments_and_empty_lines_are_read() {
    let text = format!(
        "# who\r\n\r\n  # and whom\nann:{APACHE}\r\n \nb o b:{}\nßue:{}",
        APACHE.replace("$2y$", "$2b$"),
        APACHE.replace("$2y$05", "$2a$14"),
    );
    let users = parse(&text).expect("all lines are good");
    assert_eq!(users.iter().map(User::name).collect::<Vec<_>>(), ["ann", "b o b", "ßue"]);
    assert_eq!(users.iter().map(|user| user.cost).collect::<Vec<_>>(), [5, 5, 14]);
    assert_eq!(users[0].hash, APACHE);
    assert_eq!(parse("\n# nobody"), Ok(Vec::new()));
}

#[test]
fn each_wrong_line_is_named_with_its_reason() {
    let long = format!("{}:{APACHE}", "n".repeat(256));
    let cases = [
        ("bob".to_owned(), "it is not NAME:HASH"),
        (format!(":{APACHE}"), "the name is empty"),
        (format!(" bob:{APACHE}"), "begins or ends with a space"),
        (format!("b\u{7}b:{APACHE}"), "the name has a control character"),
        (long, "longer than 255 bytes"),
        (format!("ann:{APACHE}"), "ann is already on line 1"),
        ("bob:".to_owned(), "there is no hash"),
        ("bob:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/".to_owned(), "Apache's MD5 (apr1)"),
        ("bob:$1$salt$abc".to_owned(), "MD5 crypt"),
        ("bob:$5$salt$abc".to_owned(), "SHA-256 crypt"),
        ("bob:$6$salt$abc".to_owned(), "SHA-512 crypt"),
        ("bob:$y$j9T$abc".to_owned(), "yescrypt"),
        ("bob:$argon2id$v=19$abc".to_owned(), "Argon2"),
        ("bob:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=".to_owned(), "SHA-1"),
        ("bob:rl.3StKT.4T8M".to_owned(), "DES crypt"),
        ("bob:$new$abc".to_owned(), "of an unknown kind"),
        ("bob:hunter2".to_owned(), "seems not to be hashed"),
        (format!("bob:{}", APACHE.replace("2y", "2x")), "flawed kind 2x"),
        (format!("bob:{}", &APACHE[..59]), "the bcrypt hash is damaged"),
        (format!("bob:{}", APACHE.replace("HHa6", "HH!6")), "the bcrypt hash is damaged"),
        (format!("bob:{}", APACHE.replace("$05$", "$+5$")), "the bcrypt hash is damaged"),
        (format!("bob:{APACHE}:more"), "the bcrypt hash is damaged"),
        (format!("bob:{}", APACHE.replace("$05$", "$03$")), "the cost 3 of the hash is not from 4 to 14"),
        (format!("bob:{}", APACHE.replace("$05$", "$15$")), "the cost 15 of the hash is not from 4 to 14"),
    ];
    for (line, reason) in &cases {
        let bad = parse(&format!("ann:{APACHE}\n\n{line}\n")).expect_err(line);
        assert_eq!(bad.len(), 1, "{line}: {bad:?}");
        let said = bad[0].to_string();
        assert!(
            said.starts_with("line 3: ") && said.contains(reason),
            "{line}: {reason:?} is not in {said:?}"
        );
        let hash = line.split_once(':').map_or("", |(_, hash)| hash);
        assert!(hash.len() < 4 || !said.contains(hash), "it tells the hash: {said}");
    }
    let lines = parse("a\n#\nb:c\n").expect_err("two lines are bad");
    assert_eq!(lines.iter().map(|bad| bad.line).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn what_others_hashed_is_verified() {
    let text = format!("ann:{APACHE}\nbob:{}\n", APACHE.replace("2y", "2b"));
    let users = Users::new(parse(&text).expect("it is good"));
    for (name, password, expected) in [
        ("ann", "myPassword", true),
        ("bob", "myPassword", true),
        ("ann", "mypassword", false),
        ("ann", "", false),
        ("Ann", "myPassword", false),
        ("", "", false),
    ] {
        assert_eq!(users.verify(name, password), expected, "{name} {password}");
    }
}

#[test]
fn a_password_that_bcrypt_takes_for_another_is_wrong() {
    let longest = "p".repeat(PASSWORD_BYTES_MAX);
    // bcrypt repeats the key with its final NUL, so "\0" and "" have the same hash.
    let text = line("long", &longest) + &line("none", "");
    let users = Users::new(parse(&text).expect("it is good"));
    assert!(users.verify("long", &longest) && users.verify("none", ""));
    assert!(!users.verify("long", &(longest + "q")));
    assert!(!users.verify("none", "\0"));
}

#[test]
fn all_answers_take_the_same_work() {
    let text: String =
        [4, 7, 12].map(|n| format!("u{n}:{}\n", APACHE.replace("05", &format!("{n:02}")))).concat();
    let users = Users::new(parse(&text).expect("it is good"));
    for name in ["u4", "u7", "u12", "nobody"] {
        let Work { user, feigned } = users.work(name);
        assert_eq!(user.is_some(), name != "nobody");
        let rounds: u64 = user.map(|user| user.cost).into_iter().chain(feigned).map(|cost| 1 << cost).sum();
        assert_eq!(rounds, 1 << 12, "{name}");
    }
    assert!(!Users::new(Vec::new()).work("nobody").feigned.is_empty(), "also while nobody is in the file");
}

#[test]
fn a_made_line_is_good_for_its_user_and_password() {
    let longest = "ä".repeat(36);
    for password in ["correct horse", &longest] {
        let line = hash_line("ann", password).expect("both are good");
        assert!(line.starts_with("ann:$2y$10$") && line.lines().count() == 1, "{line}");
        let users = Users::new(parse(&line).expect("the line is good"));
        assert!(users.verify("ann", password) && !users.verify("ann", "wrong"));
    }
}

#[test]
fn no_line_is_made_of_what_could_not_be_verified() {
    assert_eq!(hash_line("ann", &"ä".repeat(37)), Err(HashError::TooLong(74)));
    assert_eq!(hash_line("ann", ""), Err(HashError::Empty));
    assert_eq!(hash_line("ann", "a\0b"), Err(HashError::Control));
    for name in ["", "a:b", "#a", " a", "a\n"] {
        assert!(matches!(hash_line(name, "good"), Err(HashError::Name(_))), "{name:?}");
    }
}

#[test]
fn a_start_that_fails_says_where_and_what_to_do() {
    let (folder, path) = file("# nobody\n");
    let said = |path: &Path| start(path).expect_err("it cannot start").to_string();
    let advice = "server --hash-password NAME";
    let name = path.display().to_string();
    for (text, words) in
        [("# nobody\n", "nobody is in"), ("a\nb:c\n", "line 1: it is not NAME:HASH; line 2: ")]
    {
        std::fs::write(&path, text).expect("it can be written");
        let said = said(&path);
        assert!([&name, words, advice].iter().all(|part| said.contains(part)), "{said}");
    }
    for (path, words) in [(folder.path(), "not a file"), (&folder.path().join("none"), "No such file")] {
        let said = said(path);
        assert!([&*path.to_string_lossy(), words, advice].iter().all(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn a_changed_file_is_taken_once_and_a_broken_one_leaves_the_users() {
    let ann = line("ann", "a");
    let (_folder, path) = file(&ann);
    let (mut file, mut users) = UsersFile::open(&path).expect("the file is good");
    assert_eq!((file.look(&mut users), generation(&file)), (Look::Same, 1));
    let write = |text: &str| std::fs::write(&path, text).expect("it can be written");

    write(&(ann.clone() + "bob"));
    assert_eq!(
        (file.look(&mut users), file.look(&mut users)),
        (Look::Refused, Look::Same),
        "it complains once"
    );
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(
        (file.look(&mut users), file.look(&mut users)),
        (Look::Refused, Look::Same),
        "it complains once"
    );
    assert_eq!(generation(&file), 1);
    assert!(users.verify("ann", "a"));

    // A new file is renamed over it, as careful programs do.
    let other = path.with_extension("new");
    std::fs::write(&other, line("bob", "b")).expect("it can be written");
    std::fs::rename(&other, &path).expect("both are there");
    assert_eq!((file.look(&mut users), file.look(&mut users)), (Look::Taken, Look::Same));
    assert_eq!(generation(&file), 2);
    assert!(users.verify("bob", "b") && !users.verify("ann", "a"));

    // The same length, immediately afterwards: the times of the file may be the same.
    write(&line("cyd", "c"));
    assert_eq!((file.look(&mut users), generation(&file)), (Look::Taken, 3));
    write("");
    assert_eq!((file.look(&mut users), generation(&file)), (Look::Taken, 4), "the last user was removed");
    assert!(!users.verify("cyd", "c"));
}

#[test]
fn a_removed_user_is_locked_out_though_nobody_asks() {
    let bob = line("bob", "b");
    let (_folder, path) = file(&(line("ann", "a") + &bob));

    let handle = start(&path).expect("the file is good");
    let before = handle.generation();
    assert_eq!(handle.verify("ann", secret("a")), Ok(true));
    assert_eq!(handle.verify("ann", secret("b")), Ok(false));
    assert_eq!(handle.verify("eve", secret("a")), Ok(false));
    assert_eq!(handle.generation(), before);
    std::fs::write(&path, bob).expect("it can be written");
    wait_until("the file is read again", || handle.generation() != before);
    assert_eq!(handle.verify("ann", secret("a")), Ok(false));
    assert_eq!(handle.verify("bob", secret("b")), Ok(true));
}

#[test]
fn a_full_mailbox_is_said_at_once_and_so_is_the_end() {
    let (handle, mailbox) = detached(1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| handle.verify("ann", secret("a")));
        wait_until("a request waits", || !mailbox.is_empty());
        assert_eq!(handle.verify("bob", secret("b")), Err(NoAnswer::Busy));
        let Verify { user, password, reply } = mailbox.next().expect("it is open");
        assert_eq!((&*user, &**password), ("ann", "a"));
        reply.answer(true);
        assert_eq!(waiting.join().expect("it does not panic"), Ok(true));
    });
    drop(mailbox);
    assert_eq!(handle.verify("ann", secret("a")), Err(NoAnswer::Dropped));
}

#[test]
fn no_password_and_no_hash_is_shown_by_debug() {
    let (reply, _pending) = reply();
    let command = Verify { user: "ann".to_owned(), password: secret("hunter2"), reply };
    let users = parse(&format!("ann:{APACHE}")).expect("it is good");
    let said = format!("{command:?} {users:?} {:?}", VerifiedKey::of(b"hunter2"));
    assert!(!said.contains("hunter2") && !said.contains(&APACHE[7..]), "{said}");
}
