// The structures of PROTOCOL.md, sections 5, 7, 9, 10.1, 11 and 15.5 to 15.7, and the frames of section 6.

import { array, bool, bytes, choice, decode, encode, enumeration, list, Malformed, option, string, struct, u16, u32, u64 } from "./postcard.js";
import { concat } from "./bytes.js";
import { isFileName, isKeyword, isPeerName } from "./names.js";

const digest = array(32);
const id16 = array(16);
const text = string();
const peerName = string(isPeerName, "name of a peer");
const fileName = string(isFileName, "name of a file");
const keyword = string(isKeyword, "keyword");
const address = enumeration({ IPv4: { ip: array(4), port: u16 }, IPv6: { ip: array(16), port: u16 } });

/** What an envelope contains. The index of a name is its number in associated data. */
export const KINDS = ["Opening", "Message", "Receipt", "Request", "Answer"];

const envelope = { from: peerName, to: peerName, kind: choice(...KINDS), number: u64, sealed: bytes };
const refusal = choice(
  "MailboxFull", "Busy", "Absent", "SenderFull", "AddressFull", "ServerFull", "SenderNames", "AddressNames",
  "ServerNames", "Watching", "SenderOpenings",
);
const outcome = enumeration({ Relayed: {}, Stored: {}, Refused: { refusal } });
const file = struct({ name: fileName, bytes: u64, sha256: digest, keywords: list(keyword, 1024) });
const audience = enumeration({ Everyone: {}, Only: { names: list(peerName, 1024) } });
const listed = struct({ file, audience });
const hit = struct({ peer: peerName, file, online: bool, address: option(address) });
const match = struct({ holders: u32, hits: list(hit, 16) });
const known = struct({ name: peerName, fingerprint: digest, online: bool });
const claim = struct({ id: array(8), mac: digest });
const query = enumeration({
  Keywords: { keywords: list(keyword, 16) },
  File: { name: fileName },
  Digest: { sha256: digest },
  Names: { from: peerName, pattern: fileName, after: option(fileName) },
  Holders: { pattern: fileName },
});
const errorCode = choice(
  "Malformed", "UnknownKind", "TooLong", "OutOfPlace", "BadEnvelope", "BadCard", "BadProof", "NameTaken", "Superseded",
  "ShuttingDown", "Busy", "TimedOut", "NotAdmitted",
);

export const toServer = enumeration({
  Envelope: envelope,
  Join: { card: bytes, proof: bytes, invitation: option(claim) },
  Taken: { count: u64 },
  Lookup: { name: peerName },
  Publish: { part: u32, last: bool, files: list(file) },
  Search: { id: u32, query, limit: u32 },
  Listening: { port: u16 },
  CalledBack: { echo: array(32) },
  Who: { id: u32 },
  Splice: { transfer: id16, side: choice("Sender", "Receiver"), member: peerName, token: array(32) },
  Ping: { id: u32, names: list(peerName, 64) },
  Find: { id: u32, text, skip: u32, limit: u32 },
  Change: { base: digest, removed: list(fileName), files: list(file) },
  PublishLimited: { part: u32, last: bool, files: list(listed) },
  ChangeLimited: { base: digest, removed: list(fileName), files: list(listed) },
  JoinInvited: { card: bytes, proof: bytes, invitation: claim },
});

export const toPeer = enumeration({
  Envelope: envelope,
  Hello: { nonce: array(32), server: id16, key: array(32) },
  Welcome: { name: peerName, proof: bytes },
  Routed: { first: u64, count: u64, outcome },
  Card: { card: bytes },
  Unknown: { name: peerName },
  Published: { files: u32, pairs: u32 },
  Found: { id: u32, hits: list(hit), total: u64 },
  Reachable: { address: option(address) },
  Known: { id: u32, peers: list(known) },
  Failed: { id: u32, detail: text },
  Spliced: {},
  Error: { code: errorCode, detail: text },
  Pong: { id: u32, present: list(peerName) },
  Expired: { to: peerName, first: u64, last: u64 },
  Unwatched: { name: peerName, reason: refusal },
  Matches: { id: u32, matches: list(match), total: u64, instead: option(text) },
  BadSearch: { id: u32, column: u32, detail: text },
  Invited: { proof: array(32) },
});

/** A card or an opening: a body, and a signature over it. */
export const signed = struct({ body: bytes, signature: bytes });

/** The statements of a peer's earlier identity keys, newest first. */
export const succeeds = list(struct({ predecessor: bytes, issued_at: u64, signature: bytes }), 3);

export const cardBody = struct({
  name: peerName,
  identity: bytes,
  encryption: bytes,
  sequence: u64,
  issued_at: u64,
  valid_until: u64,
  succeeds,
});

/** What an old identity key signs about its successor. */
export const succession = struct({ name: peerName, successor: digest, issued_at: u64 });

export const openingBody = struct({
  sender_card: bytes,
  sender: digest,
  recipient: digest,
  recipient_key: digest,
  wrapped_key: bytes,
  commitment: digest,
  opened_at: u64,
  first_number: u64,
});

export const receipt = enumeration({
  Received: { conversation: digest, count: u64, running_hash: digest, last_number: u64 },
  Refused: {
    conversation: digest,
    count: u64,
    reason: choice("UnknownConversation", "KeyDestroyed", "Gap", "NotAuthentic"),
  },
});

const route = choice("Direct", "Server");
const wish = enumeration({ Direct: {}, Server: {}, Queue: { route }, Pieces: { route, end: u64 } });
export const fileRequest = struct({ transfer: id16, secret: array(32), name: fileName, sha256: digest, offset: u64, wish });

/** A request for many files. Where a request for one has a name, it has an empty text, at `MARK_AT`. */
export const manyRequest = struct({
  transfer: id16,
  secret: array(32),
  mark: string((text) => text === "", "empty text"),
  wish,
  files: list(struct({ name: fileName, sha256: digest }), 1024),
});
export const MARK_AT = 48;

export const fileAnswer = struct({
  transfer: id16,
  verdict: enumeration({ Ready: { bytes: u64, salt: id16 }, NotShared: {}, Changed: {}, Busy: {}, Queued: { place: u32 } }),
});

/** Takes a request back. It is told from a request by its length. */
export const withdrawal = struct({ transfer: id16, reason: choice("Left", "DiskFull") });
export const WITHDRAWAL_BYTES = 17;

export const fileHeader = struct({ name: fileName, total_bytes: u64, offset: u64, sha256: digest });

/** What becomes of one of many files. */
export const fileEntry = enumeration({
  File: { name: fileName, total_bytes: u64, offset: u64, sha256: digest },
  NotSent: { reason: choice("NotShared", "Changed", "Unreadable") },
});

/** The links at the pieces that follow. */
export const fileLinks = struct({ links: list(digest, 16) });

/** The first bytes of a connection to the server. */
export const PREFACE = Uint8Array.of(0x53, 0x57, 0x42, 0x32);
/** The longest body of a frame. */
export const BODY_BYTES_MAX = 1_048_576;
/** The longest body before the peer has joined. */
export const BODY_BYTES_MAX_BEFORE_JOIN = 16_384;

/** @param {Uint8Array} body @returns {Uint8Array} The body with its length in front. */
export function frame(body) {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, body.length, true);
  return concat(length, body);
}

/** @param {object} message A `ToServer` message. @returns {Uint8Array} Its frame. */
export const frameToServer = (message) => frame(encode(toServer, message));

/** @param {Uint8Array} body @returns {object} The `ToPeer` message. @throws {Malformed} */
export function messageToPeer(body) {
  // The number of a message is one byte, although those of other enumerations are varints.
  if (body[0] > 0x7f) throw new Malformed(`${body[0]} is not a kind of message`);
  return decode(toPeer, body);
}

/** Splits a stream of bytes, which arrives in pieces of any size, into the bodies of frames. */
export class Frames {
  #rest = new Uint8Array();
  /** The longest body that is accepted. */
  longest = BODY_BYTES_MAX_BEFORE_JOIN;

  /** @param {Uint8Array} bytes What has arrived. */
  push(bytes) {
    this.#rest = concat(this.#rest, bytes);
  }

  /**
   * Takes the next body.
   * @returns {Uint8Array | null} null if it has not arrived completely.
   * @throws {Malformed} It is too long.
   */
  next() {
    if (this.#rest.length < 4) return null;
    const length = new DataView(this.#rest.buffer, this.#rest.byteOffset).getUint32(0, true);
    if (length > this.longest) throw new Malformed(`a frame of ${length} bytes is longer than ${this.longest}`);
    if (this.#rest.length < 4 + length) return null;
    const body = this.#rest.subarray(4, 4 + length);
    this.#rest = this.#rest.subarray(4 + length);
    return body;
  }
}
