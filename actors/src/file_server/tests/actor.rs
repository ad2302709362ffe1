//! The whole actor on a real disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::http::{Coding, SitePath};

use super::super::core::Input;
use super::super::start;
use super::super::watch::{self, Report};
use super::bench::{SOON, text};
use super::disk::write;
use crate::commands::asset::Asset;
use crate::commands::file_server::{FileServerHandle, Find, Found};
use crate::config::CacheConfig;
use crate::runtime::{Running, mailbox};
use crate::site::SiteConfig;

fn serve(site: SiteConfig) -> Running<FileServerHandle> {
    start(Arc::new(site), &CacheConfig::default()).expect("the root is there")
}

fn site(root: &Path) -> SiteConfig {
    SiteConfig { root: root.to_owned(), ..SiteConfig::default() }
}

fn find(served: &FileServerHandle, path: &str) -> Arc<Asset> {
    match served.find(Some(SitePath::decode(path, false).expect("the path is good"))) {
        Ok(Found::Asset(asset)) => asset,
        other => panic!("no asset but {other:?}"),
    }
}

fn wait_until(within: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < within, "{what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_missing_root_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let site = Arc::new(site(&folder.path().join("nowhere")));
    let error = start(site, &CacheConfig::default()).expect_err("there is no such directory").to_string();
    assert!(error.contains("nowhere") && error.contains("--root"), "{error}");
}

#[test]
fn what_changes_on_the_disk_is_revoked_and_the_actor_ends_with_its_handles() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    write(&folder.path().join("a.txt"), "one");
    let served = serve(site(folder.path()));
    let first = find(&served, "/a.txt");
    assert_eq!(text(&first), "one");
    // With this number of files not all are compared every second.
    for n in 0..1_100 {
        write(&folder.path().join(format!("{n}.txt")), "");
        find(&served, &format!("/{n}.txt"));
    }
    write(&folder.path().join("a.txt"), "two");
    // Sooner than it would be compared without a report, unless the watch has not started yet.
    wait_until(Duration::from_secs(4), "the change was not reported", || first.is_revoked());
    assert_eq!(text(&find(&served, "/a.txt")), "two");
    drop(served);
}

#[test]
fn a_change_behind_a_link_is_seen() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    write(&folder.path().join("releases/1/a.txt"), "one");
    write(&folder.path().join("releases/2/a.txt"), "two");
    let link = folder.path().join("current");
    std::os::unix::fs::symlink("releases/1", &link).expect("links can be made");
    let served = serve(site(folder.path()));
    let first = find(&served, "/current/a.txt");
    assert_eq!(text(&first), "one");
    std::os::unix::fs::symlink("releases/2", folder.path().join("next")).expect("links can be made");
    std::fs::rename(folder.path().join("next"), &link).expect("links can be renamed");
    wait_until(Duration::from_secs(4), "the change was not seen", || first.is_revoked());
    assert_eq!(text(&find(&served, "/current/a.txt")), "two");
}

#[test]
fn files_are_compressed_and_neighbours_found() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let page = "<p>once again ".repeat(100);
    let large = "let x = 'once again'; ".repeat(100_000);
    write(&folder.path().join("a.html"), &page);
    write(&folder.path().join("large.js"), &large);
    write(&folder.path().join("b.css"), "long enough");
    write(&folder.path().join("b.css.zst"), "zst");
    let served = serve(SiteConfig { compression: true, ..site(folder.path()) });
    for path in ["/a.html", "/large.js"] {
        wait_until(SOON, "it was not compressed", || find(&served, path).has(Coding::Brotli));
        assert!(find(&served, path).has(Coding::Gzip));
    }
    assert!(find(&served, "/b.css").has(Coding::Zstd));
    assert_eq!(served.counts.compressed.get(), 2);
}

#[test]
fn what_cannot_be_watched_is_said() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let (_address, mut mailbox) = mailbox::<Find, Input>(1);
    let answers = mailbox.answers(None);
    let mut next = || {
        let mut batch = Vec::new();
        assert!(mailbox.wait(Some(Instant::now() + SOON), 1, &mut batch), "it is not ended");
        batch.pop().expect("there is a report")
    };
    let _watch = watch::start(folder.path(), 1, answers.clone());
    let watched = next();
    assert!(matches!(watched, Input::Reported(1, Report::Watching)), "{watched:?}");
    let _watch = watch::start(&folder.path().join("missing"), 2, answers);
    let missing = next();
    assert!(matches!(missing, Input::Reported(2, Report::NotWatching)), "{missing:?}");
}

#[test]
fn a_root_that_is_exchanged_is_served_and_watched() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let at = |name: &str| folder.path().join(name);
    write(&at("www/a.txt"), "old");
    write(&at("next/a.txt"), "new");
    let served = serve(site(&at("www")));
    let lease = find(&served, "/a.txt");
    std::fs::rename(at("www"), at("before")).expect("directories can be renamed");
    std::fs::rename(at("next"), at("www")).expect("directories can be renamed");
    wait_until(Duration::from_secs(8), "the exchange was not seen", || lease.is_revoked());
    // The first rename alone revokes the lease; the old root is served until the second is seen too.
    let mut lease = find(&served, "/a.txt");
    wait_until(Duration::from_secs(8), "the old root is still served", || {
        lease = find(&served, "/a.txt");
        text(&lease) == "new"
    });
    write(&at("www/a.txt"), "newer");
    wait_until(Duration::from_secs(4), "the new root is not looked at", || lease.is_revoked());
    assert_eq!(text(&find(&served, "/a.txt")), "newer");
}
