// Which holder is asked for which of many small files: PROTOCOL.md, section 15.6. `Gather` uses it as it uses `Plan`.

import { utf8 } from "./bytes.js";

/** What one request may ask for: so many files, and so many bytes of their names and digests. */
const FILES_MAX = 1024;
const NAMES_BYTES_MAX = 48 << 10;
const DIGEST_BYTES = 34;
/** So many requests of each holder there are at least, so that the fast ones do more, but each is for so many files at least. */
const RUNS_EACH = 4;
const FILES_LEAST = 16;

/**
 * A file that has come, by its number: `isRight` is whether it has the digest. Or why its holder does not send it.
 * @typedef {{number: number, content?: Blob, isRight?: boolean, why?: string}} Came
 */

export const NOBODY = "Nobody who has it is here now.";

/** Many files. Holders have names. */
export class Batches {
  /** For each file, who may have it, whether it is here, and why somebody has not sent it. */ #wanted;
  /** What each holder was asked for, and has not come from anybody. @type {Map<string, Set<number>>} */ #asked = new Map();
  /** Holders that have sent something else. @type {Set<string>} */ liars = new Set();
  /** How many bytes each holder has sent. @type {Map<string, number>} */ shares = new Map();
  /** How many bytes are here. */ bytes = 0;

  /** @param {object[][]} wanted For each file, the hits of its holders. */
  constructor(wanted) {
    this.#wanted = wanted.map((hits) => {
      const holders = new Set(hits.filter(({ online }) => online).map(({ peer }) => peer));
      return { file: hits[0].file, holders, isHere: false, why: holders.size > 0 ? null : NOBODY };
    });
  }

  /** Whether nothing more can come. */
  get isDone() {
    return this.#wanted.every(({ isHere, holders }) => isHere || holders.size === 0);
  }

  /** The files that are not here, by their numbers, and why, if somebody has said it. @returns {{number: number, why: string | null}[]} */
  get missing() {
    return this.#wanted.flatMap(({ isHere, why }, number) => (isHere ? [] : { number, why }));
  }

  /** @param {number} number @returns {object} What was found of a file. */
  file(number) {
    return this.#wanted[number].file;
  }

  #missingAt(holder) {
    return this.#wanted.flatMap(({ isHere, holders }, number) => (isHere || !holders.has(holder) ? [] : number));
  }

  /**
   * Gives a holder files to send. When all that it has are given out, it gets some that others have not sent yet, because they may be
   * slow; the last ones first, because the others send the first ones first.
   * @param {string} holder @param {number} holders How many there are. @returns {{numbers: number[]} | null} null if it has nothing to send.
   */
  give(holder, holders) {
    const missing = this.#missingAt(holder);
    if (missing.length === 0) return null;
    const asked = [...this.#asked.values()];
    const times = new Map(missing.map((number) => [number, asked.filter((numbers) => numbers.has(number)).length]));
    const least = Math.min(...times.values());
    const free = missing.filter((number) => times.get(number) === least);
    if (least > 0) free.reverse();
    const part = Math.max(FILES_LEAST, Math.ceil(missing.length / (RUNS_EACH * holders)));
    let room = NAMES_BYTES_MAX;
    const fits = (number) => (room -= DIGEST_BYTES + utf8(this.file(number).name).length) >= 0;
    const numbers = free.slice(0, holders === 1 ? FILES_MAX : Math.min(part, FILES_MAX)).filter(fits);
    this.#asked.set(holder, new Set(numbers));
    return { numbers };
  }

  /** Gives one file to a holder that is too old to send many. @param {string} holder @returns {{numbers: number[], isAlone: true} | null} */
  giveOld(holder) {
    const numbers = this.#missingAt(holder).slice(0, 1);
    this.#asked.set(holder, new Set(numbers));
    return numbers.length > 0 ? { numbers, isAlone: true } : null;
  }

  /** @param {string} holder @returns {boolean} Whether it has nothing more to send. */
  isIdle(holder) {
    return !(this.#asked.get(holder)?.size > 0);
  }

  /** The transfer of a holder has ended. What it has not sent is given out again. @param {string} holder */
  ended(holder) {
    this.#asked.delete(holder);
  }

  /** Takes a file. @param {string | null} holder Null if it was here before. @param {Came} came @returns {boolean} Whether it is new and right. */
  arrived(holder, { number, content, isRight, why }) {
    const wanted = this.#wanted[number];
    this.#asked.get(holder)?.delete(number);
    if (why) {
      wanted.holders.delete(holder);
      wanted.why = why;
      return false;
    }
    if (!isRight) this.#lied(holder);
    if (!isRight || wanted.isHere) return false;
    wanted.isHere = true;
    this.bytes += content.size;
    if (holder !== null) this.shares.set(holder, (this.shares.get(holder) ?? 0) + content.size);
    for (const numbers of this.#asked.values()) numbers.delete(number);
    return true;
  }

  /** Does not ask a holder for anything more. */
  #lied(holder) {
    this.liars.add(holder);
    this.#asked.delete(holder);
    for (const wanted of this.#wanted.filter(({ isHere }) => !isHere)) {
      if (wanted.holders.delete(holder)) wanted.why = `${holder} has sent something else, so it is not asked any more.`;
    }
  }
}
