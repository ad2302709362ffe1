// What has arrived of files whose transfers were interrupted: an IndexedDB database of its own, so that the next transfer of
// the same content continues, also after the page was loaded again. A holder has sealed each chunk; whether all of them are the
// right file shows the digest of the whole in the end.
//
// | store | key | value |
// |---|---|---|
// | chunks | digest in hex, number | the bytes of a chunk |
// | files | digest in hex | when its transfer began last, in seconds |

import { hex } from "./bytes.js";
import { completion, result } from "./store.js";

/** How long they are kept. */
const KEPT_SECONDS = 7 * 86_400;

const STORES = ["chunks", "files"];
const chunksOf = (id) => IDBKeyRange.bound([id, 0], [id, Infinity]);

/** The parts of files. */
export class Parts {
  #database;

  /** @param {IDBDatabase} database */
  constructor(database) {
    this.#database = database;
  }

  /** @returns {Promise<Parts>} */
  static async open() {
    const request = indexedDB.open("switchboard parts", 1);
    request.onupgradeneeded = () => STORES.forEach((name) => request.result.createObjectStore(name));
    return new Parts(await result(request));
  }

  /**
   * The chunks of a file that are here, from its begin on, and notes that it is being fetched.
   * @param {Uint8Array} sha256 @param {number} unix Now. @returns {Promise<Uint8Array[]>}
   */
  async begin(sha256, unix) {
    const id = hex(sha256);
    const transaction = this.#database.transaction(STORES, "readwrite");
    const done = completion(transaction);
    transaction.objectStore("files").put(unix, id);
    const store = transaction.objectStore("chunks");
    const [keys, chunks] = await Promise.all([result(store.getAllKeys(chunksOf(id))), result(store.getAll(chunksOf(id)))]);
    await done;
    const gap = keys.findIndex(([, number], at) => number !== at);
    return gap < 0 ? chunks : chunks.slice(0, gap);
  }

  /** Keeps a chunk. @param {Uint8Array} sha256 Of the file. @param {number} number @param {Uint8Array} bytes */
  async keep(sha256, number, bytes) {
    const transaction = this.#database.transaction("chunks", "readwrite");
    transaction.objectStore("chunks").put(bytes, [hex(sha256), number]);
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
      transaction.objectStore("chunks").delete(chunksOf(id));
    }
    await completion(transaction);
  }
}
