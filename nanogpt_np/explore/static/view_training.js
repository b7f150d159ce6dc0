// A run as it learns: the losses over its steps, the learning rate, the length of the gradient. Enters:
// /api/training, the rows of log.csv. Leaves: a view that grows while the run goes on. Next: tour.js.

import { ask } from "./ask.js";
import { button, columns, count, el, number, say, svg } from "./dom.js";
import { set, state } from "./state.js";
import { word } from "./words.js";

const WIDE = 600;
const COLUMNS = ["train_loss", "held_out_loss", "lr", "grad_norm"];
const DIGITS = { train_loss: 4, held_out_loss: 4, lr: 6, grad_norm: 4 };
// What is drawn together, from the top; the first is the tallest.
const PANELS = [
  { names: ["train_loss", "held_out_loss"], high: 220 },
  { names: ["lr"], high: 60 },
  { names: ["grad_norm"], high: 60 },
];

export async function view_training(page) {
  const run = (await ask("/api/training", { model: state.model })).run;
  const lead = el("p", { class: "lead", text: word("training_lead") });
  if (!run) return [lead, el("p", { class: "hint", text: word(page.info.run ? "nothing_logged" : "no_run") })];
  if (!run.step.length) return [lead, el("p", { class: "hint", text: word("nothing_logged") })];
  return [lead, ...curves(run), as_table(run), kept(run)];
}

function cell(run, name, i) {
  const value = run[name][i];
  return name === "step" || name === "tokens"
    ? count(`run.${name}`, [run.rows[i]], value)
    : number(`run.${name}`, [run.rows[i]], value, DIGITS[name]);
}

// One row is looked at; without a choice it is the last, which moves on with the run.
function curves(run) {
  const last = run.rows.length - 1;
  const readout = el("p", { class: "readout", id: "run-readout" });
  const panels = PANELS.map((made) => panel(run, made));
  const look_at = (i, { aloud = false, first = false } = {}) => {
    const at = Math.min(Math.max(i, 0), last);
    run.at = at;
    for (const { mark } of panels) mark(at);
    readout.replaceChildren(...said(run, at));
    if (aloud) say(readout.textContent);
    if (!first) set({ row: at === last ? -1 : run.rows[at] }, { quiet: true });
  };
  const focusable = el(
    "div",
    {
      class: "run",
      id: "run",
      tabindex: "0",
      role: "application",
      "aria-roledescription": word("training_rows"),
      "aria-label": `${word("head_training")}. ${word("training_lead")}`,
      "aria-describedby": "run-readout",
    },
    panels.map((made) => made.figure),
    el(
      "div",
      { class: "run-steps" },
      el("span", null, `${word("step")} `, cell(run, "step", 0)),
      cell(run, "step", last),
    ),
  );
  wire(focusable, run, look_at);
  look_at(nearest_row(run), { first: true });
  return [focusable, readout];
}

function nearest_row(run) {
  if (state.row < 0) return run.rows.length - 1;
  const found = run.rows.findIndex((row) => row >= state.row);
  return found < 0 ? run.rows.length - 1 : found;
}

function said(run, i) {
  return [
    `${word("step")} `,
    cell(run, "step", i),
    ...COLUMNS.filter((name) => run[name][i] !== null).flatMap((name) => [` · ${word(name)} `, cell(run, name, i)]),
  ];
}

function wire(focusable, run, look_at) {
  const under = (event) => {
    const box = focusable.querySelector("svg").getBoundingClientRect();
    const step = run.step[0] + ((event.clientX - box.left) / box.width) * span(run);
    let best = 0;
    run.step.forEach((other, i) => {
      if (Math.abs(other - step) < Math.abs(run.step[best] - step)) best = i;
    });
    return best;
  };
  focusable.addEventListener("pointermove", (event) => {
    const found = under(event);
    if (found !== run.at) look_at(found);
  });
  focusable.addEventListener("click", (event) => look_at(under(event), { aloud: true }));
  focusable.addEventListener("keydown", (event) => {
    const to = {
      ArrowRight: run.at + 1,
      ArrowLeft: run.at - 1,
      PageUp: run.at + 10,
      PageDown: run.at - 10,
      Home: 0,
      End: run.rows.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    look_at(to, { aloud: true });
  });
}

function span(run) {
  return run.step[run.step.length - 1] - run.step[0] || 1;
}

function across(run, step) {
  return (WIDE * (step - run.step[0])) / span(run);
}

// Some columns over the steps, between the least and the most of them, which stand beside it.
function panel(run, { names, high }) {
  const places = names.flatMap((name) => run[name].map((value, i) => ({ name, i, value })));
  const there = places.filter(({ value }) => value !== null);
  const order = there.sort((a, b) => a.value - b.value);
  const [least, most] = [order[0], order[order.length - 1]];
  const range = least ? most.value - least.value : 0;
  const up = (value) => (range > 0 ? high - (high * (value - least.value)) / range : high / 2);
  const here = svg("line", { class: "here", y1: 0, y2: high });
  const drawing = svg(
    "svg",
    { viewBox: `-4 -6 ${WIDE + 8} ${high + 12}`, preserveAspectRatio: "none", "aria-hidden": "true", height: high },
    here,
    ...(least ? names.flatMap((name) => line(run, name, up)) : []),
  );
  const figure = el(
    "figure",
    { class: "run-panel" },
    el("figcaption", { class: "legend" }, names.map((name) => legend(run, name))),
    el("div", { class: "run-most" }, least ? cell(run, most.name, most.i) : "–"),
    drawing,
    el("div", { class: "run-least" }, least && least !== most ? cell(run, least.name, least.i) : null),
  );
  const mark = (i) => {
    here.setAttribute("x1", across(run, run.step[i]));
    here.setAttribute("x2", across(run, run.step[i]));
  };
  return { figure, mark };
}

// Where a row has no value the line goes on to the next that has one; few points are marked each.
function line(run, name, up) {
  const points = run[name].flatMap((value, i) => (value === null ? [] : [[across(run, run.step[i]), up(value)]]));
  const dots = points.map(([x, y]) => `M${x} ${y}h0`).join("");
  return [
    svg("polyline", { class: name, points: points.map((pair) => pair.join(",")).join(" ") }),
    points.length <= 40 ? svg("path", { class: `${name} dots`, d: dots }) : null,
  ];
}

function legend(run, name) {
  const last = run[name].findLastIndex((value) => value !== null);
  return el(
    "span",
    { class: "what" },
    el("i", { class: `box ${name}`, "aria-hidden": "true" }),
    `${word(name)} `,
    last < 0 ? "–" : cell(run, name, last),
  );
}

// The same rows as a table, made when it is opened.
function as_table(run) {
  const names = ["step", "tokens", ...COLUMNS];
  const fill = () =>
    el(
      "table",
      { id: "run-table" },
      columns(...names.map((name) => word(name))),
      el(
        "tbody",
        null,
        run.rows.map((_, i) => el("tr", null, names.map((name) => el("td", null, cell(run, name, i))))),
      ),
    );
  const details = el("details", { class: "as-table", id: "run-rows" }, el("summary", { text: word("as_table") }));
  details.addEventListener("toggle", () => {
    if (!details.open || details.querySelector("table")) return;
    const label = word("training_rows");
    details.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, fill()));
  });
  const thinned = run.rows.length < run.n_rows;
  return el(
    "div",
    null,
    thinned ? el("p", { class: "hint", text: `${run.rows.length} ${word("rows_in_all")} ${run.n_rows}` }) : null,
    details,
  );
}

function kept(run) {
  if (!run.kept.length) return null;
  const whole = run.kept[0].split("@")[0];
  const choose = (id, text) =>
    button(`kept-${text.replaceAll(" ", "-")}`, text, () => set({ model: id, cell: "" }), {
      class: "quiet",
      "aria-pressed": state.model === id ? "true" : "false",
    });
  return el(
    "div",
    null,
    el("h3", { text: word("models_kept") }),
    el(
      "div",
      { class: "controls", id: "run-kept" },
      choose(whole, word("last_saved")),
      run.kept.map((id) => choose(id, id.split("@")[1])),
    ),
  );
}
