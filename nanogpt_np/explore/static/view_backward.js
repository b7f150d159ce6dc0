// The same picture backwards: how the text's loss depends on the stream, the tokens, the parameters. Enters: /api/gradients.
// Leaves: a view. Next: view_compare.js.

import { ask } from "./ask.js";
import { choice, el, number, token } from "./dom.js";
import { bars } from "./bars.js";
import { matrix } from "./matrix.js";
import { set, state } from "./state.js";
import { strip } from "./view_embed.js";
import { word } from "./words.js";

const SHOWN = 16;

export async function view_backward(page) {
  if (!page.gradients) return [el("p", { class: "lead", text: word("backward_lead") }), el("p", { class: "trouble", text: page.gradients_problem })];
  const found = page.gradients;
  return [el("p", { class: "lead", text: word("backward_lead") }), losses(page, found), norms(page, found), by_token(page, found), parameters(found), await one_place(page)];
}

function losses(page, found) {
  const targets = page.look.tokens.slice(0, -1).map((spelled, i) => [i, `${i} ${spelled} → ${page.look.tokens[i + 1]}`]);
  return el("div", { class: "controls" }, choice("loss-at", word("loss_of"), [[-1, word("all_tokens")], ...targets], state.loss_at, (value) => set({ loss_at: Number(value) })),
    el("p", { class: "equation" }, `${word("loss")} = `, el("strong", null, number("grad.loss", [], found.loss, 4)), " nats"));
}

function norms(page, found) {
  return el("div", null, el("h3", { text: word("gradient_length") }), matrix({
    id: "gradient-norms", title: word("gradient_length"), values: found.norms.data, shape: found.norms.shape, rows: found.names, columns: page.look.tokens,
    kind: "magnitude", limit_of: "largest:grad.norms", of: (i, j) => ["grad.norms", [i, j]], cell_height: 22, digits: 3, caption: `|∂loss/∂x| · ${page.info.label ?? page.info.id}`,
    on_pick: (place, position) => set({ position, cell: `${stream_name(place, page)}[${position},0]` }),
  }));
}

// The gradient at one place of the stream has the name of what it is a gradient of.
function stream_name(place, page) {
  if (place === 0) return "grad.embedded";
  if (place === 2 * page.info.n_layer) return "grad.x";
  return `grad.blocks.${Math.floor(place / 2)}.${place % 2 ? "x_mid" : "x"}`;
}

async function one_place(page) {
  const name = state.part === "embedded" ? "grad.embedded" : `grad.blocks.${page.layer}.x`;
  const index = [page.learned];
  const found = state.loss_at < 0 ? await ask("/api/array", { ...page.side, name, index }).catch(() => null) : null;
  return found ? el("div", null, el("h3", null, word("one_gradient"), " ", token(page.look.tokens[page.learned])), strip(page, name, index, found.array.data)) : null;
}

function by_token(page, found) {
  const lines = page.look.tokens.map((spelled, i) => ({
    key: i, label: token(spelled), value: found.times_input.data[i], of: ["grad.times_input", [i]], marked: i === page.position,
    colour: found.times_input.data[i] < 0 ? "var(--negative)" : "var(--positive)", on_click: () => set({ position: i }),
  }));
  return bars("times-input", word("times_input"), lines, { signed: true, digits: 4 });
}

function parameters(found) {
  const sorted = Object.entries(found.params).sort((a, b) => b[1] - a[1]);
  const lines = sorted.slice(0, SHOWN).map(([name, value]) => ({ key: name, label: el("code", { text: name }), value, of: [`grad.params:${name}`, []] }));
  return bars("gradient-parameters", `${word("parameters_head")} (${SHOWN} / ${sorted.length})`, lines, { digits: 4 });
}

