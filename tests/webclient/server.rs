//! A server that sends prepared bytes, one response for each connection.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::webclient;

/// Longest wait for the rest of a request.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) port: u16,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    /// Sends each answer once, in order, and then closes the connection.
    pub(crate) fn answering<A: Into<Vec<u8>>>(answers: impl IntoIterator<Item = A>) -> Self {
        Self::start(|_| answers.into_iter().map(Into::into).collect(), false)
    }

    /// As [`Server::answering`], for answers that contain the port.
    pub(crate) fn answering_with_port(answers: impl FnOnce(u16) -> Vec<Vec<u8>>) -> Self {
        Self::start(answers, false)
    }

    /// Sends an answer and leaves the connection open until [`Server::finish`].
    pub(crate) fn holding(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(|_| vec![answer], true)
    }

    fn start(answers: impl FnOnce(u16) -> Vec<Vec<u8>>, holds: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let answers = answers(port);
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || serve(&listener, answers, holds, &flag));
        Self { port, is_over, thread }
    }

    /// Runs the command for a file of this server.
    pub(crate) fn call(&self, file: &str, options: &[&str]) -> Output {
        webclient(&[&["127.0.0.1", &self.port.to_string(), file], options].concat())
    }

    /// Ends the server and returns the heads of all requests. There must have been one request for each answer.
    pub(crate) fn finish(self) -> Vec<String> {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread from `accept`.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.thread.join().expect("the clients ask as often as expected")
    }
}

fn serve(listener: &TcpListener, answers: Vec<Vec<u8>>, holds: bool, is_over: &AtomicBool) -> Vec<String> {
    let (mut requests, mut held) = (Vec::new(), Vec::new());
    let mut answers = answers.into_iter();
    loop {
        let (mut stream, _) = listener.accept().expect("a client connects");
        if is_over.load(Ordering::SeqCst) {
            assert_eq!(answers.len(), 0, "answers that nobody wanted, after {requests:#?}");
            return requests;
        }
        stream.set_read_timeout(Some(PATIENCE)).expect("this is a good time");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the request is whole");
            request.push(byte[0]);
        }
        requests.push(String::from_utf8(request).expect("a request is text"));
        let answer = answers.next().expect("there is an answer for each request");
        // A client may close the connection before it has read everything.
        let _ = stream.write_all(&answer);
        if holds {
            held.push(stream);
        }
    }
}

/// A response with a body.
pub(crate) fn answer(status: u16, lines: &[&str], body: &[u8]) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("HTTP/1.1 {status} x\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
