// Files: what this page shares, and what it fetches. PROTOCOL.md, sections 11.2, 11.3, 14 and 15.1.

import { decode, encode } from "./postcard.js";
import { equal, hex } from "./bytes.js";
import { fileAnswer, fileRequest } from "./protocol.js";
import { FILE_BYTES_MAX, fileKey, TOO_LARGE } from "./transfer.js";
import { random } from "./crypto.js";

/** How long an offer waits for its receiver, and a request for its answer. */
const OFFER_WAIT = 30_000;
const ANSWER_WAIT = 30_000;
const OFFERS_MAX = 32;
const OFFERS_EACH_MAX = 4;
/** The length of a request that takes another one back. Nothing waits here, so it has no effect. */
const WITHDRAWAL_BYTES = 17;
const REFUSALS = {
  NotShared: "does not share this file any more",
  Changed: "has another file of this name now",
  Busy: "sends too many files at the moment. Try again",
};

/** The files of this page, and the transfers that are under way. */
export class Files {
  /** What is shared: `{name, bytes, sha256, keywords, file}`. @type {object[]} */ shared = [];
  /** Answers that were Ready, by transfer in hex. */ #offers = new Map();
  /** Requests without an answer, by transfer in hex. */ #requests = new Map();
  #nextRequest = 0;
  /** How many publications the server has not answered. */ #unanswered = 0;
  /** Whether the server has listed what is shared, so that others find it. */ isListed = false;

  /** @returns {object} The message that publishes what is shared. */
  publication() {
    this.#unanswered += 1;
    this.isListed = false;
    const files = this.shared.map(({ name, bytes, sha256, keywords }) => ({ name, bytes, sha256, keywords }));
    return { type: "Publish", part: 0, last: true, files };
  }

  /**
   * Starts to fetch a file.
   * @param {import("./engine.js").Engine} engine @param {object} hit @param {(answer: object) => void} reply
   */
  fetch(engine, hit, reply) {
    const transfer = random(16);
    const { name, bytes, sha256 } = hit.file;
    if (bytes > FILE_BYTES_MAX) return reply({ error: TOO_LARGE });
    const content = { transfer, secret: random(32), name, sha256, offset: 0, wish: { type: "Server" } };
    const contact = engine.contact(hit.peer);
    const fail = () => this.#end(transfer, { error: `The server could not hand the request to ${hit.peer}. Try again.` });
    this.#requests.set(hex(transfer), { hit, content, contact, reply, until: engine.now + ANSWER_WAIT });
    contact.requestsDue.push({ number: this.#nextRequest, content: encode(fileRequest, content), fail });
    this.#nextRequest += 1;
    return undefined;
  }

  #end(transfer, answer) {
    this.#requests.get(hex(transfer))?.reply(answer);
    this.#requests.delete(hex(transfer));
  }

  /** Fails requests without an answer. @param {number} now */
  passTime(now) {
    for (const { content, hit, until } of this.#requests.values()) {
      if (until <= now) this.#end(content.transfer, { error: `${hit.peer} does not answer. Try again.` });
    }
  }

  /** Handles the answer to a publication. @param {boolean} isPublished Whether it was taken. */
  publicationAnswered(isPublished) {
    this.#unanswered -= 1;
    this.isListed = isPublished && this.#unanswered === 0;
  }

  /** Fails all requests, because the connection was lost. */
  lost() {
    [this.#unanswered, this.isListed] = [0, false];
    this.passTime(Infinity);
  }

  /**
   * Handles the answer to a request.
   * @param {import("./engine.js").Engine} engine @param {import("./contact.js").Contact} contact @param {Uint8Array} bytes
   */
  async answer(engine, contact, bytes) {
    const { transfer, verdict } = decode(fileAnswer, bytes);
    const request = this.#requests.get(hex(transfer));
    // Only the peer that was asked can answer.
    if (request?.contact !== contact) return;
    const { hit, content, reply } = request;
    if (verdict.type !== "Ready") return this.#end(transfer, { error: `${hit.peer} ${REFUSALS[verdict.type]}.` });
    if (verdict.bytes !== hit.file.bytes) return this.#end(transfer, { error: `${hit.peer} ${REFUSALS.Changed}.` });
    this.#requests.delete(hex(transfer));
    const key = await fileKey(content.secret, transfer, verdict.salt);
    engine.transfers.push({ side: "Receiver", transfer, key, file: hit.file, reply });
  }

  /**
   * Handles the request of another peer.
   * @param {import("./engine.js").Engine} engine @param {import("./contact.js").Contact} contact
   * @param {number} number @param {Uint8Array} bytes
   */
  async request(engine, contact, number, bytes) {
    if (bytes.length === WITHDRAWAL_BYTES) return;
    const request = decode(fileRequest, bytes);
    const { transfer, secret, offset } = request;
    const shared = this.shared.find(({ name }) => name === request.name);
    const verdict = this.#judge(engine.now, contact, request, shared);
    contact.answersDue.push({ number, content: encode(fileAnswer, { transfer, verdict }) });
    if (verdict.type !== "Ready" || request.wish.type !== "Server") return;
    const header = { name: shared.name, total_bytes: shared.bytes, offset, sha256: shared.sha256 };
    const key = await fileKey(secret, transfer, verdict.salt);
    engine.transfers.push({ side: "Sender", transfer, key, file: shared.file, header });
  }

  #judge(now, contact, { transfer, sha256, offset, wish }, shared) {
    for (const [id, { until }] of this.#offers) {
      if (until <= now) this.#offers.delete(id);
    }
    const ofContact = [...this.#offers.values()].filter((offer) => offer.contact === contact).length;
    if (!shared) return { type: "NotShared" };
    if (!equal(shared.sha256, sha256) || offset > shared.bytes) return { type: "Changed" };
    const isKnown = this.#offers.has(hex(transfer));
    // There is no queue here.
    if (isKnown || wish.type === "Queue" || this.#offers.size >= OFFERS_MAX || ofContact >= OFFERS_EACH_MAX) return { type: "Busy" };
    this.#offers.set(hex(transfer), { contact, until: now + OFFER_WAIT });
    return { type: "Ready", bytes: shared.bytes, salt: random(16) };
  }
}
