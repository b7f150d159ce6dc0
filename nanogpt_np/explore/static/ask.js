// The one way to numbers. Enters: a path and a body. Leaves: the server's answer, or in an exported page the stored
// one; arrays as { shape, data }. Whatever goes wrong is an Error with one line to show. Next: state.js.

import { word } from "./words.js";

const stored = read_stored();
const remembered = new Map(); // what was asked before comes at once; a few hundred answers at most
const MOST_REMEMBERED = 300;
const CHANGING = ["/api/models", "/api/training"]; // what a run that goes on changes from one look to the next
const stamps = new Map(); // model and ops -> of which files its last answer was
let asking = 0;
let forgotten = 0;
let on_other_files = null;

export const is_exported = stored !== null;
export const exported_state = stored?.state ?? {};
export const exported_from = stored?.exported ?? {};

function read_stored() {
  const element = document.getElementById("nanogpt-data");
  return element ? JSON.parse(element.textContent) : null;
}

export class Unavailable extends Error {}

// key("/api/look", { prompt: "a", model: "m" }) -> '/api/look {"model":"m","prompt":"a"}'
export function key(path, body) {
  return `${path} ${JSON.stringify(sorted(body))}`;
}

function sorted(value) {
  if (Array.isArray(value) || value === null || typeof value !== "object")
    return Array.isArray(value) ? value.map(sorted) : value;
  const names = Object.keys(value)
    .filter((name) => value[name] !== undefined)
    .sort();
  return Object.fromEntries(names.map((name) => [name, sorted(value[name])]));
}

export async function ask(path, body = {}, signal = undefined) {
  const asked = key(path, body);
  if (stored) return from_page(asked);
  if (remembered.has(asked)) return remembered.get(asked);
  const asked_at = forgotten;
  const answer = decoded(await fetched(path, body, signal));
  note_files(body, answer);
  if (CHANGING.includes(path) || asked_at !== forgotten) return answer; // of files that are not there any more
  if (remembered.size >= MOST_REMEMBERED) remembered.delete(remembered.keys().next().value);
  remembered.set(asked, answer);
  return answer;
}

export function forget() {
  remembered.clear();
  forgotten += 1;
}

// `act` is called when an answer came from other files than the one before: what stands there is of older ones.
export function when_files_change(act) {
  on_other_files = act;
}

function note_files(body, answer) {
  const sides = body.a ? [[body.a, answer.a], [body.b, answer.b]] : [[body, answer]]; // prettier-ignore
  let changed = false;
  for (const [side, said] of sides) {
    const name = `${side.model} ${side.ops ?? ""}`;
    const stamp = said?.model?.stamp;
    if (!stamp) continue;
    changed ||= stamps.has(name) && stamps.get(name) !== stamp;
    stamps.set(name, stamp);
  }
  if (!changed) return;
  forget();
  on_other_files?.();
}

function from_page(asked) {
  const found = stored.answers[asked];
  if (found === undefined) throw new Unavailable(word("not_in_this_file"));
  if (!remembered.has(asked)) remembered.set(asked, decoded(found));
  return remembered.get(asked);
}

async function fetched(path, body, signal) {
  const how =
    path === "/api/models"
      ? { signal }
      : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  busy(1);
  try {
    const response = await fetch(path.slice(1), how);
    const answer = await response.json().catch((error) => {
      if (error.name === "AbortError") throw error;
      return null;
    });
    if (response.ok && answer !== null) return answer;
    throw new Error(answer?.error?.message ?? `${response.status} ${response.statusText}`);
  } catch (error) {
    if (error instanceof TypeError) throw new Unavailable(word("server_gone")); // fetch's word for no connection
    throw error;
  } finally {
    busy(-1);
  }
}

// How many questions are under way: for aria-busy, and for whoever waits until the page has come to rest.
function busy(more) {
  asking += more;
  document.body.dataset.asking = String(asking);
  document.body.setAttribute("aria-busy", asking ? "true" : "false");
}

// Arrays come as base64: {"shape": [2, 3], "f4": "…"} -> { shape: [2, 3], data: Float32Array }.
export function decoded(value) {
  if (Array.isArray(value)) return value.map(decoded);
  if (value === null || typeof value !== "object") return value;
  if (value.shape && (value.f4 !== undefined || value.u1 !== undefined)) {
    const bytes = Uint8Array.from(atob(value.f4 ?? value.u1), (character) => character.charCodeAt(0));
    const { f4, u1, ...rest } = value;
    return { ...rest, data: f4 === undefined ? bytes : new Float32Array(bytes.buffer) };
  }
  return Object.fromEntries(Object.entries(value).map(([name, what]) => [name, decoded(what)]));
}

// at({ shape: [2, 3], data }, 1, 2) -> data[5]
export function at(array, ...index) {
  return array.data[index.reduce((sum, i, axis) => sum * array.shape[axis] + i, 0)];
}

// The last axis behind some leading indices, as a view.
export function row(array, ...index) {
  const width = array.shape[array.shape.length - 1];
  const start = index.reduce((sum, i, axis) => sum * array.shape[axis] + i, 0) * width;
  return array.data.subarray(start, start + width);
}
