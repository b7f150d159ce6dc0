// One number, taken apart. Enters: its name, "blocks.3.attn.scores[5,2,1]". Leaves: the formula, the products that it is the
// sum of, and the inputs, each of which can be taken apart in turn, down to the embedding. Next: view_embed.js.

import { ask } from "./ask.js";
import { button, count, el, number, place, replace, say } from "./dom.js";
import { set, state } from "./state.js";
import { word } from "./words.js";

let asked = null;
let waiting = 0;
const trail = [];

export function parse_cell(text) {
  const found = /^([\w.]+)\[([\d,]+)\]$/.exec(text);
  return found ? { name: found[1], index: found[2].split(",").map(Number) } : null;
}

// Soon, when the pointer rests: who crosses a matrix passes many cells.
export function look_at_cell(page, name, index) {
  clearTimeout(waiting);
  waiting = setTimeout(() => show_cell(page, { name, index }), 80);
}

export function pick_cell(name, index) {
  set({ cell: place(name, index) });
}

export async function show_cell(page, cell) {
  const root = document.getElementById("cell");
  if (!cell) return replace(root, el("h3", { text: word("one_number") }), el("p", { class: "hint", text: word("cell_hint") }));
  asked?.abort();
  const mine = (asked = new AbortController());
  try {
    const found = await ask("/api/cell", { ...page.side, name: cell.name, index: cell.index }, mine.signal);
    if (mine === asked) replace(root, ...apart(found, page));
  } catch (error) {
    if (error.name === "AbortError") return;
    replace(root, el("h3", { text: word("one_number") }), el("p", { class: "trouble", text: `${place(cell.name, cell.index)}: ${error.message}` }));
  }
}

function apart(found, page) {
  const name = place(found.name, found.index);
  return [
    el("div", { class: "cell-head" }, el("h3", { text: word("one_number") }), trail.length ? back() : null),
    el("p", { class: "equation" }, el("code", { text: name }), " = ", el("strong", null, number(found.name, found.index, found.kind === "mask" && found.extra.hidden ? -Infinity : found.value, 6))),
    el("p", { class: "formula" }, el("code", { text: found.formula ?? "" })),
    el("p", { class: "hint", text: word(`kind_${found.kind}`) }),
    extra(found, name), terms(found, name), inputs(found, page),
  ];
}

function back() {
  return button("cell-back", `← ${trail[trail.length - 1]}`, () => set({ cell: trail.pop() }), { class: "quiet" });
}

function go(name, index) {
  if (state.cell) trail.push(state.cell);
  if (trail.length > 30) trail.shift();
  set({ cell: place(name, index) });
  say(place(name, index));
}

// What else decides: the factor, the maximum, the mean.
function extra(found, name) {
  const known = Object.entries(found.extra ?? {}).filter(([, value]) => typeof value === "number");
  if (!known.length) return null;
  return el("dl", { class: "extra" }, known.map(([what, value]) => el("div", null,
    el("dt", null, el("code", { text: what })), el("dd", null, number(`extra:${name}:${what}`, [], value, 5)))));
}

function terms(found, name) {
  const t = found.terms;
  if (!t) return null;
  const most = Math.max(...t.product.map(Math.abs), 1e-12);
  const lines = t.product.map((product, i) => el("tr", null,
    el("th", { scope: "row" }, el("code", { text: t.labels[i] })),
    el("td", null, factor(found, 0, t.places?.[i], number(`term:${name}:a:${t.places?.[i] ?? i}`, [], t.a[i] ?? (found.kind === "softmax" ? -Infinity : null), 4), i)),
    t.b ? el("td", null, factor(found, 1, t.places?.[i], number(`term:${name}:b:${t.places?.[i] ?? i}`, [], t.b[i], 4), i)) : null,
    el("td", { class: "bar signed", "aria-hidden": "true" }, el("i", { style: {
      width: `${(50 * Math.abs(product)) / most}%`, left: product < 0 ? `${50 - (50 * Math.abs(product)) / most}%` : "50%",
      "background-color": product < 0 ? "var(--negative)" : "var(--positive)",
    } })),
    el("td", null, number(`term:${name}:product:${t.places?.[i] ?? i}`, [], product, 4))));
  const n_rest = found.n_terms - t.product.length;
  const foot = [
    n_rest > 0 ? total(`${word("the_other")} ${n_rest}`, number(`rest:${name}:${t.places?.join("+") ?? ""}`, [], found.rest, 4), t.b) : null,
    found.bias !== null && found.bias !== undefined ? total("bias", number(`bias:${name}`, [], found.bias, 4), t.b) : null,
    found.sum !== null && found.sum !== undefined ? total(word("sum"), number(`sum:${name}`, [], found.sum, 6), t.b, "sum") : null,
  ];
  const head = el("tr", null, el("td"), el("th", { scope: "col", text: "a" }), t.b ? el("th", { scope: "col", text: "b" }) : null, el("td"),
    el("th", { scope: "col", text: found.kind === "softmax" ? "exp(a − max)" : t.b ? "a · b" : "" }));
  return el("table", { class: "terms" }, el("caption", null, word("n_terms"), " ", count(`n_terms:${name}`, [], found.n_terms)),
    el("thead", null, head), el("tbody", null, lines), el("tfoot", null, foot.filter(Boolean)));
}

function total(label, value, b, kind) {
  return el("tr", { class: kind }, el("th", { scope: "row", colspan: b ? "4" : "3", text: label }), el("td", null, value));
}

// A factor leads to where it was made, unless it is a parameter.
function factor(found, side, at_place, shown, i) {
  const input = found.inputs?.[side];
  if (!input || at_place === undefined || is_parameter(input.name)) return shown;
  const index = input.index.map((axis) => (axis === null ? at_place : axis));
  if (input.index.filter((axis) => axis === null).length > 1) return shown;
  return el("button", { type: "button", class: "plain", id: `factor-${side}-${i}`, "aria-label": `${place(input.name, index)} = ${shown.textContent}`, on: { click: () => go(input.name, index) } }, shown);
}

function is_parameter(name) {
  return /^(h\.\d+\.|wte|wpe|ln_f|lm_head)/.test(name);
}

function inputs(found) {
  const list = (found.inputs ?? []).map((input, i) => {
    const name = place(input.name, input.index.map((axis) => axis ?? ":"));
    const whole = !is_parameter(input.name) && input.index.every((axis) => axis !== null);
    return el("li", null, whole ? button(`input-${i}`, name, () => go(input.name, input.index), { class: "quiet" }) : el("code", { text: name }));
  });
  return list.length ? el("div", { class: "inputs" }, el("span", { text: `${word("made_of")} ` }), el("ul", null, list)) : null;
}
