// Searching.

import { element, named, readable } from "./text.js";
import { HitView } from "./hitview.js";
import { onSubmit } from "./forms.js";

const at = (id) => document.getElementById(id);

/** How many matches are shown at once. */
const PAGE = 50;

/** The part of the page that searches. */
export class SearchView {
  #tabs;
  /** The text of the search whose matches are shown. */ #text = "";
  #shown = 0;
  /** The matches that are shown. @type {HitView[]} */ #views = [];
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
    for (const view of this.#views.splice(0)) view.leave();
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
    const views = matches.map((match) => this.#view(match));
    this.#views.push(...views);
    at("hits").append(...views.map((view) => view.element));
    at("more").hidden = matches.length === 0 || this.#shown >= total;
    at("search-said").replaceChildren(readable(error ?? this.#count(total)), ...this.#suggestion(instead));
    if (column) this.#point(text, column);
  }

  #view(match) {
    const view = new HitView(this.#tabs, match);
    const folder = view.file.name.split("/").slice(0, -1).join("/");
    if (folder !== "") view.element.append(this.#folderButton(folder));
    return view;
  }

  /** A button that lists the files of a folder, of all who have it. */
  #folderButton(folder) {
    const button = element("button", { type: "button", class: "folder" }, `List its folder ${named(folder)}`);
    button.addEventListener("click", () => {
      [at("pattern").value, at("holder").value] = [`${folder}/*`, ""];
      at("pattern").focus();
      at("pattern-form").requestSubmit();
    });
    return button;
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
}
