//! Saving the body in a file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use super::{call, folder, names, plain, text};

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole";
const TRUNCATED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort";

fn save(answer: &str, path: &Path) -> Output {
    call(answer, &["--output", plain(path)])
}

#[test]
fn a_file_gets_its_name_only_when_it_is_complete() {
    let folder = folder();
    let path = folder.path().join("out.bin");
    let truncated = save(TRUNCATED, &path);
    assert_eq!(truncated.status.code(), Some(2));
    let said = text(&truncated.stderr);
    assert!(said.contains("is incomplete: ") && said.ends_with("; try again\n"), "{said}");
    assert_eq!(names(folder.path()), [""; 0]);
    let refused = save("HTTP/1.1 404 x\r\nContent-Length: 4\r\n\r\ngone", &path);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(names(folder.path()), [""; 0]);
    let saved = save(WHOLE, &path);
    assert_eq!(saved.status.code(), Some(0));
    assert_eq!(text(&saved.stdout), "HTTP/1.1 200 OK\nContent-Length: 5\n");
    assert_eq!(names(folder.path()), ["out.bin"]);
    assert_eq!(std::fs::read(&path).expect("it is there"), b"whole");
    // An older file stays until the new one is complete.
    assert_eq!(save(TRUNCATED, &path).status.code(), Some(2));
    assert_eq!(std::fs::read(&path).expect("it is there"), b"whole");
}

#[test]
fn a_name_may_be_as_long_as_names_can_be() {
    let folder = folder();
    for name in ["x".repeat(250), "x".repeat(255)] {
        let saved = save(WHOLE, &folder.path().join(&name));
        assert_eq!(saved.status.code(), Some(0), "{}", text(&saved.stderr));
        assert!(names(folder.path()).contains(&name));
    }
}

#[test]
fn a_saved_file_has_the_permissions_of_any_new_file() {
    let folder = folder();
    let (path, other) = (folder.path().join("out"), folder.path().join("other"));
    assert_eq!(save(WHOLE, &path).status.code(), Some(0));
    std::fs::write(&other, "").expect("the folder can be written to");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode();
    assert_eq!(mode(&path), mode(&other));
}

#[test]
fn only_success_replaces_a_file() {
    let folder = folder();
    let path = folder.path().join("good");
    std::fs::write(&path, "good").expect("the folder can be written to");
    for (answer, exit_status, says) in [
        (
            "HTTP/1.1 308 x\r\nLocation: /dir/\r\nContent-Length: 4\r\n\r\npage",
            1,
            &["308", "/dir/", "nothing is saved"][..],
        ),
        ("HTTP/1.1 301 x\r\nContent-Length: 4\r\n\r\npage", 1, &["301", "nothing is saved"]),
        ("HTTP/1.1 304 x\r\n\r\n", 1, &["304", "nothing is saved"]),
        ("HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\n", 2, &["101"]),
        (&"HTTP/1.1 103 x\r\n\r\n".repeat(17), 2, &["103"]),
    ] {
        let refused = save(answer, &path);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(exit_status), "{said}");
        assert!(says.iter().all(|part| said.contains(part)), "{said}");
        assert_eq!(std::fs::read(&path).expect("it is there"), b"good", "{answer}");
        assert_eq!(names(folder.path()), ["good"]);
    }
    // Without --output, a redirection is printed like any response.
    let printed = call("HTTP/1.1 301 x\r\nContent-Length: 4\r\n\r\npage", &[]);
    assert_eq!(printed.status.code(), Some(0));
    assert!(text(&printed.stdout).ends_with("\n\npage"), "{}", text(&printed.stdout));
    let announced = format!("{}HTTP/1.1 200 OK\r\n\r\nHello", "HTTP/1.1 103 x\r\n\r\n".repeat(16));
    assert_eq!(call(&announced, &[]).status.code(), Some(0));
}

#[test]
fn links_and_devices_are_written_to_and_not_replaced() {
    let folder = folder();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    std::fs::write(&real, "old").expect("the folder can be written to");
    std::os::unix::fs::symlink("real", &link).expect("links can be made");
    assert_eq!(save(WHOLE, &link).status.code(), Some(0));
    assert!(link.is_symlink());
    assert_eq!(std::fs::read(&real).expect("it is there"), b"whole");
    assert_eq!(save(WHOLE, Path::new("/dev/null")).status.code(), Some(0));
    assert!(!Path::new("/dev/null").is_file());
    assert_eq!(save(WHOLE, folder.path()).status.code(), Some(1), "a directory cannot be written");
}
