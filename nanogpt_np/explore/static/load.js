// What a view needs to know, asked for in as few questions as can be. Enters: the state. Leaves: `page`: the models,
// the first picture, the position that is looked at, perhaps a generation and gradients. Next: shell.js.

import { ask, forget, is_exported, key, when_files_change } from "./ask.js";
import { number, share } from "./dom.js";
import { is_backward, set, state } from "./state.js";
import { generation_body } from "./view_write.js";

const EVERY = 3000; // ms between two looks at a run that goes on
const PATIENCE = 30000; // ms that a look may take
let following = 0;
let looking = 0;

export async function load_models(page) {
  const found = await ask("/api/models");
  Object.assign(page, { models: found.models, defaults: found, ops: found.ops, number, share });
  page.place = () => place(page);
  page.move = (names) => move(page, names);
  const known = found.models.some((model) => model.id === state.model);
  const quiet = { quiet: true };
  if (!known) set({ model: found.default }, quiet);
  if (state.prompt === null) set({ prompt: found.prompt ?? "" }, quiet);
  if (!state.lang) set({ lang: found.lang ?? browser_language() }, quiet);
}

function browser_language() {
  return (navigator.language ?? "en").toLowerCase().startsWith("zh") ? "zh" : "en";
}

function side_of(prompt) {
  const side = { model: state.model, prompt };
  if (state.ops !== "float32") side.ops = state.ops;
  return side;
}

// What is known of the model whose pass stands there; where the one that was chosen cannot read the text, of the last.
export function place_model(page) {
  page.info = page.models.find((model) => model.id === page.side.model) ?? page.models[0];
}

// The first picture; while a generation is scrubbed, of the text up to its step.
export async function load_look(page) {
  page.prompt_side = side_of(state.prompt);
  await load_story(page);
  const at = page.story ? Math.min(state.step, page.story.steps.length - 1) : -1;
  const side =
    at < 0
      ? page.prompt_side
      : side_of([...page.story.prompt_ids, ...page.story.steps.slice(0, at + 1).map((step) => step.id)]);
  page.stands = false;
  try {
    page.look = await ask("/api/look", side);
    page.side = side;
  } catch (error) {
    if (!is_exported || at < 0) throw error; // a file holds as many steps as there is room for
    page.stands = true;
    page.side = page.prompt_side;
    page.look = await ask("/api/look", page.side);
  }
  place_model(page);
  place(page);
  await Promise.all([load_next(page), load_gradients(page)]);
}

async function load_story(page) {
  page.story_problem = "";
  const body = generation_body(page.prompt_side);
  const asked = key("/api/generate", body);
  if (page.story_asked !== asked) page.story = null;
  if (state.step < 0 || page.story) return;
  try {
    page.story = await ask("/api/generate", body);
    page.story_asked = asked;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    Object.assign(page, { story: null, story_problem: error.message });
  }
}

async function load_next(page) {
  page.next = page.look.next;
  if (!page.is_last) page.next = await ask("/api/next", { ...page.side, position: page.position }).catch(() => null);
}

async function load_gradients(page) {
  Object.assign(page, { gradients: null, gradients_problem: "" });
  if (!is_backward() && state.view !== "backward") return;
  const body = { ...page.side };
  if (state.loss_at >= 0) body.position = Math.min(state.loss_at, page.look.ids.length - 2);
  try {
    page.gradients = await ask("/api/gradients", body);
  } catch (error) {
    page.gradients_problem = error.message;
  }
}

// What a change of view or position needs besides.
async function move(page, names) {
  if (names.includes("position")) await load_next(page);
  if (names.includes("view") && state.view === "backward" && !page.gradients) await load_gradients(page);
}

// Where the reader looks, within what there is.
function place(page) {
  if (!page.look) return;
  const n = page.look.ids.length;
  const inside = (value, most) => Math.min(Math.max(value, 0), most - 1);
  page.position = state.position < 0 || state.position >= n ? n - 1 : state.position;
  page.is_last = page.position === n - 1;
  page.learned = Math.min(page.position, Math.max(n - 2, 0)); // behind the last one nothing is known: no gradient
  page.layer = inside(state.layer, page.info.n_layer);
  page.head = inside(state.head, page.info.n_head);
}

// A run that goes on is looked at again and again: what it saved is drawn anew, what it logged is added. `told`:
// { saved(model), grown(model), well(), trouble(error) }.
export function follow_training(page, told) {
  clearTimeout(following);
  if (is_exported || !page.models.some((model) => model.run)) return;
  when_files_change(() => look_again(page, told));
  next_look(page, told, EVERY);
}

async function look_again(page, told) {
  const mine = (looking += 1);
  next_look(page, told, PATIENCE); // should this one hang
  try {
    if (!document.hidden) await compare_with_before(page, told);
    if (mine === looking) told.well();
  } catch (error) {
    if (mine === looking) told.trouble(error);
  }
  if (mine === looking) next_look(page, told, EVERY);
}

function next_look(page, told, wait) {
  clearTimeout(following);
  following = setTimeout(() => look_again(page, told), wait);
}

async function compare_with_before(page, told) {
  const found = await ask("/api/models");
  const before = new Map(page.models.map((model) => [model.id, model]));
  page.models = found.models;
  const beside = state.view === "compare" && state.mode === "model" ? state.b_model : "";
  const shown = found.models.filter((model) => model.id === state.model || model.id === beside);
  const saved = shown.find((model) => before.has(model.id) && before.get(model.id).stamp !== model.stamp);
  if (saved) {
    forget();
    return told.saved(saved);
  }
  const line = (models) => JSON.stringify(models.map((model) => [model.id, model.run]));
  return line(found.models) === line([...before.values()]) ? null : told.grown();
}
