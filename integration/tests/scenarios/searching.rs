//! Searches with operators, from the command line and from the lines of the prompt.

use integration::{Finished, Sandbox};
use serde_json::Value;

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
