// How fast holders send, in comparison with each other. Times are milliseconds.

import { PIECE_BYTES } from "./pieces.js";

/** How long a holder may take for a piece at least before it counts as slow, and how many times as long as the others. */
const SLOW_LEAST = 5000;
const SLOW_TIMES = 8;
/** How many pieces or files another holder must have sent before its time says something. */
const USUAL_LEAST = 4;
/** So many bytes could be sent in the time that each file takes besides. */
const FILE_BYTES = 4096;

/** The holders that are asked. They have names. */
export class Speeds {
  /** Since when the next piece of each comes, and how long so many have taken. @type {Map<string, {since: number | null, count: number, pieces: number, spent: number}>} */
  #holders = new Map();

  /** A holder begins to send. @param {string} holder @param {number} now */
  begins(holder, now) {
    const one = this.#holders.get(holder) ?? { count: 0, pieces: 0, spent: 0 };
    this.#holders.set(holder, Object.assign(one, { since: now }));
  }

  /** A piece has come, or a file. @param {string} holder @param {number} bytes Of it. @param {number} now */
  arrived(holder, bytes, now) {
    const one = this.#holders.get(holder);
    if (!one) return;
    one.count += 1;
    one.pieces += (bytes + FILE_BYTES) / PIECE_BYTES;
    one.spent += now - one.since;
    one.since = now;
  }

  /** A holder has sent what it was asked for. @param {string} holder */
  ended(holder) {
    const one = this.#holders.get(holder);
    if (one) one.since = null;
  }

  /** A holder is not asked any more, so nobody is compared with it. @param {string} holder */
  forget(holder) {
    this.#holders.delete(holder);
  }

  /** @param {number} now @returns {string | null} A holder that is far slower than the others. */
  slow(now) {
    const [holder = null] = [...this.#holders].find(([name, { since }]) => since !== null && now - since >= this.#patience(name)) ?? [];
    return holder;
  }

  /** How long a holder may take for a piece. Without others that send now, for ever. */
  #patience(holder) {
    const others = [...this.#holders].filter(([name, { since, count }]) => name !== holder && since !== null && count >= USUAL_LEAST);
    const usual = others.map(([, { spent, pieces }]) => spent / pieces).sort((one, other) => one - other);
    return usual.length > 0 ? Math.max(SLOW_LEAST, SLOW_TIMES * usual[Math.floor(usual.length / 2)]) : Infinity;
  }
}
