// Conversations: PROTOCOL.md, section 10. Both directions: opened by this page, and accepted from others.

import { concat, equal, fromUtf8, readU64le, u64be, u64le, utf8 } from "./bytes.js";
import { decode, encode, Malformed } from "./postcard.js";
import { derive, domain, open, random, seal, sha256, sign, unwrap, verify, wrap } from "./crypto.js";
import { readCard } from "./card.js";
import { KINDS, openingBody, signed } from "./protocol.js";

const OPENING_BYTES_MAX = 8192;
/** The bytes of the tag at the end of a ciphertext. @type {number} */
export const TAG_BYTES = 16;
const PADDED_BYTES_MIN = 128;
const PADDED_BYTES_MAX = 65_536;

/** @param {Uint8Array} content @returns {Uint8Array} With 80, and zeros up to a power of two. */
export function pad(content) {
  let length = PADDED_BYTES_MIN;
  while (length < content.length + 1) length *= 2;
  const padded = new Uint8Array(length);
  padded.set(content);
  padded[content.length] = 0x80;
  return padded;
}

/** @param {Uint8Array} padded @returns {Uint8Array | null} null if there is no 80 before the zeros. */
export function unpad(padded) {
  let end = padded.length;
  while (end > 0 && padded[end - 1] === 0) end -= 1;
  return end > 0 && padded[end - 1] === 0x80 ? padded.subarray(0, end - 1) : null;
}

/** The commitment to a secret. @param {Uint8Array} secret @returns {Promise<Uint8Array>} */
export const commitment = (secret) => sha256(domain("commitment"), secret);

/**
 * The keys of a conversation. @param {Uint8Array} secret @param {Uint8Array} id
 * @returns {Promise<{messages: Uint8Array, signals: Uint8Array}>}
 */
export async function keysOf(secret, id) {
  return { messages: await derive(secret, id, "messages"), signals: await derive(secret, id, "signals") };
}

const keyFor = (keys, kind) => (kind === "Message" ? keys.messages : keys.signals);
/** @param {number | bigint} place @returns {Uint8Array} The nonce for it. */
export const nonce = (place) => concat(new Uint8Array(4), u64be(place));
/** @param {Uint8Array} id @param {string} kind @param {number | bigint} number @returns {Uint8Array} */
export const associatedData = (id, kind, number) => concat(id, Uint8Array.of(KINDS.indexOf(kind)), u64le(number));

/**
 * Seals content.
 * @param {{id: Uint8Array, keys: object}} conversation @param {string} kind @param {number} number Of the envelope.
 * @param {number} place Never used before with this kind of key. @param {Uint8Array} content
 */
export async function sealContent({ id, keys }, kind, number, place, content) {
  const ciphertext = await seal(keyFor(keys, kind), nonce(place), associatedData(id, kind, number), pad(content));
  return concat(id, u64le(place), ciphertext);
}

/**
 * Takes sealed bytes apart.
 * @param {Uint8Array} sealed @returns {{id: Uint8Array, place: number | bigint, ciphertext: Uint8Array} | null}
 */
export function sealedParts(sealed) {
  if (sealed.length < 32 + 8 + TAG_BYTES) return null;
  return { id: sealed.slice(0, 32), place: readU64le(sealed, 32), ciphertext: sealed.subarray(40) };
}

/**
 * Opens sealed content.
 * @param {{id: Uint8Array, keys: object}} conversation @param {string} kind @param {number} number
 * @param {{place: number, ciphertext: Uint8Array}} parts
 * @returns {Promise<Uint8Array | null>} null if it is not authentic or the padding is wrong.
 */
export async function openContent({ id, keys }, kind, number, { place, ciphertext }) {
  if (ciphertext.length > PADDED_BYTES_MAX + TAG_BYTES) return null;
  const padded = await open(keyFor(keys, kind), nonce(place), associatedData(id, kind, number), ciphertext);
  return padded && unpad(padded);
}

/** @param {Uint8Array} before @param {Uint8Array} sealed @returns {Promise<Uint8Array>} The next running hash. */
export const runningHash = (before, sealed) => sha256(before, sealed);

/** The content of a message. @param {{at: number, id: Uint8Array, text: string}} message */
export async function messageContent({ at, id, text }) {
  const bytes = utf8(text);
  return concat(u64le(at), await sha256(bytes), id, bytes);
}

/**
 * @param {Uint8Array} content
 * @returns {Promise<{at: number | bigint, digest: Uint8Array, id: Uint8Array, text: string} | null>} null if it is not
 *   the content of a message, or the digest is wrong.
 */
export async function readMessage(content) {
  if (content.length < 56) return null;
  const [digest, bytes] = [content.slice(8, 40), content.subarray(56)];
  if (!equal(digest, await sha256(bytes))) return null;
  try {
    return { at: readU64le(content, 0), digest, id: content.slice(40, 56), text: fromUtf8(bytes) };
  } catch {
    return null;
  }
}

/**
 * Opens a conversation.
 * @param {{card: Uint8Array, fingerprint: Uint8Array, privateKey: CryptoKey}} me
 * @param {object} to A card that is valid now. @param {number} now In seconds. @param {number} firstNumber
 * @returns {Promise<{id: Uint8Array, keys: object, opening: Uint8Array, secret: Uint8Array, wrappedFor: Uint8Array}>}
 */
export async function openConversation(me, to, now, firstNumber) {
  const secret = random(32);
  const body = encode(openingBody, {
    sender_card: me.card,
    sender: me.fingerprint,
    recipient: to.fingerprint,
    recipient_key: to.encryption_fingerprint,
    wrapped_key: await wrap(to.encryption, secret),
    commitment: await commitment(secret),
    opened_at: now,
    first_number: firstNumber,
  });
  const opening = encode(signed, { body, signature: await sign(me.privateKey, "opening", body) });
  const id = await sha256(body);
  return { id, keys: await keysOf(secret, id), opening, secret, wrappedFor: to.encryption };
}

/**
 * Reads an opening, and makes the checks that need nothing but its bytes.
 * @param {Uint8Array} bytes
 * @returns {Promise<object>} The fields of the body, `card` (checked), `id`, `signature` and `bytes`.
 * @throws {Malformed}
 */
export async function readOpening(bytes) {
  if (bytes.length > OPENING_BYTES_MAX) throw new Malformed(`the opening is longer than ${OPENING_BYTES_MAX} bytes`);
  const { body, signature } = decode(signed, bytes);
  const opening = decode(openingBody, body);
  const card = await readCard(opening.sender_card);
  if (!(await verify(card.identity, "opening", body, signature))) throw new Malformed("the signature of the opening is wrong");
  if (!equal(opening.sender, card.fingerprint)) throw new Malformed("the opening is not by the owner of its card");
  return { ...opening, card, id: await sha256(body), signature, bytes };
}

/**
 * Unwraps the secret of an opening.
 * @param {object} opening @param {{privateKey: CryptoKey, publicKey: Uint8Array}} pair The encryption pair.
 * @returns {Promise<{id: Uint8Array, keys: object, secret: Uint8Array, wrappedFor: Uint8Array} | null>} null if the secret is not the one committed to.
 */
export async function acceptConversation({ id, wrapped_key, commitment: committed }, { privateKey, publicKey }) {
  const secret = await unwrap(privateKey, wrapped_key);
  if (!equal(committed, await commitment(secret))) return null;
  return { id, keys: await keysOf(secret, id), secret, wrappedFor: publicKey };
}

