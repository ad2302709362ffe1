// What has arrived of files whose transfers were interrupted: an IndexedDB database of its own, so that the next transfer of
// the same content continues, also after the page was loaded again. The pieces are checked again then.
//
// | store | key | value |
// |---|---|---|
// | pieces | digest in hex, number | the link at a piece, and its bytes: `{from, content}` |
// | files | digest in hex | when its transfer began last, in seconds |

import { hex } from "./bytes.js";
import { completion, result } from "./store.js";

/** How long they are kept. */
const KEPT_SECONDS = 7 * 86_400;

const STORES = ["pieces", "files"];
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
    const request = indexedDB.open("switchboard parts", 3);
    request.onupgradeneeded = () => {
      // Earlier versions had other parts.
      for (const name of [...request.result.objectStoreNames]) request.result.deleteObjectStore(name);
      for (const name of STORES) request.result.createObjectStore(name);
    };
    return new Parts(await result(request));
  }

  /**
   * The pieces of a file that are here, and notes that it is being fetched.
   * @param {Uint8Array} sha256 @param {number} unix Now.
   * @returns {Promise<{number: number, from: Uint8Array, content: Blob}[]>}
   */
  async begin(sha256, unix) {
    const id = hex(sha256);
    const transaction = this.#database.transaction(STORES, "readwrite");
    const done = completion(transaction);
    transaction.objectStore("files").put(unix, id);
    const store = transaction.objectStore("pieces");
    const [keys, pieces] = await Promise.all([result(store.getAllKeys(partsOf(id))), result(store.getAll(partsOf(id)))]);
    await done;
    return keys.map(([, number], at) => ({ number, ...pieces[at] }));
  }

  /** Keeps a piece. @param {Uint8Array} sha256 Of the file. @param {number} number @param {{from: Uint8Array, content: Blob}} piece */
  async keep(sha256, number, piece) {
    const transaction = this.#database.transaction("pieces", "readwrite");
    transaction.objectStore("pieces").put(piece, [hex(sha256), number]);
    await completion(transaction);
  }

  /** Forgets pieces. @param {Uint8Array} sha256 Of the file. @param {number[]} numbers */
  async drop(sha256, numbers) {
    const transaction = this.#database.transaction("pieces", "readwrite");
    for (const number of numbers) transaction.objectStore("pieces").delete([hex(sha256), number]);
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
      transaction.objectStore("pieces").delete(partsOf(id));
    }
    await completion(transaction);
  }
}
