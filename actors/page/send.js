// Sealing and sending: messages, and the receipts and complaints about what has arrived.

import { encode } from "./postcard.js";
import { hex } from "./bytes.js";
import { isValid } from "./card.js";
import { jittered } from "./pace.js";
import { messageContent, openConversation, runningHash, sealContent } from "./conversation.js";
import { receipt } from "./protocol.js";

const REKEY_MESSAGES = 16384;
const REKEY_AFTER = 3_600_000;
const LOOKUP_WAIT = 2000;
const PLACES_MAX = 4;

/** Sends what is due to all contacts. @param {import("./engine.js").Engine} engine */
export async function sendDue(engine) {
  for (const contact of engine.contacts.values()) {
    const { receiptsDue, complaintsDue, unsent, requestsDue, answersDue } = contact;
    const due = receiptsDue.size + complaintsDue.size + unsent.size + requestsDue.length + answersDue.size;
    if (due === 0) continue;
    const isPaused = contact.pause.until > engine.now;
    if (!isPaused && hasCard(engine, contact)) await sendReceipts(engine, contact);
    if (!isLookedUp(engine, contact) || isPaused) continue;
    if (hasCard(engine, contact) && contact.distrusted === null) await sendComplaints(engine, contact);
    if (hasCard(engine, contact)) await sendAboutFiles(engine, contact);
    await sendMessages(engine, contact);
  }
}

async function sendAboutFiles(engine, contact) {
  for (const { number, content, refused } of contact.answersDue.values()) {
    await sendSignal(engine, contact, "Answer", number, content, refused);
  }
  contact.answersDue.clear();
  for (const { number, content, fail } of contact.requestsDue.splice(0)) {
    await sendSignal(engine, contact, "Request", number, content, fail);
  }
}

const hasCard = (engine, { card }) => card !== null && isValid(card, engine.unix);

/** Whether the server has answered about the card. If not, asks it, again every 2 seconds. */
function isLookedUp(engine, contact) {
  const { now } = engine;
  const isMissing = contact.lookup === "NotAsked" || (contact.lookup === "Known" && !hasCard(engine, contact));
  if (contact.lookup === "NotAsked") contact.lookup = "Asked";
  const isWaiting = contact.lookup === "Asked" || contact.lookup === "Untrusted";
  if ((isMissing || isWaiting) && contact.lookupAgainAt <= now) {
    contact.lookupAgainAt = now + jittered(LOOKUP_WAIT);
    engine.say({ type: "Lookup", name: contact.name });
  }
  return contact.lookup === "Known" || contact.lookup === "Unknown";
}

async function sendReceipts(engine, contact) {
  for (const id of contact.receiptsDue) {
    const accepted = engine.accepted.get(id);
    if (accepted) {
      const { count, hash: running_hash } = accepted;
      const content = { type: "Received", conversation: accepted.id, count, running_hash, last_number: contact.lastNumber };
      await sendSignal(engine, contact, "Receipt", contact.lastNumber, encode(receipt, content), () =>
        contact.receiptsDue.add(id),
      );
    }
  }
  contact.receiptsDue.clear();
}

async function sendComplaints(engine, contact) {
  for (const [id, complaint] of contact.complaintsDue) {
    await sendSignal(engine, contact, "Receipt", contact.lastNumber, encode(receipt, complaint), () =>
      contact.complaintsDue.set(id, complaint),
    );
  }
  contact.complaintsDue.clear();
}

/**
 * Seals and sends a receipt, a request or an answer. The contact must have a valid card.
 * @param {import("./engine.js").Engine} engine @param {import("./contact.js").Contact} contact @param {string} kind
 * @param {number} number @param {Uint8Array} content @param {(refusal: string) => void} [again] Called if the server refuses
 *   it.
 */
export async function sendSignal(engine, contact, kind, number, content, again) {
  const current = await conversationTo(engine, contact);
  const place = current.signals;
  current.signals += 1;
  const sealed = await sealContent(current, kind, number, place, content);
  sendOpening(engine, contact, current.hex, current);
  sendEnvelope(engine, contact, { kind, number, conversation: current.hex, again }, sealed);
}

async function sendMessages(engine, contact) {
  for (const [number, message] of contact.unacked) {
    if (!contact.unsent.has(number)) continue;
    if (!engine.flight.hasRoom || contact.credit.left < 1) return;
    if (!message.sealed && !(await seal(engine, contact, message))) return;
    const { conversation } = message.places.at(-1);
    const isCurrent = contact.current?.hex === conversation;
    sendOpening(engine, contact, conversation, isCurrent ? contact.current : await stored(engine, conversation));
    sendEnvelope(engine, contact, { kind: "Message", number, conversation }, message.sealed);
    contact.unsent.delete(number);
    contact.credit.left -= 1;
    contact.awaitReceipt(engine.now);
  }
}

/** An earlier conversation, which may be written down only now. */
async function stored(engine, conversation) {
  const isOfIt = ({ store, key }) => store === "conversations" && key === conversation;
  return engine.writes.find(isOfIt)?.value ?? engine.store.get("conversations", conversation);
}

/** Seals a message and writes it down. Returns false if that cannot be done now. */
async function seal(engine, contact, message) {
  if (!hasCard(engine, contact)) return false;
  const { number } = message;
  const isFirst = contact.unacked.keys().next().value === number;
  // Numbers have to follow one another in a conversation, or the recipient sees a gap.
  if (!isFirst && !contact.unacked.has(number - 1)) return false;
  if (isFirst && contact.current?.lastNumber > 0 && contact.current.lastNumber + 1 !== number) contact.current = null;
  const current = await conversationTo(engine, contact);
  const place = current.messages;
  current.messages += 1;
  current.lastNumber = number;
  message.sealed = await sealContent(current, "Message", number, place, await messageContent(message));
  const hash_before = current.hash;
  current.hash = await runningHash(hash_before, message.sealed);
  message.places.push({ conversation: current.hex, place, hash_before, running_hash: current.hash });
  // A receipt for an earlier conversation is still valid, but complaints must not make the record grow.
  if (message.places.length > PLACES_MAX) message.places.shift();
  if (place === 0) {
    const { id, opening, firstNumber } = current;
    engine.write("conversations", current.hex, { id, peer: contact.peer, direction: "sent", opening, firstNumber });
  }
  engine.writeMessage(message);
  return true;
}

/** The conversation to a contact with a valid card. Opens one if none may be used. */
async function conversationTo(engine, contact) {
  const { card, current } = contact;
  const isUsable =
    current &&
    current.messages < REKEY_MESSAGES &&
    engine.now - current.openedAt < REKEY_AFTER &&
    current.recipientKey === hex(card.encryption_fingerprint);
  if (isUsable) return current;
  const next = contact.unacked.keys().next().value ?? (await engine.store.get("numbers", contact.peer)) ?? 1;
  const opened = await openConversation(engine.identity, card, engine.unix, next);
  contact.current = {
    ...opened, hex: hex(opened.id), hash: opened.id, firstNumber: next, messages: 0, signals: 0, lastNumber: 0,
    openedAt: engine.now, recipientKey: hex(card.encryption_fingerprint),
  };
  return contact.current;
}

function sendOpening(engine, contact, conversation, { opening, firstNumber }) {
  if (contact.openedHere.has(conversation)) return;
  contact.openedHere.add(conversation);
  sendEnvelope(engine, contact, { kind: "Opening", number: firstNumber, conversation }, opening);
}

function sendEnvelope(engine, contact, about, sealed) {
  const { kind, number } = about;
  engine.say({ type: "Envelope", from: engine.identity.name, to: contact.name, kind, number, sealed });
  engine.flight.sent({ ...about, contact }, engine.now);
}
