// Invitations to a server that admits only members: PROTOCOL.md, section 8.

import { concat, fromHex, hex } from "./bytes.js";
import { domain, hmac, sha256 } from "./crypto.js";

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const TEXT_LETTERS = 52;
const SECRET_BYTES = 16;
const ID_BYTES = 8;

/**
 * Reads an invitation: its text, or a link that ends with it.
 * @param {string} text
 * @returns {{secret: Uint8Array, server: string} | null} `server`: the first half of the fingerprint of the server's key,
 *   in hex. null if it is not an invitation.
 */
export function readInvitation(text) {
  const letters = text.trim().replace(/^.*[/=]/, "").replace(/[-\s]/g, "").toUpperCase();
  const digits = Array.from(letters, (letter) => LETTERS.indexOf(letter));
  if (digits.length !== TEXT_LETTERS || digits.includes(-1)) return null;
  const value = digits.reduce((sum, digit) => sum * 32n + BigInt(digit), 0n);
  // 52 letters have four bits more than 32 bytes.
  if (value % 16n !== 0n) return null;
  const bytes = fromHex((value / 16n).toString(16).padStart(64, "0"));
  return { secret: bytes.slice(0, SECRET_BYTES), server: hex(bytes.subarray(SECRET_BYTES)) };
}

/**
 * Whether a server with another key has proved that it knows the invitation, because it is of the same cluster.
 * @param {{secret: Uint8Array}} invitation @param {Uint8Array} proofText What the proof of the join signs.
 * @param {Uint8Array} proof @returns {Promise<boolean>}
 */
export async function isKnown({ secret }, proofText, proof) {
  return hex(await hmac(secret, concat(domain("known invitation"), proofText))) === hex(proof);
}

/**
 * Proves that this peer has the invitation, without sending it.
 * @param {{secret: Uint8Array}} invitation @param {Uint8Array} proofText What the proof of the join signs.
 * @returns {Promise<{id: Uint8Array, mac: Uint8Array}>}
 */
export async function claim({ secret }, proofText) {
  const id = (await sha256(domain("invitation"), secret)).slice(0, ID_BYTES);
  return { id, mac: await hmac(secret, proofText) };
}
