// The files whose names a pattern describes: their list, and fetching all of them.

import { HitView, senders } from "./hitview.js";
import { described, refreshed } from "./described.js";
import { EarlierView, lockOf } from "./earlierview.js";
import { hex } from "./bytes.js";
import { isForMany } from "./downloads.js";
import { onSubmit } from "./forms.js";
import { readable, size } from "./text.js";
import { SaveView } from "./saveview.js";

const at = (id) => document.getElementById(id);

/** How many downloads there are at the same time. All small files together are one. */
const UNDERWAY = 2;

/** The part of the page that fetches many files. */
export class PatternView {
  #tabs;
  /** The name of this peer. */ #me = "";
  /** What is listed. @type {HitView[]} */ #views = [];
  /** What was listed of those that the button fetches. @type {object[]} */ #matches = [];
  /** Those that the button fetches. @type {HitView[]} */ #all = [];
  /** By what they were listed, and an id. @type {{id: string, pattern: string, from: string}} */ #what;
  /** Lets go of the lock of the list. */ #unlock = () => {};
  #earlier;
  #saving = new SaveView(
    () => this.#fetched.map(({ file, blob }) => ({ name: file.name, blob })),
    () => this.#saved(),
  );
  /** What cancels fetching all. */ #stop = new AbortController();
  /** Which list is the newest: answers for earlier ones are not shown. */ #list = 0;

  /** @param {import("./tabs.js").Tabs} tabs */
  constructor(tabs) {
    this.#tabs = tabs;
    this.#earlier = new EarlierView(tabs, (list) => this.#resume(list));
    onSubmit("pattern-form", () => this.#show({ id: crypto.randomUUID(), pattern: at("pattern").value, from: at("holder").value }));
    at("fetch-all").addEventListener("click", () => this.#fetchAll());
    at("cancel-all").addEventListener("click", () => this.#cancelAll());
  }

  get #fetched() {
    return this.#views.filter(({ link }) => link !== null);
  }

  /** @param {import("./owner.js").Live} live */
  changed(live) {
    this.#me = live.name ?? "";
    this.#earlier.changed(live);
  }

  /** What was fetched is saved. If something is missing, it may still be continued. */
  #saved() {
    const isAll = this.#all.every(({ link }) => link !== null);
    if (isAll) this.#tabs.tell({ type: "forget list", list: this.#what.id, isSaved: true });
  }

  async #show(what) {
    const answer = await this.#ask(what);
    if (answer === null) return;
    const { error, matches = [] } = answer;
    at("pattern-said").textContent = readable(error ?? this.#count(matches));
    this.#fill(matches);
  }

  /** Continues a list of an earlier visit: what was fetched is on the disk. */
  async #resume({ id, pattern, from, matches }) {
    [at("pattern").value, at("holder").value] = [pattern, from];
    const answer = await this.#ask({ id, pattern, from });
    if (answer === null) return;
    this.#fill(refreshed(matches, answer.matches ?? []));
    await this.#fetchAll();
  }

  /** Asks for a new list, in place of the one that is shown. @returns {Promise<object | null>} null if another one was asked for meanwhile. */
  async #ask(what) {
    const { id, pattern, from } = what;
    this.#list += 1;
    const list = this.#list;
    this.#what = what;
    this.#unlock();
    navigator.locks.request(lockOf(id), () => new Promise((resolve) => (this.#unlock = resolve)));
    // Those that were not begun are not fetched any more.
    this.#stop.abort();
    this.#stop = new AbortController();
    for (const view of this.#views) view.leave();
    this.#views = [];
    this.#saving.begin(pattern);
    at("fetch-all").disabled = false;
    for (const id of ["fetch-all", "cancel-all", "all-bar"]) at(id).hidden = true;
    at("pattern-said").textContent = "Asking for the list.";
    const ask = (query) => this.#tabs.ask({ type: "names", query });
    const answer = await described(ask, pattern, from, this.#me);
    return list === this.#list ? answer : null;
  }

  #fill(matches) {
    this.#matches = matches.filter(({ isAmbiguous }) => !isAmbiguous);
    this.#views = matches.map((match) => new HitView(this.#tabs, match, () => this.#progress()));
    this.#all = this.#views.filter((_, number) => !matches[number].isAmbiguous);
    at("described").append(...this.#views.map((view) => view.element));
    at("fetch-all").hidden = this.#all.length === 0;
  }

  #count(matches) {
    const bytes = matches.reduce((sum, { hits: [{ file }] }) => sum + Number(file.bytes), 0);
    const ambiguous = matches.filter(({ isAmbiguous }) => isAmbiguous).length;
    const rest = `${ambiguous} of them have the same name as another one, so fetch those one by one.`;
    return `${matches.length} file(s), ${size(bytes)}.${ambiguous > 0 ? ` ${rest}` : ""}`;
  }

  /** Shows how much of all files is here. */
  #progress() {
    const total = this.#all.reduce((sum, { file }) => sum + Number(file.bytes), 0);
    at("all-bar").value = this.#all.reduce((sum, { done }) => sum + done, 0) / Math.max(1, total);
  }

  /** Fetches all files: the small ones together, and beside them the others, each alone. */
  async #fetchAll() {
    const all = this.#all;
    const stop = new AbortController();
    this.#stop = stop;
    const { id, ...what } = this.#what;
    this.#tabs.tell({ type: "keep list", list: id, kept: { ...what, matches: this.#matches } });
    at("fetch-all").disabled = true;
    at("cancel-all").hidden = at("all-bar").hidden = false;
    this.#progress();
    const [small, large] = [true, false].map((isSmall) => all.filter(({ file }) => isForMany(file) === isSmall));
    let sent = "";
    const fetchSmall = async () => (sent = await this.#fetchSmall(small.filter(({ wanted }) => wanted.length > 0), stop.signal));
    // The same content cannot be fetched twice at the same time.
    const groups = [...Map.groupBy(large, ({ file }) => hex(file.sha256)).values()];
    const left = [[{ fetch: fetchSmall }], ...groups];
    const lane = async () => {
      for (let group = left.shift(); group; group = left.shift()) {
        for (const one of group) if (!stop.signal.aborted) await one.fetch();
      }
    };
    await Promise.all(Array.from({ length: UNDERWAY }, lane));
    if (stop !== this.#stop) return;
    at("fetch-all").disabled = false;
    at("cancel-all").hidden = at("all-bar").hidden = true;
    const fetched = all.filter(({ link }) => link !== null).length;
    at("pattern-said").textContent = readable(`${fetched} of ${all.length} file(s) are fetched.${sent}`);
    at("save-all").hidden = this.#fetched.length === 0;
  }

  /** Fetches small files over one connection from each holder. Returns who has sent them, if there were several. */
  async #fetchSmall(views, signal) {
    if (views.length === 0) return "";
    const list = crypto.randomUUID();
    signal.addEventListener("abort", () => this.#tabs.tell({ type: "leave", list }));
    const wanted = views.map((view) => view.wanted);
    for (const view of views) view.begins();
    const shown = this.#views;
    const arrived = ({ waiting, number, blob, arrived: bytes }) => {
      // There may be another list now.
      if (shown !== this.#views) return;
      if (blob) views[number].ends({ blob });
      else if (bytes) views[number].arriving(bytes);
      const text = ["Fetching the files.", ...waiting].join(" ");
      // A screen reader says it again whenever it is set.
      if (at("pattern-said").textContent !== text) at("pattern-said").textContent = text;
    };
    const { error, errors = wanted.map((_, number) => ({ number, error })), shares = [], liars = [], slow = [] } =
      await this.#tabs.ask({ type: "fetch many", list, wanted }, arrived);
    for (const failed of errors) views[failed.number].ends(failed);
    return ` ${senders(shares, liars, slow)}`.trimEnd();
  }

  #cancelAll() {
    this.#stop.abort();
    for (const view of this.#views) view.cancel();
  }
}
