// The residual stream on its way, read as if it were the last: the logit lens. Enters: /api/look. Leaves: a table, a row for
// each place of the stream, a column for each token. Next: view_attribution.js.

import { at } from "./ask.js";
import { as_css, colour_of, ink_on } from "./colours.js";
import { choices, el, number, share, token } from "./dom.js";
import { largest } from "./matrix.js";
import { set, state } from "./state.js";
import { word } from "./words.js";

const MEASURES = ["probs", "entropy", "kl", "norms", "added", "along"];

export async function view_stream(page) {
  const measure = MEASURES.includes(state.measure) ? state.measure : "probs";
  return [
    choices("measure", word("measure"), MEASURES.map((name) => [name, word(`measure_${name}`)]), measure, (name) => set({ measure: name })),
    el("p", { class: "lead", text: word(`about_${measure}`) }), table(page, measure),
  ];
}

function table(page, measure) {
  const { lens, stream, tokens } = page.look;
  const array = lens[measure] ?? stream[measure];
  const is_between = measure === "added" || measure === "along"; // a row for each half-block, not for each place
  const names = is_between ? lens.names.slice(1) : lens.names;
  const most = { probs: 1, along: 1 }[measure] ?? (largest(array.data) || 1);
  const kind = measure === "along" ? "signed" : "probability";
  const head = el("tr", null, el("td"), tokens.map((spelled, j) => el("th", { scope: "col", class: j === page.position ? "here" : null },
    el("button", { type: "button", class: "plain", id: `lens-token-${j}`, "aria-label": `${word("position")} ${j}: ${spelled}`, on: { click: () => set({ position: j }) } }, token(spelled)))));
  const body = names.map((name, i) => el("tr", null, el("th", { scope: "row", text: name }), tokens.map((_, j) => {
    const value = at(array, i, j);
    const colour = colour_of(value, kind, most);
    const shown = measure === "probs" ? share("lens.probs", [i, j], value) : number(`${lens[measure] ? "lens" : "stream"}.${measure}`, [i, j], value, 2);
    const guess = is_between || measure === "norms" ? null : el("b", { class: "guessed", text: lens.guesses[i][j] });
    return el("td", { class: j === page.position ? "here" : null, style: { "background-color": as_css(colour), color: ink_on(colour) } }, guess, shown);
  })));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": word(`measure_${measure}`) },
    el("table", { class: "lens", id: "lens-table" }, el("caption", { text: `${word(`measure_${measure}`)} · ${page.info.label ?? page.info.id}` }),
      el("thead", null, head), el("tbody", null, body)));
}
