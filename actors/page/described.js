// Which files a pattern describes, and who has them: PROTOCOL.md, section 14.

import { folded, isFileName, isPeerName } from "./names.js";
import { hex } from "./bytes.js";

/** So many files one pattern may describe here, because all of them are in the list. */
const FILES_MAX = 500;
/** Each has a connection. */
const HOLDERS_MAX = 16;
const PATTERN_RULE = "A pattern is the name of a file with * in it, which stands for any characters but /; ** stands for any.";
const FROM_RULE = "Enter the name of the peer that has the files, or nothing, to fetch them from all who have them.";

/**
 * Lists the files that a pattern describes.
 * @param {(query: object) => Promise<{error?: string, hits?: object[], total?: number | bigint}>} ask Asks the server.
 * @param {string} pattern @param {string} from Who has them. Empty: anybody who is here. @param {string} me The name of this peer.
 * @returns {Promise<{error?: string, matches?: {holders: number, hits: object[], isAmbiguous: boolean}[]}>} By their names. Ambiguous: there
 *   are others of the same name.
 */
export async function described(ask, pattern, from, me) {
  if (from !== "" && !isPeerName(from)) return { error: FROM_RULE };
  if (!isFileName(pattern) || !pattern.includes("*")) return { error: PATTERN_RULE };
  if (folded(from) === folded(me)) return { error: "These files are your own." };
  const { error, peers } = from === "" ? await holders(ask, pattern, me) : { peers: [from] };
  if (error) return { error };
  const names = new Map();
  for (const peer of peers) {
    const listed = await files(ask, pattern, peer);
    if (listed.error) return listed;
    for (const hit of listed.hits) {
      const contents = names.get(hit.file.name) ?? new Map();
      const content = `${hex(hit.file.sha256)} ${hit.file.bytes}`;
      names.set(hit.file.name, contents.set(content, [...(contents.get(content) ?? []), hit]));
    }
  }
  const sorted = [...names].sort(([one], [other]) => (one < other ? -1 : 1));
  const matches = sorted.flatMap(([, contents]) =>
    [...contents.values()].map((hits) => ({ holders: hits.length, hits, isAmbiguous: contents.size > 1 })));
  if (matches.length > FILES_MAX) return tooMany(matches.length);
  return matches.length > 0 ? { matches } : { error: `${from === "" ? "Nobody else shares a" : `${from} shares no`} file that is called like this with you.` };
}

/**
 * An earlier list. @param {object[]} matches As `described` has given them. @param {object[]} now The same of the list now.
 * @returns {object[]} The same files, with those who have them now. Of others, what is on the disk can still be used.
 */
export function refreshed(matches, now) {
  const nameOf = ({ hits: [{ file }] }) => `${hex(file.sha256)} ${file.bytes} ${file.name}`;
  const found = new Map(now.map((match) => [nameOf(match), match.hits]));
  const away = ({ hits }) => hits.map((hit) => ({ ...hit, online: false }));
  return matches.map((match) => ({ ...match, hits: found.get(nameOf(match)) ?? away(match) }));
}

const tooMany = (count) =>
  ({ error: `${count} files are called like that. Narrow the pattern to at most ${FILES_MAX}, or use the program peer.` });

/** Who else has such files and is here. */
async function holders(ask, pattern, me) {
  const { error, hits = [] } = await ask({ type: "Holders", pattern });
  if (error) return { error };
  const others = hits.filter(({ peer }) => folded(peer) !== folded(me));
  const peers = [...new Set(others.filter(({ online }) => online).map(({ peer }) => peer))];
  if (peers.length > HOLDERS_MAX) {
    return { error: `${peers.length} peers have such files. Narrow the pattern to at most ${HOLDERS_MAX}, or say who has them.` };
  }
  if (peers.length === 0 && others.length > 0) return { error: "Nobody who has such files is here now. Try again when they are." };
  return { peers };
}

/** What tells whether a pattern describes a name. */
function matcher(pattern) {
  const literal = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  const part = (text) => (text.startsWith("*") ? (text === "*" ? "[^/]*" : ".*") : literal(text));
  return new RegExp(`^${pattern.split(/(\*+)/u).map(part).join("")}$`, "su");
}

/** The files of one peer. */
async function files(ask, pattern, from) {
  const isDescribed = matcher(pattern);
  const found = new Map();
  for (let after = null; ; after = [...found.keys()].at(-1)) {
    const { error, hits = [], total } = await ask({ type: "Names", from, pattern, after });
    if (error) return { error };
    if (total > FILES_MAX) return tooMany(total);
    const before = found.size;
    // A server could send anything.
    for (const hit of hits) if (folded(hit.peer) === folded(from) && isDescribed.test(hit.file.name)) found.set(hit.file.name, hit);
    if (found.size === before || found.size >= total) return { hits: [...found.values()] };
  }
}
