// crypto.js, card.js and conversation.js, against the worked examples.

import { concat, fromHex, fromUtf8, hex, utf8 } from "/switchboard/bytes.js";
import { decode, encode, Malformed } from "/switchboard/postcard.js";
import { fileAnswer, fileHeader, fileRequest, openingBody, receipt, signed, succession } from "/switchboard/protocol.js";
import * as crypto from "/switchboard/crypto.js";
import * as cards from "/switchboard/card.js";
import * as talk from "/switchboard/conversation.js";
import { makeIdentity, openBackup } from "/switchboard/backup.js";
import { claim, readInvitation } from "/switchboard/invitation.js";
import { fileKey, openRecord, sealRecord } from "/switchboard/transfer.js";
import { load } from "/test/examples.js";
import { keyPair, privateKey } from "/test/keys.js";
import { refuses, same } from "/test/check.js";

const NOW = 1_800_000_100;

const flipped = (bytes, at) => bytes.map((byte, index) => (index === at ? byte ^ 1 : byte));

/** Fingerprints, cards, dates, and successors. */
export async function allOfCards() {
  const examples = await load();
  const [identity, encryption] = examples.get("fingerprints").parts;
  const bytes = examples.get("the card of a").bytes;
  const card = await cards.readCard(bytes);
  same([card.name, card.fingerprint, card.encryption_fingerprint], ["A", identity, encryption], "the card of A");
  same([card.sequence, card.issued_at, card.valid_until], [1800000300, 1800000000, 1800691200], "the dates of A's card");
  for (let at = 0; at < bytes.length; at += 7) {
    await refuses(Malformed, () => cards.readCard(flipped(bytes, at)), `the card with byte ${at} changed`);
  }
  await refuses(Malformed, () => cards.readCard(concat(bytes, Uint8Array.of(0))), "a card with a byte left over");
  same([cards.isValid(card, 1800691199), cards.isValid(card, 1800691200)], [true, false], "the end of a card");
  same([cards.isValid(card, 1799996400), cards.isValid(card, 1799996399)], [true, false], "the start of a card");
  const [older, expired] = [{ ...card, sequence: 1 }, { ...card, sequence: 2 ** 40, valid_until: NOW }];
  same([cards.replaces(card, older, NOW), cards.replaces(older, card, NOW)], [true, false], "the larger sequence");
  same([cards.replaces(card, expired, NOW), cards.replaces(expired, card, NOW)], [true, false], "an expired card");
  same(cards.replaces(card, card, NOW), true, "an equal sequence");
  const statement = examples.get("what the key of a signs to name the key of b its successor").bytes;
  const successor = examples.get("fingerprints").parts[2];
  same(encode(succession, { name: "a", successor, issued_at: 1800000000 }), statement, "a statement");
  const entry = examples.get("the end of the body of a card of a with the key of b").parts;
  same(await crypto.verify(card.identity, "succession", statement, entry.at(-1)), true, "its signature");
}

/** A card that this page makes, also one with successors. */
export async function ownCards() {
  const [old, now, encryption] = await Promise.all([
    keyPair("a-identity", "RSA-PSS"), crypto.generateIdentity(), crypto.generateEncryption(),
  ]);
  same([now.privateKey.extractable, encryption.privateKey.extractable], [false, false], "private keys can be extracted");
  const bytes = await cards.makeCard("Berta", now, encryption.publicKey, NOW, NOW + 5);
  const card = await cards.readCard(bytes);
  const expected = ["Berta", NOW + 6, NOW, NOW + cards.VALID_SECONDS_MAX];
  same([card.name, card.sequence, card.issued_at, card.valid_until], expected, "the own card");
  same(await cards.takesOverFrom(card, await crypto.fingerprint(old.publicKey)), false, "no successor");
  const successor = await crypto.fingerprint(now.publicKey);
  for (const [name, isRight] of [["berta", true], ["Berta", false]]) {
    const statement = encode(succession, { name, successor, issued_at: NOW });
    const signature = await crypto.sign(old.privateKey, "succession", statement);
    const entry = { predecessor: old.publicKey, issued_at: NOW, signature };
    const read = () => resigned(card, { succeeds: [entry] }, now.privateKey).then(cards.readCard);
    if (isRight) same(await cards.takesOverFrom(await read(), await crypto.fingerprint(old.publicKey)), true, "a successor");
    else await refuses(Malformed, read, "a statement for another name");
  }
  for (const [lifetime, isRight] of [[0, false], [1, true], [691_200, true], [691_201, false]]) {
    const read = () => resigned(card, { valid_until: NOW + lifetime }, now.privateKey).then(cards.readCard);
    if (isRight) await read();
    else await refuses(Malformed, read, `a card for ${lifetime} s`);
  }
}

async function resigned(card, changes, key) {
  const { cardBody } = await import("/switchboard/protocol.js");
  const body = encode(cardBody, { ...card, ...changes });
  return encode(signed, { body, signature: await crypto.sign(key, "card", body) });
}

/** Public keys that WebCrypto would take, and this page must not. */
export async function weakKeys() {
  const make = async (modulusLength, exponent, hash = "SHA-256") => {
    const how = { name: "RSA-PSS", hash, modulusLength, publicExponent: exponent };
    const pair = await globalThis.crypto.subtle.generateKey(how, true, ["sign", "verify"]);
    return new Uint8Array(await globalThis.crypto.subtle.exportKey("spki", pair.publicKey));
  };
  const { identity: good } = await cards.readCard((await load()).get("the card of a").bytes);
  crypto.checkPublicKey(good);
  const weak = {
    "1024 bits": await make(1024, Uint8Array.of(1, 0, 1)),
    "the exponent 3": await make(2048, Uint8Array.of(3)),
    "an even modulus": flipped(good, good.length - 6),
    "an even exponent": flipped(good, good.length - 1),
    "another algorithm": flipped(good, 18),
    "a byte left over": concat(good, Uint8Array.of(0)),
    "a missing byte": good.slice(0, -1),
    nothing: new Uint8Array(),
  };
  for (const [what, key] of Object.entries(weak)) await refuses(Malformed, () => crypto.checkPublicKey(key), what);
}

/** The proofs of a join, in both directions. */
export async function joining() {
  const examples = await load();
  const hello = { nonce: new Uint8Array(32).fill(0x6e), server: new Uint8Array(16).fill(0x5a) };
  hello.key = examples.get("the key of the server").parts[1];
  const bytes = examples.get("the card of a").bytes;
  const text = concat(...(await cards.joinParts(hello, bytes)));
  same(text, examples.get("the bytes that a signs to join").bytes, "the proof text");
  const proof = examples.get("toserver 1, join").parts[5];
  const card = await cards.readCard(bytes);
  same(await crypto.verify(card.identity, "join", text, proof), true, "the proof of A");
  const welcome = examples.get("topeer 2, welcome").parts.at(-1);
  same(await crypto.isServersProof(hello.key, proof, welcome), true, "the proof of the server");
  same(await crypto.isServersProof(hello.key, proof, flipped(welcome, 3)), false, "a forged proof");
  same(await crypto.isServersProof(hello.key, flipped(proof, 0), welcome), false, "the proof for another join");
  const [written, secret, id, mac] = examples.get("an invitation").parts;
  const letters = fromUtf8(written);
  for (const typed of [letters, ` ${letters.toLowerCase().replaceAll("-", " ")}\n`, `switchboard://tls:[::1]:6789/${letters}`]) {
    const read = readInvitation(typed);
    same([read.secret, await claim(read, text)], [secret, { id, mac }], `the invitation ${typed}`);
    const key = examples.get("the key of the server").parts[1];
    same(hex(await crypto.sha256(key)).startsWith(read.server), true, "the server of the invitation");
  }
  for (const bad of ["", letters.slice(1), `${letters}A`, letters.replace("N", "1"), `${letters.slice(0, -1)}R`]) {
    same(readInvitation(bad), null, `the invitation ${bad}`);
  }
}

/** The two conversations: openings, keys, sealed messages and signals, running hash. */
export async function conversations() {
  const examples = await load();
  const sides = { a: await keyPair("a-encryption", "RSA-OAEP"), b: await keyPair("b-encryption", "RSA-OAEP") };
  const accepted = {};
  for (const [from, to] of ["ab", "ba"]) {
    const title = `from ${from} to ${to}`;
    const [secret, committed, id, messages, signals] = examples.get(`the keys of the opening ${title}`).parts;
    const bytes = examples.get(`the opening ${title}`).bytes;
    const opening = await talk.readOpening(bytes);
    same([opening.id, opening.commitment, opening.first_number], [id, committed, 1], `the opening ${title}`);
    const conversation = await talk.acceptConversation(opening, sides[to]);
    const wrappedFor = sides[to].publicKey;
    same(conversation, { id, keys: { messages, signals }, secret, wrappedFor }, `the keys ${title}`);
    same(await talk.acceptConversation(opening, sides[from]), null, "the secret for another key");
    same(await talk.acceptConversation({ ...opening, wrapped_key: Uint8Array.of(1) }, sides[to]), null, "nonsense");
    for (let at = 0; at < bytes.length; at += 11) {
      await refuses(Malformed, () => talk.readOpening(flipped(bytes, at)), `byte ${at} of an opening`);
    }
    accepted[from] = conversation;
  }
  await sealing(examples, accepted);
  await runningHashes(examples, accepted.a.id);
}

async function sealing(examples, accepted) {
  const content = (title) => examples.get(`the content of ${title}`).bytes;
  const message = (title) => concat(...examples.get(`the content of ${title}, and the running hash after it`).parts.slice(0, 4));
  const cases = [
    ["the first message", "a", "Message", 1, 0, message("the first message")],
    ["the second message", "a", "Message", 2, 1, message("the second message")],
    ["the receipt", "b", "Receipt", 2, 0, content("the receipt")],
    ["a complaint", "b", "Receipt", 2, 1, content("a complaint")],
    ["the request for a file", "b", "Request", 0, 2, content("the request for a file")],
    ["the answer", "a", "Answer", 0, 0, content("the answer")],
  ];
  for (const [title, by, kind, number, place, plain] of cases) {
    const { bytes } = examples.get(`sealed: ${title}`);
    same(await talk.sealContent(accepted[by], kind, number, place, plain), bytes, `sealing ${title}`);
    const parts = talk.sealedParts(bytes);
    same([parts.id, parts.place], [accepted[by].id, place], `the parts of ${title}`);
    same(await talk.openContent(accepted[by], kind, number, parts), plain, `opening ${title}`);
    same(await talk.openContent(accepted[by], kind, number + 1, parts), null, `${title} under another number`);
    for (let at = 32; at < bytes.length; at += 5) {
      const changed = talk.sealedParts(flipped(bytes, at));
      same(await talk.openContent(accepted[by], kind, number, changed), null, `byte ${at} of ${title}`);
    }
  }
  const conversation = accepted.a.id;
  const hash = examples.get("the content of the second message, and the running hash after it").parts[4];
  const secret = new Uint8Array(32).fill(0x5e);
  const sha256 = fromHex("8c7fa036e0399f7432c0a56160405ce5e9fa83e2433862d5e160200d4144ea80");
  const transfer = Uint8Array.from({ length: 16 }, (_, at) => 0xa0 + at);
  const signals = [
    ["the receipt", receipt, { type: "Received", conversation, count: 2, running_hash: hash, last_number: 2 }],
    ["a complaint", receipt, { type: "Refused", conversation, count: 2, reason: "Gap" }],
    ["the request for a file", fileRequest, { transfer, secret, name: "tide.csv", sha256, offset: 0, wish: { type: "Direct" } }],
    ["the answer", fileAnswer, { transfer, verdict: { type: "Ready", bytes: 23, salt: new Uint8Array(16).fill(0x5a) } }],
  ];
  for (const [title, codec, value] of signals) {
    same(encode(codec, value), content(title), `the content of ${title}`);
    same(decode(codec, content(title)), value, `the content of ${title}`);
  }
}

async function runningHashes(examples, id) {
  let hash = id;
  for (const [title, text, at] of [["first", "Hello, B!", 1800000101], ["second", "é", 1800000102]]) {
    const parts = examples.get(`the content of the ${title} message, and the running hash after it`).parts;
    const content = concat(...parts.slice(0, 4));
    same(await talk.messageContent({ at, id: parts[2], text }), content, `the ${title} message`);
    same(await talk.readMessage(content), { at, digest: parts[1], id: parts[2], text }, `reading the ${title} message`);
    same(await talk.readMessage(flipped(content, content.length - 1)), null, "a text with another digest");
    hash = await talk.runningHash(hash, examples.get(`sealed: the ${title} message`).bytes);
    same(hash, parts[4], `the running hash after the ${title} message`);
  }
  same(await talk.readMessage(new Uint8Array(55)), null, "a message that is too short");
  const invalid = Uint8Array.of(0xc3, 0x28);
  const bad = concat(new Uint8Array(8), await crypto.sha256(invalid), new Uint8Array(16), invalid);
  same(await talk.readMessage(bad), null, "a text that is not UTF-8");
}

/** A conversation that this page opens, and the lengths of what it seals. */
export async function ownConversations() {
  const [me, them, wrapping] = await Promise.all([
    keyPair("a-identity", "RSA-PSS"), keyPair("b-identity", "RSA-PSS"), keyPair("b-encryption", "RSA-OAEP"),
  ]);
  const card = await cards.makeCard("me", me, wrapping.publicKey, NOW, 0);
  const to = await cards.readCard(await cards.makeCard("them", them, wrapping.publicKey, NOW, 0));
  const { fingerprint } = await cards.readCard(card);
  const mine = await talk.openConversation({ card, fingerprint, privateKey: me.privateKey }, to, NOW, 4);
  const opening = await talk.readOpening(mine.opening);
  same([opening.card.name, opening.first_number, opening.opened_at], ["me", 4, NOW], "the own opening");
  same(opening.recipient, to.fingerprint, "its recipient");
  const { id, keys, secret, wrappedFor } = mine;
  same(await talk.acceptConversation(opening, wrapping), { id, keys, secret, wrappedFor }, "its keys");
  const short = new Uint8Array(31).fill(1);
  const wrapped = { ...opening, wrapped_key: await crypto.wrap(wrapping.publicKey, short), commitment: await talk.commitment(short) };
  same(await talk.acceptConversation(wrapped, wrapping), null, "a secret of 31 bytes");
  const body = decode(openingBody, decode(signed, mine.opening).body);
  const stolen = encode(openingBody, { ...body, sender: to.fingerprint });
  const signature = await crypto.sign(me.privateKey, "opening", stolen);
  await refuses(Malformed, () => talk.readOpening(encode(signed, { body: stolen, signature })), "an opening of somebody else");
  const lengths = { 0: 128, 127: 128, 128: 256, 255: 256, 65_535: 65_536 };
  for (const [content, padded] of Object.entries(lengths)) {
    const bytes = new Uint8Array(Number(content)).fill(0x80);
    same(talk.pad(bytes).length, padded, `${content} bytes are padded`);
    same(hex(talk.unpad(talk.pad(bytes))), hex(bytes), `${content} bytes after padding`);
  }
  same([talk.unpad(new Uint8Array(128)), talk.unpad(utf8("x\0"))], [null, null], "no 80 before the zeros");
  same(talk.sealedParts(new Uint8Array(55)), null, "sealed bytes that are too short");
}

/** The records of a file. */
export async function fileRecords() {
  const examples = await load();
  const [transfer, salt, secret, key] = examples.get("the key of the transfer").parts;
  same(await fileKey(secret, transfer, salt), key, "the key");
  const sha256 = fromHex("8c7fa036e0399f7432c0a56160405ce5e9fa83e2433862d5e160200d4144ea80");
  const header = encode(fileHeader, { name: "tide.csv", total_bytes: 23, offset: 0, sha256 });
  same(header, examples.get("the plaintext of the header").bytes, "the header");
  const file = utf8("hour,level\n0,1.8\n6,4.1\n");
  const cases = [["the record of the header", 0, false, header], ["the record of the only chunk", 1, true, file]];
  for (const [title, counter, isLast, plaintext] of cases) {
    const record = examples.get(title).bytes;
    same(await sealRecord(key, counter, isLast, plaintext), record, title);
    same(await openRecord(key, counter, isLast, record.slice(4)), plaintext, title);
    await refuses(Error, () => openRecord(key, counter + 1, isLast, record.slice(4)), `${title} in another place`);
    await refuses(Error, () => openRecord(key, counter, !isLast, record.slice(4)), `${title} as another end`);
  }
  const large = Uint8Array.from({ length: 131_077 }, (_, at) => at % 251);
  const [digest, firstDigest, start, second] = examples.get("a file of two chunks").parts;
  const first = await sealRecord(key, 1, false, large.slice(0, 131_072));
  same([await crypto.sha256(large), await crypto.sha256(first), first.slice(0, 32)], [digest, firstDigest, start], "the first chunk");
  same(await sealRecord(key, 2, true, large.slice(131_072)), second, "the second chunk");
}

/** The backup file, and what is not one. */
export async function backups() {
  const succeeds = [{ predecessor: Uint8Array.of(1), issued_at: NOW, signature: Uint8Array.of(2) }];
  // Two ways to write the same letter.
  const [typed, other] = ["gar\u00e7on gar\u00e7on", "garc\u0327on garc\u0327on"];
  const { me, backup } = await makeIdentity("Ada", typed, async () => succeeds);
  same(me.pair.privateKey.extractable, false, "the key can be extracted");
  const opened = await openBackup(backup, other);
  same([opened.name, opened.pair.publicKey, opened.succeeds], ["Ada", me.pair.publicKey, succeeds], "what is restored");
  same(opened.pair.privateKey.extractable, false, "the restored key can be extracted");
  const signature = await crypto.sign(opened.pair.privateKey, "card", Uint8Array.of(3));
  same(await crypto.verify(me.pair.publicKey, "card", Uint8Array.of(3), signature), true, "what the restored key signs");
  await refuses(Malformed, () => openBackup(backup, `${typed}!`), "another passphrase");
  await refuses(Malformed, () => openBackup(backup.slice(0, 200), typed), "half of a file");
  await refuses(Malformed, () => openBackup(backup.replace("BACKUP", "IDENTITY"), typed), "another file");
  const file = Uint8Array.from(atob(backup.replace(/-----.*-----|\n/g, "")), (letter) => letter.charCodeAt(0));
  same(file.slice(0, 3), Uint8Array.of(0xc0, 0xcf, 0x24), "600,000 rounds");
  const withRounds = (...varint) => btoa(String.fromCharCode(...varint, ...file.slice(3)));
  for (const base64 of [withRounds(0x81, 0xad, 0xe2, 0x04), withRounds(0)]) {
    const text = `-----BEGIN SWITCHBOARD BACKUP-----\n${base64}\n-----END SWITCHBOARD BACKUP-----\n`;
    const said = await openBackup(text, typed).catch(({ message }) => message);
    same(said, "this backup file asks for too many rounds, or for none", "10,000,001 rounds, and none");
  }
}
