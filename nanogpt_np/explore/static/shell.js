// What stands around the model: the head with its choices, the prompt, the tokens, the foot. Enters: `page`. Leaves:
// DOM. Next: map.js.

import { exported_from, is_exported } from "./ask.js";
import { forget_colours } from "./colours.js";
import { button, choice, choices, el, number, replace, token } from "./dom.js";
import { set, state } from "./state.js";
import { scrubber } from "./view_write.js";
import { speak, word } from "./words.js";

const MOST_TYPED = 60000; // characters; the server's own limit is on bytes, and it says so itself

// Language and theme of the whole page.
export function dress() {
  speak(state.lang);
  const root = document.documentElement;
  root.lang = state.lang === "zh" ? "zh-Hans" : "en";
  if (state.theme) root.dataset.theme = state.theme;
  else delete root.dataset.theme;
  forget_colours();
  document.title = `${word("title")} · nanogpt_np`;
  const skip = document.getElementById("skip");
  skip.textContent = word("skip");
}

export function is_dark() {
  return state.theme ? state.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
}

export function draw_head(page) {
  const models = page.models.map((model) => [model.id, run_of(model)]);
  replace(
    document.getElementById("masthead"),
    el(
      "div",
      { class: "brand" },
      el("h1", null, word("title")),
      el("p", { class: "tagline", text: word("tagline") }),
    ),
    el(
      "div",
      { class: "controls" },
      choice("model", word("model"), models, state.model, (model) =>
        set({ model, step: -1, position: -1, cell: "", token: -1, against: -1 }),
      ),
      choice(
        "ops",
        word("numbers_as"),
        (page.ops ?? ["float32"]).map((name) => [name, name]),
        state.ops,
        (ops) => set({ ops }),
      ),
      choices(
        "lang",
        word("language"),
        [
          ["en", "English"],
          ["zh", "中文"],
        ],
        state.lang,
        (lang) => set({ lang }),
      ),
      button("theme", is_dark() ? "☀" : "☾", () => set({ theme: is_dark() ? "light" : "dark" }), {
        "aria-label": word(is_dark() ? "to_light" : "to_dark"),
        class: "quiet round",
      }),
      button("tour-start", word("tour"), () => set({ tour: 1 }), { class: "loud" }),
    ),
  );
}

function run_of(model) {
  const name = model.label ?? model.id;
  return model.run?.step ? `${name} · ${word("step")} ${model.run.step}` : name;
}

export function draw_prompt(page) {
  replace(document.getElementById("prompt-part"), form(page), strip(page), page.story ? scrubber(page) : null);
  const chosen = document.querySelector('.chip[aria-pressed="true"]');
  if (chosen) chosen.parentElement.scrollTop = chosen.offsetTop - chosen.parentElement.offsetTop - 60; // a long text
}

function form(page) {
  const area = el("textarea", {
    id: "prompt",
    rows: "1",
    maxlength: MOST_TYPED,
    spellcheck: "false",
    autocomplete: "off",
    "aria-label": word("prompt"),
    readonly: is_exported,
  });
  area.defaultValue = state.prompt ?? "";
  const read = () => set({ prompt: area.value, step: -1, position: -1, cell: "", token: -1, against: -1 });
  const size = () => {
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight + 2, 160)}px`;
  };
  area.addEventListener("input", size);
  requestAnimationFrame(size);
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    read();
  });
  return el(
    "form",
    {
      class: "prompt",
      on: {
        submit: (event) => {
          event.preventDefault();
          read();
        },
      },
    },
    area,
    el("button", { type: "submit", id: "read", class: "loud", text: word("read"), disabled: is_exported }),
    button("write", word("write"), () => set({ step: 0, view: "write", position: -1 }), { class: "quiet" }),
  );
}

// All tokens: those read, those written, and, while scrubbing, those still to come.
function strip(page) {
  const n_prompt = page.story ? page.story.prompt_ids.length : page.look.ids.length;
  const chips = page.look.tokens.map((spelled, i) => chip(page, spelled, i, n_prompt));
  const coming = page.story
    ? page.story.steps
        .slice(page.look.ids.length - n_prompt)
        .map((step, i) =>
          el(
            "button",
            {
              type: "button",
              id: `coming-${i}`,
              class: "chip coming",
              "aria-label": `${word("go_to_step")}: ${step.token}`,
              on: { click: () => set({ step: page.look.ids.length - n_prompt + i, position: -1 }) },
            },
            token(step.token),
          ),
        )
    : [];
  const walk = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !event.target.closest(".chip")) return;
    const all = [...event.currentTarget.querySelectorAll(".chip")];
    event.preventDefault();
    all[Math.min(Math.max(all.indexOf(event.target.closest(".chip")) + step, 0), all.length - 1)].focus();
  };
  return el(
    "div",
    { class: "strip-of-tokens", role: "group", "aria-label": word("tokens"), on: { keydown: walk } },
    chips,
    coming,
  );
}

function chip(page, spelled, i, n_prompt) {
  const loss = page.look.losses.data[i];
  return el(
    "button",
    {
      type: "button",
      id: `chip-${i}`,
      class: `chip${i >= n_prompt ? " made" : ""}`,
      "aria-pressed": i === page.position ? "true" : "false",
      title: `${word("position")} ${i} · id ${page.look.ids[i]}`,
      on: { click: () => set({ position: i }) },
    },
    token(spelled),
    el("small", null, Number.isFinite(loss) ? number("losses", [i], loss, 2) : "·"),
  );
}

export function draw_foot(root) {
  const file = is_exported
    ? el("p", { text: `${word("from_a_file")} ${exported_from.date ?? ""} ${exported_from.command ?? ""}` })
    : null;
  replace(
    root,
    el("p", null, el("strong", { text: word("checked") }), ` ${word("checked_how")}`),
    el("p", { text: word("colours_note") }),
    colours(),
    file,
    el("p", { class: "hint", text: word("keys_note") }),
  );
}

// What each colour means; the same in the notebooks and the figures.
function colours() {
  const names = ["query", "key", "value", "residual", "attention", "ffn"];
  return el(
    "ul",
    { class: "colours" },
    names.map((name) =>
      el("li", null, el("i", { class: `swatch ${name}`, "aria-hidden": "true" }), word(`colour_${name}`)),
    ),
  );
}
