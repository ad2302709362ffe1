// One match of a search, and fetching it.

import { element, named, readable, size } from "./text.js";
import { hex } from "./bytes.js";
import { writtenKeywords } from "./keywords.js";
import { byLength, isForSeveral, isTooLarge, TOO_LARGE } from "./downloads.js";
import { saveLink } from "./saveview.js";

/** Who has sent what came from several. */
export function senders(shares, liars, slow) {
  const parts = shares.map(([peer, bytes]) => `${size(bytes)} from ${peer}`);
  const late = slow.map((peer) => ` ${peer} was far slower than the others.`).join("");
  return (parts.length > 1 ? `${parts.join(", ")}.` : "") + late + lies(liars, "; it was taken from others");
}

const lies = (liars, then) => liars.map((peer) => ` ${peer} has sent something else than this file${then}.`).join("");

/** Whether a holder can be asked. */
const isUsable = ({ online, isOwn, file }) => online && !isOwn && !isTooLarge(file);

/** What the page shows of a match. */
export class HitView {
  #tabs;
  /** @type {object} What was found, of one of the holders. */ file;
  /** Of the others who have it. */ #hits;
  #buttons;
  #said = element("p", { role: "status" });
  #bar;
  #cancel = element("button", { type: "button", class: "cancel", hidden: "" });
  /** @type {HTMLElement} */ element;
  /** The link that saves the file, when it was fetched. @type {HTMLElement | null} */ link = null;
  /** The file, as long as it can be saved. @type {Blob | null} */ blob = null;
  #onProgress;
  /** Whether it is kept until the list is forgotten of which it is. */ #isListed;
  /** The buttons that cannot be used while it is being fetched. @type {HTMLElement[] | null} */ #paused = null;

  /**
   * @param {import("./tabs.js").Tabs} tabs @param {{holders: number, hits: object[]}} match
   * @param {() => void} [onProgress] If it is one of many: called when more of it is here.
   */
  constructor(tabs, { holders, hits }, onProgress) {
    const groups = byLength(hits);
    [this.#tabs, this.#hits, this.#isListed] = [tabs, groups.flat().filter(({ isOwn }) => !isOwn), onProgress !== undefined];
    this.#onProgress = onProgress ?? (() => {});
    const [[{ file }]] = groups;
    this.file = file;
    this.#bar = element("progress", { "aria-label": `Progress of ${named(file.name)}`, max: "1", value: "0", hidden: "" });
    const isForAll = (check) => this.#hits.length > 0 && this.#hits.every(check);
    if (isForAll((hit) => isTooLarge(hit.file))) this.#said.textContent = `${TOO_LARGE} Fetch it with the program peer.`;
    const length = (hit) => (groups.length > 1 ? `, ${size(hit.file.bytes)}` : "");
    this.#buttons = this.#hits.map((hit) => this.#button(`Fetch from ${hit.peer}${length(hit)}`, [hit]));
    this.#hits.forEach((hit, at) => (this.#buttons[at].disabled = !isUsable(hit)));
    const together = groups.map((group) => group.filter(isUsable)).filter((group) => group.length > 1 && isForSeveral(group[0].file));
    this.#buttons.unshift(...together.map((group) => this.#button(`Fetch from ${group.length} holders at once${length(group[0])}`, group)));
    this.#cancel.addEventListener("click", () => this.cancel());
    const many = holders > 1 ? `${holders} holders, ` : "";
    const names = new Set(hits.map((hit) => hit.file.name));
    names.delete(file.name);
    const others = [...names].map((name) => element("p", {}, "also called ", element("bdi", {}, named(name))));
    if (this.#hits.length < hits.length) others.push(element("p", {}, "You share this file."));
    if (groups.length > 1) others.push(element("p", {}, "Its holders do not agree about its length, so some of them are wrong."));
    this.element = element(
      "li",
      { "data-file": file.name },
      element("p", {}, element("bdi", {}, named(file.name)), `, ${size(file.bytes)}, ${many}${isForAll(({ online }) => !online) ? "not here now, " : ""}keywords: `,
        element("bdi", {}, named(writtenKeywords(file.keywords)))),
      ...others,
      element("p", { class: "digest" }, `SHA-256 ${hex(file.sha256)}`),
      ...this.#buttons, this.#cancel, this.#bar, this.#said,
    );
  }

  /**
   * @returns {object[]} What was found, also of those who are away, because it may be on the disk. Empty if it was fetched or is being
   *   fetched, or cannot be.
   */
  get wanted() {
    return this.#paused === null && this.link === null ? this.#hits.filter(({ file }) => !isTooLarge(file)) : [];
  }

  /** @returns {number} How many bytes of it are here. */
  get done() {
    return this.link === null ? this.#bar.value * Number(this.file.bytes) : Number(this.file.bytes);
  }

  #button(text, hits) {
    const button = element("button", { type: "button" }, text);
    button.addEventListener("click", () => this.#fetch(hits));
    return button;
  }

  /** Leaves the list in which it was found. What is being fetched, or can be saved, stays in a list of its own. */
  leave() {
    const isBusy = !this.#cancel.hidden;
    if (!isBusy && this.link === null) return this.element.remove();
    const remove = element("button", { type: "button", class: "remove" }, "Remove from the list");
    remove.addEventListener("click", () => {
      this.cancel();
      this.#discard();
      this.element.remove();
    });
    this.element.append(remove);
    return document.getElementById("fetched").append(this.element);
  }

  /** Gives up a file that can be saved: the browser keeps its bytes as long as there is an address for them. */
  #discard() {
    if (this.link !== null) URL.revokeObjectURL(this.link.href);
    this.link = this.blob = null;
  }

  /** Fetches it from those who are here, unless that was done or is being done. */
  async fetch() {
    const hits = this.wanted;
    if (hits.length > 0) await this.#fetch(hits);
  }

  /** Gives up what is being fetched. What has arrived stays on the disk. */
  cancel() {
    if (!this.#cancel.hidden) this.#tabs.tell({ type: "leave", file: this.file });
  }

  async #fetch(hits) {
    const [{ file }] = hits;
    const holders = hits.filter(isUsable).length;
    const from = holders > 1 ? ` from ${holders} holders` : "";
    this.begins();
    this.#cancel.hidden = false;
    this.#says("Asking for the file.", "Cancel");
    const answer = await this.#tabs.ask({ type: "fetch", hits, isListed: this.#isListed }, ({ done, waiting = [] }) => {
      if (waiting.length > 0 && waiting.length === holders) this.#says(waiting.join(" "), "Leave the queue");
      else this.#says([`Fetching the file${from}.`, ...waiting].join(" "), "Cancel");
      this.arriving(done);
    });
    this.ends(answer, file);
  }

  /** Shows that it is being fetched. */
  begins() {
    this.#paused = this.#buttons.filter((button) => !button.disabled);
    for (const button of this.#paused) button.disabled = true;
    this.#discard();
    [this.#bar.hidden, this.#bar.value] = [false, 0];
  }

  /** Shows how much of it is here. A bar that goes back, because somebody else sends a part again, would only confuse. @param {number} bytes */
  arriving(bytes) {
    this.#bar.value = Math.max(this.#bar.value, bytes / Math.max(1, Number(this.file.bytes)));
    this.#onProgress();
  }

  /** Shows what has become of it. @param {object} answer As that of `Downloads.fetch`. @param {object} [file] What was fetched. */
  ends({ error, kept, blob, shares = [], liars = [], slow = [] }, file = this.file) {
    for (const button of this.#paused) button.disabled = false;
    // A hidden button cannot keep the focus.
    if (document.activeElement === this.#cancel) this.#paused[0].focus();
    this.#paused = null;
    this.#bar.hidden = this.#cancel.hidden = true;
    const rest = kept > 0 ? ` ${size(kept)} of it are kept for a week. Fetch it again to continue.` : "";
    if (error) this.#said.replaceChildren(readable(error) + lies(liars, "") + rest);
    else this.#said.replaceChildren(this.#offer(file, blob), ` ${senders(shares, liars, slow)}`);
    this.#onProgress();
  }

  /** Shows what is being done, and what the button to give it up is called. */
  #says(text, cancel) {
    // A screen reader says it again whenever it is set.
    if (this.#said.textContent !== text) this.#said.textContent = text;
    if (this.#cancel.textContent !== cancel) this.#cancel.textContent = cancel;
  }

  /** A link that saves a file whose digest was checked. */
  #offer({ name }, blob) {
    this.blob = blob;
    this.link = saveLink(blob, name.split("/").at(-1), `Save ${name}`);
    return element("span", {}, "The SHA-256 is right. ", this.link);
  }
}
