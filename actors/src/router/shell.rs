//! The Router's thread.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, select};
use wire::PeerName;

use super::core::Router;
use super::presence::PresenceOutbox;
use crate::commands::index::{IndexHandle, Presence};
use crate::commands::router::{Command, PresencePort, RouterHandle};
use crate::commands::session::SessionPort;
use crate::commands::store::{Completion, Inventory, StoreHandle};
use crate::runtime::{Mailbox, Vital, mailbox, spawn_vital};

/// Room for commands: a batch from each of a thousand sessions. Sessions wait, and stop reading, while it is full.
const MAILBOX_COMMANDS: usize = 1024;
/// Most commands between two looks at what the store has done.
const BATCH_COMMANDS_MAX: usize = 256;
/// How long to leave the Index or the store alone when its mailbox was full.
const RETRY: Duration = Duration::from_millis(5);

impl PresencePort for PresenceOutbox {
    fn presence(&mut self, peer: &PeerName, online: bool, address: Option<SocketAddr>) {
        self.tell(Presence { peer: peer.clone(), online, address });
    }

    fn catch_up(&mut self) -> bool {
        self.flush()
    }
}

/// Starts the Router over what is on disk. It ends when the last handle is dropped.
///
/// # Errors
/// When the system gives no thread.
pub fn start(
    inventory: Inventory,
    store: StoreHandle,
    completions: Receiver<Completion>,
    index: IndexHandle,
) -> std::io::Result<(RouterHandle, Vital)> {
    let (address, mailbox) = mailbox(MAILBOX_COMMANDS);
    let server = inventory.server;
    let router = Router::new(inventory, store, PresenceOutbox::new(index));
    let thread = spawn_vital("router", move || run(router, &mailbox, &completions))?;
    Ok((RouterHandle { address, server }, thread))
}

fn run(
    mut router: Router<SessionPort, StoreHandle, PresenceOutbox>,
    mailbox: &Mailbox<Command>,
    completions: &Receiver<Completion>,
) {
    let commands = mailbox.receiver();
    loop {
        let behind = if router.catch_up() { crossbeam_channel::never() } else { after(RETRY) };
        select! {
            recv(commands) -> command => match command {
                Ok(Command::Stop) | Err(_) => return router.handle(Instant::now(), Command::Stop),
                Ok(command) => router.handle(Instant::now(), command),
            },
            recv(completions) -> completion => if let Ok(completion) = completion {
                router.complete(completion);
            },
            recv(behind) -> _ => {}
        }
        let now = Instant::now();
        for command in commands.try_iter().take(BATCH_COMMANDS_MAX) {
            let is_last = matches!(command, Command::Stop);
            router.handle(now, command);
            if is_last {
                return;
            }
        }
        for completion in completions.try_iter() {
            router.complete(completion);
        }
    }
}
