// Searching, fetching and sharing files.

import { element, readable } from "./text.js";
import { hex } from "./bytes.js";
import { onSubmit } from "./forms.js";
import { isFileName, isKeyword, keyword } from "./names.js";
import { FILE_BYTES_MAX, TOO_LARGE } from "./transfer.js";

const at = (id) => document.getElementById(id);
const size = (bytes) => `${Number(bytes).toLocaleString()} bytes`;
const FILE_RULE = "must have 1 to 255 bytes, without / \\ , ; and control characters, and no dot or space at the start";

/** The keywords in a field, separated by commas. Null if one is not allowed. */
function keywordsIn(field, most) {
  const words = field.value.split(",").map(keyword).filter((word) => word !== "");
  return words.length > 0 && words.length <= most && words.every(isKeyword) ? words : null;
}

/** The part of the page about files. */
export class FileView {
  #tabs;
  #shown = "";

  /** @param {import("./tabs.js").Tabs} tabs */
  constructor(tabs) {
    this.#tabs = tabs;
    onSubmit("search-form", () => this.#search());
    onSubmit("share-form", () => this.#share([...at("files").files]));
    at("files-section").addEventListener("dragover", (event) => event.preventDefault());
    at("files-section").addEventListener("drop", (event) => {
      event.preventDefault();
      this.#share([...event.dataTransfer.files]);
    });
  }

  async #search() {
    const keywords = keywordsIn(at("query"), 16);
    const problem = keywords ? "" : "Enter 1 to 16 keywords of at most 128 bytes, with commas between them.";
    at("search-said").textContent = problem || "Searching.";
    at("hits").replaceChildren();
    if (problem) return;
    const { error, hits, total } = await this.#tabs.ask({ type: "search", keywords });
    const count = error ?? (total === 0 ? "No files have all of these keywords." : `${total} file(s) found.`);
    at("search-said").textContent = readable(count);
    at("hits").replaceChildren(...(hits ?? []).map((hit) => this.#hit(hit)));
  }

  #hit(hit) {
    const { peer, online, file } = hit;
    const said = element("p", { role: "status" });
    const bar = element("progress", { "aria-label": `Progress of ${readable(file.name)}`, max: "1", value: "0", hidden: "" });
    const button = element("button", { type: "button" }, `Fetch from ${peer}`);
    const isTooLarge = file.bytes > FILE_BYTES_MAX;
    button.disabled = !online || isTooLarge;
    if (isTooLarge) said.textContent = `${TOO_LARGE} Fetch it with the program peer.`;
    button.addEventListener("click", () => this.#fetch(hit, { button, bar, said }));
    return element(
      "li",
      { "data-file": file.name },
      element("p", {}, element("bdi", {}, readable(file.name)), `, ${size(file.bytes)}, ${online ? "" : "not here now, "}keywords: `,
        element("bdi", {}, readable(file.keywords.join(", ")))),
      element("p", { class: "digest" }, `SHA-256 ${hex(file.sha256)}`),
      button, bar, said,
    );
  }

  async #fetch(hit, { button, bar, said }) {
    button.disabled = true;
    bar.hidden = false;
    said.textContent = "Asking for the file.";
    const { error, blob } = await this.#tabs.ask({ type: "fetch", hit }, (done) => {
      bar.value = done / Math.max(1, Number(hit.file.bytes));
    });
    bar.hidden = true;
    button.disabled = false;
    said.replaceChildren(error ? readable(error) : this.#offer(hit.file, blob));
  }

  /** A link that saves a file whose digest was checked. */
  #offer({ name }, blob) {
    const link = element("a", { href: URL.createObjectURL(blob), download: name }, `Save ${readable(name)}`);
    return element("span", {}, "The SHA-256 is right. ", link);
  }

  async #share(files) {
    const keywords = keywordsIn(at("keywords"), 16);
    const bad = files.find(({ name }) => !isFileName(name));
    let problem = "";
    if (files.length === 0) problem = "Choose a file.";
    else if (!keywords) problem = "Enter 1 to 16 keywords of at most 128 bytes, with commas between them.";
    else if (bad) problem = `The name ${readable(bad.name)} cannot be shared. It ${FILE_RULE}.`;
    at("share-said").textContent = problem || "Reading.";
    if (problem) return;
    const answers = await Promise.all(files.map((file) => this.#tabs.ask({ type: "share", file, keywords })));
    const errors = answers.flatMap(({ error }) => error ?? []);
    at("share-said").textContent = readable(errors.join(" "));
    if (errors.length === 0) at("share-form").reset();
  }

  /** Shows what is shared. @param {import("./owner.js").Live} live */
  changed({ shared = [] }) {
    const now = JSON.stringify(shared);
    if (now === this.#shown) return;
    this.#shown = now;
    at("shared").replaceChildren(...shared.map(({ name, bytes, keywords }) => {
      const button = element("button", { type: "button" }, `Stop sharing ${readable(name)}`);
      button.addEventListener("click", () => this.#tabs.tell({ type: "unshare", name }));
      return element("li", {}, element("p", {}, element("bdi", {}, readable(name)), `, ${size(bytes)}, keywords: ${readable(keywords.join(", "))}`), button);
    }));
  }
}
