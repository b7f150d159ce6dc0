// What the next token costs as the text grows, with the cache and without. Enters: /api/cache. Leaves: two lines with
// their numbers, and the parts of the cost. Next: view_backward.js.

import { at } from "./ask.js";
import { columns, count, el, svg } from "./dom.js";
import { word } from "./words.js";

const WIDE = 320,
  HIGH = 120;
const KINDS = ["flops", "weight_bytes", "cache_bytes"];

export function growth(page, cost, n_held) {
  const n = cost.growth.shape[0];
  const most = at(cost.growth, n - 1, 1);
  const line = (column, name) =>
    svg("polyline", {
      class: name,
      points: Array.from(
        { length: n },
        (_, i) => `${(WIDE * i) / Math.max(n - 1, 1)},${HIGH - (HIGH * at(cost.growth, i, column)) / most}`,
      ).join(" "),
    });
  const here = (WIDE * Math.min(n_held, n - 1)) / Math.max(n - 1, 1);
  return el(
    "figure",
    { class: "growth" },
    el("h3", { text: word("growth_head") }),
    svg(
      "svg",
      {
        preserveAspectRatio: "none",
        viewBox: `-2 -4 ${WIDE + 4} ${HIGH + 8}`,
        role: "img",
        "aria-label": word("growth_alt"),
      },
      line(1, "without"),
      line(0, "with"),
      svg("line", { class: "here", x1: here, x2: here, y1: 0, y2: HIGH }),
    ),
    el(
      "figcaption",
      { class: "legend" },
      el(
        "span",
        { class: "what" },
        el("i", { class: "box without", "aria-hidden": "true" }),
        `${word("without")} `,
        count("growth", [n - 1, 1], most),
      ),
      el(
        "span",
        { class: "what" },
        el("i", { class: "box with", "aria-hidden": "true" }),
        `${word("with")} `,
        count("growth", [n - 1, 0], at(cost.growth, n - 1, 0)),
      ),
      el("span", { text: word("at_the_end") }),
    ),
    parts(cost),
  );
}

function parts(cost) {
  const lines = cost.parts.map((part) =>
    el(
      "tr",
      null,
      el("th", { scope: "row", text: part.name }),
      ...KINDS.map((name) =>
        el("td", null, count(`cost:${part.name}:${name}`, [], part[name])),
      ),
    ),
  );
  return el(
    "details",
    { class: "as-table" },
    el("summary", { text: word("cost_parts") }),
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": word("cost_parts") },
      el(
        "table",
        null,
        columns(null, ...KINDS.map((name) => word(name))),
        el("tbody", null, lines),
      ),
    ),
  );
}
