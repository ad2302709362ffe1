// What has arrived of files whose transfers were interrupted, or that were fetched together with others: an IndexedDB database of
// its own, so that the next transfer of the same content continues, also after the page was loaded again. The pieces are checked
// again then.
//
// | store | key | value |
// |---|---|---|
// | pieces | digest in hex, number | the link at a piece, and its bytes: `{from, content}` |
// | files | digest in hex | when its transfer began last, in seconds |
// | lists | id | files that were fetched together: `{pattern, from, matches, begun, isSaved}`; see patternview.js |

import { hex } from "./bytes.js";
import { piecesOf } from "./pieces.js";
import { completion, result } from "./store.js";

/** How long they are kept. */
const KEPT_SECONDS = 7 * 86_400;

const STORES = ["pieces", "files", "lists"];
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
    const request = indexedDB.open("switchboard parts", 4);
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

  /**
   * Notes that files of one piece are being fetched. @param {Uint8Array[]} digests @param {number} unix Now.
   * @returns {Promise<(Blob | null)[]>} What is here of each.
   */
  async beginMany(digests, unix) {
    const transaction = this.#database.transaction(STORES, "readwrite");
    const done = completion(transaction);
    const [files, pieces] = ["files", "pieces"].map((name) => transaction.objectStore(name));
    for (const sha256 of digests) files.put(unix, hex(sha256));
    const found = await Promise.all(digests.map((sha256) => result(pieces.get([hex(sha256), 0]))));
    await done;
    return found.map((piece) => piece?.content ?? null);
  }

  /** Keeps what is fetched together. @param {string} id @param {object} list As in the table above. */
  async keepList(id, list) {
    const transaction = this.#database.transaction("lists", "readwrite");
    transaction.objectStore("lists").put(list, id);
    await completion(transaction);
  }

  /** @returns {Promise<object[]>} The lists that were not saved, with `id`, and `here`: how many of their files are here as a whole. */
  async lists() {
    const transaction = this.#database.transaction(STORES);
    const [lists, pieces] = ["lists", "pieces"].map((name) => transaction.objectStore(name));
    const [ids, found, keys] = await Promise.all([result(lists.getAllKeys()), result(lists.getAll()), result(pieces.getAllKeys())]);
    const counts = new Map();
    for (const [digest] of keys) counts.set(digest, (counts.get(digest) ?? 0) + 1);
    const isHere = ({ hits: [{ file }] }) => counts.get(hex(file.sha256)) === piecesOf(Number(file.bytes));
    const all = found.map((list, at) => ({ ...list, id: ids[at], here: list.matches.filter(isHere).length }));
    return all.filter(({ isSaved }) => !isSaved).sort((one, other) => other.begun - one.begun);
  }

  /** Notes that somebody has saved all of a list. @param {string} id */
  async listSaved(id) {
    const transaction = this.#database.transaction("lists", "readwrite");
    const store = transaction.objectStore("lists");
    const asked = store.get(id);
    asked.onsuccess = () => asked.result && store.put({ ...asked.result, isSaved: true }, id);
    await completion(transaction);
  }

  /** Forgets a list, and its files. @param {string} id */
  async forgetList(id) {
    const list = await result(this.#database.transaction("lists").objectStore("lists").get(id));
    if (list) await this.#forget(list.matches.map(({ hits: [{ file }] }) => hex(file.sha256)), [id]);
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

  /** Forgets files whose transfers began long ago, and lists that are old or were saved. @param {number} unix Now. */
  async forgetOld(unix) {
    const transaction = this.#database.transaction(STORES);
    const all = (name) => ["getAllKeys", "getAll"].map((get) => result(transaction.objectStore(name)[get]()));
    const [ids, begun, lists, found] = await Promise.all([...all("files"), ...all("lists")]);
    const isOver = (_, at) => found[at].isSaved || found[at].begun < unix - KEPT_SECONDS;
    for (const list of lists.filter(isOver)) await this.forgetList(list);
    await this.#forget(ids.filter((_, at) => begun[at] < unix - KEPT_SECONDS));
  }

  async #forget(ids, lists = []) {
    const transaction = this.#database.transaction(STORES, "readwrite");
    for (const list of lists) transaction.objectStore("lists").delete(list);
    for (const id of ids) {
      transaction.objectStore("files").delete(id);
      transaction.objectStore("pieces").delete(partsOf(id));
    }
    await completion(transaction);
  }
}
