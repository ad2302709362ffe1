//! The peer's engine: the state and decisions of a peer.
//!
//! Records, keys and randomness are passed in; writes and effects come out. The engine has no thread, socket, file,
//! clock or source of randomness of its own, so the same seed and the same inputs give the same outputs.
//! [`Engine::handle`] handles all waiting inputs as one step. The shell ([`super::runner`]) commits the writes of the
//! step, and only then sends, acknowledges or shows anything.

mod cards;
mod commands;
mod connection;
mod contact;
mod contacts;
mod conversations;
mod fetch;
mod fetch_many;
mod guard;
mod inbound;
mod interface;
mod late;
mod link;
mod local;
mod outbox;
mod overlay;
mod pace;
mod presence;
mod publishing;
mod receipts;
mod renewal;
mod requested;
mod requests;
mod sealing;
mod sharing;
mod showing;
mod slots;
mod tasks;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use rand::rngs::StdRng;
use wire::PeerName;
use wire::card::{Card, Term};
use wire::conversation::ConversationId;
use wire::keys::Purpose;
use wire::protocol::{ChannelBinding, Greeting, ToServer, join_proof_text};

use contacts::Contacts;
use conversations::Conversations;
use fetch::Fetches;
pub use fetch::kept_rest;
use guard::Guard;
pub use interface::{
    ClientId, Download, Effect, Input, Limits, Loaded, Net, NotReceived, Now, Options, Out, Prepared,
    ReceiveJob, ReceiveManyJob, ReceivePiecesJob, Records, SendJob, SendManyJob, Shared, Start, TaskId,
    TransferOutcome, Unreadable,
};
use local::Local;
use overlay::Overlay;
use renewal::Renewal;
use sharing::Sharing;
use showing::Showing;
use tasks::Task;

use crate::peer::event::Event;
use crate::peer::home::Keys;

/// The id that the server uses for a publication in its answers. Tasks count from 1.
const PUBLICATION: TaskId = 0;

/// The id of a request to the server for names that are similar to another.
const NEAR_NAMES: TaskId = TaskId::MAX;

pub struct Engine {
    local: Local,
    contacts: Contacts,
    conversations: Conversations,
    guard: Guard,
    sharing: Sharing,
    fetches: Fetches,
    renewal: Renewal,
    has_joined: bool,
    /// Why there is no connection; `None` if there is one, or clients have not been told yet.
    trouble: Option<String>,
    /// The trouble before the first connection that all clients were told.
    told_trouble: Option<String>,
    /// Why the server has refused this peer, if it has.
    unwanted: Option<String>,
    /// Clients that have been told, or will be, that this peer has joined.
    greeted: BTreeSet<ClientId>,
    /// The last peer, by folded name, whose presence the server was asked for because messages wait for it.
    last_missed: Option<PeerName>,
    showing: Showing,
    /// Folded names that messages wait for and nobody has joined under, and whether similar names were looked for on
    /// this connection.
    misnamed: BTreeMap<PeerName, bool>,
    /// The receipts to send: the folded name of the peer, and the conversation.
    receipts_due: BTreeSet<(PeerName, ConversationId)>,
}

impl Engine {
    /// Creates an engine from what is on disk.
    pub fn new(start: Start, now: Now) -> Self {
        let Start { name, keys, server, options, mut loaded, records, mut rng } = start;
        let showing = Showing::load(&loaded);
        let mut conversations = Conversations::load(std::mem::take(&mut loaded.accepted));
        let mut contacts = Contacts::load(&mut loaded);
        let me = contacts.of(&name);
        let last = me.card.take();
        let identity = keys.identity.public().fingerprint();
        let has_new_key = last.as_ref().is_some_and(|card| card.fingerprint() != identity);
        let card = own_card(last.as_ref(), &name, &keys, &options, now, &mut rng);
        me.is_kept = true;
        me.is_changed = last.is_none_or(|last| last.as_bytes() != card.as_bytes());
        me.card = Some(card.clone());
        let pins: HashMap<_, _> = loaded.pins.into_iter().map(|(name, key)| (name.folded(), key)).collect();
        let sharing = Sharing::new(options.limits.upload_slots);
        let mut local = Local {
            name,
            keys,
            card,
            server,
            options,
            rng,
            now,
            pins,
            link: None,
            tasks: Vec::new(),
            next_task: PUBLICATION + 1,
            records: Overlay::new(records),
            new_pins: Vec::new(),
            to_server: Vec::new(),
            effects: Vec::new(),
        };
        conversations.drop_unreadable(&mut local);
        if has_new_key {
            contacts.seal_again(&mut local);
        }
        Self {
            local,
            contacts,
            conversations,
            guard: Guard::default(),
            sharing,
            fetches: Fetches::default(),
            renewal: Renewal::default(),
            has_joined: false,
            trouble: None,
            told_trouble: None,
            unwanted: None,
            greeted: BTreeSet::new(),
            last_missed: None,
            showing,
            misnamed: BTreeMap::new(),
            receipts_due: BTreeSet::new(),
        }
    }

    pub fn card(&self) -> &Card {
        &self.local.card
    }

    /// The message that joins a server: the current card, a signature over the greeting, the card and the binding of the TLS
    /// connection, which proves the identity key, and a claim to the invitation if there is one. If that is to another server, this one
    /// can belong to the same cluster.
    pub fn join(
        &mut self,
        now: Now,
        greeting: &Greeting,
        binding: Option<&ChannelBinding>,
    ) -> ToServer<'static> {
        self.local.now = now;
        let card = self.card_to_join_with();
        let text = join_proof_text(greeting, &card, binding);
        let proof = self.local.keys.identity.sign(Purpose::Join, &text, &mut self.local.rng);
        match &self.local.options.invitation {
            Some(invitation) if !invitation.is_for(&greeting.key.fingerprint()) => {
                ToServer::JoinInvited { card, proof, invitation: invitation.claim(&text) }
            }
            invitation => {
                let invitation = invitation.as_ref().map(|invitation| invitation.claim(&text));
                ToServer::Join { card, proof, invitation }
            }
        }
    }

    /// Handles everything that has happened by `now`, in order, and puts the results into `out`. A call without inputs
    /// only lets time pass.
    ///
    /// [`Unreadable`] if a record could not be read. Then `out` is unchanged, and the engine must not be used any more.
    pub fn handle(
        &mut self,
        now: Now,
        inputs: impl IntoIterator<Item = Input>,
        out: &mut Out,
    ) -> Result<(), Unreadable> {
        self.local.now = now;
        for input in inputs {
            self.take(input);
        }
        self.pass_time();
        self.pump();
        self.send_receipts();
        self.show_earlier();
        self.end_listeners();
        self.end_drains();
        self.acknowledge();
        self.write_shown();
        self.conversations.trim();
        self.contacts.write_changes(&mut self.local);
        self.conversations.write_changes(&mut self.local, &self.contacts);
        self.local.take(out)
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Command(client, command) => self.command(client, command),
            Input::Gone(client) => {
                self.local.tasks.retain(|task| task.client != client);
                self.greeted.remove(&client);
                self.showing.gone(client, self.local.now.instant);
            }
            Input::Shown(client, count) => self.showing.confirmed(client, count),
            Input::Net(net) => self.net(net),
            Input::Shared(shared) => self.shared(shared),
            Input::Hashing { name, done, total } => {
                self.local.tell_sharers(&Event::FileHashing { name, done, total });
            }
            Input::Listening(port) => self.listening(port),
            Input::CalledBack(echo) => self.local.say(&ToServer::CalledBack { echo }),
            Input::Dialled(transfer) => self.send(transfer),
            Input::Prepared(task, prepared) => self.prepared(task, prepared),
            Input::PreparedMany(task, prepared) => self.prepared_many(task, prepared),
            Input::PiecesOpened(task, opened) => self.pieces_opened(task, opened),
            Input::PiecesFinished(task, finished) => self.pieces_finished(task, finished),
            Input::Transfer(transfer, outcome) => self.transfer(transfer, outcome),
            Input::KeyMade(made) => self.key_made(made),
        }
    }

    fn pass_time(&mut self) {
        let now = self.local.now.instant;
        if self.local.link.is_some() {
            for contact in self.contacts.iter_mut() {
                contact.pass_time(now, &mut self.local.rng);
            }
            self.keep_alive();
        }
        self.renew();
        self.give_up_late_mail();
        self.end_late_tasks();
        self.publish_again();
        self.end_late_fetches();
        self.serve_queue();
    }

    /// Acknowledges the envelopes that have arrived to the server. The writes of this step are on disk before this is
    /// sent.
    fn acknowledge(&mut self) {
        if let Some(count) = self.local.link.as_mut().and_then(link::Link::unacknowledged) {
            self.local.say(&ToServer::Taken { count });
        }
    }

    /// When [`Engine::handle`] must be called next, even without inputs.
    pub fn next_deadline(&self) -> Option<Instant> {
        let tasks = self.local.tasks.iter().filter_map(|task| task.deadline);
        let files = self.fetches.deadlines().chain(self.sharing.publishing.again_at);
        let files = files.chain(self.sharing.slots.deadline().filter(|_| self.local.link.is_some()));
        let now = self.local.now.instant;
        let link = self.local.link.iter().flat_map(|link| {
            let contacts = self.contacts.iter().filter_map(|contact| contact.deadline(now));
            contacts.chain([link.deadline(now)])
        });
        tasks.chain(files).chain(link).chain(self.showing.write_at()).chain([self.next_renewal()]).min()
    }

    /// Stops sending messages to viewers, because the process is about to end. They are kept for the next process.
    pub fn stop_showing(&mut self) {
        self.showing.close();
    }

    /// Whether a client has not confirmed all messages that it was sent.
    pub fn awaits_confirmation(&self) -> bool {
        self.showing.awaits_confirmation()
    }

    /// Whether a command is running that ends by itself.
    pub fn has_work(&self) -> bool {
        self.local.tasks.iter().any(Task::ends_by_itself)
    }
}

/// The card to start with: the last one while it is valid, because every contact must be sent a new one.
fn own_card(
    last: Option<&Card>,
    name: &PeerName,
    keys: &Keys,
    options: &Options,
    now: Now,
    rng: &mut StdRng,
) -> Card {
    let kept = last.filter(|card| {
        card.name == *name
            && card.fingerprint() == keys.identity.public().fingerprint()
            && card.encryption.fingerprint() == keys.current().key.public().fingerprint()
            && card.is_valid_at(now.unix)
    });
    kept.cloned().unwrap_or_else(|| {
        let previous = last.map(|card| card.term.sequence);
        let term = Term::starting(now.unix, options.key_times.card_valid_seconds(), previous);
        keys.issue_card(name, term, rng)
    })
}
