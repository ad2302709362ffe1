// What has arrived of files whose transfers were interrupted: an IndexedDB database of its own, so that the next transfer of
// the same content continues, also after the page was loaded again. A holder has sealed each chunk; whether all of them are the
// right file shows the digest of the whole in the end. A piece is proved by its links.
//
// | store | key | value |
// |---|---|---|
// | chunks | digest in hex, number | the bytes of a chunk of a file that comes from one holder |
// | pieces | digest in hex, number | of a file that comes from several: the link at a piece, and its bytes: `{from, content}` |
// | files | digest in hex | when its transfer began last, in seconds |

import { hex } from "./bytes.js";
import { completion, result } from "./store.js";

/** How long they are kept. */
const KEPT_SECONDS = 7 * 86_400;

const STORES = ["chunks", "pieces", "files"];
const partsOf = (id) => IDBKeyRange.bound([id, 0], [id, Infinity]);

/** The parts of files. */
export class Parts {
  #database;

  /** @param {IDBDatabase} database */
  constructor(database) {
    this.#database = database;
  }

  /** @returns {Promise<Parts>} */
  static async open() {
    const request = indexedDB.open("switchboard parts", 2);
    request.onupgradeneeded = () => {
      const missing = STORES.filter((name) => !request.result.objectStoreNames.contains(name));
      for (const name of missing) request.result.createObjectStore(name);
    };
    return new Parts(await result(request));
  }

  /**
   * What is here of a file, and notes that it is being fetched.
   * @param {Uint8Array} sha256 @param {number} unix Now.
   * @returns {Promise<{chunks: Uint8Array[], pieces: {number: number, from: Uint8Array, content: Uint8Array}[]}>} The chunks from its
   *   begin on, and pieces from anywhere.
   */
  async begin(sha256, unix) {
    const id = hex(sha256);
    const transaction = this.#database.transaction(STORES, "readwrite");
    const done = completion(transaction);
    transaction.objectStore("files").put(unix, id);
    const all = async (name) => {
      const store = transaction.objectStore(name);
      const [keys, values] = await Promise.all([result(store.getAllKeys(partsOf(id))), result(store.getAll(partsOf(id)))]);
      return keys.map(([, number], at) => ({ number, value: values[at] }));
    };
    const [chunks, pieces] = await Promise.all([all("chunks"), all("pieces")]);
    await done;
    const gap = chunks.findIndex(({ number }, at) => number !== at);
    return {
      chunks: chunks.slice(0, gap < 0 ? chunks.length : gap).map(({ value }) => value),
      pieces: pieces.map(({ number, value }) => ({ number, ...value })),
    };
  }

  /**
   * Keeps a part. @param {"chunks" | "pieces"} store @param {Uint8Array} sha256 Of the file. @param {number} number
   * @param {object} part
   */
  async keep(store, sha256, number, part) {
    const transaction = this.#database.transaction(store, "readwrite");
    transaction.objectStore(store).put(part, [hex(sha256), number]);
    await completion(transaction);
  }

  /** Forgets a file. @param {Uint8Array} sha256 */
  forget(sha256) {
    return this.#forget([hex(sha256)]);
  }

  /** Forgets files whose transfers began long ago. @param {number} unix Now. */
  async forgetOld(unix) {
    const files = this.#database.transaction("files").objectStore("files");
    const [ids, begun] = await Promise.all([result(files.getAllKeys()), result(files.getAll())]);
    await this.#forget(ids.filter((_, at) => begun[at] < unix - KEPT_SECONDS));
  }

  async #forget(ids) {
    const transaction = this.#database.transaction(STORES, "readwrite");
    for (const id of ids) {
      transaction.objectStore("files").delete(id);
      transaction.objectStore("chunks").delete(partsOf(id));
      transaction.objectStore("pieces").delete(partsOf(id));
    }
    await completion(transaction);
  }
}
