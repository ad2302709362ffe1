// downloads.js and parts.js: what is kept on the disk of a file that does not come as it should.

import { fileHeader, fileLinks, frame, toPeer, toServer } from "/switchboard/protocol.js";
import { decode, encode } from "/switchboard/postcard.js";
import { fileKey, sealRecord } from "/switchboard/transfer.js";
import { linked, PIECE_BYTES } from "/switchboard/pieces.js";
import { Downloads } from "/switchboard/downloads.js";
import { Parts } from "/switchboard/parts.js";
import { Refused } from "/switchboard/gather.js";
import { hex } from "/switchboard/bytes.js";
import { random } from "/switchboard/crypto.js";
import { same } from "/test/check.js";

const BYTES = 8 * PIECE_BYTES + 77;
const CHUNK_BYTES = 131_072;

/** A file that no other test has, and who has it. */
async function made() {
  const bytes = new Uint8Array(BYTES);
  bytes.set(random(32));
  const { sha256, links } = await linked(new Blob([bytes]));
  const file = { name: "x.bin", bytes: BYTES, sha256, keywords: ["x"] };
  return { bytes, links, file, sha256, hits: ["a", "liar"].map((peer) => ({ peer, online: true, file })) };
}

/** What a holder sends. A liar alters the last byte. */
async function records({ bytes, links, file }, { peer, offset, end, key }) {
  const sent = bytes.slice(offset, end);
  if (peer === "liar") sent[sent.length - 1] ^= 1;
  const chunks = Array.from({ length: Math.ceil(sent.length / CHUNK_BYTES) }, (_, at) => sent.slice(at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES));
  const header = { name: file.name, total_bytes: BYTES, offset, sha256: file.sha256 };
  const named = links.slice(offset / PIECE_BYTES, Math.ceil(end / PIECE_BYTES));
  const all = [encode(fileHeader, header), encode(fileLinks, { links: named }), ...chunks];
  return Promise.all(all.map((record, at) => sealRecord(key, at, at + 1 === all.length, record)));
}

/** Lets a page fetch a file from holders that `mayAnswer` waits for. Returns what becomes of it. */
async function fetched(made, hits, mayAnswer, onProgress = () => {}) {
  const requests = new Map();
  const ask = async ({ hit: { peer }, offset, end }) => {
    await mayAnswer(peer);
    const [transfer, salt] = [random(16), random(16)];
    const key = await fileKey(random(32), transfer, salt);
    requests.set(hex(transfer), { peer, offset, end, key });
    return { transfer, key };
  };
  const { WebSocket: socket } = globalThis;
  globalThis.WebSocket = class {
    bufferedAmount = 0;
    constructor() {
      const hello = { type: "Hello", nonce: new Uint8Array(32), server: new Uint8Array(16), key: new Uint8Array(32) };
      queueMicrotask(() => this.#say(frame(encode(toPeer, hello))));
    }
    #say(bytes) {
      this.onmessage({ data: bytes.slice().buffer });
    }
    async send(bytes) {
      const { transfer } = decode(toServer, bytes.slice(4));
      this.#say(frame(encode(toPeer, { type: "Spliced" })));
      for (const record of await records(made, requests.get(hex(transfer)))) this.#say(record);
    }
    close() {}
  };
  try {
    const session = { url: "", member: "me", token: new Uint8Array(32) };
    return await new Downloads(0, ask, () => session).fetch(hits, 0, false, onProgress);
  } finally {
    globalThis.WebSocket = socket;
  }
}

const numbersOf = async ({ sha256 }) => (await (await Parts.open()).begin(sha256, 0)).map(({ number }) => number);

/** A piece does not count twice, neither when it has come nor while two send it. */
export async function progress() {
  const file = await made();
  const progressOf = async (...peers) => {
    const told = [];
    const hits = peers.map((peer) => ({ ...file.hits[0], peer }));
    const { blob } = await fetched(file, hits, async () => {}, ({ done }) => told.push(done));
    same([blob.size, Math.max(...told)], [BYTES, BYTES], "all of it");
    const steps = told.map((done, at) => done - (told[at - 1] ?? 0));
    // What one has sent while its piece was kept is shown with what comes from another one.
    same(steps.filter((bytes) => bytes > peers.length * CHUNK_BYTES), [], "more than a chunk of each at once");
  };
  await progressOf("a");
  await progressOf("a", "b");
}

/** What a liar has sent is not kept once that is known. */
export async function liars() {
  const file = await made();
  const asked = { a: 0, liar: 0 };
  let proceed;
  const isKept = new Promise((resolve) => (proceed = resolve));
  let before = null;
  const { error, kept, liars: named } = await fetched(file, file.hits, async (peer) => {
    asked[peer] += 1;
    if (asked[peer] > 1 && peer === "liar") before = await numbersOf(file).finally(proceed);
    if (asked[peer] > 1) throw new Refused("nothing more");
    if (peer === "a") await isKept;
  });
  same(before, [5, 6], "what the liar has sent is kept at first");
  same([error, named, kept], ["nothing more", ["liar"], PIECE_BYTES + 77], "what has become of it");
  same(await numbersOf(file), [7, 8], "what is kept then");
}

/** What was kept and is not right is fetched again. If there is no room for it then, it does not count as kept. */
export async function unstored() {
  const file = await made();
  const parts = await Parts.open();
  await parts.begin(file.sha256, 0);
  for (const number of [7, 8]) {
    const content = new Blob([file.bytes.slice(number * PIECE_BYTES, (number + 1) * PIECE_BYTES).fill(1)]);
    await parts.keep(file.sha256, number, { from: file.links[number], content });
  }
  const { keep } = Parts.prototype;
  Parts.prototype.keep = () => Promise.reject(new Error("there is no room"));
  let asked = 0;
  const mayAnswer = async () => {
    asked += 1;
    if (asked > 1) throw new Refused("nothing more");
  };
  const { error, kept } = await fetched(file, file.hits.slice(0, 1), mayAnswer).finally(() => (Parts.prototype.keep = keep));
  same([error, kept, await numbersOf(file)], ["nothing more", 0, []], "nothing is kept");
}

const WEEK = 7 * 86_400;

/** Which lists can be continued, what is here of them, and how long. */
export async function lists() {
  const parts = await Parts.open();
  const files = await Promise.all([1, 2, 3].map(made));
  const listOf = (...of) => ({ pattern: "*", from: "", begun: 0, isSaved: false, matches: of.map(({ hits }) => ({ holders: 2, hits })) });
  const [one, two, saved] = Array.from({ length: 3 }, () => crypto.randomUUID());
  await parts.keepList(one, listOf(files[0], files[1]));
  // Nobody has a file of this length, but somebody may say so.
  const endless = { hits: [{ ...files[2].hits[0], file: { ...files[2].file, bytes: 2n ** 60n } }] };
  await parts.keepList(two, { ...listOf(files[2], endless), begun: 1 });
  const keep = async ({ sha256, links, bytes }, count) => {
    await parts.begin(sha256, WEEK);
    const piece = (number) => ({ from: links[number], content: new Blob([bytes.slice(number * PIECE_BYTES, (number + 1) * PIECE_BYTES)]) });
    for (let number = 0; number < count; number += 1) await parts.keep(sha256, number, piece(number));
  };
  await keep(files[0], 9);
  await keep(files[1], 8);
  const known = async () => (await parts.lists()).filter(({ id }) => [one, two, saved].includes(id)).map(({ id, here }) => [id, here]);
  same(await known(), [[two, 0], [one, 1]], "the newest first");
  await parts.keepList(saved, listOf(files[1]));
  await parts.listSaved(saved);
  same(await known(), [[two, 0], [one, 1]], "one that was saved");
  same(await numbersOf(files[1]), [0, 1, 2, 3, 4, 5, 6, 7], "its file is there as long as the page is open");
  await parts.forgetOld(WEEK);
  same([await known(), await numbersOf(files[1])], [[[two, 0], [one, 1]], []], "when the page is opened again");
  await parts.forgetOld(WEEK + 1);
  same([await known(), await numbersOf(files[0])], [[[two, 0]], []], "after a week");
  await parts.forgetList(two);
  same(await known(), [], "one that a person forgets");
}
