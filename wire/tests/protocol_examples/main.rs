//! Generates PROTOCOL-EXAMPLES.md and checks it. A second encoder here assembles each example from PROTOCOL.md and the bare
//! algorithms. The result must be equal to what the library makes, and the library must read it.
//!
//! `UPDATE_EXAMPLES=1 cargo test -p wire --test protocol_examples` writes the file again.

mod conversation;
mod files;
mod layout;
mod messages;
mod people;
mod searches;

use std::path::Path;

use people::People;

const HEAD: &str = "\
# Switchboard protocol, version 2: worked examples

[PROTOCOL.md](PROTOCOL.md) explains the structures on this page. The test `wire/tests/protocol_examples` generates the page and
fails if the code does not match it. `UPDATE_EXAMPLES=1 cargo test -p wire --test protocol_examples` writes it again.

Each line shows up to 32 bytes in hexadecimal, and their meaning. Longer values continue on lines without a remark. `[...]`
stands for bytes that another example shows; the remark names it. The lines of an example in their order are the bytes that
travel. Below them are their length and SHA-256.

A and B are two peers. Their private keys are in `wire/tests/fixtures` and are used for these examples only. They have 2048
bits to keep this page short. Random bytes (nonces, salts, secrets) come from a fixed seed. Readers can check signatures and
wrapped secrets with the keys, but cannot generate the same ones.
";

#[test]
fn the_examples_are_true() {
    let mut people = People::new();
    let mut text = HEAD.to_owned();
    people::describe(&people, &mut text);
    messages::joining(&mut people, &mut text);
    let talk = conversation::describe(&mut people, &mut text);
    messages::describe(&people, &talk, &mut text);
    files::describe(&mut text);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../PROTOCOL-EXAMPLES.md");
    if std::env::var_os("UPDATE_EXAMPLES").is_some() {
        std::fs::write(&path, &text).expect("the file can be written");
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(text.lines()).position(|(w, t)| w != t);
    let at = differs.unwrap_or(written.lines().count().min(text.lines().count())) + 1;
    assert!(
        written == text,
        "PROTOCOL-EXAMPLES.md differs from the code, first at line {at}. If the protocol was changed on purpose, change \
         PROTOCOL.md and run UPDATE_EXAMPLES=1 cargo test -p wire --test protocol_examples"
    );
}

fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn the_limits_are_those_of_the_code() {
    use wire::{card, conversation, file_name, frame, keyword, name, query, search, share, transfer};
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../PROTOCOL.md");
    let text = std::fs::read_to_string(path).expect("PROTOCOL.md is there");
    let frames = (frame::BODY_BYTES_MAX, frame::BODY_BYTES_MAX_BEFORE_JOIN);
    for expected in [
        format!(
            "| body of a frame | {} bytes; before joining {} |",
            with_commas(frames.0),
            with_commas(frames.1)
        ),
        format!("| card; opening | {}; 8,192 bytes |", with_commas(card::CARD_BYTES_MAX)),
        format!(
            "issued_at + {} ",
            with_commas(usize::try_from(card::CARD_VALID_SECONDS_MAX).expect("8 days fit"))
        ),
        format!("| text of a message | {} bytes |", with_commas(conversation::TEXT_BYTES_MAX)),
        format!(
            "| keywords of a file; of a query | {}; {} |",
            with_commas(share::FILE_KEYWORDS_MAX),
            query::TERMS_MAX
        ),
        format!(
            "| chunk of a file; record; record of the header | {}; {}; 1,024 bytes |",
            with_commas(transfer::CHUNK_BYTES),
            with_commas(transfer::RECORD_BYTES_MAX)
        ),
        format!(
            "| text; terms; nesting of a search | {} bytes; {}; {} |",
            with_commas(search::SEARCH_BYTES_MAX),
            search::SEARCH_TERMS_MAX,
            search::SEARCH_DEPTH_MAX
        ),
        format!("| hits of a match | {} |", share::MATCH_HITS_MAX),
        format!("| name of a peer | 1 to {} of ", name::NAME_BYTES_MAX),
        format!("| name of a file | 1 to {} bytes ", file_name::FILE_NAME_BYTES_MAX),
        format!("| keyword | 1 to {} bytes ", keyword::KEYWORD_BYTES_MAX),
    ] {
        assert!(text.contains(&expected), "PROTOCOL.md does not say: {expected}");
    }
}
