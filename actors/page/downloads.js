// The files that are being fetched: what is here of them already, the transfer, and the check of the whole.

import { equal, hex } from "./bytes.js";
import { digestOf, FILE_BYTES_MAX, receiveChunks, TOO_LARGE } from "./transfer.js";
import { Parts } from "./parts.js";

/** The transfers to this page. */
export class Downloads {
  /** Null if the browser does not keep any. @type {Promise<Parts | null>} */ #parts;
  /**
   * By digest in hex: the chunks that are here, how many of their bytes are on the disk, and what stops the transfer.
   * @type {Map<string, {chunks: Uint8Array[], kept: number, stop: AbortController}>}
   */
  #fetched = new Map();

  /** @param {number} unix Now. */
  constructor(unix) {
    this.#parts = Parts.open().then((parts) => parts.forgetOld(unix).then(() => parts)).catch(() => null);
  }

  /**
   * Begins to fetch a file.
   * @param {object} file What was found. @param {number} unix Now.
   * @returns {Promise<{offset?: number, signal?: AbortSignal, error?: string}>} The first byte to request, and whether it was
   *   cancelled.
   */
  async begin({ bytes, sha256 }, unix) {
    const id = hex(sha256);
    if (bytes > FILE_BYTES_MAX) return { error: TOO_LARGE };
    if (this.#fetched.has(id)) return { error: "This content is being fetched already." };
    const fetched = { chunks: [], kept: 0, stop: new AbortController() };
    this.#fetched.set(id, fetched);
    const parts = await this.#parts;
    const chunks = (await parts?.begin(sha256, unix).catch(() => [])) ?? [];
    const kept = chunks.reduce((sum, { length }) => sum + length, 0);
    if (kept <= bytes) Object.assign(fetched, { chunks, kept });
    return { offset: fetched.kept, signal: fetched.stop.signal };
  }

  /** Stops fetching a file. @param {object} file */
  cancel({ sha256 }) {
    this.#fetched.get(hex(sha256))?.stop.abort();
  }

  /** A file is not being fetched any more. @param {object} file @returns {number} How many bytes of it stay on the disk. */
  end({ sha256 }) {
    const { kept } = this.#fetched.get(hex(sha256));
    this.#fetched.delete(hex(sha256));
    return kept;
  }

  /**
   * Receives the rest of a file, and checks all of it before it is given out.
   * @param {object} session @param {{transfer: Uint8Array, key: Uint8Array, file: object, offset: number}} job
   * @param {(done: number) => void} onProgress @returns {Promise<Blob>}
   */
  async receive(session, job, onProgress) {
    const { sha256 } = job.file;
    const fetched = this.#fetched.get(hex(sha256));
    const { chunks, stop: { signal } } = fetched;
    const parts = await this.#parts;
    let hasRoom = parts !== null;
    await receiveChunks(session, { ...job, signal }, async (chunk, done) => {
      // Without room, the transfer goes on, and what comes from now on is not kept.
      hasRoom &&= await parts.keep(sha256, chunks.length, chunk).then(() => true, () => false);
      if (hasRoom) fetched.kept = done;
      chunks.push(chunk);
      onProgress(done);
    });
    const blob = new Blob(chunks);
    const isRight = equal(await digestOf(blob), sha256);
    // If it is wrong, so is something of what was kept.
    await parts?.forget(sha256).catch(() => {});
    fetched.kept = 0;
    if (!isRight) throw new Error("The file has another SHA-256 than it should have. Nothing of it is kept");
    return blob;
  }
}
