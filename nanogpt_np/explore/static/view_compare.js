// Two passes side by side: parts switched off, another prompt, another checkpoint, int8 beside float32. Enters:
// /api/compare. Leaves: a view: the next token before and after, how far the two are apart, place by place. Next:
// tour.js.

import { ask } from "./ask.js";
import { button, choice, choices, columns, el, number, share, token } from "./dom.js";
import { matrix } from "./matrix.js";
import { is_off, part_name, parts_off, set, state, switched } from "./state.js";
import { word } from "./words.js";

const MODES = ["heads", "prompt", "model", "ops"];

export async function view_compare(page) {
  const top = [
    choices(
      "mode",
      word("compare"),
      MODES.map((name) => [name, word(`mode_${name}`)]),
      state.mode,
      (mode) => set({ mode }),
    ),
    el("p", { class: "lead", text: word(`about_mode_${state.mode}`) }),
    controls(page),
  ];
  const body = sides(page);
  if (!body) return top;
  try {
    return [...top, ...results(page, await ask("/api/compare", body))];
  } catch (error) {
    return [...top, el("p", { class: "trouble", text: error.message })];
  }
}

function sides(page) {
  const a = page.side;
  if (state.mode === "heads") return parts_off().length ? { a, b: { ...a, ablate: parts_off() } } : null;
  if (state.mode === "prompt") return state.b_prompt === null ? null : { a, b: { ...a, prompt: state.b_prompt } };
  if (state.mode === "model") return state.b_model ? { a, b: { ...a, model: state.b_model } } : null;
  return state.b_ops === (a.ops ?? "float32")
    ? null
    : { a, b: { ...a, ops: state.b_ops === "float32" ? undefined : state.b_ops } };
}

function controls(page) {
  if (state.mode === "heads") return switches(page);
  if (state.mode === "prompt") return other_prompt();
  const options =
    state.mode === "model"
      ? [["", word("choose")], ...page.models.map((model) => [model.id, model.label ?? model.id])]
      : (page.ops ?? ["float32", "int8", "int4"]).map((name) => [name, name]);
  const name = state.mode === "model" ? "b_model" : "b_ops";
  return el(
    "div",
    { class: "controls" },
    choice(name.replace("_", "-"), word("beside"), options, state[name], (value) => set({ [name]: value })),
  );
}

function other_prompt() {
  const input = el("input", { type: "text", id: "b-prompt", value: state.b_prompt ?? "", autocomplete: "off" });
  return el(
    "form",
    {
      class: "controls",
      on: {
        submit: (event) => {
          event.preventDefault();
          set({ b_prompt: input.value });
        },
      },
    },
    el("label", { class: "choice grow", for: "b-prompt" }, el("span", { text: word("other_prompt") }), input),
    el("button", { type: "submit", id: "b-go", class: "quiet", text: word("compare") }),
    state.b_prompt === "" ? el("p", { class: "hint", text: word("empty_prompt") }) : null,
  );
}

// Every head, every half of a block as a switch; units of a network where some are off.
function switches(page) {
  const rows = Array.from({ length: page.info.n_layer }, (_, layer) =>
    el(
      "tr",
      null,
      el("th", { scope: "row", text: `L${layer}` }),
      Array.from({ length: page.info.n_head }, (_, head) => el("td", null, switch_of([layer, head], `H${head}`))),
      ["attn", "ffn"].map((half) => el("td", null, switch_of([layer, half], names()[half]))),
    ),
  );
  const units = parts_off().filter((part) => part.length === 3);
  return el(
    "div",
    { class: "switches" },
    el("table", null, el("tbody", null, rows)),
    units.length
      ? el("p", { class: "controls" }, units.map((part) => switch_of(part, part_name(part, names()))))
      : el("p", { class: "hint", text: word("units_hint") }),
    state.off ? button("all-on", word("all_on"), () => set({ off: "" }), { class: "quiet" }) : null,
  );
}

function names() {
  return { attn: word("attention"), ffn: word("ffn"), unit: word("unit") };
}

function switch_of(part, text) {
  const gone = is_off(...part);
  return button(`switch-${part.join("-")}`, text, () => set({ off: switched(...part) }), {
    class: `switch${gone ? " off" : ""}${typeof part[1] === "number" ? "" : " half"}`,
    "aria-pressed": gone ? "true" : "false",
    "aria-label": `${word("part_off")} ${part_name(part, names())}`,
  });
}

function results(page, found) {
  const names = [name_of(page, "a"), name_of(page, "b")];
  return [next_tokens(found, names), losses(found, names), by_position(page, found), stream(page, found)];
}

function name_of(page, side) {
  if (side === "a")
    return state.mode === "prompt"
      ? word("this_prompt")
      : state.mode === "model"
        ? page.info.id
        : state.mode === "ops"
          ? (page.side.ops ?? "float32")
          : word("all_heads");
  return {
    heads: `${word("without_heads")} ${parts_off()
      .map((part) => part_name(part, names()))
      .join(", ")}`,
    prompt: word("other_prompt"),
    model: state.b_model,
    ops: state.b_ops,
  }[state.mode];
}

function next_tokens(found, names) {
  if (!found.next) return el("p", { class: "hint", text: word("no_common_vocabulary") });
  const { tokens, ids, a, b } = found.next;
  const most = Math.max(...a.data, ...b.data, 1e-12);
  const lines = tokens.map((spelled, i) =>
    el(
      "tr",
      null,
      el("th", { scope: "row" }, token(spelled)),
      el(
        "td",
        { class: "bar two", "aria-hidden": "true" },
        el("i", { class: "now", style: { transform: `scaleX(${a.data[i] / most})` } }),
        el("i", { class: "other", style: { transform: `scaleX(${b.data[i] / most})` } }),
      ),
      el("td", { class: "value" }, share("a:next", [ids[i]], a.data[i])),
      el("td", { class: "value" }, share("b:next", [ids[i]], b.data[i])),
    ),
  );
  return el(
    "table",
    { class: "bars next", id: "compare-next" },
    el("caption", { text: word("next_token") }),
    columns(
      word("token"),
      null,
      [el("i", { class: "box now", "aria-hidden": "true" }), names[0]],
      [el("i", { class: "box other", "aria-hidden": "true" }), names[1]],
    ),
    el("tbody", null, lines),
  );
}

function losses(found, names) {
  const shown = ["a", "b"].filter((side) => found[`loss_${side}`] !== null && found[`loss_${side}`] !== undefined);
  if (!shown.length) return null;
  return el(
    "p",
    { class: "equation" },
    `${word("loss")}: `,
    shown
      .map((side) => [
        `${names[side === "a" ? 0 : 1]} `,
        el("strong", null, number(`${side}:loss`, [], found[`loss_${side}`], 4)),
        " nats  ",
      ])
      .flat(),
  );
}

function by_position(page, found) {
  if (!found.kl) return found.aligned ? null : el("p", { class: "hint", text: word("not_aligned") });
  const n = found.kl.shape[0];
  const rows = [
    ["kl", found.kl],
    ["furthest", found.furthest],
  ].filter(([, array]) => array);
  const cells = (name, array) =>
    Array.from({ length: n }, (_, i) => el("td", null, number(`compare.${name}`, [i], array.data[i], 4)));
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": word("by_position") },
    el(
      "table",
      { class: "by-position", id: "compare-positions" },
      el("caption", { text: word("by_position") }),
      columns(null, ...found.a.tokens.map((spelled) => token(spelled))),
      el(
        "tbody",
        null,
        rows.map(([name, array]) =>
          el("tr", null, el("th", { scope: "row", text: word(`compare_${name}`) }), cells(name, array)),
        ),
        found.agree
          ? el(
              "tr",
              null,
              el("th", { scope: "row", text: word("agree") }),
              found.agree.map((yes) => el("td", { text: yes ? "✓" : "✗" })),
            )
          : null,
      ),
    ),
  );
}

function stream(page, found) {
  if (!found.stream) return null;
  const { names, relative } = found.stream;
  return el(
    "div",
    null,
    el("h3", { text: word("stream_apart") }),
    matrix({
      id: "compare-stream",
      title: word("stream_apart"),
      values: relative.data,
      shape: relative.shape,
      rows: names,
      columns: found.a.tokens,
      kind: "magnitude",
      limit_of: "largest:compare.stream",
      of: (i, j) => ["compare.stream", [i, j]],
      cell_height: 22,
      digits: 3,
      caption: word("stream_apart_note"),
    }),
  );
}
