// One tab of a browser owns the peer, by a Web Lock. The others show the same records, and send it their commands.

import { Owner } from "./owner.js";

/** Whether further answers follow. */
const isProgress = (answer) => "done" in answer;

/** The peer as this tab sees it. */
export class Tabs {
  #channel = new BroadcastChannel("switchboard");
  #owner = null;
  #show;
  /** What was shown last. @type {import("./owner.js").Live} */ #live = {};
  #replies = new Map();

  /**
   * @param {import("./store.js").Store} store @param {string} url Of the WebSocket.
   * @param {(live: import("./owner.js").Live) => void} show Called when records or the state of the peer have changed.
   */
  constructor(store, url, show) {
    this.#show = (live) => show((this.#live = live));
    this.#channel.onmessage = ({ data }) => this.#received(data);
    // The lock is kept until this tab is closed. Then the next tab in the queue gets it.
    navigator.locks.request("switchboard", async () => {
      this.#owner = new Owner(store, url, (live) => {
        this.#channel.postMessage({ type: "changed", live });
        this.#show(live);
      });
      this.#channel.postMessage({ type: "new owner" });
      this.#abandon();
      await this.#owner.start();
      return new Promise(() => {});
    }).catch((error) => this.#show({ phase: "failed", reason: error.message }));
    this.#channel.postMessage({ type: "new tab" });
  }

  #received({ type, live, command, id, answer }) {
    if (type === "changed") this.#show(live);
    else if (type === "reply") this.#replied(id, answer);
    else if (type === "new owner") this.#abandon();
    else if (!this.#owner) return;
    else if (type === "new tab") this.#channel.postMessage({ type: "changed", live: this.#owner.live });
    else this.#owner.command(command, (said) => this.#channel.postMessage({ type: "reply", id, answer: said }));
  }

  /** The owner before is gone, with its connection and what it was doing. */
  #abandon() {
    if (this.#live.connection) this.#show({ ...this.#live, connection: "connecting" });
    for (const reply of this.#replies.values()) reply({ error: "The tab that did this was closed. Try again." });
    this.#replies.clear();
  }

  #replied(id, answer) {
    this.#replies.get(id)?.(answer);
    if (!isProgress(answer)) this.#replies.delete(id);
  }

  /** Carries out a command that has no answer. @param {{type: string}} command */
  tell(command) {
    if (this.#owner) this.#owner.command(command);
    else this.#channel.postMessage({ type: "command", command });
  }

  /**
   * Carries out a command, and waits for its answer. @param {{type: string}} command
   * @param {(progress: {done: number, waiting?: string[], number?: number, blob?: Blob, arrived?: number}) => void} [onProgress] Called with the bytes that
   *   are done, with what holders of a file cannot send now, and why, and with each of many files.
   * @returns {Promise<object>} With `error` if it has failed, and for a file `kept`: how many bytes of it stay on the disk.
   */
  ask(command, onProgress) {
    return new Promise((resolve) => {
      const reply = (answer) => (isProgress(answer) ? onProgress?.(answer) : resolve(answer));
      if (this.#owner) return this.#owner.command(command, reply);
      const id = crypto.randomUUID();
      this.#replies.set(id, reply);
      return this.#channel.postMessage({ type: "command", command, id });
    });
  }
}
