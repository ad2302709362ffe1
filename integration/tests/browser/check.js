// Comparing values in tests that run in the browser.

import { hex } from "/switchboard/bytes.js";

const shown = (value) =>
  JSON.stringify(value, (_, part) => {
    if (part instanceof Uint8Array) return `hex ${hex(part)}`;
    return typeof part === "bigint" ? `big ${part}` : part;
  });

/** Throws unless both are equal in all fields. */
export function same(actual, expected, what) {
  if (shown(actual) !== shown(expected)) throw new Error(`${what}: ${shown(actual)} instead of ${shown(expected)}`);
}

/** Throws unless the call fails, now or when its promise is settled, with an error of this class. */
export async function refuses(kind, call, what) {
  let value;
  try {
    value = await call();
  } catch (error) {
    if (error instanceof kind) return;
    throw new Error(`${what} fails with ${error}`);
  }
  throw new Error(`${what} gives ${shown(value)} instead of an error`);
}
