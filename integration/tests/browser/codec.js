// postcard.js, names.js and protocol.js.

import { concat, fromHex, hex, utf8 } from "/switchboard/bytes.js";
import { bool, bytes, decode, encode, list, Malformed, option, string, u16, u32, u64 } from "/switchboard/postcard.js";
import { BODY_BYTES_MAX, Frames, frame, frameToServer, messageToPeer, PREFACE, toPeer, toServer } from "/switchboard/protocol.js";
import { isFileName, isKeyword, isPeerName } from "/switchboard/names.js";
import { parseKeywords, writtenKeywords } from "/switchboard/keywords.js";
import { load } from "/test/examples.js";
import { refuses, same } from "/test/check.js";

const repeated = (byte, count) => new Uint8Array(count).fill(byte);
const counting = (first, count) => Uint8Array.from({ length: count }, (_, at) => first + at);

/** Keywords as a person types them, and as they are shown. */
export async function keywords() {
  const cases = [
    ["luck, high  water", ["luck", "high water"]],
    ['"salt, pepper",luck ,, 5" disk; x,', ["salt, pepper", "luck", '5" disk; x']],
    [' "say ""hi""" , b', ['say "hi"', "b"]],
    ['"""a""", ""', ['"a"']],
    ["  ", []],
  ];
  for (const [text, words] of cases) {
    same(parseKeywords(text), words, text);
    same(parseKeywords(writtenKeywords(words)), words, `${text} written again`);
  }
  const refused = ['"open', 'a, "b" c', 'a, "', "x".repeat(129), "\uFEFFa"];
  for (const text of refused) await refuses(RangeError, () => parseKeywords(text), text);
}

/** Numbers, texts and lists. */
export async function encodings() {
  const numbers = {
    "00": 0, "01": 1, "7f": 127, 8001: 128, ac02: 300, ff7f: 16383, 808001: 16384,
    "80a4a7da06": 1800000000, ffffffffffffffffff01: 18446744073709551615n,
  };
  for (const [digits, number] of Object.entries(numbers)) {
    same(hex(encode(u64, number)), digits, `${number}`);
    same(decode(u64, fromHex(digits)), number, digits);
  }
  same(decode(u16, fromHex("808000")), 0, "a varint that is longer than needed");
  const refused = [
    [u16, "80808000"], [u16, "ffff04"], [u32, "ffffffff10"], [u64, "ffffffffffffffffff02"], [u64, "80"], [bool, "02"],
    [bytes, "05ffff"], [bytes, "ffffffffffffffffff01"], [list(u32), "ffffffff0f00"], [list(u32), "ffffffffffffffffff0100"], [list(u32, 1), "020101"],
    [option(u32), "0201"], [string(), "02c328"], [u32, "0000"],
  ];
  for (const [codec, digits] of refused) await refuses(Malformed, () => decode(codec, fromHex(digits)), digits);
  same(decode(string(), encode(string(), "\uFEFFé")), "\uFEFFé", "a text with a byte order mark");
}

/** Names and keywords. */
export function names() {
  const [long, tooLong] = ["é".repeat(127) + "x", "é".repeat(128)];
  const cases = [
    [isPeerName, ["A", "a.b_c-9", "x".repeat(32)], ["", "x".repeat(33), "ä", "a b", "a\n", "<b>"]],
    [
      isFileName, ["tide.csv", "a b", "a,b;c", "\u202Ex", long, "a/b", "a b/c/d", `${long}/${long}`],
      ["", ".x", " x", "x\u00A0", "/a", "a/", "a//b", "a/../b", "a/.b", "a /b", "a\\b", "a\tb", "a\u0085", tooLong, `${long}/${long}/xx`],
    ],
    [isKeyword, ["sea", "high water", " sea ", ".x", "a,b;c"], ["", " ", "a\nb", "\uFEFFa", "x".repeat(129)]],
  ];
  for (const [check, good, bad] of cases) {
    for (const name of good) same(check(name), true, `${check.name} ${JSON.stringify(name)}`);
    for (const name of bad) same(check(name), false, `${check.name} ${JSON.stringify(name)}`);
  }
}

/** Every message of the worked examples, as a value. */
function messages(examples) {
  const of = (title) => examples.get(title).bytes;
  const [opening, card] = [of("the opening from a to b"), of("the card of a")];
  const join = examples.get("toserver 1, join").parts;
  const claim = examples.get("toserver 1, join, with an invitation").parts.slice(-2);
  const welcome = examples.get("topeer 2, welcome").parts;
  const key = examples.get("the key of the server").parts[1];
  const keywords = ["sea", "high water"];
  const sha256 = fromHex("8c7fa036e0399f7432c0a56160405ce5e9fa83e2433862d5e160200d4144ea80");
  const file = { name: "tide.csv", bytes: 23, sha256, keywords };
  const limited = [{ file, audience: { type: "Only", names: ["a", "b"] } }];
  const identityOfB = examples.get("fingerprints").parts[2];
  const ip = fromHex("20010db8000000000000000000000007");
  const envelopes = {
    "the opening from a to b": { from: "A", to: "B", kind: "Opening", number: 1, sealed: opening },
    "the first message": { from: "A", to: "B", kind: "Message", number: 1, sealed: of("sealed: the first message") },
    "the opening from b to a": { from: "B", to: "A", kind: "Opening", number: 1, sealed: of("the opening from b to a") },
    "the receipt": { from: "B", to: "A", kind: "Receipt", number: 2, sealed: of("sealed: the receipt") },
    "the request for a file": { from: "B", to: "A", kind: "Request", number: 0, sealed: of("sealed: the request for a file") },
    "the answer": { from: "A", to: "B", kind: "Answer", number: 0, sealed: of("sealed: the answer") },
  };
  const both = Object.entries(envelopes).map(([what, envelope]) => [
    `toserver 0 and topeer 0, envelope with ${what}`, { type: "Envelope", ...envelope },
  ]);
  const hit = { peer: "A", file, online: true, address: { type: "IPv4", ip: Uint8Array.of(192, 0, 2, 7), port: 40000 } };
  const search = (query) => ({ type: "Search", id: 7, query, limit: 100 });
  const routed = (outcome) => ({ type: "Routed", first: 0, count: 2, outcome });
  return {
    both: Object.fromEntries(both),
    toServer: {
      "toserver 1, join": { type: "Join", card, proof: join[5], invitation: null },
      "toserver 1, join, with an invitation": { type: "Join", card, proof: join[5], invitation: { id: claim[0], mac: claim[1] } },
      "toserver 2, taken": { type: "Taken", count: 300 },
      "toserver 3, lookup": { type: "Lookup", name: "B" },
      "toserver 4, publish": { type: "Publish", part: 0, last: true, files: [file] },
      "toserver 5, search by keywords": search({ type: "Keywords", keywords }),
      "toserver 5, search by name": search({ type: "File", name: "tide.csv" }),
      "toserver 5, search by content": search({ type: "Digest", sha256 }),
      "toserver 5, search by a pattern": search({ type: "Names", from: "A", pattern: "lectures/*", after: "lectures/a" }),
      "toserver 5, search for the holders of a pattern": search({ type: "Holders", pattern: "lectures/*" }),
      "toserver 6, listening": { type: "Listening", port: 40000 },
      "toserver 7, calledback": { type: "CalledBack", echo: repeated(0xec, 32) },
      "toserver 8, who": { type: "Who", id: 8 },
      "toserver 9, splice": { type: "Splice", transfer: counting(0xa0, 16), side: "Receiver", member: "A", token: repeated(0x6e, 32) },
      "toserver 10, ping": { type: "Ping", id: 8, names: ["B"] },
      "toserver 12, change": { type: "Change", base: examples.get("toserver 12, change").parts[2], removed: ["lectures/tides.pdf"], files: [file] },
      "toserver 13, publishlimited": { type: "PublishLimited", part: 0, last: true, files: limited },
      "toserver 14, changelimited": { type: "ChangeLimited", base: examples.get("toserver 14, changelimited").parts[2], removed: [], files: limited },
      "toserver 15, joininvited, if the invitation names another server": {
        type: "JoinInvited", card, proof: join[5], invitation: { id: claim[0], mac: claim[1] },
      },
      "toserver 11, find": { type: "Find", id: 7, text: 'sea "high water" -ext:pdf', skip: 0, limit: 100 },
    },
    toPeer: {
      "topeer 1, hello": { type: "Hello", nonce: repeated(0x6e, 32), server: repeated(0x5a, 16), key },
      "topeer 2, welcome": { type: "Welcome", name: "A", proof: welcome.at(-1) },
      "topeer 3, routed, relayed": routed({ type: "Relayed" }),
      "topeer 3, routed, stored": routed({ type: "Stored" }),
      "topeer 3, routed, refused(mailboxfull)": routed({ type: "Refused", refusal: "MailboxFull" }),
      "topeer 4, card": { type: "Card", card: of("the card of b") },
      "topeer 5, unknown": { type: "Unknown", name: "C" },
      "topeer 6, published": { type: "Published", files: 1, pairs: 2 },
      "topeer 7, found": { type: "Found", id: 7, total: 1, hits: [hit] },
      "topeer 8, reachable, over ipv6": { type: "Reachable", address: { type: "IPv6", ip, port: 40000 } },
      "topeer 8, reachable, without an address": { type: "Reachable", address: null },
      "topeer 9, known": { type: "Known", id: 8, peers: [{ name: "B", fingerprint: identityOfB, online: true }] },
      "topeer 10, failed": { type: "Failed", id: 7, detail: "the server is busy; try again" },
      "topeer 11, spliced": { type: "Spliced" },
      "topeer 12, error": { type: "Error", code: "OutOfPlace", detail: "join first" },
      "topeer 13, pong": { type: "Pong", id: 8, present: ["B"] },
      "topeer 14, expired": { type: "Expired", to: "C", first: 3, last: 5 },
      "topeer 15, unwatched": { type: "Unwatched", name: "C", reason: "SenderNames" },
      "topeer 16, matches": { type: "Matches", id: 7, matches: [{ holders: 1, hits: [hit] }], total: 1, instead: null },
      "topeer 16, matches, with a corrected search": { type: "Matches", id: 7, matches: [], total: 0, instead: "sea picture" },
      "topeer 17, badsearch": {
        type: "BadSearch", id: 7, column: 5,
        detail: "this parenthesis is not closed; put it in double quotes to search for it",
      },
      "topeer 18, invited": { type: "Invited", proof: examples.get("topeer 18, invited").parts[2] },
    },
  };
}

const ordered = (value) => Object.fromEntries(Object.entries(value).sort());

/** All messages encode to the bytes of the examples, and decode from them. */
export async function allMessages() {
  const examples = await load();
  const { both, toServer: up, toPeer: down } = messages(examples);
  const covered = Object.keys({ ...both, ...up, ...down }).sort();
  same(covered, [...examples.keys()].filter((title) => /^to(server|peer) /.test(title)).sort(), "the examples of messages");
  for (const [codec, group] of [[toServer, up], [toServer, both], [toPeer, both], [toPeer, down]]) {
    for (const [title, message] of Object.entries(group)) {
      const { bytes: expected } = examples.get(title);
      same(frame(encode(codec, message)), expected, title);
      same(ordered(decode(codec, expected.slice(4))), ordered(message), title);
    }
  }
  same(frameToServer({ type: "Who", id: 8 }), examples.get("toserver 8, who").bytes, "a frame");
  for (const body of ["", "10", "8b00", "8000", "0500", "050143ff"]) {
    await refuses(Malformed, () => messageToPeer(fromHex(body)), `the body ${body}`);
  }
  same(PREFACE, utf8("SWB2"), "the preface");
}

/** Frames come out alike however the stream is cut. */
export async function streams() {
  const bodies = [counting(0, 3), new Uint8Array(), repeated(7, 300), repeated(9, 1_000)];
  const stream = concat(...bodies.map(frame));
  for (const size of [1, 2, 3, 5, 400, stream.length]) {
    const frames = new Frames();
    const out = [];
    for (let at = 0; at < stream.length; at += size) {
      frames.push(stream.slice(at, at + size));
      for (let body = frames.next(); body !== null; body = frames.next()) out.push(body);
    }
    same(out, bodies, `pieces of ${size} bytes`);
  }
  const longest = repeated(1, 16_384);
  const frames = new Frames();
  frames.push(frame(longest));
  same(frames.next(), longest, "the longest frame before joining");
  frames.push(fromHex("01400000"));
  await refuses(Malformed, () => frames.next(), "a frame that is too long before joining");
  frames.longest = BODY_BYTES_MAX;
  same(frames.next(), null, "the same frame after joining");
}
