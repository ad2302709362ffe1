// What other peers send: openings, messages and signals. PROTOCOL.md, sections 10 to 12.

import { decode, Malformed } from "./postcard.js";
import { equal, hex } from "./bytes.js";
import { folded } from "./names.js";
import { acceptConversation, openContent, readMessage, readOpening, runningHash, sealedParts } from "./conversation.js";
import { receipt } from "./protocol.js";
import { sha256 } from "./crypto.js";

const REFUSED_MAX = 4096;
/** How much of an opening a message gives back to its sender. */
const EARNED = 1 / 64;
/** How many numbers a receipt can skip. Without a limit, another peer could use up all numbers. */
const NUMBERS_SKIPPED_MAX = 2 ** 20;
/** In how many generations of numbers a repeated message is looked for. */
const GENERATIONS_SEARCHED = 8;

/**
 * Handles an envelope from the server.
 * @param {import("./engine.js").Engine} engine @param {object} envelope
 */
export async function receive(engine, envelope) {
  const me = folded(engine.identity.name);
  if (folded(envelope.to) !== me || folded(envelope.from) === me) return;
  if (!Number.isSafeInteger(envelope.number)) return;
  if (envelope.kind === "Opening") await opening(engine, envelope);
  else if (envelope.kind === "Message") await message(engine, envelope);
  else await signal(engine, envelope);
}

async function opening(engine, { from, sealed }) {
  // With the name, so that the server cannot have an opening refused by delivering it in another name before.
  const digest = `${folded(from)} ${hex(await sha256(sealed))}`;
  if (engine.refusedOpenings.has(digest)) return;
  const known = engine.contacts.get(folded(from));
  const budget = known?.isAnswered ? known.openings : engine.strangers;
  if (!budget.take(engine.now) || (!known?.isKept && engine.hasTooManyStrangers())) return;
  const read = await readOpening(sealed).catch((error) => {
    if (!(error instanceof Malformed)) throw error;
    return null;
  });
  if (!read || folded(read.card.name) !== folded(from) || !engine.identity.isMine(read.recipient)) return refuse(engine, digest);
  const id = hex(read.id);
  if (engine.accepted.has(id)) return;
  const contact = engine.contact(from);
  if ((await engine.takeCard(read.card)) === "Changed") return complain(engine, contact, read.id, 0, "UnknownConversation");
  if (await engine.store.get("conversations", id)) return;
  const verdict = await accept(engine, contact, read);
  if (typeof verdict === "string") return complain(engine, contact, read.id, 0, verdict);
  [contact.opening, contact.isChanged] = [read.bytes, true];
  return undefined;
}

function refuse(engine, digest) {
  engine.refusedOpenings.add(digest);
  if (engine.refusedOpenings.size > REFUSED_MAX) engine.refusedOpenings.delete(engine.refusedOpenings.values().next().value);
}

/** Unwraps the secret. Returns the conversation, or the name of the complaint. */
async function accept(engine, contact, read, kept = { count: 0, hash: read.id }) {
  const pair = engine.identity.encryptionPair(read.recipient_key);
  if (!pair) return "KeyDestroyed";
  const conversation = await acceptConversation(read, pair);
  if (!conversation) return "NotAuthentic";
  const { first_number: firstNumber, bytes } = read;
  const accepted = { ...conversation, ...kept, peer: contact.peer, firstNumber, opening: bytes, lastSignal: -1 };
  engine.accepted.set(hex(read.id), accepted);
  return accepted;
}

/** Finds a conversation in memory or on the disk. Returns it, or the name of the complaint. */
async function find(engine, contact, id) {
  const known = engine.accepted.get(hex(id));
  if (known) return known.peer === contact.peer ? known : "UnknownConversation";
  const record = await engine.store.get("conversations", hex(id));
  const isTheirs = record?.direction === "received" && record.peer === contact.peer;
  const opening = isTheirs ? record.opening : contact.opening;
  const read = opening && (await readOpening(opening));
  if (!read || !equal(read.id, id) || !engine.isPinned(contact, read.card.fingerprint)) return "UnknownConversation";
  return accept(engine, contact, read, isTheirs ? { count: record.count, hash: record.hash } : undefined);
}

async function message(engine, { from, number, sealed }) {
  const parts = sealedParts(sealed);
  if (!parts) return;
  const contact = engine.contact(from);
  const accepted = await find(engine, contact, parts.id);
  if (typeof accepted === "string") return complain(engine, contact, parts.id, 0, accepted);
  if (parts.place < accepted.count) return receiptAgain(engine, contact, parts.id);
  const isNext = parts.place === accepted.count && (number <= contact.lastNumber + 1 || number <= accepted.firstNumber);
  if (!isNext) return complain(engine, contact, parts.id, accepted.count, "Gap");
  const content = await openContent(accepted, "Message", number, parts);
  const opened = content && (await readMessage(content));
  if (!opened) return complain(engine, contact, parts.id, accepted.count, "NotAuthentic");
  const hashBefore = accepted.hash;
  accepted.hash = await runningHash(hashBefore, sealed);
  accepted.count += 1;
  await arrived(engine, contact, accepted, { number, opened, sealed, place: parts.place, hashBefore });
}

async function arrived(engine, contact, accepted, { number, opened, sealed, place, hashBefore }) {
  const { id, peer, opening: bytes, count, hash } = accepted;
  const conversation = hex(id);
  contact.openings.giveBack(EARNED);
  contact.receiptsDue.add(conversation);
  engine.write("conversations", conversation, { id, peer, direction: "received", opening: bytes, count, hash });
  if (!contact.isKept) contact.keep();
  if (number <= contact.lastNumber && (await hasArrived(engine, contact, number, opened.id))) {
    return contact.reopen(engine.now);
  }
  contact.lastNumber = Math.max(contact.lastNumber, number);
  [contact.isForgotten, contact.isChanged] = [false, true];
  const { generation } = contact;
  const places = [{ conversation, place, hash_before: hashBefore, running_hash: hash }];
  const record = {
    peer, from: contact.name, direction: "received", generation, number, state: "received", unread: 1, id: opened.id,
    text: opened.text, at: opened.at, received_at: engine.unix, sha256: opened.digest, sealed, places,
  };
  // The same message can come twice in one batch, before the first is on the disk.
  contact.arriving.set(`${generation} ${number}`, opened.id);
  engine.writeMessage(record);
  return undefined;
}

/** Whether a message has arrived before. Another one with the same number starts a new generation, so both are kept. */
async function hasArrived(engine, contact, number, id) {
  const idOf = async (generation) =>
    contact.arriving.get(`${generation} ${number}`) ??
    (await engine.store.message(contact.peer, "received", generation, number))?.id ??
    engine.store.get("received", [contact.peer, generation, number]);
  const newest = contact.generation;
  for (let generation = newest; generation >= Math.max(0, newest - GENERATIONS_SEARCHED); generation -= 1) {
    const known = await idOf(generation);
    if (known && equal(known, id)) return true;
    if (known && generation === newest) contact.generation += 1;
  }
  if (contact.generation > newest) {
    engine.note(contact.name, `This peer has used the number ${number} for a second message. Its copy may be an older one.`);
  }
  return false;
}

function receiptAgain(engine, contact, id) {
  contact.reopen(engine.now);
  contact.receiptsDue.add(hex(id));
}

function complain(engine, contact, conversation, count, reason) {
  const id = hex(conversation);
  if (!contact.mayComplain(id, engine.now)) return;
  contact.reopen(engine.now);
  contact.complaintsDue.set(id, { type: "Refused", conversation, count, reason });
}

async function signal(engine, { from, kind, number, sealed }) {
  const parts = sealedParts(sealed);
  const contact = parts && engine.contacts.get(folded(from));
  if (!contact) return;
  const accepted = await find(engine, contact, parts.id);
  if (typeof accepted === "string") return contact.hearAgain(engine.now);
  if (parts.place <= accepted.lastSignal) return;
  const content = await openContent(accepted, kind, number, parts);
  if (!content) return;
  accepted.lastSignal = parts.place;
  if (kind === "Request") return engine.files.request(engine, contact, number, content);
  if (kind === "Answer") return engine.files.answer(engine, contact, content);
  let said;
  try {
    said = decode(receipt, content);
  } catch {
    return;
  }
  if (said.type === "Received") await received(engine, contact, said);
  else sealAgain(engine, contact, said);
}

/** Handles a receipt: it covers the messages before the place whose running hash it names. */
async function received(engine, contact, { conversation, count, running_hash, last_number }) {
  const next = (await engine.store.get("numbers", contact.peer)) ?? 1;
  if (last_number >= next && last_number < next + NUMBERS_SKIPPED_MAX) {
    await engine.store.skipNumbers(contact.peer, last_number);
    engine.note(contact.name, `This peer has messages of yours up to ${last_number}, which are not here. This is an older copy.`);
  }
  const id = hex(conversation);
  const covered = [...contact.unacked.values()].flatMap((message) => {
    const at = message.places.find((place) => place.conversation === id && place.place < count);
    return at ? [{ message, at }] : [];
  });
  const last = covered.find(({ at }) => at.place + 1 === count);
  if (!last || !equal(last.at.running_hash, running_hash)) return;
  for (const { message, at } of covered) {
    contact.unacked.delete(message.number);
    contact.unsent.delete(message.number);
    const { waiting: _, stored_at: __, ...rest } = message;
    // The receipt may be for an earlier conversation than the one in which the message was sealed last.
    const sealed = at === message.places.at(-1) ? message.sealed : undefined;
    engine.writeMessage({ ...rest, sealed, places: [at], state: "delivered", receipt: { count, running_hash } });
  }
  engine.flight.forget(contact);
  contact.receiptCame(engine.now);
}

/** Seals the messages of a conversation again, because the recipient cannot continue it. */
function sealAgain(engine, contact, { conversation, reason }) {
  const id = hex(conversation);
  const isCurrent = contact.current?.hex === id;
  const affected = [...contact.unacked.values()].filter(
    ({ sealed, places }) => sealed && places.at(-1).conversation === id,
  );
  if (isCurrent && reason === "KeyDestroyed") [contact.card, contact.isChanged] = [null, true];
  if (!isCurrent && affected.length === 0) return;
  // All that is sealed again keeps its order, also relative to what was sealed since.
  [contact.current, contact.lookup] = [null, "NotAsked"];
  if (affected.length === 0) return;
  for (const message of affected) message.sealed = undefined;
  contact.sendAllAgain();
  if (contact.pause.failed(engine.now) === 1) contact.pause.end();
  else contact.credit.cut();
}
