// Files: what this page shares, and what it fetches. PROTOCOL.md, sections 11.2, 11.3, 14 and 15.1.

import { decode, encode } from "./postcard.js";
import { equal, hex } from "./bytes.js";
import { fileAnswer, fileRequest, manyRequest, MARK_AT, withdrawal, WITHDRAWAL_BYTES } from "./protocol.js";
import { fileKey } from "./transfer.js";
import { isRun, PIECE_BYTES, piecesOf } from "./pieces.js";
import { random } from "./crypto.js";
import { Slots } from "./slots.js";

/** How long a request waits for an answer. */
const ANSWER_WAIT = 30_000;
/** The same for pieces, and for many files: a holder that cannot read such a request does not answer, and is requested whole files then. */
const NEW_WAIT = 10_000;
const OFFERED_MAX = 64;
const SERVER = { type: "Server" };
/** A holder that was made before the queue cannot read it, so it is sent only to one that is busy. */
const QUEUE = { type: "Queue", route: "Server" };
export const REFUSALS = {
  NotShared: "does not share this file any more",
  Changed: "has another file of this name now",
  Unreadable: "cannot read this file now",
  Busy: "sends too many files at the moment, and its queue is full. Try again",
};

/** Whether a holder may be too old to read a request. */
const mayBeUnread = ({ content: { wish, files }, place }) => place === null && (wish.type === "Pieces" || (files !== undefined && wish === SERVER));

const waitFor = (request) => (mayBeUnread(request) ? NEW_WAIT : ANSWER_WAIT);

/** Whether a holder can send so many bytes. Of many files, it need not have all. */
function isExpected(bytes, { hit, files }) {
  return files ? bytes <= files.reduce((sum, file) => sum + file.bytes, 0) : bytes === hit.file.bytes;
}

/** The files of this page, and the transfers that are under way. */
export class Files {
  /** What is shared: `{name, bytes, sha256, links, keywords, file}`. @type {object[]} */ shared = [];
  slots = new Slots();
  /** What was offered last, by transfer in hex: for the person here, if its receiver cannot take it. */ #offered = new Map();
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
   * Requests a file from an offset on, or its pieces from there to `end`; or, without these, many `files`. `reply` is called with the
   * place in the holder's queue whenever it changes, and in the end with what the transfer needs, or with an error.
   * @param {import("./engine.js").Engine} engine
   * @param {{id: number, hit: object, offset?: number, end?: number, files?: object[], reply: (answer: {place?: number, error?: string,
   *   later?: "Away" | "Busy", isSilent?: boolean, ready?: {transfer: Uint8Array, key: Uint8Array}}) => void}} wanted `later`: why it may go well if it is
   *   requested once more. `isSilent`: there was no answer to a request that the holder may be too old for.
   */
  fetch(engine, wanted) {
    const contact = engine.contact(wanted.hit.peer);
    // Its opening has to be there when the page was loaded again. It is shown when there are messages.
    if (!contact.isKept) [contact.isForgotten, contact.isKept, contact.isChanged] = [true, true, true];
    this.#request(engine, wanted, wanted.end ? { type: "Pieces", route: "Server", end: wanted.end } : SERVER);
  }

  #request(engine, wanted, wish) {
    const { hit, offset, files, reply } = wanted;
    const what = files ? { mark: "", files } : { name: hit.file.name, sha256: hit.file.sha256, offset };
    const content = { transfer: random(16), secret: random(32), wish, ...what };
    const contact = engine.contact(hit.peer);
    const request = { wanted, hit, content, contact, reply, place: null };
    request.until = engine.now + waitFor(request);
    this.#requests.set(hex(content.transfer), request);
    if (engine.flight) this.#send(request);
  }

  #send({ hit, content, contact }) {
    // A holder that is away tells the place when it is back.
    const fail = () => {
      if (this.#requests.get(hex(content.transfer))?.place !== null) return;
      this.#end(content.transfer, { error: `The server could not hand the request to ${hit.peer}. Try again.`, later: "Away" });
    };
    this.#signal(contact, encode(content.files ? manyRequest : fileRequest, content), fail);
  }

  #signal(contact, content, fail) {
    contact.requestsDue.push({ number: this.#nextRequest, content, fail });
    this.#nextRequest += 1;
  }

  /** Gives a place in a queue up. */
  #withdraw(contact, transfer) {
    this.#signal(contact, encode(withdrawal, { transfer, reason: "Left" }));
  }

  /** Takes a request back. @param {number} id */
  leave(id) {
    const request = [...this.#requests.values()].find(({ wanted }) => wanted.id === id);
    if (!request) return;
    this.#requests.delete(hex(request.content.transfer));
    this.#withdraw(request.contact, request.content.transfer);
  }

  #end(transfer, answer) {
    this.#requests.get(hex(transfer))?.reply(answer);
    this.#requests.delete(hex(transfer));
  }

  /** Fails requests without an answer. @param {number} now */
  passTime(now) {
    for (const request of this.#requests.values()) {
      const { content, hit, contact, until } = request;
      if (until > now) continue;
      if (content.wish !== SERVER) this.#withdraw(contact, content.transfer);
      this.#end(content.transfer, { error: `${hit.peer} does not answer. Try again.`, isSilent: mayBeUnread(request) });
    }
  }

  /** Handles the answer to a publication. @param {boolean} isPublished Whether it was taken. */
  publicationAnswered(isPublished) {
    this.#unanswered -= 1;
    this.isListed = isPublished && this.#unanswered === 0;
  }

  /** Fails the requests that cannot wait until there is another connection. */
  lost() {
    [this.#unanswered, this.isListed] = [0, false];
    for (const { content, hit, contact, place } of this.#requests.values()) {
      contact.requestsDue.length = 0;
      if (place !== null || content.wish.type === "Pieces") continue;
      this.#end(content.transfer, { error: `The connection was lost before ${hit.peer} could answer. Try again.`, later: "Away" });
    }
  }

  /**
   * Sends the requests again on a new connection: their holders may have given the places away meanwhile.
   * @param {number} now
   */
  joined(now) {
    for (const request of this.#requests.values()) {
      request.until = now + waitFor(request);
      this.#send(request);
    }
    this.slots.tellAgain();
  }

  /**
   * Handles the answer to a request.
   * @param {import("./engine.js").Engine} engine @param {import("./contact.js").Contact} contact @param {Uint8Array} bytes
   */
  async answer(engine, contact, bytes) {
    const { transfer, verdict } = decode(fileAnswer, bytes);
    const request = this.#requests.get(hex(transfer));
    // Before it was loaded again, this page has waited for it.
    if (!request && verdict.type === "Queued") return this.#withdraw(contact, transfer);
    // Only the peer that was asked can answer.
    if (request?.contact !== contact) return;
    const { wanted, hit, content, reply } = request;
    if (verdict.type === "Queued") return this.#queued(engine, request, verdict.place);
    if (verdict.type === "Busy" && content.wish === SERVER) {
      this.#requests.delete(hex(transfer));
      return this.#request(engine, wanted, QUEUE);
    }
    const later = verdict.type === "Busy" ? { later: "Busy" } : {};
    if (verdict.type !== "Ready") return this.#end(transfer, { error: `${hit.peer} ${REFUSALS[verdict.type]}.`, ...later });
    if (!isExpected(verdict.bytes, wanted)) return this.#end(transfer, { error: `${hit.peer} ${REFUSALS.Changed}.` });
    this.#requests.delete(hex(transfer));
    return reply({ ready: { transfer, key: await fileKey(content.secret, transfer, verdict.salt) } });
  }

  #queued(engine, request, place) {
    request.until = engine.now + ANSWER_WAIT;
    if (request.place !== place) request.reply({ place });
    request.place = place;
  }

  /**
   * Handles the request of another peer, or that it takes one back.
   * @param {import("./engine.js").Engine} engine @param {import("./contact.js").Contact} contact
   * @param {number} number @param {Uint8Array} bytes
   */
  async request(engine, contact, number, bytes) {
    if (bytes.length === WITHDRAWAL_BYTES) return this.#withdrawn(engine, contact, decode(withdrawal, bytes));
    const request = decode(bytes[MARK_AT] === 0 ? manyRequest : fileRequest, bytes);
    const waiting = { id: hex(request.transfer), contact, number, request };
    // A transfer that is repeated must not be served twice.
    if (this.slots.serves(waiting.id)) return this.#answer(waiting, { type: "Busy" });
    const { refusal } = this.#granted(request);
    if (refusal) return this.#answer(waiting, { type: refusal });
    if (this.slots.hasRoomFor(contact.peer)) {
      // One that is repeated while it waits must not be offered from the queue too.
      this.slots.withdraw(waiting.id, contact.peer);
      return this.#offer(engine, waiting);
    }
    // A request in the queue is answered with its place.
    const mayWait = "route" in request.wish;
    if (!mayWait || !this.slots.enqueue(waiting)) this.#answer(waiting, { type: "Busy" });
    return undefined;
  }

  /** A receiver does not want what it has requested. Its transfer may have ended before. */
  #withdrawn(engine, contact, { transfer, reason }) {
    const id = hex(transfer);
    const offered = this.#offered.get(id);
    if (reason === "DiskFull" && offered?.contact === contact) {
      engine.note(contact.name, `The disk of ${contact.name} is full, so it cannot take ${offered.name} from you.`);
      this.#offered.delete(id);
    }
    this.slots.withdraw(id, contact.peer);
  }

  /** The shared file that is requested, or why it is not sent. */
  #wanted({ name, sha256, offset = 0, wish: { end } = {} }) {
    const shared = this.shared.find((file) => file.name === name);
    if (!shared) return { refusal: "NotShared" };
    const isThere = end === undefined ? offset <= shared.bytes : isRun(offset, end, shared.bytes);
    return isThere && equal(shared.sha256, sha256) ? { shared } : { refusal: "Changed" };
  }

  /** What is sent for a request: one of `#wanted`, or several, and how many bytes these files have. Or why nothing is sent. */
  #granted(request) {
    const wanted = request.files?.map((file) => this.#wanted(file)) ?? [this.#wanted(request)];
    const bytes = wanted.reduce((sum, { shared }) => sum + (shared?.bytes ?? 0), 0);
    if (wanted.some(({ shared }) => shared)) return { wanted, bytes };
    return { refusal: wanted.some(({ refusal }) => refusal === "Changed") ? "Changed" : "NotShared" };
  }

  #answer({ id, contact, number, request: { transfer } }, verdict) {
    // A receiver that has gone gives up its place. With other refusals, it gets the next answer.
    const refused = (refusal) => refusal === "Absent" && this.slots.withdraw(id, contact.peer);
    contact.answersDue.set(id, { number, content: encode(fileAnswer, { transfer, verdict }), refused });
  }

  /** Offers a peer what it has requested, in a slot that is free. */
  async #offer(engine, waiting) {
    const { id, contact, request } = waiting;
    const { transfer, secret, offset, wish } = request;
    const { wanted, bytes, refusal } = this.#granted(request);
    if (refusal) return this.#answer(waiting, { type: refusal });
    const salt = random(16);
    this.#offered.set(id, { contact, name: request.files ? "your files" : request.name });
    if (this.#offered.size > OFFERED_MAX) this.#offered.delete(this.#offered.keys().next().value);
    this.#answer(waiting, { type: "Ready", bytes, salt });
    // A browser cannot be dialled. A receiver that wants to dial finds that out, and requests the file again.
    if ((wish.route ?? wish.type) === "Direct") return undefined;
    const job = { transfer, signal: this.slots.serve(id, contact.peer), key: await fileKey(secret, transfer, salt) };
    if (request.files) return engine.transfers.push({ ...job, files: wanted });
    const [{ shared }] = wanted;
    const header = { name: shared.name, total_bytes: shared.bytes, offset, sha256: shared.sha256 };
    const links = wish.end ? shared.links.slice(offset / PIECE_BYTES, piecesOf(wish.end)) : null;
    return engine.transfers.push({ ...job, file: shared.file, header, end: wish.end ?? shared.bytes, links });
  }

  /**
   * Serves the queue as far as slots are free, and tells the others their places.
   * @param {import("./engine.js").Engine} engine
   */
  async serveQueue(engine) {
    for (let next = this.slots.next(); next; next = this.slots.next()) await this.#offer(engine, next);
    for (const waiting of this.slots.places(engine.now)) this.#answer(waiting, { type: "Queued", place: waiting.told.place });
  }
}
