// Shows the records and the state of the peer. It keeps nothing of its own but which contact is open.

import { folded } from "./names.js";
import { NAME_TAKEN } from "./forms.js";
import { element, grouped, readable } from "./text.js";
import { stepsOf } from "./steps.js";

const MESSAGES_SHOWN = 200;
const STATES = {
  queued: "queued here",
  relayed: "relayed to the recipient",
  stored: "stored on the server",
  delivered: "delivered, receipt verified",
};
const STOPPED = {
  elsewhere: "The same name and keys have joined from another place. The newest connection is used.",
  "not admitted": "The server does not admit you.",
  "other server": "The server at this address shows another key than before. It has lost its data, or it is another server.",
};
const at = (id) => document.getElementById(id);

/** The page. */
export class View {
  #store;
  #notifier;
  #onRead;
  #secretOf;
  #open = null;
  #live = { phase: "starting" };
  #drawn = Promise.resolve();
  #isDue = false;

  /**
   * @param {import("./store.js").Store} store @param {import("./notify.js").Notifier} notifier
   * @param {() => void} onRead Called when messages were read here, so that other tabs do not count them any more.
   * @param {import("./steps.js").SecretOf} secretOf
   */
  constructor(store, notifier, onRead, secretOf) {
    [this.#store, this.#notifier, this.#onRead, this.#secretOf] = [store, notifier, onRead, secretOf];
    document.addEventListener("visibilitychange", () => this.changed(this.#live));
  }

  /** The name of the contact whose conversation is open, or null. */
  get open() {
    return this.#open;
  }

  /** Opens the conversation with a peer, or none. @param {string | null} name @returns {Promise<void>} Once it is shown. */
  show(name) {
    this.#open = name;
    at("messages").replaceChildren();
    at("log").setAttribute("aria-live", "off");
    return this.changed(this.#live);
  }

  /**
   * Draws again, once for all changes that come meanwhile. @param {import("./owner.js").Live} live
   * @returns {Promise<void>} Once it is drawn.
   */
  changed(live) {
    this.#live = live;
    // At once, because people act on it.
    this.#drawConnection();
    if (!this.#isDue) {
      this.#isDue = true;
      // A failure to draw must not keep the page from drawing again.
      this.#drawn = this.#drawn.catch(() => {}).then(() => {
        this.#isDue = false;
        return this.#draw();
      });
    }
    return this.#drawn;
  }

  async #draw() {
    const { phase, name, fingerprint, isNew } = this.#live;
    // Somebody who has never joined can still choose another name.
    const isRefused = phase === "not admitted" && isNew;
    const isPeer = phase === "peer" || (phase in STOPPED && !isRefused);
    at("welcome").hidden = !["nameless", "taken", "creating"].includes(phase) && !isRefused;
    at("peer").hidden = !isPeer;
    at("me").hidden = !isPeer && !isRefused;
    at("my-name").textContent = name ?? "";
    at("my-key").textContent = grouped(fingerprint ?? "");
    if (phase === "taken") at("name-problem").textContent = NAME_TAKEN;
    if (isPeer) await this.#drawPeer();
  }

  #drawConnection() {
    const { phase, connection, reason, server } = this.#live;
    const words = {
      online: "Connected.",
      connecting: "Connecting.",
      offline: `Offline: ${readable(reason ?? "")} What you write is kept and sent later.`,
    };
    const phases = {
      starting: "Starting.",
      creating: "Making keys. This takes a few seconds.",
      nameless: readable(reason ?? ""),
      failed: `The peer could not start: ${readable(reason ?? "")}`,
    };
    const text = phases[phase] ?? words[connection] ?? "";
    // A live region is read aloud for each change, also to the same text.
    if (at("connection").textContent !== text) at("connection").textContent = text;
    at("stopped").hidden = !(phase in STOPPED);
    at("stopped-text").textContent = STOPPED[phase] ?? "";
    at("refusal").textContent = phase === "not admitted" ? `It says: ${readable(reason)}` : "";
    at("invitation-form").hidden = phase !== "not admitted";
    at("server-keys").hidden = !server;
    at("server-pinned").textContent = server ? grouped(server.pinned) : "";
    at("server-shown").textContent = server ? grouped(server.shown) : "";
    at("connect").textContent = server ? "Trust the new key of the server" : "Connect here";
  }

  async #drawPeer() {
    const [contacts, numbers] = await Promise.all([this.#store.all("contacts"), this.#store.unread()]);
    at("known").replaceChildren(...(this.#live.known ?? []).map((name) => element("option", { value: name })));
    this.#drawContacts(contacts, numbers);
    at("notices").hidden = !this.#live.notes?.length;
    at("notes").replaceChildren(
      ...(this.#live.notes ?? []).map(({ about, text }) => element("li", {}, readable(about ? `${about}: ${text}` : text))),
    );
    at("conversation").hidden = this.#open === null;
    if (this.#open === null) return;
    const contact = contacts.find(({ name }) => folded(name) === folded(this.#open));
    this.#drawHead(contact);
    await this.#drawMessages();
  }

  #drawContacts(contacts, unread) {
    const present = new Set(this.#live.present ?? []);
    const shown = contacts.filter(({ name, isForgotten }) => !isForgotten || unread.has(folded(name)));
    const blocked = new Set(contacts.filter(({ isBlocked }) => isBlocked).map(({ name }) => folded(name)));
    const names = new Map(shown.map(({ name }) => [folded(name), name]));
    if (this.#open !== null && !names.has(folded(this.#open))) names.set(folded(this.#open), this.#open);
    let total = 0;
    const list = [...names].sort().map(([peer, name]) => {
      const isOpen = this.#open !== null && folded(this.#open) === peer;
      const count = isOpen && document.visibilityState === "visible" ? 0 : (unread.get(peer) ?? 0);
      total += count;
      const words = [name, present.has(peer) ? "online" : "away"];
      if (blocked.has(peer)) words.push("blocked");
      if (count > 0) words.push(`${count} unread`);
      return { name, isOpen, label: words.join(", ") };
    });
    // The focus would be lost if buttons were replaced that have not changed.
    const before = [...at("contacts").children].map(({ textContent }) => textContent);
    if (before.join("\n") !== list.map(({ label }) => label).join("\n")) {
      const focused = document.activeElement?.dataset?.name;
      at("contacts").replaceChildren(
        ...list.map(({ name, label }) => element("li", {}, element("button", { type: "button", "data-name": name }, label))),
      );
      if (focused) at("contacts").querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus();
    }
    for (const button of at("contacts").querySelectorAll("button")) {
      button.setAttribute("aria-current", String(this.#open !== null && folded(button.dataset.name) === folded(this.#open)));
    }
    this.#notifier.changed(unread, names);
    document.title = total > 0 ? `(${total}) Switchboard` : "Switchboard";
  }

  #drawHead(contact) {
    at("with").textContent = `Conversation with ${this.#open}`;
    at("changed-key").hidden = !contact?.distrusted;
    at("changed-name").textContent = this.#open;
    at("pinned").textContent = contact?.pinned ? grouped(contact.pinned) : "";
    at("distrusted").textContent = contact?.distrusted ? grouped(contact.distrusted) : "";
    at("pin").textContent = contact?.pinned
      ? `Their key: ${grouped(contact.pinned)}. Compare it with them over another channel.`
      : "Their key is not known yet. It is pinned when the server shows it for the first time.";
    at("block").setAttribute("aria-pressed", String(contact?.isBlocked === true));
    at("blocked").hidden = !contact?.isBlocked;
    at("forget").disabled = !contact;
  }

  /** The key that the user sees and is asked to trust, in hex. The one on the disk may be another by now. */
  get distrustedKey() {
    return at("distrusted").textContent.replaceAll(" ", "");
  }

  async #drawMessages() {
    const peer = folded(this.#open);
    const messages = await this.#store.newest(peer, MESSAGES_SHOWN);
    const [list, log] = [at("messages"), at("log")];
    const wasAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 20;
    const shown = new Map([...list.children].map((item) => [item.dataset.order, item]));
    const orders = new Set(messages.map(({ order }) => String(order)));
    for (const [order, item] of shown) if (!orders.has(order)) item.remove();
    for (const message of messages) {
      const item = shown.get(String(message.order));
      if (!item) list.append(this.#item(message));
      else if (item.dataset.state !== message.state) setState(item, message);
    }
    if (wasAtEnd) log.scrollTop = log.scrollHeight;
    // From now on a screen reader says what is added.
    log.setAttribute("aria-live", "polite");
    if (document.visibilityState === "visible" && (await this.#store.markRead(messages))) this.#onRead();
  }

  #item(message) {
    const { order, direction, number, text, at: written, state, places } = message;
    const who = direction === "sent" ? "You" : message.from;
    const time = new Date(Number(written) * 1000);
    const isTime = !Number.isNaN(time.getTime());
    const when = element("time", isTime ? { datetime: time.toISOString() } : {}, isTime ? time.toLocaleString() : "at an unknown time");
    const steps = element("details", { "aria-live": "off" }, element("summary", {}, "Steps"));
    steps.addEventListener("toggle", () => steps.open && this.#drawSteps(steps, order));
    const item = element(
      "li",
      { class: `message ${direction}`, "data-order": String(order), "data-number": String(number) },
      element("p", { class: "text", dir: "auto" }, readable(text)),
      element("p", { class: "meta" }, `${who}, number ${number}, `, when, element("span", { class: "state" })),
      steps,
    );
    if (state === "queued" && places.length === 0) {
      const label = { type: "button", "data-cancel": String(number), "aria-label": `Cancel message ${number}` };
      item.insertBefore(element("button", label, "Cancel"), steps);
    }
    setState(item, message);
    return item;
  }

  async #drawSteps(details, order) {
    const steps = await stepsOf(await this.#store.get("messages", order), this.#store, this.#secretOf);
    const list = element("dl", { class: "steps" });
    for (const { label, explanation, value, command } of steps) {
      list.append(element("dt", {}, label), element("dd", {}, explanation));
      if (value) list.lastChild.append(element("pre", { tabindex: "0", "aria-label": `${label}, in hexadecimal` }, value));
      if (command) list.lastChild.append(commandOf(command));
    }
    details.querySelector(".steps")?.remove();
    details.append(list);
  }
}

function commandOf(command) {
  const shown = element("pre", { tabindex: "0" }, command);
  const copy = element("button", { type: "button" }, "Copy");
  copy.addEventListener("click", () => navigator.clipboard.writeText(command));
  return element("details", {}, element("summary", {}, "The command that does it again"), shown, copy);
}

function setState(item, { state }) {
  item.dataset.state = state;
  if (state !== "queued") item.querySelector("[data-cancel]")?.remove();
  item.querySelector(".state").textContent = STATES[state] ? `, ${STATES[state]}` : ", verified";
}
