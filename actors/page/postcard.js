// The part of postcard 1 that PROTOCOL.md, section 2, uses. A codec has `read(reader)`, and `write(out, value)`, which
// appends bytes to an array. Structures are plain objects.

import { concat, exact, fromUtf8, utf8 } from "./bytes.js";

/** Bytes that are not what they should be. The message says what is wrong. */
export class Malformed extends Error {}

/** Bytes that are read from the start to the end. */
class Reader {
  #bytes;
  #at = 0;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.#bytes = bytes;
  }

  get left() {
    return this.#bytes.length - this.#at;
  }

  /** Takes the next `count` bytes, as a copy. Refuses before it allocates. */
  take(count) {
    if (count > this.left) throw new Malformed(`${count} bytes are missing; only ${this.left} are left`);
    this.#at += count;
    return this.#bytes.slice(this.#at - count, this.#at);
  }

  byte() {
    if (this.left === 0) throw new Malformed("it ends too early");
    return this.#bytes[this.#at++];
  }

  /** Takes a varint that has to fit into `bits` bits. */
  varint(bits) {
    const longest = Math.ceil(bits / 7);
    let value = 0n;
    for (let at = 0; at < longest; at += 1) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << BigInt(7 * at);
      if (byte < 0x80) {
        if (value >> BigInt(bits)) throw new Malformed(`a number has more than ${bits} bits`);
        return exact(value);
      }
    }
    throw new Malformed(`a number has more than ${longest} bytes`);
  }

  /** Takes a count of things that have at least one byte each. */
  count() {
    const count = this.varint(64);
    if (count > this.left) throw new Malformed(`a length of ${count} is more than the ${this.left} bytes left`);
    return count;
  }
}

/**
 * @param {{read: Function}} codec
 * @param {Uint8Array} bytes
 * @returns {any}
 * @throws {Malformed} They are not such a value, or bytes are left over.
 */
export function decode(codec, bytes) {
  const reader = new Reader(bytes);
  const value = codec.read(reader);
  if (reader.left > 0) throw new Malformed(`${reader.left} bytes are left over`);
  return value;
}

/** @param {{write: Function}} codec @param {any} value @returns {Uint8Array} */
export function encode(codec, value) {
  const out = [];
  codec.write(out, value);
  return concat(...out);
}

function writeVarint(out, value) {
  const bytes = [];
  let rest = BigInt(value);
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  out.push(Uint8Array.from(bytes));
}

const unsigned = (bits) => ({ read: (reader) => reader.varint(bits), write: writeVarint });
export const u16 = unsigned(16);
export const u32 = unsigned(32);
export const u64 = unsigned(64);

export const bool = {
  read(reader) {
    const byte = reader.byte();
    if (byte > 1) throw new Malformed(`${byte} is neither false nor true`);
    return byte === 1;
  },
  write: (out, value) => out.push(Uint8Array.of(value ? 1 : 0)),
};

export const bytes = {
  read: (reader) => reader.take(reader.count()),
  write(out, value) {
    writeVarint(out, value.length);
    out.push(value);
  },
};

/** Bytes whose number is fixed. @param {number} length */
export const array = (length) => ({
  read: (reader) => reader.take(length),
  write(out, value) {
    if (value.length !== length) throw new RangeError(`${value.length} bytes instead of ${length}`);
    out.push(value);
  },
});

/**
 * Text. `check` returns whether it is allowed; the default allows all.
 * @param {(text: string) => boolean} [check] @param {string} [what]
 */
export const string = (check = () => true, what = "text") => ({
  read(reader) {
    const raw = bytes.read(reader);
    let text;
    try {
      text = fromUtf8(raw);
    } catch {
      throw new Malformed(`a ${what} is not UTF-8`);
    }
    if (!check(text)) throw new Malformed(`a ${what} is not valid`);
    return text;
  },
  write: (out, value) => bytes.write(out, utf8(value)),
});

/** @param {object} entry The codec of an entry, which has at least one byte. @param {number} [most] */
export const list = (entry, most = Infinity) => ({
  read(reader) {
    const count = reader.count();
    if (count > most) throw new Malformed(`${count} entries are more than ${most}`);
    return Array.from({ length: count }, () => entry.read(reader));
  },
  write(out, value) {
    writeVarint(out, value.length);
    for (const item of value) entry.write(out, item);
  },
});

/** A value, or null. @param {object} inner */
export const option = (inner) => ({
  read: (reader) => (bool.read(reader) ? inner.read(reader) : null),
  write(out, value) {
    bool.write(out, value !== null);
    if (value !== null) inner.write(out, value);
  },
});

/** @param {Record<string, object>} fields The codecs of the fields, in order. */
export const struct = (fields) => ({
  read: (reader) => Object.fromEntries(Object.entries(fields).map(([name, codec]) => [name, codec.read(reader)])),
  write(out, value) {
    for (const [name, codec] of Object.entries(fields)) codec.write(out, value[name]);
  },
});

/** An enumeration without fields. Its values are the names. @param {...string} names In the order of their numbers. */
export const choice = (...names) => ({
  read(reader) {
    const number = u32.read(reader);
    if (number >= names.length) throw new Malformed(`${number} is not one of ${names.join(", ")}`);
    return names[number];
  },
  write(out, value) {
    const number = names.indexOf(value);
    if (number < 0) throw new RangeError(`${value} is not one of ${names.join(", ")}`);
    writeVarint(out, number);
  },
});

/**
 * An enumeration with fields. Its values are objects with the name of the variant as `type`, and its fields.
 * @param {Record<string, Record<string, object>>} variants The fields of each, in the order of their numbers.
 */
export function enumeration(variants) {
  const names = choice(...Object.keys(variants));
  const bodies = Object.fromEntries(Object.entries(variants).map(([name, fields]) => [name, struct(fields)]));
  return {
    read(reader) {
      const type = names.read(reader);
      return { type, ...bodies[type].read(reader) };
    },
    write(out, value) {
      names.write(out, value.type);
      bodies[value.type].write(out, value);
    },
  };
}
