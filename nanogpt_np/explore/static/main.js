// The page begins here. Enters: an address. Leaves: what stands on the screen: the prompt, the whole model, one view
// of it, one number taken apart, a tour. Every view is a function of `page`, which load.js fills. Next: dom.js,
// ask.js, state.js, load.js.

import { is_exported } from "./ask.js";
import { parse_cell, show_cell } from "./cell.js";
import { el, replace, say } from "./dom.js";
import { follow_training, load_look, load_models, place_model } from "./load.js";
import { draw_map } from "./map.js";
import { draw_foot, draw_head, draw_prompt, dress } from "./shell.js";
import { listen, read_address, set, state } from "./state.js";
import { draw_tour } from "./tour.js";
import { view_attention } from "./view_attention.js";
import { view_attribution } from "./view_attribution.js";
import { view_backward } from "./view_backward.js";
import { view_compare } from "./view_compare.js";
import { view_embed } from "./view_embed.js";
import { view_ffn } from "./view_ffn.js";
import { view_next } from "./view_next.js";
import { view_stream } from "./view_stream.js";
import { view_training } from "./view_training.js";
import { view_write } from "./view_write.js";
import { word } from "./words.js";

const VIEWS = {
  embed: view_embed,
  attention: view_attention,
  ffn: view_ffn,
  stream: view_stream,
  attribution: view_attribution,
  next: view_next,
  write: view_write,
  backward: view_backward,
  compare: view_compare,
  training: view_training,
};
// Which parts of the address need another pass of the model, and which only another drawing.
const NEEDS_LOOK = ["model", "prompt", "ops", "step", "way", "loss_at"];
const NEEDS_STORY = ["seed", "n_new", "temperature", "top_k", "top_p", "min_p"];

const page = {};
let drawing = 0;

// A drawing that begins makes the ones before it stale. It is done when `drawn` has its number too: the tests wait
// for that.
function begin() {
  drawing += 1;
  document.body.dataset.drawing = String(drawing);
  return drawing;
}

function skeleton() {
  document
    .getElementById("app")
    .replaceChildren(
      el("a", { class: "skip", href: "#closer", id: "skip" }),
      el("header", { id: "masthead" }),
      el("section", { id: "prompt-part" }),
      el("p", { id: "news" }),
      el("div", { id: "trouble", role: "alert" }),
      el(
        "main",
        { id: "main" },
        el("section", { id: "map" }),
        el(
          "section",
          { id: "closer", tabindex: "-1" },
          el("nav", { id: "tabs" }),
          el("div", { id: "view" }),
          el("section", { id: "cell" }),
        ),
      ),
      el("aside", { id: "tour", hidden: true }),
      el("footer", { id: "foot" }),
      el("p", { id: "said", class: "unseen", role: "status", "aria-live": "polite" }),
    );
}

function draw_tabs() {
  const there = Object.keys(VIEWS).filter((name) => name !== "training" || !is_exported); // a file holds no run
  const list = there.map((name) =>
    el("button", {
      type: "button",
      id: `tab-${name}`,
      "aria-pressed": state.view === name ? "true" : "false",
      text: word(`view_${name}`),
      on: { click: () => set({ view: name, cell: "", ...(name === "backward" ? { way: "" } : {}) }) },
    }),
  );
  replace(document.getElementById("tabs"), list);
  document.getElementById("tabs").setAttribute("aria-label", word("views"));
  document.getElementById("closer").setAttribute("aria-label", word("closer_look"));
  document.getElementById("map").setAttribute("aria-label", word("whole_model"));
  document.getElementById("cell").setAttribute("aria-label", word("one_number"));
}

// A trouble is said in one line, with a way to try again; what stood there stays.
function trouble(error) {
  const root = document.getElementById("trouble");
  if (!error) return root.replaceChildren();
  if (error.name === "AbortError") return null;
  replace(
    root,
    el(
      "p",
      null,
      el("span", { text: error.message }),
      " ",
      el("button", { type: "button", id: "again", text: word("try_again"), on: { click: () => start() } }),
    ),
  );
  document.body.classList.remove("loading");
  page.loading = false;
  document.body.dataset.drawn = String(drawing);
  return null;
}

async function start() {
  try {
    await load_models(page);
    await everything();
    follow_training(page, { saved, grown, well, trouble: lost });
  } catch (error) {
    trouble(error);
  }
}

// A newer checkpoint: the same picture of other numbers, and it says so.
async function saved(model) {
  await everything();
  const step = model.run?.step;
  page.news = `${model.id}: ${word("saved_again")}${step ? ` ${word("log_stands_at")} ${step}.` : ""}`;
  page.news_of = state.model;
  draw_news();
  say(page.news);
}

// A few more steps: their numbers, without a disturbance of whoever chooses a model just now.
async function grown() {
  if (page.loading || !page.side) return;
  place_model(page);
  if (document.activeElement?.id !== "model") draw_head(page);
  if (state.view === "training") await closer(begin());
}

function lost(error) {
  page.lost = true;
  trouble(error);
}

function well() {
  if (page.lost) trouble(null);
  page.lost = false;
}

function draw_news() {
  document.getElementById("news").textContent = page.news_of === state.model ? page.news : "";
}

async function everything() {
  const mine = begin();
  page.loading = true;
  dress(page);
  draw_head(page);
  document.body.classList.add("loading");
  await load_look(page);
  if (mine !== drawing) return;
  page.loading = false;
  trouble(null);
  document.body.classList.remove("loading");
  draw_prompt(page);
  draw_news();
  draw_map(document.getElementById("map"), page);
  await closer(mine);
}

async function closer(mine) {
  draw_tabs();
  draw_tour(document.getElementById("tour"), page);
  draw_foot(document.getElementById("foot"));
  const root = document.getElementById("view");
  const view = VIEWS[state.view] ?? VIEWS.next;
  const heading = el("h2", { text: word(`head_${VIEWS[state.view] ? state.view : "next"}`) });
  try {
    const made = await view(page);
    if (mine !== drawing) return;
    replace(root, heading, ...made.flat().filter(Boolean));
    for (const figure of root.querySelectorAll("figure")) figure.draw?.();
  } catch (error) {
    if (mine !== drawing || error.name === "AbortError") return;
    replace(root, heading, el("p", { class: "trouble", text: error.message }));
  }
  document.body.dataset.drawn = String(mine);
  await show_cell(page, page.cell);
}

function changed(names) {
  page.cell = parse_cell(state.cell);
  page.place();
  if (names.length === 1 && names[0] === "cell") return show_cell(page, page.cell);
  if (
    page.loading ||
    names.some((name) => NEEDS_LOOK.includes(name)) ||
    (page.story && names.some((name) => NEEDS_STORY.includes(name)))
  ) {
    return everything().catch(trouble);
  }
  if (names.some((name) => ["lang", "theme"].includes(name))) return everything().catch(trouble);
  const mine = begin();
  const seen = page.move(names);
  return seen
    .then(() => {
      if (mine !== drawing) return null;
      draw_prompt(page);
      draw_map(document.getElementById("map"), page);
      return closer(mine);
    })
    .catch(trouble);
}

read_address();
page.cell = parse_cell(state.cell);
skeleton();
listen((names) => changed(names));
start().then(() => {
  if (is_exported) say(word("from_a_file"));
});
