// Lists of files that were being fetched when the page was closed or loaded again.

import { element, named, readable } from "./text.js";

const at = (id) => document.getElementById(id);

/** A tab keeps this lock as long as it shows a list, so that no other one continues it. @param {string} id @returns {string} */
export const lockOf = (id) => `switchboard list ${id}`;

/** The part of the page that offers to continue them. */
export class EarlierView {
  #tabs;
  #resume;
  #isShown = false;

  /** @param {import("./tabs.js").Tabs} tabs @param {(list: object) => void} resume Continues a list. */
  constructor(tabs, resume) {
    [this.#tabs, this.#resume] = [tabs, resume];
  }

  /** @param {import("./owner.js").Live} live */
  changed({ phase }) {
    if (phase === "peer" && !this.#isShown) this.#show();
  }

  async #show() {
    this.#isShown = true;
    const { lists = [] } = await this.#tabs.ask({ type: "lists" });
    const { held } = await navigator.locks.query();
    const open = held.map(({ name }) => name);
    at("earlier").replaceChildren(...lists.filter(({ id }) => !open.includes(lockOf(id))).map((list) => this.#entry(list)));
    at("earlier").dataset.shown = "";
  }

  #entry(list) {
    const { id, pattern, from, matches, here } = list;
    const [carryOn, forget] = ["Continue", "Forget"].map((text) => element("button", { type: "button" }, text));
    const whose = from === "" ? "" : ` of ${from}`;
    const said = `${whose}, from an earlier visit: ${here} of ${matches.length} file(s) are here, for a week at most.`;
    const entry = element("li", { "data-pattern": pattern }, element("p", {}, element("bdi", {}, named(pattern)), readable(said)), carryOn, " ", forget);
    carryOn.addEventListener("click", () => {
      entry.remove();
      this.#resume(list);
    });
    forget.addEventListener("click", () => {
      entry.remove();
      this.#tabs.tell({ type: "forget list", list: id });
    });
    return entry;
  }
}
