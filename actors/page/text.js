// Texts of others, made safe to show. They only ever become text nodes; this keeps them from changing what is around them.

// Control characters, and those that change the direction of text. Line breaks and tabs of a message stay.
const INVISIBLE = /[\p{Cc}\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/gu;

/** @param {string} text @returns {string} With escapes in place of what cannot be seen. */
export const readable = (text) =>
  text.replace(/\r\n?/g, "\n").replace(INVISIBLE, (character) =>
    character === "\n" || character === "\t" ? character : `\\u{${character.codePointAt(0).toString(16)}}`,
  );

// All that the terminal escapes (wire/src/escape.rs). Emoji and some scripts need some of them in a message.
const UNSEEN = /[\p{Cc}\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB\u{E0000}-\u{E007F}\\]/gu;

/** @param {string} name Of a file, or a keyword. @returns {string} With which it cannot look like another one that only differs in what is not seen. */
export const named = (name) =>
  name.replace(UNSEEN, (character) => (character === "\\" ? "\\\\" : `\\u{${character.codePointAt(0).toString(16)}}`));

/** @param {string} name Of a file. @returns {string} As it is saved: a name that reads otherwise than it is could hide what kind of file it is. */
export const saved = (name) => name.replace(INVISIBLE, "_");

/** @param {number | bigint} bytes @returns {string} The size of a file, for people. */
export const size = (bytes) => `${Number(bytes).toLocaleString()} bytes`;

const ENDINGS = { one: "st", two: "nd", few: "rd", other: "th" };
const ordinals = new Intl.PluralRules("en", { type: "ordinal" });

/** @param {number} place @returns {string} 1st, 2nd, 3rd. */
export const ordinal = (place) => `${place}${ENDINGS[ordinals.select(place)]}`;

/** @param {string} print Hexadecimal. @returns {string} In groups of four, to be compared by people. */
export const grouped = (print) => print.replace(/.{4}(?=.)/g, "$& ");

/**
 * Makes an element. @param {string} name @param {Record<string, string>} [attributes] @param {...(Node | string)} content
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}
