// This peer's own name, keys and card, and the pinned key of the server: PROTOCOL.md, sections 4, 5 and 8.

import { fingerprint, generateEncryption, sign } from "./crypto.js";
import { encode } from "./postcard.js";
import { folded } from "./names.js";
import { hex } from "./bytes.js";
import { makeCard } from "./card.js";
import { makeIdentity } from "./backup.js";
import { succession } from "./protocol.js";

const DAY_SECONDS = 86_400;
/** An encryption pair is replaced when it is so old. */
const RENEW_SECONDS = DAY_SECONDS;
/** An encryption pair is destroyed when it is so old, so that a stolen disk does not open older messages. */
const KEEP_SECONDS = 14 * DAY_SECONDS;
/** So many statements of earlier keys fit into a card. */
const SUCCEEDS_MAX = 3;

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
  /** What `makeIdentity` gives. */ #me;
  /** The fingerprints of its key and of those whose place that has taken, in hex. @type {Set<string>} */ #prints;
  #keys;
  #sequence;
  /** The change of keys that is under way. */ #changes = Promise.resolve();

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

  /**
   * Makes its first encryption key and card, and writes all of it down.
   * @param {import("./store.js").Store} store @param {Promise<import("./backup.js").Me>} made @param {number} now
   */
  static async create(store, made, now) {
    const [me, encryption] = await Promise.all([made, generateEncryption()]);
    const identity = new Identity(store);
    await identity.#renewWith(me, [{ ...encryption, madeAt: now }], 0, now);
    return identity;
  }

  async #set(me, keys, { bytes, sequence }) {
    const { name, pair, succeeds = [] } = me;
    this.name = name;
    this.#me = me;
    this.privateKey = pair.privateKey;
    this.fingerprint = await fingerprint(pair.publicKey);
    const earlier = await Promise.all(succeeds.map(({ predecessor }) => fingerprint(predecessor)));
    this.#prints = new Set([this.fingerprint, ...earlier].map(hex));
    this.#keys = new Map();
    for (const key of keys) this.#keys.set(hex(await fingerprint(key.publicKey)), key);
    this.card = bytes;
    this.#sequence = sequence;
  }

  async #renewWith(me, keys, lastSequence, now) {
    const newest = keys[keys.length - 1];
    const bytes = await makeCard(me.name, me.pair, newest.publicKey, now, lastSequence, me.succeeds);
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
    // Statements of earlier keys are about the name that they had.
    await this.#renewWith({ name, pair: this.#me.pair, succeeds: [] }, [...this.#keys.values()], this.#sequence, now);
  }

  /**
   * Replaces the identity key by one that it signs. The peer has to join again.
   * @param {string} passphrase Of a backup file for the new key; empty for none. @param {number} now In seconds.
   * @returns {Promise<string | null>} The text of the backup file.
   */
  succeed(passphrase, now) {
    return this.#inTurn(async () => {
      const { me, backup } = await makeIdentity(this.name, passphrase, (pair) => this.#succession(pair, now));
      await this.#renewWith(me, [...this.#keys.values()], this.#sequence, now);
      return backup;
    });
  }

  async #succession({ publicKey }, now) {
    const { pair, succeeds = [] } = this.#me;
    const statement = { name: folded(this.name), successor: await fingerprint(publicKey), issued_at: now };
    const signature = await sign(pair.privateKey, "succession", encode(succession, statement));
    return [{ predecessor: pair.publicKey, issued_at: now, signature }, ...succeeds].slice(0, SUCCEEDS_MAX);
  }

  /** Makes a change of keys after those before it, because two at the same time would lose a key. */
  #inTurn(change) {
    const done = this.#changes.then(change);
    this.#changes = done.catch(() => {});
    return done;
  }

  /**
   * Replaces the encryption pair if it is a day old, and destroys those that are 14 days old.
   * @param {number} now In seconds.
   * @returns {Promise<boolean>} Whether there is a new card, with which the peer has to join again.
   */
  renew(now) {
    return this.#inTurn(() => this.#renewIfDue(now));
  }

  async #renewIfDue(now) {
    const keys = [...this.#keys.values()];
    if (now - keys[keys.length - 1].madeAt < RENEW_SECONDS) return false;
    const kept = keys.filter(({ madeAt }) => now - madeAt < KEEP_SECONDS);
    const next = { ...(await generateEncryption()), madeAt: now };
    await this.#renewWith(this.#me, [...kept, next], this.#sequence, now);
    return true;
  }

  /** @param {Uint8Array} print @returns {boolean} Whether it is the identity key, or one whose place that has taken. */
  isMine(print) {
    return this.#prints.has(hex(print));
  }

  /** @param {Uint8Array} print Of an encryption key. @returns {{privateKey: CryptoKey, publicKey: Uint8Array} | undefined} */
  encryptionPair(print) {
    return this.#keys.get(hex(print));
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
