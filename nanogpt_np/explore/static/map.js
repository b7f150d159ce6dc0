// The whole model at once. Enters: the first picture (/api/look), perhaps gradients. Leaves: a row for each block:
// the residual stream with what was added to it, every head, the feed-forward network, what the model would say here.
// The same picture backwards has the gradient's length where the stream's was. Next: map_backward.js.

import { at } from "./ask.js";
import { as_css, colour_of, ink_on } from "./colours.js";
import { button, el, number, replace, share, token } from "./dom.js";
import {
  effect_of_ffn,
  effect_of_head,
  effect_of_token,
  key_of_patterns,
  pattern_colour,
  shows_gradients,
  where_it_begins,
} from "./map_backward.js";
import { spine } from "./spine.js";
import { is_backward, is_off, set, state, switched, way_for } from "./state.js";
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
      button(`way-${name}`, text, () => set({ way: way_for(name) }), {
        "aria-pressed": is_backward() === (name === "backward") ? "true" : "false",
      }),
    ),
  );
  return el("div", { class: "map-head" }, el("h2", { text: word("whole_model") }), flip);
}

function made_of(page) {
  const backward = shows_gradients(page);
  const problem = is_backward() && !backward ? el("p", { class: "trouble", text: page.gradients_problem }) : null;
  const text = word(backward ? "map_backward_note" : "map_note");
  const i = backward ? page.learned : page.position;
  return el(
    "div",
    { class: "made-of" },
    problem,
    page.stands ? el("p", { class: "trouble", id: "stands", text: word("stands_at_prompt") }) : null,
    el("p", null, text, " ", token(page.look.tokens[i]), ` (${word("position")} ${i}).`),
    backward ? key_of_patterns(page) : null,
  );
}

// What the stream's width measures at one of its places, and its address.
function length_at(page, place) {
  if (shows_gradients(page)) {
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

// What each half-block adds: to the stream, or to its gradient on the way back.
function added_at(page) {
  return shows_gradients(page)
    ? { array: page.gradients.through, name: "grad.through", i: page.learned }
    : { array: page.look.stream.added, name: "stream.added", i: page.position };
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
    spine(start.value / start.most, end.value / end.most, added, shows_gradients(page)),
    el(
      "span",
      { class: "length", title: word(shows_gradients(page) ? "gradient_length" : "stream_length") },
      number(...end.of, end.value, shows_gradients(page) ? 3 : 1),
    ),
  );
}

function embedding_row(page) {
  const open = button("open-embed", word("embedding"), () => set({ view: "embed" }), { class: "plain part" });
  const start = length_at(page, 0);
  const i = shows_gradients(page) ? page.learned : page.position;
  const said = el(
    "div",
    { class: "embed-sum" },
    token(page.look.tokens[i]),
    el("span", { class: "sign", text: "+" }),
    el("span", { class: "pill", text: `${word("position")} ${i}` }),
  );
  return el(
    "div",
    { class: `row edge${state.view === "embed" ? " open" : ""}` },
    el(
      "div",
      { class: "stream" },
      spine(0, start.value / start.most, null, shows_gradients(page)),
      el("span", { class: "length" }, number(...start.of, start.value, shows_gradients(page) ? 3 : 1)),
    ),
    el("div", { class: "what" }, open, said),
    guess(page, 0),
  );
}

function block_row(page, layer) {
  const { array, name, i } = added_at(page);
  const most = longest(array, i);
  const [attention, ffn] = [2 * layer, 2 * layer + 1].map((half) => at(array, half, i));
  const added = { attention: attention / most, ffn: ffn / most };
  const digits = shows_gradients(page) ? 3 : 1;
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
          number(name, [2 * layer, i], attention, digits),
        ),
        el(
          "span",
          { class: "added ffn" },
          `+ ${word("ffn")} `,
          number(name, [2 * layer + 1, i], ffn, digits),
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
      "aria-label": `L${layer}.H${head}${gone ? `, ${word("is_off")}` : ""}${effect_of_head(page, layer, head)}`,
      title: `L${layer}.H${head}${effect_of_head(page, layer, head)}`,
      on: {
        click: () => set({ view: "attention", layer, head, cell: "" }),
        keydown: (event) => switch_by_key(event, layer, event.key === "X" ? "attn" : head),
      },
    },
    shows_gradients(page)
      ? thumbnail(page.gradients.patterns, layer, head, pattern_colour)
      : thumbnail(page.look.attention, layer, head, (share) => colour_of(share, "probability", 255)),
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
function thumbnail(patterns, layer, head, colour) {
  const n = patterns.shape[2];
  const canvas = el("canvas", { width: n, height: n, class: "thumb", "aria-hidden": "true" });
  const pen = canvas.getContext("2d");
  const picture = pen.createImageData(n, n);
  const start = (layer * patterns.shape[1] + head) * n * n;
  for (let i = 0; i < n * n; i++) {
    picture.data.set([...colour(patterns.data[start + i]), 255], 4 * i);
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
      title: word(shows_gradients(page) ? "times_ffn" : "ffn_share"),
      on: {
        click: () => set({ view: "ffn", layer, cell: "" }),
        keydown: (event) => switch_by_key(event, layer, "ffn"),
      },
    },
    el("span", { class: "ffn-name" }, word("ffn"), gone ? el("span", { class: "unseen", text: word("is_off") }) : null),
    ...(shows_gradients(page)
      ? effect_of_ffn(page, layer)
      : [
          el("span", { class: "gauge", "aria-hidden": "true" }, el("i", { style: { width: `${100 * on}%` } })),
          el("span", { class: "ffn-on" }, share("ffn.on", [layer, page.position], on), ` ${word("on")}`),
        ]),
  );
}

// What the model would say if it stopped here; backwards, what the token that begins there does to the loss.
function guess(page, place) {
  if (shows_gradients(page)) return place === 0 ? effect_of_token(page) : el("span");
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
  const next = shows_gradients(page) ? null : page.next;
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
    el("div", { class: "stream" }, spine(end.value / end.most, 0, null, shows_gradients(page))),
    el(
      "div",
      { class: "what" },
      button("open-next", word("logits_part"), () => set({ view: "next" }), { class: "plain part" }),
      shows_gradients(page) ? where_it_begins(page) : el("ol", { class: "next-list" }, list),
    ),
  );
}
