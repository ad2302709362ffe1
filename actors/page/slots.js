// The transfers that this page serves at the same time, and the queue of requests for which no slot is free: PROTOCOL.md,
// section 15.1. One peer never has more than half of the slots, and the peers that wait take turns. So a peer that wants many
// files delays the others by at most one transfer each time.

/** More would not send faster, because all share the connection of this browser, and one thread. */
const SLOTS = 4;
const SLOTS_EACH = SLOTS / 2;
const WAITING_MAX = 256;
const WAITING_EACH_MAX = 32;
/** How often a receiver that waits is told its place at most. */
const PLACE_EVERY = 1000;
/** How often it is told although its place is the same, so that each side notices when the other has gone. */
const PLACE_AGAIN = 10_000;

/**
 * A request in the queue: its transfer in hex, who has sent it, and the place that the receiver was told, and when.
 * @typedef {{id: string, contact: import("./contact.js").Contact, number: number, request: object,
 *   told?: {place: number, at: number}}} Waiting
 */

/** The slots and the queue. */
export class Slots {
  /** What is being sent, by transfer in hex: to whom, and how to stop it. */ #serving = new Map();
  /** What waits, by the folded name of the receiver. The first one is served next. @type {Map<string, Waiting[]>} */
  #queues = new Map();

  /** How many files are being sent, and how many requests wait. @returns {{sending: number, waiting: number}} */
  get counts() {
    return { sending: this.#serving.size, waiting: [...this.#queues.values()].flat().length };
  }

  /** @param {string} id @returns {boolean} Whether this transfer is being sent. */
  serves(id) {
    return this.#serving.has(id);
  }

  /** @param {string} peer A folded name. @returns {boolean} Whether a slot is free for this peer. */
  hasRoomFor(peer) {
    const served = [...this.#serving.values()].filter((one) => one.peer === peer).length;
    return this.#serving.size < SLOTS && served < SLOTS_EACH;
  }

  /**
   * Takes a slot until `free` is called.
   * @param {string} id @param {string} peer A folded name.
   * @returns {AbortSignal} It tells that the receiver does not want the file any more.
   */
  serve(id, peer) {
    const stop = new AbortController();
    this.#serving.set(id, { peer, stop });
    return stop.signal;
  }

  /** A transfer has ended. @param {string} id */
  free(id) {
    this.#serving.delete(id);
  }

  /**
   * Takes a request into the queue. One that is there already keeps its place, and its receiver is told it again.
   * @param {Waiting} waiting @returns {boolean} False if the queue is full.
   */
  enqueue(waiting) {
    const { peer } = waiting.contact;
    const queue = this.#queues.get(peer) ?? [];
    const known = queue.findIndex(({ id }) => id === waiting.id);
    if (known >= 0) queue[known] = waiting;
    else if (this.counts.waiting >= WAITING_MAX || queue.length >= WAITING_EACH_MAX) return false;
    else queue.push(waiting);
    this.#queues.set(peer, queue);
    return true;
  }

  /** The receiver does not want a transfer any more. @param {string} id @param {string} peer A folded name. */
  withdraw(id, peer) {
    const queue = this.#queues.get(peer) ?? [];
    this.#keep(peer, queue.filter((waiting) => waiting.id !== id));
    const served = this.#serving.get(id);
    if (served?.peer === peer) served.stop.abort();
  }

  /** Gives up everything that waits for a peer. @param {string} peer A folded name. */
  forget(peer) {
    this.#queues.delete(peer);
  }

  #keep(peer, queue) {
    if (queue.length > 0) this.#queues.set(peer, queue);
    else this.#queues.delete(peer);
  }

  /** Takes the next request out of the queue. @returns {Waiting | null} null if no slot is free for one. */
  next() {
    const peer = [...this.#queues.keys()].find((name) => this.hasRoomFor(name));
    if (peer === undefined) return null;
    const [first, ...rest] = this.#queues.get(peer);
    // Its turn comes again after those of the others.
    this.#queues.delete(peer);
    this.#keep(peer, rest);
    return first;
  }

  /** The requests in the order in which they are served: round by round, each peer once in a round. */
  #order() {
    const queues = [...this.#queues.values()];
    const rounds = Math.max(0, ...queues.map(({ length }) => length));
    return Array.from({ length: rounds }, (_, round) => queues.flatMap((queue) => queue.slice(round, round + 1))).flat();
  }

  /** The receivers that have to be told their place now. Notes them as told. @param {number} now @returns {Waiting[]} */
  places(now) {
    return this.#order().filter((waiting, at) => {
      const [place, told] = [at + 1, waiting.told];
      if (told && now < told.at + (told.place === place ? PLACE_AGAIN : PLACE_EVERY)) return false;
      waiting.told = { place, at: now };
      return true;
    });
  }

  /** Tells all receivers their places again, because they may have missed something. */
  tellAgain() {
    for (const waiting of [...this.#queues.values()].flat()) waiting.told = undefined;
  }
}
