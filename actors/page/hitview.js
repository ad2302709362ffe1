// One match of a search, and fetching it.

import { element, ordinal, readable, size } from "./text.js";
import { hex } from "./bytes.js";
import { writtenKeywords } from "./keywords.js";
import { FILE_BYTES_MAX, TOO_LARGE } from "./transfer.js";

/** What the page shows of a match. */
export class HitView {
  #tabs;
  #hits;
  #buttons;
  #said = element("p", { role: "status" });
  #bar;
  /** @type {HTMLElement} */ element;
  /** The link that saves the file, when it was fetched. @type {HTMLElement | null} */ link = null;

  /** @param {import("./tabs.js").Tabs} tabs @param {{holders: number, hits: object[]}} match */
  constructor(tabs, { holders, hits }) {
    [this.#tabs, this.#hits] = [tabs, hits];
    const [{ file }] = hits;
    this.#bar = element("progress", { "aria-label": `Progress of ${readable(file.name)}`, max: "1", value: "0", hidden: "" });
    const isTooLarge = file.bytes > FILE_BYTES_MAX;
    if (isTooLarge) this.#said.textContent = `${TOO_LARGE} Fetch it with the program peer.`;
    this.#buttons = hits.map((hit) => {
      const button = element("button", { type: "button" }, `Fetch from ${hit.peer}`);
      button.disabled = !hit.online || isTooLarge;
      button.addEventListener("click", () => this.#fetch(hit));
      return button;
    });
    const isHere = hits.some(({ online }) => online);
    const many = holders > 1 ? `${holders} holders, ` : "";
    const names = new Set(hits.map((hit) => hit.file.name));
    names.delete(file.name);
    const others = [...names].map((name) => element("p", {}, "also called ", element("bdi", {}, readable(name))));
    this.element = element(
      "li",
      { "data-file": file.name },
      element("p", {}, element("bdi", {}, readable(file.name)), `, ${size(file.bytes)}, ${many}${isHere ? "" : "not here now, "}keywords: `,
        element("bdi", {}, readable(writtenKeywords(file.keywords)))),
      ...others,
      element("p", { class: "digest" }, `SHA-256 ${hex(file.sha256)}`),
      ...this.#buttons, this.#bar, this.#said,
    );
  }

  /** Fetches it from the first holder that is here, unless that was done or is being done. */
  async fetch() {
    const at = this.#buttons.findIndex((button) => !button.disabled);
    if (at >= 0 && this.link === null) await this.#fetch(this.#hits[at]);
  }

  async #fetch(hit) {
    const usable = this.#buttons.filter((button) => !button.disabled);
    for (const button of usable) button.disabled = true;
    this.#bar.hidden = false;
    this.#said.textContent = "Asking for the file.";
    const { error, blob } = await this.#tabs.ask({ type: "fetch", hit }, ({ done, place }) => {
      const text = place ? `${hit.peer} is busy; you are ${ordinal(place)} in the queue.` : "Fetching the file.";
      // A screen reader says it again whenever it is set.
      if (this.#said.textContent !== text) this.#said.textContent = text;
      if (done) this.#bar.value = done / Math.max(1, Number(hit.file.bytes));
    });
    this.#bar.hidden = true;
    for (const button of usable) button.disabled = false;
    this.#said.replaceChildren(error ? readable(error) : this.#offer(hit.file, blob));
  }

  /** A link that saves a file whose digest was checked. */
  #offer({ name }, blob) {
    this.link = element("a", { href: URL.createObjectURL(blob), download: name.split("/").at(-1) }, `Save ${readable(name)}`);
    return element("span", {}, "The SHA-256 is right. ", this.link);
  }
}
