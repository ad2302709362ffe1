// Fetching the pieces of a file, or many files, from several holders at once.

import { FIRST_LINK, linkBehind, PIECE_BYTES, piecesOf, totalBehind } from "./pieces.js";
import { receiveChunks } from "./transfer.js";
import { Speeds } from "./speeds.js";

/** How many transfers of a holder may fail without a piece between. */
const FAILURES_MAX = 2;

/** How long a holder is left alone after something has gone wrong: it may be without a connection for a moment. */
const PAUSE = 2000;
/** How often holders are compared with each other. */
const COMPARE_EVERY = 1000;
/** How many pauses in a row a holder gets that is away. */
const PAUSES_MAX = 15;

/** The request has come to nothing. The message says why. */
export class Refused extends Error {}

/** The holder has not answered. One that was made before there were requests of this kind sends only one whole file for each request. */
export class Silent extends Refused {}

/** The holder cannot answer now. That says nothing against it. */
export class Later extends Error {
  /** @param {string} message @param {boolean} isBusy Whether it has answered, so that it is worth any number of further requests. */
  constructor(message, isBusy) {
    super(message);
    this.isBusy = isBusy;
  }
}

/**
 * What is done with holders, and with what they send.
 * @typedef {object} Work
 * @property {(hit: object, run: object, signal: AbortSignal, take: (piece: object) => Promise<void>, begins: () => void) => Promise<void>} receive
 *   Receives what the plan has given a holder. Calls `begins` when the holder sends, and waits for `take` with each piece or file.
 * @property {(piece: object) => Promise<void>} keep Called with each that may be right.
 * @property {(peer: string) => void} slow Called with a holder whose part is left to the others.
 * @property {() => Promise<object[]>} [others] Finds hits of further holders.
 */

/** What several holders are asked for, and what has arrived of it. */
export class Gather {
  #plan;
  #work;
  #signal;
  #clock;
  /** Who is asked, and what stops the transfer. @type {Map<string, {hit: object, stop: AbortController}>} */ #underway = new Map();
  #speeds = new Speeds();
  /** Those that are slow. @type {object[]} */ #slow = [];
  /** Why the last transfer has failed. */ #failure = null;
  /** Those that are too old for these requests. @type {object[]} */ #silent = [];
  /** Aborted when nobody is needed any more. */ #over = new AbortController();
  /** Called when a holder fails, and when nobody is asked any more. */ #onFailure = () => {};

  /**
   * @param {import("./plan.js").Plan | import("./batches.js").Batches} plan @param {Work} work
   * @param {AbortSignal} signal Cancels it.
   * @param {typeof CLOCK} [clock]
   */
  constructor(plan, work, signal, clock = CLOCK) {
    [this.#plan, this.#work, this.#signal, this.#clock] = [plan, work, signal, clock];
    signal.addEventListener("abort", () => {
      this.#over.abort();
      this.#underway.forEach(({ stop }) => stop.abort());
    });
  }

  /** Receives all that is missing. @param {object[]} hits One for each holder. @throws {Error} Nobody is left to ask. */
  async fetch(hits) {
    const hasFailed = new Promise((resolve) => (this.#onFailure = resolve));
    if (this.#plan.isDone || this.#signal.aborted) this.#over.abort();
    const stopComparing = this.#clock.every(COMPARE_EVERY, () => this.#compare());
    // A slow holder is better than none.
    for (let left = hits; left.length > 0; left = this.#slow.splice(0)) {
      const { length } = left;
      const asked = left.map((hit) => this.#ask(hit, () => this.#plan.give(hit.peer, length)));
      const others = left === hits && hasFailed.then(() => this.#askOthers(length));
      await Promise.all(asked).then(this.#onFailure);
      await others;
    }
    stopComparing();
    // Nobody else has them, so it does not matter that much of the file may come once more.
    for (const hit of this.#silent.splice(0)) await this.#ask(hit, () => this.#plan.giveOld(hit.peer));
    if (!this.#plan.isDone) throw this.#failure ?? new Refused("No holder is left that sends the right file.");
  }

  /** Asks others, once a holder has failed: it may not come back. */
  async #askOthers(before) {
    const { signal } = this.#over;
    // The file may be complete before there is an answer.
    const over = new Promise((resolve) => signal.addEventListener("abort", resolve));
    const others = signal.aborted ? [] : ((await Promise.race([over.then(() => []), this.#work.others?.()])) ?? []);
    await Promise.all(others.map((hit) => this.#ask(hit, () => this.#plan.give(hit.peer, before + others.length))));
  }

  /** Leaves the part of slow holders to the others: one after the other, because the last one is compared with nobody. */
  #compare() {
    for (let peer = this.#speeds.slow(this.#clock.now()); peer !== null; peer = this.#speeds.slow(this.#clock.now())) {
      const { hit, stop } = this.#underway.get(peer);
      this.#speeds.forget(peer);
      this.#slow.push(hit);
      this.#work.slow(peer);
      stop.abort();
    }
  }

  /** Asks a holder for what `give` says, again and again, until that is null. */
  async #ask(hit, give) {
    const { peer } = hit;
    const plan = this.#plan;
    let [failures, pauses] = [0, 0];
    const mayGo = () => failures < FAILURES_MAX && pauses < PAUSES_MAX && !plan.liars.has(peer) && !this.#slow.includes(hit);
    while (mayGo() && !this.#over.signal.aborted) {
      const run = give();
      if (run === null) return;
      const error = await this.#askOnce(hit, run, () => ([failures, pauses] = [0, 0]));
      if (!error) continue;
      this.#failure = error;
      this.#onFailure();
      if (error instanceof Silent) this.#silent.push(hit);
      if (!(error instanceof Later)) failures = error instanceof Refused ? FAILURES_MAX : failures + 1;
      else if (!error.isBusy) pauses += 1;
      if (mayGo()) await this.#clock.pause(this.#over.signal);
    }
  }

  /** Asks a holder once. Returns why not all of it came, unless others have sent it. */
  async #askOnce(hit, run, onPiece) {
    const { peer } = hit;
    const stop = new AbortController();
    this.#underway.set(peer, { hit, stop });
    const take = (piece) => {
      onPiece();
      return this.#arrived(peer, piece);
    };
    try {
      await this.#work.receive(hit, run, stop.signal, take, () => this.#speeds.begins(peer, this.#clock.now()));
      return null;
    } catch (error) {
      // A transfer that was stopped says nothing about the holder.
      return stop.signal.aborted ? null : error;
    } finally {
      this.#underway.delete(peer);
      this.#speeds.ended(peer);
      this.#plan.ended(peer);
    }
  }

  async #arrived(peer, piece) {
    this.#speeds.arrived(peer, piece.content?.size ?? 0, this.#clock.now());
    const isKept = this.#plan.arrived(peer, piece);
    if (this.#plan.isDone) this.#over.abort();
    // Others may have nothing more to send now.
    for (const [holder, { stop }] of this.#underway) if (this.#plan.isIdle(holder)) stop.abort();
    if (isKept) await this.#work.keep(piece);
  }
}

/** What tells the time, and waits. */
const CLOCK = {
  now: () => performance.now(),
  /** Calls again and again. @param {number} wait @param {() => void} call @returns {() => void} Ends it. */
  every(wait, call) {
    const timer = setInterval(call, wait);
    return () => clearInterval(timer);
  },
  /** Waits for a while, at most until the signal. @param {AbortSignal} signal */
  pause: (signal) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, PAUSE);
      signal.addEventListener("abort", () => resolve(clearTimeout(timer)));
      if (signal.aborted) resolve(clearTimeout(timer));
    }),
};

/**
 * Receives pieces of a file from one holder.
 * @param {object} session @param {{file: object, offset: number, end: number, isWhole: boolean}} job As for `receiveChunks`; `isWhole`: the
 *   whole file was requested.
 * @param {(piece: import("./plan.js").Piece) => Promise<void>} take
 * @param {(bytes: number) => void} onArriving Called with how much of the next piece is here.
 */
export async function receivePieces(session, job, take, onArriving) {
  const { takeChunk, takeLinks } = joining(job, take, onArriving);
  await receiveChunks(session, job, takeChunk, job.isWhole ? undefined : takeLinks);
}

/** Joins chunks to pieces: the arguments of `receivePieces`, and what `receiveChunks` calls. */
export function joining({ file: { bytes }, offset, end }, take, onArriving) {
  const first = offset / PIECE_BYTES;
  let links = [FIRST_LINK];
  let [from, link, chunks, arriving] = [FIRST_LINK, FIRST_LINK, [], 0];
  const takeLinks = (named) => {
    if (named.length !== piecesOf(end) - first) throw new Error("The holder has not named the link at each piece.");
    links = named;
  };
  const takeChunk = async (chunk, done) => {
    const number = piecesOf(done) - 1;
    // In a whole file, nobody names links.
    if (chunks.length === 0) from = link = links[number - first] ?? link;
    const isFull = done % PIECE_BYTES === 0 || done === end;
    link = linkBehind(link, chunk, isFull ? totalBehind(number, bytes) : null);
    chunks.push(chunk);
    arriving += chunk.length;
    if (isFull) {
      const content = new Blob(chunks);
      [chunks, arriving] = [[], 0];
      await take({ number, from, to: link, next: links[number - first + 1] ?? null, content });
    }
    onArriving(arriving);
  };
  return { takeChunk, takeLinks };
}
