// What a person does with messages and contacts: cancel, block, forget.

import { folded } from "./names.js";

/**
 * Deletes a message that was never sealed, and so never sent. A message that has to be sealed again may have arrived.
 * @param {import("./engine.js").Engine} engine @param {{name: string, number: number, reply: Function}} input
 */
export function cancel(engine, { name, number, reply }) {
  const contact = engine.contact(name);
  const message = contact.unacked.get(number);
  if (!message || message.places.length > 0) return reply({ error: "This message may have been sent already." });
  contact.unacked.delete(number);
  contact.unsent.delete(number);
  engine.write("messages", message.order, undefined);
  return reply({});
}

/**
 * Blocks or unblocks a peer. Everything that a blocked peer sends is ignored.
 * @param {import("./engine.js").Engine} engine @param {{name: string, isBlocked: boolean}} input
 */
export function block(engine, { name, isBlocked }) {
  const contact = engine.contact(name);
  contact.isBlocked = isBlocked;
  contact.receiptsDue.clear();
  contact.complaintsDue.clear();
  if (isBlocked) engine.files.slots.forget(contact.peer);
  contact.keep();
}

/**
 * Deletes the messages with a peer, its conversations and its card. The pinned key, and the numbers and ids of messages,
 * are kept: without them the server could introduce another key, and old messages would be shown again.
 * @param {import("./engine.js").Engine} engine @param {{name: string, reply: Function}} input
 */
export async function forget(engine, { name, reply }) {
  const peer = folded(name);
  const contact = engine.contacts.get(peer);
  if (!contact?.isKept) return reply({});
  for (const { order, direction, generation, number, id } of await engine.store.newest(peer, Infinity)) {
    if (direction === "received") engine.write("received", [peer, generation, number], id);
    engine.write("messages", order, undefined);
  }
  for (const id of await engine.store.conversationsOf(peer)) engine.write("conversations", id, undefined);
  for (const [id, accepted] of engine.accepted) {
    if (accepted.peer === peer) engine.accepted.delete(id);
  }
  contact.forget();
  engine.flight?.forget(contact);
  return reply({});
}
