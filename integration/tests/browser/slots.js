// slots.js, and requests for many files in files.js.

import { fileAnswer, fileRequest, manyRequest } from "/switchboard/protocol.js";
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
