//! The shared files, and the transfers of files: their threads, and what the shell keeps about them.

use std::collections::{BTreeSet, HashMap};
use std::net::{Shutdown, TcpStream};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, select};
use wire::FileName;
use wire::protocol::TransferId;
use wire::signal::Route;

use super::shell::Shell;
use super::watch::Watch;
use super::{Message, jobs};
use crate::peer::command::ShareChange;
use crate::peer::engine::{
    Download, Input, ReceiveJob, ReceiveManyJob, ReceivePiecesJob, SendJob, SendManyJob, Shared, TaskId,
    TransferOutcome,
};
use crate::peer::home::Home;
use crate::peer::share::{Refreshed, Share, ShareError};
use crate::peer::transfer::{Listener, Membership, PieceStore, RateLimit};

/// How often a transfer, or the reading of a shared file, reports its progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// How long transfers may take at the end to record what has arrived.
const RECEIVING_END_WAIT: Duration = Duration::from_secs(5);

/// Reports the progress of a transfer.
type Tell<'a> = dyn FnMut(TransferOutcome) + Send + 'a;

#[derive(Default)]
pub(super) struct Files {
    pub(super) is_serving: bool,
    listener: Option<Listener>,
    share: Arc<Share>,
    is_reading: bool,
    /// The reads of the share to do after the present one. One at a time, so that an older result never replaces a newer one.
    reads: Vec<Read>,
    /// Reports changes. Shared with the thread that reads the share, which adds each folder before it looks into it.
    watch: Option<Arc<Mutex<Watch>>>,
    /// Connections from other peers that have dialled this one in the current step.
    pub(super) callers: HashMap<TransferId, TcpStream>,
    receiving: HashMap<TransferId, Arc<Stop>>,
    sending: HashMap<TransferId, Arc<Stop>>,
    /// Closed when all threads that receive have ended.
    received: Option<(Sender<()>, Receiver<()>)>,
    /// The files that come from several holders. Each is empty until it is open.
    stores: HashMap<TaskId, Arc<OnceLock<PieceStore>>>,
    up_limit: Option<Arc<RateLimit>>,
    down_limit: Option<Arc<RateLimit>>,
}

impl Files {
    /// The limits are bytes a second, of all transfers together.
    pub(super) fn with_limits(up: Option<NonZeroU64>, down: Option<NonZeroU64>) -> Self {
        let limit = |bytes: Option<NonZeroU64>| Some(Arc::new(RateLimit::new(bytes?)));
        Self { up_limit: limit(up), down_limit: limit(down), ..Self::default() }
    }
}

/// Cancels a transfer from another thread.
#[derive(Default)]
pub(super) struct Stop {
    is_set: AtomicBool,
    socket: OnceLock<TcpStream>,
}

impl Stop {
    pub(super) fn set(&self) {
        self.is_set.store(true, Ordering::SeqCst);
        if let Some(socket) = self.socket.get() {
            // Wakes the thread if it waits for the other end. What arrives can still be read, so the thread looks at the flag
            // too. If the thread has ended, so has the connection.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    /// Takes the connection of the transfer. Returns false if the transfer is cancelled already.
    pub(super) fn covers(&self, socket: &TcpStream) -> bool {
        if let Ok(socket) = socket.try_clone() {
            // A transfer has one connection.
            let _ = self.socket.set(socket);
        }
        // After the socket is set: whoever cancels sets the flag first, so one of the two threads sees the other.
        !self.is_set()
    }
}

/// What is to be read of the share.
pub(super) enum Read {
    All,
    /// These files, in which something has changed.
    Few(BTreeSet<PathBuf>),
    /// Everything, after a change of `keyword.txt`.
    AfterChange(ShareChange),
}

/// What was read of the share.
pub(in crate::peer) enum ReadShare {
    /// All of it, and what has changed since it was read before.
    All {
        share: Share,
        shared: Shared,
    },
    Few(Refreshed),
}

impl ReadShare {
    pub(super) fn since(before: &Share, share: Share) -> Self {
        let (removed, changed) = share.since(before);
        let files = changed.into_iter().map(|file| Arc::clone(&file.listed)).collect();
        let shared = Shared { removed, files, problems: problems(&share) };
        Self::All { share, shared }
    }
}

fn problems(share: &Share) -> Vec<String> {
    share.problems.iter().map(ToString::to_string).collect()
}

impl Files {
    fn read_later(&mut self, read: Read) {
        // A read that has not begun will see everything that has changed by now.
        let sees_all = self.reads.iter().any(|read| !matches!(read, Read::Few(_)));
        match (read, self.reads.last_mut()) {
            (Read::All | Read::Few(_), _) if sees_all => {}
            (Read::Few(paths), Some(Read::Few(more))) => more.extend(paths),
            (read, _) => self.reads.push(read),
        }
    }

    /// Takes what was read, and returns what has changed.
    fn take(&mut self, read: ReadShare) -> Shared {
        match read {
            ReadShare::All { share, shared } => {
                self.share = Arc::new(share);
                shared
            }
            ReadShare::Few(refreshed) => {
                // The thread that has read it has ended its use, so nothing is copied.
                let share = Arc::make_mut(&mut self.share);
                let (removed, files) = share.apply(refreshed);
                Shared { removed, files, problems: problems(share) }
            }
        }
    }
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    // What a thread that panicked has added is watched all the same.
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shell {
    /// Accepts connections from other peers, on the address that the server sees. That is loopback if the server is on
    /// this machine. No other interface is opened, because the server could not tell peers about it.
    pub(super) fn listen(&mut self) {
        let Some(address) = self.local.filter(|_| self.files.is_serving) else {
            return;
        };
        if self.files.listener.as_ref().is_some_and(|listener| listener.address().ip() == address) {
            return;
        }
        self.files.listener = None;
        let messages = self.messages.clone();
        let listener = Listener::start(address, move |event| {
            let _ = messages.send(Message::Listener(event));
        });
        // Without a listener, files go through the server.
        if let Ok(listener) = listener {
            self.later(Input::Listening(listener.address().port()));
            self.files.listener = Some(listener);
        }
    }

    /// Shares what changes in the peer's directory, and in the folders that are read from now on.
    pub(super) fn watch(&mut self) {
        match Watch::start(self.home.path(), self.messages.clone()) {
            Ok(watch) => self.files.watch = Some(Arc::new(Mutex::new(watch))),
            Err(e) => self.tell_all(&format!(
                "changes of the shared files are not noticed: {e}; after a change use /share or /files"
            )),
        }
    }

    /// Goes on watching the folders of the share only.
    fn watch_folders(&mut self) {
        let Some(watch) = &self.files.watch else { return };
        let unnoticed = lock(watch).keep_only(&self.files.share.folders);
        if let Some(error) = unnoticed {
            self.tell_all(&format!(
                "changes in some folders are not noticed: {error}; after a change there use /share or /files"
            ));
        }
    }

    /// Reads the share on a thread of its own.
    pub(super) fn read_share(&mut self, read: Read) {
        if self.files.is_reading {
            return self.files.read_later(read);
        }
        self.files.is_reading = true;
        let (home, before) = (Arc::clone(&self.home), Arc::clone(&self.files.share));
        let watch = self.files.watch.clone();
        self.spawn(
            move |messages| {
                let mut last = Instant::now();
                let mut progress = |name: &FileName, done, total| {
                    if last.elapsed() >= PROGRESS_EVERY {
                        last = Instant::now();
                        let hashing = Input::Hashing { name: name.clone(), done, total };
                        let _ = messages.send(Message::input(hashing));
                    }
                };
                let mut looks_into = |folder: &str, inode| {
                    if let Some(watch) = &watch {
                        lock(watch).add(folder, inode);
                    }
                };
                let read = jobs::read_share(&home, &before, read, &mut looks_into, &mut progress);
                Message::Shared(read.map(Box::new).map_err(|e: ShareError| e.to_string()))
            },
            |e| Message::Shared(Err(e)),
        );
    }

    pub(super) fn shared(&mut self, read: Result<Box<ReadShare>, String>) -> Input {
        self.files.is_reading = false;
        // Before the next read begins, because that is compared with it.
        let is_all = !matches!(read.as_deref(), Ok(ReadShare::Few(_)));
        let shared = read.map(|read| self.files.take(*read));
        if !self.files.reads.is_empty() {
            let next = self.files.reads.remove(0);
            self.read_share(next);
        }
        if is_all {
            self.watch_folders();
        }
        Input::Shared(shared)
    }

    pub(super) fn receive(&mut self, job: Box<ReceiveJob>) {
        let limit = self.files.down_limit.clone();
        self.spawn_receiving(job.key.transfer, move |home, server, stop, tell| {
            let (mut last, mut before) = (Instant::now(), job.offset);
            jobs::receive(home, server, &job, stop, &mut |done, total| {
                if let Some(limit) = &limit {
                    limit.pass(done - before);
                    before = done;
                }
                if done == total || last.elapsed() >= PROGRESS_EVERY {
                    last = Instant::now();
                    tell(TransferOutcome::Progress { done, total });
                }
            })
        });
    }

    pub(super) fn receive_many(&mut self, job: Box<ReceiveManyJob>) {
        let limit = self.files.down_limit.clone();
        self.spawn_receiving(job.key.transfer, move |home, server, stop, tell| {
            jobs::receive_many(home, server, &job, stop, limit.as_deref(), &mut |reports| {
                tell(TransferOutcome::ReceivedSome(reports));
            })
        });
    }

    pub(super) fn open_pieces(&mut self, task: TaskId, download: Download) {
        let store = Arc::<OnceLock<PieceStore>>::default();
        self.files.stores.insert(task, Arc::clone(&store));
        let home = Arc::clone(&self.home);
        let opened = move |opened| Message::input(Input::PiecesOpened(task, opened));
        self.spawn(
            move |_| {
                opened(jobs::open_pieces(&home, &download).map(|(open, here)| {
                    // It is opened once.
                    let _ = store.set(open);
                    here
                }))
            },
            move |e| opened(Err(e)),
        );
    }

    pub(super) fn receive_pieces(&mut self, job: Box<ReceivePiecesJob>) {
        let limit = self.files.down_limit.clone();
        let store = self.files.stores.get(&job.task).cloned();
        self.spawn_receiving(job.key.transfer, move |_, server, stop, tell| {
            let Some(store) = store.as_ref().and_then(|store| store.get()) else {
                return TransferOutcome::Received(Err("the fetch has ended".into()));
            };
            jobs::receive_pieces(server, &job, stop, store, limit.as_deref(), tell)
        });
    }

    pub(super) fn release_pieces(&mut self, task: TaskId, pieces: &[u64]) {
        if let Some(store) = self.files.stores.get(&task).and_then(|store| store.get()) {
            store.release(pieces);
        }
    }

    pub(super) fn finish_pieces(&mut self, task: TaskId, download: Download) {
        let store = self.files.stores.remove(&task);
        let home = Arc::clone(&self.home);
        let finished = move |finished| Message::input(Input::PiecesFinished(task, finished));
        self.spawn(
            move |_| {
                let store = store.as_ref().and_then(|store| store.get());
                let gone = || "the fetch has ended".to_owned();
                finished(
                    store.ok_or_else(gone).and_then(|store| jobs::finish_pieces(&home, &download, store)),
                )
            },
            move |e| finished(Err(e)),
        );
    }

    /// Keeps the pieces for a later transfer, when the last thread that uses them has ended.
    pub(super) fn close_pieces(&mut self, task: TaskId) {
        self.files.stores.remove(&task);
    }

    pub(super) fn prepare(&mut self, task: TaskId, download: Download) {
        let home = Arc::clone(&self.home);
        self.spawn(
            move |_| Message::input(Input::Prepared(task, jobs::prepare(&home, &download))),
            move |e| Message::input(Input::Prepared(task, Err(e))),
        );
    }

    pub(super) fn prepare_many(&mut self, task: TaskId, downloads: Vec<Download>) {
        let home = Arc::clone(&self.home);
        self.spawn(
            move |_| Message::input(Input::PreparedMany(task, jobs::prepare_many(&home, &downloads))),
            move |e| Message::input(Input::PreparedMany(task, Err(e))),
        );
    }

    /// Receives in a thread of its own. The transfer can be stopped from now on.
    fn spawn_receiving(
        &mut self,
        id: TransferId,
        receive: impl FnOnce(&Home, &Membership, &Stop, &mut Tell<'_>) -> TransferOutcome + Send + 'static,
    ) {
        let (home, server) = (Arc::clone(&self.home), self.membership.clone());
        let stop = Arc::<Stop>::default();
        self.files.receiving.insert(id, Arc::clone(&stop));
        let is_underway = self.files.received.get_or_insert_with(|| bounded(0)).0.clone();
        let outcome = move |outcome| Message::input(Input::Transfer(id, outcome));
        self.spawn(
            move |messages| {
                let tell = &mut |progress| drop(messages.send(outcome(progress)));
                let received = outcome(receive(&home, &server, &stop, tell));
                drop(is_underway);
                received
            },
            move |e| outcome(TransferOutcome::Received(Err(e))),
        );
    }

    /// Stops what is being received when the peer ends, and waits until what has arrived is recorded or has its name. A part that
    /// nobody continues would stay hidden on the disk else.
    pub(super) fn end_receiving(&mut self, waiting: &Receiver<Message>) {
        self.files.receiving.drain().for_each(|(_, stop)| stop.set());
        let Some((_, ended)) = self.files.received.take() else { return };
        let late = after(RECEIVING_END_WAIT);
        loop {
            select! {
                recv(ended) -> _ => return,
                // The threads must not wait for room in the mailbox.
                recv(waiting) -> _ => {}
                recv(late) -> _ => return,
            }
        }
    }

    pub(super) fn send_many(&mut self, job: Box<SendManyJob>) {
        let id = job.key.transfer;
        let outcome = move |outcome| Message::input(Input::Transfer(id, outcome));
        let stream = self.files.callers.remove(&id);
        if stream.is_none() && job.route == Route::Direct {
            let why = "the connection is gone".to_owned();
            return self.backlog.push_back(outcome(TransferOutcome::SentMany(Vec::new(), Err(why))));
        }
        let (home, server, share) =
            (Arc::clone(&self.home), self.membership.clone(), Arc::clone(&self.files.share));
        let (limit, stop) = (self.files.up_limit.clone(), self.sends(id));
        self.spawn(
            move |_| {
                outcome(jobs::send_many(&home, &server, &job, &share, (stream, &stop), limit.as_deref()))
            },
            move |e| outcome(TransferOutcome::SentMany(Vec::new(), Err(e))),
        );
    }

    pub(super) fn stop_receive(&mut self, transfer: TransferId) {
        if let Some(stop) = self.files.receiving.remove(&transfer) {
            stop.set();
        }
    }

    pub(super) fn transfer_reported(&mut self, transfer: TransferId, outcome: &TransferOutcome) {
        let goes_on = matches!(
            outcome,
            TransferOutcome::Progress { .. }
                | TransferOutcome::ReceivedSome(_)
                | TransferOutcome::Piece { .. }
        );
        if !goes_on {
            self.files.receiving.remove(&transfer);
            self.files.sending.remove(&transfer);
        }
    }

    /// Makes that a transfer can be cancelled from now on.
    fn sends(&mut self, transfer: TransferId) -> Arc<Stop> {
        Arc::clone(self.files.sending.entry(transfer).or_default())
    }

    pub(super) fn stop_send(&mut self, transfer: TransferId) {
        if let Some(stop) = self.files.sending.remove(&transfer) {
            stop.set();
        }
    }

    pub(super) fn send(&mut self, job: Box<SendJob>) {
        let id = job.key.transfer;
        let outcome = move |outcome| Message::input(Input::Transfer(id, outcome));
        let (name, sha256) = (&job.header.name, &job.header.sha256);
        let Some(file) =
            self.files.share.by_name(name).filter(|file| file.listed.file.sha256 == *sha256).cloned()
        else {
            let why = "it is no longer shared".to_owned();
            return self.backlog.push_back(outcome(TransferOutcome::Outdated(why)));
        };
        let stream = self.files.callers.remove(&id);
        if stream.is_none() && job.route == Route::Direct {
            let why = "the connection is gone".to_owned();
            return self.backlog.push_back(outcome(TransferOutcome::Sent(Err(why))));
        }
        let (home, server) = (Arc::clone(&self.home), self.membership.clone());
        let (limit, stop) = (self.files.up_limit.clone(), self.sends(id));
        self.spawn(
            move |_| outcome(jobs::send(&home, &server, &job, &file, (stream, &stop), limit.as_deref())),
            move |e| outcome(TransferOutcome::Sent(Err(e))),
        );
    }
}
