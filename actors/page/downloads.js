// The files that are being fetched: what is here of them already, and the transfers. A file comes by pieces, also from one
// holder: so each part is checked when it arrives, and the file is never in memory as a whole. Small files of a list come many at
// a time over one connection.

import { Batches, NOBODY } from "./batches.js";
import { equal, hex } from "./bytes.js";
import { ordinal } from "./text.js";
import { Gather, Later, receivePieces, Refused, Silent } from "./gather.js";
import { FIRST_LINK, linkBehind, PIECE_BYTES, piecesOf, totalBehind } from "./pieces.js";
import { Parts } from "./parts.js";
import { REFUSALS } from "./files.js";
import { Plan } from "./plan.js";
import { receiveFiles } from "./transfer.js";
import { sha256 as digest } from "./crypto.js";

/** Browsers have less room for what pages make than for what they save. */
const FILE_BYTES_MAX = 2 ** 32;
export const TOO_LARGE = `The page fetches files of up to ${FILE_BYTES_MAX / 2 ** 30} GiB.`;
/** A file with fewer pieces comes from one holder, because the requests would take longer than the file. */
const PIECES_LEAST = 8;
/** Each has a connection. */
const HOLDERS_MAX = 8;

/** @param {object} file What was found. @returns {boolean} Whether it is too large for this page. */
export const isTooLarge = ({ bytes }) => bytes > FILE_BYTES_MAX;

/** @param {object} file What was found. @returns {boolean} Whether it is worth asking several holders at once. */
export const isForSeveral = (file) => !isTooLarge(file) && piecesOf(file.bytes) >= PIECES_LEAST;

/** @param {object} file What was found. @returns {boolean} Whether it comes with others, because to keep a part of it is of no use. */
export const isForMany = ({ bytes }) => bytes <= PIECE_BYTES;

/**
 * Holders publish the length of a file beside its digest, and one may publish a false one. So only those are asked together that
 * say the same. @param {object[]} hits Of one digest. @returns {object[][]} Those of the same length, the largest group first.
 */
export const byLength = (hits) =>
  [...Map.groupBy(hits, ({ file }) => String(file.bytes)).values()].sort((one, other) => other.length - one.length);

/** Which holders cannot send now, and why. */
class Waits {
  /** @type {Map<string, string>} */ #texts = new Map();
  /** Whose part was left to the others. @type {Set<string>} */ slowOnes = new Set();
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
  }

  get texts() {
    return [...this.#texts.values()];
  }

  /** @param {string} peer @param {string | null} why */
  set(peer, why) {
    if (why) this.#texts.set(peer, why);
    else this.#texts.delete(peer);
    this.#onChange();
  }

  /** Waits for a holder. @param {string} peer @param {(onPlace: (place: number) => void) => Promise<T>} ask @returns {Promise<T>} @template T */
  async during(peer, ask) {
    const onPlace = (place) => this.set(peer, `${peer} is busy; you are ${ordinal(place)} in the queue.`);
    const ready = await ask(onPlace).catch((error) => {
      const why = error.isBusy ? `${peer} is busy, and its queue is full.` : `${peer} is away.`;
      this.set(peer, error instanceof Later ? why : null);
      throw error;
    });
    this.set(peer, null);
    return ready;
  }

  /** @param {string} peer */
  slow(peer) {
    this.slowOnes.add(peer);
    this.set(peer, `${peer} sends far slower than the others, so they send the rest.`);
  }
}

/** Why something could not be fetched, for people. */
const reason = (error) => (error instanceof Refused || error instanceof Later ? error.message : `The file could not be fetched: ${error.message}`);

/** The transfers to this page. */
export class Downloads {
  #ask;
  #session;
  #find;
  /** Null if the browser does not keep any. @type {Promise<Parts | null>} */ #parts;
  /** What cancels a download, by digest in hex, or by the id of a list. @type {Map<string, AbortController>} */ #stops = new Map();

  /**
   * @param {number} unix Now.
   * @param {(wanted: {hit: object, offset?: number, end?: number, files?: object[]}, signal: AbortSignal, onPlace: (place: number) => void)
   *   => Promise<{transfer: Uint8Array, key: Uint8Array}>} ask Requests a file, or pieces of it up to `end`, or many files.
   * @param {() => object} session The joined one.
   * @param {(sha256: Uint8Array) => Promise<object[]>} [find] Finds hits of a content at others.
   */
  constructor(unix, ask, session, find = async () => []) {
    [this.#ask, this.#session, this.#find] = [ask, session, find];
    this.#parts = Parts.open().then((parts) => parts.forgetOld(unix).then(() => parts)).catch(() => null);
  }

  /** Stops fetching a file, or those of a list. What has arrived stays. @param {{file?: object, list?: string}} what */
  cancel({ file, list }) {
    this.#stops.get(list ?? hex(file.sha256))?.abort();
  }

  /** The lists that can be continued. @returns {Promise<object[]>} */
  async lists() {
    return (await (await this.#parts)?.lists().catch(() => [])) ?? [];
  }

  /** Keeps what is fetched together. @param {string} list An id. @param {object} kept Of which files, and by which pattern. @param {number} unix Now. */
  async keepList(list, kept, unix) {
    await (await this.#parts)?.keepList(list, { ...kept, begun: unix, isSaved: false }).catch(() => {});
  }

  /** Forgets a list, soon if it `isSaved`: what is being saved is needed until then. @param {string} list An id. @param {boolean} isSaved */
  async forgetList(list, isSaved) {
    const parts = await this.#parts;
    await (isSaved ? parts?.listSaved(list) : parts?.forgetList(list))?.catch(() => {});
  }

  /**
   * Fetches many small files from all who have them. One that has come is given out at once, and kept.
   * @param {string} list An id. @param {object[][]} wanted For each file, the hits of its holders. @param {number} unix Now.
   * @param {(progress: {done: number, waiting: string[], number?: number, blob?: Blob, arrived?: number}) => void} onProgress `number`: which
   *   file has come, or how many bytes of it.
   * @returns {Promise<{errors: {number: number, error: string}[], shares: [string, number][], liars: string[], slow: string[]}>} What has not
   *   come.
   */
  async fetchMany(list, wanted, unix, onProgress) {
    const stop = new AbortController();
    this.#stops.set(list, stop);
    const batches = new Batches(wanted);
    const progress = (came = {}) => onProgress({ done: batches.bytes, waiting: waits.texts, ...came });
    const waits = new Waits(() => progress());
    const receive = async ({ peer }, { numbers, isAlone }, signal, take, begins) => {
      const files = numbers.map((number) => batches.file(number));
      const request = isAlone ? { hit: { peer, file: files[0] }, offset: 0 } : { hit: { peer }, files };
      const ready = await waits.during(peer, (onPlace) => this.#ask(request, signal, onPlace)).catch((error) => {
        // Whoever refuses these files may send others.
        if (error instanceof Refused && !(error instanceof Silent) && !signal.aborted) return { refusal: error.message };
        throw error;
      });
      if (ready.refusal) return Promise.all(numbers.map((number) => take({ number, why: ready.refusal })));
      begins();
      const onArriving = (at, bytes) => progress({ number: numbers[at], arrived: bytes });
      const takeAlone = (came) => take({ number: numbers[0], ...came });
      if (isAlone) return this.#receiveAlone({ ...ready, file: files[0], signal }, takeAlone, (bytes) => onArriving(0, bytes));
      const arrived = (at, { refusal, ...came }) => take({ number: numbers[at], why: refusal && `${peer} ${REFUSALS[refusal]}.`, ...came });
      return receiveFiles(this.#session(), { ...ready, files, signal }, arrived, onArriving);
    };
    const parts = await this.#parts;
    const writes = [];
    const keep = async ({ number, content }) => {
      progress({ number, blob: content });
      // The next file need not wait for this one.
      writes.push(parts?.keep(batches.file(number).sha256, 0, { from: FIRST_LINK, content }).catch(() => {}));
    };
    await this.#restoreMany(parts, batches, unix, progress);
    const peers = new Set(wanted.flat().filter(({ online }) => online).map(({ peer }) => peer));
    const gather = new Gather(batches, { receive, keep, slow: (peer) => waits.slow(peer) }, stop.signal);
    const failed = await gather.fetch([...peers].map((peer) => ({ peer }))).then(() => null, reason);
    await Promise.all(writes);
    this.#stops.delete(list);
    const errors = batches.missing.map(({ number, why }) => ({ number, error: stop.signal.aborted ? "Cancelled." : why ?? failed }));
    return { errors, shares: [...batches.shares], liars: [...batches.liars], slow: [...waits.slowOnes] };
  }

  /** Uses what is here of many files. It is hashed again, because the disk may have damaged it. */
  async #restoreMany(parts, batches, unix, progress) {
    const wanted = batches.missing.map(({ number }) => batches.file(number).sha256);
    const contents = (await parts?.beginMany(wanted, unix).catch(() => null)) ?? [];
    for (const [number, content] of contents.entries()) {
      const bytes = await content?.arrayBuffer().catch(() => null);
      const isRight = bytes && equal(await digest(new Uint8Array(bytes)), wanted[number]);
      if (isRight && batches.arrived(null, { number, content, isRight })) progress({ number, blob: content });
    }
  }

  /** Receives one of many files, which is a piece by itself, from a holder that is too old to send many. */
  #receiveAlone(job, take, onArriving) {
    const { file } = job;
    const arrived = ({ to, content }) => take({ content, isRight: equal(to, file.sha256) });
    return receivePieces(this.#session(), { ...job, offset: 0, end: file.bytes, isWhole: true }, arrived, onArriving);
  }

  /**
   * Fetches a file, and checks all of it before it is given out.
   * @param {object[]} hits What was found, of each holder to ask, if it is here. @param {number} unix Now. @param {boolean} isListed Whether to
   *   keep it until its list is forgotten.
   * @param {(progress: {done: number, waiting?: string[]}) => void} onProgress `waiting`: which holders cannot send now, and why.
   * @returns {Promise<{blob?: Blob, shares?: [string, number][], liars?: string[], slow?: string[], error?: string, kept?: number}>}
   *   How much has come from whom, and who has sent something else, or far slower than the others. If it failed, how many bytes are kept.
   */
  async fetch(hits, unix, isListed, onProgress) {
    const asked = byLength(hits)[0];
    if (isTooLarge(asked[0].file)) return { error: TOO_LARGE };
    const { file: { bytes, sha256 } } = asked[0];
    const id = hex(sha256);
    if (this.#stops.has(id)) return { error: "This content is being fetched already." };
    const stop = new AbortController();
    this.#stops.set(id, stop);
    const parts = await this.#parts;
    // What a liar has sent would only be fetched again by the next transfer.
    const plan = new Plan(bytes, sha256, (numbers) => parts?.drop(sha256, numbers).catch(() => {}));
    let slow = [];
    const download = { file: asked[0].file, plan, parts, kept: new Map(), signal: stop.signal, onProgress };
    try {
      await this.#restore(download, (await parts?.begin(sha256, unix).catch(() => [])) ?? [], bytes);
      const here = asked.filter(({ online }) => online).slice(0, HOLDERS_MAX);
      if (here.length === 0 && !plan.isDone) throw new Refused(NOBODY);
      slow = await this.#gather(download, here);
    } catch (error) {
      const kept = plan.bytesOf(download.kept);
      const cancelled = kept > 0 ? "Cancelled." : "Cancelled. Nothing of it is kept.";
      return { error: stop.signal.aborted ? cancelled : reason(error), kept, liars: [...plan.liars] };
    } finally {
      this.#stops.delete(id);
    }
    if (!isListed) await parts?.forget(sha256).catch(() => {});
    return { blob: new Blob(plan.contents()), shares: [...plan.shares], liars: [...plan.liars], slow };
  }

  /** Uses what an earlier transfer has left. It is hashed again, because the disk may have damaged it. */
  async #restore({ plan, kept, signal, onProgress }, pieces, bytes) {
    for (const { number, from, content } of pieces) {
      signal.throwIfAborted();
      const to = linkBehind(from, new Uint8Array(await content.arrayBuffer()), totalBehind(number, bytes));
      plan.arrived(null, { number, from, to, next: null, content });
      kept.set(number, content);
      onProgress({ done: plan.bytes });
    }
  }

  /** Fetches what is missing from all these holders. Returns those that were slow. */
  async #gather({ file: { bytes, sha256 }, plan, parts, kept, signal, onProgress }, hits) {
    /** How much of the next piece of each holder is here. */
    const arriving = new Map();
    const stopped = new Set();
    const show = () => {
      const done = [...arriving.values()].reduce((sum, bytes) => sum + bytes, plan.bytes);
      // At the end, several may send the same piece.
      onProgress({ done: Math.min(done, bytes), waiting: waits.texts });
    };
    const waits = new Waits(show);
    const receive = async (hit, { offset, end, isWhole: isOld }, stop, take, begins) => {
      const { peer, file } = hit;
      const isWhole = isOld || piecesOf(file.bytes) === 1;
      const request = { hit, offset, ...(isWhole ? {} : { end }) };
      const ready = await waits.during(peer, (onPlace) => this.#ask(request, stop, onPlace));
      begins();
      const onArriving = (bytes) => {
        arriving.set(peer, bytes);
        show();
      };
      const takeWhole = (piece) => {
        // It must not count twice.
        arriving.delete(peer);
        return take(piece);
      };
      const job = { ...ready, file, offset, end, isWhole, signal: stop };
      await receivePieces(this.#session(), job, takeWhole, onArriving).finally(() => arriving.delete(peer)).catch((error) => {
        stopped.add(peer);
        throw error;
      });
    };
    const keep = async ({ number, from, content }) => {
      // Without room, the transfer goes on, and what comes from now on is not kept.
      const isKept = await parts?.keep(sha256, number, { from, content }).then(() => true, () => false);
      if (isKept) kept.set(number, content);
    };
    const others = async () => {
      const isOther = ({ online, peer, file }) => online && file.bytes === bytes && hits.every((hit) => hit.peer !== peer);
      const found = (await this.#find(sha256)).filter(isOther).slice(0, HOLDERS_MAX - hits.length);
      if (found.length > 0) for (const peer of stopped) waits.set(peer, `${peer} has stopped sending.`);
      for (const { peer } of found) waits.set(peer, `${peer} has it too, and is asked for the rest.`);
      return found;
    };
    await new Gather(plan, { receive, keep, others, slow: (peer) => waits.slow(peer) }, signal).fetch(hits);
    return [...waits.slowOnes];
  }
}
