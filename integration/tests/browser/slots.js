// slots.js, and requests that wait in files.js.

import { fileAnswer, fileRequest, manyRequest, withdrawal, WITHDRAWAL_BYTES } from "/switchboard/protocol.js";
import { decode, encode } from "/switchboard/postcard.js";
import { Files } from "/switchboard/files.js";
import { Slots } from "/switchboard/slots.js";
import { same } from "/test/check.js";

const request = (id, peer) => ({ id, contact: { peer } });
const told = (waiting) => waiting.map(({ id, told: { place } }) => `${id} ${place}`);

/** Slots and places: no peer has more than half, and those that wait take turns. */
export function turns() {
  const slots = new Slots();
  for (const id of ["a1", "a2"]) slots.serve(id, "a");
  same([slots.hasRoomFor("a"), slots.hasRoomFor("b")], [false, true], "half of the slots are for others");
  for (const id of ["a3", "a4"]) same(slots.enqueue(request(id, "a")), true, id);
  same(slots.next(), null, "what comes next while only a waits");
  slots.serve("b1", "b");
  slots.serve("c1", "c");
  same(slots.hasRoomFor("d"), false, "all slots are taken");
  for (const id of ["d1", "d2"]) slots.enqueue(request(id, "d"));
  same(told(slots.places(0)), ["a3 1", "d1 2", "a4 3", "d2 4"], "the first places");
  same(slots.counts, { sending: 4, waiting: 4 }, "how many");
  slots.free("b1");
  same(slots.next().id, "d1", "the next one whose receiver may have a slot");
  slots.serve("d1", "d");
  same(told(slots.places(999)), [], "within a second");
  same(told(slots.places(1000)), ["d2 2"], "the place that has changed");
  slots.enqueue(request("a4", "a"));
  same(told(slots.places(1001)), ["a4 3"], "what is requested again keeps its place");
  same(told(slots.places(10_000)), ["a3 1"], "as a sign of life");
  slots.tellAgain();
  same(told(slots.places(10_001)), ["a3 1", "d2 2", "a4 3"], "after the connection was lost");
  slots.free("a1");
  slots.free("a2");
  // The slots of b and a are free: a is first, then d, which has one already.
  const served = [];
  for (let next = slots.next(); next; next = slots.next()) {
    served.push(next.id);
    slots.serve(next.id, next.contact.peer);
  }
  same([served, slots.counts], [["a3", "d2"], { sending: 4, waiting: 1 }], "what is served then");
}

/** What a receiver takes back, and how many may wait. */
export function leaving() {
  const slots = new Slots();
  const signal = slots.serve("a1", "a");
  slots.withdraw("a1", "b");
  same(signal.aborted, false, "somebody else takes it back");
  slots.withdraw("a1", "a");
  same([signal.aborted, slots.serves("a1")], [true, true], "the slot is free only when the transfer has ended");
  slots.free("a1");
  same(slots.serves("a1"), false, "it has ended");
  for (let peer = 0; peer < 8; peer += 1) {
    for (let at = 0; at < 32; at += 1) same(slots.enqueue(request(`${peer} ${at}`, `${peer}`)), true, `${peer} ${at}`);
    same(slots.enqueue(request(`${peer} 32`, `${peer}`)), false, "a request more of one peer");
  }
  same(slots.enqueue(request("b1", "b")), false, "a request more in all");
  slots.withdraw("0 0", "1");
  same(slots.counts.waiting, 256, "somebody else takes it back");
  slots.withdraw("0 0", "0");
  same([slots.enqueue(request("b1", "b")), slots.counts.waiting], [true, 256], "when one has left");
  slots.forget("0");
  same(slots.counts.waiting, 225, "when a peer is blocked");
}

/** A request that is repeated while it waits, when a slot has become free. */
export async function repeated() {
  const sha256 = new Uint8Array(32);
  const shared = [{ name: "x.txt", bytes: 1, sha256, links: [], keywords: ["x"], file: new Blob(["x"]) }];
  const files = Object.assign(new Files(), { shared });
  const engine = { transfers: [], now: 0 };
  const contact = { peer: "a", answersDue: new Map() };
  for (const id of ["a1", "a2"]) files.slots.serve(id, "a");
  const wish = { type: "Queue", route: "Server" };
  const asked = { transfer: new Uint8Array(16), secret: new Uint8Array(32), name: "x.txt", sha256, offset: 0, wish };
  const ask = () => files.request(engine, contact, 1, encode(fileRequest, asked));
  await ask();
  same(files.slots.counts, { sending: 2, waiting: 1 }, "it waits");
  for (const id of ["a1", "a2"]) files.slots.free(id);
  await ask();
  await files.serveQueue(engine);
  same([engine.transfers.length, files.slots.counts], [1, { sending: 1, waiting: 0 }], "it is offered once");
}

const SHARED = { name: "x.txt", bytes: 1, sha256: new Uint8Array(32), links: [], keywords: ["x"], file: new Blob(["x"]) };

/** What a holder answers when the turn of a request comes and its file is not shared any more, or is another one. */
export async function unshared() {
  const files = Object.assign(new Files(), { shared: [SHARED, { ...SHARED, name: "y.txt" }, { ...SHARED, name: "z.txt" }] });
  const engine = { transfers: [], now: 0 };
  const contact = { peer: "a", answersDue: new Map() };
  for (const id of ["a1", "a2"]) files.slots.serve(id, "a");
  for (const [number, { name, sha256 }] of files.shared.entries()) {
    const asked = { transfer: new Uint8Array(16).fill(number), secret: new Uint8Array(32), name, sha256, offset: 0, wish: { type: "Queue", route: "Server" } };
    await files.request(engine, contact, number, encode(fileRequest, asked));
  }
  const answers = () => [...contact.answersDue.values()].map(({ content }) => decode(fileAnswer, content).verdict);
  await files.serveQueue(engine);
  same(answers().map(({ place }) => place), [1, 2, 3], "all wait");
  files.shared = [{ ...SHARED, name: "y.txt", sha256: new Uint8Array(32).fill(1) }, { ...SHARED, name: "z.txt" }];
  files.slots.free("a1");
  await files.serveQueue(engine);
  same(answers().map(({ type }) => type), ["NotShared", "Changed", "Ready"], "what becomes of them");
  same([engine.transfers.length, files.slots.counts], [1, { sending: 2, waiting: 0 }], "none of them takes the slot of the last one");
}

/** A request that waits in the queue of a holder: what its receiver believes, repeats, and takes back. */
export async function waiting() {
  const files = new Files();
  const [a, b] = ["a", "b"].map((peer) => ({ peer, isKept: true, requestsDue: [] }));
  const engine = { now: 0, flight: {}, contact: () => a };
  const said = [];
  const sent = (contact) => contact.requestsDue.splice(0).map(({ content }) => content);
  const ask = (id) => files.fetch(engine, { id, hit: { peer: "a", file: SHARED }, offset: 0, reply: (answer) => said.push(answer) });
  const answer = (contact, transfer, verdict) => files.answer(engine, contact, encode(fileAnswer, { transfer, verdict }));
  const queued = async (id) => {
    ask(id);
    await answer(a, decode(fileRequest, sent(a)[0]).transfer, { type: "Busy" });
    const { transfer } = decode(fileRequest, sent(a)[0]);
    await answer(a, transfer, { type: "Queued", place: 3 });
    return transfer;
  };
  const isTakenBack = ([bytes]) => bytes?.length === WITHDRAWAL_BYTES && decode(withdrawal, bytes);
  const transfer = await queued(1);
  await answer(b, transfer, { type: "Ready", bytes: 1, salt: new Uint8Array(16) });
  same(said.splice(0), [{ place: 3 }], "what somebody else answers says nothing");
  engine.now = 20_000;
  await answer(a, transfer, { type: "Queued", place: 3 });
  files.passTime(49_999);
  same([said.length, sent(a).length], [0, 0], "the same place again is a sign of life");
  files.lost();
  files.joined(49_999);
  same(sent(a).map((content) => decode(fileRequest, content).transfer), [transfer], "the same request on the next connection");
  files.passTime(79_999);
  same(said.splice(0).map(({ error }) => error), ["a does not answer. Try again."], "without a sign of life");
  same(isTakenBack(sent(a)), { transfer, reason: "Left" }, "the place is given up");
  await answer(a, transfer, { type: "Queued", place: 1 });
  same(isTakenBack(sent(a)), { transfer, reason: "Left" }, "a place for which nobody waits");

  const another = await queued(2);
  files.leave(2);
  same(isTakenBack(sent(a)), { transfer: another, reason: "Left" }, "a person gives a place up");
}

/** Requests for many files, some of which are not shared any more. */
export async function many() {
  const digest = (at) => new Uint8Array(32).fill(at);
  const shared = [1, 2].map((at) => ({ name: `${at}.txt`, bytes: at, sha256: digest(at), links: [], keywords: ["x"], file: new Blob(["x"]) }));
  const files = Object.assign(new Files(), { shared });
  const engine = { transfers: [], now: 0 };
  const contact = { peer: "a", answersDue: new Map() };
  let transfers = 0;
  const ask = async (...wanted) => {
    transfers += 1;
    const transfer = new Uint8Array(16).fill(transfers);
    const names = wanted.map(([name, at]) => ({ name, sha256: digest(at) }));
    const asked = { transfer, secret: new Uint8Array(32).fill(7), mark: "", wish: { type: "Server" }, files: names };
    await files.request(engine, contact, transfers, encode(manyRequest, asked));
    const { verdict } = decode(fileAnswer, [...contact.answersDue.values()].at(-1).content);
    return [verdict.type, verdict.bytes ?? 0];
  };
  const [one, two, changed, unknown] = [["1.txt", 1], ["2.txt", 2], ["1.txt", 9], ["9.txt", 9]];
  same(await ask(two, changed, unknown, one), ["Ready", 3], "two of four");
  const [{ files: sent }] = engine.transfers;
  const told = sent.map((file) => file.shared?.name ?? file.refusal);
  same(told, ["2.txt", "Changed", "NotShared", "1.txt"], "what is sent, in the order of the request");
  same(await ask(unknown, changed), ["Changed", 0], "others of these names");
  same(await ask(unknown), ["NotShared", 0], "nothing of it");
  same(engine.transfers.length, 1, "only what is sent");
}
