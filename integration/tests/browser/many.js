// batches.js, described.js, patternview.js, and requests for many files in files.js and downloads.js.

import { fileAnswer, manyRequest } from "/switchboard/protocol.js";
import { decode, encode } from "/switchboard/postcard.js";
import { Gather, Later, Refused, Silent } from "/switchboard/gather.js";
import { Batches } from "/switchboard/batches.js";
import { described, refreshed } from "/switchboard/described.js";
import { Downloads } from "/switchboard/downloads.js";
import { Files } from "/switchboard/files.js";
import { Parts } from "/switchboard/parts.js";
import { PatternView } from "/switchboard/patternview.js";
import { sha256 } from "/switchboard/crypto.js";
import { utf8 } from "/switchboard/bytes.js";
import { same } from "/test/check.js";

const digest = (number) => new Uint8Array(32).fill(number);
const file = (number) => ({ name: `${number}.txt`, bytes: 10, sha256: digest(number), keywords: ["x"] });
const hit = (peer, number, online = true) => ({ peer, online, file: file(number) });
/** The files with these numbers, each at all these peers. */
const wanted = (count, ...peers) => Array.from({ length: count }, (_, number) => peers.map((peer) => hit(peer, number)));
const range = (first, end) => Array.from({ length: end - first }, (_, at) => first + at);
const came = (number, isRight = true) => ({ number, content: new Blob(["0123456789"]), isRight });

/** What is given out. */
export function batches() {
  const alone = new Batches(wanted(40, "a"));
  same(alone.give("a", 1), { numbers: range(0, 40) }, "all of them, if there is one holder");
  const files = new Batches([...wanted(40, "a", "b"), [hit("b", 40)]]);
  same(files.give("a", 2), { numbers: range(0, 16) }, "a part");
  same(files.give("b", 2), { numbers: range(16, 32) }, "the part behind it");
  for (const number of range(0, 16)) same(files.arrived("a", came(number)), true, `${number} from a`);
  same([files.isIdle("a"), files.isIdle("b"), files.bytes], [true, false, 160], "who has sent all");
  files.ended("a");
  same(files.give("a", 2), { numbers: range(32, 40) }, "the rest, without what a has not");
  for (const number of range(32, 40)) files.arrived("a", came(number));
  files.ended("a");
  same(files.give("a", 2).numbers, range(16, 32).reverse(), "what b has not sent yet, the last ones first");
  same(files.arrived("a", came(31)), true, "one of them");
  same(files.arrived("b", came(31)), false, "the same from b, too late");
  files.arrived("a", { number: 30, why: "a has another one." });
  files.ended("a");
  for (const number of range(16, 30)) files.arrived("b", came(number));
  same(files.give("a", 2), null, "a has nothing more, and has refused one");
  same(files.missing, [{ number: 30, why: "a has another one." }, { number: 40, why: null }], "what is missing");
  files.ended("b");
  same(files.give("b", 2), { numbers: [30, 40] }, "b has both");
  files.arrived("b", { number: 30, why: "b cannot read it." });
  same(files.isDone, false, "one can still come");
  files.arrived("b", came(40, false));
  same([files.isDone, [...files.liars]], [true, ["b"]], "nothing more can come");
  const why = ["b cannot read it.", "b has sent something else, so it is not asked any more."];
  same(files.missing.map((one) => one.why), why, "why");
  same([...files.shares], [["a", 250], ["b", 140]], "who has sent how much");

  const old = new Batches(wanted(2, "a"));
  same(old.giveOld("a"), { numbers: [0], isAlone: true }, "one at a time");
  old.arrived("a", came(0));
  same(old.giveOld("a"), { numbers: [1], isAlone: true }, "the next one");
  old.arrived("a", { number: 1, why: "a does not share it." });
  same([old.isIdle("a"), old.giveOld("a"), old.isDone], [true, null, true], "nothing is left");
}

/** Requests are no longer than can be sealed. */
export function bounds() {
  const long = (number) => [{ peer: "a", online: true, file: { ...file(number), name: `${number}`.padStart(255, "x") } }];
  const files = new Batches(range(0, 2000).map(long));
  const { numbers } = files.give("a", 1);
  same(numbers, range(0, Math.floor((48 << 10) / (34 + 255))), "long names");
  same(new Batches(wanted(2000, "a")).give("a", 1).numbers.length, 1024, "short names");
}

const clock = (pause) => ({ now: () => 0, every: () => () => {}, pause });
const noPause = clock(async () => {});
const slow = () => {};
const keepNothing = async () => {};
const never = new AbortController().signal;

/** Many files from holders that do their part, and others. */
export async function holders() {
  const files = new Batches([...wanted(100, "a", "b", "gone", "liar", "busy"), [hit("a", 100)], [hit("gone", 101)]]);
  const asked = new Map();
  const receive = async ({ peer }, { numbers }, signal, take) => {
    asked.set(peer, (asked.get(peer) ?? 0) + 1);
    if (peer === "busy") return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("left"))));
    for (const [at, number] of numbers.entries()) {
      // It goes away in the middle.
      if (peer === "gone" && (at === 3 || asked.get("gone") > 1)) throw new Error("the connection is lost");
      await take(came(number, peer !== "liar" || at < 2));
      if (signal.aborted) throw new Error("stopped");
    }
    return undefined;
  };
  const kept = [];
  const keep = async ({ number }) => kept.push(number);
  const hits = ["busy", "gone", "liar", "a", "b"].map((peer) => ({ peer }));
  const error = await new Gather(files, { receive, keep, slow }, never, noPause).fetch(hits).catch((reason) => reason.message);
  same(error, "the connection is lost", "why something is missing");
  same(kept.sort((one, other) => one - other), range(0, 101), "each file came once");
  same(files.missing, [{ number: 101, why: null }], "what only the one had that is gone");
  same([[...files.liars], asked.get("liar"), asked.get("gone"), files.shares.get("liar")], [["liar"], 1, 2, 20], "the others");
}

/** A holder that is too old sends one file for each request. */
export async function old() {
  const files = new Batches(wanted(3, "old"));
  const asked = [];
  const receive = async (_, run, signal, take) => {
    asked.push(run);
    if (!run.isAlone) throw new Silent("it does not answer");
    await take(came(run.numbers[0]));
  };
  await new Gather(files, { receive, keep: keepNothing, slow }, never, noPause).fetch([{ peer: "old" }]);
  const alone = range(0, 3).map((number) => ({ numbers: [number], isAlone: true }));
  same([files.isDone, asked], [true, [{ numbers: range(0, 3) }, ...alone]], "what it is asked for");
}

/** What the holder is asked, and what it may answer. */
export async function requests() {
  const files = new Files();
  const contact = { peer: "a", isKept: true, requestsDue: [] };
  const engine = { now: 0, flight: {}, contact: () => contact };
  const said = [];
  const ask = () => files.fetch(engine, { id: 1, hit: { peer: "a" }, files: [file(1), file(2)], reply: (answer) => said.push(answer) });
  const sent = () => decode(manyRequest, contact.requestsDue.pop().content);
  const answer = (transfer, verdict) => files.answer(engine, contact, encode(fileAnswer, { transfer, verdict }));
  ask();
  const first = sent();
  same([first.wish.type, first.files], ["Server", [1, 2].map((number) => ({ name: `${number}.txt`, sha256: digest(number) }))], "the request");
  await answer(first.transfer, { type: "Busy" });
  const second = sent();
  same([second.wish, second.files], [{ type: "Queue", route: "Server" }, first.files], "to one that is busy");
  await answer(second.transfer, { type: "Queued", place: 2 });
  await answer(second.transfer, { type: "Ready", bytes: 20, salt: new Uint8Array(16) });
  same(said.map(({ place, ready }) => place ?? ready.transfer), [2, second.transfer], "what it answers");
  ask();
  await answer(sent().transfer, { type: "Ready", bytes: 21, salt: new Uint8Array(16) });
  same(said.at(-1).error, "a has another file of this name now.", "more than these files have");
  ask();
  files.passTime(9999);
  same(said.length, 3, "within ten seconds");
  files.passTime(10_000);
  same(said.at(-1).isSilent, true, "one that does not answer may be too old");
  contact.requestsDue.length = 0;
  ask();
  await answer(sent().transfer, { type: "Busy" });
  files.passTime(29_999);
  same(said.length, 4, "one that has answered can read it");
}

/** What a person is told of many files, and that they can be cancelled. */
export async function failing() {
  const told = [];
  const results = { a: new Later("a is away.", false), b: new Refused("b has none of them.") };
  const ask = async ({ hit: { peer } }, signal) => {
    if (peer !== "c") throw results[peer];
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Refused("taken back"))));
  };
  const downloads = new Downloads(0, ask, () => ({}));
  const failed = await downloads.fetchMany("1", wanted(2, "b"), 0, (progress) => told.push(progress));
  const both = (error) => [0, 1].map((number) => ({ number, error }));
  same(failed, { errors: both("b has none of them."), shares: [], liars: [], slow: [] }, "nobody sends them");
  // A holder that has none of the first files may have others.
  const first = [];
  const waiting = (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Refused("taken back"))));
  const refusing = async ({ hit: { peer }, files: [{ name }] }, signal) => {
    if (peer === "a" && first.push(name) === 1) throw new Refused("a has none of them.");
    return waiting(signal);
  };
  const others = new Downloads(0, refusing, () => ({}));
  const partly = others.fetchMany("3", wanted(40, "a", "b"), 0, () => {});
  while (first.length < 2) await new Promise((resolve) => setTimeout(resolve));
  others.cancel({ list: "3" });
  await partly;
  same(first, ["0.txt", "32.txt"], "what is asked for after a refusal");
  const fetching = downloads.fetchMany("2", wanted(2, "a", "c"), 0, (progress) => told.push(progress));
  while (told.at(-1).waiting.length === 0) await new Promise((resolve) => setTimeout(resolve));
  same(told.at(-1), { done: 0, waiting: ["a is away."] }, "what is said meanwhile");
  downloads.cancel({ list: "2" });
  same((await fetching).errors, both("Cancelled."), "they are cancelled");
}

/** What was fetched by an earlier page is used from the disk, if it is right, also if nobody is here. */
export async function earlier() {
  const digests = await Promise.all(["a", "b"].map((text) => sha256(utf8(text + crypto.randomUUID()))));
  const content = utf8(crypto.randomUUID());
  const right = await sha256(content);
  const parts = await Parts.open();
  await parts.keep(right, 0, { from: right, content: new Blob([content]) });
  await parts.keep(digests[0], 0, { from: right, content: new Blob(["damaged"]) });
  const at = (peer, digest, online) => [{ peer, online, file: { name: `${peer}.txt`, bytes: content.length, sha256: digest } }];
  const asked = [];
  const ask = async ({ hit: { peer } }) => (asked.push(peer), Promise.reject(new Refused(`${peer} has none.`)));
  const came = [];
  const list = [at("a", digests[0], true), at("away", right, false), at("away", digests[1], false)];
  const { errors, shares } = await new Downloads(0, ask, () => ({})).fetchMany("4", list, 0, ({ number }) => came.push(number));
  const missing = [{ number: 0, error: "a has none." }, { number: 2, error: "Nobody who has it is here now." }];
  same([errors, shares, asked, came.filter((number) => number !== undefined)], [missing, [], ["a"], [1]], "what is here");
  const match = (...hits) => ({ holders: hits.length, hits, isAmbiguous: false });
  const now = [match(hit("b", 1), hit("c", 1)), match({ ...hit("b", 2), file: { ...file(2), sha256: digest(9) } })];
  const fresh = refreshed([match(hit("a", 1)), match(hit("a", 2))], now);
  same(fresh.map(({ hits }) => hits.map(({ peer, online }) => `${peer} ${online}`)), [["b true", "c true"], ["a false"]], "who has them now");
}

/** The lists of one holder and of all, by what the server says. */
export async function lists() {
  const shared = { B: [1, 2], c: [2, 3, 6], me: [4], Away: [5] };
  const others = [{ ...file(3), sha256: digest(9) }, { ...file(6), bytes: 11 }];
  const ask = async (query) => {
    if (query.pattern === "busy*") return { error: "The server could not answer: too many." };
    const peers = Object.keys(shared);
    const of = (peer) => shared[peer].map((number) => hit(peer, number, peer !== "Away"));
    if (query.type === "Holders") return { hits: peers.map((peer) => of(peer)[0]), total: peers.length };
    const peer = peers.find((name) => name.toLowerCase() === query.from.toLowerCase());
    const all = [...of(peer), ...(peer === "B" ? others.map((other) => ({ peer, online: true, file: other })) : [])];
    // One at a time, and some of somebody else.
    const next = all.filter((one) => query.after === null || one.file.name > query.after).slice(0, 1);
    return { hits: [...next, hit("stranger", 7)], total: all.length + (peer === "c" ? 1 : 0) };
  };
  const list = async (pattern, from) => {
    const { error, matches } = await described(ask, pattern, from, "Me");
    return error ?? matches.map(({ holders: count, hits, isAmbiguous }) =>
      [hits[0].file.name, count, hits.map(({ peer }) => peer).join(), isAmbiguous]);
  };
  const numbered = (name, peers, isAmbiguous = false) => [`${name}.txt`, peers.split(",").length, peers, isAmbiguous];
  same(await list("*", "b"), [1, 2, 3, 6].map((name) => numbered(name, "B")), "of one");
  const ambiguous = [3, 6].flatMap((name) => [numbered(name, "B", true), numbered(name, "c", true)]);
  const all = [numbered(1, "B"), numbered(2, "B,c"), ...ambiguous];
  same(await list("*", ""), all, "of all who are here, but this peer");
  same(await list("*", "me"), "These files are your own.", "of this peer");
  same(await list("busy*", ""), "The server could not answer: too many.", "without an answer");
  same((await list("x", "")).slice(0, 12), "A pattern is", "no pattern");
  same((await list("*", "a b")).slice(0, 14), "Enter the name", "no name");
  for (const peer of ["B", "c"]) delete shared[peer];
  same(await list("*", ""), "Nobody who has such files is here now. Try again when they are.", "nobody is here");
  delete shared.Away;
  same(await list("*", ""), "Nobody else shares a file that is called like this with you.", "nobody has one");
}

/** Names that no pattern has asked for are not listed, whatever the server says. */
export async function patterns() {
  const names = ["a.b/1.txt", "a.b/c/1.txt", "aXb/1.txt", "a.b/1.txtx", "a.b/(1).txt"];
  const listed = async (pattern) => {
    const hits = names.map((name) => ({ peer: "b", online: true, file: { ...file(1), name } }));
    const { matches = [] } = await described(async () => ({ hits, total: hits.length }), pattern, "b", "me");
    return matches.map(({ hits: [{ file: { name } }] }) => names.indexOf(name)).sort();
  };
  same(await listed("a.b/*.txt"), [0, 4], "in one folder");
  same(await listed("a.b/**.txt"), [0, 1, 4], "in all");
  same(await listed("a.b/(*).txt"), [4], "with characters that mean something in other patterns");
  same(await listed("***1.tx*"), [0, 1, 2, 3], "with more stars");
}

/** The list that a person sees, and the progress of all files. */
export async function viewing() {
  document.body.innerHTML = `<form id="pattern-form"><input id="pattern" value="*"><input id="holder"></form><p id="pattern-said"></p>
    <button id="fetch-all"></button><button id="cancel-all"></button><button id="save-all"></button>
    <progress id="all-bar" max="1" value="0"></progress><progress id="save-bar"></progress><p id="save-said"></p><ul id="described"></ul><ul id="fetched"></ul>`;
  const at = (id) => document.getElementById(id);
  const later = () => new Promise((resolve) => setTimeout(resolve));
  const large = { ...file(9), bytes: 2 ** 21 };
  const hits = [hit("a", 0), hit("a", 1), { peer: "a", online: true, file: large }];
  const [commands, told] = [new Map(), []];
  const tabs = {
    tell: (command) => told.push(command),
    ask: (command, onProgress) => {
      if (command.query?.type === "Holders") return Promise.resolve({ hits: hits.slice(0, 1), total: 1 });
      if (command.type === "names") return Promise.resolve({ hits, total: 3 });
      return new Promise((reply) => commands.set(command.type, { command, onProgress, reply }));
    },
  };
  new PatternView(tabs).changed({ name: "me" });
  at("pattern-form").requestSubmit();
  while (at("described").children.length === 0) await later();
  same(at("pattern-said").textContent, `3 file(s), ${(2 ** 21 + 20).toLocaleString()} bytes.`, "what is listed");
  at("fetch-all").click();
  const many = commands.get("fetch many");
  same(many.command.wanted, [[hits[0]], [hits[1]]], "the small ones come together");
  many.onProgress({ done: 10, waiting: ["b is away."], number: 0, blob: new Blob(["0123456789"]) });
  same([at("pattern-said").textContent, at("all-bar").value], ["Fetching the files. b is away.", 10 / (2 ** 21 + 20)], "when one has come");
  many.onProgress({ done: 10, waiting: [], number: 1, arrived: 5 });
  same(at("all-bar").value, 15 / (2 ** 21 + 20), "when half of another one has come");
  // Somebody else begins with it again.
  many.onProgress({ done: 10, waiting: [], number: 1, arrived: 2 });
  commands.get("fetch").onProgress({ done: 2 ** 20 });
  same(at("all-bar").value, (15 + 2 ** 20) / (2 ** 21 + 20), "when half of the large one has come");
  at("cancel-all").click();
  const [{ type, kept }, ...left] = told;
  same([type, kept.pattern, kept.matches.length], ["keep list", "*", 3], "what can be continued");
  same(left.map(({ list, file: { name } = {} }) => list ?? name), [many.command.list, "9.txt"], "all are cancelled");
  many.onProgress({ done: 20, waiting: [], number: 1, blob: new Blob(["0123456789"]) });
  many.reply({ errors: [], shares: [["a", 12], ["b", 8]], liars: [] });
  commands.get("fetch").reply({ error: "Cancelled.", kept: 0 });
  await later();
  const end = "2 of 3 file(s) are fetched. 12 bytes from a, 8 bytes from b.";
  same([at("pattern-said").textContent, at("described").querySelectorAll("a").length, at("all-bar").hidden], [end, 2, true], "what had come before");
}
