// Shows live what passes through the server. ARCHITECTURE.md, "The path of an event", describes the events.

import { element } from "./text.js";

/** How many rows are shown. */
const ROWS_MAX = 200;
/** How many events wait during a pause. The oldest of more than these are not shown as rows. */
const WAITING_MAX = 2000;
/** How long a dot is on its way, in milliseconds. */
const FLIGHT = 1200;
const DOTS_MAX = 400;
/** Above this number of peers their names would overlap. */
const LABELS_MAX = 40;

const byId = (id) => document.getElementById(id);
const picture = byId("picture");
const pen = picture.getContext("2d");
const isStill = matchMedia("(prefers-reduced-motion: reduce)");

/** The names of the connected peers that the server has told, and how many others there are. */
const peers = new Set();
let more = 0;
/** The envelopes that are on their way. */
let dots = [];
/** Events that wait until the pause ends: each has a kind and data. */
const waiting = [];
let isPaused = false;
let isDrawing = false;

function row(text) {
  const rows = byId("rows");
  rows.prepend(element("li", {}, text));
  if (rows.childElementCount > ROWS_MAX) rows.lastElementChild.remove();
}

/** What an event changes, with a word on it. */
const apply = {
  present(data) {
    peers.clear();
    data.names.forEach((name) => peers.add(name));
    more = data.more;
    return `${peers.size + more} connected`;
  },
  joined({ name }) {
    peers.add(name);
    return `${name} has joined`;
  },
  left({ name }) {
    if (!peers.delete(name)) more = Math.max(0, more - 1);
    return `${name} has left`;
  },
  envelope({ from, to, kind, number, bytes, sha256, outcome }) {
    const size = bytes.toLocaleString("en");
    return `${from} to ${to}: ${kind} ${number}, ${size} bytes, ${outcome}, SHA-256 ${sha256}`;
  },
  others({ count, bytes, relayed, stored, refused, lost }) {
    const size = bytes.toLocaleString("en");
    return `${count} more, ${size} bytes: ${relayed} relayed, ${stored} stored, ${refused} refused or unknown; ${lost} not counted`;
  },
};

function show({ kind, data }) {
  row(apply[kind](data));
  if (kind === "envelope" && !isStill.matches && dots.length < DOTS_MAX) {
    dots.push({ ...data, start: performance.now() });
  }
  update();
}

function update() {
  const names = [...peers].sort().slice(0, LABELS_MAX);
  const others = peers.size - names.length + more;
  byId("peers").textContent =
    names.length === 0 ? "Nobody is connected." : `Connected: ${names.join(", ")}${others > 0 ? `, and ${others} more` : ""}`;
  byId("waiting").textContent = isPaused ? `${waiting.length} waiting` : "";
  byId("step").disabled = waiting.length === 0;
  if (!isDrawing) {
    isDrawing = true;
    requestAnimationFrame(draw);
  }
}

/** Draws the switchboard, the peers around it and the dots, again and again while there are dots. */
function draw(now) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name);
  const centre = { x: picture.width / 2, y: picture.height / 2 };
  const names = [...peers].sort();
  const places = new Map(names.map((name, index) => {
    const angle = (index / names.length) * 2 * Math.PI - Math.PI / 2;
    return [name, { x: centre.x + 380 * Math.cos(angle), y: centre.y + 220 * Math.sin(angle) }];
  }));
  const disc = ({ x, y }, radius, fill) => {
    pen.fillStyle = fill;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fill();
  };
  pen.clearRect(0, 0, picture.width, picture.height);
  pen.font = "18px system-ui, sans-serif";
  pen.textAlign = "center";
  disc(centre, 24, color("--line"));
  for (const [name, place] of places) {
    disc(place, 8, color("--text"));
    if (names.length <= LABELS_MAX) pen.fillText(name, place.x, place.y + 28);
  }
  dots = dots.filter(({ start }) => now - start < FLIGHT);
  for (const { from, to, outcome, start } of dots) {
    // What is stored or refused ends at the switchboard.
    const ends = [places.get(from), centre, outcome === "relayed" ? places.get(to) : centre];
    const [first, middle, last] = ends.map((end) => end ?? centre);
    const way = (Math.max(0, now - start) / FLIGHT) * 2;
    const [a, b, part] = way < 1 ? [first, middle, way] : [middle, last, way - 1];
    const place = { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part };
    disc(place, 6, color(outcome === "refused" ? "--warn" : "--link"));
  }
  isDrawing = dots.length > 0;
  if (isDrawing) requestAnimationFrame(draw);
}

function take(kind, data) {
  if (!isPaused) {
    show({ kind, data });
    return;
  }
  waiting.push({ kind, data });
  if (waiting.length > WAITING_MAX) {
    const { kind: oldest, data: known } = waiting.shift();
    apply[oldest](known);
  }
  update();
}

byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  if (!isPaused) waiting.splice(0).forEach(show);
  update();
});
byId("step").addEventListener("click", () => {
  const next = waiting.shift();
  if (next) show(next);
});

// The colours are others then.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);

const source = new EventSource("flow");
for (const kind of Object.keys(apply)) {
  source.addEventListener(kind, (event) => take(kind, JSON.parse(event.data)));
}
source.addEventListener("open", () => {
  byId("connection").textContent = "Watching.";
});
source.addEventListener("error", () => {
  byId("connection").textContent =
    source.readyState === EventSource.CLOSED
      ? "The server does not show this here, or too many watch. Load the page again to try again."
      : "Not connected. The page tries again.";
});
