// Contact cards: PROTOCOL.md, section 5.

import { decode, encode, Malformed } from "./postcard.js";
import { checkPublicKey, fingerprint, sha256, sign, verify } from "./crypto.js";
import { equal } from "./bytes.js";
import { folded } from "./names.js";
import { cardBody, signed, succession } from "./protocol.js";

const CARD_BYTES_MAX = 4096;
/** The longest time for which a card is valid, in seconds. */
export const VALID_SECONDS_MAX = 691_200;
/** How far the clock of a reader may be behind that of the card's owner, in seconds. */
const SKEW_SECONDS_MAX = 3600;

/**
 * Checks a card in the order that the protocol gives.
 * @param {Uint8Array} bytes
 * @returns {Promise<object>} The fields of the body, `bytes`, and `fingerprint` (of the identity key) and
 *   `encryption_fingerprint`.
 * @throws {Malformed} It is not a card, or a signature is wrong.
 */
export async function readCard(bytes) {
  if (bytes.length > CARD_BYTES_MAX) throw new Malformed(`the card is longer than ${CARD_BYTES_MAX} bytes`);
  const { body, signature } = decode(signed, bytes);
  const card = decode(cardBody, body);
  checkPublicKey(card.identity);
  if (!(await verify(card.identity, "card", body, signature))) throw new Malformed("the signature of the card is wrong");
  const lifetime = BigInt(card.valid_until) - BigInt(card.issued_at);
  if (lifetime < 1n || lifetime > BigInt(VALID_SECONDS_MAX)) throw new Malformed("the card is valid for too long or never");
  await checkSuccessions(card);
  checkPublicKey(card.encryption);
  const encryption_fingerprint = await fingerprint(card.encryption);
  return { ...card, bytes, fingerprint: await fingerprint(card.identity), encryption_fingerprint };
}

/** Checks that each earlier key has signed the one that has taken its place. */
async function checkSuccessions({ name, identity, succeeds }) {
  let successor = await fingerprint(identity);
  for (const { predecessor, issued_at, signature } of succeeds) {
    checkPublicKey(predecessor);
    const statement = encode(succession, { name: folded(name), successor, issued_at });
    if (!(await verify(predecessor, "succession", statement, signature))) {
      throw new Malformed("the signature of an earlier key on the card is wrong");
    }
    successor = await fingerprint(predecessor);
  }
}

/**
 * @param {object} card @param {Uint8Array} earlier A fingerprint.
 * @returns {Promise<boolean>} Whether the card's key has taken the place of that key.
 */
export async function takesOverFrom(card, earlier) {
  const keys = await Promise.all(card.succeeds.map(({ predecessor }) => fingerprint(predecessor)));
  return keys.some((key) => equal(key, earlier));
}

/** @param {object} card @param {number} now In seconds. @returns {boolean} Whether it can be used. */
export const isValid = (card, now) => now < card.valid_until && card.issued_at <= now + SKEW_SECONDS_MAX;

/** @param {object} next @param {object} known Of the same key. @param {number} now @returns {boolean} */
export function replaces(next, known, now) {
  const [nextIsValid, knownIsValid] = [isValid(next, now), isValid(known, now)];
  return nextIsValid === knownIsValid ? next.sequence >= known.sequence : nextIsValid;
}

/**
 * Makes a card.
 * @param {string} name
 * @param {{privateKey: CryptoKey, publicKey: Uint8Array}} identity
 * @param {Uint8Array} encryption The public encryption key.
 * @param {number} now In seconds.
 * @param {number} lastSequence That of the last card of this identity; 0 if there is none.
 * @param {object[]} [succeeds] The statements of earlier keys.
 * @returns {Promise<Uint8Array>}
 */
export async function makeCard(name, identity, encryption, now, lastSequence, succeeds = []) {
  const body = encode(cardBody, {
    name,
    identity: identity.publicKey,
    encryption,
    sequence: Math.max(lastSequence + 1, now),
    issued_at: now,
    valid_until: now + VALID_SECONDS_MAX,
    succeeds,
  });
  return encode(signed, { body, signature: await sign(identity.privateKey, "card", body) });
}

/** The bytes that a join signs. @param {object} hello @param {Uint8Array} card @returns {Promise<Uint8Array[]>} */
export const joinParts = async (hello, card) => [hello.nonce, hello.server, hello.key, await sha256(card)];
