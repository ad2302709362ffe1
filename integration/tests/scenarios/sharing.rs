//! What a peer shares: files by their names and the files of folders, and their changes.

use integration::http::until;
use integration::{Character, Finished, Liar, Lie, Peer, Sandbox, Server};

fn names(search: &Finished) -> Vec<String> {
    let hits = search.answers("file").into_iter();
    let mut names: Vec<String> =
        hits.map(|hit| hit["file"]["name"].as_str().expect("a hit has a name").to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_tree_is_shared_without_an_entry_for_each_file() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let [a, b] = ["A", "B"].map(|name| sandbox.peer(name, server.address()));
    let outside = sandbox.path("outside");
    std::fs::create_dir(&outside).expect("the sandbox can be written");
    std::fs::write(outside.join("water secret.txt"), "private").expect("the sandbox can be written");
    for path in ["high water.txt", "lectures/low water.txt", "downloads/water got.txt", ".water.txt"] {
        b.put(path, path.as_bytes());
    }
    std::os::unix::fs::symlink(&outside, b.dir.join("linked")).expect("a link");
    std::os::unix::fs::symlink(outside.join("water secret.txt"), b.dir.join("water link.txt"))
        .expect("a link");
    b.put("keyword.txt", b"*, **; tide, lectures/*;");
    let sharing = b.share();
    let found = |query: &str| names(&a.run(&["search", query]).expect(0));
    assert_eq!(found("water"), ["high water.txt"], "a file with a keyword is found by that");
    assert_eq!(found("tide"), ["lectures/low water.txt"]);
    assert_eq!(found("size>0"), ["high water.txt", "lectures/low water.txt"]);

    // It arrives in the same folder, below the one for received files.
    let got = a.run(&["get", "lectures/low water.txt"]).expect(0);
    let path = a.dir.join("downloads/lectures/low water.txt");
    assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), Some("lectures/low water.txt"));
    assert!(
        got.events("file_done")[0]["path"]
            .as_str()
            .is_some_and(|told| told.ends_with("lectures/low water.txt"))
    );
    for name in ["linked/water secret.txt", "water link.txt", "downloads/water got.txt", "keyword.txt"] {
        a.run(&["get", name]).expect(1).says(&["nobody else shares"]);
    }
    for name in ["../outside/water secret.txt", ".switchboard/identity.pem", "/etc/passwd", "lectures/../x"] {
        a.run(&["get", name]).expect(2);
    }

    // New files are shared as they come, also in a folder that was not there.
    b.put("notes/week 1/neap.txt", b"neap");
    until("the new file", || (found("neap") == ["notes/week 1/neap.txt"]).then_some(()));
    b.put("notes/week 1/spring.txt", b"spring");
    until("the next file in it", || (found("spring") == ["notes/week 1/spring.txt"]).then_some(()));
    std::fs::remove_dir_all(b.dir.join("notes")).expect("it is there");
    until("no file", || found("neap|spring").is_empty().then_some(()));
    // The same folder, but another directory of the file system.
    b.put("notes/week 1/neap.txt", b"neap");
    until("the file again", || (found("neap") == ["notes/week 1/neap.txt"]).then_some(()));
    b.put("notes/week 1/spring.txt", b"spring");
    until("the next file again", || (found("spring") == ["notes/week 1/spring.txt"]).then_some(()));
    drop(sharing);
}

#[test]
fn a_folder_is_received_only_below_the_downloads() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let [a, b] = ["A", "B"].map(|name| sandbox.peer(name, server.address()));
    b.put("lectures/tide.txt", b"tide");
    b.put("keyword.txt", b"tide, lectures/*;");
    let _sharing = b.share();
    let (outside, downloads) = (sandbox.path("outside"), a.dir.join("downloads"));
    for folder in [&outside, &downloads] {
        std::fs::create_dir(folder).expect("the sandbox can be written");
    }
    std::os::unix::fs::symlink(&outside, downloads.join("lectures")).expect("a link");
    a.run(&["get", "lectures/tide.txt"]).expect(1).says(&["downloads/lectures", "symbolic link"]);
    assert_eq!(std::fs::read_dir(&outside).expect("it is there").count(), 0);
    // A path that the user gives is for the file, and a folder for its folders too.
    let to = |path: &std::path::Path| path.to_str().expect("temporary folders have plain names").to_owned();
    a.run(&["get", "lectures/tide.txt", "--output", &to(&outside.join("mine.txt"))]).expect(0);
    a.run(&["get", "lectures/tide.txt", "--output", &to(&outside)]).expect(0);
    for name in ["mine.txt", "lectures/tide.txt"] {
        assert_eq!(std::fs::read_to_string(outside.join(name)).ok().as_deref(), Some("tide"), "{name}");
    }
}

#[test]
fn a_change_costs_a_difference_and_is_there_after_a_crash_of_the_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.server_to_restart();
    let address = server.address();
    let [a, b] = ["A", "B"].map(|name| sandbox.peer(name, address));
    let mut keywords = String::new();
    for n in 0..500 {
        b.put(&format!("{n:03}.txt"), n.to_string().as_bytes());
        keywords.push_str(&format!("number, {n:03}.txt;\n"));
    }
    b.put("keyword.txt", keywords.as_bytes());
    let sharing = b.share();
    let found = |query: &str| names(&a.run(&["search", query]).expect(0));
    let on_disk = |name: &str| std::fs::read(server.data().join("index").join(name)).ok();
    let lists = ["b.files", "b.txt"].map(on_disk);

    b.put("new.txt", b"new");
    b.put("keyword.txt", format!("{keywords}neap, new.txt; neap, 007.txt;").as_bytes());
    sharing.event("result", |event| event["kind"] == "published" && event["files"] == 501);
    std::fs::remove_file(b.dir.join("008.txt")).expect("it is there");
    sharing.event("result", |event| event["kind"] == "published" && event["pairs"] == 501);
    assert_eq!(found("neap"), ["007.txt", "new.txt"]);
    assert_eq!(found("file:008.txt"), [""; 0]);
    let changes = String::from_utf8(on_disk("b.changes").expect("the changes")).expect("they are text");
    assert!(changes.contains("neap, new.txt;\n") && changes.contains("# gone 008.txt\n"), "{changes}");
    assert_eq!(changes.matches("# file ").count(), 2, "only what has changed: {changes}");
    assert_eq!(["b.files", "b.txt"].map(on_disk), lists, "the whole list is not written again");

    sharing.kill();
    let data = server.data().to_owned();
    drop(server);
    let server = integration::Server::start_at(&data, &address.to_string());
    assert_eq!(found("neap"), ["007.txt", "new.txt"]);
    // The next process publishes its whole list, which takes the place of the changes.
    let _sharing = b.share();
    assert!(!server.data().join("index/b.changes").exists());
    assert_eq!(found("neap"), ["007.txt", "new.txt"]);
}

/// A peer with a lecture for everyone, and an exam for ann.
fn with_exam(sandbox: &Sandbox, server: std::net::SocketAddr) -> Peer {
    let holder = sandbox.peer("Zoe", server);
    holder.put("lecture.pdf", b"lecture");
    holder.put("exam.pdf", b"exam");
    holder.put("keyword.txt", b"tides, lecture.pdf; tides, exam.pdf; questions, exam.pdf, @Ann;");
    holder
}

#[test]
fn a_limited_file_is_found_and_fetched_by_its_names_only() {
    let sandbox = Sandbox::new();
    let server = sandbox.server_to_restart();
    let address = server.address();
    let [ann, carl] = ["ann", "carl"].map(|name| sandbox.peer(name, address));
    let holder = with_exam(&sandbox, address);
    let mut prompt = holder.start(&[]);
    prompt.event("result", |event| event["kind"] == "published");
    let found = |who: &Peer, query: &str| names(&who.run(&["search", query]).expect(0));
    for query in ["tides", "size>0", "from:zoe", "pdf|tides"] {
        assert_eq!(found(&ann, query), ["exam.pdf", "lecture.pdf"], "{query}");
        let search = carl.run(&["search", query]).expect(0);
        assert_eq!(
            (names(&search), search.answers("found")[0]["total"].clone()),
            (vec!["lecture.pdf".into()], 1.into())
        );
    }
    for query in ["questions", "questoins", "file:exam.pdf"] {
        let search = carl.run(&["search", query]).expect(0);
        assert!(names(&search).is_empty() && search.answers("found")[0]["instead"].is_null(), "{query}");
    }
    assert_eq!(ann.run(&["search", "questoins"]).expect(0).answers("found")[0]["instead"], "questions");
    carl.run(&["get", "exam.pdf"]).expect(1).says(&["nobody else shares"]);
    ann.run(&["get", "exam.pdf"]).expect(0);

    prompt.type_line("/share exam.pdf --with carl, dora");
    until("the other audience", || (found(&ann, "questions").is_empty()).then_some(()));
    carl.run(&["get", "exam.pdf"]).expect(0);
    ann.run(&["get", "exam.pdf", "--overwrite"]).expect(1);
    let listed = holder.run(&["files"]).expect(0).answers("sharing");
    let of =
        |name: &str| listed.iter().find(|file| file["name"] == name).expect("it is shared")["only"].clone();
    assert_eq!(
        (of("exam.pdf"), of("lecture.pdf")),
        (serde_json::json!(["carl", "dora"]), serde_json::Value::Null)
    );

    // Also after the server has started again, and while the holder is away.
    prompt.kill();
    let data = server.data().to_owned();
    drop(server);
    let _server = Server::start_at(&data, &address.to_string());
    assert_eq!((found(&ann, "tides").len(), found(&carl, "tides").len()), (1, 2));
    let mut prompt = holder.start(&[]);
    prompt.event("result", |event| event["kind"] == "published");
    prompt.type_line("/share exam.pdf --with *");
    until("the exam", || (found(&ann, "questions") == ["exam.pdf"]).then_some(()));
}

#[test]
fn a_holder_gives_a_limited_file_to_its_names_only_even_if_the_server_shows_it_to_others() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let liar = Liar::start(server.address(), Character::new("Mallory"));
    liar.tells(Lie::ShowsLimitedFiles);
    let [ann, carl] = ["ann", "carl"].map(|name| sandbox.peer(name, server.address()));
    let holder = with_exam(&sandbox, liar.address());
    let sharing = holder.share();
    liar.wait_for(1);
    assert_eq!(names(&carl.run(&["search", "questions"]).expect(0)), ["exam.pdf"]);
    carl.run(&["get", "exam.pdf"]).expect(1).says(&["does not share exam.pdf with you"]);
    carl.run(&["get", "lecture.pdf"]).expect(0);
    ann.run(&["get", "exam.pdf"]).expect(0);
    sharing.kill();
}
