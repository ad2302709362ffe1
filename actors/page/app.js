// The start of the page: connects the forms to the peer.

import { Account } from "./account.js";
import { connectActions } from "./actions.js";
import { checkName, onSubmit } from "./forms.js";
import { FileView } from "./fileview.js";
import { SearchView } from "./searchview.js";
import { TEXT_BYTES_MAX } from "./names.js";
import { Notifier } from "./notify.js";
import { PatternView } from "./patternview.js";
import { Store } from "./store.js";
import { Tabs } from "./tabs.js";
import { utf8 } from "./bytes.js";
import { View } from "./view.js";

const at = (id) => document.getElementById(id);

/** Whether a message is being written to the disk. Then a second press of a key must not send it twice. */
let isQueueing = false;

async function send(store, tabs, view) {
  const field = at("text");
  const bytes = utf8(field.value).length;
  const problem =
    bytes > TEXT_BYTES_MAX ? `The message has ${bytes} bytes. At most ${TEXT_BYTES_MAX} are possible.` : "";
  at("text-problem").textContent = problem;
  if (problem || field.value === "") return;
  const text = field.value;
  if (isQueueing) return;
  isQueueing = true;
  try {
    await store.queue(view.open, text, Math.floor(Date.now() / 1000));
    // What was typed meanwhile stays. Until here, a reload of the page does not lose the text either.
    field.value = field.value.startsWith(text) ? field.value.slice(text.length) : field.value;
    tabs.tell({ type: "queued" });
  } catch (error) {
    at("text-problem").textContent = `The message cannot be stored: ${error.message}`;
  } finally {
    isQueueing = false;
  }
}

function connect(store, tabs, view) {
  const isContact = checkName(at("contact"), at("contact-problem"));
  onSubmit("contact-form", () => {
    if (!isContact()) return;
    // A hidden field cannot get the focus.
    view.show(at("contact").value).then(() => at("text").focus());
    at("contact").value = "";
  });
  at("contacts").addEventListener("click", ({ target }) => {
    if (!target.dataset.name) return;
    view.show(target.dataset.name).then(() => at("with").focus());
  });
  onSubmit("composer", () => send(store, tabs, view));
  at("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    at("composer").requestSubmit();
  });
  connectActions(tabs, view);
}

async function start() {
  const missing = globalThis.isSecureContext ? null : "This page needs a secure connection: https, or http://localhost.";
  if (missing) {
    at("connection").textContent = missing;
    return;
  }
  const store = await Store.open();
  const view = new View(
    store,
    new Notifier(store),
    () => tabs.tell({ type: "read" }),
    (conversation) => tabs.ask({ type: "secret", conversation }),
  );
  const url = new URL("socket", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const views = [view];
  const tabs = new Tabs(store, url.href, (live) => views.forEach((part) => part.changed(live)));
  views.push(new FileView(tabs), new Account(tabs), new PatternView(tabs));
  new SearchView(tabs);
  connect(store, tabs, view);
}

start().catch((error) => {
  at("connection").textContent = `The peer could not start: ${error.message}`;
});
