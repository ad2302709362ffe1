// Which holder is asked for which pieces of a file, and what is believed of what they send: PROTOCOL.md, section 15.7. Pieces are
// given out from the end of the file to its start, because they are proved in this direction.

import { equal } from "./bytes.js";
import { FIRST_LINK, PIECE_BYTES, piecesOf, RUN_PIECES_MAX } from "./pieces.js";

/** So many requests of each holder there are at least, so that the fast ones do more. */
const RUNS_EACH = 4;

/**
 * A piece that has arrived: the link at it, as its holder has named it, and the one to which it leads. `next` is what its holder
 * names for the next piece, if it has sent that one too.
 * @typedef {{number: number, from: Uint8Array, to: Uint8Array, next: Uint8Array | null, content: Blob}} Piece
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

  /** How many bytes are here. */ bytes = 0;
  #onDropped;

  /**
   * @param {number} total Bytes. @param {Uint8Array} sha256
   * @param {(numbers: number[]) => void} [onDropped] Called with pieces that are not believed any more.
   */
  constructor(total, sha256, onDropped = () => {}) {
    [this.#total, this.#proved, this.#link, this.#onDropped] = [total, piecesOf(total), sha256, onDropped];
  }

  /** Whether all pieces are proved. */
  get isDone() {
    return this.#proved === 0;
  }

  /** @param {Map<number, Blob>} contents By piece. @returns {number} How many bytes of these are still believed. */
  bytesOf(contents) {
    return [...contents].reduce((sum, [number, content]) => sum + (this.#pieces.get(number)?.content === content ? content.size : 0), 0);
  }

  /** The file, once it is done. @returns {Blob[]} */
  contents() {
    return Array.from({ length: piecesOf(this.#total) }, (_, number) => this.#pieces.get(number).content);
  }

  /**
   * Gives a holder pieces to send. When all are given out, it gets some that others have not sent yet, because they may be slow.
   * @param {string} holder @param {number} holders How many there are. @returns {{offset: number, end: number}} Bytes.
   */
  give(holder, holders) {
    const missing = this.#missing();
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

  /** Gives all to a holder that is too old to send pieces. @param {string} holder @returns {{offset: number, end: number, isWhole: true}} */
  giveOld(holder) {
    this.#asked.set(holder, new Set(this.#missing()));
    return { offset: 0, end: this.#total, isWhole: true };
  }

  #missing() {
    return Array.from({ length: this.#proved }, (_, number) => number).filter((number) => !this.#pieces.has(number));
  }

  /** @param {string} holder @returns {boolean} Whether it has nothing more to send. */
  isIdle(holder) {
    return !(this.#asked.get(holder)?.size > 0);
  }

  /** The transfer of a holder has ended. What it has not sent is given out again. @param {string} holder */
  ended(holder) {
    this.#asked.delete(holder);
  }

  /**
   * Takes a piece. @param {string | null} holder Null if an earlier transfer has left it. @param {Piece} piece
   * @returns {boolean} Whether it is worth keeping.
   */
  arrived(holder, piece) {
    const { number, from, to, next } = piece;
    this.#asked.get(holder)?.delete(number);
    // That a holder contradicts itself needs no proof.
    const isWrong = (next && !equal(next, to)) || (number === 0 && !equal(from, FIRST_LINK));
    if (isWrong) this.#lied(holder);
    if (isWrong || this.liars.has(holder) || this.#pieces.has(number)) return false;
    this.#pieces.set(number, { ...piece, by: holder });
    this.bytes += piece.content.size;
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
      if (by !== null) this.shares.set(by, (this.shares.get(by) ?? 0) + content.size);
    }
  }

  /** Forgets what a liar has sent, unless it is proved. What an earlier transfer has left may have several senders. */
  #lied(holder) {
    if (holder !== null) this.liars.add(holder);
    this.#asked.delete(holder);
    const theirs = [...this.#pieces].filter(([number, { by }]) => by === holder && number < this.#proved);
    for (const [number, { content }] of theirs) {
      this.#pieces.delete(number);
      this.bytes -= content.size;
    }
    this.#onDropped(theirs.map(([number]) => number));
  }
}
