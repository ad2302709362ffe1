//! Servers of a cluster, which share one list, over a model of its bucket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::*;
use crate::admission::start_in_cluster;
use crate::commands::admission::{Edit, ListChange, Members};
use crate::commands::cluster::{self, ClusterHandle, ClusterMailbox, cluster_mailbox};
use crate::runtime::{Answers, Running};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Bucket {
    is_closed: bool,
    entries: BTreeMap<u64, (u64, Entry)>,
    revision: u64,
    servers: Vec<Answers<Command>>,
    /// The servers are told of changes.
    is_told: bool,
    is_gone: bool,
}

impl Bucket {
    fn tell(&self, change: &ListChange) {
        for server in self.servers.iter().filter(|_| self.is_told) {
            // It may have ended.
            let _ = server.send(Command::Learn(change.clone()));
        }
    }

    fn edit(&mut self, Edit { id, over, entry }: Edit) -> Option<u64> {
        if self.is_gone || self.entries.get(&id).map(|(revision, _)| *revision) != over {
            return None;
        }
        self.revision += 1;
        match &entry {
            Some(entry) => _ = self.entries.insert(id, (self.revision, entry.clone())),
            None => _ = self.entries.remove(&id),
        }
        self.tell(&ListChange::Entry { id, revision: self.revision, entry });
        Some(self.revision)
    }
}

#[derive(Clone)]
struct World(Arc<Mutex<Bucket>>);

struct Member {
    admission: Running<AdmissionHandle>,
    /// The lists with which it has told others to leave.
    expelled: Arc<Mutex<Vec<Members>>>,
}

impl World {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Bucket { is_told: true, ..Bucket::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.0.lock().expect("nobody panics while holding it")
    }

    fn serve(&self, mut mailbox: ClusterMailbox) {
        let world = self.clone();
        std::thread::spawn(move || {
            while let Some(command) = mailbox.blocking_recv() {
                let cluster::Command::EditMembers { edits, reply } = command else { return };
                let mut bucket = world.lock();
                let revisions: Option<Vec<u64>> = edits.into_iter().map(|edit| bucket.edit(edit)).collect();
                if revisions.is_some() && !std::mem::replace(&mut bucket.is_closed, true) {
                    bucket.tell(&ListChange::Closed);
                }
                reply.answer(revisions);
            }
        });
    }

    /// Starts a server whose own list has this text.
    fn start(&self, text: Option<&str>) -> Member {
        let (handle, mailbox): (ClusterHandle, _) = cluster_mailbox();
        self.serve(mailbox);
        let folder = tempfile::tempdir().expect("there is a folder");
        let path = folder.path().join("members");
        text.into_iter().for_each(|text| std::fs::write(&path, text).expect("it is written"));
        let expelled = Arc::<Mutex<Vec<Members>>>::default();
        let told = Arc::clone(&expelled);
        let expel = move |members| told.lock().expect("nobody panics").push(members);
        let started = start_in_cluster(text.map(|_| &*path), handle, expel);
        let (admission, learned) = started.expect("it starts");
        let mut bucket = self.lock();
        let entries = bucket.entries.iter();
        let mut changes: Vec<ListChange> =
            bucket.is_closed.then_some(ListChange::Closed).into_iter().collect();
        changes.extend(entries.map(|(id, (revision, entry))| ListChange::Entry {
            id: *id,
            revision: *revision,
            entry: Some(entry.clone()),
        }));
        for change in changes.into_iter().chain([ListChange::Known]) {
            learned.send(Command::Learn(change)).expect("it runs");
        }
        bucket.servers.push(learned);
        Member { admission, expelled }
    }
}

fn listed(server: &Member) -> Option<usize> {
    server.admission.ask(Command::List).expect("it answers").map(|entries| entries.len())
}

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never comes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn members_and_invitations_are_those_of_all_servers() {
    let world = World::new();
    let second = world.start(None);
    assert_eq!(listed(&second), None, "there is no list");
    assert_eq!(second.admission.ask(Command::IsOpen), Ok(true));
    assert_eq!(admit(&second.admission, "X", None), Ok(()));
    let first = world.start(Some(&format!("# us\n{}\n", key("A"))));
    wait_until(|| listed(&second) == Some(1));
    assert_eq!(second.admission.ask(Command::IsOpen), Ok(false));
    assert_eq!(admit(&second.admission, "X", None), Err(NotAdmitted::NoMember(key("X"))));
    wait_until(|| !second.expelled.lock().expect("nobody panics").is_empty());
    // Its own list has no effect, because there is one.
    let third = world.start(Some(&format!("{}\n", key("Y"))));
    wait_until(|| listed(&third) == Some(1));
    assert_eq!(admit(&third.admission, "Y", None), Err(NotAdmitted::NoMember(key("Y"))));
    assert_eq!(admit(&third.admission, "A", None), Ok(()));
    // An invitation of one server admits at another, once.
    invite(&second.admission, in_an_hour(), None);
    wait_until(|| listed(&first) == Some(2));
    assert_eq!(admit(&first.admission, "B", Some(claim(SECRET, b"B"))), Ok(()));
    wait_until(|| admit(&third.admission, "B", None) == Ok(()));
    let again = admit(&second.admission, "C", Some(claim(SECRET, b"C")));
    assert_eq!(again, Err(NotAdmitted::NoInvitation));
    // Who is removed at one server leaves all.
    let count = |server: &Member| server.expelled.lock().expect("nobody panics").len();
    let before = [&first, &second, &third].map(count);
    let remove = |reply| Command::Remove { name: name("B"), fingerprint: Some(key("B")), reply };
    assert_eq!(third.admission.ask(remove), Ok(Ok(())));
    for (server, before) in [&first, &second, &third].into_iter().zip(before) {
        wait_until(|| count(server) > before);
    }
    for server in [&first, &second, &third] {
        wait_until(|| admit(&server.admission, "B", None) == Err(NotAdmitted::NoMember(key("B"))));
        let is_expelled = |members: &Members| !members.admit(&key("B"), &name("B"));
        wait_until(|| server.expelled.lock().expect("nobody panics").last().is_some_and(is_expelled));
    }
    assert_eq!(world.lock().entries.len(), 1);
}

#[test]
fn an_invitation_that_two_servers_see_open_admits_at_one_of_them() {
    let world = World::new();
    let (first, second) = (world.start(Some("")), world.start(None));
    wait_until(|| listed(&second) == Some(0));
    invite(&first.admission, in_an_hour(), None);
    wait_until(|| listed(&second) == Some(1));
    world.lock().is_told = false;
    assert_eq!(admit(&first.admission, "B", Some(claim(SECRET, b"B"))), Ok(()));
    let late = admit(&second.admission, "C", Some(claim(SECRET, b"C")));
    assert!(matches!(late, Err(NotAdmitted::NotWritten(_))), "{late:?}");
    assert_eq!(listed(&second), Some(1), "it has what the cluster has said");
    let Some((_, entry)) = world.lock().entries.values().next().cloned() else { panic!("there is one") };
    assert_eq!(entry, Entry::Member { fingerprint: key("B"), name: Some(name("B")) });
}

#[test]
fn a_peer_that_was_interrupted_finishes_its_join_at_any_server() {
    let world = World::new();
    let servers = [world.start(Some("")), world.start(None), world.start(None)];
    invite(&servers[0].admission, in_an_hour(), None);
    servers.iter().for_each(|server| wait_until(|| listed(server) == Some(1)));
    let elsewhere =
        |server: &Member, who: &str| ask(&server.admission, who, Some((claim(SECRET, who.as_bytes()), true)));
    let first = elsewhere(&servers[1], "B");
    assert!(is_shown(&first, "B"), "{first:?}");
    // Its connection broke before the welcome. All servers know who has used the invitation, and nobody else can.
    for server in &servers {
        wait_until(|| admit(&server.admission, "B", None) == Ok(()));
        let again = elsewhere(server, "B");
        assert!(is_shown(&again, "B"), "{again:?}");
        assert_eq!(elsewhere(server, "C"), Err(NotAdmitted::NoInvitation));
    }
}

#[test]
fn without_nats_nothing_changes_and_members_join() {
    let world = World::new();
    let server = world.start(Some(&format!("{}\n", key("A"))));
    wait_until(|| world.lock().is_closed);
    world.lock().is_gone = true;
    let entry = Entry::Member { fingerprint: key("B"), name: None };
    let refused = server.admission.ask(|reply| Command::Add(entry, reply)).expect("it answers");
    assert!(matches!(refused, Err(NotAdmitted::NotWritten(_))), "{refused:?}");
    assert_eq!(listed(&server), Some(1));
    assert_eq!(admit(&server.admission, "A", None), Ok(()));
    assert_eq!(admit(&server.admission, "B", None), Err(NotAdmitted::NoMember(key("B"))));
}

#[test]
fn a_cluster_without_a_list_has_nobody_to_invite() {
    let server = World::new().start(None);
    let entry = Entry::Member { fingerprint: key("B"), name: None };
    let refused = server.admission.ask(|reply| Command::Add(entry, reply)).expect("it answers");
    assert_eq!(refused, Err(NotAdmitted::Open));
    // A server without a list has made no invitations, so it does not let anybody in who has one of another place.
    let astray = ask(&server.admission, "B", Some((claim(SECRET, b"B"), true)));
    assert_eq!(astray, Err(NotAdmitted::NoInvitation));
    let remove = |reply| Command::Remove { name: name("B"), fingerprint: None, reply };
    assert_eq!(server.admission.ask(remove), Ok(Err(NotAdmitted::Open)));
}
