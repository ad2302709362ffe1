// Gives this browser an identity with keys that were made before, because making them takes seconds. Evaluated in the page.

async function pairOf(pem, name, use, publicUse) {
  const { subtle } = crypto;
  const der = Uint8Array.from(atob(pem.replace(/-----.*?-----|\s/g, "")), (letter) => letter.charCodeAt(0));
  const algorithm = { name, hash: "SHA-256" };
  const { kty, n, e } = await subtle.exportKey("jwk", await subtle.importKey("pkcs8", der, algorithm, true, [use]));
  const open = await subtle.importKey("jwk", { kty, n, e }, algorithm, true, [publicUse]);
  return {
    privateKey: await subtle.importKey("pkcs8", der, algorithm, false, [use]),
    publicKey: new Uint8Array(await subtle.exportKey("spki", open)),
  };
}

/** @param {string} name @param {string} identity PKCS#8 PEM. @param {string} encryption PKCS#8 PEM. */
async function seed(name, identity, encryption) {
  const { makeCard } = await import("/switchboard/card.js");
  const { Store } = await import("/switchboard/store.js");
  const now = Math.floor(Date.now() / 1000);
  const pair = await pairOf(identity, "RSA-PSS", "sign", "verify");
  const wrapping = await pairOf(encryption, "RSA-OAEP", "decrypt", "encrypt");
  const bytes = await makeCard(name, pair, wrapping.publicKey, now, 0);
  const store = await Store.open();
  await store.write([
    { store: "self", key: "me", value: { name, pair } },
    { store: "self", key: "keys", value: [{ ...wrapping, madeAt: now }] },
    { store: "self", key: "card", value: { bytes, sequence: now } },
  ]);
}
