// Where the reader is, as an address. Enters: the page's query. Leaves: `state`, and set() which changes it, writes
// the address and tells who listens. Two names that belong to everyone are known to all pages: prompt and model.
// Next: words.js has every word.

import { exported_state } from "./ask.js";

// name: [what it is without being said, how it is read]
const FIELDS = {
  model: ["", String],
  prompt: [null, String],
  ops: ["float32", String],
  layer: [0, whole],
  head: [0, whole],
  position: [-1, whole],
  view: ["next", String],
  stage: ["probs", String],
  cell: ["", String],
  site: ["hidden", String],
  temperature: [1, Number],
  top_k: [0, whole],
  top_p: [1, Number],
  min_p: [0, Number],
  seed: [0, whole],
  step: [-1, whole],
  n_new: [24, whole],
  way: ["", String], // of the model's picture; without a choice it is backwards in the view of gradients
  measure: ["probs", String],
  token: [-1, whole],
  against: [-1, whole],
  loss_at: [-1, whole],
  part: ["embedded", String],
  mode: ["heads", String],
  row: [-1, whole],
  off: ["", String],
  b_prompt: [null, String],
  b_model: ["", String],
  b_ops: ["int8", String],
  lang: ["", String],
  theme: ["", String],
  tour: [0, whole],
};

export const state = {};
const listeners = [];
const REST = 100; // ms until a slider that is being moved is written into the address: browsers count such writings
let waiting = 0;

function whole(text) {
  const number = Number(text);
  return Number.isInteger(number) ? number : NaN;
}

export function read_address() {
  const query = new URLSearchParams(location_search());
  for (const [name, [otherwise, read]] of Object.entries(FIELDS)) {
    const said = query.has(name) ? query.get(name) : exported_state[name];
    const value = said === undefined || said === null ? otherwise : read(said);
    state[name] = Number.isNaN(value) ? otherwise : value;
  }
}

function location_search() {
  try {
    return window.location.search;
  } catch {
    return "";
  }
}

export function address(changes = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...state, ...changes })) {
    if (value !== FIELDS[name][0] && value !== null) query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `?${text}` : "?";
}

// `quiet`: the address changes, but nobody has to draw anew (a slider that is being moved).
export function set(changes, { quiet = false } = {}) {
  const changed = Object.keys(changes).filter((name) => !Object.is(state[name], changes[name]));
  if (!changed.length) return;
  Object.assign(state, changes);
  clearTimeout(waiting);
  if (quiet) waiting = setTimeout(() => remember(true), REST);
  else remember(changed.every((name) => name === "cell" || name === "step"));
  if (!quiet) for (const listen of listeners) listen(changed);
}

function remember(replacing) {
  try {
    history[replacing ? "replaceState" : "pushState"](null, "", address());
  } catch {
    // a page inside another (srcdoc), or from disk in some browsers, has no address of its own
  }
}

export function listen(what) {
  listeners.push(what);
}

window.addEventListener("popstate", () => {
  const before = { ...state };
  read_address();
  const changed = Object.keys(state).filter((name) => !Object.is(state[name], before[name]));
  if (changed.length) for (const told of listeners) told(changed);
});

export function is_backward() {
  return state.way ? state.way === "backward" : state.view === "backward";
}

// `way` for a picture of this direction: nothing to be said where it is the view's own.
export function way_for(way) {
  return (way === "backward") === (state.view === "backward") ? "" : way;
}

// "3.5,0.attn,2.ffn,2.ffn.17" -> [[3, 5], [0, "attn"], [2, "ffn"], [2, "ffn", 17]]: a head, halves of blocks, a
// unit: what is switched off.
export function parts_off() {
  return state.off
    .split(",")
    .filter((part) => /^\d+\.(\d+|attn|ffn(\.\d+)?)$/.test(part))
    .map((part) => part.split(".").map((place) => (/^\d/.test(place) ? Number(place) : place)));
}

export function is_off(...part) {
  return parts_off().some((other) => other.join(".") === part.join("."));
}

// What `off` is when this part is switched: off, or on again.
export function switched(...part) {
  const now = parts_off();
  const without = now.filter((other) => other.join(".") !== part.join("."));
  if (without.length === now.length) without.push(part);
  return without
    .map((other) => other.join("."))
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }))
    .join(",");
}

// [3, 5] -> "L3.H5"; `words`: what attention, the feed-forward network and a unit of it are called.
export function part_name([layer, what, unit], words) {
  if (unit !== undefined) return `L${layer} ${words.unit} ${unit}`;
  return typeof what === "number" ? `L${layer}.H${what}` : `L${layer} ${words[what]}`;
}
