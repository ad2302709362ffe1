// The algorithms of PROTOCOL.md, sections 4 and 8, by WebCrypto.

import { concat, equal, utf8 } from "./bytes.js";
import { Malformed } from "./postcard.js";

const subtle = globalThis.crypto.subtle;
const PSS = { name: "RSA-PSS", saltLength: 32 };
/** @type {Uint8Array} */
export const OAEP_LABEL = utf8("switchboard/1 conversation key");
const OAEP = { name: "RSA-OAEP", label: OAEP_LABEL };
const RSA_BITS = 3072;
const SECRET_BYTES = 32;

const asBytes = (buffer) => new Uint8Array(buffer);

/** @param {number} count @returns {Uint8Array} Random bytes. */
export const random = (count) => crypto.getRandomValues(new Uint8Array(count));

/** @param {...Uint8Array} parts @returns {Promise<Uint8Array>} The SHA-256 of all parts together. */
export const sha256 = async (...parts) => asBytes(await subtle.digest("SHA-256", concat(...parts)));

/** A domain string and a zero byte. @param {string} domain @returns {Uint8Array} */
export const domain = (domain) => utf8(`switchboard/1 ${domain}\0`);

// The head of a SubjectPublicKeyInfo with the algorithm rsaEncryption, from the object identifier on.
const RSA_ALGORITHM = Uint8Array.of(0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0);

/** Takes one DER value with this tag from the front of `bytes`. Returns its content, and what follows. */
function der(bytes, tag) {
  let [found, length] = bytes;
  let at = 2;
  if (length > 0x80) {
    const count = length - 0x80;
    if (count > 2) throw new Malformed("a key is too long");
    length = bytes.subarray(2, 2 + count).reduce((sum, byte) => sum * 256 + byte, 0);
    at += count;
    if (length < 0x80 || (count === 2 && length < 0x100)) throw new Malformed("a key is not in DER");
  }
  if (found !== tag || bytes.length < at + length) throw new Malformed("a key is not a SubjectPublicKeyInfo");
  return [bytes.subarray(at, at + length), bytes.subarray(at + length)];
}

/** Takes a positive INTEGER without superfluous zeros. */
function integer(bytes) {
  const [content, rest] = der(bytes, 2);
  const padded = content[0] === 0;
  if (content.length === 0 || content[0] > 0x7f || (padded && !(content[1] > 0x7f))) {
    throw new Malformed("a number in a key is not in DER");
  }
  return [padded ? content.subarray(1) : content, rest];
}

const bits = (number) => number.length * 8 - Math.clz32(number[0]) + 24;

/**
 * Checks a public key before it is used, because WebCrypto accepts weaker ones.
 * @param {Uint8Array} spki
 * @throws {Malformed} It is not an RSA key of 2048 to 4096 bits with an allowed exponent.
 */
export function checkPublicKey(spki) {
  const [info, left] = der(spki, 0x30);
  const algorithm = info.subarray(0, RSA_ALGORITHM.length);
  if (left.length > 0 || !equal(algorithm, RSA_ALGORITHM)) throw new Malformed("a key is not an RSA key");
  const [string, after] = der(info.subarray(RSA_ALGORITHM.length), 3);
  if (after.length > 0 || string[0] !== 0) throw new Malformed("a key is not an RSA key");
  const [numbers, end] = der(string.subarray(1), 0x30);
  const [modulus, rest] = integer(numbers);
  const [exponent, nothing] = integer(rest);
  if (end.length > 0 || nothing.length > 0) throw new Malformed("bytes are left over in a key");
  const isOdd = (number) => number[number.length - 1] % 2 === 1;
  if (!isOdd(modulus) || bits(modulus) < 2048 || bits(modulus) > 4096) {
    throw new Malformed("the modulus of a key is not odd, or has not 2048 to 4096 bits");
  }
  if (!isOdd(exponent) || bits(exponent) > 32 || bits(exponent) < 17) {
    throw new Malformed("the exponent of a key is not odd, or is not from 65537 to 4294967295");
  }
}

/** @param {Uint8Array} spki @returns {Promise<Uint8Array>} The fingerprint of a public key. */
export const fingerprint = (spki) => sha256(spki);

const rsa = (name) => ({
  name,
  hash: "SHA-256",
  modulusLength: RSA_BITS,
  publicExponent: Uint8Array.of(1, 0, 1),
});

async function generate(name, usages, isExtractable) {
  // Only the private key is meant: public keys always are extractable.
  const pair = await subtle.generateKey(rsa(name), isExtractable, usages);
  return { privateKey: pair.privateKey, publicKey: asBytes(await subtle.exportKey("spki", pair.publicKey)) };
}

/**
 * @param {boolean} [isExtractable] Whether the private key can be exported, for a backup.
 * @returns {Promise<{privateKey: CryptoKey, publicKey: Uint8Array}>} An identity pair, whose public key is in DER.
 */
export const generateIdentity = (isExtractable = false) => generate("RSA-PSS", ["sign", "verify"], isExtractable);

/** @param {CryptoKey} key Extractable. @returns {Promise<Uint8Array>} The private key in PKCS#8. */
export const exportIdentity = async (key) => asBytes(await subtle.exportKey("pkcs8", key));

/**
 * @param {Uint8Array} pkcs8
 * @returns {Promise<{privateKey: CryptoKey, publicKey: Uint8Array}>} An identity pair that is not extractable.
 * @throws {Malformed} It is no RSA key that is allowed.
 */
export async function importIdentity(pkcs8) {
  const how = { name: "RSA-PSS", hash: "SHA-256" };
  try {
    const { kty, n, e } = await subtle.exportKey("jwk", await subtle.importKey("pkcs8", pkcs8, how, true, ["sign"]));
    const open = await subtle.importKey("jwk", { kty, n, e }, how, true, ["verify"]);
    const publicKey = asBytes(await subtle.exportKey("spki", open));
    checkPublicKey(publicKey);
    return { privateKey: await subtle.importKey("pkcs8", pkcs8, how, false, ["sign"]), publicKey };
  } catch (error) {
    throw new Malformed(`the private key cannot be used: ${error.message}`);
  }
}

/** @returns {Promise<{privateKey: CryptoKey, publicKey: Uint8Array}>} An encryption pair. */
export const generateEncryption = () => generate("RSA-OAEP", ["encrypt", "decrypt"], false);

/** @param {CryptoKey} key @param {string} what The domain without its prefix. @param {Uint8Array} message */
export const sign = async (key, what, message) =>
  asBytes(await subtle.sign(PSS, key, concat(domain(what), message)));

/**
 * @param {Uint8Array} spki A checked identity key. @param {string} what The domain without its prefix.
 * @param {Uint8Array} message @param {Uint8Array} signature @returns {Promise<boolean>}
 */
export async function verify(spki, what, message, signature) {
  const key = await subtle.importKey("spki", spki, { name: "RSA-PSS", hash: "SHA-256" }, false, ["verify"]);
  return subtle.verify(PSS, key, signature, concat(domain(what), message));
}

/** @param {Uint8Array} spki A checked encryption key. @param {Uint8Array} secret @returns {Promise<Uint8Array>} */
export async function wrap(spki, secret) {
  const key = await subtle.importKey("spki", spki, { name: "RSA-OAEP", hash: "SHA-256" }, false, ["encrypt"]);
  return asBytes(await subtle.encrypt(OAEP, key, secret));
}

/**
 * Unwraps a secret. If that fails it gives random bytes, so that a wrong ciphertext fails only where every wrong secret
 * does (PROTOCOL.md, section 4).
 * @param {CryptoKey} key @param {Uint8Array} wrapped @returns {Promise<Uint8Array>} 32 bytes.
 */
export async function unwrap(key, wrapped) {
  const substitute = random(SECRET_BYTES);
  try {
    const secret = asBytes(await subtle.decrypt(OAEP, key, wrapped));
    return secret.length === SECRET_BYTES ? secret : substitute;
  } catch {
    return substitute;
  }
}

/**
 * HKDF-SHA256. @param {Uint8Array} secret @param {Uint8Array} salt @param {string} info Without its prefix.
 * @returns {Promise<Uint8Array>} 32 bytes.
 */
export async function derive(secret, salt, info) {
  const key = await subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const how = { name: "HKDF", hash: "SHA-256", salt, info: utf8(`switchboard/1 ${info}`) };
  return asBytes(await subtle.deriveBits(how, key, 256));
}

/**
 * PBKDF2 with HMAC-SHA-256. @param {string} passphrase @param {Uint8Array} salt @param {number} iterations
 * @returns {Promise<Uint8Array>} 32 bytes.
 */
export async function passphraseKey(passphrase, salt, iterations) {
  // The same letters can have several encodings. Which one a keyboard gives depends on the system.
  const key = await subtle.importKey("raw", utf8(passphrase.normalize("NFC")), "PBKDF2", false, ["deriveBits"]);
  return asBytes(await subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt, iterations }, key, 256));
}

const aes = (key, usage) => subtle.importKey("raw", key, "AES-GCM", false, [usage]);

/**
 * AES-256-GCM. @param {Uint8Array} key @param {Uint8Array} iv 12 bytes. @param {Uint8Array} additionalData
 * @param {Uint8Array} plaintext @returns {Promise<Uint8Array>} Ciphertext and tag.
 */
export const seal = async (key, iv, additionalData, plaintext) =>
  asBytes(await subtle.encrypt({ name: "AES-GCM", iv, additionalData }, await aes(key, "encrypt"), plaintext));

/**
 * The reverse of {@link seal}. @param {Uint8Array} key @param {Uint8Array} iv @param {Uint8Array} additionalData
 * @param {Uint8Array} ciphertext @returns {Promise<Uint8Array | null>} null if it is not authentic.
 */
export async function open(key, iv, additionalData, ciphertext) {
  try {
    const how = { name: "AES-GCM", iv, additionalData };
    return asBytes(await subtle.decrypt(how, await aes(key, "decrypt"), ciphertext));
  } catch {
    return null;
  }
}

/** HMAC-SHA256. @param {Uint8Array} secret @param {Uint8Array} message @returns {Promise<Uint8Array>} 32 bytes. */
export async function hmac(secret, message) {
  const key = await subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return asBytes(await subtle.sign("HMAC", key, message));
}

/**
 * Whether a server has proved that it has its key, by signing the proof of a join (PROTOCOL.md, section 8).
 * @param {Uint8Array} serverKey Ed25519. @param {Uint8Array} joinProof @param {Uint8Array} signature
 */
export async function isServersProof(serverKey, joinProof, signature) {
  const key = await subtle.importKey("raw", serverKey, "Ed25519", false, ["verify"]).catch(() => null);
  return key !== null && subtle.verify("Ed25519", key, signature, concat(domain("welcome"), await sha256(joinProof)));
}
