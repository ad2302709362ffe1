use super::*;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;

use wire::Digest;
use wire::card::Term;
use wire::keys::is_under_passphrase;

use crate::peer::records::PinnedKey;

const BITS: usize = 2048;
const DAY: u64 = 24 * 60 * 60;
const START: u64 = 1_800_000_000;

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let home = Home::open(&dir.path().join("Alice")).expect("its parent exists");
    (dir, home)
}

fn keys_at(home: &Home, now: u64) -> Result<Keys, HomeError> {
    home.keys(None, BITS, &KeyTimes::default(), now, &mut rand::rng())
}

fn pair_names(home: &Home) -> Vec<OsString> {
    let dir = std::fs::read_dir(home.private_path().join("encryption")).expect("it is there");
    let mut names: Vec<_> = dir.map(|entry| entry.expect("it reads").file_name()).collect();
    names.sort();
    names
}

fn mode_of(path: &Path) -> u32 {
    let metadata = std::fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

#[test]
fn a_directory_is_made_if_its_parent_exists() {
    let (dir, home) = home();
    assert_eq!(home.default_name().ok(), Some(name("Alice")));
    assert_eq!(mode_of(home.private_path()), 0o700);
    assert!(home.downloads_path().ends_with("Alice/downloads"));
    assert!(!home.downloads_path().exists());
    let lost = Home::open(&dir.path().join("no/where"));
    assert!(matches!(lost, Err(HomeError::NoParent(_))), "{lost:?}");
    std::fs::write(dir.path().join("file"), b"").expect("it can be written");
    let file = Home::open(&dir.path().join("file"));
    assert!(matches!(file, Err(HomeError::NotADirectory(_))), "{file:?}");
}

#[test]
fn a_directory_whose_name_is_none_for_a_peer_asks_for_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let home = Home::open(&dir.path().join("two words")).expect("its parent exists");
    let error = home.default_name().expect_err("a blank is in no name").to_string();
    assert!(error.ends_with("choose one with --name"), "{error}");
    assert!(!error.contains('\n'));
}

#[test]
fn a_private_folder_that_is_a_link_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(dir.path().join("elsewhere")).expect("a directory");
    std::os::unix::fs::symlink("elsewhere", dir.path().join(".switchboard")).expect("a link");
    assert!(Home::open(dir.path()).is_err());
}

#[test]
fn one_at_a_time_holds_the_lock() {
    let (_dir, home) = home();
    let lock = home.try_lock().expect("it can be tried").expect("it is free");
    // flock treats a second open file description like one of another process.
    let again = Home::open(home.path()).expect("it opens");
    assert!(again.try_lock().expect("it can be tried").is_none());
    drop(lock);
    assert!(again.try_lock().expect("it can be tried").is_some());
}

#[test]
fn keys_are_made_once_and_read_again() {
    let (_dir, home) = home();
    let first = keys_at(&home, START).expect("keys are made");
    let again = keys_at(&home, START + DAY - 1).expect("keys are read");
    assert!(first.made_identity && !again.made_identity);
    let fingerprint = first.identity.public().fingerprint();
    assert_eq!(again.identity.public().fingerprint(), fingerprint);
    let current = first.current().key.public().fingerprint();
    assert_eq!(again.encryption.len(), 1);
    assert!(again.by_fingerprint(&current).is_some());
    assert!(again.by_fingerprint(&fingerprint).is_none());
    for file in ["identity.pem".to_owned(), format!("encryption/{START}.pem")] {
        let path = home.private_path().join(file);
        assert_eq!(mode_of(&path), 0o600);
        set_mode(&path, 0o644);
    }
    set_mode(home.private_path(), 0o755);
    let home = Home::open(home.path()).expect("it opens");
    keys_at(&home, START + DAY - 1).expect("keys are read");
    assert_eq!(mode_of(home.private_path()), 0o700, "mended");
    assert_eq!(mode_of(&home.private_path().join("identity.pem")), 0o600, "mended");
}

#[test]
fn encryption_pairs_are_renewed_kept_and_destroyed_by_the_clock() {
    let (_dir, home) = home();
    let first = keys_at(&home, START).expect("keys are made");
    let old = first.current().key.public().fingerprint();
    let renewed_at = START + DAY;
    assert_eq!(keys_at(&home, renewed_at - 1).map(|k| k.encryption.len()).ok(), Some(1));
    let second = keys_at(&home, renewed_at).expect("a pair is made");
    assert_ne!(second.current().key.public().fingerprint(), old);
    let dates: Vec<_> = second.encryption.iter().map(|p| p.made_at).collect();
    assert_eq!(dates, [renewed_at, START]);

    let witness = home.path().join("witness");
    let file = home.private_path().join(format!("encryption/{START}.pem"));
    std::fs::hard_link(&file, &witness).expect("a second name");
    let kept = keys_at(&home, START + 14 * DAY - 1).expect("keys are read");
    assert!(kept.by_fingerprint(&old).is_some(), "late mail still opens");
    let gone = keys_at(&home, START + 14 * DAY).expect("keys are read");
    assert!(gone.by_fingerprint(&old).is_none());
    assert!(!file.exists());
    let left = std::fs::read(&witness).expect("it is there");
    assert!(left.iter().all(|byte| *byte == 0), "the bytes were overwritten on the disk");
}

#[test]
fn pairs_are_made_and_destroyed_while_the_keys_are_in_use() {
    let (_dir, home) = home();
    keys_at(&home, START).expect("keys are made");
    let made = home.make_encryption_pair(None, BITS, START + 5, &mut rand::rng()).expect("a pair is made");
    let read = keys_at(&home, START + 6).expect("keys are read");
    assert_eq!(read.current().key.public().fingerprint(), made.key.public().fingerprint());
    home.destroy_encryption_pair(START).expect("it goes");
    home.destroy_encryption_pair(START).expect("it is gone already");
    assert_eq!(pair_names(&home), [&*format!("{}.pem", START + 5)]);
}

#[test]
fn a_clock_that_was_far_ahead_does_not_keep_a_pair_for_ever() {
    let (_dir, home) = home();
    let ahead = keys_at(&home, START + 9000 * DAY).expect("keys are made");
    let now = keys_at(&home, START).expect("keys are read");
    assert_eq!(now.current().made_at, START);
    assert_eq!(now.current().key.public().fingerprint(), ahead.current().key.public().fingerprint());
    let later = keys_at(&home, START + DAY).expect("a pair is made");
    assert_eq!(later.encryption.len(), 2);
    let behind = keys_at(&home, START - 9000 * DAY).expect("keys are read");
    assert_eq!(behind.encryption.len(), 2, "a clock that is behind destroys nothing");
    assert_eq!(behind.current().made_at, START + DAY);
}

#[test]
fn a_passphrase_guards_all_keys() {
    let (_dir, home) = home();
    let made = home.keys(Some("open sesame"), BITS, &KeyTimes::default(), START, &mut rand::rng());
    let made = made.expect("keys are made");
    for file in ["identity.pem".to_owned(), format!("encryption/{START}.pem")] {
        let pem = std::fs::read_to_string(home.private_path().join(file)).expect("it reads");
        assert!(is_under_passphrase(&pem));
    }
    let error = keys_at(&home, START).err().expect("a passphrase is needed");
    assert!(error.to_string().contains("give it with --passphrase-file"), "{error}");
    assert!(home.keys(Some("guess"), BITS, &KeyTimes::default(), START, &mut rand::rng()).is_err());
    let again = home.keys(Some("open sesame"), BITS, &KeyTimes::default(), START, &mut rand::rng());
    assert_eq!(
        again.expect("keys are read").identity.public().fingerprint(),
        made.identity.public().fingerprint()
    );
}

#[test]
fn a_passphrase_that_comes_later_encrypts_all_keys_and_destroys_the_plain_ones() {
    let (_dir, home) = home();
    let plain = keys_at(&home, START).expect("keys are made");
    assert!(!home.is_locked().expect("it reads"));
    assert!(home.store_key(None, &mut rand::rng()).expect("there is none").is_none());
    let identity = home.private_path().join("identity.pem");
    std::fs::hard_link(&identity, home.path().join("witness")).expect("a second name");
    let key =
        home.store_key(Some("open sesame"), &mut rand::rng()).expect("it is made").expect("it is there");
    // After a crash from here on, the peer must not start without the passphrase.
    assert!(home.is_locked().expect("it reads"));
    assert!(matches!(home.store_key(None, &mut rand::rng()), Err(HomeError::PassphraseMissing(_))));
    let keys = home.keys(Some("open sesame"), BITS, &KeyTimes::default(), START + 1, &mut rand::rng());
    assert_eq!(
        keys.expect("keys are read").identity.public().fingerprint(),
        plain.identity.public().fingerprint()
    );
    for path in [identity, home.private_path().join(format!("encryption/{START}.pem"))] {
        let pem = std::fs::read_to_string(&path).expect("it reads");
        assert!(is_under_passphrase(&pem), "{pem}");
        assert_eq!(mode_of(&path), 0o600);
    }
    let old = std::fs::read(home.path().join("witness")).expect("it is there");
    assert!(old.iter().all(|byte| *byte == 0), "the plain key was overwritten on the disk");
    let again = home.store_key(Some("open sesame"), &mut rand::rng()).expect("it opens");
    assert_eq!(again, Some(key));
}

#[test]
fn a_wrong_passphrase_is_told_from_a_damaged_file_and_changes_nothing() {
    let (_dir, home) = home();
    let open = |passphrase| home.store_key(Some(passphrase), &mut rand::rng()).map_err(|e| e.to_string());
    open("open sesame").expect("it is made");
    let error = open("open barley").expect_err("it is wrong");
    assert!(error.contains("store.key: wrong passphrase") && !error.contains("remove"), "{error}");
    let path = home.private_path().join("store.key");
    let mut bytes = std::fs::read(&path).expect("it is there");
    bytes[40] ^= 1;
    std::fs::write(&path, &bytes).expect("it can be written");
    let error = open("open sesame").expect_err("it is damaged");
    assert!(error.contains("damaged") && error.contains("put it back from a backup"), "{error}");

    // An identity key that was encrypted before there was a store key: the passphrase must be that of the identity key.
    std::fs::remove_file(&path).expect("it is there");
    home.keys(Some("open sesame"), BITS, &KeyTimes::default(), START, &mut rand::rng())
        .expect("keys are made");
    assert!(home.is_locked().expect("it reads"));
    let error = open("open barley").expect_err("it is wrong");
    assert!(error.contains("identity.pem") && error.contains("wrong passphrase"), "{error}");
    assert!(!error.contains("remove") && !path.exists(), "{error}");
    open("open sesame").expect("it is made");
}

#[test]
fn a_successor_is_signed_by_the_earlier_key_which_is_destroyed() {
    let (_dir, home) = home();
    let replace =
        |passphrase| home.replace_identity(&name("Alice"), passphrase, BITS, START + 1, &mut rand::rng());
    assert!(matches!(replace(None), Err(HomeError::NoIdentity(_))));
    let first = keys_at(&home, START).expect("keys are made");
    let path = home.private_path().join("identity.pem");
    std::fs::hard_link(&path, home.path().join("witness")).expect("a second name");
    let [old, new] = replace(None).expect("it is replaced");
    assert_eq!(old, first.identity.public().fingerprint());
    let left = std::fs::read(home.path().join("witness")).expect("it is there");
    assert!(left.iter().all(|byte| *byte == 0), "the old key was overwritten");
    // Once more, before anybody has seen the first successor.
    let [second, newest] = replace(None).expect("it is replaced");
    assert_eq!(second, new);
    let check = |keys: &Keys| {
        assert_eq!(keys.identity.public().fingerprint(), newest);
        let card = keys.issue_card(&name("alice"), Term::starting(START, 1, None), &mut rand::rng());
        assert!(card.takes_over_from(&old) && card.takes_over_from(&second));
        let card = keys.issue_card(&name("Bob"), Term::starting(START, 1, None), &mut rand::rng());
        assert!(!card.takes_over_from(&old), "the statement is for another name");
    };
    check(&keys_at(&home, START + 1).expect("keys are read"));
    // The statement stays when the key is encrypted.
    let encrypted =
        || home.keys(Some("open sesame"), BITS, &KeyTimes::default(), START + 1, &mut rand::rng());
    check(&encrypted().expect("keys are read"));
    check(&encrypted().expect("keys are read"));
    let text = std::fs::read_to_string(&path).expect("it reads");
    assert!(is_under_passphrase(&text) && text.contains("SUCCESSION"), "{text}");
    std::fs::write(&path, text.replace("SUCCESSION", "SUCCESSOR")).expect("it can be written");
    assert!(matches!(encrypted(), Err(HomeError::StatementDamaged(_))));
}

#[test]
fn a_damaged_key_is_named_and_never_replaced() {
    let (_dir, home) = home();
    keys_at(&home, START).expect("keys are made");
    for file in ["identity.pem".to_owned(), format!("encryption/{START}.pem")] {
        let path = home.private_path().join(&file);
        let whole = std::fs::read(&path).expect("it reads");
        for damaged in [&whole[..whole.len() / 2], b"", b"\xff\xfe"] {
            std::fs::write(&path, damaged).expect("it can be written");
            let error = keys_at(&home, START).err().expect("it is damaged").to_string();
            assert!(error.contains(&file) && error.contains("put it back from a backup"), "{error}");
            assert_eq!(std::fs::read(&path).ok().as_deref(), Some(damaged));
        }
        std::fs::write(&path, whole).expect("it can be written");
    }
    std::fs::remove_file(home.private_path().join("identity.pem")).expect("it is there");
    assert!(matches!(keys_at(&home, START), Err(HomeError::IdentityMissing(_))));
}

#[test]
fn a_crash_while_keys_are_made_leaves_none_or_whole_ones() {
    let (_dir, home) = home();
    let encryption = home.private_path().join("encryption");
    std::fs::create_dir(&encryption).expect("a directory");
    std::fs::write(home.private_path().join(".identity.pem.new"), b"-----BEGIN PRIV").expect("it is written");
    let first = keys_at(&home, START).expect("keys are made");
    // What a crash between the identity key and the first pair leaves.
    std::fs::remove_file(encryption.join(format!("{START}.pem"))).expect("it is there");
    std::fs::write(encryption.join(format!(".{START}.pem.new")), b"-----BEGIN").expect("it is written");
    let second = keys_at(&home, START + 1).expect("the pair is made");
    assert!(!second.made_identity);
    assert_eq!(second.identity.public().fingerprint(), first.identity.public().fingerprint());
    assert_eq!(pair_names(&home), [&*format!("{}.pem", START + 1)]);
    assert!(!home.private_path().join(".identity.pem.new").exists());
}

#[test]
fn a_key_is_pinned_on_first_use_and_changed_only_on_request() {
    let (_dir, home) = home();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let mut pins = home.pins().expect("none yet");
    assert_eq!(pins.check(&name("Bob"), &one), Pin::New);
    pins.pin(&name("Bob"), &one, START).expect("it is new");
    pins.pin(&name("bob"), &one, START + 9).expect("it is the same");
    let refused = pins.pin(&name("BOB"), &two, START);
    assert!(
        matches!(refused, Err(HomeError::PinnedOtherwise { pinned, .. }) if pinned == one),
        "{refused:?}"
    );
    let pins = home.pins().expect("they read");
    assert_eq!(pins.check(&name("bOb"), &one), Pin::Same);
    assert_eq!(pins.check(&name("Bob"), &two), Pin::Changed { pinned: one });
    assert_eq!(mode_of(&home.private_path().join("known_peers")), 0o600);

    let mut pins = pins;
    pins.replace(&name("bob"), PinnedKey { fingerprint: one, is_compared: true }, START + 3)
        .expect("it is written");
    let pins = home.pins().expect("they read");
    let all: Vec<_> = pins.iter().collect();
    assert_eq!(all, [(&name("bob"), &PinnedKey { fingerprint: one, is_compared: true }, START)]);
    let mut pins = pins;
    pins.replace(&name("bob"), PinnedKey::new(two), START + 5).expect("it is written");
    let pins = home.pins().expect("they read");
    assert_eq!(pins.check(&name("Bob"), &one), Pin::Changed { pinned: two });
    let all: Vec<_> = pins.iter().collect();
    assert_eq!(all, [(&name("bob"), &PinnedKey::new(two), START + 5)]);
}

#[test]
fn a_damaged_line_is_an_error_that_names_it_and_nothing_is_changed() {
    let (_dir, home) = home();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let file = home.private_path().join("known_peers");
    let good = format!("# mine\nBob {one} 1\n\nFay {two} 5\n");
    let bad: [&[u8]; 6] = [
        format!("Carl {two} 2 trusted").as_bytes(),
        b"Carl abc 2",
        format!("bob {two} 3").as_bytes(),
        format!("Dora {two}").as_bytes(),
        b"\xff\xff",
        b"Eve ",
    ]
    .map(|line: &[u8]| line.to_vec().leak() as &[u8]);
    for line in bad {
        let text = [good.as_bytes(), line, b"\n"].concat();
        std::fs::write(&file, &text).expect("it can be written");
        let error = home.pins().expect_err("it is damaged").to_string();
        assert!(error.contains("known_peers line 5: ") && error.lines().count() == 1, "{error}");
        assert_eq!(std::fs::read(&file).ok(), Some(text));
    }
    std::fs::write(&file, &good).expect("it can be written");
    let mut pins = home.pins().expect("they read");
    assert_eq!(pins.check(&name("Fay"), &two), Pin::Same);
    pins.pin(&name("Gus"), &one, 6).expect("it is new");
    assert_eq!(std::fs::read_to_string(&file).ok(), Some(format!("{good}Gus {one} 6\n")), "comments stay");
}

#[test]
fn a_peer_whose_key_was_accepted_must_be_pinned() {
    let (_dir, home) = home();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let accepted = || [(name("Bob"), one), (name("Carl"), two)];
    let mut pins = home.pins().expect("they read");
    pins.pin(&name("bob"), &one, 1).expect("it is new");
    pins.pin(&name("CARL"), &one, 1).expect("it is new");
    pins.check_accepted(accepted(), None, 2).expect("both are pinned; another key is not its business");

    // The file is emptied.
    std::fs::write(home.private_path().join("known_peers"), "").expect("it can be written");
    let error =
        home.pins().expect("they read").check_accepted(accepted(), None, 2).expect_err("none is pinned");
    let error = error.to_string();
    assert!(error.contains("known_peers lacks Bob, Carl"), "{error}");
    assert!(error.contains(&format!("trust Bob {one}, trust Carl {two}")), "{error}");
    let mut pins = home.pins().expect("they read");
    let error = pins.check_accepted(accepted(), Some(&name("bob")), 2).expect_err("Carl is missing");
    assert!(error.to_string().contains("known_peers lacks Carl,"), "{error}");
    let mut pins = home.pins().expect("they read");
    pins.check_accepted(accepted(), Some(&name("Carl")), 2).expect("all are pinned again");
    assert_eq!(home.pins().expect("they read").check(&name("Bob"), &one), Pin::Same, "it is on the disk");
    let many = (0..9).map(|n| (name(&format!("peer{n}")), one));
    let error = pins.check_accepted(many, None, 2).expect_err("none is pinned").to_string();
    assert!(error.contains("lacks peer0, peer1, peer2, 6 more,"), "{error}");
}
