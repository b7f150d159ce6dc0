// Text to tokens, tokens to rows of numbers. Enters: the text's chunks with their merges; one token's row of wte, its place's
// row of wpe, and their sum. Leaves: a view. Next: view_attention.js.

import { ask } from "./ask.js";
import { el, number, token } from "./dom.js";
import { look_at_cell, pick_cell } from "./cell.js";
import { matrix } from "./matrix.js";
import { word } from "./words.js";

export async function view_embed(page) {
  const [texts, ...arrays] = await Promise.all([
    ask("/api/tokens", page.side),
    ...["tokens", "positions", "embedded"].map((name) => one_row(page, name)),
  ]);
  const near = await ask("/api/neighbours", { model: page.side.model, token: page.look.ids[page.position] }).catch(() => null);
  return [
    el("p", { class: "lead", text: word("embed_lead") }), chunks(texts),
    el("h3", null, word("its_numbers"), " ", token(page.look.tokens[page.position]), ` · id ${page.look.ids[page.position]}`),
    el("p", { class: "hint", text: word("embed_sum") }),
    ...arrays.filter(Boolean), neighbours(near),
  ];
}

function chunks(texts) {
  const lines = texts.chunks.map((chunk) => {
    const merges = chunk.merges.map((merge) => el("li", null, el("span", { class: "rank", text: `#${merge.rank}` }),
      merge.parts.map((part) => token(part))));
    const whole = el("span", { class: "chunk" }, chunk.tokens.map((spelled, i) => el("span", { class: "piece" }, token(spelled), el("small", { text: String(chunk.ids[i]) }))));
    if (!merges.length) return el("li", null, whole);
    return el("li", null, el("details", null, el("summary", null, whole), el("ol", { class: "merges" }, merges)));
  });
  return el("ul", { class: "chunks" }, lines);
}

// A row of n_embd numbers, 32 in each line, so that it fits a telephone.
export function folded(n) {
  const columns = n > 1024 ? 64 : 32;
  return [Math.ceil(n / columns), columns];
}

export function padded(values, shape) {
  const whole = new Float32Array(shape[0] * shape[1]).fill(NaN);
  whole.set(values);
  return whole;
}

async function one_row(page, name) {
  const index = [page.position];
  const found = await ask("/api/array", { ...page.side, name, index }).catch(() => null);
  if (!found) return el("p", { class: "hint", text: `${name}: ${word("not_in_this_file")}` });
  return strip(page, name, index, found.array.data, { title: titled(page, name) });
}

function titled(page, name) {
  return { tokens: `wte[${page.look.ids[page.position]}]`, positions: `wpe[${page.position}]`, embedded: "wte + wpe" }[name];
}

// `values` [n] of an array behind some leading indices, as a folded matrix whose cells can be taken apart.
export function strip(page, name, index, values, { title = name, kind = "signed" } = {}) {
  const shape = folded(values.length);
  const of = (i, j) => [name, [...index, Math.min(i * shape[1] + j, values.length - 1)]];
  return el("div", { class: "strip" }, el("h4", null, el("code", { text: title })), matrix({
    id: `strip-${name.replaceAll(".", "-")}`, title, values: padded(values, shape), shape, rows: null, columns: null, kind, of,
    limit_of: `largest:${name}[${index.join(",")}]`, cell_height: 11,
    on_look: (i, j) => look_at_cell(page, ...of(i, j)), on_pick: (i, j) => pick_cell(...of(i, j)),
  }));
}

function neighbours(near) {
  if (!near) return null;
  return el("div", null, el("h3", { text: word("neighbours") }), el("ul", { class: "near" }, near.tokens.map((spelled, i) =>
    el("li", null, token(spelled), " ", number("neighbours", [near.ids[i]], near.similarities.data[i], 2)))));
}
