// Bars with their numbers. Enters: rows of { label, value, of }. Leaves: a table whose bars begin at 0, so that
// lengths can be compared; signed ones go to both sides of it. Next: sampling.js.

import { el, number } from "./dom.js";

// rows: [{ key, label: node or text, value, of: [name, index], colour, on_click, more }], `more` a node
// behind the number; `limit`: the longest bar's value.
export function bars(id, title, rows, { limit, digits = 3, signed = false, written_as = number } = {}) {
  const longest = limit ?? Math.max(1e-12, ...rows.map((row) => Math.abs(row.value ?? 0)));
  const lines = rows.map((row) =>
    el(
      "tr",
      { class: row.marked ? "marked" : null },
      el(
        "th",
        { scope: "row" },
        row.on_click
          ? el(
              "button",
              { type: "button", id: `${id}-${row.key}`, class: "plain", on: { click: row.on_click } },
              row.label,
            )
          : row.label,
      ),
      el("td", { class: signed ? "bar signed" : "bar", "aria-hidden": "true" }, bar(row, longest, signed)),
      el("td", { class: "value" }, written_as(...row.of, row.value, digits)),
      row.more ? el("td", null, row.more) : null,
    ),
  );
  return el("table", { class: "bars", id }, el("caption", { text: title }), el("tbody", null, lines));
}

function bar(row, longest, signed) {
  const share = Math.min(Math.abs(row.value ?? 0) / longest, 1) * (signed ? 50 : 100);
  const left = signed ? (row.value < 0 ? 50 - share : 50) : 0;
  return el("i", { style: { left: `${left}%`, width: `${share}%`, "background-color": row.colour ?? "var(--bar)" } });
}
