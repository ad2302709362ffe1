// File messages: PROTOCOL.md, section 15. A browser cannot be dialled, so all go through the server, on a connection of
// their own.

import { concat, equal, u64be } from "./bytes.js";
import { decode, encode } from "./postcard.js";
import { derive, open, seal, sha256 } from "./crypto.js";
import { fileEntry, fileHeader, fileLinks, frame, frameToServer } from "./protocol.js";
import { Socket } from "./socket.js";

const CHUNK_BYTES = 131_072;
const TAG_BYTES = 16;
const HEADER_RECORD_BYTES_MAX = 1024;
const NO_DATA = new Uint8Array();
/** How much may wait in the browser until the server reads on. */
const UNSENT_BYTES_MAX = 1 << 20;
const UNSENT_WAIT = 10;
const SPLICE_WAIT = 30_000;
/** A holder waits less, because its slot could serve others. */
const SENDER_WAIT = 10_000;

/** The key of one file message. @param {Uint8Array} secret @param {Uint8Array} transfer @param {Uint8Array} salt */
export const fileKey = (secret, transfer, salt) => derive(secret, concat(transfer, salt), "file");

const nonce = (counter, isLast) => concat(new Uint8Array(3), u64be(counter), Uint8Array.of(isLast ? 1 : 0));

/**
 * @param {Uint8Array} key @param {number} counter @param {boolean} isLast @param {Uint8Array} plaintext
 * @returns {Promise<Uint8Array>} A record with its length in front.
 */
export const sealRecord = async (key, counter, isLast, plaintext) =>
  frame(await seal(key, nonce(counter, isLast), NO_DATA, plaintext));

/**
 * @param {Uint8Array} key @param {number} counter @param {boolean} isLast @param {Uint8Array} record Without its length.
 * @returns {Promise<Uint8Array>}
 */
export async function openRecord(key, counter, isLast, record) {
  const plaintext = await open(key, nonce(counter, isLast), NO_DATA, record);
  if (!plaintext) throw new Error("A part of the file is not authentic.");
  return plaintext;
}

const chunksOf = (bytes) => Math.max(1, Math.ceil(bytes / CHUNK_BYTES));

/**
 * Connects one end of a transfer through the server.
 * @param {{url: string, member: string, token: Uint8Array}} session The joined one.
 * @param {Uint8Array} transfer @param {"Sender" | "Receiver"} side @param {AbortSignal} signal Ends it.
 */
async function splice({ url, member, token }, transfer, side, signal) {
  signal.throwIfAborted();
  const socket = new Socket(url);
  signal.addEventListener("abort", () => socket.close("The transfer was cancelled."));
  await socket.expect("Hello");
  socket.send(frameToServer({ type: "Splice", transfer, side, member, token }));
  await socket.expect("Spliced", side === "Sender" ? SENDER_WAIT : SPLICE_WAIT);
  socket.allowLongFrames();
  return socket;
}

/** Connects the sending end of a transfer, and calls `work` with a function that sends a record. */
async function sending(session, { transfer, key, signal }, work) {
  const socket = await splice(session, transfer, "Sender", signal);
  let counter = 0;
  try {
    await work(async (plaintext, isLast) => {
      socket.send(await sealRecord(key, counter, isLast, plaintext));
      counter += 1;
      // WebSockets have no event for this. One that is closed goes on counting what it has not sent.
      while (socket.unsentBytes > UNSENT_BYTES_MAX && !socket.isClosed) await new Promise((resolve) => setTimeout(resolve, UNSENT_WAIT));
      if (socket.isClosed) throw new Error("The connection has ended before the whole file was sent.");
    });
  } finally {
    socket.close("The file is sent.");
  }
}

/** Sends the bytes of a file, in chunks. `isEnd`: nothing follows. */
async function sendChunks(send, file, offset, end, isEnd) {
  const count = chunksOf(end - offset);
  for (let at = 0; at < count; at += 1) {
    const start = offset + at * CHUNK_BYTES;
    const chunk = new Uint8Array(await file.slice(start, start + CHUNK_BYTES).arrayBuffer());
    await send(chunk, isEnd && at + 1 === count);
  }
}

/**
 * Sends a file, or some of its pieces, to the peer that has asked for it.
 * @param {object} session
 * @param {{transfer: Uint8Array, key: Uint8Array, file: Blob, header: object, end: number, links: Uint8Array[] | null,
 *   signal: AbortSignal}} job `links` are those of the pieces up to `end`.
 */
export const sendFile = (session, job) =>
  sending(session, job, async (send) => {
    const { file, header, end, links } = job;
    await send(encode(fileHeader, header), false);
    if (links) await send(encode(fileLinks, { links }), false);
    await sendChunks(send, file, header.offset, end, true);
  });

/**
 * Sends many files to the peer that has asked for them.
 * @param {object} session
 * @param {{transfer: Uint8Array, key: Uint8Array, files: {shared?: object, refusal?: string}[], signal: AbortSignal}} job For each
 *   requested file, what is shared, or why it is not sent.
 */
export const sendFiles = (session, job) =>
  sending(session, job, async (send) => {
    for (const { shared, refusal } of job.files) {
      // What has changed since it was chosen cannot be read at all.
      const isReadable = shared && (await shared.file.slice(0, 1).arrayBuffer().then(() => true, () => false));
      const { name, bytes, sha256, file } = shared ?? {};
      const entry = isReadable
        ? { type: "File", name, total_bytes: bytes, offset: 0, sha256 }
        : { type: "NotSent", reason: refusal ?? "Unreadable" };
      await send(encode(fileEntry, entry), false);
      if (isReadable && bytes > 0) await sendChunks(send, file, 0, bytes, false);
    }
    await send(NO_DATA, true);
  });

/** Connects the receiving end of a transfer, and calls `work` with a function that receives a record. */
async function receiving(session, { transfer, key, signal }, work) {
  const socket = await splice(session, transfer, "Receiver", signal);
  let counter = 0;
  try {
    await work(async (isLength, isLast) => {
      const record = await socket.next(SPLICE_WAIT);
      if (!isLength(record.length)) throw new Error("A part of the file has another length than it should have.");
      counter += 1;
      return openRecord(key, counter - 1, isLast, record);
    });
  } finally {
    socket.close("The file has arrived.");
  }
}

const isHead = (length) => length <= HEADER_RECORD_BYTES_MAX;

/** Receives the bytes of a file, in chunks. `isEnd`: nothing follows. */
async function takeChunks(next, offset, end, isEnd, take) {
  const count = chunksOf(end - offset);
  for (let at = 0; at < count; at += 1) {
    const start = offset + at * CHUNK_BYTES;
    const expected = Math.min(CHUNK_BYTES, end - start);
    await take(await next((length) => length === expected + TAG_BYTES, isEnd && at + 1 === count), start + expected);
  }
}

/**
 * Receives the chunks of a file, or of some of its pieces, from an offset on, which is where a chunk begins, or its end.
 * @param {object} session
 * @param {{transfer: Uint8Array, key: Uint8Array, file: object, offset: number, end: number, signal: AbortSignal}} job `file` is what
 *   was found.
 * @param {(chunk: Uint8Array, done: number) => Promise<void>} take Called with each chunk, and the bytes up to its end.
 * @param {(links: Uint8Array[]) => void} [takeLinks] Called before, with the links at the pieces, if those were requested.
 */
export const receiveChunks = (session, job, take, takeLinks) =>
  receiving(session, job, async (next) => {
    const { file, offset, end } = job;
    checkHeader(decode(fileHeader, await next(isHead, false)), file, offset);
    if (takeLinks) takeLinks(decode(fileLinks, await next(isHead, false)).links);
    await takeChunks(next, offset, end, true, take);
  });

/**
 * Receives many small files, each of which is in memory as a whole.
 * @param {object} session
 * @param {{transfer: Uint8Array, key: Uint8Array, files: object[], signal: AbortSignal}} job `files` are what was requested, as it was
 *   found.
 * @param {(at: number, came: {content?: Blob, isRight?: boolean, refusal?: string}) => Promise<void>} take Called for each file in turn,
 *   with its content and whether that has the right digest, or with the reason why it was not sent.
 * @param {(at: number, bytes: number) => void} onArriving Called before, with how much of a file is here.
 */
export const receiveFiles = (session, job, take, onArriving) =>
  receiving(session, job, async (next) => {
    for (const [at, file] of job.files.entries()) {
      const came = await receiveOne(next, file, (bytes) => onArriving(at, bytes));
      // Whoever has got the last file closes the connection, so nothing should be left on it.
      if (at + 1 === job.files.length) await next((length) => length === TAG_BYTES, true);
      await take(at, came);
    }
  });

async function receiveOne(next, file, onArriving) {
  const entry = decode(fileEntry, await next(isHead, false));
  if (entry.type === "NotSent") return { refusal: entry.reason };
  checkHeader(entry, file, 0);
  const chunks = [];
  // Of an empty file no chunk follows.
  const takeChunk = (chunk, done) => {
    chunks.push(chunk);
    if (done < file.bytes) onArriving(done);
  };
  if (file.bytes > 0) await takeChunks(next, 0, file.bytes, false, takeChunk);
  const bytes = concat(...chunks);
  return { content: new Blob([bytes]), isRight: equal(await sha256(bytes), file.sha256) };
}

function checkHeader(header, { name, bytes, sha256: digest }, offset) {
  const isRight =
    header.name === name && header.total_bytes === bytes && header.offset === offset && equal(header.sha256, digest);
  if (!isRight) throw new Error("Another file was sent than the one that was requested.");
}
