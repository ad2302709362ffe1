// Which names, keywords and texts are allowed: PROTOCOL.md, section 3.

import { utf8 } from "./bytes.js";

/** The longest text of a message, in bytes of UTF-8. */
export const TEXT_BYTES_MAX = 65_479;

/** @param {string} text @returns {boolean} Whether a peer may have this name. */
export const isPeerName = (text) => /^[A-Za-z0-9._-]{1,32}$/.test(text);

/** The form in which names are compared. @param {string} name @returns {string} */
export const folded = (name) => name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());

/** @param {string} text @returns {boolean} Whether a shared file, with its folders, may have this name. */
export const isFileName = (text) => hasBytes(text, 512) && text.split("/").every(isComponent);

const isComponent = (text) =>
  !/[\p{Cc}\\]|^\.|^\p{White_Space}|\p{White_Space}$/u.test(text) && hasBytes(text, 255);

/** @param {string} text @returns {boolean} Whether this is a keyword, in the form that {@link keyword} gives. */
export const isKeyword = (text) => !/[\p{Cc}\uFEFF]/u.test(text) && hasBytes(keyword(text), 128);

/** Without white space at the ends, and with one space for each run of it inside. @param {string} text */
export const keyword = (text) =>
  text.replace(/\p{White_Space}+/gu, " ").replace(/^ | $/g, "");

const hasBytes = (text, most) => text.length > 0 && utf8(text).length <= most;
