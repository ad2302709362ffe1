// Which holder is asked for which pieces of a file, and what is believed of what they send: PROTOCOL.md, section 15.7. Pieces are
// given out from the end of the file to its start, because they are proved in this direction.

import { equal } from "./bytes.js";
import { FIRST_LINK, PIECE_BYTES, piecesOf, RUN_PIECES_MAX } from "./pieces.js";

/** So many requests of each holder there are at least, so that the fast ones do more. */
const RUNS_EACH = 4;

/**
 * A piece that has arrived: the link at it, as its holder has named it, and the one to which it leads. `next` is what its holder
 * names for the next piece, if it has sent that one too.
 * @typedef {{number: number, from: Uint8Array, to: Uint8Array, next: Uint8Array | null, content: Uint8Array}} Piece
 */

/** The pieces of a file. Holders have names. */
export class Plan {
  #total;
  /** Pieces from this one on are proved. */ #proved;
  /** The link at the first of them, or the SHA-256 of the file. */ #link;
  /** What is here, and who has sent it: null if an earlier transfer has. @type {Map<number, Piece & {by: string | null}>} */
  #pieces = new Map();
  /** What each holder was asked for, and has not arrived from anybody. @type {Map<string, Set<number>>} */ #asked = new Map();
  /** Holders that have sent a wrong piece. @type {Set<string>} */ liars = new Set();
  /** How many bytes that are proved each holder has sent. @type {Map<string, number>} */ shares = new Map();

  /** @param {number} total Bytes. @param {Uint8Array} sha256 @param {Piece[]} here What an earlier transfer has left. */
  constructor(total, sha256, here) {
    [this.#total, this.#proved, this.#link] = [total, piecesOf(total), sha256];
    const usable = here.filter(({ number, from }) => number > 0 || equal(from, FIRST_LINK));
    for (const piece of usable) this.#pieces.set(piece.number, { ...piece, by: null });
    this.#prove();
  }

  /** Whether all pieces are proved. */
  get isDone() {
    return this.#proved === 0;
  }

  /** How many bytes are here. */
  get bytes() {
    return [...this.#pieces.values()].reduce((sum, { content }) => sum + content.length, 0);
  }

  /** The file, once it is done. @returns {Uint8Array[]} */
  contents() {
    return Array.from({ length: piecesOf(this.#total) }, (_, number) => this.#pieces.get(number).content);
  }

  /**
   * Gives a holder pieces to send. When all are given out, it gets some that others have not sent yet, because they may be slow.
   * @param {string} holder @param {number} holders How many there are. @returns {{offset: number, end: number}} Bytes.
   */
  give(holder, holders) {
    const missing = Array.from({ length: this.#proved }, (_, number) => number).filter((number) => !this.#pieces.has(number));
    const asked = [...this.#asked.values()];
    const times = new Map(missing.map((number) => [number, asked.filter((numbers) => numbers.has(number)).length]));
    const least = Math.min(...times.values());
    const last = missing.findLast((number) => times.get(number) === least);
    const most = Math.min(RUN_PIECES_MAX, Math.ceil(missing.length / (RUNS_EACH * holders)));
    const run = new Set([last]);
    for (let number = last - 1; run.size < most && times.get(number) === least; number -= 1) run.add(number);
    this.#asked.set(holder, run);
    return { offset: (last + 1 - run.size) * PIECE_BYTES, end: Math.min((last + 1) * PIECE_BYTES, this.#total) };
  }

  /** @param {string} holder @returns {boolean} Whether it has nothing more to send. */
  isIdle(holder) {
    return !(this.#asked.get(holder)?.size > 0);
  }

  /** The transfer of a holder has ended. What it has not sent is given out again. @param {string} holder */
  ended(holder) {
    this.#asked.delete(holder);
  }

  /** Takes a piece. @param {string} holder @param {Piece} piece @returns {boolean} Whether it is worth keeping. */
  arrived(holder, piece) {
    const { number, from, to, next } = piece;
    this.#asked.get(holder)?.delete(number);
    // That a holder contradicts itself needs no proof.
    if ((next && !equal(next, to)) || (number === 0 && !equal(from, FIRST_LINK))) this.#lied(holder);
    if (this.liars.has(holder) || this.#pieces.has(number)) return false;
    this.#pieces.set(number, { ...piece, by: holder });
    for (const numbers of this.#asked.values()) numbers.delete(number);
    this.#prove();
    return this.#pieces.has(number);
  }

  /** Proves what leads to the proved pieces. What does not was not sent by an honest holder. */
  #prove() {
    for (let piece = this.#pieces.get(this.#proved - 1); piece; piece = this.#pieces.get(this.#proved - 1)) {
      const { number, from, to, by, content } = piece;
      if (!equal(to, this.#link)) {
        this.#lied(by);
        continue;
      }
      [this.#proved, this.#link] = [number, from];
      if (by !== null) this.shares.set(by, (this.shares.get(by) ?? 0) + content.length);
    }
  }

  /** Forgets what a liar has sent, unless it is proved. What an earlier transfer has left may have several senders. */
  #lied(holder) {
    if (holder !== null) this.liars.add(holder);
    this.#asked.delete(holder);
    for (const [number, { by }] of this.#pieces) {
      if (by === holder && number < this.#proved) this.#pieces.delete(number);
    }
  }
}
