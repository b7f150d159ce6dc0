// One head, stage by stage. Enters: /api/head. Leaves: a view: what each token asks, answers to and hands over; how
// well they agree; scaled; masked; as shares; and what each token takes away. Next: view_ffn.js.

import { ask } from "./ask.js";
import { button, choice, choices, el } from "./dom.js";
import { look_at_cell, pick_cell } from "./cell.js";
import { matrix } from "./matrix.js";
import { is_off, set, state, switched } from "./state.js";
import { word } from "./words.js";

export const STAGES = ["qkv", "scores", "scaled", "masked", "probs", "mixed"];

export async function view_attention(page) {
  const found = await ask("/api/head", { ...page.side, layer: page.layer, head: page.head });
  return [
    controls(page),
    stage_choice(),
    el("p", { class: "lead", text: word(`stage_${state.stage}`) }),
    ...pictures(page, found),
    kinds(page),
  ];
}

function controls(page) {
  const upto = (n, name) => Array.from({ length: n }, (_, i) => [i, `${name}${i}`]);
  return el(
    "div",
    { class: "controls" },
    choice("layer", word("layer"), upto(page.info.n_layer, "L"), page.layer, (value) =>
      set({ layer: Number(value), cell: "" }),
    ),
    choice("head", word("head"), upto(page.info.n_head, "H"), page.head, (value) =>
      set({ head: Number(value), cell: "" }),
    ),
    switch_button("switch-off", ["switch_off", "switch_on"], page.layer, page.head),
    switch_button("switch-attn", ["attn_off", "attn_on"], page.layer, "attn"),
  );
}

// Takes a part of the model out, or puts it back, and shows what comes of it beside the whole one.
export function switch_button(id, [off, on], ...part) {
  return button(
    id,
    word(is_off(...part) ? on : off),
    () => set({ off: switched(...part), view: "compare", mode: "heads" }),
    { class: "quiet" },
  );
}

function stage_choice() {
  return choices(
    "stage",
    word("stages"),
    STAGES.map((name) => [name, word(`name_${name}`)]),
    state.stage,
    (name) => set({ stage: name, cell: "" }),
  );
}

function pictures(page, found) {
  if (state.stage === "qkv") return ["q", "k", "v"].map((name) => vectors(page, found, name, name));
  if (state.stage === "mixed") return [vectors(page, found, "mixed", "mixed")];
  return [pairs(page, found, state.stage)];
}

function name_of(page, what) {
  return `blocks.${page.layer}.attn.${what}`;
}

// [n, n]: a row for each token that asks, a column for each that answers.
function pairs(page, found, what) {
  const name = name_of(page, what);
  const of = (i, j) => [name, [page.head, i, j]];
  const is_share = what === "probs";
  return matrix({
    id: "pairs",
    title: `L${page.layer}.H${page.head} ${word(`name_${what}`)}`,
    values: found[what].data,
    shape: found[what].shape,
    rows: found.tokens,
    columns: found.tokens,
    kind: is_share ? "probability" : "signed",
    limit: is_share ? 1 : undefined,
    limit_of: is_share ? null : `largest:${name}[${page.head}]`,
    of,
    picked: chosen(page, name, found[what].shape),
    caption: `${name}[${page.head}] · ${page.info.label ?? page.info.id} · L${page.layer}.H${page.head}`,
    on_look: (i, j) => look_at_cell(page, ...of(i, j)),
    on_pick: (i, j) => pick_cell(...of(i, j)),
  });
}

function chosen(page, name, shape) {
  const at = page.cell;
  const inside =
    at &&
    at.name === name &&
    at.index.length === 3 &&
    at.index[0] === page.head &&
    at.index[1] < shape[0] &&
    at.index[2] < shape[1];
  return inside ? [at.index[1], at.index[2]] : [Math.min(page.position, shape[0] - 1), 0];
}

// [n, d_head]: a row for each token.
function vectors(page, found, what, colour) {
  const name = name_of(page, what);
  const of = (i, j) => [name, [page.head, i, j]];
  return el(
    "div",
    { class: `vectors ${colour}` },
    el("h4", null, el("span", { class: `swatch ${colour}`, "aria-hidden": "true" }), word(`what_${what}`)),
    matrix({
      id: `vectors-${what}`,
      title: word(`what_${what}`),
      values: found[what].data,
      shape: found[what].shape,
      rows: found.tokens,
      columns: null,
      kind: "signed",
      limit_of: `largest:${name}[${page.head}]`,
      of,
      picked: chosen(page, name, found[what].shape),
      cell_height: 16,
      on_look: (i, j) => look_at_cell(page, ...of(i, j)),
      on_pick: (i, j) => pick_cell(...of(i, j)),
    }),
  );
}

// What kind of head it is on this text, as means that lens/attention.py makes.
function kinds(page) {
  const heads = page.look.heads;
  if (!heads) return null;
  const place = page.layer * page.info.n_head + page.head;
  return el(
    "dl",
    { class: "extra" },
    ["previous", "first", "itself", "entropy", "induction"].map((name) =>
      el(
        "div",
        null,
        el("dt", { text: word(`kind_of_head_${name}`) }),
        el("dd", null, page.number(`heads.${name}`, [page.layer, page.head], heads[name].data[place])),
      ),
    ),
  );
}
