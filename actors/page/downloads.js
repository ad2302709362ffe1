// The files that are being fetched: what is here of them already, the transfers, and the check of the whole.

import { concat, equal, hex } from "./bytes.js";
import { digestOf, FILE_BYTES_MAX, receiveChunks, TOO_LARGE } from "./transfer.js";
import { FIRST_LINK, linkBehind, PIECE_BYTES, piecesOf } from "./pieces.js";
import { Gather, receivePieces } from "./gather.js";
import { Parts } from "./parts.js";
import { Plan } from "./plan.js";

/** A file with fewer pieces comes from one holder, because the requests would take longer than the file. */
const PIECES_LEAST = 8;
/** Each has a connection. */
const HOLDERS_MAX = 8;

/** @param {object} file What was found. @returns {boolean} Whether it is fetched from several holders at once. */
export const isForSeveral = ({ bytes }) => bytes <= FILE_BYTES_MAX && piecesOf(bytes) >= PIECES_LEAST;

const lengthOf = (parts) => parts.reduce((sum, { length }) => sum + length, 0);

/** The links to which the pieces lead that are here, computed from what they contain, because the disk may have damaged them. */
function* checked(pieces, bytes) {
  const isWhole = ({ number, content }) => content.length === Math.min(PIECE_BYTES, bytes - number * PIECE_BYTES);
  for (const piece of pieces.filter(isWhole)) {
    const total = piece.number + 1 === piecesOf(bytes) ? bytes : null;
    yield { ...piece, to: linkBehind(piece.from, piece.content, total), next: null };
  }
}

/** The whole pieces that chunks from the begin of a file are. */
function* piecesOfChunks(chunks) {
  const bytes = concat(...chunks);
  for (let [number, from] = [0, FIRST_LINK]; (number + 1) * PIECE_BYTES <= bytes.length; number += 1) {
    const content = bytes.slice(number * PIECE_BYTES, (number + 1) * PIECE_BYTES);
    yield { number, from, content };
    from = linkBehind(from, content, null);
  }
}

/** The transfers to this page. */
export class Downloads {
  #ask;
  #session;
  /** Null if the browser does not keep any. @type {Promise<Parts | null>} */ #parts;
  /** What cancels a download, by digest in hex. @type {Map<string, AbortController>} */ #stops = new Map();

  /**
   * @param {number} unix Now.
   * @param {(wanted: {hit: object, offset: number, end?: number}, signal: AbortSignal, onPlace?: (place: number) => void) =>
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
   * @param {(progress: {done?: number, place?: number}) => void} onProgress
   * @returns {Promise<{blob?: Blob, shares?: [string, number][], liars?: string[], error?: string, kept?: number}>} If it came from
   *   several, how much from each, and who has sent something else. If it failed, how many bytes are kept.
   */
  async fetch(hits, unix, onProgress) {
    const { bytes, sha256 } = hits[0].file;
    const id = hex(sha256);
    if (bytes > FILE_BYTES_MAX) return { error: TOO_LARGE };
    if (this.#stops.has(id)) return { error: "This content is being fetched already." };
    const stop = new AbortController();
    this.#stops.set(id, stop);
    const parts = await this.#parts;
    const { chunks, pieces } = (await parts?.begin(sha256, unix).catch(() => null)) ?? { chunks: [], pieces: [] };
    const isGathered = pieces.length > 0 || (hits.length > 1 && isForSeveral(hits[0].file));
    const download = { hits, parts, chunks, pieces, signal: stop.signal, kept: 0, onProgress };
    try {
      stop.signal.throwIfAborted();
      return await (isGathered ? this.#gather(download) : this.#whole(download));
    } catch (error) {
      const { kept } = download;
      const cancelled = kept > 0 ? "Cancelled." : "Cancelled. Nothing of it is kept.";
      return { error: stop.signal.aborted ? cancelled : error.message, kept };
    } finally {
      this.#stops.delete(id);
    }
  }

  /** Fetches a file from one holder, from its begin to its end. */
  async #whole(download) {
    const { hits: [hit], parts, chunks, signal, onProgress } = download;
    const { file } = hit;
    if (lengthOf(chunks) > file.bytes) chunks.length = 0;
    const offset = (download.kept = lengthOf(chunks));
    if (offset > 0) onProgress({ done: offset });
    const ready = await this.#ask({ hit, offset }, signal, (place) => onProgress({ place }));
    let hasRoom = parts !== null;
    await received(receiveChunks(this.#session(), { ...ready, file, offset, end: file.bytes, signal }, async (chunk, done) => {
      // Without room, the transfer goes on, and what comes from now on is not kept.
      hasRoom &&= await isDone(parts.keep("chunks", file.sha256, chunks.length, chunk));
      if (hasRoom) download.kept = done;
      chunks.push(chunk);
      onProgress({ done });
    }));
    const blob = new Blob(chunks);
    const isRight = equal(await digestOf(blob), file.sha256);
    // If it is wrong, so is something of what was kept.
    await parts?.forget(file.sha256).catch(() => {});
    download.kept = 0;
    if (!isRight) throw new Error("The file has another SHA-256 than it should have. Nothing of it is kept.");
    return { blob };
  }

  /** Fetches a file from several holders by pieces. */
  async #gather(download) {
    const { hits, parts, chunks, pieces, signal, onProgress } = download;
    const [{ file }] = hits;
    const plan = new Plan(file.bytes, file.sha256, [...checked([...piecesOfChunks(chunks), ...pieces], file.bytes)]);
    download.kept = plan.bytes;
    onProgress({ done: plan.bytes });
    const receive = async (hit, run, stop, take) => {
      const ready = await this.#ask({ hit, ...run }, stop);
      await received(receivePieces(this.#session(), { ...ready, file: hit.file, ...run, signal: stop }, take));
    };
    const keep = async ({ number, from, content }) => {
      const hasRoom = parts !== null && (await isDone(parts.keep("pieces", file.sha256, number, { from, content })));
      if (hasRoom) download.kept += content.length;
      onProgress({ done: plan.bytes });
    };
    await new Gather(plan, receive, keep, signal).fetch(hits.slice(0, HOLDERS_MAX));
    await parts?.forget(file.sha256).catch(() => {});
    return { blob: new Blob(plan.contents()), shares: [...plan.shares], liars: [...plan.liars] };
  }
}

const isDone = (work) => work.then(() => true, () => false);

/** Says of an error of a transfer that it is one. */
async function received(transfer) {
  try {
    await transfer;
  } catch ({ message }) {
    throw new Error(`The file could not be fetched: ${message}${message.endsWith(".") ? "" : "."}`);
  }
}
