//! Which targets lead to which files (RFC 3986; RFC 9110, section 17.3).

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

fn check<'c>(site: &Site, cases: impl IntoIterator<Item = (&'c str, u16)>) {
    for (path, status) in cases {
        let (answer, went_on) = site.ask_and_go_on(get(path));
        assert_eq!((answer.status(), went_on), (status, true), "{path} got {}{}", answer.head, answer.text());
    }
}

/// A site with additional files, each with its name as its content.
fn site_with(files: &[&str], config: SiteConfig) -> Site {
    let folder = usual_folder();
    for file in files {
        let directory = folder.path().join(file);
        std::fs::create_dir_all(directory.parent().expect("it is below"))
            .expect("the folder can be written to");
        write_old(folder.path(), file, file.as_bytes(), MODIFIED);
    }
    Site::start(Limits::default(), vec![(folder, config)])
}

#[test]
fn a_path_is_decoded_once() {
    let site = site_with(&["d e/f.txt", "é.txt", "%41.txt", "a?b", "a#b"], SiteConfig::default());
    for (path, file) in [
        ("/d%20e/f.txt", "d e/f.txt"),
        ("//d%20e///f.txt", "d e/f.txt"),
        ("/%C3%A9.txt", "é.txt"),
        ("/é.txt?ü", "é.txt"),
        ("/%2541.txt", "%41.txt"),
        ("/a%3fb?c", "a?b"),
        ("/a%23b?%00%zz/../", "a#b"),
    ] {
        let answer = site.get(path, "");
        assert_eq!((answer.status(), answer.text().as_str()), (200, file), "{path}");
    }
}

#[test]
fn names_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStrExt as _;
    let site = Site::new();
    let name = |bytes: &'static [u8]| site.root().join(std::ffi::OsStr::from_bytes(bytes));
    std::fs::create_dir(name(b"d\xe9")).expect("the folder can be written to");
    std::fs::write(name(b"caf\xe9.txt"), "latin").expect("the folder can be written to");
    std::fs::write(name(b"d\xe9/index.html"), "index").expect("the folder can be written to");
    check(&site, [("/caf%E9.txt", 200), ("/caf%e9.txt", 200), ("/caf%E8.txt", 404), ("/d%e9/", 200)]);
    let answer = site.get("/caf%E9.txt", "");
    assert_eq!(
        (answer.text().as_str(), answer.field("Content-Type")),
        ("latin", Some("text/plain; charset=utf-8"))
    );
    assert_eq!(site.get("/d%e9", "").field("Location"), Some("/d%E9/"));
    std::fs::write(name(b"caf\xe9.txt"), "changed").expect("the folder can be written to");
    wait_until("the change was not seen", || site.get("/caf%E9.txt", "").text() == "changed");
}

#[test]
fn malformed_paths() {
    // File names need not be UTF-8. An overlong encoding of a dot or slash is neither.
    check(&Site::new(), [("/%zz", 400), ("/small.txt%00.html", 400), ("/%c0%ae%c0%ae/small.txt", 404)]);
}

#[test]
fn no_way_leads_up() {
    let inner = tempfile::tempdir().expect("there is a place for temporary files");
    write_old(inner.path(), "secret.txt", b"secret", MODIFIED);
    std::fs::create_dir(inner.path().join("www")).expect("the folder can be written to");
    write_old(&inner.path().join("www"), "probe.txt", b"probe", MODIFIED);
    std::fs::create_dir(inner.path().join("www/dir")).expect("the folder can be written to");
    let root = inner.path().join("www");
    for hidden_files in [false, true] {
        let config = Arc::new(SiteConfig { root: root.clone(), hidden_files, ..SiteConfig::default() });
        let files =
            file_server::start(Arc::clone(&config), &CacheConfig::default()).expect("the root is there");
        let site = Site::with_sites(
            Limits::default(),
            vec![super::super::Site::new(config, (*files).clone(), None)],
            vec![files],
            vec![],
        );
        for up in ["..", "%2e%2e", ".%2e", "%2e.", "%2E%2E", "dir/../..", "./..", "dir/.././.."] {
            check(
                &site,
                [(&*format!("/{up}/secret.txt"), 400), (&*format!("/{up}"), 400), (&*format!("/{up}/"), 400)],
            );
        }
        // A path that stays inside is resolved (RFC 3986, section 5.2.4), as nginx does, because `curl --path-as-is` and
        // hand-written links contain such paths.
        for inside in [".", "dir/..", "dir/%2e%2E", "dir/./../dir/.."] {
            check(&site, [(&*format!("/{inside}/secret.txt"), 404), (&*format!("/{inside}/probe.txt"), 200)]);
        }
        for up in [
            "..%2f",
            "%2e%2e%2f",
            "..%5c",
            "..\\",
            "\\..\\",
            "%5c..%5c",
            "%252e%252e/",
            "..%252f",
            "..;/",
            ".../",
            "%2f..%2f",
        ] {
            let path = format!("/{up}secret.txt");
            check(&site, [(&*path, 404)]);
        }
        let absolute = inner.path().join("secret.txt");
        check(&site, [(&*format!("/{}", absolute.display()), 404), (&*absolute.display().to_string(), 404)]);
    }
}

#[test]
fn a_backslash_and_an_escaped_slash_are_no_separators() {
    let site = site_with(&["back\\slash.txt"], SiteConfig::default());
    check(
        &site,
        [
            ("/back%5cslash.txt", 200),
            ("/back\\slash.txt", 200),
            ("/dir\\index.html", 404),
            ("/dir%5cindex.html", 404),
            ("/dir%2findex.html", 404),
            ("/%2fsmall.txt", 404),
        ],
    );
}

#[test]
fn links_are_followed_inside_only() {
    let outside = tempfile::tempdir().expect("there is a place for temporary files");
    write_old(outside.path(), "secret.txt", b"secret", MODIFIED);
    let site = Site::new();
    for (target, link) in [
        (Path::new("small.txt"), "relative"),
        (Path::new("../small.txt"), "dir/up"),
        (Path::new("dir"), "directory"),
        (Path::new("dir/up"), "twice"),
        (Path::new("../secret.txt"), "above"),
        (Path::new("/etc/passwd"), "passwd"),
        (Path::new("/proc/self/environ"), "environ"),
        (&*outside.path().join("secret.txt"), "absolute"),
        (outside.path(), "away"),
        (Path::new("missing"), "dangling"),
        (Path::new("loop"), "loop"),
        // An absolute link leads out even if its target is in the root, because the root can be moved.
        (&*site.root().join("small.txt"), "around"),
    ] {
        symlink(target, site.root().join(link)).expect("links can be made");
    }
    check(
        &site,
        [
            ("/relative", 200),
            ("/dir/up", 200),
            ("/directory/", 200),
            ("/directory/index.html", 200),
            ("/twice", 200),
            ("/above", 403),
            ("/passwd", 403),
            ("/environ", 403),
            ("/absolute", 403),
            ("/away/", 403),
            ("/away/secret.txt", 403),
            ("/around", 403),
            ("/loop", 403),
            ("/dangling", 404),
        ],
    );
    assert_eq!(site.get("/directory", "").field("Location"), Some("/directory/"));
}

#[test]
fn only_regular_files_are_served() {
    let site = Site::new();
    let fifo = site.root().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .expect("pipes can be made");
    let _socket = UnixListener::bind(site.root().join("socket")).expect("sockets can be made");
    check(&site, [("/fifo", 403), ("/socket", 403), ("/fifo/", 404)]);
}

#[test]
fn names_that_start_with_a_dot() {
    let files = [
        ".secret",
        ".well-known/a.txt",
        ".well-known/.secret",
        "dir/.well-known/a.txt",
        "dir/.htaccess",
        "..name",
        "a.b",
        "dot.",
    ];
    let site = site_with(&files, SiteConfig::default());
    for path in [
        "/.secret",
        "/dir/.htaccess",
        "/%2esecret",
        "/..name",
        "/.missing",
        "/.git/",
        "/.well-known/.secret",
        "/dir/.well-known/a.txt",
    ] {
        check(&site, [(path, 404)]);
    }
    // RFC 8615, section 3.
    check(&site, [("/a.b", 200), ("/dot.", 200), ("/.well-known/a.txt", 200), ("/%2ewell-known/a.txt", 200)]);
    let site = site_with(&files, SiteConfig { hidden_files: true, ..SiteConfig::default() });
    for path in ["/.secret", "/.well-known/a.txt", "/dir/.htaccess", "/%2esecret", "/..name"] {
        check(&site, [(path, 200)]);
    }
    check(&site, [("/.missing", 404), ("/..", 400)]);
}

#[test]
fn a_slash_at_the_end_means_a_directory() {
    let site = site_with(
        &["a b/index.html", "evil.example/index.html", "é/index.html", "no/index.txt"],
        SiteConfig::default(),
    );
    check(
        &site,
        [
            ("/dir/", 200),
            ("/dir//", 200),
            ("/dir/index.html", 200),
            ("/dir/index.html/", 404),
            ("/small.txt/", 404),
            ("/small.txt/x", 404),
            ("/missing/", 404),
            ("/no/", 404),
            ("/", 404),
        ],
    );
    for (path, location) in [
        ("/dir", "/dir/"),
        ("/dir?", "/dir/?"),
        ("/dir?a=//b&c", "/dir/?a=//b&c"),
        ("/a%20b", "/a%20b/"),
        ("/%c3%a9", "/%C3%A9/"),
        ("/é", "/%C3%A9/"),
        ("/é?ü=1", "/%C3%A9/?%C3%BC=1"),
        ("/no/../dir", "/dir/"),
        ("/no", "/no/"),
        // It must not lead to another host.
        ("//dir", "/dir/"),
        ("//evil.example", "/evil.example/"),
        ("///evil.example?//evil.example", "/evil.example/?//evil.example"),
        ("http://evil.example/dir", "/dir/"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = site.ask(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!((answer.status(), answer.field("Location")), (308, Some(location)), "{path}");
        }
    }
    check(
        &site,
        [
            ("//evil.example/missing", 404),
            ("/\\evil.example", 404),
            ("/%5cevil.example", 404),
            ("//missing", 404),
        ],
    );
}

#[test]
fn very_long_names() {
    let longest = "n".repeat(255);
    let site = site_with(&[&longest], SiteConfig::default());
    let slashes = "/".repeat(4_000);
    check(
        &site,
        [
            (&*format!("/{longest}"), 200),
            (&*format!("/{longest}n"), 404),
            (&*format!("/{}", "n".repeat(7_999)), 404),
            (&*format!("/{}", "%6e".repeat(255)), 200),
            (&*"/a".repeat(4_000), 404),
            (&*"/dir".repeat(1_999), 404),
            (&*format!("{slashes}small.txt"), 200),
        ],
    );
}
