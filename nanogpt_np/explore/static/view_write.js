// A generation, token by token, forwards and back, and the cache that makes each next one cheap. Enters:
// /api/generate. Leaves: a view: who might have come at this step, which keys and values were made and which were
// there. Next: growth.js.

import { ask } from "./ask.js";
import { button, columns, count, el, number, share, token } from "./dom.js";
import { css } from "./colours.js";
import { growth } from "./growth.js";
import { set, state } from "./state.js";
import { word } from "./words.js";

export function generation_body(side_of_prompt) {
  const body = { ...side_of_prompt };
  const defaults = { n_new: 24, seed: 0, temperature: 1, top_k: 0, top_p: 1, min_p: 0 };
  for (const [name, otherwise] of Object.entries(defaults)) if (state[name] !== otherwise) body[name] = state[name];
  return body;
}

export async function view_write(page) {
  if (!page.story)
    return [
      el("p", { class: "lead", text: word("write_lead") }),
      page.story_problem ? el("p", { class: "trouble", text: page.story_problem }) : null,
      start(),
    ];
  const at = Math.min(Math.max(state.step, 0), page.story.steps.length - 1);
  const cost = await ask("/api/cache", page.prompt_side).catch(() => null);
  const step = page.story.steps[at];
  return [
    el("p", { class: "lead", text: word("write_lead") }),
    settings(),
    said(page, at),
    candidates(step, at),
    cache_picture(page, at),
    cache_numbers(page, at),
    cost ? growth(page, cost, page.story.steps[at].cache.length) : null,
  ];
}

function start() {
  return button("start-writing", word("write_on"), () => set({ step: 0 }), { class: "loud" });
}

function settings_text() {
  const off = (value) => value || "–";
  const all = [state.temperature, off(state.top_k), state.top_p, off(state.min_p)];
  return ["temperature", "top_k", "top_p", "min_p"].map((name, i) => `${word(name)} ${all[i]}`).join(" · ");
}

function settings() {
  const field = (name, from, to) => {
    const input = el("input", {
      type: "number",
      id: `field-${name}`,
      min: from,
      max: to,
      step: 1,
      value: state[name],
    });
    input.addEventListener("change", () => {
      const value = Math.round(Number(input.value));
      set({ [name]: Math.min(Math.max(value, from), to) });
    });
    return el("label", { class: "choice", for: `field-${name}` }, el("span", { text: word(name) }), input);
  };
  return el(
    "div",
    { class: "controls" },
    field("n_new", 1, 64),
    field("seed", 0, 999999),
    el("span", { class: "hint" }, word("drawn_with"), " ", el("output", { text: settings_text() })),
  );
}

function said(page, at) {
  return el(
    "p",
    { class: "said-so-far" },
    page.story.prompt_tokens.map((spelled) => token(spelled)),
    page.story.steps.slice(0, at + 1).map((step, i) => token(step.token, { class: i === at ? "newest" : "made" })),
  );
}

function candidates(step, at) {
  const { ids, tokens, raw, probs, removed_by } = step.candidates;
  const most = Math.max(...probs, ...raw, 1e-12);
  const lines = ids.map((id, i) =>
    el(
      "tr",
      { class: `${id === step.id ? "drawn" : ""}${removed_by[i] ? " removed" : ""}` },
      el("th", { scope: "row" }, token(tokens[i])),
      el(
        "td",
        { class: "bar", "aria-hidden": "true" },
        el("i", { class: "raw", style: { transform: `scaleX(${raw[i] / most})` } }),
        el("i", { class: "now", style: { transform: `scaleX(${probs[i] / most})` } }),
      ),
      el(
        "td",
        { class: "value" },
        share(`steps:${at}:probs`, [id], probs[i]),
        removed_by[i] ? el("span", { class: "gone", text: ` ${removed_by[i]}` }) : null,
      ),
      el("td", { class: "value" }, share(`steps:${at}:raw`, [id], raw[i])),
    ),
  );
  return el(
    "table",
    { class: "bars next", id: "candidates" },
    el(
      "caption",
      null,
      `${word("step")} ${at}: `,
      token(step.token),
      ` ${word("was_drawn")} `,
      share(`steps:${at}:prob`, [], step.prob),
      ` · ${word("measure_entropy")} `,
      number(`steps:${at}:entropy`, [], step.entropy, 3),
      " nats",
    ),
    columns(word("token"), null, word("now"), word("as_said")),
    el("tbody", null, lines),
  );
}

// A row for each step, a column for each position: made now, kept from before, not there yet.
function cache_picture(page, at) {
  const rows = page.story.steps.slice(0, at + 1).map((step) => step.cache);
  const n_columns = page.story.steps[page.story.steps.length - 1].cache.length;
  const canvas = el("canvas", { class: "cache", role: "img", "aria-label": word("cache_alt") });
  const figure = el(
    "figure",
    { class: "cache-figure" },
    el("h3", { text: word("cache_head") }),
    el("p", { class: "hint", text: word("cache_note") }),
    canvas,
    el("figcaption", { class: "legend" }, swatch("made_now"), swatch("kept_from_before"), swatch("not_yet")),
  );
  new ResizeObserver(() => draw_cache(canvas, rows, n_columns, page.story.steps.length)).observe(figure);
  return figure;
}

function swatch(name) {
  return el("span", { class: "what" }, el("i", { class: `box ${name}`, "aria-hidden": "true" }), word(name));
}

function draw_cache(canvas, rows, n_columns, n_rows) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const wide = Math.min(width / n_columns, 18);
  const high = Math.min(Math.max(wide * 0.6, 4), 9);
  Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(high * n_rows * scale) });
  canvas.style.height = `${high * n_rows}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const colours = { made: css("key"), value: css("value"), kept: css("kept"), empty: css("masked") };
  for (let i = 0; i < n_rows; i++) {
    for (let j = 0; j < n_columns; j++) {
      const there = i < rows.length && j < rows[i].length;
      const is_new = there && j >= rows[i].length - rows[i].new;
      const half = (wide - 1) / 2;
      pen.fillStyle = is_new ? colours.made : there ? colours.kept : colours.empty;
      pen.fillRect(j * wide, i * high, half, high - 1);
      pen.fillStyle = is_new ? colours.value : there ? colours.kept : colours.empty;
      pen.fillRect(j * wide + half, i * high, half, high - 1);
    }
  }
}

function cache_numbers(page, at) {
  const { cache } = page.story.steps[at];
  const line = (name, shown) => el("div", null, el("dt", { text: word(name) }), el("dd", null, shown));
  return el(
    "dl",
    { class: "extra", id: "cache-numbers" },
    line("cache_length", count(`steps:${at}:cache.length`, [], cache.length)),
    line("cache_new", count(`steps:${at}:cache.new`, [], cache.new)),
    line("cache_kept", count(`steps:${at}:cache.kept`, [], cache.length - cache.new)),
    line("cache_bytes", count(`steps:${at}:cache.bytes`, [], cache.bytes)),
    line("flops", count(`steps:${at}:cache.flops`, [], cache.flops)),
    line("flops_without", count(`steps:${at}:cache.flops_without`, [], cache.flops_without)),
  );
}

// The strip of tokens with its slider: every view has it, as every view shows the state at this step.
export function scrubber(page) {
  const n = page.story.steps.length;
  const at = Math.min(state.step, n - 1);
  const go = (to) => set({ step: Math.min(Math.max(to, -1), n - 1), position: -1 });
  const slider = el("input", {
    type: "range",
    id: "scrub",
    min: -1,
    max: n - 1,
    step: 1,
    value: at,
    "aria-label": word("scrub"),
  });
  slider.addEventListener("input", () => go(Number(slider.value)));
  return el(
    "div",
    { class: "scrubber" },
    button("scrub-back", "◀", () => go(at - 1), { "aria-label": word("back") }),
    slider,
    button("scrub-on", "▶", () => go(at + 1), { "aria-label": word("onward") }),
    el(
      "span",
      { class: "hint" },
      at < 0
        ? word("prompt_alone")
        : [
            `${word("step")} ${at} / ${n - 1} · `,
            share(`steps:${at}:raw`, [page.story.steps[at].id], page.story.steps[at].raw),
          ],
    ),
  );
}
