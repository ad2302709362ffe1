// pieces.js, and the structures of PROTOCOL.md that it is for.

import { fileRequest, withdrawal } from "/switchboard/protocol.js";
import { FIRST_LINK, isRun, linkBehind, linked, PIECE_BYTES, piecesOf } from "/switchboard/pieces.js";
import { decode, encode } from "/switchboard/postcard.js";
import { equal, fromHex, hex } from "/switchboard/bytes.js";
import { sha256 } from "/switchboard/crypto.js";
import { load } from "/test/examples.js";
import { same } from "/test/check.js";

const content = (bytes) => Uint8Array.from({ length: bytes }, (_, at) => (at ^ (at >> 8) ^ (at >> 16)) & 0xff);

/** Pieces lead from link to link, and the last one to the SHA-256. */
export async function chains() {
  // FIPS 180-4, section 5.3.3.
  same(hex(FIRST_LINK), "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19", "the first link");
  for (const bytes of [0, 1, 55, 56, 63, 64, 65, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 77]) {
    const file = content(bytes);
    const { sha256: digest, links } = await linked(new Blob([file]));
    same(digest, await sha256(file), `the SHA-256 of ${bytes} bytes`);
    same(links.length, piecesOf(bytes), `the links of ${bytes} bytes`);
    links.push(digest);
    for (let at = 0; at + 1 < links.length; at += 1) {
      const piece = file.slice(at * PIECE_BYTES, (at + 1) * PIECE_BYTES);
      const total = at + 2 === links.length ? bytes : null;
      same(linkBehind(links[at], piece, total), links[at + 1], `behind the piece ${at} of ${bytes} bytes`);
      if (bytes === 0) continue;
      piece[piece.length - 1] ^= 1;
      same(equal(linkBehind(links[at], piece, total), links[at + 1]), false, `behind another piece ${at} of ${bytes} bytes`);
    }
  }
  const large = linkBehind(FIRST_LINK, new Uint8Array(), 2 ** 50);
  same(equal(large, linkBehind(FIRST_LINK, new Uint8Array(), 0)), false, "lengths of more than 32 bits");
}

/** What a request may ask for. */
export function runs() {
  const total = 20 * PIECE_BYTES + 5;
  const good = [[0, PIECE_BYTES], [19 * PIECE_BYTES, total], [PIECE_BYTES, 17 * PIECE_BYTES]];
  const bad = [
    [0, 17 * PIECE_BYTES], [0, 0], [1, PIECE_BYTES], [0, PIECE_BYTES + 1], [19 * PIECE_BYTES, 21 * PIECE_BYTES],
    [2 * PIECE_BYTES, PIECE_BYTES], [2n ** 64n - 1n, 2n ** 64n - 1n], [0, 2n ** 60n], [2n ** 60n, total], [total, total],
  ];
  for (const [offset, end] of good) same(isRun(offset, end, total), true, `${offset} to ${end}`);
  for (const [offset, end] of bad) same(isRun(offset, end, total), false, `${offset} to ${end}`);
  same(isRun(0, 5, 5), false, "a file of one piece");
}

/** The contents of requests for files, which the examples of envelopes have not. */
export async function requests() {
  const examples = await load();
  const sha256 = fromHex("8c7fa036e0399f7432c0a56160405ce5e9fa83e2433862d5e160200d4144ea80");
  const transfer = Uint8Array.from({ length: 16 }, (_, at) => 0xa0 + at);
  const request = (offset, wish) => ({ transfer, secret: new Uint8Array(32).fill(0x5e), name: "tide.csv", sha256, offset, wish });
  const cases = [
    ["request that may wait", fileRequest, request(300, { type: "Queue", route: "Server" })],
    ["request for two pieces", fileRequest, request(3 * PIECE_BYTES, { type: "Pieces", route: "Direct", end: 5 * PIECE_BYTES })],
    ["request that takes it back", withdrawal, { transfer, reason: "DiskFull" }],
  ];
  for (const [what, codec, value] of cases) {
    const { bytes } = [...examples].find(([title]) => new RegExp(`^the content of (a|the) ${what}$`, "u").test(title))[1];
    same(encode(codec, value), bytes, what);
    same(decode(codec, bytes), value, what);
  }
}
