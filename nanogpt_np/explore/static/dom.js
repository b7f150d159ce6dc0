// Elements, and numbers that know where they come from. Enters: plain data. Leaves: DOM nodes, text only, never
// markup. Every number that the page shows goes through number() or share(): `data-of` names the array and the place,
// which is what the tests look up in NumPy's arrays. Next: colours.js.

export function el(tag, properties, ...children) {
  const made = document.createElement(tag);
  fill(made, properties ?? {});
  made.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes ?? {})) made.setAttribute(name, value);
  made.append(...children.filter(Boolean));
  return made;
}

function fill(made, { on = {}, data = {}, style = {}, text, ...attributes }) {
  if (text !== undefined) made.textContent = text;
  for (const [name, what] of Object.entries(on)) made.addEventListener(name, what);
  for (const [name, value] of Object.entries(data)) made.dataset[name] = value;
  for (const [name, value] of Object.entries(style)) made.style.setProperty(name, value);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
}

// written(-0.123456) -> "−0.123"; masked places are −∞, what is not there is –.
export function written(x, digits = 3) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  const small = digits >= 3 && size !== 0 && size < 0.5 * 10 ** -digits;
  return signed(small || size >= 1e7 ? x.toExponential(1) : x.toFixed(digits));
}

// fixed(-0.0001, 2) -> "0.00": where there is room for few characters.
export function fixed(x, digits) {
  return signed(x.toFixed(digits));
}

function signed(text) {
  return (Number(text) === 0 ? text.replace("-", "") : text).replaceAll("-", "−");
}

// percent(0.1234) -> "12.3 %"
export function percent(p) {
  if (p === null || p === undefined || Number.isNaN(p)) return "–";
  if (p > 0 && p < 0.0005) return "<0.1 %";
  return `${(100 * p).toFixed(1)} %`;
}

export function place(name, index) {
  return index.length ? `${name}[${index.join(",")}]` : name;
}

export function number(name, index, value, digits = 3) {
  return el("span", { class: "n", data: { of: place(name, index), v: String(value) }, text: written(value, digits) });
}

export function share(name, index, value) {
  return el("span", { class: "n", data: { of: place(name, index), v: String(value) }, text: percent(value) });
}

// grouped(1234567) -> "1,234,567"
export function grouped(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

export function count(name, index, value) {
  const text = value === null || value === undefined ? "–" : grouped(value);
  return el("span", { class: "n", data: { of: place(name, index), v: String(value) }, text });
}

// The first line of a table: what stands above each column, text or a node; null where nothing does.
export function columns(...names) {
  const cells = names.map((name) => (name === null ? el("td") : el("th", { scope: "col" }, name)));
  return el("thead", null, el("tr", null, cells));
}

// A token as it looks everywhere; `spelled` comes from the server: " a" as ␣a, stray bytes as \xe4.
export function token(spelled, properties = {}) {
  return el("span", { ...properties, class: `token ${properties.class ?? ""}`, text: spelled });
}

// Takes the place of what stood in `root`; whoever had the focus has it again where its id is still there, and what
// somebody was typing stays typed.
export function replace(root, ...children) {
  const held = root.contains(document.activeElement) ? document.activeElement.id : "";
  const fields = [...root.querySelectorAll("textarea[id], input[type=text][id]")];
  const typed = fields.filter((field) => field.value !== field.defaultValue);
  root.replaceChildren(...children.flat().filter(Boolean));
  for (const before of typed) {
    const now = document.getElementById(before.id);
    if (!now || now.defaultValue !== before.defaultValue) continue; // it was read meanwhile, or is another one
    now.value = before.value;
    now.setSelectionRange(before.selectionStart, before.selectionEnd);
  }
  if (held) document.getElementById(held)?.focus({ preventScroll: true });
}

export function button(id, text, act, properties = {}) {
  return el("button", { type: "button", id, text, on: { click: act }, ...properties });
}

// A label and a <select>; `options` are [value, text] pairs.
export function choice(id, label, options, value, act) {
  const list = options.map(([name, text]) =>
    el("option", { value: name, text, selected: String(name) === String(value) }),
  );
  const select = el("select", { id, on: { change: (event) => act(event.target.value) } }, list);
  return el("label", { class: "choice", for: id }, el("span", { text: label }), select);
}

// Tabs of one choice among few: buttons that say which one is pressed; the arrow keys go from one to the next.
export function choices(id, label, options, value, act) {
  const buttons = options.map(([name, text]) =>
    el("button", {
      type: "button",
      id: `${id}-${name}`,
      "aria-pressed": String(name) === String(value) ? "true" : "false",
      text,
      on: { click: () => act(name) },
    }),
  );
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    buttons[(at + step + buttons.length) % buttons.length].focus();
  };
  return el("div", { class: "choices", role: "group", "aria-label": label, on: { keydown: move } }, buttons);
}

// So that what only the eye sees is said too; one polite line for the whole page.
export function say(text) {
  const line = document.getElementById("said");
  if (line) line.textContent = text;
}
