// The state of another peer, and of the messages for it.

import { Backoff, Budget, Credit, jittered, Spacing } from "./pace.js";
import { folded } from "./names.js";

const RECEIPT_WAIT = 2000;
/** How long to wait for a further receipt after one that had to be asked for. */
const NEXT_RECEIPT_WAIT = 600;
const COMPLAIN_EVERY = 1000;
const COMPLAINTS_MAX = 16;
const REOPEN_EVERY = 500;
const HEAR_AGAIN_EVERY = 1000;

/** Another peer. */
export class Contact {
  /** @type {string} */ name;
  /** The pinned fingerprint, in hex. @type {string | null} */ pinned = null;
  /** The newest card of the pinned key. @type {object | null} */ card = null;
  /** The highest number of a message from it. */ lastNumber = 0;
  /** Counts how often its numbers have started again. */ generation = 0;
  /** Whether a message to it was ever written here. */ isAnswered = false;
  /** Whether it is on the disk. One that has only opened conversations is not, because new names are free. */
  isKept = false;
  isChanged = false;
  /** Whether a person has blocked it, so that what it sends is ignored. */ isBlocked = false;
  /** Whether a person has deleted all messages with it and there was none since, or there never was one. */ isForgotten = false;
  /** The fingerprint in hex of another key that was shown under its name. @type {string | null} */ distrusted = null;
  /** The conversation that this page has opened, if it may still be used. @type {object | null} */ current = null;
  /** Messages without a receipt by number, as on the disk. @type {Map<number, object>} */ unacked = new Map();
  /** Numbers of the messages to send on this connection. @type {Set<number>} */ unsent = new Set();
  /** NotAsked, Asked, Known, Unknown or Untrusted: what the server has said about its card on this connection. */
  lookup = "NotAsked";
  lookupAgainAt = -Infinity;
  /** Conversations whose opening was sent on this connection, in hex. @type {Set<string>} */ openedHere = new Set();
  /** Conversations of it to send a receipt for, in hex. @type {Set<string>} */ receiptsDue = new Set();
  /** Complaints to send once there is a card, by conversation in hex. @type {Map<string, object>} */ complaintsDue = new Map();
  /** Requests to send once there is a card: `{number, content, fail}`. @type {object[]} */ requestsDue = [];
  /** Answers to its requests, by transfer in hex: `{number, content, refused}`. @type {Map<string, object>} */
  answersDue = new Map();
  /** Whether it is connected, as far as this peer knows. */ isPresent = false;
  /** Its newest opening. If it has answered requests only, no message has written that down. @type {Uint8Array | null} */
  opening = null;
  /** Ids of messages that this batch writes, by generation and number. @type {Map<string, Uint8Array>} */ arriving = new Map();
  pause = new Backoff();
  credit = new Credit();
  openings = new Budget(2000, 3000);
  #complained = new Map();
  #receiptDue = Infinity;
  /** Nothing, Oldest or Rest: the step of recovery from a missing receipt. */
  #missing = "Nothing";
  #reopened = new Spacing();
  #heardAgain = new Spacing();

  /** @param {string} name */
  constructor(name) {
    this.name = name;
  }

  get peer() {
    return folded(this.name);
  }

  /** What is on the disk, apart from the card, which is there as bytes. */
  record() {
    const { name, pinned, lastNumber, generation, distrusted, isAnswered, isBlocked, isForgotten, opening } = this;
    const card = this.card?.bytes ?? null;
    return { name, pinned, card, lastNumber, generation, distrusted, isAnswered, isBlocked, isForgotten, opening };
  }

  keep() {
    this.isKept = this.isChanged = true;
  }

  /** Forgets its card, its conversations, and what waits for it. */
  forget() {
    [this.card, this.current, this.opening] = [null, null, null];
    for (const due of [this.unacked, this.unsent, this.receiptsDue, this.complaintsDue, this.openedHere]) due.clear();
    this.isForgotten = true;
    this.keep();
  }

  /** Starts anew on a new connection. @param {string} server Its store, in hex. */
  reconnected(server) {
    this.lookup = "NotAsked";
    this.openedHere.clear();
    [this.isPresent, this.#receiptDue, this.#missing] = [false, Infinity, "Nothing"];
    this.credit.tryOne();
    this.unsent.clear();
    for (const [number, message] of this.unacked) {
      message.isRelayed = false;
      if (message.stored_at !== server) this.unsent.add(number);
    }
  }

  /** Sends all messages without a receipt again, in order and with their openings. */
  sendAllAgain() {
    this.openedHere.clear();
    for (const [number, message] of this.unacked) {
      message.stored_at = undefined;
      this.unsent.add(number);
    }
  }

  /** The same, in another conversation. */
  sealAllAgain() {
    this.current = null;
    for (const message of this.unacked.values()) message.sealed = undefined;
    this.sendAllAgain();
  }

  #sendOldestAgain() {
    for (const number of this.unacked.keys()) {
      this.unsent.add(number);
      break;
    }
    this.credit.tryOne();
  }

  awaitReceipt(now) {
    if (this.#receiptDue === Infinity) this.#receiptDue = now + jittered(RECEIPT_WAIT);
  }

  /** Notes that it is connected, so receipts for its stored mail should come soon. */
  isThere(now) {
    if (!this.isPresent && this.unacked.size > 0 && this.#receiptDue === Infinity) {
      this.#receiptDue = now + jittered(NEXT_RECEIPT_WAIT);
    }
    this.isPresent = true;
  }

  /** Notes that the server has stored a message, so this peer is away, or slow if it was connected just now. */
  messageStored() {
    if (this.isPresent && this.#missing !== "Oldest") return;
    [this.isPresent, this.#receiptDue, this.#missing] = [false, Infinity, "Nothing"];
  }

  receiptCame(now) {
    this.credit.grow();
    if (this.unacked.size === 0) {
      [this.#receiptDue, this.#missing] = [Infinity, "Nothing"];
    } else if (this.#receiptDue !== Infinity) {
      const isRecovering = this.#missing !== "Nothing";
      if (isRecovering) this.#missing = "Rest";
      this.#receiptDue = now + jittered(isRecovering ? NEXT_RECEIPT_WAIT : RECEIPT_WAIT);
    }
  }

  /** Sends messages again if a receipt has not come in time. */
  passTime(now) {
    if (this.#receiptDue > now) return;
    if (this.#missing === "Rest") {
      for (const number of this.unacked.keys()) this.unsent.add(number);
      this.#missing = "Nothing";
    } else {
      this.#sendOldestAgain();
      this.#missing = "Oldest";
    }
    this.#receiptDue = this.unacked.size > 0 ? now + jittered(RECEIPT_WAIT) : Infinity;
  }

  /** Asks for a repetition, because a signal of an unknown conversation may have been a receipt. */
  hearAgain(now) {
    if (this.#heardAgain.isDue(now, HEAR_AGAIN_EVERY)) this.#sendOldestAgain();
  }

  /** Sends the opening of the own conversation again, because the other side may have lost it. */
  reopen(now) {
    if (this.current && this.#reopened.isDue(now, REOPEN_EVERY)) this.openedHere.delete(this.current.hex);
  }

  /** @param {string} conversation In hex. @param {number} now @returns {boolean} Whether a complaint may be sent. */
  mayComplain(conversation, now) {
    for (const [id, at] of this.#complained) {
      if (now - at >= COMPLAIN_EVERY) this.#complained.delete(id);
    }
    if (this.#complained.has(conversation) || this.#complained.size >= COMPLAINTS_MAX) return false;
    this.#complained.set(conversation, now);
    return true;
  }
}
