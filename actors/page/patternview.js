// The files of one peer whose names a pattern describes: their list, and fetching all of them.

import { HitView } from "./hitview.js";
import { isFileName, isPeerName } from "./names.js";
import { onSubmit } from "./forms.js";
import { readable, size } from "./text.js";

const at = (id) => document.getElementById(id);

/** So many files one pattern may describe here, because each is a download of its own. */
const FILES_MAX = 500;
/** How many are fetched at the same time. */
const UNDERWAY = 2;
const PATTERN_RULE = "A pattern is the name of a file with * in it, which stands for any characters but /; ** stands for any.";

/** The part of the page that fetches many files. */
export class PatternView {
  #tabs;
  /** What is listed. @type {HitView[]} */ #views = [];
  /** Those to fetch that were not begun. @type {HitView[]} */ #left = [];
  /** Which list is the newest: answers for earlier ones are not shown. */ #list = 0;

  /** @param {import("./tabs.js").Tabs} tabs */
  constructor(tabs) {
    this.#tabs = tabs;
    onSubmit("pattern-form", () => this.#show(at("pattern").value, at("holder").value));
    at("fetch-all").addEventListener("click", () => this.#fetchAll());
    at("cancel-all").addEventListener("click", () => this.#cancelAll());
    at("save-all").addEventListener("click", () => this.#views.forEach(({ link }) => link?.click()));
  }

  async #show(pattern, from) {
    this.#list += 1;
    const list = this.#list;
    // Those that were not begun are not fetched any more.
    this.#left.length = 0;
    for (const view of this.#views) view.leave();
    this.#views = [];
    at("fetch-all").hidden = at("save-all").hidden = at("cancel-all").hidden = true;
    at("pattern-said").textContent = "Asking for the list.";
    const { error, hits } = await this.#ask(pattern, from);
    if (list !== this.#list) return;
    at("pattern-said").textContent = readable(error ?? this.#count(hits));
    this.#views = (hits ?? []).map((hit) => new HitView(this.#tabs, { holders: 1, hits: [hit] }));
    at("described").append(...this.#views.map((view) => view.element));
    at("fetch-all").hidden = this.#views.length === 0;
  }

  /** All files that a pattern describes, or why not. */
  async #ask(pattern, from) {
    if (!isPeerName(from)) return { error: "Enter the name of the peer that has the files." };
    if (!isFileName(pattern) || !pattern.includes("*")) return { error: PATTERN_RULE };
    const all = [];
    for (let after = null; ; after = all.at(-1).file.name) {
      const query = { type: "Names", from, pattern, after };
      const { error, hits = [], total } = await this.#tabs.ask({ type: "names", query });
      if (error) return { error };
      if (total > FILES_MAX) return { error: `${total} files are called like that. Narrow the pattern to at most ${FILES_MAX}, or use the program peer.` };
      all.push(...hits);
      if (hits.length === 0 || all.length >= total) break;
    }
    return all.length > 0 ? { hits: all } : { error: `${from} shares no file that is called like this with you.` };
  }

  #count(hits) {
    return `${hits.length} file(s), ${size(hits.reduce((sum, { file }) => sum + Number(file.bytes), 0))}.`;
  }

  /** Fetches all files, a few at a time. */
  async #fetchAll() {
    const views = this.#views;
    const left = [...views];
    this.#left = left;
    at("fetch-all").disabled = true;
    at("cancel-all").hidden = false;
    const lane = async () => {
      for (let view = left.shift(); view; view = left.shift()) await view.fetch();
    };
    await Promise.all(Array.from({ length: UNDERWAY }, lane));
    at("fetch-all").disabled = false;
    at("cancel-all").hidden = true;
    if (views !== this.#views) return;
    const fetched = views.filter(({ link }) => link !== null).length;
    at("pattern-said").textContent = `${fetched} of ${views.length} file(s) are fetched.`;
    at("save-all").hidden = fetched === 0;
  }

  #cancelAll() {
    this.#left.length = 0;
    for (const view of this.#views) view.cancel();
  }
}
