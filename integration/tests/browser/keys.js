// The private keys of the examples. Generating keys takes seconds.

import { load } from "/test/examples.js";
import { makeCard, readCard } from "/switchboard/card.js";
import { Identity } from "/switchboard/identity.js";

const USES = { "RSA-PSS": "sign", "RSA-OAEP": "decrypt" };

/**
 * @param {string} name Of one of the files in wire/tests/fixtures, without its ending. @param {string} algorithm
 * @returns {Promise<CryptoKey>}
 */
export async function privateKey(name, algorithm) {
  const pem = await (await fetch(`/test/${name}.pem`)).text();
  const der = Uint8Array.from(atob(pem.replace(/-----.*?-----|\s/g, "")), (letter) => letter.charCodeAt(0));
  return crypto.subtle.importKey("pkcs8", der, { name: algorithm, hash: "SHA-256" }, false, [USES[algorithm]]);
}

/**
 * Puts an identity with keys of the examples into a store.
 * @param {object} store @param {string} name @param {string} identity A file, as for `privateKey`. @param {string} encryption
 * @param {number} now @returns {Promise<Identity>}
 */
export async function identityOf(store, name, identity, encryption, now) {
  const [pair, wrapping] = await Promise.all([keyPair(identity, "RSA-PSS"), keyPair(encryption, "RSA-OAEP")]);
  const bytes = await makeCard(name, pair, wrapping.publicKey, now, 0);
  await store.write([
    { store: "self", key: "me", value: { name, pair } },
    { store: "self", key: "keys", value: [{ ...wrapping, madeAt: now }] },
    { store: "self", key: "card", value: { bytes, sequence: now } },
  ]);
  return Identity.load(store);
}

/**
 * @param {string} file As for `privateKey`. @param {string} algorithm
 * @returns {Promise<{privateKey: CryptoKey, publicKey: Uint8Array}>}
 */
export async function keyPair(file, algorithm) {
  const [owner, use] = file.split("-");
  const card = await readCard((await load()).get(`the card of ${owner}`).bytes);
  return { privateKey: await privateKey(file, algorithm), publicKey: card[use] };
}
