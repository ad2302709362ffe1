// Searching, and fetching what is found.

import { element, readable, size } from "./text.js";
import { hex } from "./bytes.js";
import { onSubmit } from "./forms.js";
import { FILE_BYTES_MAX, TOO_LARGE } from "./transfer.js";

const at = (id) => document.getElementById(id);

/** How many matches are shown at once. */
const PAGE = 50;

/** The part of the page that searches. */
export class SearchView {
  #tabs;
  /** The text of the search whose matches are shown. */ #text = "";
  #shown = 0;
  /** Which search is the newest: answers to earlier ones are not shown. */ #search = 0;

  /** @param {import("./tabs.js").Tabs} tabs */
  constructor(tabs) {
    this.#tabs = tabs;
    onSubmit("search-form", () => this.#begin(at("query").value));
    at("more").addEventListener("click", () => this.#page());
  }

  #begin(text) {
    this.#text = text;
    this.#shown = 0;
    at("hits").replaceChildren();
    at("place").hidden = true;
    return this.#page();
  }

  /** Shows the next matches. */
  async #page() {
    this.#search += 1;
    const search = this.#search;
    const text = this.#text;
    at("search-said").textContent = "Searching.";
    at("more").hidden = true;
    const answer = await this.#tabs.ask({ type: "search", text, skip: this.#shown, limit: PAGE });
    if (search !== this.#search) return;
    const { error, column, matches = [], total = 0, instead } = answer;
    this.#shown += matches.length;
    at("hits").append(...matches.map((match) => this.#match(match)));
    at("more").hidden = matches.length === 0 || this.#shown >= total;
    at("search-said").replaceChildren(readable(error ?? this.#count(total)), ...this.#suggestion(instead));
    if (column) this.#point(text, column);
  }

  #count(total) {
    if (total === 0) return "No file was found. ";
    const found = `${Number(total).toLocaleString()} file(s) found`;
    return this.#shown < total ? `${found}, ${this.#shown.toLocaleString()} shown.` : `${found}.`;
  }

  /** A button that searches for the corrected words. */
  #suggestion(instead) {
    if (!instead) return [];
    const button = element("button", { type: "button" }, element("bdi", {}, readable(instead)));
    button.addEventListener("click", () => {
      at("query").value = instead;
      at("query").focus();
      this.#begin(instead);
    });
    return ["Did you mean ", button, "?"];
  }

  /** Shows where the text is wrong. */
  #point(text, column) {
    const escaped = (part) => readable(part).replaceAll("\t", " ");
    const before = escaped([...text].slice(0, column - 1).join(""));
    at("place").textContent = `${escaped(text)}\n${" ".repeat([...before].length)}^`;
    at("place").hidden = false;
    at("query").focus();
  }

  #match({ holders, hits }) {
    const [{ file }] = hits;
    const said = element("p", { role: "status" });
    const bar = element("progress", { "aria-label": `Progress of ${readable(file.name)}`, max: "1", value: "0", hidden: "" });
    const isTooLarge = file.bytes > FILE_BYTES_MAX;
    if (isTooLarge) said.textContent = `${TOO_LARGE} Fetch it with the program peer.`;
    const buttons = hits.map((hit) => {
      const button = element("button", { type: "button" }, `Fetch from ${hit.peer}`);
      button.disabled = !hit.online || isTooLarge;
      button.addEventListener("click", () => this.#fetch(hit, { buttons, bar, said }));
      return button;
    });
    const isHere = hits.some(({ online }) => online);
    const many = holders > 1 ? `${holders} holders, ` : "";
    const names = new Set(hits.map((hit) => hit.file.name));
    names.delete(file.name);
    const others = [...names].map((name) => element("p", {}, "also called ", element("bdi", {}, readable(name))));
    return element(
      "li",
      { "data-file": file.name },
      element("p", {}, element("bdi", {}, readable(file.name)), `, ${size(file.bytes)}, ${many}${isHere ? "" : "not here now, "}keywords: `,
        element("bdi", {}, readable(file.keywords.join(", ")))),
      ...others,
      element("p", { class: "digest" }, `SHA-256 ${hex(file.sha256)}`),
      ...buttons, bar, said,
    );
  }

  async #fetch(hit, { buttons, bar, said }) {
    const usable = buttons.filter((button) => !button.disabled);
    for (const button of usable) button.disabled = true;
    bar.hidden = false;
    said.textContent = "Asking for the file.";
    const { error, blob } = await this.#tabs.ask({ type: "fetch", hit }, (done) => {
      bar.value = done / Math.max(1, Number(hit.file.bytes));
    });
    bar.hidden = true;
    for (const button of usable) button.disabled = false;
    said.replaceChildren(error ? readable(error) : this.#offer(hit.file, blob));
  }

  /** A link that saves a file whose digest was checked. */
  #offer({ name }, blob) {
    const link = element("a", { href: URL.createObjectURL(blob), download: name.split("/").at(-1) }, `Save ${readable(name)}`);
    return element("span", {}, "The SHA-256 is right. ", link);
  }
}
