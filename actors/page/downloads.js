// The files that are being fetched: what is here of them already, the transfer, and the check of the whole.

import { equal, hex } from "./bytes.js";
import { digestOf, FILE_BYTES_MAX, receiveChunks, TOO_LARGE } from "./transfer.js";
import { Parts } from "./parts.js";

/** The transfers to this page. */
export class Downloads {
  /** Null if the browser does not keep any. @type {Promise<Parts | null>} */ #parts;
  /** By digest in hex: the chunks that are here. @type {Map<string, Uint8Array[]>} */ #chunks = new Map();

  /** @param {number} unix Now. */
  constructor(unix) {
    this.#parts = Parts.open().then((parts) => parts.forgetOld(unix).then(() => parts)).catch(() => null);
  }

  /**
   * Begins to fetch a file.
   * @param {object} file What was found. @param {number} unix Now.
   * @returns {Promise<{offset?: number, error?: string}>} The first byte to request.
   */
  async begin({ bytes, sha256 }, unix) {
    const id = hex(sha256);
    if (bytes > FILE_BYTES_MAX) return { error: TOO_LARGE };
    if (this.#chunks.has(id)) return { error: "This content is being fetched already." };
    this.#chunks.set(id, []);
    const parts = await this.#parts;
    const kept = (await parts?.begin(sha256, unix).catch(() => [])) ?? [];
    const offset = kept.reduce((sum, { length }) => sum + length, 0);
    if (offset > bytes) return { offset: 0 };
    this.#chunks.set(id, kept);
    return { offset };
  }

  /** A file is not being fetched any more. What has arrived stays on the disk. @param {object} file */
  end({ sha256 }) {
    this.#chunks.delete(hex(sha256));
  }

  /**
   * Receives the rest of a file, and checks all of it before it is given out.
   * @param {object} session @param {{transfer: Uint8Array, key: Uint8Array, file: object, offset: number}} job
   * @param {(done: number) => void} onProgress @returns {Promise<Blob>}
   */
  async receive(session, job, onProgress) {
    const { sha256 } = job.file;
    const chunks = this.#chunks.get(hex(sha256));
    let parts = await this.#parts;
    await receiveChunks(session, job, async (chunk, done) => {
      // Without room, the transfer goes on, and what comes from now on is not kept.
      await parts?.keep(sha256, chunks.length, chunk).catch(() => (parts = null));
      chunks.push(chunk);
      onProgress(done);
    });
    const blob = new Blob(chunks);
    const isRight = equal(await digestOf(blob), sha256);
    // If it is wrong, so is something of what was kept.
    await (await this.#parts)?.forget(sha256).catch(() => {});
    if (!isRight) throw new Error("The file has another SHA-256 than it should have. Nothing of it is kept");
    return blob;
  }
}
