// Sharing files.

import { element, named, readable, size } from "./text.js";
import { onSubmit } from "./forms.js";
import { isFileName } from "./names.js";
import { parseKeywords, writtenKeywords } from "./keywords.js";

const at = (id) => document.getElementById(id);
const FILE_RULE = "must have 1 to 255 bytes, without / \\ and control characters, no dot at the start, and no space at either end";
const KEYWORDS_MAX = 16;
/** Of how much progress it is told, in percent. */
const STEP = 10;

/** The keywords in a field, or what is wrong with them. */
function keywordsIn(field) {
  try {
    const keywords = parseKeywords(field.value);
    const isRight = keywords.length > 0 && keywords.length <= KEYWORDS_MAX;
    return isRight ? { keywords } : { problem: `Enter 1 to ${KEYWORDS_MAX} keywords, with commas between them.` };
  } catch (error) {
    return { problem: readable(error.message) };
  }
}

/** The part of the page that shares files. */
export class FileView {
  #tabs;
  #shown = "";

  /** @param {import("./tabs.js").Tabs} tabs */
  constructor(tabs) {
    this.#tabs = tabs;
    onSubmit("share-form", () => this.#share([...at("files").files]));
    at("files-section").addEventListener("dragover", (event) => event.preventDefault());
    at("files-section").addEventListener("drop", (event) => {
      event.preventDefault();
      this.#share([...event.dataTransfer.files]);
    });
  }

  async #share(files) {
    const { keywords, problem: wrong } = keywordsIn(at("keywords"));
    const bad = files.find(({ name }) => !isFileName(name));
    let problem = "";
    if (files.length === 0) problem = "Choose a file.";
    else if (wrong) problem = wrong;
    else if (bad) problem = `The name ${named(bad.name)} cannot be shared. It ${FILE_RULE}.`;
    at("share-said").textContent = problem || "Reading.";
    if (problem) return;
    const read = new Map();
    const total = files.reduce((sum, { size: bytes }) => sum + bytes, 0);
    const show = (file, { done }) => {
      read.set(file, done);
      const share = [...read.values()].reduce((sum, bytes) => sum + bytes, 0) / Math.max(1, total);
      const said = `Reading, ${STEP * Math.floor((100 * share) / STEP)} % is done.`;
      // A screen reader says it again whenever it is set.
      if (at("share-said").textContent !== said) at("share-said").textContent = said;
    };
    const share = (file) => this.#tabs.ask({ type: "share", file, keywords }, (progress) => show(file, progress));
    const answers = await Promise.all(files.map(share));
    const errors = answers.flatMap(({ error }) => error ?? []);
    at("share-said").textContent = readable(errors.join(" "));
    if (errors.length === 0) at("share-form").reset();
  }

  /** Shows what is shared. @param {import("./owner.js").Live} live */
  changed({ shared = [], isListed = false, serving: { sending, waiting } = { sending: 0, waiting: 0 } }) {
    const listed = isListed ? "Others can find these files." : "Others cannot find these files yet.";
    at("listed").textContent = shared.length === 0 ? "" : listed;
    at("serving").hidden = sending + waiting === 0;
    at("serving").textContent = `${sending} file(s) are being sent, ${waiting} request(s) wait for their turn.`;
    const now = JSON.stringify(shared);
    if (now === this.#shown) return;
    this.#shown = now;
    at("shared").replaceChildren(...shared.map(({ name, bytes, keywords }) => {
      const button = element("button", { type: "button" }, `Stop sharing ${named(name)}`);
      button.addEventListener("click", () => this.#tabs.tell({ type: "unshare", name }));
      return element("li", {}, element("p", {}, element("bdi", {}, named(name)), `, ${size(bytes)}, keywords: ${named(writtenKeywords(keywords))}`), button);
    }));
  }
}
