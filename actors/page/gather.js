// Fetching the pieces of a file from several holders at once.

import { FIRST_LINK, linkBehind, PIECE_BYTES, piecesOf, totalBehind } from "./pieces.js";
import { receiveChunks } from "./transfer.js";

/** How many transfers of a holder may fail without a piece between. */
const FAILURES_MAX = 2;

/** The request has come to nothing. The message says why. */
export class Refused extends Error {}

/** What several holders are asked for, and what has arrived of it. */
export class Gather {
  #plan;
  #receive;
  #keep;
  #signal;
  /** What stops the transfer of a holder. @type {Map<string, AbortController>} */ #underway = new Map();
  /** Why the last transfer has failed. */ #failure = null;

  /**
   * @param {import("./plan.js").Plan} plan
   * @param {(hit: object, run: {offset: number, end: number}, signal: AbortSignal, take: Function) => Promise<void>} receive Receives
   *   pieces from a holder, and waits for `take` with each.
   * @param {(piece: import("./plan.js").Piece) => Promise<void>} keep Called with each piece that may be right.
   * @param {AbortSignal} signal Cancels it.
   */
  constructor(plan, receive, keep, signal) {
    [this.#plan, this.#receive, this.#keep, this.#signal] = [plan, receive, keep, signal];
    signal.addEventListener("abort", () => this.#underway.forEach((stop) => stop.abort()));
  }

  /** Receives all that is missing. @param {object[]} hits One for each holder. @throws {Error} Nobody is left to ask. */
  async fetch(hits) {
    await Promise.all(hits.map((hit) => this.#ask(hit, hits.length)));
    const liars = [...this.#plan.liars].join(" and ");
    if (!this.#plan.isDone) throw this.#failure ?? new Error(`${liars} has sent something else than this file.`);
  }

  /** Asks a holder for one run of pieces after the other. */
  async #ask(hit, holders) {
    const { peer } = hit;
    const plan = this.#plan;
    let failures = 0;
    while (failures < FAILURES_MAX && !plan.isDone && !plan.liars.has(peer) && !this.#signal.aborted) {
      const stop = new AbortController();
      this.#underway.set(peer, stop);
      try {
        await this.#receive(hit, plan.give(peer, holders), stop.signal, (piece) => {
          failures = 0;
          return this.#arrived(peer, piece);
        });
      } catch (error) {
        // A transfer that was stopped says nothing about the holder.
        if (stop.signal.aborted) continue;
        failures = error instanceof Refused ? FAILURES_MAX : failures + 1;
        this.#failure = error;
      } finally {
        this.#underway.delete(peer);
        plan.ended(peer);
      }
    }
  }

  async #arrived(peer, piece) {
    const isKept = this.#plan.arrived(peer, piece);
    // Others may have nothing more to send now.
    for (const [holder, stop] of this.#underway) if (this.#plan.isIdle(holder)) stop.abort();
    if (isKept) await this.#keep(piece);
  }
}

/**
 * Receives pieces of a file from one holder.
 * @param {object} session @param {{file: object, offset: number, end: number, isWhole: boolean}} job As for `receiveChunks`; `isWhole`: the
 *   whole file was requested, which is one piece.
 * @param {(piece: import("./plan.js").Piece) => Promise<void>} take
 * @param {(bytes: number) => void} onArriving Called with how much of the next piece is here.
 */
export async function receivePieces(session, job, take, onArriving) {
  const { file: { bytes }, offset, end, isWhole } = job;
  const first = offset / PIECE_BYTES;
  let links = [FIRST_LINK];
  let [link, chunks, arriving] = [FIRST_LINK, [], 0];
  const takeLinks = (named) => {
    if (named.length !== piecesOf(end) - first) throw new Error("The holder has not named the link at each piece.");
    links = named;
  };
  const takeChunk = async (chunk, done) => {
    const number = piecesOf(done) - 1;
    const [from, next = null] = links.slice(number - first);
    const isFull = done % PIECE_BYTES === 0 || done === end;
    link = linkBehind(chunks.length === 0 ? from : link, chunk, isFull ? totalBehind(number, bytes) : null);
    chunks.push(chunk);
    arriving += chunk.length;
    if (isFull) {
      const content = new Blob(chunks);
      [chunks, arriving] = [[], 0];
      await take({ number, from, to: link, next, content });
    }
    onArriving(arriving);
  };
  await receiveChunks(session, job, takeChunk, isWhole ? undefined : takeLinks);
}
