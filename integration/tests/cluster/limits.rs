//! Limits of stored mail, which are those of the cluster as a whole, and mail that expires although its server is lost.

use std::time::Duration;

use integration::{Character, Nats, RawConnection, Sandbox, Server};
use rustix::process::Signal;
use wire::protocol::{Envelope, Kind, Outcome, Refusal, ToPeer, ToServer};

/// How much more a server may store because it has not heard of another one yet: a step of the limit, and what is on its way.
const MORE_MAX: u64 = 8;

/// When nothing more comes, all that a server has for a peer is there.
const QUIET: Duration = Duration::from_millis(100);

fn limited(sandbox: &Sandbox, nats: &Nats, name: &str, options: &[&str]) -> Server {
    let (data, address) = (sandbox.path(name), sandbox.nobodys_address().to_string());
    let mut command = nats.command(&data, &address);
    command.args(options);
    Server::launch(&data, command)
}

/// Starts nats-server and two servers with these options.
fn two_limited<const N: usize>(sandbox: &Sandbox, options: [&str; N]) -> Option<(Nats, [Server; 2])> {
    let nats = Nats::start(sandbox)?;
    let servers = ["first", "second"].map(|name| limited(sandbox, &nats, name, &options));
    Some((nats, servers))
}

/// Writes to a peer that is away.
fn outcome(of: &mut RawConnection, from: &str, to: &str, number: u64) -> Outcome {
    of.say(&ToServer::Envelope(Envelope { from, to, kind: Kind::Message, number, sealed: b"sealed" }));
    loop {
        if let ToPeer::Routed { outcome, .. } = of.next_message() {
            return outcome;
        }
    }
}

/// Writes until it is refused, and returns how many envelopes were stored.
fn fill(of: &mut RawConnection, from: &str, to: &str, refusal: Refusal) -> u64 {
    for number in 1.. {
        match outcome(of, from, to, number) {
            Outcome::Stored => {}
            refused => {
                assert_eq!(refused, Outcome::Refused(refusal));
                return number - 1;
            }
        }
    }
    unreachable!("numbers do not end")
}

/// Takes at least so many envelopes, and those that are there too.
fn take(peer: &mut RawConnection, least: u64) {
    let mut count = 0;
    while count < least || peer.hears_within(QUIET) {
        if matches!(peer.next_message(), ToPeer::Envelope(_)) {
            count += 1;
            peer.say(&ToServer::Taken { count });
        }
    }
}

#[test]
fn a_mailbox_has_one_limit_for_all_servers() {
    let sandbox = Sandbox::new();
    let options = ["--mail-bytes-per-recipient", "64K"];
    let Some((nats, [first, second])) = two_limited(&sandbox, options) else { return };
    let people = ["one", "two", "away"].map(Character::new);
    let mut one = RawConnection::join(first.address(), &people[0]);
    let mut two = RawConnection::join(second.address(), &people[1]);
    let stored = fill(&mut one, "one", "away", Refusal::MailboxFull);
    assert!((40..64).contains(&stored), "an envelope counts 1 KiB more than its size: {stored}");
    let more = fill(&mut two, "two", "away", Refusal::MailboxFull);
    assert!(more <= MORE_MAX, "{more} are stored beyond the limit");
    // A server that starts hears of it.
    let third = limited(&sandbox, &nats, "third", &options);
    let mut three = RawConnection::join(third.address(), &Character::new("three"));
    let last = fill(&mut three, "three", "away", Refusal::MailboxFull);
    assert!(last <= MORE_MAX, "{last} are stored beyond the limit");
    // What the recipient takes at one server makes room at all.
    let take = |least| take(&mut RawConnection::join(second.address(), &people[2]), least);
    take(stored + more + last);
    for (connection, name) in [(&mut one, "one"), (&mut two, "two")] {
        // If servers that are slow have taken each other for lost meanwhile, the mail comes once more.
        while outcome(connection, name, "away", 1000) == Outcome::Refused(Refusal::MailboxFull) {
            take(0);
        }
    }
}

#[test]
fn a_sender_has_one_limit_for_all_servers() {
    let sandbox = Sandbox::new();
    let options = ["--mail-bytes-per-sender", "64K"];
    let Some((_nats, [first, second])) = two_limited(&sandbox, options) else { return };
    let one = Character::new("one");
    let mut at_first = RawConnection::join(first.address(), &one);
    assert!(fill(&mut at_first, "one", "x", Refusal::SenderFull) >= 40);
    let mut at_second = RawConnection::join(second.address(), &one);
    let more = fill(&mut at_second, "one", "y", Refusal::SenderFull);
    assert!(more <= MORE_MAX, "{more} are stored beyond the limit");
}

#[test]
fn a_sender_is_told_when_mail_expires_whose_server_is_lost() {
    let sandbox = Sandbox::new();
    let options = ["--mail-lifetime", "5s"];
    let Some((_nats, [first, second])) = two_limited(&sandbox, options) else { return };
    let people = ["present", "absent"].map(Character::new);
    let mut here = RawConnection::join(first.address(), &people[0]);
    let mut away = RawConnection::join(first.address(), &people[1]);
    for number in [4, 5] {
        assert_eq!(outcome(&mut here, "present", "nobody", number), Outcome::Stored);
        assert_eq!(outcome(&mut away, "absent", "nobody", number), Outcome::Stored);
    }
    first.process().signal(Signal::KILL);
    first.finish();
    let expired = |connection: &mut RawConnection| {
        let mut numbers = Vec::new();
        while numbers.len() < 2 {
            match connection.next_message() {
                ToPeer::Expired { to, first, last } if to.as_str() == "nobody" => {
                    numbers.extend(first..=last);
                }
                other => panic!("{other:?}"),
            }
        }
        numbers
    };
    let mut here = RawConnection::join(second.address(), &people[0]);
    assert_eq!(expired(&mut here), [4, 5]);
    let mut away = RawConnection::join(second.address(), &people[1]);
    assert_eq!(expired(&mut away), [4, 5]);
}
