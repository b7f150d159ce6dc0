// A coloured matrix that can be read number by number. Enters: values, what they are called, the names of rows and columns.
// Leaves: a figure: a canvas that takes the keyboard (arrows go from cell to cell, Enter takes one apart), a line that
// says the number, a key to the colours, and the same numbers as a table. Next: bars.js.

import { as_css, colour_of, css, ink_on } from "./colours.js";
import { button, el, number, place, say, token, written } from "./dom.js";
import { word } from "./words.js";

const FONT = '11px "JetBrains Mono", ui-monospace, Consolas, "DejaVu Sans Mono", monospace';
const MOST_IN_TABLE = 4096;

// `made`: { id, title, values, shape: [rows, columns], rows, columns (labels or null), kind, limit, digits,
//   of(row, column) -> [name, index], picked: [row, column] | null, on_pick(row, column), on_look(row, column), max_cell }
export function matrix(made) {
  const drawing = { ...made, at: made.picked ?? [0, 0], digits: made.digits ?? 2 };
  drawing.limit = made.limit ?? largest(made.values);
  const canvas = el("canvas", { "aria-hidden": "true" });
  const readout = el("p", { class: "readout", id: `${made.id}-readout` });
  const focusable = el("div", {
    class: "matrix", id: made.id, tabindex: "0", role: "application", "aria-roledescription": word("matrix"),
    "aria-label": `${made.title}. ${word("matrix_keys")}`, "aria-describedby": `${made.id}-readout`,
  }, canvas);
  Object.assign(drawing, { canvas, readout, focusable });
  wire(drawing);
  const figure = el("figure", { class: "matrix-figure" }, focusable, readout, legend(drawing), as_table(drawing));
  figure.draw = () => draw(drawing);
  show_at(drawing, ...drawing.at, { first: true });
  new ResizeObserver(() => draw(drawing)).observe(figure);
  return figure;
}

export function largest(values) {
  let most = 0;
  for (const value of values) if (Number.isFinite(value) && Math.abs(value) > most) most = Math.abs(value);
  return most;
}

// Room for labels, and the size of a cell, from the width that there is.
function measure(d) {
  const [n_rows, n_columns] = d.shape;
  const width = d.focusable.clientWidth || 320;
  const longest = (labels) => Math.max(0, ...(labels ?? []).map((label) => [...label].length));
  const left = d.rows ? Math.min(8 + 7 * Math.min(longest(d.rows), 11), width * 0.28) : 0;
  const top = d.columns ? 12 + 6 * Math.min(longest(d.columns), 9) : 0;
  const wide = Math.min((width - left - 14) / n_columns, d.max_cell ?? 46);
  const high = d.cell_height ?? Math.min(Math.max(wide, 7), 34);
  return { left, top, wide, high, width, height: top + high * n_rows + 2 };
}

function draw(d) {
  if (!d.focusable.isConnected) return;
  const size = measure(d);
  const scale = window.devicePixelRatio || 1;
  Object.assign(d.canvas, { width: Math.round(size.width * scale), height: Math.round(size.height * scale) });
  d.canvas.style.height = `${size.height}px`;
  const pen = d.canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = FONT;
  d.size = size;
  draw_cells(d, pen);
  draw_labels(d, pen);
  draw_mark(d, pen);
}

function draw_cells(d, pen) {
  const { left, top, wide, high } = d.size;
  const [n_rows, n_columns] = d.shape;
  const written_there = wide >= 34 && high >= 20;
  const gap = wide > 8 ? 1 : 0;
  d.canvas.painted = []; // what is written in cells, for whoever checks it
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let i = 0; i < n_rows; i++) {
    for (let j = 0; j < n_columns; j++) {
      const value = d.values[i * n_columns + j];
      const colour = colour_of(value, d.kind, d.limit);
      pen.fillStyle = as_css(colour);
      pen.fillRect(left + j * wide, top + i * high, Math.max(wide - gap, 0.5), high - gap);
      if (!written_there || !Number.isFinite(value)) continue;
      const text = written(value, Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : d.digits);
      d.canvas.painted.push([i, j, text]);
      pen.fillStyle = ink_on(colour);
      pen.fillText(text, left + (j + 0.5) * wide, top + (i + 0.5) * high, wide - 2);
    }
  }
}

function draw_labels(d, pen) {
  const { left, top, wide, high } = d.size;
  pen.fillStyle = css("ink");
  if (d.rows && high >= 7) {
    pen.textAlign = "right";
    const every = Math.ceil(11 / high);
    d.rows.forEach((label, i) => i % every || pen.fillText(short(label, 11), left - 5, top + (i + 0.5) * high, left - 6));
  }
  if (!d.columns) return;
  const every = Math.ceil(12 / wide);
  pen.textAlign = "left";
  d.columns.forEach((label, j) => {
    if (j % every) return;
    pen.save();
    pen.translate(left + (j + 0.5) * wide, top - 5);
    pen.rotate(-Math.PI / 3.2);
    pen.fillText(short(label, 10), 0, 0);
    pen.restore();
  });
}

function short(label, most) {
  const characters = [...label];
  return characters.length > most ? `${characters.slice(0, most - 1).join("")}…` : label;
}

function draw_mark(d, pen) {
  const { left, top, wide, high } = d.size;
  const [i, j] = d.at;
  pen.strokeStyle = css("mark");
  pen.lineWidth = 2;
  pen.strokeRect(left + j * wide - 0.5, top + i * high - 0.5, Math.max(wide, 3), Math.max(high, 3));
}

function show_at(d, i, j, { aloud = false, first = false } = {}) {
  d.at = [i, j];
  const [name, index] = d.of(i, j);
  const value = d.values[i * d.shape[1] + j];
  d.readout.replaceChildren(
    el("code", { text: place(name, index) }), " = ", number(name, index, value, 4),
    ...(d.rows ? [" ", token(d.rows[i])] : []), ...(d.columns ? [" → ", token(d.columns[j])] : []),
  );
  if (aloud) say(d.readout.textContent);
  if (!first) d.on_look?.(i, j);
  draw(d);
}

function wire(d) {
  const [n_rows, n_columns] = d.shape;
  const under = (event) => {
    const box = d.canvas.getBoundingClientRect();
    const j = Math.floor((event.clientX - box.left - d.size.left) / d.size.wide);
    const i = Math.floor((event.clientY - box.top - d.size.top) / d.size.high);
    return i >= 0 && j >= 0 && i < n_rows && j < n_columns ? [i, j] : null;
  };
  d.focusable.addEventListener("pointermove", (event) => {
    const found = d.size && under(event);
    if (found && (found[0] !== d.at[0] || found[1] !== d.at[1])) show_at(d, ...found);
  });
  d.focusable.addEventListener("click", (event) => {
    const found = d.size && under(event);
    if (found) { show_at(d, ...found, { aloud: true }); d.on_pick?.(...found); }
  });
  d.focusable.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (event.key === "Enter" || event.key === " ") d.on_pick?.(...d.at);
    else if (event.key === "Home") show_at(d, d.at[0], 0, { aloud: true });
    else if (event.key === "End") show_at(d, d.at[0], n_columns - 1, { aloud: true });
    else if (step) {
      const clamp = (x, n) => Math.min(Math.max(x, 0), n - 1);
      show_at(d, clamp(d.at[0] + step[0], n_rows), clamp(d.at[1] + step[1], n_columns), { aloud: true });
    } else return;
    event.preventDefault();
  });
}

// What the colours measure, and from where to where.
function legend(d) {
  const [name] = d.of(0, 0);
  const stops = Array.from({ length: 9 }, (_, i) => {
    const value = d.kind === "signed" ? d.limit * (i / 4 - 1) : d.limit * (i / 8);
    return el("i", { class: "stop", style: { "background-color": as_css(colour_of(value, d.kind, d.limit)) } });
  });
  const end = (sign) => (d.limit_of
    ? number(sign < 0 ? `-${d.limit_of}` : d.limit_of, [], sign * d.limit, 2)
    : el("span", { text: written(sign * d.limit, 0) }));
  return el("figcaption", { class: "legend" }, el("span", { class: "what", text: d.caption ?? name }),
    el("span", { class: "key" }, d.kind === "signed" ? end(-1) : el("span", { text: "0" }), el("span", { class: "ramp", "aria-hidden": "true" }, stops), end(1)));
}

// The same numbers as a table, made when it is opened.
function as_table(d) {
  if (d.values.length > MOST_IN_TABLE) return null;
  const details = el("details", { class: "as-table", id: `${d.id}-table` }, el("summary", { text: word("as_table") }));
  details.addEventListener("toggle", () => {
    if (details.open && !details.querySelector("table")) details.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": d.title }, filled(d)));
  });
  return details;
}

function filled(d) {
  const [n_rows, n_columns] = d.shape;
  const heading = (labels, i) => el("th", { scope: labels === d.rows ? "row" : "col" }, labels ? token(labels[i]) : String(i));
  const head = el("tr", null, el("td"), Array.from({ length: n_columns }, (_, j) => heading(d.columns, j)));
  const body = Array.from({ length: n_rows }, (_, i) => el("tr", null, heading(d.rows, i),
    Array.from({ length: n_columns }, (_, j) => el("td", null, number(...d.of(i, j), d.values[i * n_columns + j], 4)))));
  return el("table", null, el("thead", null, head), el("tbody", null, body));
}

export function matrix_button(id, text, act) {
  return button(id, text, act, { class: "quiet" });
}
