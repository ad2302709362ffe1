//! Many peers at the same time.

use integration::{Process, Sandbox, numbered};
use serde_json::Value;

const PEERS: usize = 20;
const MESSAGES: usize = 25;

fn name(at: usize) -> String {
    format!("peer{:02}", at % PEERS)
}

#[test]
fn twenty_peers_write_around_a_ring_at_the_same_time() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mut peers: Vec<Process> =
        (0..PEERS).map(|at| sandbox.peer(&name(at), server.address()).start(&["--wait", "60"])).collect();
    for number in 1..=MESSAGES {
        for (at, peer) in peers.iter_mut().enumerate() {
            peer.type_line(&format!("/msg {} number {number} from {}", name(at + 1), name(at)));
        }
    }
    for peer in &peers {
        peer.events("message", MESSAGES);
        peer.events("delivered", MESSAGES);
    }
    for (at, mut peer) in peers.into_iter().enumerate() {
        peer.end_input();
        let finished = peer.finish().expect(0);
        let before = name(at + PEERS - 1);
        let texts: Vec<Value> = finished
            .events("message")
            .iter()
            .map(|message| {
                assert_eq!(message["from"], before.as_str());
                assert_eq!(message["verified"], true);
                message["text"].clone()
            })
            .collect();
        let expected: Vec<String> = (1..=MESSAGES).map(|n| format!("number {n} from {before}")).collect();
        assert_eq!(texts, expected, "each once and in order");
        let delivered = numbered(finished.events("delivered"));
        assert!(delivered.keys().copied().eq(1..=MESSAGES as u64));
        assert!(delivered.values().all(|event| event["to"] == name(at + 1).as_str()));
    }
    server.stop();
}
