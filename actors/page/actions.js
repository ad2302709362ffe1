// What a person does with the open conversation, apart from writing.

import { ask } from "./question.js";

const at = (id) => document.getElementById(id);

/**
 * Connects the buttons. @param {import("./tabs.js").Tabs} tabs @param {import("./view.js").View} view
 */
export function connectActions(tabs, view) {
  at("trust").addEventListener("click", () => {
    tabs.tell({ type: "trust", name: view.open, fingerprint: view.distrustedKey });
  });
  at("block").addEventListener("click", () => {
    tabs.tell({ type: "block", name: view.open, isBlocked: at("block").getAttribute("aria-pressed") === "false" });
  });
  at("forget").addEventListener("click", () => forget(tabs, view, view.open));
  at("messages").addEventListener("click", ({ target }) => {
    if (target.dataset.cancel) cancel(tabs, view.open, Number(target.dataset.cancel));
  });
}

async function cancel(tabs, name, number) {
  const { error = "" } = await tabs.ask({ type: "cancel", name, number });
  at("text-problem").textContent = error;
}

async function forget(tabs, view, name) {
  const text = `All messages with ${name} are deleted here, also those that were not sent. Their key stays pinned.`;
  if (!(await ask(`Forget ${name}?`, text, "Delete the messages"))) return;
  await tabs.ask({ type: "forget", name });
  await view.show(null);
  at("contact").focus();
}
