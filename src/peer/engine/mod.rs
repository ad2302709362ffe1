//! The peer's engine: what it knows, and what it decides.
//!
//! It has no thread, socket or clock: inputs go into [`Engine::handle`], and [`Engine::settle`] writes everything that
//! has changed to the store in one transaction and hands out the effects, so nothing is sent, acknowledged or shown
//! before it is on disk. `runner` feeds it and carries the effects out.

mod contact;
mod files;
mod inbound;
mod outbound;
mod receipts;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::TcpStream;
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use wire::PeerName;
use wire::card::Card;
use wire::conversation::{ConversationId, Opening};
use wire::keys::Purpose;
use wire::protocol::{ErrorCode, ServerId, TransferId, join_proof_text};

use super::command::{Command, Update};
use super::event::{ConversationEvent, Event, Sealed};
use super::home::{HomeError, Keys, Pins};
use super::records::{Direction, Write};
use super::share::Share;
use super::store::{Store, StoreError};
use contact::Contact;
pub use files::{FileJob, ReceiveJob, SendJob, TransferOutcome};
use inbound::Accepted;
use outbound::Link;
use tasks::Task;

/// Names a client of the engine: the process's own command line, or a connection to its control socket.
pub type ClientId = u64;

/// The time of an input.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Seconds since 1970, for what others see.
    pub unix: u64,
    /// For deadlines.
    pub instant: Instant,
}

/// What can be chosen when a peer starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// A new conversation is opened after so many messages.
    pub rekey_messages: u64,
    /// Whether events carry all of a ciphertext.
    pub full_trace: bool,
}

/// Something for the engine to take note of.
pub enum Input {
    /// A client wants something done.
    Command(ClientId, Command),
    /// A client has gone.
    Gone(ClientId),
    /// From the connection to the server.
    Net(Net),
    /// What this peer shares was read.
    Shared(Result<Share, String>),
    /// Others can dial this peer on a port, if the server can.
    Listening(u16),
    /// The server has called back on that port.
    CalledBack([u8; 32]),
    /// Somebody has dialled this peer for a file.
    Fetch(TransferId, TcpStream),
    /// A transfer has gone on or ended.
    Transfer(TransferId, TransferOutcome),
    /// Time has passed.
    Tick,
}

/// From the connection to the server.
pub enum Net {
    /// The server has let this peer in.
    Joined {
        /// Which server.
        server: ServerId,
        /// Where.
        address: String,
    },
    /// Bodies of frames, in order.
    Frames(Vec<Bytes>),
    /// The server cannot be reached; it is tried again.
    Unreachable(String),
    /// The server has refused this peer or ended its session; there is no point in trying again.
    Refused(ErrorCode, String),
    /// The connection is gone; it is tried again.
    Lost,
}

/// Something for the runner to carry out.
pub enum Effect {
    /// Bytes for the server.
    ToServer(Vec<u8>),
    /// Something for a client.
    Tell(ClientId, Update),
    /// A file to be sent or received.
    Transfer(Box<FileJob>),
    /// What this peer shares is to be read and a port to be opened, if that has not been done.
    Serve,
    /// What this peer shares is to be read again.
    ReadShare,
    /// A file is to be added to `keyword.txt` for a client; what comes of it is an [`Input::Shared`].
    AddShare(String, Vec<String>),
    /// A connection is wanted.
    Connect,
    /// The connection is not wanted any more: the server does not want this peer.
    Disconnect,
}

/// Why the engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The store fails.
    #[error("the peer's own store: {0}")]
    Store(#[from] StoreError),
    /// The private folder fails.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// The peer itself.
struct Me {
    name: PeerName,
    keys: Keys,
    card: Card,
}

/// The engine.
pub struct Engine {
    me: Me,
    options: Options,
    store: Store,
    pins: Pins,
    rng: StdRng,
    now: Now,
    contacts: BTreeMap<PeerName, Contact>,
    accepted: HashMap<ConversationId, Accepted>,
    link: Option<Link>,
    has_joined: bool,
    /// Why the server does not want this peer, if it has said so.
    unwanted: Option<String>,
    tasks: Vec<Task>,
    next_task: u64,
    /// Clients that know, or will hear, that this peer has joined.
    greeted: BTreeSet<ClientId>,
    files: files::Files,
    /// What the next transaction writes.
    writes: Vec<Write>,
    /// Contacts and conversations of others to be written with it.
    changed_contacts: BTreeSet<PeerName>,
    changed_accepted: BTreeSet<ConversationId>,
    /// Whom receipts are due to, for which conversations.
    receipts_due: BTreeSet<(PeerName, ConversationId)>,
    /// Frames for the server.
    frames: Vec<u8>,
    effects: Vec<Effect>,
}

impl Engine {
    /// An engine over what is on disk.
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn new(
        name: PeerName,
        keys: Keys,
        pins: Pins,
        store: Store,
        options: Options,
        now: Now,
    ) -> Result<Self, Fatal> {
        let mut rng = StdRng::from_rng(&mut rand::rng());
        let mut contacts = contact::load(&store)?;
        let (card, is_new) = own_card(&name, &keys, &mut contacts, &mut rng);
        let changed_contacts = is_new.then(|| name.folded()).into_iter().collect();
        Ok(Self {
            me: Me { name, keys, card },
            options,
            store,
            pins,
            rng,
            now,
            contacts,
            accepted: HashMap::new(),
            link: None,
            has_joined: false,
            unwanted: None,
            tasks: Vec::new(),
            // A publication is 0 on the wire.
            next_task: 1,
            greeted: BTreeSet::new(),
            files: files::Files::default(),
            writes: Vec::new(),
            changed_contacts,
            changed_accepted: BTreeSet::new(),
            receipts_due: BTreeSet::new(),
            frames: Vec::new(),
            effects: Vec::new(),
        })
    }

    /// The own card, to join with.
    pub fn card(&self) -> &Card {
        &self.me.card
    }

    /// Proves the own key to a server: signs its nonce, its identity and the card.
    pub fn prove(&mut self, nonce: &[u8; 32], server: &ServerId) -> Vec<u8> {
        let text = join_proof_text(nonce, server, self.me.card.as_bytes());
        self.me.keys.identity.sign(Purpose::Join, &text, &mut self.rng)
    }

    /// Takes an input in. Nothing is sent or shown before [`Engine::settle`].
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn handle(&mut self, now: Now, input: Input) -> Result<(), Fatal> {
        self.now = now;
        match input {
            Input::Command(client, command) => self.command(client, command)?,
            Input::Gone(client) => {
                self.tasks.retain(|task| task.client != client);
                self.greeted.remove(&client);
            }
            Input::Net(net) => self.net(net)?,
            Input::Shared(share) => self.shared(share),
            Input::Listening(port) => self.listening(port),
            Input::CalledBack(echo) => self.called_back(echo),
            Input::Fetch(transfer, stream) => self.fetched(transfer, stream),
            Input::Transfer(transfer, outcome) => self.transfer(transfer, outcome)?,
            Input::Tick => self.tick(),
        }
        Ok(())
    }

    /// Sends what can be sent, seals what receipts are due, writes all changes in one transaction, and hands out the
    /// effects in their order.
    ///
    /// # Errors
    /// [`Fatal`]; then nothing of it must be carried out.
    pub fn settle(&mut self) -> Result<Vec<Effect>, Fatal> {
        self.pump_all()?;
        self.send_receipts();
        self.end_listeners();
        self.check_drained();
        self.acknowledge();
        self.collect_changes();
        self.store.commit(&self.writes)?;
        self.writes.clear();
        let mut effects = std::mem::take(&mut self.effects);
        if !self.frames.is_empty() {
            effects.insert(0, Effect::ToServer(std::mem::take(&mut self.frames)));
        }
        Ok(effects)
    }

    fn collect_changes(&mut self) {
        for name in std::mem::take(&mut self.changed_contacts) {
            if let Some(contact) = self.contacts.get(&name) {
                self.writes.push(Write::Contact(contact.record()));
            }
        }
        for id in std::mem::take(&mut self.changed_accepted) {
            if let Some(accepted) = self.accepted.get(&id) {
                self.writes.push(Write::Incoming(id, accepted.record()));
            }
        }
    }

    /// The contact of a name, made if nothing is known of it.
    fn contact(&mut self, name: &PeerName) -> &mut Contact {
        self.contacts.entry(name.folded()).or_insert_with(|| Contact::new(name.clone()))
    }

    /// Shows an event to every client that it concerns.
    fn emit(&mut self, event: &Event) {
        let mut told: Vec<ClientId> = Vec::new();
        for task in &self.tasks {
            if task.concerns(event) && !told.contains(&task.client) {
                told.push(task.client);
                self.effects.push(Effect::Tell(task.client, Update::Event(event.clone())));
            }
        }
    }

    /// Shows an event to one client.
    fn tell(&mut self, client: ClientId, event: Event) {
        self.effects.push(Effect::Tell(client, Update::Event(event)));
    }

    /// The opening of a conversation as it is shown.
    fn describe_opening(
        &self,
        opening: &Opening,
        with: &PeerName,
        direction: Direction,
    ) -> ConversationEvent {
        ConversationEvent {
            with: with.clone(),
            direction,
            conversation: opening.id,
            sender_key: opening.sender.fingerprint(),
            recipient_key: opening.recipient,
            wrapped_for: opening.recipient_key,
            wrapped_key: self.shorten(&opening.wrapped_key),
            commitment: opening.commitment,
            opening: self.shorten(opening.as_bytes()),
            first_number: opening.first_number,
            pinned_now: false,
        }
    }

    /// A sealed message as it is shown.
    fn describe_sealed(&self, bytes: &[u8], place: contact::Place) -> Sealed {
        Sealed {
            conversation: place.conversation,
            place: place.place,
            bytes: bytes.len() as u64,
            ciphertext_sha256: wire::Digest::of(bytes),
            ciphertext: self.shorten(bytes),
            running_hash: place.running_hash,
        }
    }

    fn shorten(&self, hex_of: &[u8]) -> String {
        const SHOWN_BYTES: usize = 24;
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        if self.options.full_trace || hex_of.len() <= SHOWN_BYTES {
            hex(hex_of)
        } else {
            format!("{}...", hex(&hex_of[..SHOWN_BYTES]))
        }
    }
}

/// The own card: the one that is kept, unless the name or a key has changed. A new one each time would be news to
/// everybody who has the old one. Also says whether it is a new one, to be kept.
fn own_card(
    name: &PeerName,
    keys: &Keys,
    contacts: &mut BTreeMap<PeerName, Contact>,
    rng: &mut StdRng,
) -> (Card, bool) {
    let current = keys.current();
    let me = contacts.entry(name.folded()).or_insert_with(|| Contact::new(name.clone()));
    let kept = me.card.take().filter(|card| {
        card.name == *name
            && card.fingerprint() == keys.identity.public().fingerprint()
            && card.encryption.fingerprint() == current.key.public().fingerprint()
    });
    let is_new = kept.is_none();
    let card = kept.unwrap_or_else(|| {
        Card::issue(name.clone(), &keys.identity, current.key.public(), current.made_at, rng)
    });
    me.card = Some(card.clone());
    (card, is_new)
}
