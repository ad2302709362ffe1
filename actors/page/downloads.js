// The files that are being fetched: what is here of them already, and the transfers. Every file comes by pieces, also from one
// holder: so each part is checked when it arrives, and the file is never in memory as a whole.

import { hex } from "./bytes.js";
import { ordinal } from "./text.js";
import { Gather, Later, receivePieces, Refused } from "./gather.js";
import { linkBehind, piecesOf, totalBehind } from "./pieces.js";
import { Parts } from "./parts.js";
import { Plan } from "./plan.js";

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

/**
 * Holders publish the length of a file beside its digest, and one may publish a false one. So only those are asked together that
 * say the same. @param {object[]} hits Of one digest. @returns {object[][]} Those of the same length, the largest group first.
 */
export const byLength = (hits) =>
  [...Map.groupBy(hits, ({ file }) => String(file.bytes)).values()].sort((one, other) => other.length - one.length);

/** The transfers to this page. */
export class Downloads {
  #ask;
  #session;
  /** Null if the browser does not keep any. @type {Promise<Parts | null>} */ #parts;
  /** What cancels a download, by digest in hex. @type {Map<string, AbortController>} */ #stops = new Map();

  /**
   * @param {number} unix Now.
   * @param {(wanted: {hit: object, offset: number, end?: number}, signal: AbortSignal, onPlace: (place: number) => void) =>
   *   Promise<{transfer: Uint8Array, key: Uint8Array}>} ask Requests a file, or pieces of it up to `end`.
   * @param {() => object} session The joined one.
   */
  constructor(unix, ask, session) {
    [this.#ask, this.#session] = [ask, session];
    this.#parts = Parts.open().then((parts) => parts.forgetOld(unix).then(() => parts)).catch(() => null);
  }

  /** Stops fetching a file. What has arrived stays on the disk. @param {object} file */
  cancel({ sha256 }) {
    this.#stops.get(hex(sha256))?.abort();
  }

  /**
   * Fetches a file, and checks all of it before it is given out.
   * @param {object[]} hits What was found, of each holder to ask. @param {number} unix Now.
   * @param {(progress: {done: number, waiting?: string[]}) => void} onProgress `waiting`: which holders cannot send now, and why.
   * @returns {Promise<{blob?: Blob, shares?: [string, number][], liars?: string[], error?: string, kept?: number}>} How much has come
   *   from whom, and who has sent something else. If it failed, how many bytes are kept.
   */
  async fetch(hits, unix, onProgress) {
    const asked = byLength(hits)[0];
    if (isTooLarge(asked[0].file)) return { error: TOO_LARGE };
    const { file: { bytes, sha256 } } = asked[0];
    const id = hex(sha256);
    if (this.#stops.has(id)) return { error: "This content is being fetched already." };
    const stop = new AbortController();
    this.#stops.set(id, stop);
    const parts = await this.#parts;
    const plan = new Plan(bytes, sha256);
    const download = { plan, parts, kept: new Set(), signal: stop.signal, onProgress };
    try {
      await this.#restore(download, (await parts?.begin(sha256, unix).catch(() => [])) ?? [], bytes);
      await this.#gather(download, asked.slice(0, HOLDERS_MAX));
    } catch (error) {
      const kept = plan.bytesOf(download.kept);
      const failed = error instanceof Refused || error instanceof Later ? error.message : `The file could not be fetched: ${error.message}`;
      const cancelled = kept > 0 ? "Cancelled." : "Cancelled. Nothing of it is kept.";
      return { error: stop.signal.aborted ? cancelled : failed, kept, liars: [...plan.liars] };
    } finally {
      this.#stops.delete(id);
    }
    await parts?.forget(sha256).catch(() => {});
    return { blob: new Blob(plan.contents()), shares: [...plan.shares], liars: [...plan.liars] };
  }

  /** Uses what an earlier transfer has left. It is hashed again, because the disk may have damaged it. */
  async #restore({ plan, kept, signal, onProgress }, pieces, bytes) {
    for (const { number, from, content } of pieces) {
      signal.throwIfAborted();
      const to = linkBehind(from, new Uint8Array(await content.arrayBuffer()), totalBehind(number, bytes));
      plan.arrived(null, { number, from, to, next: null, content });
      kept.add(number);
      onProgress({ done: plan.bytes });
    }
  }

  /** Fetches what is missing from all these holders. */
  async #gather({ plan, parts, kept, signal, onProgress }, hits) {
    /** How much of the next piece of each holder is here. */
    const arriving = new Map();
    /** Why holders cannot send now. @type {Map<string, string>} */ const waits = new Map();
    const show = () =>
      onProgress({ done: [...arriving.values()].reduce((sum, bytes) => sum + bytes, plan.bytes), waiting: [...waits.values()] });
    const waitsFor = (peer, why) => {
      if (why) waits.set(peer, why);
      else waits.delete(peer);
      show();
    };
    const receive = async (hit, { offset, end, isWhole: isOld }, stop, take) => {
      const { peer, file } = hit;
      const isWhole = isOld || piecesOf(file.bytes) === 1;
      const onPlace = (place) => waitsFor(peer, `${peer} is busy; you are ${ordinal(place)} in the queue.`);
      const ready = await this.#ask({ hit, offset, ...(isWhole ? {} : { end }) }, stop, onPlace).catch((error) => {
        const why = error.isBusy ? `${peer} is busy, and its queue is full.` : `${peer} is away.`;
        waitsFor(peer, error instanceof Later ? why : null);
        throw error;
      });
      waitsFor(peer, null);
      const onArriving = (bytes) => {
        arriving.set(peer, bytes);
        show();
      };
      const job = { ...ready, file, offset, end, isWhole, signal: stop };
      await receivePieces(this.#session(), job, take, onArriving).finally(() => arriving.delete(peer));
    };
    const keep = async ({ number, from, content }) => {
      // Without room, the transfer goes on, and what comes from now on is not kept.
      const isKept = await parts?.keep(hits[0].file.sha256, number, { from, content }).then(() => true, () => false);
      if (isKept) kept.add(number);
      else kept.delete(number);
    };
    await new Gather(plan, receive, keep, signal).fetch(hits);
  }
}
