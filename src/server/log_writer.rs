//! Writes the log to standard output in batches of whole lines.

use std::io::{self, Write};
use std::time::Duration;

/// A larger batch is written before more lines are taken.
const BATCH_BYTES: usize = 64 << 10;
/// How long the thread of the log waits after a batch. Meanwhile lines gather in its queue, and whoever adds one need not wake it:
/// with a line for each request, waking took a fifth of the server's processor time.
const PAUSE: Duration = Duration::from_millis(1);

/// What the thread of a log writes to. That thread calls `flush` whenever its queue is empty. Each write to `inner` ends with
/// a whole line, so that several of these can share one output.
pub(super) struct LogWriter<W> {
    inner: W,
    batch: Vec<u8>,
    /// Until it returns, nothing is written.
    wait: Option<Box<dyn FnOnce() + Send>>,
}

impl<W: Write> LogWriter<W> {
    /// Calls `wait` once, before the first line is written. Meanwhile lines gather in the queue of the log's thread.
    pub(super) fn new(inner: W, wait: impl FnOnce() + Send + 'static) -> Self {
        Self { inner, batch: Vec::new(), wait: Some(Box::new(wait)) }
    }
}

impl<W: Write> Write for LogWriter<W> {
    /// Takes whole lines.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.batch.extend_from_slice(lines);
        if self.batch.len() >= BATCH_BYTES {
            self.write_batch()?;
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_batch()?;
        std::thread::sleep(PAUSE);
        Ok(())
    }
}

impl<W: Write> LogWriter<W> {
    /// Lines that cannot be written are lost, because the output will not take later ones either.
    fn write_batch(&mut self) -> io::Result<()> {
        if let Some(wait) = self.wait.take_if(|_| !self.batch.is_empty()) {
            wait();
        }
        let written = self.inner.write_all(&self.batch).and_then(|()| self.inner.flush());
        self.batch.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl Write for &mut Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_together_and_never_cut() {
        let mut writes = Writes::default();
        let mut log = LogWriter::new(&mut writes, || ());
        for line in ["a\n", "b\n"] {
            log.write_all(line.as_bytes()).expect("it is written");
        }
        log.flush().expect("it is written");
        let long = [&[b'x'; 999][..], b"\n"].concat();
        for _ in 0..BATCH_BYTES / 1000 + 1 {
            log.write_all(&long).expect("it is written");
        }
        log.write_all(b"c\n").expect("it is written");
        log.flush().expect("it is written");
        let lengths: Vec<_> = writes.0.iter().map(Vec::len).collect();
        assert_eq!(lengths, [4, 66_000, 2]);
    }

    #[test]
    fn nothing_is_written_before_the_wait_is_over() {
        #[derive(Clone, Default)]
        struct Seen(Arc<Mutex<Vec<String>>>);

        impl Seen {
            fn note(&self, what: &str) {
                self.0.lock().expect("nobody panics with it").push(what.to_owned());
            }
        }

        impl Write for Seen {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.note(std::str::from_utf8(bytes).expect("it is text"));
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let seen = Seen::default();
        let waits = seen.clone();
        let mut log = LogWriter::new(seen.clone(), move || waits.note("waited"));
        for line in ["a\n", "b\n"] {
            log.write_all(line.as_bytes()).expect("it is written");
            log.flush().expect("it is written");
        }
        assert_eq!(*seen.0.lock().expect("nobody panics with it"), ["waited", "a\n", "b\n"]);
    }
}
