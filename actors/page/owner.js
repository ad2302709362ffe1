// The tab that is the peer: it has the identity, the engine and the connection. One tab of a browser at a time is.

import { concat, equal, hex } from "./bytes.js";
import { Engine } from "./engine.js";
import { Identity } from "./identity.js";
import { makeIdentity, openBackup } from "./backup.js";
import { claim, isKnown } from "./invitation.js";
import { isServersProof, sha256, sign } from "./crypto.js";
import { jittered } from "./pace.js";
import { folded } from "./names.js";
import { joinParts } from "./card.js";
import { frameToServer, messageToPeer } from "./protocol.js";
import { sendFile, sendFiles } from "./transfer.js";
import { linked } from "./pieces.js";
import { Downloads } from "./downloads.js";
import { Later, Refused, Silent } from "./gather.js";
import { ServerError, Socket } from "./socket.js";

const RECONNECT_FIRST = 100;
const RECONNECT_LONGEST = 1600;
/** A session that was shorter counts as a failure. */
const SESSION_SHORT = 10_000;
const TICK = 200;
const BATCH_MAX = 256;
/** So many files, with their keywords, fit into one part of a publication. */
const SHARED_MAX = 100;
const RENEW_CHECK = 60_000;
const CLOCK = { unix: () => Math.floor(Date.now() / 1000), ms: () => performance.now() };
/** Errors after which the peer connects again only when a person asks. */
const FINAL = { Superseded: "elsewhere", NameTaken: "taken", NotAdmitted: "not admitted" };

/**
 * What the tabs show besides the records on the disk.
 * @typedef {{phase: string, name?: string, fingerprint?: string, connection?: string, reason?: string, isNew?: boolean,
 *   server?: {pinned: string, shown: string}, present?: string[], known?: string[], notes?: object[],
 *   isListed?: boolean, serving?: {sending: number, waiting: number}, shared?: {name: string, bytes: number, keywords: string[]}[]}} Live
 */

/** The peer. */
export class Owner {
  #store;
  #show;
  #url;
  #identity = null;
  #engine = null;
  #socket = null;
  #inputs = [];
  #isWorking = false;
  /** The nonce of the connection that has joined. */ #token = null;
  /** What `readInvitation` gives, until it was used. It is never written down. @type {object | null} */ #invitation = null;
  /** What is shared while this tab is open. */ #shared = [];
  /** The reading of files that are going to be shared: one after the other. */ #reading = Promise.resolve();
  #downloads = new Downloads(CLOCK.unix(), (...wanted) => this.#ask(...wanted), () => this.#ends(), (sha256) => this.#find(sha256));
  /** How many files were requested. */ #requests = 0;
  #notes = [];
  /** @type {Live} */ live = { phase: "starting" };

  /**
   * @param {import("./store.js").Store} store @param {string} url Of the WebSocket.
   * @param {(live: Live) => void} show Called when anything has changed.
   */
  constructor(store, url, show) {
    [this.#store, this.#url, this.#show] = [store, url, show];
  }

  /** Starts. Without an identity, waits for a `create`. */
  async start() {
    this.#identity = await Identity.load(this.#store);
    if (this.#identity === null) this.#set({ phase: "nameless" });
    else await this.#begin();
  }

  #set(live) {
    this.live = { ...this.live, ...live };
    this.#show(this.live);
  }

  /**
   * Carries out what a person wants. @param {{type: string}} command @param {(answer: object) => void} [reply]
   */
  async command(command, reply) {
    switch (command.type) {
      case "create":
        return this.#create(command, reply);
      case "restore":
        return this.#restore(command, reply);
      case "succeed":
        return this.#succeed(command, reply);
      case "queued":
        return this.#push({ type: "queued" });
      case "trust":
        return this.#push(command);
      case "read":
        return this.#set({});
      case "reconnect":
        return this.#reconnect(command);
      case "fetch":
      case "fetch many":
        return this.#fetch(command, reply);
      case "leave":
        return this.#downloads.cancel(command);
      case "lists":
        return reply({ lists: await this.#downloads.lists() });
      case "keep list":
        return this.#downloads.keepList(command.list, command.kept, CLOCK.unix());
      case "forget list":
        return this.#downloads.forgetList(command.list, command.isSaved);
      case "block":
      case "cancel":
      case "forget":
      case "names":
      case "search":
        return this.#push({ ...command, reply });
      case "secret":
        return reply(this.#engine?.secretOf(command.conversation) ?? {});
      case "share":
        this.#reading = this.#reading.then(() => this.#share(command.file, command.keywords, reply));
        return this.#reading;
      case "unshare":
        return this.#shareOnly(this.#shared.filter(({ name }) => name !== command.name));
      default:
        throw new RangeError(`${command.type} is not a command`);
    }
  }

  async #create({ name, invitation, passphrase }, reply) {
    const { phase, isNew } = this.live;
    const mayRename = phase === "taken" || (phase === "not admitted" && isNew);
    if (phase !== "nameless" && !mayRename) return reply({});
    this.#invitation = invitation;
    this.#set({ phase: "creating", reason: undefined });
    let backup = null;
    try {
      // A key that was made before cannot be extracted for a backup.
      if (mayRename && passphrase === "") await this.#identity.rename(name, CLOCK.unix());
      else backup = await this.#make(name, passphrase);
    } catch (error) {
      this.#set({ phase: "nameless", reason: `The keys cannot be stored: ${error.message}` });
      return reply({});
    }
    reply({ backup });
    return this.#begin();
  }

  async #make(name, passphrase) {
    const made = makeIdentity(name, passphrase);
    this.#identity = await Identity.create(this.#store, made.then(({ me }) => me), CLOCK.unix());
    return (await made).backup;
  }

  async #restore({ text, passphrase }, reply) {
    if (this.live.phase !== "nameless") return reply({});
    this.#set({ phase: "creating", reason: undefined });
    try {
      this.#identity = await Identity.create(this.#store, openBackup(text, passphrase), CLOCK.unix());
    } catch (error) {
      this.#set({ phase: "nameless" });
      return reply({ error: `The identity cannot be restored: ${error.message}.` });
    }
    reply({});
    return this.#begin();
  }

  async #succeed({ passphrase }, reply) {
    if (this.live.phase !== "peer") return reply({ error: "You are not connected." });
    try {
      reply({ backup: await this.#identity.succeed(passphrase, CLOCK.unix()) });
    } catch (error) {
      return reply({ error: `The key was not replaced: ${error.message}.` });
    }
    this.#push({ type: "succeeded" });
    this.#set({ fingerprint: hex(this.#identity.fingerprint) });
    return this.#socket?.close("The key has changed.");
  }

  async #begin() {
    this.#set({ phase: "peer", name: this.#identity.name, fingerprint: hex(this.#identity.fingerprint) });
    const isFirst = this.#engine === null;
    if (this.#engine?.identity !== this.#identity) this.#engine = await this.#load();
    if (isFirst) {
      setInterval(() => this.#push({ type: "tick" }), TICK);
      setInterval(() => this.#renew(), RENEW_CHECK);
    }
    this.#keepConnected();
  }

  async #load() {
    const engine = new Engine(this.#identity, this.#store, CLOCK);
    engine.files.shared = this.#shared;
    await engine.load();
    return engine;
  }

  async #share(file, keywords, reply) {
    const { name, size: bytes } = file;
    const others = () => this.#shared.filter((shared) => shared.name !== name);
    if (others().length >= SHARED_MAX) return reply({ error: `At most ${SHARED_MAX} files can be shared.` });
    let read;
    try {
      read = await linked(file, (done) => reply({ done }));
    } catch (error) {
      return reply({ error: `${name} cannot be read: ${error.message}` });
    }
    this.#shareOnly([...others(), { name, bytes, ...read, keywords, file }]);
    return reply({});
  }

  #shareOnly(shared) {
    this.#shared = shared;
    this.#push({ type: "shared", shared });
    this.#set({ shared: shared.map(({ name, bytes, keywords }) => ({ name, bytes, keywords })) });
  }

  async #fetch({ type, hits, isListed, list, wanted }, reply) {
    if (this.live.connection !== "online") return reply({ error: "You are offline. Fetch files when you are connected." });
    if (type === "fetch many") return reply(await this.#downloads.fetchMany(list, wanted, CLOCK.unix(), reply));
    return reply(await this.#downloads.fetch(hits, CLOCK.unix(), isListed, reply));
  }

  /** Requests a file, pieces of it, or many files, and waits until the holder sends them. See `Downloads`. */
  #ask(wanted, signal, onPlace) {
    this.#requests += 1;
    const id = this.#requests;
    return new Promise((resolve, reject) => {
      const reply = ({ ready, place, error, later, isSilent }) => {
        if (place) onPlace(place);
        else if (ready) resolve(ready);
        else if (isSilent) reject(new Silent(error));
        else reject(later ? new Later(error, later === "Busy") : new Refused(error));
      };
      signal.addEventListener("abort", () => {
        this.#push({ type: "leave", id });
        reject(new Refused("The request was taken back."));
      });
      this.#push({ type: "fetch", id, ...wanted, reply });
    });
  }

  /** Who else has a content, and is here. */
  async #find(sha256) {
    const { hits = [] } = await new Promise((reply) => this.#push({ type: "names", query: { type: "Digest", sha256 }, reply }));
    // A server could send anything.
    return hits.filter(({ peer, file }) => equal(file.sha256, sha256) && folded(peer) !== folded(this.#identity.name));
  }

  #ends() {
    return { url: this.#url, member: this.#identity.name, token: this.#token };
  }

  /** Sends a file, or many, beside everything else. Whether they have arrived, their receiver knows. */
  async #send(job) {
    await (job.files ? sendFiles : sendFile)(this.#ends(), job).catch(() => {});
    this.#push({ type: "sent", transfer: job.transfer });
  }

  async #renew() {
    if (await this.#identity.renew(CLOCK.unix())) this.#socket?.close("The card was renewed.");
  }

  #push(input) {
    this.#inputs.push(input);
    if (!this.#isWorking && this.#engine) this.#work();
  }

  /** Feeds the engine until no input is left. */
  async #work() {
    this.#isWorking = true;
    while (this.#inputs.length > 0) {
      const inputs = this.#inputs.splice(0, BATCH_MAX);
      const socket = this.#socket;
      try {
        const frames = await this.#engine.step(inputs);
        if (frames.length > 0) socket?.send(concat(...frames.map(frameToServer)));
        for (const job of this.#engine.transfers.splice(0)) this.#send(job);
        if (this.#engine.trouble) socket?.close(this.#engine.trouble);
        if (inputs.some(({ type }) => type !== "tick") || frames.length > 0) this.#changed();
      } catch (error) {
        await this.#startAnew(error);
      }
    }
    this.#isWorking = false;
  }

  /** The disk has failed. What is there is right, what is in memory may not be. */
  async #startAnew(error) {
    this.#socket?.close(`What arrives cannot be stored: ${error.message}`);
    this.#set({ connection: "offline", reason: `What arrives cannot be stored: ${error.message}` });
    this.#inputs = [];
    for (let engine = null; engine === null; ) {
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_LONGEST));
      engine = await this.#load().catch(() => null);
      this.#engine = engine ?? this.#engine;
    }
  }

  #changed() {
    const engine = this.#engine;
    this.#notes = [...this.#notes, ...engine.notes.splice(0)].slice(-20);
    const { isListed, slots } = engine.files;
    const serving = slots.counts;
    this.#set({ present: [...engine.present], known: engine.known, notes: this.#notes, isListed, serving });
  }

  /** A person wants to connect although that was refused, also to a server with another key. */
  async #reconnect({ invitation = null }) {
    const { phase, server } = this.live;
    if (phase === "peer") return;
    this.#invitation = invitation;
    this.#set({ phase: "peer", server: undefined, reason: undefined });
    if (server) await this.#identity.pinServer(server.shown);
    this.#keepConnected();
  }

  async #keepConnected() {
    for (let failures = 0; ; ) {
      const started = CLOCK.ms();
      this.#set({ connection: failures === 0 ? "connecting" : "offline" });
      const error = await this.#session().catch((reason) => reason);
      this.#socket?.close("Closed.");
      this.#push({ type: "lost" });
      if (error.phase) {
        this.#invitation = null;
        return this.#set({ connection: "offline", ...error });
      }
      this.#set({ connection: "offline", reason: error.message });
      failures = CLOCK.ms() - started < SESSION_SHORT ? failures + 1 : 1;
      const pause = jittered(Math.min(RECONNECT_FIRST * 2 ** (failures - 1), RECONNECT_LONGEST));
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** One connection, until it ends. Returns what to show if there should be no other; else it throws. */
  async #session() {
    await this.#identity.renew(CLOCK.unix());
    const socket = new Socket(this.#url);
    this.#socket = socket;
    const hello = await socket.expect("Hello");
    const shown = hex(await sha256(hello.key));
    const pinned = await this.#identity.pinnedServer();
    if (pinned && pinned !== shown) return { phase: "other server", server: { pinned, shown } };
    try {
      await this.#join(socket, hello, shown, pinned);
      this.#invitation = null;
      if (!pinned) await this.#identity.pinServer(shown);
      this.#token = hello.nonce;
      this.#push({ type: "joined", hello });
      this.#set({ connection: "online", reason: undefined });
      await this.#listen(socket);
    } catch (error) {
      const phase = error instanceof ServerError && FINAL[error.code];
      if (phase) return { phase, isNew: !pinned, reason: error.message };
      throw error;
    }
    return null;
  }

  async #join(socket, hello, shown, pinned) {
    const { card, privateKey } = this.#identity;
    const invitation = this.#invitation;
    const text = concat(...(await joinParts(hello, card)));
    const proof = await sign(privateKey, "join", text);
    const isElsewhere = invitation !== null && !shown.startsWith(invitation.server);
    const type = isElsewhere ? "JoinInvited" : "Join";
    socket.send(frameToServer({ type, card, proof, invitation: invitation && (await claim(invitation, text)) }));
    let welcome = await socket.expect(["Invited", "Welcome"]);
    const isProved = welcome.type === "Invited" && invitation !== null && (await isKnown(invitation, text, welcome.proof));
    // Somebody who has an invitation would be deceived by a server that admits everybody.
    if (isElsewhere && !pinned && !isProved) throw new ServerError("NotAdmitted", "The invitation is for another server.");
    if (welcome.type === "Invited") welcome = await socket.expect("Welcome");
    if (!(await isServersProof(hello.key, proof, welcome.proof))) {
      throw new Error("The server has not proved that it has its key.");
    }
    socket.allowLongFrames();
  }

  async #listen(socket) {
    for (;;) {
      for (const body of await socket.all()) {
        const message = messageToPeer(body);
        if (message.type === "Error") throw new ServerError(message.code, message.detail);
        this.#push({ type: "message", message });
      }
    }
  }
}
