// Keys that were made before, because making them takes seconds of processor time. Evaluated in the page.

const USES = { "RSA-PSS": ["sign", "verify"], "RSA-OAEP": ["decrypt", "encrypt"] };

/** @param {string} pem PKCS#8. @param {string} name Of the algorithm. @param {boolean} isExtractable Like the private key. */
async function keysOf(pem, name, isExtractable) {
  const { subtle } = crypto;
  const der = Uint8Array.from(atob(pem.replace(/-----.*?-----|\s/g, "")), (letter) => letter.charCodeAt(0));
  const algorithm = { name, hash: "SHA-256" };
  const [use, publicUse] = USES[name];
  const { kty, n, e } = await subtle.exportKey("jwk", await subtle.importKey("pkcs8", der, algorithm, true, [use]));
  return {
    privateKey: await subtle.importKey("pkcs8", der, algorithm, isExtractable, [use]),
    publicKey: await subtle.importKey("jwk", { kty, n, e }, algorithm, true, [publicUse]),
  };
}

async function pairOf(pem, name) {
  const { privateKey, publicKey } = await keysOf(pem, name, false);
  return { privateKey, publicKey: new Uint8Array(await crypto.subtle.exportKey("spki", publicKey)) };
}

/** Has the page take these keys, in order, when it makes some. @param {string[]} pems PKCS#8. */
function provideKeys(pems) {
  crypto.subtle.generateKey = ({ name }, isExtractable) => keysOf(pems.shift(), name, isExtractable);
}

/** Gives this browser an identity. @param {string} name @param {string} identity PKCS#8 PEM. @param {string} encryption PKCS#8 PEM. */
async function seed(name, identity, encryption) {
  const { makeCard } = await import("/switchboard/card.js");
  const { Store } = await import("/switchboard/store.js");
  const now = Math.floor(Date.now() / 1000);
  const pair = await pairOf(identity, "RSA-PSS");
  const wrapping = await pairOf(encryption, "RSA-OAEP");
  const bytes = await makeCard(name, pair, wrapping.publicKey, now, 0);
  const store = await Store.open();
  await store.write([
    { store: "self", key: "me", value: { name, pair } },
    { store: "self", key: "keys", value: [{ ...wrapping, madeAt: now }] },
    { store: "self", key: "card", value: { bytes, sequence: now } },
  ]);
}
