// The whole model at once. Enters: the first picture (/api/look), perhaps gradients. Leaves: a row for each block:
// the residual stream with what was added to it, every head, the feed-forward network, what the model would say here.
// The same picture backwards has the gradient's length where the stream's was. Next: spine.js.

import { at } from "./ask.js";
import { as_css, colour_of, ink_on } from "./colours.js";
import { button, el, number, replace, share, token } from "./dom.js";
import { spine } from "./spine.js";
import { is_off, set, state, switched } from "./state.js";
import { word } from "./words.js";

const SHOWN_NEXT = 5;

export function draw_map(root, page) {
  const n_layer = page.info.n_layer;
  const rows = Array.from({ length: n_layer }, (_, layer) => block_row(page, layer));
  replace(
    root,
    heading(page),
    el("div", { class: "rows" }, embedding_row(page), rows, final_row(page)),
    made_of(page),
  );
}

function heading(page) {
  const ways = [
    ["forward", word("forward")],
    ["backward", word("backward")],
  ];
  const flip = el(
    "div",
    { class: "choices", role: "group", "aria-label": word("direction") },
    ways.map(([name, text]) =>
      button(`way-${name}`, text, () => set({ way: name }), {
        "aria-pressed": state.way === name ? "true" : "false",
      }),
    ),
  );
  return el("div", { class: "map-head" }, el("h2", { text: word("whole_model") }), flip);
}

function made_of(page) {
  const text = state.way === "backward" ? word("map_backward_note") : word("map_note");
  const problem =
    state.way === "backward" && !page.gradients ? el("p", { class: "trouble", text: page.gradients_problem }) : null;
  const i = state.way === "backward" ? page.learned : page.position;
  return el(
    "div",
    { class: "made-of" },
    problem,
    el("p", null, text, " ", token(page.look.tokens[i]), ` (${word("position")} ${i}).`),
  );
}

// What the stream's width measures at one of its places, and its address.
function length_at(page, place) {
  if (state.way === "backward" && page.gradients) {
    const i = page.learned;
    return {
      value: at(page.gradients.norms, place, i),
      of: ["grad.norms", [place, i]],
      most: longest(page.gradients.norms, i),
    };
  }
  const i = page.position;
  return {
    value: at(page.look.stream.norms, place, i),
    of: ["stream.norms", [place, i]],
    most: longest(page.look.stream.norms, i),
  };
}

function longest(array, position) {
  let most = 0;
  for (let place = 0; place < array.shape[0]; place++) most = Math.max(most, at(array, place, position));
  return most || 1;
}

function stream_cell(page, before, after, added) {
  const start = length_at(page, before);
  const end = length_at(page, after);
  return el(
    "div",
    { class: "stream" },
    spine(start.value / start.most, end.value / end.most, added, state.way === "backward"),
    el(
      "span",
      { class: "length", title: word(state.way === "backward" ? "gradient_length" : "stream_length") },
      number(...end.of, end.value, state.way === "backward" ? 3 : 1),
    ),
  );
}

function embedding_row(page) {
  const open = button("open-embed", word("embedding"), () => set({ view: "embed" }), { class: "plain part" });
  const start = length_at(page, 0);
  const said = el(
    "div",
    { class: "embed-sum" },
    token(page.look.tokens[page.position]),
    el("span", { class: "sign", text: "+" }),
    el("span", { class: "pill", text: `${word("position")} ${page.position}` }),
  );
  return el(
    "div",
    { class: `row edge${state.view === "embed" ? " open" : ""}` },
    el(
      "div",
      { class: "stream" },
      spine(0, start.value / start.most, null, state.way === "backward"),
      el("span", { class: "length" }, number(...start.of, start.value, state.way === "backward" ? 3 : 1)),
    ),
    el("div", { class: "what" }, open, said),
    guess(page, 0),
  );
}

function block_row(page, layer) {
  const most = longest(page.look.stream.added, page.position);
  const attention = at(page.look.stream.added, 2 * layer, page.position);
  const ffn = at(page.look.stream.added, 2 * layer + 1, page.position);
  const added = { attention: attention / most, ffn: ffn / most };
  const heads = Array.from({ length: page.info.n_head }, (_, head) => head_button(page, layer, head));
  return el(
    "div",
    { class: `row block${state.layer === layer ? " here" : ""}`, id: `block-${layer}` },
    stream_cell(page, 2 * layer, 2 * layer + 2, added),
    el(
      "div",
      { class: "what" },
      el(
        "div",
        { class: "line" },
        el("span", { class: "name", text: `L${layer}` }),
        el(
          "span",
          { class: "added attention" },
          `+ ${word("attention")} `,
          number("stream.added", [2 * layer, page.position], attention, 1),
        ),
        el(
          "span",
          { class: "added ffn" },
          `+ ${word("ffn")} `,
          number("stream.added", [2 * layer + 1, page.position], ffn, 1),
        ),
      ),
      el(
        "div",
        { class: "parts" },
        el("div", { class: "heads", role: "group", "aria-label": `L${layer} ${word("heads")}` }, heads),
        ffn_button(page, layer),
      ),
    ),
    guess(page, 2 * layer + 2),
  );
}

function head_button(page, layer, head) {
  const gone = is_off(layer, head) || is_off(layer, "attn");
  const chosen = state.view === "attention" && state.layer === layer && state.head === head;
  const made = el(
    "button",
    {
      type: "button",
      id: `head-${layer}-${head}`,
      class: `head${gone ? " off" : ""}`,
      "aria-pressed": chosen ? "true" : "false",
      "aria-label": `L${layer}.H${head}${gone ? `, ${word("is_off")}` : ""}`,
      title: `L${layer}.H${head}`,
      on: {
        click: () => set({ view: "attention", layer, head, cell: "" }),
        keydown: (event) => switch_by_key(event, layer, event.key === "X" ? "attn" : head),
      },
    },
    thumbnail(page.look.attention, layer, head),
    el("span", { class: "tag", "aria-hidden": "true", text: `H${head}` }),
  );
  return made;
}

// x takes a part out or puts it back; X on a head does it with the whole attention of its block.
function switch_by_key(event, ...part) {
  if (event.key !== "x" && event.key !== "X") return;
  set({ off: switched(...part), view: "compare", mode: "heads" });
}

// A head's pattern, a pixel for each pair of tokens.
function thumbnail(patterns, layer, head) {
  const n = patterns.shape[2];
  const canvas = el("canvas", { width: n, height: n, class: "thumb", "aria-hidden": "true" });
  const pen = canvas.getContext("2d");
  const picture = pen.createImageData(n, n);
  const start = (layer * patterns.shape[1] + head) * n * n;
  for (let i = 0; i < n * n; i++) {
    const colour = colour_of(patterns.data[start + i], "probability", 255);
    picture.data.set([...colour, 255], 4 * i);
  }
  pen.putImageData(picture, 0, 0);
  return canvas;
}

function ffn_button(page, layer) {
  const on = at(page.look.ffn.on, layer, page.position);
  const chosen = state.view === "ffn" && state.layer === layer;
  const gone = is_off(layer, "ffn");
  return el(
    "button",
    {
      type: "button",
      id: `ffn-${layer}`,
      class: `ffn-part${gone ? " off" : ""}`,
      "aria-pressed": chosen ? "true" : "false",
      title: word("ffn_share"),
      on: {
        click: () => set({ view: "ffn", layer, cell: "" }),
        keydown: (event) => switch_by_key(event, layer, "ffn"),
      },
    },
    el("span", { class: "ffn-name", text: gone ? `${word("ffn")}, ${word("is_off")}` : word("ffn") }),
    el("span", { class: "gauge", "aria-hidden": "true" }, el("i", { style: { width: `${100 * on}%` } })),
    el("span", { class: "ffn-on" }, share("ffn.on", [layer, page.position], on), ` ${word("on")}`),
  );
}

// What the model would say if it stopped here; in the backward view the gradient has that place.
function guess(page, place) {
  const prob = at(page.look.lens.probs, place, page.position);
  const colour = colour_of(prob, "probability", 1);
  const chip = token(page.look.lens.guesses[place][page.position], {
    style: { "background-color": as_css(colour), color: ink_on(colour) },
  });
  return el(
    "button",
    {
      type: "button",
      id: `guess-${place}`,
      class: "guess",
      title: word("guess_note"),
      on: { click: () => set({ view: "stream" }) },
    },
    chip,
    share("lens.probs", [place, page.position], prob),
  );
}

function final_row(page) {
  const next = page.next;
  const list = next
    ? next.tokens
        .slice(0, SHOWN_NEXT)
        .map((spelled, i) =>
          el(
            "li",
            null,
            token(spelled),
            el(
              "span",
              { class: "tiny-bar", "aria-hidden": "true" },
              el("i", { style: { width: `${100 * next.probs.data[i]}%` } }),
            ),
            share("next.probs", [page.position, next.ids[i]], next.probs.data[i]),
          ),
        )
    : [];
  const end = length_at(page, 2 * page.info.n_layer);
  return el(
    "div",
    { class: `row edge${state.view === "next" ? " open" : ""}` },
    el("div", { class: "stream" }, spine(end.value / end.most, 0, null, state.way === "backward")),
    el(
      "div",
      { class: "what" },
      button("open-next", word("logits_part"), () => set({ view: "next" }), { class: "plain part" }),
      el("ol", { class: "next-list" }, list),
    ),
  );
}
