//! Pinned fingerprints of servers, as a text with a line `SERVER FINGERPRINT [SINCE]` for each. The web client keeps
//! certificates in such a file (`--pin`), and a peer keeps the keys and certificates of its servers in `known_servers`.

use wire::Fingerprint;

/// The largest file, enough for about 10,000 servers.
pub(crate) const BYTES_MAX: u64 = 1 << 20;

/// What is wrong with a line, and what to do about it.
pub(crate) const BAD_LINE: &str = "it is not a server (HOST:PORT) and a fingerprint of 64 hexadecimal digits";

/// A pinned fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerPin {
    server: String,
    pub(crate) fingerprint: Fingerprint,
    /// When it was pinned, in seconds since 1970, if the line says it.
    pub(crate) since: Option<u64>,
}

/// The number of a line that cannot be read, from 1. See [`BAD_LINE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadLine(pub(crate) usize);

/// The content of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerPins(Vec<ServerPin>);

impl ServerPins {
    /// Reads a file. Empty lines are ignored.
    ///
    /// # Errors
    /// The first bad line. Ignoring it would accept another key of its server.
    pub(crate) fn parse(text: &str) -> Result<Self, BadLine> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let pins = lines.map(|(index, line)| parse_line(line).ok_or(BadLine(index + 1)));
        pins.collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn of(&self, server: &str) -> Option<&ServerPin> {
        self.0.iter().find(|pin| pin.server == server)
    }

    /// Pins a fingerprint, and replaces the one that was pinned. `now` is in seconds since 1970.
    pub(crate) fn pin(&mut self, server: &str, fingerprint: Fingerprint, now: u64) {
        self.0.retain(|pin| pin.server != server);
        self.0.push(ServerPin { server: server.to_owned(), fingerprint, since: Some(now) });
    }

    pub(crate) fn to_text(&self) -> String {
        let line = |ServerPin { server, fingerprint, since }: &ServerPin| match since {
            Some(since) => format!("{server} {fingerprint} {since}\n"),
            None => format!("{server} {fingerprint}\n"),
        };
        self.0.iter().map(line).collect()
    }
}

fn parse_line(line: &str) -> Option<ServerPin> {
    let mut words = line.split_whitespace();
    let (server, fingerprint) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
    let since = words.next().map(str::parse).transpose().ok()?;
    words.next().is_none().then_some(ServerPin { server, fingerprint, since })
}

#[cfg(test)]
mod tests {
    use wire::Digest;

    use super::*;

    #[test]
    fn a_pin_replaces_only_that_of_its_server() {
        let [first, second] = [b"first", b"other"].map(|bytes| Digest::of(bytes));
        let text = format!("a.test:443 {first}\n\n[::1]:1 {second} 17\n");
        let mut pins = ServerPins::parse(&text).expect("the lines are good");
        assert_eq!(pins.of("a.test:443").map(|pin| (pin.fingerprint, pin.since)), Some((first, None)));
        assert_eq!(pins.of("[::1]:1").map(|pin| (pin.fingerprint, pin.since)), Some((second, Some(17))));
        assert_eq!(pins.of("a.test"), None);
        pins.pin("a.test:443", second, 20);
        assert_eq!(pins.to_text(), format!("[::1]:1 {second} 17\na.test:443 {second} 20\n"));
        assert_eq!(ServerPins::parse(&pins.to_text()), Ok(pins));
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = format!("a.test:443 {}", Digest::of(b""));
        for bad in ["a.test:443", "a.test:443 12ab", &format!("{good} soon"), &format!("{good} 1 2"), "# a"] {
            assert_eq!(ServerPins::parse(&format!("{good}\n\n{bad}\n")), Err(BadLine(3)), "{bad}");
        }
    }
}
