// The peer: PROTOCOL.md, sections 9 to 13. Inputs go in, and effects come out: records to write, then frames to send.
// A batch of inputs is handled in order. What it writes is on the disk before anything of it is sent.

import { equal, fromHex, hex } from "./bytes.js";
import { folded } from "./names.js";
import { Contact } from "./contact.js";
import { jittered, Budget } from "./pace.js";
import { readCard, replaces, takesOverFrom } from "./card.js";
import { receive } from "./receive.js";
import { sendDue } from "./send.js";
import { block, cancel, forget } from "./manage.js";
import { Files } from "./files.js";
import { Flight } from "./flight.js";

const PING_EVERY = 10_000;
const PING_WHILE_AWAY = 2000;
const SILENCE_MAX = 15_000;
const WHO_ID = 1;
const PING_NAMES_MAX = 64;
/** How many files of a pattern come in one answer. */
const NAMES_MAX = 1000;
/** How many conversations of others are kept in memory. */
const ACCEPTED_MAX = 2048;
const PASSING_MAX = 1000;
const STRANGERS_MAX = 1000;
/** Inputs that are about messages which any tab may have queued since. */
const MAY_QUEUE = new Set(["queued", "cancel", "forget"]);

/** The state of the peer. */
export class Engine {
  /** @type {import("./identity.js").Identity} */ identity;
  /** @type {import("./store.js").Store} */ store;
  /** By folded name. @type {Map<string, Contact>} */ contacts = new Map();
  /** Conversations that others have opened, by id in hex. */ accepted = new Map();
  /** Openings that must not be accepted, by digest in hex. @type {Set<string>} */ refusedOpenings = new Set();
  strangers = new Budget(60, 1200);
  /** Effects of this batch. */ writes = [];
  frames = [];
  /** Files to send when the frames of this batch are sent. */ transfers = [];
  files = new Files();
  /** What a person should be told: `{about, text}`. */ notes = [];
  /** Whether the connection must be replaced, and why. @type {string | null} */ trouble = null;
  /** The joined connection. @type {Flight | null} */ flight = null;
  /** The identity of the server's store, in hex. */ server = "";
  /** The names of all peers that have ever joined, as far as the server has said. @type {string[]} */ known = [];
  /** The folded names of contacts that are connected. @type {Set<string>} */ present = new Set();
  /** The names in the last ping. @type {string[]} */ #pinged = [];
  #pingAt = 0;
  #unheardSince = Infinity;
  #pings = 0;
  /** Searches that have no answer yet, by id. */ #searches = new Map();
  #nextId = WHO_ID + 1;
  #clock;

  /**
   * @param {import("./identity.js").Identity} identity @param {import("./store.js").Store} store
   * @param {{unix: () => number, ms: () => number}} clock
   */
  constructor(identity, store, clock) {
    [this.identity, this.store, this.#clock] = [identity, store, clock];
  }

  /** Loads contacts and waiting messages. */
  async load() {
    for (const record of await this.store.all("contacts")) {
      const contact = Object.assign(new Contact(record.name), record, { isKept: true });
      // A card that cannot be read is requested from the server again.
      contact.card = record.card && (await readCard(record.card).catch(() => null));
      this.contacts.set(contact.peer, contact);
    }
    await this.loadQueued();
  }

  /** Takes messages that were queued, by any tab. */
  async loadQueued() {
    for (const message of await this.store.waiting()) {
      const contact = this.contact(message.to);
      if (contact.unacked.has(message.number)) continue;
      if (!contact.isAnswered || contact.isForgotten) {
        [contact.isAnswered, contact.isForgotten] = [true, false];
        contact.keep();
      }
      contact.unacked.set(message.number, message);
      contact.unsent.add(message.number);
    }
  }

  get unix() {
    return this.#clock.unix();
  }

  get now() {
    return this.#clock.ms();
  }

  /** @param {string} name @returns {Contact} The contact, made if there is none. */
  contact(name) {
    const peer = folded(name);
    if (!this.contacts.has(peer)) {
      const passing = [...this.contacts.values()].filter(({ isKept }) => !isKept);
      // The server can use ever new names, so those that are only in memory are limited.
      if (passing.length >= PASSING_MAX) this.contacts.delete(passing[0].peer);
      this.contacts.set(peer, new Contact(name));
    }
    return this.contacts.get(peer);
  }

  /** Whether so many peers without an answer have sent messages that no further one can. */
  hasTooManyStrangers() {
    const strangers = [...this.contacts.values()].filter((contact) => contact.isKept && !contact.isAnswered && !contact.isForgotten);
    return strangers.length >= STRANGERS_MAX;
  }

  /**
   * What the steps of a conversation can be done again with. It is never written down.
   * @param {string} id In hex.
   * @returns {{secret: Uint8Array, wrappedFor: Uint8Array} | null} null if it is not in memory.
   */
  secretOf(id) {
    const opened = [...this.contacts.values()].find(({ current }) => current?.hex === id)?.current;
    const { secret, wrappedFor } = opened ?? this.accepted.get(id) ?? {};
    return secret ? { secret, wrappedFor } : null;
  }

  say(message) {
    this.frames.push(message);
  }

  note(about, text) {
    this.notes.push({ about, text, at: this.unix });
  }

  write(store, key, value) {
    this.writes.push({ store, key, value });
  }

  /** Writes a message, which has its key inside. */
  writeMessage(message) {
    const { isRelayed: _, ...value } = message;
    this.writes.push({ store: "messages", value });
  }

  /**
   * Handles a batch of inputs, makes what it writes durable, and returns the frames to send.
   * @param {object[]} inputs @returns {Promise<object[]>}
   */
  async step(inputs) {
    // First, while the disk is as this engine has left it.
    if (inputs.some(({ type }) => MAY_QUEUE.has(type))) await this.loadQueued();
    for (const input of inputs) await this.#handle(input);
    if (this.flight) {
      await this.files.serveQueue(this);
      await sendDue(this);
    }
    for (const contact of this.contacts.values()) {
      if (contact.isChanged && contact.isKept) this.write("contacts", contact.peer, contact.record());
      contact.isChanged = false;
    }
    const [writes, frames] = [this.writes, this.frames];
    [this.writes, this.frames] = [[], []];
    if (writes.length > 0) await this.store.write(writes);
    for (const contact of this.contacts.values()) contact.arriving.clear();
    // What is removed from memory is read from the disk when it is used again.
    for (const id of this.accepted.keys()) {
      if (this.accepted.size <= ACCEPTED_MAX) break;
      this.accepted.delete(id);
    }
    const taken = this.flight?.unacknowledged();
    if (taken) frames.push({ type: "Taken", count: taken });
    return frames;
  }

  async #handle(input) {
    switch (input.type) {
      case "joined":
        return this.#joined(input.hello);
      case "lost":
        return this.#lost();
      case "queued":
        return undefined;
      case "trust":
        return this.#trust(input.name, input.fingerprint);
      case "succeeded":
        // The conversations of the old key end.
        return this.contacts.forEach((contact) => contact.sealAllAgain());
      case "cancel":
        return cancel(this, input);
      case "block":
        return block(this, input);
      case "forget":
        return forget(this, input);
      case "search":
        return this.#ask(input, ({ text, skip, limit }) => ({ type: "Find", text, skip, limit }));
      case "names":
        return this.#ask(input, ({ query }) => ({ type: "Search", query, limit: NAMES_MAX }));
      case "message":
        return this.#message(input.message);
      case "fetch":
        return this.files.fetch(this, input);
      case "leave":
        return this.files.leave(input.id);
      case "sent":
        return this.files.slots.free(hex(input.transfer));
      case "shared":
        this.files.shared = input.shared;
        return this.flight && this.say(this.files.publication());
      case "tick":
        return this.#tick();
      default:
        throw new RangeError(`${input.type} is not an input`);
    }
  }

  #joined({ server }) {
    this.server = hex(server);
    this.flight = new Flight();
    // What was to be sent on the last connection is sent anew.
    this.frames = [];
    for (const contact of this.contacts.values()) contact.reconnected(this.server);
    [this.#pingAt, this.#unheardSince] = [this.now + jittered(PING_EVERY), Infinity];
    this.files.joined(this.now);
    this.say(this.files.publication());
    this.say({ type: "Who", id: WHO_ID });
  }

  #lost() {
    this.flight = null;
    this.frames = [];
    for (const contact of this.contacts.values()) contact.isPresent = false;
    this.present.clear();
    for (const reply of this.#searches.values()) reply({ error: "The connection was lost. Search again." });
    this.#searches.clear();
    this.files.lost();
  }

  async #message(message) {
    if (!this.flight) return;
    this.#unheardSince = Infinity;
    switch (message.type) {
      case "Envelope":
        this.flight.received += 1;
        return this.contacts.get(folded(message.from))?.isBlocked ? undefined : this.#receive(message);
      case "Routed":
        return this.flight.routed(this, message);
      case "Card":
        return this.#cardCame(message.card);
      case "Unknown":
        return this.#answered(message.name, "Unknown");
      case "Unwatched":
        return this.#answered(message.name, "Unknown");
      case "Pong":
        return this.#pong(message.present);
      case "Known":
        return this.#knows(message.peers);
      case "Expired":
        this.flight.received += 1;
        this.note(message.to, "The server has kept messages as long as it keeps mail. They are sent again.");
        return this.contact(message.to).sendAllAgain();
      case "Matches":
        return this.#found(message.id, { ...message, matches: this.#shownMatches(message.matches) });
      case "Found":
        return this.#found(message.id, message);
      case "BadSearch":
        return this.#found(message.id, { error: `Character ${message.column}: ${message.detail}.`, column: message.column });
      case "Published":
        return this.files.publicationAnswered(true);
      case "Failed":
        if (message.id === 0) {
          this.files.publicationAnswered(false);
          this.note(null, `The server has refused what you share: ${message.detail}`);
        }
        return this.#found(message.id, { error: `The server could not answer: ${message.detail}` });
      default:
        return undefined;
    }
  }

  /** Handles an envelope. One that breaks the code must not keep the others from arriving. */
  async #receive(envelope) {
    try {
      await receive(this, envelope);
    } catch (error) {
      // The disk, not the envelope.
      if (error instanceof DOMException) throw error;
      this.note(envelope.from, `Something that arrived could not be handled: ${error}`);
    }
  }

  #knows(peers) {
    const others = peers.filter(({ name }) => folded(name) !== folded(this.identity.name));
    this.known = others.map(({ name }) => name);
    this.present = new Set(others.filter(({ online }) => online).map(({ name }) => folded(name)));
  }

  #answered(name, lookup) {
    const contact = this.contact(name);
    if (contact.lookup !== "Known") contact.lookup = lookup;
  }

  async #cardCame(bytes) {
    let card;
    try {
      card = await readCard(bytes);
    } catch (error) {
      return this.note(null, `The server has sent a card that is not valid: ${error.message}`);
    }
    const contact = this.contacts.get(folded(card.name));
    // A card that was not asked for must not be pinned.
    if (!contact || contact.lookup === "NotAsked") return undefined;
    contact.lookup = (await this.takeCard(card)) === "Changed" ? "Untrusted" : "Known";
    return undefined;
  }

  /**
   * Handles a card from the server or an opening.
   * @param {object} card @returns {Promise<"Pinned" | "Known" | "Changed">} Changed: it has another key than the pinned
   *   one, and is not used.
   */
  async takeCard(card) {
    const contact = this.contact(card.name);
    const print = hex(card.fingerprint);
    let verdict = "Known";
    if (contact.pinned === null) {
      [contact.pinned, contact.isChanged, verdict] = [print, true, "Pinned"];
    } else if (contact.pinned !== print) {
      if (!(await takesOverFrom(card, fromHex(contact.pinned)))) {
        return this.#distrust(contact, card, print);
      }
      this.note(contact.name, "This peer has a new key, which its old key has signed.");
      this.#useKey(contact, print);
    }
    if (contact.card === null || replaces(card, contact.card, this.unix)) {
      [contact.card, contact.name, contact.isChanged] = [card, card.name, true];
    }
    if (contact.distrusted !== null) [contact.distrusted, contact.isChanged] = [null, true];
    return verdict;
  }

  async #distrust(contact, card, print) {
    const isReplaced = contact.card !== null && (await takesOverFrom(contact.card, card.fingerprint));
    // A card that was sent before its owner has replaced the key needs no warning.
    if (!isReplaced && contact.distrusted !== print) [contact.distrusted, contact.isChanged] = [print, true];
    return "Changed";
  }

  /** Pins another key: conversations of the old one end, and what has no receipt is sealed again. */
  #useKey(contact, print) {
    [contact.pinned, contact.card, contact.distrusted] = [print, null, null];
    for (const [id, accepted] of this.accepted) {
      if (accepted.peer === contact.peer) this.accepted.delete(id);
    }
    contact.sealAllAgain();
    contact.isChanged = true;
  }

  #trust(name, print) {
    const contact = this.contact(name);
    // The server may have shown yet another key since the user has seen this one.
    if (contact.distrusted !== print) return;
    this.#useKey(contact, print);
    // The other side may count its messages from 1 again.
    contact.generation += 1;
    contact.lastNumber = 0;
    contact.lookup = "NotAsked";
    contact.keep();
  }

  /** Sends a request to the server, with an id under which `#found` finds who has asked. */
  #ask(input, request) {
    if (!this.flight) return input.reply({ error: "You are offline. Search when you are connected." });
    const id = this.#nextId;
    this.#nextId += 1;
    this.#searches.set(id, input.reply);
    return this.say({ ...request(input), id });
  }

  /** What a person is shown of matches. `isOwn`: this peer has it. */
  #shownMatches(matches) {
    const me = folded(this.identity.name);
    const shown = ({ holders, hits }) => {
      // A match is one content, whose digest is shown. A server could put others beside it.
      const same = hits.filter(({ file }) => equal(file.sha256, hits[0].file.sha256));
      return { holders, hits: same.map((hit) => ({ ...hit, isOwn: folded(hit.peer) === me })) };
    };
    // A match without a hit could not be shown.
    return matches.filter(({ hits }) => hits.length > 0).map(shown);
  }

  #found(id, answer) {
    this.#searches.get(id)?.(answer);
    this.#searches.delete(id);
  }

  #tick() {
    if (!this.flight) return;
    const { now } = this;
    for (const contact of this.contacts.values()) contact.passTime(now);
    this.files.passTime(now);
    this.trouble ??= this.flight.trouble(now);
    if (now - this.#unheardSince >= SILENCE_MAX) this.trouble ??= "The server does not answer.";
    if (now >= this.#pingAt) this.#ping(now);
  }

  #ping(now) {
    const isMissed = ({ unacked, isPresent }) => unacked.size > 0 && !isPresent;
    const contacts = [...this.contacts.values()];
    const missed = contacts.filter(isMissed);
    this.#pingAt = now + jittered(missed.length > 0 ? PING_WHILE_AWAY : PING_EVERY);
    this.#unheardSince = Math.min(this.#unheardSince, now);
    // Those that messages wait for first; others only to show whether they are there.
    const asked = [...missed, ...contacts.filter((contact) => !isMissed(contact))];
    this.#pinged = asked.slice(0, PING_NAMES_MAX).map(({ name }) => name);
    this.#pings = (this.#pings + 1) % 2 ** 32;
    this.say({ type: "Ping", id: this.#pings, names: this.#pinged });
  }

  /** Asks for the next ping soon, because messages wait for a peer that is away. */
  pingSoon() {
    this.#pingAt = Math.min(this.#pingAt, this.now + jittered(PING_WHILE_AWAY));
  }

  #pong(present) {
    for (const name of this.#pinged) this.present.delete(folded(name));
    for (const name of present) {
      this.present.add(folded(name));
      const contact = this.contact(name);
      // A server lets nobody join without a valid card, so this one has not shown the newest.
      if (contact.lookup === "Unknown") contact.lookup = "NotAsked";
      contact.isThere(this.now);
    }
  }

  /** @param {Contact} contact @param {Uint8Array} print @returns {boolean} Whether this is the pinned key. */
  isPinned(contact, print) {
    return contact.pinned === hex(print);
  }
}
