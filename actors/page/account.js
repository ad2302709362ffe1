// The forms about the own name and keys.

import { ask } from "./question.js";
import { checkName, NAME_TAKEN, onSubmit } from "./forms.js";
import { isPeerName } from "./names.js";
import { readInvitation } from "./invitation.js";

/** So long after the last letter the server is asked about a name, in milliseconds. */
const TYPING_PAUSE = 300;
const NO_INVITATION = "This is not an invitation. An invitation has 52 letters and digits, in groups of four.";

const at = (id) => document.getElementById(id);

/** The part of the page about the own name and keys. */
export class Account {
  #tabs;
  /** The key of this browser's peer. @type {string | undefined} */ #fingerprint;
  #typing = 0;

  /** @param {import("./tabs.js").Tabs} tabs */
  constructor(tabs) {
    this.#tabs = tabs;
    takeInvitation();
    addEventListener("hashchange", takeInvitation);
    const isName = checkName(at("name"), at("name-problem"));
    at("name").addEventListener("input", () => {
      clearTimeout(this.#typing);
      if (isPeerName(at("name").value)) this.#typing = setTimeout(() => this.#askForOwner(at("name").value), TYPING_PAUSE);
    });
    onSubmit("name-form", () => isName() && this.#create());
    onSubmit("invitation-form", () => this.#useInvitation());
    onSubmit("restore-form", () => this.#restore());
    onSubmit("successor-form", () => this.#succeed());
    at("backup-done").addEventListener("click", () => {
      at("backup").hidden = true;
      URL.revokeObjectURL(at("backup-link").href);
    });
    at("connect").addEventListener("click", () => tabs.tell({ type: "reconnect" }));
  }

  /** Says that a name is taken before keys are made for it. Only the join decides, so that nothing depends on the answer. */
  async #askForOwner(name) {
    const response = await fetch(`owner?name=${name}`).catch(() => null);
    // A server that admits only members does not tell.
    if (!response?.ok) return;
    const { owner } = await response.json();
    const isTaken = owner !== null && owner !== this.#fingerprint;
    if (isTaken && at("name").value === name) at("name-problem").textContent = NAME_TAKEN;
  }

  async #create() {
    clearTimeout(this.#typing);
    const [name, passphrase] = [at("name").value, at("passphrase").value];
    const invitation = readInvitation(at("invitation").value);
    const { backup } = await this.#tabs.ask({ type: "create", name, invitation, passphrase });
    this.#offer(name, backup);
  }

  async #restore() {
    at("restore-problem").textContent = "";
    const text = await at("restore-file").files[0].text();
    const { error = "" } = await this.#tabs.ask({ type: "restore", text, passphrase: taken("restore-passphrase") });
    at("restore-problem").textContent = error;
  }

  async #succeed() {
    const text = "The old key signs the new one, so that your contacts accept it. Backup files of the old key become useless.";
    if (!(await ask("Replace your key?", text, "Replace the key"))) return;
    at("successor-said").textContent = "Making a key.";
    const { error, backup } = await this.#tabs.ask({ type: "succeed", passphrase: taken("successor-passphrase") });
    at("successor-said").textContent = error ?? "You have a new key.";
    this.#offer(at("my-name").textContent, backup);
  }

  /** Offers a backup file. @param {string} name @param {string | null} [text] */
  #offer(name, text) {
    at("backup").hidden = !text;
    if (!text) return;
    const link = at("backup-link");
    [link.download, link.href] = [`switchboard-${name}.backup`, URL.createObjectURL(new Blob([text]))];
    at("backup").focus();
  }

  #useInvitation() {
    const invitation = readInvitation(at("invitation").value);
    at("invitation-problem").textContent = invitation ? "" : NO_INVITATION;
    if (invitation) this.#tabs.tell({ type: "reconnect", invitation });
  }

  /** Clears what was entered and is not needed any more, and notes the own key. @param {import("./owner.js").Live} live */
  changed({ connection, fingerprint }) {
    this.#fingerprint = fingerprint;
    // If the name is taken, the next key needs a backup too.
    if (connection === "online") [at("invitation").value, at("passphrase").value] = ["", ""];
  }
}

/** Takes a passphrase out of its field. */
function taken(field) {
  const { value } = at(field);
  at(field).value = "";
  return value;
}

/** Moves an invitation from the address of the page into the form, so that nobody sees it there or bookmarks it. */
function takeInvitation() {
  const invitation = new URLSearchParams(location.hash.slice(1)).get("invitation");
  if (invitation === null) return;
  at("invitation").value = invitation;
  history.replaceState(null, "", location.pathname);
}
