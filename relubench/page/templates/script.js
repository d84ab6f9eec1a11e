// Sorting, filtering and downloads. Without this script everything can be read all the same.
"use strict";

const numberIn = /[-+\u2212]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?/i;

function orderOf(cell) {
  if (cell.dataset.order !== undefined) return Number(cell.dataset.order);
  const text = cell.textContent.trim();
  const found = cell.classList.contains("left") ? null : text.match(numberIn);
  return found ? Number(found[0].replace(/,/g, "").replace("\u2212", "-")) : text;
}

// What has no value stands last, whichever way the rows are sorted.
function compared(a, b, down) {
  const empty = (value) => value === "\u2013" || value === "";
  if (empty(a) || empty(b)) return empty(a) - empty(b);
  const texts = typeof a === "string" || typeof b === "string";
  const order = texts ? String(a).localeCompare(String(b), undefined, { numeric: true }) : a - b;
  return down ? -order : order;
}

function sort(head) {
  const table = head.closest("table");
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => [orderOf(row.cells[head.cellIndex]), row]);
  rows.sort(([a], [b]) => compared(a, b, down));
  body.append(...rows.map(([, row]) => row));
}

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}

function filter(field) {
  const rows = document.getElementById(field.dataset.filters).tBodies[0].rows;
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = Array.from(row.cells, (cell) => cell.textContent).join(" ").toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  const count = document.querySelector(`[data-counts="${field.dataset.filters}"]`);
  count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
}

for (const field of document.querySelectorAll("[data-filters]")) {
  field.addEventListener("input", () => filter(field));
}

// Packed rows: the header of the CSV, then of each row its line of JSON and its line of CSV.
async function unpacked(name) {
  const packed = atob(document.getElementById(`rows-${name}`).textContent);
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return (await new Response(stream).text()).split("\n");
}

async function download(name, kind) {
  const [header, ...lines] = await unpacked(name);
  const json = lines.filter((_, number) => number % 2 === 0);
  const csv = lines.filter((_, number) => number % 2 === 1);
  const text = kind === "json"
    ? `[\n${json.join(",\n")}\n]\n`
    : [header, ...csv, ""].join("\n");
  const type = kind === "json" ? "application/json" : "text/csv";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = `${name}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

for (const button of document.querySelectorAll("[data-rows]")) {
  const { rows, kind } = button.dataset;
  const status = document.getElementById("download-status");
  button.addEventListener("click", () =>
    download(rows, kind).then(
      () => { status.textContent = `${rows}.${kind} is written`; },
      (error) => { status.textContent = `${rows}.${kind} cannot be written: ${error.message}`; },
    ),
  );
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    if (details.closest("#runs")) continue;
    details.open = true;
  }
});
