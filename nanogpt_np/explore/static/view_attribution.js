// Who wrote a logit: the embedding, each head, each feed-forward network, as parts of a sum. Enters: /api/attribution.
// Leaves: a view. Next: view_next.js.

import { ask } from "./ask.js";
import { choice, el, number, token } from "./dom.js";
import { bars } from "./bars.js";
import { matrix } from "./matrix.js";
import { set, state } from "./state.js";
import { word } from "./words.js";

export async function view_attribution(page) {
  const body = { ...page.side };
  if (!page.is_last) body.position = page.position;
  if (state.token >= 0) body.token = state.token;
  if (state.against >= 0) body.against = state.against;
  const found = await ask("/api/attribution", body);
  return [el("p", { class: "lead", text: word("attribution_lead") }), controls(page), equation(page, found), heads(page, found), others(page, found),
    el("p", { class: "hint", text: word("attribution_note") })];
}

function controls(page) {
  const known = (page.next?.ids ?? []).map((id, i) => [id, page.next.tokens[i]]);
  const asked = (id) => (id >= 0 && !known.some(([other]) => other === id) ? [[id, `id ${id}`]] : []);
  return el("div", { class: "controls" },
    choice("token", word("whose_logit"), [[-1, word("likeliest")], ...known, ...asked(state.token)], state.token, (value) => set({ token: Number(value) })),
    choice("against", word("against"), [[-1, word("nothing")], ...known, ...asked(state.against)], state.against, (value) => set({ against: Number(value) })));
}

function equation(page, found) {
  return el("p", { class: "equation" }, word("logit_of"), " ", token(found.token), found.against ? [" − ", token(found.against)] : "", " = ",
    el("strong", null, number("attribution.total", [], found.total, 4)), ` · ${word("sum_of_parts")} `, number("attribution.sum", [], found.sum, 4));
}

function heads(page, found) {
  const [n_layer, n_head] = found.heads.shape;
  return el("div", null, el("h3", { text: word("by_heads") }), matrix({
    id: "attribution-heads", title: word("by_heads"), values: found.heads.data, shape: [n_layer, n_head], kind: "signed", limit_of: "largest:attribution.heads",
    rows: Array.from({ length: n_layer }, (_, i) => `L${i}`), columns: Array.from({ length: n_head }, (_, i) => `H${i}`),
    of: (i, j) => ["attribution.heads", [i, j]], caption: `${word("by_heads")} · ${page.info.label ?? page.info.id}`, cell_height: 28,
    on_pick: (layer, head) => set({ view: "attention", layer, head, cell: "" }),
  }));
}

function others(page, found) {
  const lines = [
    { key: "wte", label: word("part_token"), value: found.token_embedding, of: ["attribution.token_embedding", []], colour: "var(--residual)" },
    { key: "wpe", label: word("part_position"), value: found.position_embedding, of: ["attribution.position_embedding", []], colour: "var(--residual)" },
  ];
  for (let layer = 0; layer < page.info.n_layer; layer++) {
    lines.push({ key: `ffn${layer}`, label: `L${layer} ${word("ffn")}`, value: found.ffn.data[layer], of: ["attribution.ffn", [layer]], colour: "var(--ffn)" });
    lines.push({ key: `bias${layer}`, label: `L${layer} attn.c_proj.bias`, value: found.attention_bias.data[layer], of: ["attribution.attention_bias", [layer]], colour: "var(--attention)" });
  }
  lines.push({ key: "final", label: "ln_f.bias", value: found.final_bias, of: ["attribution.final_bias", []], colour: "var(--residual)" });
  return bars("parts", word("the_other_parts"), lines, { signed: true });
}
