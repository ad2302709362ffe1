// Saving all files of a list that were fetched.

import { element, named, saved } from "./text.js";
import { packed } from "./archive.js";

const at = (id) => document.getElementById(id);

/** How long the browser gets to begin a download before the next one. Chromium drops all but ten in a second, without a word. */
const PAUSE = 500;

/** A browser shows no file of this type: as a page of this origin, a file of somebody else could use the keys. */
const TYPE = "application/octet-stream";

/** A link that saves a file. @param {Blob} blob @param {string} name @param {string} [text] @returns {HTMLElement} */
export const saveLink = (blob, name, text = name) =>
  element("a", { href: URL.createObjectURL(blob.slice(0, blob.size, TYPE)), download: saved(name) }, named(text));

/** The button that saves all. */
export class SaveView {
  #files;
  #onSaved;
  /** The folder from which they are. */ #folder = "";
  /** What can be saved. @type {HTMLElement[]} */ #links = [];
  /** Which list is the newest. */ #list = 0;

  /** @param {() => {name: string, blob: Blob}[]} files What was fetched of the list. @param {() => void} onSaved Called when all of that is saved. */
  constructor(files, onSaved) {
    [this.#files, this.#onSaved] = [files, onSaved];
    at("save-all").addEventListener("click", () => this.#save());
  }

  /** There is a new list, of which nothing was fetched. @param {string} pattern That describes its files. */
  begin(pattern) {
    this.#list += 1;
    this.#folder = pattern.split("/").slice(0, -1).findLast((part) => !part.includes("*")) ?? "files";
    at("save-all").disabled = false;
    at("save-all").hidden = at("save-bar").hidden = true;
    this.#discard();
  }

  /** Lets go of what can be saved: the browser keeps its bytes as long as there are addresses for them. */
  #discard() {
    for (const { href } of this.#links.splice(0)) URL.revokeObjectURL(href);
    at("save-said").replaceChildren();
  }

  async #save() {
    const list = this.#list;
    const files = this.#files();
    const total = files.reduce((sum, { blob }) => sum + blob.size, 0);
    const unread = [];
    let done = 0;
    this.#discard();
    at("save-all").disabled = true;
    [at("save-bar").hidden, at("save-bar").value] = [false, 0];
    const onRead = ({ name, blob }, isRead) => {
      done += blob.size;
      at("save-bar").value = done / Math.max(1, total);
      if (!isRead) unread.push(name);
    };
    for await (const { name, blob } of packed(files, this.#folder, onRead)) {
      if (list !== this.#list) return;
      if (this.#links.length > 0) await new Promise((resolve) => setTimeout(resolve, PAUSE));
      this.#links.push(saveLink(blob, name));
      this.#links.at(-1).click();
    }
    at("save-all").disabled = false;
    at("save-bar").hidden = true;
    this.#says(files.length - unread.length, unread);
    if (unread.length === 0) this.#onSaved();
  }

  #says(count, unread) {
    const links = this.#links.flatMap((link) => [" ", link]);
    const lost = unread.length > 0 ? ` The browser has lost these, so fetch them again: ${unread.map(named).join(", ")}.` : "";
    at("save-said").replaceChildren(`${count} file(s) were given to your browser to save. If it has not, do it here:`, ...links, lost);
  }
}
