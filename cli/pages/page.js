"use strict";
// Tables are complete without this; it makes their headings buttons that sort: up, down, and as they were.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const before = [...body.rows];
  if (before.length < 3) continue;
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[heading.getAttribute("aria-sort")];
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", next);
      body.append(...(next === "none" ? before : sorted(before, column, next === "ascending" ? 1 : -1)));
    });
  });
}
function sorted(rows, column, sign) {
  const numeric = rows.some((row) => "value" in row.cells[column].dataset);
  const key = numeric ? number : (cell) => cell.textContent.trim();
  const keyed = rows.map((row) => [key(row.cells[column]), row]);
  return keyed.sort(([a], [b]) => (numeric ? compare(a, b, sign) : sign * a.localeCompare(b, "en", { numeric: true }))).map(([, row]) => row);
}
// What was not reached is infinite and what is missing is no number: both come last whichever way, in this order.
function number(cell) {
  const text = cell.dataset.value;
  return text === "" ? NaN : text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);
}
function compare(a, b, sign) {
  const rank = (x) => (Number.isNaN(x) ? 2 : x === Infinity ? 1 : 0);
  return rank(a) - rank(b) || (rank(a) ? 0 : sign * (a - b));
}
// Print shows what is folded away.
let folded = [];
window.addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const one of folded) one.open = true;
});
window.addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
});
