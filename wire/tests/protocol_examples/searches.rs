//! Searches and what they find.

use wire::protocol::{ToPeer, ToServer};
use wire::query::Query;
use wire::search::BadSearch;
use wire::share::{Difference, Hit, ListDigest, ListedFile, Match, PublishedFile};
use wire::{Audience, Digest, Keyword, Search};

use crate::conversation::{FILE, FILE_NAME};
use crate::layout::Layout;
use crate::messages::{to_peer, to_server};

pub(crate) fn published() -> (PublishedFile, impl Fn(Layout) -> Layout) {
    let file = PublishedFile {
        name: FILE_NAME.parse().expect("a good name"),
        bytes: FILE.len() as u64,
        sha256: Digest::of(FILE),
        keywords: ["sea", "high water"].map(|k| k.parse().expect("a good keyword")).into(),
    };
    let layout = |layout: Layout| {
        layout
            .text(FILE_NAME, "name")
            .number(FILE.len() as u64, "bytes")
            .fixed(&Digest::of(FILE).0, "sha256")
            .number(2, "number of keywords")
            .text("sea", "keyword")
            .text("high water", "keyword")
    };
    (file, layout)
}

/// The messages that search by keywords, by name and by content.
pub(crate) fn to_the_server(text: &mut String) {
    let keywords: Vec<Keyword> =
        ["sea", "high water"].map(|word| word.parse().expect("a good keyword")).into();
    let queries = [
        (
            "by keywords",
            Query::Keywords(keywords.try_into().expect("few enough keywords")),
            Layout::new()
                .variant(0, "query: Keywords")
                .number(2, "number of keywords")
                .text("sea", "keyword")
                .text("high water", "keyword"),
        ),
        (
            "by name",
            Query::File(FILE_NAME.parse().expect("a good name")),
            Layout::new().variant(1, "query: File").text(FILE_NAME, "name"),
        ),
        (
            "by content",
            Query::Digest(Digest::of(FILE)),
            Layout::new().variant(2, "query: Digest").fixed(&Digest::of(FILE).0, "sha256"),
        ),
        (
            "by a pattern",
            Query::Names {
                from: "A".parse().expect("a good name"),
                pattern: "lectures/*".parse().expect("a good pattern"),
                after: Some("lectures/a".parse().expect("a good name")),
            },
            Layout::new()
                .variant(3, "query: Names")
                .text("A", "from")
                .text("lectures/*", "pattern")
                .fixed(&[1], "after: present")
                .text("lectures/a", "name"),
        ),
        (
            "for the holders of a pattern",
            Query::Holders { pattern: "lectures/*".parse().expect("a good pattern") },
            Layout::new().variant(4, "query: Holders").text("lectures/*", "pattern"),
        ),
    ];
    for (how, query, layout) in queries {
        let layout = Layout::new().variant(5, "Search").number(7, "id").then(layout).number(100, "limit");
        to_server(text, &format!("5, Search {how}"), layout, &ToServer::Search { id: 7, query, limit: 100 });
    }
}

/// A hit, and its layout.
fn hit() -> (Hit, impl Fn(Layout) -> Layout) {
    let (file, of_file) = published();
    let hit = Hit {
        peer: "A".parse().expect("a good name"),
        file,
        online: true,
        address: Some(([192, 0, 2, 7], 40_000).into()),
    };
    let layout = move |layout: Layout| {
        of_file(layout.text("A", "peer"))
            .fixed(&[1], "online: true")
            .fixed(&[1], "address: present")
            .variant(0, "IPv4")
            .fixed(&[192, 0, 2, 7], "192.0.2.7")
            .number(40_000, "port")
    };
    (hit, layout)
}

pub(crate) fn found(text: &mut String) {
    let (hit, layout) = hit();
    let found = Layout::new().variant(7, "Found").number(7, "id").number(1, "number of hits");
    let found = layout(found).number(1, "total");
    to_peer(text, "7, Found", found, &ToPeer::Found { id: 7, hits: vec![hit], total: 1 });
}

const TYPED: &str = "sea \"high water\" -ext:pdf";

pub(crate) fn find(text: &mut String) {
    assert!(TYPED.parse::<Search>().is_ok_and(|search| search.to_string() == TYPED));
    to_server(
        text,
        "11, Find",
        Layout::new()
            .variant(11, "Find")
            .number(7, "id")
            .text(TYPED, "text")
            .number(0, "skip")
            .number(100, "limit"),
        &ToServer::Find { id: 7, text: TYPED.into(), skip: 0, limit: 100 },
    );
}

pub(crate) fn matches(text: &mut String) {
    let (hit, layout) = hit();
    let matches = Layout::new()
        .variant(16, "Matches")
        .number(7, "id")
        .number(1, "number of matches")
        .number(1, "holders")
        .number(1, "number of hits");
    let matches = layout(matches).number(1, "total").fixed(&[0], "instead: absent");
    let one = Match { holders: 1, hits: vec![hit] };
    to_peer(
        text,
        "16, Matches",
        matches,
        &ToPeer::Matches { id: 7, matches: vec![one], total: 1, instead: None },
    );
    to_peer(
        text,
        "16, Matches, with a corrected search",
        Layout::new()
            .variant(16, "Matches")
            .number(7, "id")
            .number(0, "number of matches")
            .number(0, "total")
            .fixed(&[1], "instead: present")
            .text("sea picture", "instead"),
        &ToPeer::Matches { id: 7, matches: Vec::new(), total: 0, instead: Some("sea picture".into()) },
    );
    let BadSearch { column, reason } = "sea (tide".parse::<Search>().expect_err("a parenthesis is open");
    let (column, detail) = (u32::try_from(column).expect("it is short"), reason.to_string());
    to_peer(
        text,
        "17, BadSearch",
        Layout::new().variant(17, "BadSearch").number(7, "id").number(5, "column").text(&detail, "detail"),
        &ToPeer::BadSearch { id: 7, column, detail: detail.clone() },
    );
}

/// A difference to the list with one file.
pub(crate) fn change(text: &mut String) {
    let (file, layout) = published();
    let base = ListDigest::of([&file.clone().into()]);
    let change = Layout::new()
        .variant(12, "Change")
        .fixed(&base.0.0, "base: SHA-256 of the encoding of the one file in the list")
        .number(1, "number of names that are gone")
        .text("lectures/tides.pdf", "name")
        .number(1, "number of files");
    let removed = vec!["lectures/tides.pdf".parse().expect("a good name")];
    let difference = Difference { base, removed, files: vec![file] };
    to_server(text, "12, Change", layout(change), &ToServer::Change(difference));
}

/// A file that only two peers may see.
fn limited() -> (ListedFile, impl Fn(Layout) -> Layout) {
    let (file, of_file) = published();
    let names = ["b", "a"].map(|name| name.parse().expect("a good name"));
    let audience = Audience::only(names).expect("few enough");
    let layout = move |layout: Layout| {
        let layout = of_file(layout).variant(1, "audience: Only").number(2, "number of names");
        layout.text("a", "name").text("b", "name")
    };
    (ListedFile { file, audience }, layout)
}

/// The publications with such a file.
pub(crate) fn limits(text: &mut String) {
    let (file, layout) = limited();
    let publish = Layout::new()
        .variant(13, "PublishLimited")
        .number(0, "part")
        .fixed(&[1], "last: true")
        .number(1, "number of files");
    let message = ToServer::PublishLimited { part: 0, last: true, files: vec![file.clone()] };
    to_server(text, "13, PublishLimited", layout(publish), &message);
    let base = ListDigest::of([&file]);
    let change = Layout::new()
        .variant(14, "ChangeLimited")
        .fixed(&base.0.0, "base: SHA-256 of the encoding of the one file in the list, with its audience")
        .number(0, "number of names that are gone")
        .number(1, "number of files");
    let difference = Difference { base, removed: Vec::new(), files: vec![file] };
    to_server(text, "14, ChangeLimited", layout(change), &ToServer::ChangeLimited(difference));
}
