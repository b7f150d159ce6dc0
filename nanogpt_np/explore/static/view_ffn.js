// The feed-forward network of one block, for one token. Enters: its arrays at a position, and its strongest units.
// Leaves: a view: what goes in, widened, bent, and what comes out. Next: view_stream.js.

import { ask, at, row } from "./ask.js";
import { button, choice, choices, el, token } from "./dom.js";
import { pick_cell } from "./cell.js";
import { bars } from "./bars.js";
import { is_off, set, state, switched } from "./state.js";
import { switch_button } from "./view_attention.js";
import { strip } from "./view_embed.js";
import { word } from "./words.js";

const SITES = { x: "ffn.x", pre_gelu: "ffn.pre_gelu", hidden: "ffn.hidden", ffn_out: "ffn_out" };

export async function view_ffn(page) {
  const name = `blocks.${page.layer}.${SITES[state.site] ?? SITES.hidden}`;
  const index = [page.position];
  const [found, units] = await Promise.all([
    ask("/api/array", { ...page.side, name, index }).catch((error) => ({ error })),
    ask("/api/neurons", { ...page.side, layer: page.layer }),
  ]);
  const layers = Array.from({ length: page.info.n_layer }, (_, i) => [i, `L${i}`]);
  const sites = Object.keys(SITES).map((site) => [site, word(`site_${site}`)]);
  return [
    el(
      "div",
      { class: "controls" },
      choice("layer", word("layer"), layers, page.layer, (value) => set({ layer: Number(value), cell: "" })),
      switch_button("switch-ffn", ["ffn_off", "ffn_on"], page.layer, "ffn"),
    ),
    choices("site", word("ffn"), sites, state.site, (site) => set({ site, cell: "" })),
    el("p", { class: "lead" }, word(`about_${state.site}`), " ", token(page.look.tokens[page.position])),
    found.error ? el("p", { class: "hint", text: found.error.message }) : strip(page, name, index, found.array.data),
    strongest(page, units),
  ];
}

function unit_switch(layer, unit) {
  const gone = is_off(layer, "ffn", unit);
  const title = word(gone ? "unit_on" : "unit_off");
  return button(
    `switch-unit-${unit}`,
    gone ? "+" : "×",
    () => set({ off: switched(layer, "ffn", unit), view: "compare", mode: "heads" }),
    { class: "switch", "aria-label": `${title} ${unit}`, title },
  );
}

function strongest(page, units) {
  const ids = units.strongest[page.position];
  const values = row(units.values, page.position);
  const name = `blocks.${page.layer}.ffn.hidden`;
  const lines = ids.map((unit, i) => ({
    key: unit,
    label: `${word("unit")} ${unit}`,
    value: values[i],
    of: [name, [page.position, unit]],
    colour: "var(--ffn)",
    on_click: () => pick_cell(name, [page.position, unit]),
    more: unit_switch(page.layer, unit),
  }));
  const on = at(units.on, page.position);
  return el(
    "div",
    null,
    el("p", null, page.share("ffn.on", [page.layer, page.position], on), ` ${word("units_on")}`),
    bars("units", word("strongest_units"), lines),
  );
}
