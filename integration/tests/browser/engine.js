// Two engines, each with its database, and between them a server that can be told to do wrong. Time is virtual.

import { Engine } from "/switchboard/engine.js";
import { Store } from "/switchboard/store.js";
import { encode } from "/switchboard/postcard.js";
import { receipt } from "/switchboard/protocol.js";
import { readOpening, sealContent, sealedParts } from "/switchboard/conversation.js";
import { equal, hex } from "/switchboard/bytes.js";
import { identityOf } from "/test/keys.js";
import { same } from "/test/check.js";

const UNIX = 1_800_000_000;
/** Longer than any pause of the engine. */
const STEP = 700;

/** Numbers from 0 to 1 that are the same for each run with one seed (xorshift32). */
function generator(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** The server, and its two peers. */
class World {
  #now = 0;
  /** Called for each envelope on its way; returns the envelopes that arrive. */
  way = (envelope) => [envelope];
  /** What the server says has become of an envelope. */ outcome = () => ({ type: "Relayed" });
  peers = new Map();
  /** Cards that the server shows instead of the newest ones, by name. */ shown = {};

  static async make() {
    const world = new World();
    // One after the other, because their order in the map has to be the same in each run.
    for (const name of ["A", "B"]) await world.#add(name);
    for (const peer of world.peers.values()) await world.join(peer);
    return world;
  }

  async #add(name) {
    const store = await Store.open(`${name} ${crypto.randomUUID()}`);
    const owner = name.toLowerCase();
    const identity = await identityOf(store, name, `${owner}-identity`, `${owner}-encryption`, UNIX);
    const peer = { name, store, identity, inbox: [], sent: 0 };
    this.peers.set(name, peer);
    await this.start(peer);
  }

  /** Starts a peer from its disk, as when its page is loaded again. */
  async start(peer) {
    const clock = { unix: () => UNIX + Math.floor(this.#now / 1000), ms: () => this.#now };
    peer.engine = new Engine(peer.identity, peer.store, clock);
    await peer.engine.load();
  }

  /** Connects a peer. What was on its way to it is lost. */
  async join(peer) {
    peer.sent = 0;
    peer.inbox = [{ type: "joined", hello: { server: new Uint8Array(16) } }];
  }

  async write(peer, to, text) {
    await peer.store.queue(to, text, UNIX);
    peer.inbox.push({ type: "queued" });
  }

  later(milliseconds) {
    this.#now += milliseconds;
  }

  /** Lets both peers act once. */
  async step() {
    this.#now += STEP;
    for (const peer of this.peers.values()) {
      const frames = await peer.engine.step([...peer.inbox.splice(0), { type: "tick" }]);
      for (const frame of frames) await this.#serve(peer, frame);
    }
  }

  async #serve(peer, frame) {
    const reply = (message) => peer.inbox.push({ type: "message", message });
    if (frame.type === "Envelope") {
      await isWrittenDown(peer, frame);
      reply({ type: "Routed", first: peer.sent, count: 1, outcome: this.outcome(frame) });
      peer.sent += 1;
      for (const envelope of this.way(frame)) {
        this.peers.get(envelope.to)?.inbox.push({ type: "message", message: envelope });
      }
    } else if (frame.type === "Lookup") {
      const card = this.shown[frame.name] ?? this.peers.get(frame.name)?.identity.card;
      reply(card ? { type: "Card", card } : { type: "Unknown", name: frame.name });
    } else if (frame.type === "Ping") {
      reply({ type: "Pong", id: frame.id, present: frame.names });
    }
  }

  /** Lets time pass until no message lacks a receipt. */
  async settle(most = 200) {
    for (let round = 0; round < most; round += 1) {
      const left = await Promise.all([...this.peers.values()].map(({ store }) => store.waiting()));
      if (left.flat().length === 0) return;
      await this.step();
    }
    throw new Error("messages were not delivered in time");
  }
}

/** A message may be sent only as bytes that are on the disk. */
async function isWrittenDown({ store }, { kind, to, number, sealed }) {
  if (kind !== "Message") return;
  const { sealed: kept, waiting } = await store.message(to.toLowerCase(), "sent", 0, number);
  same(waiting, 1, `the message ${number} is sent although it has a receipt`);
  if (!equal(kept, sealed)) throw new Error(`the message ${number} was sent before it was written down`);
}

const texts = async ({ store }, from) =>
  (await store.newest(from.toLowerCase(), 1000)).filter(({ direction }) => direction === "received").map(({ text }) => text);

const altered = (envelope) => {
  const sealed = envelope.sealed.slice();
  sealed[sealed.length - 1] ^= 1;
  return { ...envelope, sealed };
};

/** Drops, doubles, swaps and alters envelopes, breaks connections and restarts peers, and then stops doing so. */
export async function faults() {
  for (const seed of [1, 2]) {
    const random = generator(seed);
    const world = await World.make();
    const [a, b] = world.peers.values();
    let held = [];
    world.way = (envelope) => {
      const luck = random();
      if (luck < 0.15) return [];
      if (luck < 0.3) return [envelope, envelope];
      if (luck < 0.4) return [altered(envelope)];
      if (luck < 0.5) return held.push(envelope), [];
      const late = held;
      held = [];
      return [envelope, ...late];
    };
    const [toB, toA] = [[], []];
    for (let round = 0; round < 25; round += 1) {
      toB.push(`to B, ${seed} ${round}`);
      toA.push(`to A, ${seed} ${round}`);
      await world.write(a, "B", toB.at(-1));
      await world.write(b, "A", toA.at(-1));
      await world.step();
      const unlucky = random() < 0.5 ? a : b;
      const luck = random();
      if (luck < 0.2) await world.start(unlucky);
      if (luck < 0.4) await world.join(unlucky);
    }
    world.way = (envelope) => [envelope];
    await world.settle();
    same([await texts(b, "A"), await texts(a, "B")], [toB, toA], `the messages that have arrived, seed ${seed}`);
  }
}

/** Receipts that a recipient seals, but that do not fit what was sent. */
export async function wrongReceipts() {
  const world = await World.make();
  const [a, b] = world.peers.values();
  let sent = [];
  // No receipt of B gets through.
  world.way = (envelope) => {
    if (envelope.kind === "Message") sent.push(envelope);
    return envelope.kind === "Receipt" ? [] : [envelope];
  };
  await world.write(a, "B", "one");
  for (let round = 0; round < 8; round += 1) await world.step();
  const { id } = sealedParts(sent[0].sealed);
  const { hash } = b.engine.accepted.get(hex(id));
  const say = async (said) => {
    const { current } = b.engine.contact("A");
    const place = current.signals;
    current.signals += 1;
    const content = encode(receipt, { type: "Received", conversation: id, count: 1, running_hash: hash, last_number: 1, ...said });
    const sealed = await sealContent(current, "Receipt", 1, place, content);
    a.inbox.push({ type: "message", message: { type: "Envelope", from: "B", to: "A", kind: "Receipt", number: 1, sealed } });
    await world.step();
    return (await a.store.waiting()).length;
  };
  same(await say({ running_hash: hash.map((byte) => byte ^ 1) }), 1, "another running hash");
  same(await say({ count: 2 }), 1, "more messages than were sent");
  same(await say({ count: 0 }), 1, "no message");
  same(await say({ conversation: hash }), 1, "another conversation");
  same(await say({ count: 2n ** 63n }), 1, "a count that is not exact");
  same(await say({}), 0, "the right receipt");
}

/** Openings and messages that must not be accepted. */
export async function wrongSenders() {
  const world = await World.make();
  const [a, b] = world.peers.values();
  const seen = [];
  const pass = (envelope) => [seen.push(envelope), envelope].slice(1);
  world.way = pass;
  await world.write(a, "B", "one");
  await world.settle();
  const deliver = async (...envelopes) => {
    for (const envelope of envelopes) b.inbox.push({ type: "message", message: { type: "Envelope", ...envelope } });
    await world.step();
    return [await texts(b, "A"), await texts(b, "C")];
  };
  const by = (kind) => seen.filter((envelope) => envelope.kind === kind && envelope.from === "A");
  same(await deliver(...by("Message"), ...by("Message")), [["one"], []], "a message that is repeated");
  await world.write(a, "B", "two");
  await world.settle();
  same(by("Opening").length, 1, "repeated messages need no other conversation");
  // A new conversation and its message are held back, and delivered wrongly.
  const held = [];
  world.way = (envelope) => (envelope.from === "A" ? [held.push(envelope)].slice(1) : [envelope]);
  await world.start(a);
  await world.join(a);
  await world.write(a, "B", "three");
  for (let round = 0; round < 4; round += 1) await world.step();
  const [opening, message] = ["Opening", "Message"].map((kind) => held.find((envelope) => envelope.kind === kind));
  const shown = [["one", "two"], []];
  same(await deliver({ ...opening, from: "C" }, { ...message, from: "C" }), shown, "an opening in another name");
  same(await deliver({ ...opening, to: "C" }, { ...message, to: "C" }), shown, "envelopes for somebody else");
  same(await deliver(opening, { ...message, from: "C" }), shown, "a message in another name");
  same(await deliver({ ...message, number: 2 ** 60 }), shown, "a number that is not exact");
  same(await deliver(altered(message)), shown, "an altered message");
  const short = new Uint8Array(3);
  same(await deliver({ ...message, sealed: short }, { ...opening, sealed: short }), shown, "what is too short");
  same(await deliver(message), [["one", "two", "three"], []], "the message itself");
  world.way = pass;
  await world.write(a, "B", "four");
  await world.settle();
  same(await texts(b, "A"), ["one", "two", "three", "four"], "what comes after all of this");
}

/** After an hour another conversation is used, without waiting for a complaint. */
export async function rekey() {
  const world = await World.make();
  const [a, b] = world.peers.values();
  const conversations = new Set();
  world.way = (envelope) => {
    if (envelope.kind === "Message") conversations.add(hex(sealedParts(envelope.sealed).id));
    return [envelope];
  };
  await world.write(a, "B", "one");
  await world.settle();
  world.later(3_600_000);
  await world.write(a, "B", "two");
  await world.step();
  await world.step();
  same([await texts(b, "A"), conversations.size], [["one", "two"], 2], "a message after an hour");
  await world.settle();
}

/** A name that is used with another key, before and after a person has accepted that. */
export async function changedKey() {
  const world = await World.make();
  const [a, b] = world.peers.values();
  await world.write(a, "B", "one");
  await world.settle();
  const store = await Store.open(`A again ${crypto.randomUUID()}`);
  Object.assign(a, { store, identity: await identityOf(store, "A", "b-encryption", "a-encryption", UNIX) });
  await world.start(a);
  await world.join(a);
  await world.join(b);
  await world.write(a, "B", "from another key");
  await world.write(b, "A", "only for the new key once it is trusted");
  for (let round = 0; round < 10; round += 1) await world.step();
  same(await texts(b, "A"), ["one"], "what another key has written");
  same(await texts(a, "B"), [], "what was sealed for another key");
  const { distrusted } = b.engine.contact("A");
  same(distrusted, hex(a.identity.fingerprint), "the key that a person is asked about");
  b.inbox.push({ type: "trust", name: "A", fingerprint: "00".repeat(32) });
  await world.step();
  same(b.engine.contact("A").distrusted, distrusted, "after another key was trusted than the one that is shown");
  b.inbox.push({ type: "trust", name: "A", fingerprint: distrusted });
  await world.settle();
  same(await texts(b, "A"), ["one", "from another key"], "after it is trusted");
  same(await texts(a, "B"), ["only for the new key once it is trusted"], "after it is trusted");
}

/** Messages that are cancelled, and a contact that is forgotten. */
export async function managing() {
  const world = await World.make();
  const [a, b] = world.peers.values();
  const old = [];
  world.way = (envelope) => (envelope.kind === "Receipt" ? [] : [old.push(envelope), envelope].slice(1));
  await world.write(a, "B", "one");
  for (let round = 0; round < 4; round += 1) await world.step();
  const answers = [];
  const cancel = (number) => a.inbox.push({ type: "cancel", name: "B", number, reply: ({ error }) => answers.push(error) });
  cancel(1);
  cancel(2);
  await a.store.queue("B", "two", UNIX);
  cancel(2);
  await world.step();
  const sent = "This message may have been sent already.";
  same(answers, [sent, undefined, sent], "a sent message, a queued one, and one that does not exist any more");
  same((await a.store.waiting()).map(({ text }) => text), ["one"], "what still waits");
  world.way = (envelope) => [envelope];
  await world.settle();

  const forget = { type: "forget", name: "a", reply: () => {} };
  b.inbox.push(forget);
  await world.step();
  same(await b.store.newest("a", 9), [], "the messages with a forgotten contact");
  same(await b.store.conversationsOf("a"), [], "its conversations");
  const { pinned, card, lastNumber } = b.engine.contact("A");
  same([pinned, card, lastNumber], [hex(a.identity.fingerprint), null, 1], "what is known of it");
  await world.start(b);
  await world.join(b);
  for (const envelope of old) b.inbox.push({ type: "message", message: { type: "Envelope", ...envelope } });
  await world.step();
  same(b.engine.accepted.size, 1, "conversations after the old envelopes have come again");
  same(await texts(b, "A"), [], "old messages that come again");
  await world.write(a, "B", "three");
  await world.settle();
  same(await texts(b, "A"), ["three"], "a new message");
}

/** A peer that replaces its key. */
export async function succession() {
  const world = await World.make();
  const [a, b] = world.peers.values();
  await world.write(b, "A", "one");
  await world.settle();
  const { card, fingerprint } = a.identity;
  world.way = () => [];
  await world.write(a, "B", "sealed with the old key");
  for (let round = 0; round < 3; round += 1) await world.step();
  await a.identity.succeed("", UNIX);
  await world.join(a);
  a.inbox.push({ type: "succeeded" });

  // The other peer does not know of it yet.
  world.shown.A = card;
  await world.start(b);
  await world.join(b);
  await world.write(b, "A", "for the old key");
  const openers = [];
  world.way = (envelope) => {
    if (envelope.from === "A" && envelope.kind === "Opening") openers.push(envelope.sealed);
    return envelope.from === "A" ? [] : [envelope];
  };
  for (let round = 0; round < 3; round += 1) await world.step();
  same(await texts(a, "B"), ["one", "for the old key"], "what was sealed for the old key");
  world.way = (envelope) => [envelope];
  await world.settle();
  same(await texts(b, "A"), ["sealed with the old key"], "what is sealed again");
  same(await texts(a, "B"), ["one", "for the old key"], "after that");
  const keys = await Promise.all(openers.map(async (sealed) => hex((await readOpening(sealed)).card.fingerprint)));
  same([...new Set(keys)], [hex(a.identity.fingerprint)], "the keys that open conversations");
  same([a.identity.isMine(fingerprint), b.engine.contact("A").pinned], [true, keys[0]], "the key that is pinned");
  await world.start(b);
  same(b.engine.contact("A").card.succeeds.length, 1, "the statements in the card");
}

/** Requests for files that wait for a slot, and are served, taken back, or given up because the receiver has gone. */
export async function queues() {
  const world = await World.make();
  const [a, b] = world.peers.values();
  const shared = [0, 1, 2].map((at) => ({
    name: `${at}.txt`, bytes: 5, sha256: new Uint8Array(32).fill(at), links: [], keywords: ["x"], file: new Blob(["short"]),
  }));
  a.inbox.push({ type: "shared", shared });
  const said = [];
  const fetch = async (at) => {
    const reply = (answer) => said.push(`${at} ${answer.ready ? "ready" : answer.place}`);
    b.inbox.push({ type: "fetch", id: at, hit: { peer: "A", file: shared[at] }, offset: 0, reply });
    for (let round = 0; round < 6; round += 1) await world.step();
  };
  const counts = async (sending, waiting, what) => {
    for (let round = 0; round < 3; round += 1) await world.step();
    same(a.engine.files.slots.counts, { sending, waiting }, what);
  };
  for (const at of [0, 1, 2]) await fetch(at);
  same(said, ["0 ready", "1 ready", "2 1"], "what the holder has answered");
  await counts(2, 1, "a peer has half of the slots");
  b.inbox.push({ type: "leave", id: 2 });
  await counts(2, 0, "a request that is taken back");
  await fetch(2);
  await counts(2, 1, "another one for the same");
  a.inbox.push({ type: "sent", transfer: a.engine.transfers[0].transfer });
  await counts(2, 0, "a slot that has become free");
  same(said.slice(3), ["2 1", "2 ready"], "what the holder has answered then");

  await fetch(0);
  await counts(2, 1, "one that waits");
  world.outcome = ({ kind }) => (kind === "Answer" ? { type: "Refused", refusal: "Absent" } : { type: "Relayed" });
  world.later(10_000);
  await counts(2, 0, "a receiver that has gone");
  world.outcome = () => ({ type: "Relayed" });
  await fetch(1);
  await counts(2, 1, "one that waits again");
  a.inbox.push({ type: "block", name: "B", isBlocked: true });
  await counts(2, 0, "a receiver that is blocked");
}

/** Requests for pieces that are made without a connection, or lose theirs before they are answered. */
export async function lostRequests() {
  const world = await World.make();
  const [a, b] = world.peers.values();
  const bytes = 2 << 20;
  const links = [0, 1].map((at) => new Uint8Array(32).fill(at));
  const shared = { name: "x.bin", bytes, sha256: new Uint8Array(32), links, keywords: ["x"], file: new Blob(["not sent"]) };
  a.inbox.push({ type: "shared", shared: [shared] });
  const said = [];
  const fetch = (what) => {
    const reply = ({ ready, isSilent }) => said.push(ready ? what : isSilent ? "silent" : "an error");
    b.inbox.push({ type: "fetch", id: what, hit: { peer: "A", file: shared }, offset: 1 << 20, end: bytes, reply });
  };
  const steps = async () => {
    for (let round = 0; round < 6; round += 1) await world.step();
  };
  b.inbox.push({ type: "lost" });
  fetch("offline");
  await steps();
  same(said, [], "without a connection");
  await world.join(b);
  await steps();
  same(said, ["offline"], "on the next connection");
  same(a.engine.transfers.map(({ header: { offset }, end, links: [link] }) => [offset, end, link]), [[1 << 20, bytes, links[1]]], "what is sent");

  world.way = () => [];
  fetch("lost");
  await steps();
  b.inbox.push({ type: "lost" });
  await steps();
  world.way = (envelope) => [envelope];
  await world.join(b);
  await steps();
  same(said, ["offline", "lost"], "on the connection after that");

  // A holder that was made before there were pieces cannot read it.
  world.way = () => [];
  fetch("old");
  for (let round = 0; round < 16; round += 1) await world.step();
  same(said, ["offline", "lost", "silent"], "without an answer");
}

/** What is shown of an answer to a search: the files of one content, and which of them are one's own. */
export async function matches() {
  const world = await World.make();
  await world.step();
  const { engine } = world.peers.get("A");
  const hit = (peer, byte) => ({ peer, online: true, address: null, file: { name: "x", bytes: 1, sha256: new Uint8Array(32).fill(byte), keywords: [] } });
  let answer = null;
  const frames = await engine.step([{ type: "search", text: "x", skip: 0, limit: 1, reply: (said) => (answer = said) }]);
  const { id } = frames.find(({ type }) => type === "Find");
  const found = [{ holders: 4, hits: [hit("B", 1), hit("C", 2), hit("a", 1)] }, { holders: 1, hits: [] }];
  const message = { type: "Matches", id, matches: found, total: 2, instead: null };
  await engine.step([{ type: "message", message }]);
  const shown = answer.matches.map(({ hits }) => hits.map(({ peer, isOwn }) => `${peer} ${isOwn}`));
  same(shown, [["B false", "a true"]], "without another content, and without a match of nobody");
}
