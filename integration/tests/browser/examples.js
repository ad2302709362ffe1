// The examples of PROTOCOL-EXAMPLES.md, by their titles in lower case.

import { concat, fromHex, hex } from "/switchboard/bytes.js";
import { sha256 } from "/switchboard/crypto.js";

let examples;

/** The examples. They are read once. @returns {ReturnType<typeof read>} */
export const load = () => (examples ??= read());

/**
 * Reads the page and checks the length and digest under each example.
 * @returns {Promise<Map<string, {bytes: Uint8Array, parts: Uint8Array[]}>>} The bytes of each example, and those of each
 *   value in it.
 */
async function read() {
  const page = await (await fetch("/PROTOCOL-EXAMPLES.md")).text();
  const examples = new Map();
  for (const section of page.split("\n### ").slice(1)) {
    const [, title, block, after] = /^(.*)\n[^]*?```text\n([^]*?)```([^]*)/.exec(section) ?? [];
    if (!block || block.startsWith("-----")) continue;
    const parts = parse(block, examples);
    const bytes = concat(...parts);
    const [, length, digest] = /(\d+) bytes, SHA-256 `(\w+)`/.exec(after) ?? [];
    if (length && (bytes.length !== Number(length) || hex(await sha256(bytes)) !== digest)) {
      throw new Error(`the example "${title}" was not read correctly`);
    }
    examples.set(title.toLowerCase(), { bytes, parts });
  }
  return examples;
}

/** The values in a block. A line without a remark continues the value before it. */
function parse(block, examples) {
  const parts = [];
  for (const line of block.trimEnd().split("\n")) {
    const [, digits, remark] = /^(\S+)(?:\s+(.*))?$/.exec(line);
    if (digits === "[...]") {
      const title = /(?:see "(.*)"|: (the .*|sealed: .*))$/i.exec(remark);
      parts.push(examples.get((title[1] ?? title[2]).toLowerCase()).bytes);
    } else if (remark || parts.length === 0) {
      parts.push(fromHex(digits));
    } else {
      parts.push(concat(parts.pop(), fromHex(digits)));
    }
  }
  return parts;
}
