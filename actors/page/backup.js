// The backup file of an identity key: PROTOCOL.md, section 4.1.

import { array, bytes, decode, encode, Malformed, string, struct, u32 } from "./postcard.js";
import { exportIdentity, generateIdentity, importIdentity, open, passphraseKey, random, seal } from "./crypto.js";
import { isPeerName } from "./names.js";
import { succeeds } from "./protocol.js";
import { utf8 } from "./bytes.js";

/** OWASP recommends 600,000 rounds of PBKDF2 with HMAC-SHA-256. */
const ROUNDS = 600_000;
/** A file from elsewhere could otherwise keep the processor busy for ever. */
const ROUNDS_MAX = 10_000_000;
const PURPOSE = utf8("switchboard backup");
const LABEL = "SWITCHBOARD BACKUP";
const LINE_LETTERS = 64;

const locked = struct({ rounds: u32, salt: array(16), nonce: array(12), sealed: bytes });
const content = struct({ name: string(isPeerName, "name of a peer"), identity: bytes, succeeds });

/**
 * What an identity consists of.
 * @typedef {{name: string, pair: {privateKey: CryptoKey, publicKey: Uint8Array}, succeeds: object[]}} Me
 */

/**
 * Makes an identity. The private key can be extracted only in here, for the backup.
 * @param {string} name @param {string} passphrase Of the backup file; empty for none.
 * @param {(pair: object) => Promise<object[]>} [succeedsOf] Gives the statements of earlier keys.
 * @returns {Promise<{me: Me, backup: string | null}>} `backup` is the text of the file.
 */
export async function makeIdentity(name, passphrase, succeedsOf = async () => []) {
  if (passphrase === "") {
    const pair = await generateIdentity();
    return { me: { name, pair, succeeds: await succeedsOf(pair) }, backup: null };
  }
  const identity = await exportIdentity((await generateIdentity(true)).privateKey);
  const pair = await importIdentity(identity);
  const me = { name, pair, succeeds: await succeedsOf(pair) };
  const backup = await makeBackup(me, identity, passphrase);
  identity.fill(0);
  return { me, backup };
}

async function makeBackup({ name, succeeds: statements }, identity, passphrase) {
  const [salt, nonce] = [random(16), random(12)];
  const plain = encode(content, { name, identity, succeeds: statements });
  const sealed = await seal(await passphraseKey(passphrase, salt, ROUNDS), nonce, PURPOSE, plain);
  plain.fill(0);
  const base64 = btoa(String.fromCharCode(...encode(locked, { rounds: ROUNDS, salt, nonce, sealed })));
  const lines = base64.match(new RegExp(`.{1,${LINE_LETTERS}}`, "g")).join("\n");
  return `-----BEGIN ${LABEL}-----\n${lines}\n-----END ${LABEL}-----\n`;
}

/**
 * Opens a backup file.
 * @param {string} text @param {string} passphrase
 * @returns {Promise<Me>} Its private key cannot be extracted.
 * @throws {Malformed} It is no backup file, or this is not its passphrase.
 */
export async function openBackup(text, passphrase) {
  const { rounds, salt, nonce, sealed } = unarmoured(text);
  if (rounds < 1 || rounds > ROUNDS_MAX) throw new Malformed("this backup file asks for too many rounds, or for none");
  const plain = await open(await passphraseKey(passphrase, salt, rounds), nonce, PURPOSE, sealed);
  if (!plain) throw new Malformed("the passphrase is wrong, or the file is damaged");
  const { identity, ...me } = decode(content, plain);
  const pair = await importIdentity(identity);
  [plain, identity].forEach((secret) => secret.fill(0));
  return { ...me, pair };
}

function unarmoured(text) {
  const [, base64] = new RegExp(`-----BEGIN ${LABEL}-----\\s([A-Za-z0-9+/=\\s]*)-----END ${LABEL}-----`).exec(text) ?? [];
  if (base64 === undefined) throw new Malformed("this is not a backup file of a browser");
  try {
    return decode(locked, Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)));
  } catch {
    throw new Malformed("the backup file is damaged");
  }
}
