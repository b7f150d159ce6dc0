// From logits to the next token: four sliders over real logits. Enters: the logits of a position. Leaves: bars that
// follow the sliders at once, and what each stage removed. Next: view_write.js.

import { ask } from "./ask.js";
import { button, columns, count, el, grouped, number, percent, share, token } from "./dom.js";
import { order_of, removed_by, stages } from "./sampling.js";
import { set, state } from "./state.js";
import { word } from "./words.js";

const SLIDERS = [
  { name: "temperature", from: 0, to: 2, by: 0.05, digits: 2, off: 1 },
  { name: "top_k", from: 0, to: 100, by: 1, digits: 0, off: 0 },
  { name: "top_p", from: 0.01, to: 1, by: 0.01, digits: 2, off: 1 },
  { name: "min_p", from: 0, to: 0.5, by: 0.005, digits: 3, off: 0 },
];
const SHOWN = 16;

export async function view_next(page) {
  const found = await logits_at(page);
  const sampler = {
    page,
    logits: found.logits,
    tokens: found.tokens,
    ids: found.ids,
    order: order_of(found.logits),
    waiting: false,
  };
  sampler.rows = Array.from({ length: Math.min(SHOWN, found.ids.length) }, (_, i) => bar_row(sampler, i));
  sampler.summary = el("ol", { class: "stages", id: "stages" });
  sampler.sum = el("p", { class: "hint" });
  const view = [
    el("p", { class: "lead" }, word("next_lead"), " ", token(page.look.tokens[page.position])),
    el(
      "div",
      { class: "sliders" },
      SLIDERS.map((slider) => slider_row(sampler, slider)),
    ),
    el(
      "div",
      { class: "controls" },
      button("sliders-off", word("sliders_off"), () => reset(sampler), { class: "quiet" }),
      button("write-on", word("write_on"), () => set({ view: "write", step: 0 }), { class: "quiet" }),
    ),
    el(
      "table",
      { class: "bars next", id: "next-bars" },
      el("caption", { text: word("next_caption") }),
      columns(word("token"), null, word("now"), word("as_said"), word("logit")),
      el(
        "tbody",
        null,
        sampler.rows.map((row) => row.line),
      ),
    ),
    el("h3", { text: word("stages_head") }),
    sampler.summary,
    sampler.sum,
  ];
  redraw(sampler);
  return view;
}

async function logits_at(page) {
  if (page.is_last) {
    const found = await ask("/api/sampling", page.side);
    return { logits: found.logits.data, tokens: found.tokens, ids: found.ids };
  }
  const found = await ask("/api/array", { ...page.side, name: "logits", index: [page.position] });
  return { logits: found.array.data, tokens: page.next.tokens, ids: page.next.ids };
}

function slider_row(sampler, { name, from, to, by, digits, off }) {
  const shown = el("output", { for: `slider-${name}`, id: `shown-${name}`, text: state[name].toFixed(digits) });
  const input = el("input", {
    type: "range",
    id: `slider-${name}`,
    min: from,
    max: to,
    step: by,
    value: state[name],
    "aria-describedby": `about-${name}`,
  });
  input.addEventListener("input", () => {
    shown.textContent = Number(input.value).toFixed(digits);
    set({ [name]: Number(input.value) }, { quiet: true });
    soon(sampler);
  });
  input.dataset.off = off;
  return el(
    "div",
    { class: "slider" },
    el("label", { for: `slider-${name}`, text: word(name) }),
    input,
    shown,
    el("small", { id: `about-${name}`, text: word(`about_${name}`) }),
  );
}

function reset(sampler) {
  for (const { name, digits, off } of SLIDERS) {
    set({ [name]: off }, { quiet: true });
    document.getElementById(`slider-${name}`).value = off;
    document.getElementById(`shown-${name}`).textContent = off.toFixed(digits);
  }
  redraw(sampler);
}

// Once a frame, however often the slider speaks.
function soon(sampler) {
  if (sampler.waiting) return;
  sampler.waiting = true;
  requestAnimationFrame(() => {
    sampler.waiting = false;
    redraw(sampler);
  });
}

function bar_row(sampler, i) {
  const id = sampler.ids[i];
  const now = el("i", { class: "now" });
  const raw = el("i", { class: "raw" });
  const shown = share("sampled", [id], 0);
  const gone = el("span", { class: "gone" });
  const line = el(
    "tr",
    null,
    el(
      "th",
      { scope: "row" },
      el(
        "button",
        {
          type: "button",
          class: "plain",
          id: `next-${id}`,
          title: `id ${id} · ${word("who_wrote")}`,
          on: { click: () => set({ view: "attribution", token: id }) },
        },
        token(sampler.tokens[i]),
      ),
    ),
    el("td", { class: "bar", "aria-hidden": "true" }, raw, now),
    el("td", { class: "value" }, shown, gone),
    el("td", { class: "value" }, share("raw", [id], 0)),
    el("td", { class: "value" }, number("logits", [sampler.page.position, id], sampler.logits[id], 2)),
  );
  return { line, now, raw, shown, gone, said: line.querySelector(`[data-of^="raw"]`) };
}

// What the sliders make of the logits. Rows are in the order of the raw probabilities, and so are all stages.
function redraw(sampler) {
  const found = stages(sampler.logits, sampler.order, state);
  const last = found[found.length - 1];
  const longest = Math.max(last.probs[0], found[0].probs[0]);
  sampler.rows.forEach((row, i) => {
    const [raw, now, by] = [found[0].probs[i], last.probs[i], removed_by(found, i)];
    row.now.style.transform = `scaleX(${now / longest})`;
    row.raw.style.transform = `scaleX(${raw / longest})`;
    row.line.classList.toggle("removed", by !== null);
    write(row.shown, by ? "0.0 %" : percent(now), now);
    write(row.said, percent(raw), raw);
    row.gone.textContent = by ? ` ${word(by)}` : "";
  });
  summarize(sampler, found);
}

function write(node, text, value) {
  node.textContent = text;
  node.dataset.v = String(value);
}

// What each stage left; the lines stay as long as the same stages are there, and only their numbers change.
function summarize(sampler, found) {
  const names = found.map((stage) => stage.name).join();
  if (sampler.named !== names) {
    sampler.named = names;
    sampler.lines = found.map((stage, i) => stage_line(stage, i));
    sampler.summary.replaceChildren(...sampler.lines.map((line) => line.node));
    sampler.sum.textContent = word("sampling_note");
  }
  found.forEach((stage, i) => {
    const { n_left, mass, bar } = sampler.lines[i];
    write(n_left, grouped(stage.n_left), stage.n_left);
    write(mass, percent(stage.mass), stage.mass);
    bar.style.transform = `scaleX(${stage.mass})`;
  });
}

function stage_line(stage, i) {
  const n_left = count(`sampled.n_left:${i}`, [], stage.n_left);
  const mass = share(`sampled.mass:${i}`, [], stage.mass);
  const bar = el("i");
  const track = el("span", { class: "tiny-bar", "aria-hidden": "true" }, bar);
  const name = el("b", { text: word(stage.name) });
  const node = el("li", null, name, " ", n_left, ` ${word("left")} · `, mass, ` ${word("kept")}`, track);
  return { node, n_left, mass, bar };
}
