// What the page keeps: an IndexedDB database of this origin. All writes are one transaction, which is on the disk when its
// promise is fulfilled.
//
// | store | key | value |
// |---|---|---|
// | self | a word | `me`, `keys`, `card`, `server`: see identity.js; `notifications`: see notify.js |
// | contacts | folded name | see Contact.record in contact.js |
// | numbers | folded name | the number of the next message to that peer |
// | messages | `order`, a counter | see `queue` and `newMessage` in receive.js |
// | received | folded name, generation, number | the id of a message that was forgotten |
// | conversations | id, hex | `{peer, direction, opening, ...}` |

import { folded } from "./names.js";
import { random, sha256 } from "./crypto.js";
import { utf8 } from "./bytes.js";

const STORES = ["self", "contacts", "numbers", "messages", "received", "conversations"];

export const result = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

export const completion = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });

const VERSION = 2;

function create({ oldVersion, target: { result: database } }) {
  database.createObjectStore("received");
  if (oldVersion === 1) return;
  for (const name of ["self", "contacts", "numbers", "conversations"]) database.createObjectStore(name);
  const messages = database.createObjectStore("messages", { keyPath: "order", autoIncrement: true });
  messages.createIndex("peer", ["peer", "order"]);
  messages.createIndex("number", ["peer", "direction", "generation", "number"], { unique: true });
  // Only messages without a receipt have this field.
  messages.createIndex("waiting", "waiting");
  // Only received messages that were not shown have this field.
  messages.createIndex("unread", "unread");
}

/** The database. Tabs share it: a tab that does not run the engine only reads, and calls `queue` and `markRead`. */
export class Store {
  #database;

  /** @param {IDBDatabase} database */
  constructor(database) {
    this.#database = database;
  }

  /** @param {string} name Of the database. @returns {Promise<Store>} */
  static async open(name = "switchboard") {
    const request = indexedDB.open(name, VERSION);
    request.onupgradeneeded = create;
    return new Store(await result(request));
  }

  #read(store) {
    return this.#database.transaction(store).objectStore(store);
  }

  #change(stores) {
    // `strict`: complete only when the disk has it. The default is in the memory of the system.
    return this.#database.transaction(stores, "readwrite", { durability: "strict" });
  }

  /** @param {string} store @param {IDBValidKey} key @returns {Promise<any>} undefined if there is none. */
  get(store, key) {
    return result(this.#read(store).get(key));
  }

  /** @param {string} store @returns {Promise<any[]>} All values. */
  all(store) {
    return result(this.#read(store).getAll());
  }

  /** @returns {Promise<object[]>} The messages without a receipt, oldest first. */
  waiting() {
    return result(this.#read("messages").index("waiting").getAll());
  }

  /** @param {string} peer A folded name. @returns {Promise<string[]>} The ids of the conversations with it, in hex. */
  async conversationsOf(peer) {
    const store = this.#read("conversations");
    const [keys, values] = await Promise.all([result(store.getAllKeys()), result(store.getAll())]);
    return keys.filter((_, at) => values[at].peer === peer);
  }

  /**
   * @param {string} peer A folded name. @param {"sent" | "received"} direction @param {number} generation
   * @param {number} number @returns {Promise<object | undefined>}
   */
  message(peer, direction, generation, number) {
    return result(this.#read("messages").index("number").get([peer, direction, generation, number]));
  }

  /** @param {string} peer A folded name. @param {number} most @returns {Promise<object[]>} The newest, oldest first. */
  async newest(peer, most) {
    const range = IDBKeyRange.bound([peer, 0], [peer, Infinity]);
    const found = [];
    await new Promise((resolve, reject) => {
      const request = this.#read("messages").index("peer").openCursor(range, "prev");
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor || found.length === most) return resolve();
        found.push(cursor.value);
        cursor.continue();
      };
    });
    return found.reverse();
  }

  /**
   * Writes values in one transaction.
   * @param {{store: string, key?: IDBValidKey, value: any}[]} writes A value of undefined deletes. Messages have no key.
   */
  async write(writes) {
    const transaction = this.#change(STORES);
    for (const { store, key, value } of writes) {
      if (value === undefined) transaction.objectStore(store).delete(key);
      else if (key === undefined) transaction.objectStore(store).put(value);
      else transaction.objectStore(store).put(value, key);
    }
    await completion(transaction);
  }

  /**
   * Gives a message for a peer the next number, and writes it down. The transaction makes this safe from any tab.
   * @param {string} to @param {string} text At most TEXT_BYTES_MAX bytes. @param {number} at In seconds.
   */
  async queue(to, text, at) {
    const peer = folded(to);
    const message = {
      peer, to, direction: "sent", generation: 0, text, at, waiting: 1, state: "queued",
      id: random(16), sha256: await sha256(utf8(text)), places: [],
    };
    const transaction = this.#change(["numbers", "messages"]);
    const numbers = transaction.objectStore("numbers");
    const asked = numbers.get(peer);
    asked.onsuccess = () => {
      const number = asked.result ?? 1;
      transaction.objectStore("messages").add({ ...message, number });
      numbers.put(number + 1, peer);
    };
    await completion(transaction);
  }

  /** @returns {Promise<Map<string, number>>} How many messages of each peer were not shown yet. */
  async unread() {
    const counts = new Map();
    const keys = await result(this.#read("messages").index("unread").getAllKeys());
    const peers = await Promise.all(keys.map(async (key) => (await this.get("messages", key)).peer));
    for (const peer of peers) counts.set(peer, (counts.get(peer) ?? 0) + 1);
    return counts;
  }

  /**
   * Notes that received messages were shown. Any tab may do this.
   * @param {object[]} messages @returns {Promise<boolean>} Whether there was one that had not been shown.
   */
  async markRead(messages) {
    const orders = messages.filter(({ unread }) => unread).map(({ order }) => order);
    if (orders.length === 0) return false;
    const transaction = this.#change(["messages"]);
    const store = transaction.objectStore("messages");
    for (const order of orders) {
      const asked = store.get(order);
      asked.onsuccess = () => {
        // It may have been forgotten meanwhile.
        if (!asked.result) return;
        const { unread: _, ...message } = asked.result;
        store.put(message);
      };
    }
    await completion(transaction);
    return true;
  }

  /**
   * Skips numbers up to `last`, which the peer has seen although this database does not know them.
   * @param {string} peer A folded name. @param {number} last
   */
  async skipNumbers(peer, last) {
    const transaction = this.#change(["numbers"]);
    const numbers = transaction.objectStore("numbers");
    const asked = numbers.get(peer);
    asked.onsuccess = () => {
      if ((asked.result ?? 1) <= last) numbers.put(last + 1, peer);
    };
    await completion(transaction);
  }
}
