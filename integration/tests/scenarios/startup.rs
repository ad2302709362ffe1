//! A server that starts with shares on its disk.

use std::fs::OpenOptions;
use std::os::unix::fs::DirBuilderExt as _;

use integration::{Sandbox, http};
use rustix::fs::{CWD, FileType, Mode, mknodat};

#[test]
fn pages_and_messages_do_not_wait_until_the_shares_are_read() {
    let sandbox = Sandbox::new();
    let index = sandbox.path("server_data/index");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&index)
        .expect("the sandbox can be written");
    // Reading this share takes until somebody writes to the pipe.
    let pipe = index.join("slow.files");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe can be made");
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));

    assert_eq!(http::get(server.address(), "/HelloWorld.html", &[]).status, 200);
    let listening = b.start(&["listen", "--count", "1"]);
    a.run(&["send", "B", "hello", "--wait", "60"]).expect(0);
    listening.finish().expect(0);
    a.run(&["search", "sea"]).expect(1).says(&["busy"]);

    // An empty share is damaged. It is left out, and the rest is loaded.
    drop(OpenOptions::new().write(true).open(&pipe).expect("the server reads it"));
    assert_eq!(a.run(&["search", "sea"]).expect(0).answers("found")[0]["total"], 0);
    server.stop();
}
