// The forms about the own name and keys.

import { checkName, onSubmit } from "./forms.js";
import { readInvitation } from "./invitation.js";

const NO_INVITATION = "This is not an invitation. An invitation has 52 letters and digits, in groups of four.";

const at = (id) => document.getElementById(id);

/** The part of the page about the own name and keys. */
export class Account {
  #tabs;

  /** @param {import("./tabs.js").Tabs} tabs */
  constructor(tabs) {
    this.#tabs = tabs;
    takeInvitation();
    addEventListener("hashchange", takeInvitation);
    const isName = checkName(at("name"), at("name-problem"));
    onSubmit("name-form", () => isName() && this.#create());
    onSubmit("invitation-form", () => this.#useInvitation());
    at("connect").addEventListener("click", () => tabs.tell({ type: "reconnect" }));
  }

  #create() {
    this.#tabs.tell({ type: "create", name: at("name").value, invitation: readInvitation(at("invitation").value) });
  }

  #useInvitation() {
    const invitation = readInvitation(at("invitation").value);
    at("invitation-problem").textContent = invitation ? "" : NO_INVITATION;
    if (invitation) this.#tabs.tell({ type: "reconnect", invitation });
  }

  /** Clears what was entered and is not needed any more. @param {import("./owner.js").Live} live */
  changed({ connection }) {
    if (connection === "online") at("invitation").value = "";
  }
}

/** Moves an invitation from the address of the page into the form, so that nobody sees it there or bookmarks it. */
function takeInvitation() {
  const invitation = new URLSearchParams(location.hash.slice(1)).get("invitation");
  if (invitation === null) return;
  at("invitation").value = invitation;
  history.replaceState(null, "", location.pathname);
}
