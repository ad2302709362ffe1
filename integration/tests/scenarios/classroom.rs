//! The classroom at one server, which prints each transmission.

use integration::Sandbox;
use integration::classroom::{MESSAGES, write_to_each_other};

#[test]
fn fifty_messages_to_somebody_who_joins_later_and_fifty_back() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    // Both run for the first time.
    let a = sandbox.newcomer("A", server.address()).with_files();
    let b = sandbox.newcomer("B", server.address()).with_files();
    write_to_each_other(&a, &b);

    // The server has printed each transmission with its outcome.
    let log = server.stop().lines;
    for (from, to, outcome) in [("A", "B", "relayed"), ("B", "A", "stored")] {
        for number in 1..=MESSAGES {
            let words = [
                format!("from={from}"),
                format!("to={to}"),
                "kind=\"message\"".to_owned(),
                format!("number={number} "),
                format!("outcome=\"{outcome}\""),
            ];
            assert!(
                log.iter().any(|line| words.iter().all(|word| line.contains(word))),
                "{words:?} is not in the log"
            );
        }
    }
}
