// The pieces of a file, and the links that bind them to its SHA-256: PROTOCOL.md, section 15.7. WebCrypto computes a SHA-256 only
// of what is in memory as a whole, and gives no state in the middle, so it is computed here (FIPS 180-4).

import { u64be } from "./bytes.js";

export const PIECE_BYTES = 1 << 20;
/** The maximum number of pieces of one request. */
export const RUN_PIECES_MAX = 16;
const BLOCK_BYTES = 64;
const ROUNDS = 64;

const PRIMES = [];
for (let number = 2; PRIMES.length < ROUNDS; number += 1) {
  if (PRIMES.every((prime) => number % prime > 0)) PRIMES.push(number);
}
/** The first 32 bits behind the point. */
const fraction = (root) => Math.floor((root % 1) * 2 ** 32);
const CONSTANTS = Int32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)));
const schedule = new Int32Array(ROUNDS);

/** The link at the first byte of every file. @type {Uint8Array} */
export const FIRST_LINK = bytesOf(PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime))));

function bytesOf(words) {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  words.forEach((word, at) => view.setInt32(4 * at, word));
  return bytes;
}

/** Goes over whole blocks. Changes `state`, which has eight words. */
function compress(state, bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let start = 0; start < bytes.length; start += BLOCK_BYTES) {
    for (let at = 0; at < 16; at += 1) schedule[at] = view.getInt32(start + 4 * at);
    for (let at = 16; at < ROUNDS; at += 1) {
      const x = schedule[at - 15];
      const y = schedule[at - 2];
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      schedule[at] = (schedule[at - 16] + s0 + schedule[at - 7] + s1) | 0;
    }
    // Taking an array apart by its pattern would take longer than a round.
    let a = state[0];
    let b = state[1];
    let c = state[2];
    let d = state[3];
    let e = state[4];
    let f = state[5];
    let g = state[6];
    let h = state[7];
    for (let at = 0; at < ROUNDS; at += 1) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + CONSTANTS[at] + schedule[at]) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
  }
}

/** What follows the last whole block of a file: its last bytes, a one, zeros, and its length in bits. */
function padded(rest, total) {
  const blocks = new Uint8Array(rest.length + 9 > BLOCK_BYTES ? 2 * BLOCK_BYTES : BLOCK_BYTES);
  blocks.set(rest);
  blocks[rest.length] = 0x80;
  blocks.set(u64be(8n * BigInt(total)), blocks.length - 8);
  return blocks;
}

/**
 * The link to which a piece leads from the one at it, or a part of it of whole blocks from the state before.
 * @param {Uint8Array} link @param {Uint8Array} piece
 * @param {number | null} total If it is the last piece, the length of the whole file. @returns {Uint8Array} Behind the last piece, the
 *   SHA-256 of the file.
 */
export function linkBehind(link, piece, total) {
  const view = new DataView(link.buffer, link.byteOffset, link.byteLength);
  const state = Int32Array.from({ length: 8 }, (_, at) => view.getInt32(4 * at));
  const whole = piece.length - (piece.length % BLOCK_BYTES);
  compress(state, piece.subarray(0, whole));
  if (total !== null) compress(state, padded(piece.subarray(whole), total));
  return bytesOf(state);
}

/** @param {number} bytes @returns {number} How many pieces a file of this length has. An empty one has an empty piece. */
export const piecesOf = (bytes) => Math.max(1, Math.ceil(bytes / PIECE_BYTES));

/** What {@link linkBehind} has to know. @param {number} piece Its number. @param {number} bytes The length of the file. */
export const totalBehind = (piece, bytes) => (piece + 1 === piecesOf(bytes) ? bytes : null);

/**
 * Reads a file piece by piece. @param {Blob} blob
 * @param {(done: number) => void} [onProgress] Called with the bytes that were read.
 * @returns {Promise<{sha256: Uint8Array, links: Uint8Array[]}>} Its SHA-256, and the links at its pieces.
 */
export async function linked(blob, onProgress = () => {}) {
  const links = [];
  let link = FIRST_LINK;
  for (let number = 0; number < piecesOf(blob.size); number += 1) {
    links.push(link);
    const piece = blob.slice(number * PIECE_BYTES, (number + 1) * PIECE_BYTES);
    link = linkBehind(link, new Uint8Array(await piece.arrayBuffer()), totalBehind(number, blob.size));
    onProgress(number * PIECE_BYTES + piece.size);
  }
  return { sha256: link, links };
}

/**
 * Whether these are whole pieces of a file of several, and no more than one request may ask for.
 * @param {number | bigint} offset @param {number | bigint} end @param {number} bytes The length of the file.
 */
export function isRun(offset, end, bytes) {
  if (bytes <= PIECE_BYTES || end > bytes || offset >= end) return false;
  const isAligned = offset % PIECE_BYTES === 0 && (end % PIECE_BYTES === 0 || end === bytes);
  return isAligned && end - offset <= RUN_PIECES_MAX * PIECE_BYTES;
}
