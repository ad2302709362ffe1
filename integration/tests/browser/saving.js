// archive.js and saveview.js: many files as one download.

import { divided, packed } from "/switchboard/archive.js";
import { HitView } from "/switchboard/hitview.js";
import { SaveView } from "/switchboard/saveview.js";
import { same } from "/test/check.js";

const sized = (name, size) => ({ name, blob: { size } });
const text = (name, content) => ({ name, blob: new Blob([content]) });
const sizesOf = (groups) => groups.map((group) => group.map(({ blob }) => blob.size));

/** Names that cannot be beside each other, and what does not fit into one archive. */
export function archives() {
  const names = ["a/x.txt", "a/x.txt", "a/X.TXT", "a/x (1).txt", "a.b/y", "A.b/Y", "photo\u202egpj.exe"];
  const [group] = divided(names.map((name) => sized(name, 1)));
  const expected = ["a/x.txt", "a/x (1).txt", "a/X (2).TXT", "a/x (1) (1).txt", "a.b/y", "A.b/Y (1)", "photo_gpj.exe"];
  same(group.map(({ name }) => name), expected, "the names");
  // An archive with one file whose name has one byte: 30 + 46 + 2 * 1 + 22 bytes besides the file.
  const most = 2 ** 32 - 1 - 100;
  same(sizesOf(divided([sized("a", most), sized("b", 0)])), [[most], [0]], "a full archive");
  const rest = most - 78 - 7;
  same(sizesOf(divided([sized("a", 7), sized("b", rest), sized("c", 0)])), [[7, rest], [0]], "two files fill one");
  same(sizesOf(divided([sized("a", 7), sized("b", rest + 1)])), [[7], [rest + 1]], "two files are too much for one");
  same(sizesOf(divided([sized("a", 1), sized("b", 2 ** 32), sized("c", 2)])), [[1], [2 ** 32], [2]], "a file that fits into none");
}

/** What is downloaded, and what a person is told. */
export async function saving() {
  document.body.innerHTML = `<button id="save-all"></button><progress id="save-bar" max="1" value="0"></progress><p id="save-said"></p>`;
  const at = (id) => document.getElementById(id);
  let files = [text("a/1.txt", "123456789")];
  const clicked = [];
  const { click } = HTMLAnchorElement.prototype;
  HTMLAnchorElement.prototype.click = function clickLink() {
    const content = fetch(this.href).then(async (answer) => [answer.headers.get("content-type"), await answer.arrayBuffer()]);
    clicked.push({ name: this.download, content });
  };
  try {
    const view = new SaveView(() => files);
    view.begin("a/**");
    same(at("save-all").hidden, true, "nothing can be saved yet");
    const save = async () => {
      at("save-all").click();
      while (at("save-all").disabled) await new Promise((resolve) => setTimeout(resolve));
      const { name, content } = clicked.pop();
      const [type, bytes] = await content;
      same(type, "application/octet-stream", "it is never shown as a page");
      return [name, new Uint8Array(bytes)];
    };
    same((await save())[0], "1.txt", "one file needs no archive");
    const broken = { size: 5, slice: () => ({ arrayBuffer: () => Promise.reject(new Error("gone")) }) };
    files = [...files, { name: "a/2\u202e.txt", blob: broken }, text("a/3.txt", "")];
    const [name, bytes] = await save();
    same(name, "a.zip", "the archive");
    // Its list has the CRC-32 of each file, which is known for this text.
    const list = new DataView(bytes.buffer, bytes.length - 22 - 2 * (46 + 7));
    const fields = [0, 8, 16, 20, 24, 42, 53 + 16, 53 + 24, 53 + 42].map((from) => list.getUint32(from, true));
    const second = 30 + 7 + 9;
    same(fields, [0x02014b50, 0x0800, 0xcbf43926, 9, 9, 0, 0, 0, second], "the list of the archive");
    const said = "2 file(s) were given to your browser to save. If it has not, do it here: a.zip";
    same(at("save-said").textContent, `${said} The browser has lost these, so fetch them again: a/2_.txt.`, "what is said");
    const { href } = at("save-said").querySelector("a");
    view.begin("b*");
    const isGone = await fetch(href).then(() => false, () => true);
    same([at("save-said").textContent, isGone], ["", true], "with another list");
    same((await save())[0], "files.zip", "a list without a folder");
  } finally {
    HTMLAnchorElement.prototype.click = click;
  }
}

/** Names that differ only in what is not seen do not look alike. */
export async function names() {
  const name = "tide\u200b.pdf";
  const file = { name, bytes: 1, sha256: new Uint8Array(32), keywords: ["\u202esea", "a\\u{200b}"] };
  const view = new HitView({ ask: async () => ({ blob: new Blob(["x"]) }) }, { holders: 1, hits: [{ peer: "a", online: true, file }] });
  await view.fetch();
  const said = view.element.textContent;
  same(said.includes("tide\\u{200b}.pdf, 1 bytes, keywords: \\u{202e}sea, a\\\\u{200b}"), true, said);
  same([view.link.textContent, view.link.download], ["Save tide\\u{200b}.pdf", name], "the link");
}
