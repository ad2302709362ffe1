// This peer's own name, keys and card, and the pinned key of the server: PROTOCOL.md, sections 4, 5 and 8.

import { generateEncryption, generateIdentity, fingerprint } from "./crypto.js";
import { hex } from "./bytes.js";
import { makeCard } from "./card.js";

const DAY_SECONDS = 86_400;
/** An encryption pair is replaced when it is so old. */
const RENEW_SECONDS = DAY_SECONDS;
/** An encryption pair is destroyed when it is so old, so that a stolen disk does not open older messages. */
const KEEP_SECONDS = 14 * DAY_SECONDS;

/** Who this peer is. Private keys are not extractable, so not even this page can copy them. */
export class Identity {
  #store;
  /** The name. @type {string} */
  name;
  /** The fingerprint of the identity key. @type {Uint8Array} */
  fingerprint;
  /** The private identity key. @type {CryptoKey} */
  privateKey;
  /** The card, as bytes. @type {Uint8Array} */
  card;
  #identity;
  #keys;
  #sequence;
  /** The renewal that is under way. @type {Promise<boolean> | null} */ #renewal = null;

  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.#store = store;
  }

  /** @param {import("./store.js").Store} store @returns {Promise<Identity | null>} null if none was made yet. */
  static async load(store) {
    const [me, keys, card] = await Promise.all(["me", "keys", "card"].map((key) => store.get("self", key)));
    if (!me) return null;
    const identity = new Identity(store);
    await identity.#set(me, keys, card);
    return identity;
  }

  /** Makes one and writes it down. @param {import("./store.js").Store} store @param {string} name @param {number} now */
  static async create(store, name, now) {
    const [pair, encryption] = await Promise.all([generateIdentity(), generateEncryption()]);
    const identity = new Identity(store);
    await identity.#renewWith({ name, pair }, [{ ...encryption, madeAt: now }], 0, now);
    return identity;
  }

  async #set({ name, pair }, keys, { bytes, sequence }) {
    this.name = name;
    this.#identity = pair;
    this.privateKey = pair.privateKey;
    this.fingerprint = await fingerprint(pair.publicKey);
    this.#keys = new Map();
    for (const key of keys) this.#keys.set(hex(await fingerprint(key.publicKey)), key);
    this.card = bytes;
    this.#sequence = sequence;
  }

  async #renewWith(me, keys, lastSequence, now) {
    const newest = keys[keys.length - 1];
    const bytes = await makeCard(me.name, me.pair, newest.publicKey, now, lastSequence);
    const card = { bytes, sequence: Math.max(lastSequence + 1, now) };
    await this.#store.write([
      { store: "self", key: "me", value: me },
      { store: "self", key: "keys", value: keys },
      { store: "self", key: "card", value: card },
    ]);
    await this.#set(me, keys, card);
  }

  /**
   * Takes another name, before the first join. @param {string} name @param {number} now
   */
  async rename(name, now) {
    await this.#renewWith({ name, pair: this.#identity }, [...this.#keys.values()], this.#sequence, now);
  }

  /**
   * Replaces the encryption pair if it is a day old, and destroys those that are 14 days old.
   * @param {number} now In seconds.
   * @returns {Promise<boolean>} Whether there is a new card, with which the peer has to join again.
   */
  renew(now) {
    // Two renewals at the same time would lose a key.
    this.#renewal ??= this.#renewIfDue(now).finally(() => (this.#renewal = null));
    return this.#renewal;
  }

  async #renewIfDue(now) {
    const keys = [...this.#keys.values()];
    if (now - keys[keys.length - 1].madeAt < RENEW_SECONDS) return false;
    const kept = keys.filter(({ madeAt }) => now - madeAt < KEEP_SECONDS);
    const next = { ...(await generateEncryption()), madeAt: now };
    await this.#renewWith({ name: this.name, pair: this.#identity }, [...kept, next], this.#sequence, now);
    return true;
  }

  /** @param {Uint8Array} print Of an encryption key. @returns {CryptoKey | undefined} Its private key. */
  encryptionKey(print) {
    return this.#keys.get(hex(print))?.privateKey;
  }

  /** @returns {Promise<string | undefined>} The pinned fingerprint of the server's key, in hex. */
  pinnedServer() {
    return this.#store.get("self", "server");
  }

  /** @param {string} print The fingerprint to pin, in hex. */
  pinServer(print) {
    return this.#store.write([{ store: "self", key: "server", value: print }]);
  }
}
