// Many files as one download: ZIP archives without compression (PKWARE, APPNOTE.TXT, 4.3). Browsers drop most of many downloads in a
// row, or ask about them.

import { utf8 } from "./bytes.js";
import { saved } from "./text.js";

/** The headers of each file, in front of it and in the list at the end, besides its name in both. */
const [LOCAL_BYTES, LISTED_BYTES, END_BYTES] = [30, 46, 22];
/** What is left for files in an archive without the extension for large ones. */
const ROOM = 2 ** 32 - 1 - END_BYTES;
const READ_BYTES = 1 << 20;
/** The version that is needed to unpack it, and that names are UTF-8. */
const [VERSION, FLAGS, STORED] = [20, 1 << 11, 0];

const CHECKSUMS = Int32Array.from({ length: 256 }, (_, byte) => {
  let checksum = byte;
  for (let bit = 0; bit < 8; bit += 1) checksum = (checksum >>> 1) ^ (checksum & 1 ? 0xedb88320 : 0);
  return checksum;
});

/** CRC-32 of a file. */
async function checksumOf(blob) {
  let checksum = -1;
  for (let start = 0; start < blob.size; start += READ_BYTES) {
    const bytes = new Uint8Array(await blob.slice(start, start + READ_BYTES).arrayBuffer());
    for (const byte of bytes) checksum = CHECKSUMS[(checksum ^ byte) & 0xff] ^ (checksum >>> 8);
  }
  return ~checksum;
}

// Little-endian.
const u16 = (value) => [value & 0xff, (value >>> 8) & 0xff];
const u32 = (value) => [...u16(value), ...u16(value >>> 16)];

/** Local time in the form of MS-DOS, which begins in 1980. @param {Date} time */
function timeOf(time) {
  const day = ((time.getFullYear() - 1980) << 9) | ((time.getMonth() + 1) << 5) | time.getDate();
  return [...u16((time.getHours() << 11) | (time.getMinutes() << 5) | (time.getSeconds() >> 1)), ...u16(day)];
}

/**
 * Puts files into an archive. @param {{name: string, blob: Blob}[]} files
 * @param {(file: {name: string, blob: Blob}, isRead: boolean) => void} onRead Called with each file. One that cannot be read is left out.
 * @returns {Promise<Blob>}
 */
async function archived(files, onRead) {
  const [contents, list] = [[], []];
  const time = timeOf(new Date());
  let [at, count] = [0, 0];
  for (const { name, blob } of files) {
    const checksum = await checksumOf(blob).catch(() => null);
    onRead({ name, blob }, checksum !== null);
    if (checksum === null) continue;
    const encoded = utf8(name);
    const sizes = [...u32(checksum), ...u32(blob.size), ...u32(blob.size), ...u16(encoded.length), ...u16(0)];
    const about = [...u16(VERSION), ...u16(FLAGS), ...u16(STORED), ...time, ...sizes];
    contents.push(Uint8Array.of(0x50, 0x4b, 3, 4, ...about), encoded, blob);
    // No comment, on the first disk, without attributes.
    list.push(Uint8Array.of(0x50, 0x4b, 1, 2, ...u16(VERSION), ...about, ...new Array(10).fill(0), ...u32(at)), encoded);
    at += LOCAL_BYTES + encoded.length + blob.size;
    count += 1;
  }
  const listBytes = list.reduce((sum, { length }) => sum + length, 0);
  const counts = [...u16(count), ...u16(count), ...u32(listBytes), ...u32(at)];
  const end = Uint8Array.of(0x50, 0x4b, 5, 6, ...new Array(4).fill(0), ...counts, ...u16(0));
  return new Blob([...contents, ...list, end]);
}

/**
 * Packs files. @param {{name: string, blob: Blob}[]} files At most 500. @param {string} folder How the archive is called.
 * @param {(file: {name: string, blob: Blob}, isRead: boolean) => void} onRead As for `archived`.
 * @returns {AsyncGenerator<{name: string, blob: Blob}>} What to download: archives, as few as possible. A file that is alone, or too large for
 *   one, is not packed.
 */
export async function* packed(files, folder, onRead) {
  const groups = divided(files);
  for (const [number, group] of groups.entries()) {
    const [{ name, blob }] = group;
    const isAlone = group.length === 1 && (groups.length === 1 || bytesOf(group[0]) > ROOM);
    if (isAlone) onRead(group[0], true);
    if (isAlone) yield { name: name.split("/").at(-1), blob };
    else yield { name: `${folder}${groups.length > 1 ? ` ${number + 1}` : ""}.zip`, blob: await archived(group, onRead) };
  }
}

/** How much room a file takes. */
const bytesOf = ({ name, blob }) => LOCAL_BYTES + LISTED_BYTES + 2 * utf8(name).length + blob.size;

/** Divides files into what fits into an archive each, with names that can be beside each other in any file system. */
export function divided(files) {
  const used = new Set();
  const groups = [];
  let left = 0;
  for (const { name, blob } of files) {
    const file = { name: unused(saved(name), used), blob };
    const isFull = groups.length === 0 || bytesOf(file) > left;
    if (isFull) groups.push([]);
    left = (isFull ? ROOM : left) - bytesOf(file);
    groups.at(-1).push(file);
  }
  return groups;
}

/** Two files may have the same name, or one that differs in case only. The second one gets a number. */
function unused(name, used) {
  const [, stem, ending] = /^(.*?)(\.[^./]*)?$/su.exec(name);
  let free = name;
  for (let number = 1; used.has(free.toLowerCase()); number += 1) free = `${stem} (${number})${ending ?? ""}`;
  used.add(free.toLowerCase());
  return free;
}
