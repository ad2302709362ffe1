// Keywords as a person types them: separated by commas. One that has a comma, or begins with a double quote, is in double
// quotes; two double quotes in it stand for one. So it is in `keyword.txt` too: PROTOCOL.md, section 14.

import { isKeyword, keyword } from "./names.js";

const ITEM = /\p{White_Space}*(?:"((?:[^"]|"")*)"\p{White_Space}*|([^,]*))(,|$)/uy;

/**
 * @param {string} text @returns {string[]} The keywords.
 * @throws {RangeError} One is not allowed, or its quotes are wrong.
 */
export function parseKeywords(text) {
  const words = [];
  for (ITEM.lastIndex = 0; ITEM.lastIndex < text.length; ) {
    const begin = ITEM.lastIndex;
    const [, quoted, bare, end] = ITEM.exec(text) ?? [];
    const isOpen = end === undefined || bare?.startsWith('"');
    if (isOpen) throw new RangeError(`In ${text.slice(begin).trim()}, the double quotes are not closed, or not followed by a comma.`);
    const word = keyword(quoted?.replaceAll('""', '"') ?? bare);
    if (word !== "" && !isKeyword(word)) throw new RangeError(`A keyword has at most 128 bytes, and no control characters: ${word}`);
    if (word !== "") words.push(word);
    if (end === "") break;
  }
  return words;
}

/** @param {string[]} words @returns {string} As `parseKeywords` reads them. */
export const writtenKeywords = (words) =>
  words.map((word) => (/^"|,/u.test(word) ? `"${word.replaceAll('"', '""')}"` : word)).join(", ");
