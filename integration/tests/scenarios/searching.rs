//! Searches with operators, from the command line and from the lines of the prompt; and many at a time.

use integration::{Character, Finished, RawConnection, Sandbox};
use serde_json::Value;
use wire::protocol::{ToPeer, ToServer};
use wire::share::PublishedFile;
use wire::{Digest, Query};

/// The names of the files that were found, in their order, each content once.
fn names(search: &Finished) -> Vec<String> {
    let firsts = search.answers("file").into_iter().filter(|hit| hit["is_copy"] == false);
    firsts.map(|hit| hit["file"]["name"].as_str().expect("a hit has a name").to_owned()).collect()
}

#[test]
fn searches_have_operators_pages_and_corrections() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.ready_peer("A", server.address());
    let b = sandbox.ready_peer("B", server.address());
    let _sharing = [a.share(), b.share()];
    let asker = sandbox.peer("C", server.address());
    let search = |text: &str| asker.run(&["search", text]).expect(0);
    for (text, expected) in [
        ("sea picture", &["sunset.png", "waves.png"][..]),
        ("sea pic* -evening", &["waves.png"]),
        ("soup|dessert", &["crème brûlée.txt", "pea soup.txt"]),
        ("water -poem", &["sailing notes.md", "tides.md"]),
        ("\"high water\"", &["tides.md"]),
        ("(harbour|wind) measurements ext:csv", &["harbour.csv", "wind.csv"]),
        ("sea from:B", &["low water.txt", "sailing notes.md", "waves.png"]),
        ("sea size>2000 ext:png", &["waves.png"]),
        ("file:tides.md", &["tides.md"]),
    ] {
        assert_eq!(names(&search(text)), expected, "{text}");
    }
    // Both have it: one match with two holders.
    let poem = search("poem sea");
    assert_eq!(names(&poem), ["low water.txt"]);
    let holders: Vec<_> = poem.answers("file").iter().map(|hit| hit["peer"].clone()).collect();
    assert_eq!(holders, ["A", "B"]);
    assert_eq!(poem.answers("found")[0]["total"], 1);

    let misspelt = search("sae pitcure").answers("found").remove(0);
    assert_eq!((&misspelt["total"], &misspelt["instead"]), (&0.into(), &"sea picture".into()));
    for (text, no_condition) in [("sea type:txt", "type:txt".into()), ("nothing", Value::Null)] {
        assert_eq!(search(text).answers("found")[0]["no_condition"], no_condition, "{text}");
    }
    let part = asker.run(&["search", "picture", "--skip", "1", "--limit", "2"]).expect(0);
    assert_eq!(names(&part).len(), 2);
    let found = part.answers("found").remove(0);
    assert_eq!((&found["total"], &found["skip"], &found["shown"]), (&4.into(), &1.into(), &2.into()));
    asker.run(&["search", "sea (tide"]).expect(2).says(&["column 5", "parenthesis is not closed"]);
}

#[test]
fn the_prompt_shows_the_next_matches() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.peer("A", server.address());
    let mut keywords = String::new();
    for n in 0..1002 {
        a.put(&format!("{n:04}.txt"), n.to_string().as_bytes());
        keywords.push_str(&format!("all, {n:04}.txt;\n"));
    }
    a.put("keyword.txt", keywords.as_bytes());
    let _sharing = a.share();
    let asker = sandbox.peer("B", server.address());
    let lines = ["/search all", "/more", "/more"].map(str::to_owned);
    let done = asker.run_with_input(&[], &lines).expect(2);
    let found: Vec<_> =
        done.answers("found").iter().map(|e| [e["skip"].clone(), e["shown"].clone()]).collect();
    assert_eq!(found, [[0, 1000], [1000, 2]]);
    assert_eq!(names(&done)[1000..], ["1000.txt", "1001.txt"]);
    done.says(&["no more matches"]);
}

#[test]
fn answers_are_whole_and_in_order_whenever_they_are_read() {
    const FILES: u32 = 1000;
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mut asker = RawConnection::join(server.address(), &Character::new("A"));
    let file = |n| PublishedFile {
        name: format!("{n:04}-{}.txt", "x".repeat(100)).parse().expect("a good name"),
        bytes: 1,
        sha256: Digest::of(b"x"),
        keywords: vec!["sea".parse().expect("a good keyword")],
    };
    asker.say(&ToServer::Publish { part: 0, last: true, files: (0..FILES).map(file).collect() });
    assert!(matches!(asker.next_message(), ToPeer::Published { .. }));
    let expect = |message: ToPeer<'_>, id: u32| match message {
        ToPeer::Found { id: of, total, hits } if id.is_multiple_of(2) => {
            assert_eq!((of, total, hits.len()), (id, FILES.into(), FILES as usize));
            assert!(hits.windows(2).all(|pair| pair[0].file.name < pair[1].file.name));
        }
        ToPeer::Matches { id: of, total: 1, .. } if !id.is_multiple_of(2) => assert_eq!(of, id),
        other => panic!("{other:?}"),
    };
    let question = |id: u32| {
        if id.is_multiple_of(2) {
            let sea = "sea".parse().map(|keyword| vec![keyword]).expect("a good keyword");
            let query = Query::Keywords(sea.try_into().expect("few enough"));
            ToServer::Search { id, query, limit: FILES }
        } else {
            ToServer::Find { id, text: "sea".into(), skip: 0, limit: 10 }
        }
    };
    // Far more than the buffers of a connection hold.
    for id in 0..40 {
        asker.say(&question(id));
    }
    (0..40).for_each(|id| expect(asker.next_message(), id));
    for id in 0..40 {
        asker.say(&question(id));
        expect(asker.next_message(), id);
    }
}
