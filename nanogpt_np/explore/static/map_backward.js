// What the model's picture shows backwards: how the loss depends on each part. Enters: /api/gradients. Leaves: what
// stands where forwards an activation stood. Next: spine.js.

import { at } from "./ask.js";
import { as_css, colour_of } from "./colours.js";
import { el, number, written } from "./dom.js";
import { is_backward } from "./state.js";
import { word } from "./words.js";

const ZERO = 128; // the byte that is 0 in a picture of numbers with a sign; 1 and 255 are its limits

export function shows_gradients(page) {
  return is_backward() && Boolean(page.gradients);
}

export function pattern_colour(level) {
  return colour_of(level - ZERO, "signed", ZERO - 1);
}

// For the ear, and where the pointer rests: what a head does to the loss.
export function effect_of_head(page, layer, head) {
  const found = shows_gradients(page) ? page.gradients.times_head : null;
  return found ? `: ${written(at(found, layer, head), 4)} nats` : "";
}

// A bar to the right raises the loss, one to the left lowers it.
export function effect_of_ffn(page, layer) {
  const all = page.gradients.times_ffn.data;
  const share = (50 * all[layer]) / Math.max(...all.map(Math.abs), 1e-30);
  const style = {
    "margin-left": `${share < 0 ? 50 + share : 50}%`,
    width: `${Math.abs(share)}%`,
    "background-color": share < 0 ? "var(--negative)" : "var(--positive)",
  };
  return [
    el("span", { class: "gauge", "aria-hidden": "true" }, el("i", { style })),
    el("span", { class: "ffn-on" }, number("grad.times_ffn", [layer], all[layer], 4)),
  ];
}

export function effect_of_token(page) {
  const i = page.learned;
  return el(
    "span",
    { class: "guess", title: word("times_input") },
    number("grad.times_input", [i], page.gradients.times_input.data[i], 4),
    el("small", { text: "nats" }),
  );
}

// The way back begins at the loss.
export function where_it_begins(page) {
  return el("p", { class: "hint" }, `${word("loss")} = `, number("grad.loss", [], page.gradients.loss, 4), " nats");
}

export function key_of_patterns(page) {
  const limit = page.gradients.patterns.limit;
  const stops = Array.from({ length: 9 }, (_, i) =>
    el("i", { class: "stop", style: { "background-color": as_css(colour_of(i - 4, "signed", 4)) } }),
  );
  return el(
    "p",
    { class: "key" },
    number("-largest:grad.patterns", [], -limit, 4),
    el("span", { class: "ramp", "aria-hidden": "true" }, stops),
    number("largest:grad.patterns", [], limit, 4),
    " nats",
  );
}
