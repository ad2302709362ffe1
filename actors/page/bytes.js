// Byte strings: joining, comparing, and converting to text.

const encoder = new TextEncoder();
// A byte order mark is part of the text. The default would remove it.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param {string} text @returns {Uint8Array} */
export const utf8 = (text) => encoder.encode(text);

/**
 * @param {Uint8Array} bytes
 * @returns {string}
 * @throws {TypeError} They are not UTF-8.
 */
export const fromUtf8 = (bytes) => decoder.decode(bytes);

/** @param {...Uint8Array} parts @returns {Uint8Array} */
export function concat(...parts) {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/**
 * Compares public values. It takes a time that depends on them, so it is not for secrets.
 * @param {Uint8Array} a @param {Uint8Array} b @returns {boolean}
 */
export const equal = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

/** @param {Uint8Array} bytes @returns {string} Lower case, without separators. */
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** @param {string} text Pairs of hexadecimal digits. @returns {Uint8Array} */
export function fromHex(text) {
  if (!/^([0-9a-f]{2})*$/i.test(text)) throw new RangeError("not hexadecimal");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** @param {number | bigint} number @returns {Uint8Array} 8 bytes, least significant first. */
export function u64le(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number), true);
  return bytes;
}

/** @param {number | bigint} number @returns {Uint8Array} 8 bytes, most significant first. */
export const u64be = (number) => u64le(number).reverse();

/**
 * A number up to 2^64 - 1 as the type in which this program keeps it: `number` where that is exact, else `bigint`. The
 * two compare with `<` and `<=`. No honest peer counts so far, so `bigint` only ever comes from a hostile one.
 * @param {bigint} big @returns {number | bigint}
 */
export const exact = (big) => (big <= Number.MAX_SAFE_INTEGER ? Number(big) : big);

/** @param {Uint8Array} bytes @param {number} at @returns {number | bigint} 8 bytes, least significant first. */
export const readU64le = (bytes, at) =>
  exact(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(at, true));
