// plan.js and gather.js.

import { FIRST_LINK, linkBehind, linked, PIECE_BYTES, totalBehind } from "/switchboard/pieces.js";
import { Gather, joining, Later, Refused, Silent } from "/switchboard/gather.js";
import { HitView } from "/switchboard/hitview.js";
import { Plan } from "/switchboard/plan.js";
import { Speeds } from "/switchboard/speeds.js";
import { Downloads, isForSeveral, isTooLarge } from "/switchboard/downloads.js";
import { sha256 as digest } from "/switchboard/crypto.js";
import { refuses, same } from "/test/check.js";

const PIECES = 9;
const CHUNK_BYTES = 131_072;
const BYTES = (PIECES - 1) * PIECE_BYTES + 77;

/** A file, and what a holder sends of it. */
async function made() {
  const bytes = Uint8Array.from({ length: BYTES }, (_, at) => (at ^ (at >> 8) ^ (at >> 16)) & 0xff);
  const { sha256, links } = await linked(new Blob([bytes]));
  /** `altered` is a piece of which another byte is sent. */
  const pieces = ({ offset, end }, altered = -1) => {
    const [first, last] = [offset / PIECE_BYTES, Math.ceil(end / PIECE_BYTES)];
    return Array.from({ length: last - first }, (_, at) => {
      const number = first + at;
      const content = bytes.slice(number * PIECE_BYTES, (number + 1) * PIECE_BYTES);
      if (number === altered) content[0] ^= 1;
      const to = linkBehind(links[number], content, totalBehind(number, BYTES));
      return { number, from: links[number], to, next: number + 1 < last ? links[number + 1] : null, content: new Blob([content]) };
    });
  };
  return { sha256, pieces, bytes };
}

const digestOf = async (plan) => digest(new Uint8Array(await new Blob(plan.contents()).arrayBuffer()));
const WHOLE = { offset: 0, end: BYTES };
const run = (first, last) => ({ offset: first * PIECE_BYTES, end: Math.min(last * PIECE_BYTES, BYTES) });

/** What is given out. */
export async function plans() {
  const { sha256, pieces } = await made();
  const plan = new Plan(BYTES, sha256);
  same(plan.give("a", 2), run(7, 9), "the first pieces are the last ones");
  same(plan.give("b", 2), run(5, 7), "those before them");
  for (const piece of pieces(run(7, 9))) same(plan.arrived("a", piece), true, "a piece that is missing");
  same([plan.isIdle("a"), plan.isIdle("b"), plan.bytes], [true, false, PIECE_BYTES + 77], "who has sent all");
  plan.ended("a");
  same(plan.give("a", 2), run(4, 5), "fewer, because few are left");
  plan.ended("b");
  same(plan.give("b", 2), run(6, 7), "what was given back");
  for (let first = 5; first > 0; first -= 1) plan.give(`c${first}`, 2);
  const all = plan.give("d", 2);
  same(all, run(6, 7), "what another one has not sent yet");
  for (const piece of pieces(all)) plan.arrived("d", piece);
  same(plan.isIdle("b"), true, "whoever was asked for it too");
  for (const piece of pieces(WHOLE)) plan.arrived("e", piece);
  same([plan.isDone, plan.bytes, await digestOf(plan)], [true, BYTES, sha256], "the file");
  same([...plan.shares], [["a", PIECE_BYTES + 77], ["d", PIECE_BYTES], ["e", 6 * PIECE_BYTES]], "who has sent how much");
}

/** Who has lied, and what of the others stays. */
export async function lies() {
  const { sha256, pieces } = await made();
  const plan = new Plan(BYTES, sha256);
  for (const piece of pieces(run(6, 9))) plan.arrived("a", piece);
  // Alone, the piece contradicts nothing that its holder says. It does not lead to the piece behind it.
  const [alone] = pieces(run(5, 6), 5);
  for (const piece of pieces(run(3, 5))) plan.arrived("b", piece);
  same([plan.arrived("b", alone), [...plan.liars]], [false, ["b"]], "a piece that leads elsewhere");
  same(plan.bytes, 2 * PIECE_BYTES + 77, "what a liar has sent that is not proved is gone, what others have sent is not");
  same(plan.arrived("b", pieces(run(5, 6))[0]), false, "a right piece of a liar");
  const [first, second] = pieces(run(0, 2), 0);
  same([plan.arrived("c", first), plan.liars.has("c")], [false, true], "a piece that does not lead to what its holder names next");
  same(plan.arrived("d", second), true, "the next piece of somebody else");
  const elsewhere = { ...pieces(run(0, 1))[0], from: FIRST_LINK.map((byte) => byte ^ 1), next: null };
  same([plan.arrived("e", elsewhere), plan.liars.has("e")], [false, true], "a file that begins elsewhere");
  for (const piece of pieces(WHOLE)) plan.arrived("a", piece);
  same([plan.isDone, [...plan.shares]], [true, [["a", BYTES - PIECE_BYTES], ["d", PIECE_BYTES]]], "all from the others");
}

/** What an earlier transfer has left. */
export async function kept() {
  const { sha256, pieces } = await made();
  const planWith = (here) => {
    const plan = new Plan(BYTES, sha256);
    for (const piece of here) plan.arrived(null, piece);
    return plan;
  };
  const here = pieces(WHOLE);
  const all = planWith(here);
  same([all.isDone, [...all.shares]], [true, []], "all pieces are here");
  const some = planWith(here.slice(6));
  same([some.bytes, some.isDone], [2 * PIECE_BYTES + 77, false], "some are");
  const damaged = planWith(pieces(WHOLE, 5).map((piece) => ({ ...piece, next: null })));
  same([damaged.bytes, [...damaged.liars]], [2 * PIECE_BYTES + 77, []], "one is damaged, and what lies before it is not proved");
  const stored = new Map([[5, here[5].content], [6, here[6].content], [7, here[6].content]]);
  same(some.bytesOf(stored), PIECE_BYTES, "how much of some pieces is here as it was stored");
  const first = here.map((piece) => (piece.number === 0 ? { ...piece, from: piece.to } : piece));
  same(planWith(first).isDone, false, "one does not begin where a file begins");
}

const clock = (pause) => ({ now: () => 0, every: () => () => {}, pause });
const noPause = clock(async () => {});
const slow = () => {};
const keepNothing = async () => {};

/** Holders that cannot answer for a while, and one that is away for good. */
export async function pauses() {
  const { sha256, pieces } = await made();
  const plan = new Plan(BYTES, sha256);
  let calls = 0;
  let paused = 0;
  const receive = async ({ peer }, wanted, signal, take) => {
    if (peer === "away") throw new Later("it is away", false);
    calls += 1;
    // The queue stays full for longer than a holder may be away.
    if (calls <= 20) throw new Later("its queue is full", true);
    if (calls % 2 === 0) throw new Error("the connection is lost");
    for (const piece of pieces(wanted)) await take(piece);
  };
  const signal = new AbortController().signal;
  await new Gather(plan, { receive, keep: keepNothing, slow }, signal, clock(async () => (paused += 1))).fetch([{ peer: "a" }]);
  same([await digestOf(plan), paused, calls], [sha256, 20 + (calls - 21) / 2, calls], "one pause after each failure");
  paused = 0;
  const gather = new Gather(new Plan(BYTES, sha256), { receive, keep: keepNothing, slow }, signal, clock(async () => (paused += 1)));
  await refuses(Later, () => gather.fetch([{ peer: "away" }]), "one that does not come back");
  same(paused, 14, "how often it is waited for");

  // A holder that pauses does not keep the others from ending.
  const done = new Plan(BYTES, sha256);
  const late = async ({ peer }, wanted, _, take) => {
    if (peer === "busy") throw new Later("its queue is full", true);
    for (const piece of pieces(wanted)) await take(piece);
  };
  const untilOver = (over) => new Promise((resolve) => over.addEventListener("abort", resolve));
  await new Gather(done, { receive: late, keep: keepNothing, slow }, signal, clock(untilOver)).fetch([{ peer: "busy" }, { peer: "a" }]);
  same(done.isDone, true, "the other one has sent all");
}

/** A file from holders that do their part, and others. */
export async function gathers() {
  const { sha256, pieces } = await made();
  const plan = new Plan(BYTES, sha256);
  const calls = new Map();
  const keptPieces = [];
  const receive = async ({ peer }, wanted, signal, take) => {
    calls.set(peer, (calls.get(peer) ?? 0) + 1);
    if (peer === "gone") throw new Error("it is gone");
    if (peer === "changed") throw new Refused("it has another file");
    // Its request waits until it is taken back.
    if (peer === "busy") return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("left"))));
    const lie = peer === "liar" ? wanted.offset / PIECE_BYTES : -1;
    for (const piece of pieces(wanted, lie)) {
      await take(piece);
      if (signal.aborted) throw new Error("stopped");
    }
    return undefined;
  };
  const keep = async ({ number }) => keptPieces.push(number);
  const hits = ["busy", "gone", "changed", "liar", "a", "b"].map((peer) => ({ peer }));
  await new Gather(plan, { receive, keep, slow }, new AbortController().signal, noPause).fetch(hits);
  same(await digestOf(plan), sha256, "the file");
  same([[...plan.liars], calls.get("gone"), calls.get("changed")], [["liar"], 2, 1], "the others");
  same(new Set(keptPieces).size, PIECES, "every piece is kept");
  const sum = [...plan.shares.values()].reduce((all, share) => all + share, 0);
  same([sum, plan.shares.has("busy"), plan.shares.has("gone")], [BYTES, false, false], "who has sent it");

  const none = new Plan(BYTES, sha256);
  const stop = new AbortController();
  const fetching = new Gather(none, { receive, keep, slow }, stop.signal).fetch([{ peer: "busy" }]);
  stop.abort();
  await refuses(Error, () => fetching, "one that is cancelled");
  await refuses(Error, () => new Gather(none, { receive, keep, slow }, new AbortController().signal, noPause).fetch([{ peer: "gone" }]), "nobody is left");
}

/** When a holder is slow. */
export function speeds() {
  const all = new Speeds();
  const sends = (holder, times) => {
    all.begins(holder, 0);
    for (const time of times) all.arrived(holder, PIECE_BYTES - 4096, time);
  };
  sends("b", []);
  sends("a", [1000, 2000, 3000]);
  same(all.slow(60_000), null, "three pieces of another one say nothing");
  all.arrived("a", PIECE_BYTES - 4096, 4000);
  same([all.slow(7999), all.slow(8000)], [null, "b"], "eight times as long as the other one");
  all.ended("a");
  same(all.slow(60_000), null, "the other one sends nothing now");
  all.begins("a", 8000);
  all.arrived("b", 1, 8000);
  same([all.slow(15_999), all.slow(16_000)], [null, "b"], "after something has come");
  all.forget("a");
  same(all.slow(60_000), null, "there is no other one any more");
  sends("c", [1, 2, 3, 4]);
  all.begins("b", 10_000);
  all.begins("c", 14_000);
  same([all.slow(14_999), all.slow(15_000)], [null, "b"], "five seconds at least");
}

/** Holders that are slow, while others send and when nobody else is left. */
export async function slowHolders() {
  const { sha256, pieces } = await made();
  const gathered = async (isGone) => {
    const plan = new Plan(BYTES, sha256);
    const [asked, told, times] = [[], [], { now: 0, compare: null }];
    const watch = { ...noPause, now: () => times.now, every: (_, call) => ((times.compare = call), () => {}) };
    const receive = async ({ peer }, wanted, signal, take, begins) => {
      asked.push(peer);
      begins();
      // It begins, and nothing follows.
      if (peer === "slow" && asked.filter((name) => name === peer).length === 1) {
        return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("stopped"))));
      }
      if (isGone && peer === "a" && plan.bytes > 4 * PIECE_BYTES) throw new Error("it is gone");
      for (const piece of pieces(wanted)) {
        times.now += 100;
        await take(piece);
        if (plan.bytes > 4 * PIECE_BYTES && told.length === 0) times.now += 5000;
        times.compare();
      }
      return undefined;
    };
    const work = { receive, keep: keepNothing, slow: (peer) => told.push([peer, times.now]) };
    await new Gather(plan, work, new AbortController().signal, watch).fetch([{ peer: "slow" }, { peer: "a" }]);
    return [await digestOf(plan), told, asked.filter((peer) => peer === "slow").length];
  };
  same(await gathered(false), [sha256, [["slow", 5500]], 1], "the other one sends the rest");
  const [digest, told, times] = await gathered(true);
  same([digest, told.length, times > 1], [sha256, 1, true], "nobody else is left");
}

/** A holder that cannot read requests for pieces, while some pieces of an earlier transfer are here. */
export async function old() {
  const { sha256, pieces, bytes } = await made();
  const plan = new Plan(BYTES, sha256);
  for (const piece of pieces(run(7, 9))) plan.arrived(null, piece);
  const asked = [];
  const receive = async (_, wanted, signal, take) => {
    asked.push(wanted);
    if (!wanted.isWhole) throw new Silent("it does not answer");
    const { takeChunk } = joining({ file: { bytes: BYTES }, ...wanted }, take, () => {});
    for (let start = 0; start < BYTES && !signal.aborted; start += CHUNK_BYTES) {
      const chunk = bytes.slice(start, start + CHUNK_BYTES);
      await takeChunk(chunk, start + chunk.length);
    }
    signal.throwIfAborted();
  };
  await new Gather(plan, { receive, keep: keepNothing, slow }, new AbortController().signal, noPause).fetch([{ peer: "old" }]);
  same(await digestOf(plan), sha256, "the file");
  same(asked, [run(5, 7), { ...WHOLE, isWhole: true }], "what it is asked for");
  same([...plan.shares], [["old", 7 * PIECE_BYTES]], "what was missing");
}

/** What the page says of holders that wait, and of those that have lied. */
export async function telling() {
  const { sha256, pieces } = await made();
  const lying = async ({ peer }, wanted, _, take) => {
    if (peer === "b") throw new Error("it is gone");
    for (const piece of pieces(wanted, wanted.offset / PIECE_BYTES)) await take(piece);
  };
  const alone = new Plan(BYTES, sha256);
  const gather = new Gather(alone, { receive: lying, keep: keepNothing, slow }, new AbortController().signal, noPause);
  await refuses(Refused, () => gather.fetch([{ peer: "a" }]), "one that lies alone");

  const file = { name: "x.bin", bytes: BYTES, sha256, keywords: ["x"] };
  const hits = ["a", "b"].map((peer) => ({ peer, online: true, file }));
  const told = [];
  const ask = async ({ hit: { peer } }, _, onPlace) => {
    onPlace(peer === "a" ? 3 : 1);
    throw new Refused(`${peer} has nothing.`);
  };
  const waiting = new Downloads(0, ask, () => ({})).fetch(hits, 0, false, (progress) => told.push(progress.waiting ?? []));
  same((await waiting).liars, [], "who has lied");
  const both = ["a is busy; you are 3rd in the queue.", "b is busy; you are 1st in the queue."];
  same(told.slice(0, 2), [both.slice(0, 1), both], "who waits");
  same(told.at(-1), [], "who waits at the end");

  const answers = [{ done: 1, waiting: both.slice(1) }, { done: 1, waiting: both }];
  const texts = [];
  const tabs = {
    ask: async (_, onProgress) => {
      for (const answer of answers) {
        onProgress(answer);
        texts.push([element.querySelector("[role=status]").textContent, element.querySelector(".cancel").textContent]);
      }
      return { error: "b has nothing.", kept: 0, liars: ["a"] };
    },
  };
  const { element } = new HitView(tabs, { holders: 2, hits });
  element.querySelector("button").click();
  await new Promise((resolve) => setTimeout(resolve));
  const fetching = "Fetching the file from 2 holders.";
  same(texts, [[`${fetching} ${both[1]}`, "Cancel"], [both.join(" "), "Leave the queue"]], "what is said while it waits");
  const said = element.querySelector("[role=status]").textContent;
  same(said, "b has nothing. a has sent something else than this file.", "what is said then");
}

/** What was fetched takes room in the browser only as long as it can be saved. */
export async function discarding() {
  const file = { name: "x.bin", bytes: 1, sha256: new Uint8Array(32), keywords: ["x"] };
  const answers = [{ blob: new Blob(["x"]) }, { error: "It is gone." }, { blob: new Blob(["y"]) }];
  const view = new HitView({ ask: async () => answers.shift() }, { holders: 1, hits: [{ peer: "a", online: true, file }] });
  const isThere = (link) => fetch(link.href).then(() => true, () => false);
  const get = async () => {
    view.element.querySelector("button").click();
    await new Promise((resolve) => setTimeout(resolve));
    return view.link;
  };
  const first = await get();
  same(await isThere(first), true, "it can be saved");
  same([await get(), await isThere(first)], [null, false], "after it was fetched again");
  const last = await get();
  document.body.append(Object.assign(document.createElement("ul"), { id: "fetched" }));
  view.leave();
  same([view.element.parentNode.id, await isThere(last)], ["fetched", true], "during another search");
  view.element.querySelector(".remove").click();
  same([view.element.isConnected, await isThere(last)], [false, false], "after it was removed");
}

/** Holders that publish another length for one content. */
export async function lengths() {
  const digest = new Uint8Array(32);
  const hit = (peer, bytes) => ({ peer, online: true, file: { name: "x.bin", bytes, sha256: digest, keywords: ["x"] } });
  const hits = [hit("liar", 2 ** 40), hit("a", BYTES), hit("b", BYTES)];
  const asked = [];
  const ask = async (command) => (asked.push(command.hits.map(({ peer }) => peer)), { error: "It is not fetched." });
  const { element } = new HitView({ ask }, { holders: 3, hits });
  const buttons = [...element.querySelectorAll("button:not(.cancel)")];
  const texts = buttons.map(({ textContent, disabled }) => `${textContent.split(",")[0]}${disabled ? " is disabled" : ""}`);
  same(texts, ["Fetch from 2 holders at once", "Fetch from a", "Fetch from b", "Fetch from liar is disabled"], "the buttons");
  buttons[0].click();
  same(asked, [["a", "b"]], "who is asked together");
  const wanted = [];
  const downloads = new Downloads(0, async ({ hit: { peer } }) => (wanted.push(peer), Promise.reject(new Refused("no"))), () => ({}));
  await downloads.fetch(hits, 0, false, () => {});
  same(wanted.sort(), ["a", "b"], "who is asked for pieces of one length");
}

/** Which files are fetched, and from how many. */
export function sizes() {
  const sizes = [0, 7 * PIECE_BYTES, 7 * PIECE_BYTES + 1, 2 ** 32, 2 ** 32 + 1, 2n ** 60n];
  const of = (check) => sizes.filter((bytes) => check({ bytes })).map(String);
  same(of(isTooLarge), sizes.slice(4).map(String), "too large");
  same(of(isForSeveral), sizes.slice(2, 4).map(String), "worth asking several holders");
}

/** A holder that leaves or lies in the middle, while others have the same content. */
export async function leaving() {
  const { sha256, pieces } = await made();
  const gathered = async (fault) => {
    const plan = new Plan(BYTES, sha256);
    const asked = [];
    const receive = async ({ peer }, wanted, signal, take) => {
      asked.push(peer);
      const isFaulty = peer === "a" && plan.bytes > 2 * PIECE_BYTES;
      if (isFaulty && fault === "leaves") throw new Later("a is away", false);
      for (const piece of pieces(wanted, isFaulty && fault === "lies" ? wanted.offset / PIECE_BYTES : -1)) await take(piece);
    };
    const others = async () => (asked.push("others"), [{ peer: "b" }]);
    // Whoever is away is asked again only when the others have sent the rest.
    const untilOver = (over) => new Promise((resolve) => over.addEventListener("abort", resolve));
    const gather = new Gather(plan, { receive, keep: keepNothing, slow, others }, new AbortController().signal, clock(untilOver));
    await gather.fetch([{ peer: "a" }]);
    same(await digestOf(plan), sha256, `the file of one that ${fault}`);
    return [asked.filter((name) => name === "others").length, [...plan.shares]];
  };
  const before = [["a", 2 * PIECE_BYTES + 77], ["b", BYTES - 2 * PIECE_BYTES - 77]];
  same(await gathered("leaves"), [1, before], "who has sent what before and after");
  same((await gathered("lies"))[0], 1, "how often others are looked for");
  same(await gathered("stays"), [0, [["a", BYTES]]], "nobody else is looked for");
  const plan = new Plan(BYTES, sha256);
  let calls = 0;
  const receive = async (_, wanted, signal, take) => {
    calls += 1;
    if (calls === 1) throw new Error("the connection is lost");
    for (const piece of pieces(wanted)) await take(piece);
  };
  const work = { receive, keep: keepNothing, slow, others: () => new Promise(() => {}) };
  await new Gather(plan, work, new AbortController().signal, noPause).fetch([{ peer: "a" }]);
  same(plan.isDone, true, "the server does not say who else has it");
}
