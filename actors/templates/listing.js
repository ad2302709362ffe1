// The page is complete without this: it makes the heads of the columns sort.
(() => {
  const table = document.querySelector("table");
  if (!table) return;
  const body = table.tBodies[table.tBodies.length - 1];
  const heads = [...table.tHead.rows[0].cells];
  // The server has sorted by name; a row's place there is its name's rank.
  const rows = [...body.rows].map((row, rank) => ({
    row,
    folder: row.className === "folder",
    keys: [rank, ...[...row.cells].slice(1).map((cell) => Number(cell.dataset.value))],
  }));
  const sortBy = (column) => {
    const ascending = heads[column].getAttribute("aria-sort") !== "ascending";
    const sign = ascending ? 1 : -1;
    rows.sort((a, b) => b.folder - a.folder || sign * (a.keys[column] - b.keys[column]) || a.keys[0] - b.keys[0]);
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...rows.map(({ row }) => row));
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(column));
    head.append(button);
  });
})();
