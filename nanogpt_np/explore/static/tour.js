// A guided tour: ten stops, one idea each, told with the numbers that the page shows anyway. Enters: `page`. Leaves:
// a panel; each stop leads to an address, to the code and to a notebook. The last room.

import { ask, at, exported_from, is_exported } from "./ask.js";
import { button, count, el, number, place, replace, share, token } from "./dom.js";
import { set, state } from "./state.js";
import { word } from "./words.js";

const STOPS = [
  {
    name: "tokens",
    to: () => ({ view: "embed" }),
    code: ["nanogpt_np/tokenizer/bpe.py", "Tokenizer.explain"],
    notebook: "notebooks/01_bytes.py",
    numbers: (page) => [
      count("n_tokens", [], page.look.ids.length),
      token(page.look.tokens[0]),
      el("span", { text: String(page.look.ids[0]) }),
      el("span", { text: String(page.info.n_embd) }),
    ],
  },
  {
    name: "stream",
    to: () => ({ view: "stream", measure: "norms" }),
    code: ["nanogpt_np/model.py", "block"],
    notebook: "notebooks/05_block.py",
    numbers: (page) =>
      [0, 2 * page.info.n_layer].map((i) =>
        number("stream.norms", [i, page.position], at(page.look.stream.norms, i, page.position), 1),
      ),
  },
  {
    name: "heads",
    to: (page) => ({ view: "attention", stage: "probs", ...previous_head(page) }),
    code: ["nanogpt_np/model.py", "attention"],
    notebook: "notebooks/04_heads.py",
    numbers: (page) => {
      const { layer, head } = previous_head(page);
      return [
        el("code", { text: `L${layer}.H${head}` }),
        page.look.heads ? share("heads.previous", [layer, head], at(page.look.heads.previous, layer, head)) : "–",
      ];
    },
  },
  {
    name: "score",
    to: (page) => ({ view: "attention", stage: "scores", ...previous_head(page), cell: score_cell(page) }),
    code: ["nanogpt_np/ops.py", "attention_probs"],
    notebook: "notebooks/03_attention.py",
    numbers: (page) => [
      token(page.look.tokens[page.position]),
      token(page.look.tokens[Math.max(page.position - 1, 0)]),
      el("span", { text: String(page.info.d_head) }),
    ],
  },
  {
    name: "ffn",
    to: (page) => ({ view: "ffn", site: "hidden", layer: Math.floor(page.info.n_layer / 2) }),
    code: ["nanogpt_np/model.py", "ffn"],
    notebook: "notebooks/05_block.py",
    numbers: (page) => {
      const layer = Math.floor(page.info.n_layer / 2);
      return [
        el("span", { text: String(page.info.n_hidden) }),
        el("code", { text: `L${layer}` }),
        share("ffn.on", [layer, page.position], at(page.look.ffn.on, layer, page.position)),
      ];
    },
  },
  {
    name: "lens",
    to: () => ({ view: "stream", measure: "probs" }),
    code: ["nanogpt_np/lens/logits.py", "logit_lens_view"],
    notebook: "notebooks/12_inside.py",
    numbers: (page) =>
      [0, 2 * page.info.n_layer].flatMap((i) => [
        token(page.look.lens.guesses[i][page.position]),
        share("lens.probs", [i, page.position], at(page.look.lens.probs, i, page.position)),
      ]),
  },
  {
    name: "attribution",
    to: () => ({ view: "attribution", token: -1, against: -1 }),
    code: ["nanogpt_np/lens/attribution.py", "attribution_view"],
    notebook: "notebooks/12_inside.py",
    numbers: async (page) => {
      const found = await ask(
        "/api/attribution",
        page.is_last ? page.side : { ...page.side, position: page.position },
      );
      return [
        token(found.token),
        number("attribution.total", [], found.total, 4),
        number("attribution.sum", [], found.sum, 4),
      ];
    },
  },
  {
    name: "sampling",
    to: () => ({ view: "next", temperature: 0.8, top_p: 0.95 }),
    code: ["nanogpt_np/generation/sampling.py", "top_p"],
    notebook: "notebooks/06_sampling.py",
    numbers: (page) =>
      page.next
        ? [
            el("span", { text: String(page.info.n_vocab) }),
            token(page.next.tokens[0]),
            share("next.probs", [page.position, page.next.ids[0]], page.next.probs.data[0]),
          ]
        : ["–", "–", "–"],
  },
  {
    name: "cache",
    to: () => ({ view: "write", step: 3 }),
    code: ["nanogpt_np/kv_cache.py", "KVCache"],
    notebook: "notebooks/09_cache.py",
    numbers: (page) =>
      page.story
        ? [
            count("steps:3:cache.flops", [], page.story.steps[Math.min(3, page.story.steps.length - 1)].cache.flops),
            count(
              "steps:3:cache.flops_without",
              [],
              page.story.steps[Math.min(3, page.story.steps.length - 1)].cache.flops_without,
            ),
          ]
        : ["–", "–"],
  },
  {
    name: "backward",
    to: () => ({ view: "backward", way: "" }),
    code: ["nanogpt_np/training/backward.py", "loss_and_grads"],
    notebook: "notebooks/07_backward.py",
    numbers: (page) =>
      page.gradients
        ? [
            number("grad.loss", [], page.gradients.loss, 4),
            number("grad.norms", [0, page.learned], at(page.gradients.norms, 0, page.learned), 4),
          ]
        : ["–", "–"],
  },
];

// The head that looks at the token before it most.
function previous_head(page) {
  const scores = page.look.heads?.previous;
  if (!scores) return { layer: 0, head: 0 };
  const best = scores.data.indexOf(Math.max(...scores.data));
  return { layer: Math.floor(best / page.info.n_head), head: best % page.info.n_head };
}

function score_cell(page) {
  const { layer, head } = previous_head(page);
  return place(`blocks.${layer}.attn.scores`, [head, page.position, Math.max(page.position - 1, 0)]);
}

function go(page, stop) {
  const to = stop < 1 || stop > STOPS.length ? {} : STOPS[stop - 1].to(page);
  set({ cell: "", way: "", ...to, tour: stop < 1 || stop > STOPS.length ? 0 : stop });
}

export async function draw_tour(root, page) {
  const stop = state.tour;
  root.hidden = stop < 1 || stop > STOPS.length;
  document.body.classList.toggle("touring", !root.hidden);
  if (root.hidden) return replace(root);
  const { name, numbers } = STOPS[stop - 1];
  const shown = await Promise.resolve(numbers(page)).catch(() => []);
  if (state.tour !== stop) return null;
  replace(
    root,
    el(
      "div",
      { class: "tour-head" },
      el("h2", { id: "tour-title", text: `${stop}. ${word(`tour_${name}`)}` }),
      button("tour-end", "×", () => set({ tour: 0 }), { "aria-label": word("tour_end"), class: "quiet round" }),
    ),
    el("p", null, filled(word(`tour_${name}_text`), shown)),
    links(STOPS[stop - 1]),
    el(
      "div",
      { class: "tour-foot" },
      button("tour-back", word("back"), () => go(page, stop - 1), { class: "quiet" }),
      el("span", { text: `${stop} / ${STOPS.length}` }),
      button("tour-here", word("tour_show"), () => go(page, stop), { class: "quiet" }),
      button("tour-on", stop === STOPS.length ? word("tour_end") : word("onward"), () => go(page, stop + 1), {
        class: "loud",
      }),
    ),
  );
  root.setAttribute("aria-label", word("tour"));
  return null;
}

// "from {0} to {1}" with numbers in their places.
function filled(text, shown) {
  return text.split(/\{(\d)\}/).map((part, i) => (i % 2 ? (shown[Number(part)] ?? "–") : part));
}

function links({ code, notebook }) {
  const base = is_exported ? exported_from.sources : "source/";
  const link = (path, text) =>
    base
      ? el("a", {
          href: `${base}${path}${is_exported ? (exported_from.sources_suffix ?? "") : ""}`,
          target: "_blank",
          rel: "noopener",
          text,
        })
      : el("code", { text });
  return el(
    "p",
    { class: "links" },
    `${word("code")}: `,
    link(code[0], `${code[0]} · ${code[1]}`),
    ` — ${word("notebook")}: `,
    link(notebook, notebook.replace(".py", "")),
  );
}
