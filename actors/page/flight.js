// The envelopes that were sent on a joined connection, and their outcomes: PROTOCOL.md, section 9.

const IN_FLIGHT_MAX = 1000;
const ROUTED_WAIT = 30_000;

/** The counts of a connection. */
export class Flight {
  /** How many envelopes have arrived. */
  received = 0;
  #acknowledged = 0;
  #sent = 0;
  /** What is known about envelopes that have no outcome yet, or were relayed, by position. */
  #envelopes = new Map();
  #inFlight = 0;

  get hasRoom() {
    return this.#inFlight < IN_FLIGHT_MAX;
  }

  /** How many envelopes have arrived, if that was not said yet. Counts it as said. @returns {number | null} */
  unacknowledged() {
    if (this.#acknowledged === this.received) return null;
    this.#acknowledged = this.received;
    return this.received;
  }

  /**
   * Notes an envelope that is sent.
   * @param {object} about `{contact, kind, number, conversation, again}`: `again` repeats it after a refusal.
   * @param {number} now
   */
  sent(about, now) {
    this.#envelopes.set(this.#sent, { ...about, sentAt: now, isRelayed: false });
    this.#sent += 1;
    this.#inFlight += 1;
  }

  /** Why the connection does not work any more, or null. */
  trouble(now) {
    for (const { sentAt, isRelayed } of this.#envelopes.values()) {
      if (!isRelayed && now - sentAt >= ROUTED_WAIT) return "The server does not say what has become of messages.";
    }
    return null;
  }

  /** Handles the outcome of envelopes. @param {import("./engine.js").Engine} engine */
  routed(engine, { first, count, outcome }) {
    const end = Number(first) + Number(count);
    for (const [position, about] of this.#envelopes) {
      if (position < first || position >= end) continue;
      if (!about.isRelayed) this.#inFlight -= 1;
      const isRelayed = outcome.type === "Relayed" && about.kind === "Message";
      if (!isRelayed) this.#envelopes.delete(position);
      if (outcome.type === "Refused") refused(engine, about, outcome.refusal);
      else if (about.kind === "Message") wentOut(engine, about, outcome.type);
      about.isRelayed = isRelayed;
    }
  }

  /** Forgets messages that have a receipt. @param {import("./contact.js").Contact} contact */
  forget(contact) {
    for (const [position, about] of this.#envelopes) {
      if (about.kind !== "Message" || about.contact !== contact || contact.unacked.has(about.number)) continue;
      if (!about.isRelayed) this.#inFlight -= 1;
      this.#envelopes.delete(position);
    }
  }
}

function refused(engine, { contact, kind, number, conversation, again, isRelayed }, refusal) {
  // A message that was relayed, and came back from a peer that had gone, is only sent again.
  if (!isRelayed) {
    // Envelopes that were refused together cause one pause.
    const isFirst = contact.pause.until <= engine.now && contact.pause.failed(engine.now) === 1;
    // Of what concerns files, whoever has requested one is told.
    if (isFirst && (kind === "Opening" || kind === "Message") && contact.unacked.size > 0) {
      engine.note(contact.name, `The server has refused a message (${refusal}). It stays queued here and is sent again.`);
    }
    contact.credit.cut();
  }
  if (kind === "Opening") contact.openedHere.delete(conversation);
  if (kind === "Message" && contact.unacked.has(number)) contact.unsent.add(number);
  again?.(refusal);
}

function wentOut(engine, { contact, number, conversation, isRelayed: wasRelayed }, type) {
  const message = contact.unacked.get(number);
  if (!wasRelayed) contact.credit.grow();
  if (type === "Relayed") contact.isPresent = true;
  else {
    if (wasRelayed) contact.isPresent = false;
    contact.messageStored();
    engine.pingSoon();
  }
  if (message?.places.at(-1)?.conversation !== conversation) return;
  message.stored_at = type === "Stored" ? engine.server : undefined;
  message.state = type === "Stored" ? "stored" : "relayed";
  engine.writeMessage(message);
}
