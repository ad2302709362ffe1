// The connection to the server: frames over a WebSocket. PROTOCOL.md, section 6.

import { BODY_BYTES_MAX, Frames, messageToPeer, PREFACE } from "./protocol.js";

/** How long the server may take for each step until the peer has joined. */
const STEP_WAIT = 4000;

/** The server has sent an Error. `code` is its name. */
export class ServerError extends Error {
  /** @param {string} code @param {string} detail */
  constructor(code, detail) {
    super(`${detail} (${code})`);
    this.code = code;
  }
}

/** A connection. Frames that have arrived wait in it until they are taken. */
export class Socket {
  #socket;
  #frames = new Frames();
  #bodies = [];
  #failure = null;
  #wake = () => {};

  /** @param {string} url */
  constructor(url) {
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#socket.send(PREFACE);
    this.#socket.onmessage = ({ data }) => this.#arrived(data);
    this.#socket.onclose = ({ reason }) => this.close(reason || "The connection to the server is closed.");
  }

  #arrived(data) {
    try {
      this.#frames.push(new Uint8Array(data));
      for (let body = this.#frames.next(); body !== null; body = this.#frames.next()) this.#bodies.push(body);
    } catch (error) {
      this.close(`The server has sent something that cannot be read: ${error.message}`);
    }
    this.#wake();
  }

  /** Closes it. What waits in `next` fails with the reason. @param {string} reason For people. */
  close(reason) {
    this.#failure ??= new Error(reason);
    this.#socket.close();
    this.#wake();
  }

  get isClosed() {
    return this.#failure !== null;
  }

  /** Allows frames of the length that the server may send to a peer that has joined. */
  allowLongFrames() {
    this.#frames.longest = BODY_BYTES_MAX;
  }

  /** @param {Uint8Array} bytes */
  send(bytes) {
    if (!this.isClosed) this.#socket.send(bytes);
  }

  /** How many bytes wait until the browser has sent them. */
  get unsentBytes() {
    return this.#socket.bufferedAmount;
  }

  /**
   * Takes the body of the next frame, and waits for it.
   * @param {number} [wait] At most so many milliseconds. @returns {Promise<Uint8Array>}
   */
  async next(wait) {
    const timer = wait && setTimeout(() => this.close("The server does not answer."), wait);
    try {
      while (this.#bodies.length === 0) {
        if (this.#failure) throw this.#failure;
        await new Promise((resolve) => (this.#wake = resolve));
      }
      return this.#bodies.shift();
    } finally {
      clearTimeout(timer);
    }
  }

  /** Takes all bodies that have arrived, and waits for the first. @returns {Promise<Uint8Array[]>} */
  async all() {
    const first = await this.next();
    return [first, ...this.#bodies.splice(0)];
  }

  /**
   * Takes the message that has to come next. @param {string | string[]} types One of these. @param {number} [wait] In
   * milliseconds. @returns {Promise<object>}
   * @throws {ServerError} The server has sent an Error instead.
   */
  async expect(types, wait = STEP_WAIT) {
    const message = messageToPeer(await this.next(wait));
    if (message.type === "Error") throw new ServerError(message.code, message.detail);
    if (![types].flat().includes(message.type)) throw new Error(`The server has sent ${message.type} instead of ${types}.`);
    return message;
  }
}
