// Notifications of the system about new messages, if the person wants them. They never contain a text.

import { readable } from "./text.js";

const SETTING = "notifications";
const SAID = {
  off: "This browser then shows who has written while you do not see this page. It never shows the text.",
  on: "You are notified while you do not see this page.",
  denied: "Your browser does not allow notifications for this page. You can change that in its settings.",
  missing: "This browser has no notifications for pages.",
};

const at = (id) => document.getElementById(id);

/** The button for notifications, and the notifications. */
export class Notifier {
  #store;
  #isWanted = false;
  #isMissing = !("Notification" in globalThis);
  /** How many unread messages of each peer are known. @type {Map<string, number> | null} */ #unread = null;

  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.#store = store;
    at("notify").addEventListener("click", () => this.#toggle());
    store.get("self", SETTING).then((isWanted) => this.#set(isWanted === true));
  }

  #state() {
    if (this.#isMissing) return "missing";
    if (Notification.permission === "denied") return "denied";
    return this.#isWanted && Notification.permission === "granted" ? "on" : "off";
  }

  #set(isWanted) {
    this.#isWanted = isWanted;
    const state = this.#state();
    at("notify").disabled = state === "missing" || state === "denied";
    at("notify").setAttribute("aria-pressed", String(state === "on"));
    at("notify-said").textContent = SAID[state];
  }

  async #toggle() {
    const isWanted = this.#state() === "off";
    if (isWanted) await Notification.requestPermission();
    await this.#store.write([{ store: "self", key: SETTING, value: isWanted }]);
    this.#set(isWanted);
  }

  /**
   * Notifies of peers that have more unread messages than before.
   * @param {Map<string, number>} unread By folded name. @param {Map<string, string>} names By folded name.
   */
  changed(unread, names) {
    const before = this.#unread;
    this.#unread = unread;
    if (before === null || document.visibilityState === "visible" || this.#state() !== "on") return;
    const writers = [...unread].filter(([peer, count]) => count > (before.get(peer) ?? 0)).map(([peer]) => names.get(peer) ?? peer);
    if (writers.length === 0) return;
    this.#notify(`New messages from ${readable(writers.join(", "))}`);
  }

  #notify(body) {
    try {
      // Tabs that are hidden notify alike. The tag makes the system show one notification.
      new Notification("Switchboard", { body, tag: "switchboard" });
    } catch {
      // Chromium for Android has the class and the permission, but shows notifications of service workers only.
      this.#isMissing = true;
      this.#set(this.#isWanted);
    }
  }
}
