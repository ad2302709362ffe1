// fileview.js, transfer.js and files.js: what a person is told of files that are shared, and how long a slot stays taken.

import { fileRequest, frame, toPeer, withdrawal } from "/switchboard/protocol.js";
import { encode } from "/switchboard/postcard.js";
import { FileView } from "/switchboard/fileview.js";
import { Files } from "/switchboard/files.js";
import { linked, PIECE_BYTES } from "/switchboard/pieces.js";
import { Owner } from "/switchboard/owner.js";
import { sendFile } from "/switchboard/transfer.js";
import { refuses, same } from "/test/check.js";

/** Reading files, and what is said meanwhile. */
export async function reading() {
  const done = [];
  await linked(new Blob([new Uint8Array(PIECE_BYTES + 5)]), (bytes) => done.push(bytes));
  same(done, [PIECE_BYTES, PIECE_BYTES + 5], "how much was read");

  document.body.innerHTML = `<section id="files-section"><form id="share-form"><input id="files" type="file" multiple>
    <input id="keywords" value="x"></form><p id="share-said"></p></section>`;
  const said = [];
  const shown = () => document.getElementById("share-said").textContent;
  const ask = async ({ file: { size } }, onProgress) => {
    for (const bytes of [size / 2, size]) {
      onProgress({ done: bytes });
      said.push(shown());
    }
    return {};
  };
  new FileView({ ask });
  const chosen = new DataTransfer();
  for (const [name, bytes] of [["a", 30], ["b", 70]]) chosen.items.add(new File([new Uint8Array(bytes)], name));
  document.getElementById("files").files = chosen.files;
  document.getElementById("share-form").requestSubmit();
  await new Promise((resolve) => setTimeout(resolve));
  same([...said, shown()], [10, 30, 60, 100].map((share) => `Reading, ${share} % is done.`).concat(""), "what is said");
}

/** A receiver whose disk is full, and others that say so. */
export async function full() {
  const sha256 = new Uint8Array(32);
  const shared = [{ name: "x.txt", bytes: 1, sha256, links: [], keywords: ["x"], file: new Blob(["x"]) }];
  const files = Object.assign(new Files(), { shared });
  const notes = [];
  const engine = { transfers: [], now: 0, note: (about, text) => notes.push(`${about}: ${text}`) };
  const [a, b] = ["A", "B"].map((name) => ({ name, peer: name.toLowerCase(), answersDue: new Map() }));
  const transfer = new Uint8Array(16);
  const asked = { transfer, secret: new Uint8Array(32), name: "x.txt", sha256, offset: 0, wish: { type: "Server" } };
  await files.request(engine, a, 1, encode(fileRequest, asked));
  const say = (contact, reason) => files.request(engine, contact, 2, encode(withdrawal, { transfer, reason }));
  await say(b, "DiskFull");
  await say(a, "Left");
  same(notes, [], "what others say, and another reason");
  const [{ signal }] = engine.transfers;
  same(signal.aborted, true, "the transfer is stopped");
  files.slots.free("00".repeat(16));
  await say(a, "DiskFull");
  await say(a, "DiskFull");
  same(notes, ["A: The disk of A is full, so it cannot take x.txt from you."], "once, also after the transfer has ended");
}

/** A receiver that does not dial: its slot is free after 10 seconds. */
export async function waits() {
  const { WebSocket: socket, setTimeout: timer } = globalThis;
  const waited = [];
  globalThis.WebSocket = class {
    constructor() {
      const hello = { type: "Hello", nonce: new Uint8Array(32), server: new Uint8Array(16), key: new Uint8Array(32) };
      queueMicrotask(() => this.onmessage({ data: frame(encode(toPeer, hello)).buffer }));
    }
    send() {}
    close() {}
  };
  // The time of what is not answered passes at once.
  globalThis.setTimeout = (call, wait) => (waited.push(wait), wait > 4000 ? timer(call) : 0);
  try {
    const session = { url: "", member: "A", token: new Uint8Array(32) };
    const job = { transfer: new Uint8Array(16), key: null, signal: new AbortController().signal };
    await refuses(Error, () => sendFile(session, job), "a receiver that does not dial");
  } finally {
    Object.assign(globalThis, { WebSocket: socket, setTimeout: timer });
  }
  same(waited, [4000, 10_000], "how long is waited, for the server and for the receiver");
}

/** Files that are chosen together do not become more than fit into a publication. */
export async function most() {
  const owner = new Owner({}, "", () => {});
  const share = (name) => new Promise((reply) => owner.command({ type: "share", file: new File(["x"], name), keywords: ["x"] }, (said) => "done" in said || reply(said)));
  const answers = await Promise.all(Array.from({ length: 103 }, (_, number) => share(`${number}`)));
  const errors = answers.flatMap(({ error }) => error ?? []);
  same([owner.live.shared.length, errors], [100, new Array(3).fill("At most 100 files can be shared.")], "103 files");
  same([await share("7"), owner.live.shared.length], [{}, 100], "another content of one of them");
}
