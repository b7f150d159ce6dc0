"""What NumPy says about every number that the page may show. Enter: the address that stands beside it, in `data-of`.

`Expected(gpt, text)("blocks.2.attn.scores[1,5,2]")` -> a float. Arrays are those of one pass of the model with ops.py,
of lens/ and of generation/sampling.py; what made a number ("term:…", "rest:…") is multiplied here, in float64.
"""

import math
import re
from functools import cached_property

import numpy as np

from nanogpt_np import lens, ops
from nanogpt_np.generation import sampling as stages
from nanogpt_np.generation.sampling import Sampling
from nanogpt_np.lens import interventions


class Expected:
    """Numbers by address for one text; `ids` instead of a text, `sampling`: where the sliders stand."""

    def __init__(self, gpt, ids, sampling=None, token=None, against=None, position=-1, loss_at=None):
        self.gpt, self.config = gpt, gpt.config
        self.ids = gpt.tokenizer.encode(ids) if isinstance(ids, str) else list(ids)
        self.sampling, self.token, self.against = sampling or Sampling(), token, against
        self.position, self.loss_at = position % len(self.ids), loss_at
        logits, self.acts = gpt(self.ids, keep_acts=True)
        self.logits = logits[0]
        self.probs = np.stack([stages.probabilities(row[None])[0] for row in self.logits])

    def __call__(self, address):
        kind, _, rest = address.partition(":")
        if kind in ("term", "rest", "bias", "sum", "n_terms", "extra"):
            return self.made(kind, rest)
        name, index = parsed(address)
        if name.removeprefix("-").startswith("largest"):
            inner, inner_index = parsed(address.partition(":")[2])
            array = np.asarray(self.array(inner), np.float64)[inner_index]
            return (-1 if name.startswith("-") else 1) * np.abs(array[np.isfinite(array)]).max()
        return float(np.asarray(self.array(name))[index])

    def array(self, name):
        """The whole array of a name, or a number."""
        if name.startswith("blocks."):
            return self.in_block(*name.split(".", 2)[1:])
        if name.startswith("grad."):
            return self.gradient(name.removeprefix("grad."))
        wing, _, part = name.partition(".")
        views = {"stream": self.residual, "lens": self.lens, "heads": self.heads, "attribution": self.attribution}
        if wing in views:
            view = views[wing]
            return sum(view.parts().values()) if part == "sum" else getattr(view, part)
        return getattr(self, f"whole_{name.replace(':', '_').replace('.', '_')}")

    def in_block(self, layer, name):
        block = self.acts.blocks[int(layer)]
        if name in ("x", "x_mid", "attn_out", "ffn_out"):
            return getattr(block, name)[0]
        wing, part = name.split(".")
        acts = getattr(block, wing)
        if part == "mixed":
            return acts.probs[0] @ acts.v[0]
        if part in ("scaled", "masked"):
            scaled = acts.scores[0] / math.sqrt(self.config.d_head)
            later = np.triu(np.ones(scaled.shape[1:], bool), 1)
            return scaled if part == "scaled" else np.where(later, -np.inf, scaled)
        return getattr(acts, part)[0]

    def gradient(self, name):
        view = self.gradients
        if name.startswith("params:"):
            return view.params[name.removeprefix("params:")]
        if name == "patterns":
            return lens.pattern_gradients(self.gpt, self.ids, view)
        if name in ("loss", "norms", "through", "times_input", "heads", "times_head", "times_ffn"):
            return getattr(view, name)
        places = {"embedded": 0, "x": len(view.names) - 1}
        found = re.fullmatch(r"blocks\.(\d+)\.(x|x_mid)", name)
        place = 2 * int(found[1]) + (found[2] == "x_mid") if found else places[name]
        return view.stream[place]

    # ---- views of lens/, made when they are asked for
    @cached_property
    def residual(self):
        return lens.residual_view(self.gpt, self.ids)

    @cached_property
    def lens(self):
        return lens.logit_lens_view(self.gpt, self.ids)

    @cached_property
    def heads(self):
        return lens.head_summaries(self.gpt, self.ids)

    @cached_property
    def attribution(self):
        return lens.attribution_view(self.gpt, self.ids, self.token, self.against, self.position)

    @cached_property
    def gradients(self):
        return lens.gradients_view(self.gpt, self.ids, self.loss_at)

    @property
    def places(self):
        return lens.stream(self.acts).x

    # ---- whole arrays by name
    @cached_property
    def whole_tokens(self):
        return self.gpt.params["wte"]["weight"][self.ids]

    @cached_property
    def whole_positions(self):
        return self.gpt.params["wpe"]["weight"][: len(self.ids)]

    @property
    def whole_embedded(self):
        return self.acts.embedded[0]

    @property
    def whole_x(self):
        return self.acts.x[0]

    @property
    def whole_final(self):
        return self.acts.final[0]

    @property
    def whole_logits(self):
        return self.logits

    @property
    def whole_probs(self):
        return self.probs

    whole_next_probs = whole_probs

    @property
    def whole_raw(self):
        return self.probs[self.position]

    @cached_property
    def whole_sampled(self):
        return drawn_from(self.logits[self.position][None], self.sampling)

    @cached_property
    def stage_rows(self):
        return lens.sampling_view(self.gpt, self.ids[: self.position + 1], self.sampling)

    @property
    def whole_losses(self):
        behind = -np.log(self.probs[np.arange(len(self.ids) - 1), self.ids[1:]])
        return np.append(np.nan, behind)

    @property
    def whole_n_tokens(self):
        return len(self.ids)

    @cached_property
    def whole_ffn_on(self):
        return np.stack([(block.ffn.pre_gelu[0] > 0).mean(-1) for block in self.acts.blocks])

    @cached_property
    def whole_neighbours(self):
        rows = self.gpt.params["wte"]["weight"].astype(np.float64)
        rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        return rows @ rows[self.ids[self.position]]

    @cached_property
    def whole_growth(self):
        return lens.cache_growth(self.config)

    # ---- what made a number
    def made(self, kind, rest):
        if kind in ("term", "extra"):
            cell, *more = re.split(r"(?<=\]):", rest)
            more = more[0].split(":")
        elif kind == "rest":
            cell, places = re.split(r"(?<=\]):", rest)
            more = [int(place) for place in places.split("+")]
        else:
            cell, more = rest, []
        name, index = parsed(cell)
        if kind == "extra":
            return self.extra(name, index, more[0])
        a, b, products, bias = self.operands(name, index)
        if kind == "term":
            return float({"a": a, "b": b, "product": products}[more[0]][int(more[1])])
        if kind == "rest":
            return float(np.delete(products, more).sum())
        return float({"bias": bias, "sum": products.sum() + (bias or 0), "n_terms": len(products)}[kind])

    def operands(self, name, index):
        """-> two float64 vectors, their products, and the bias (or None)."""
        if name.split(".")[-1] == "probs":
            logits = self.logits if name == "probs" else self.array(name.replace("probs", "masked"))
            row = np.asarray(logits, np.float64)[index[:-1]]
            return row, None, np.exp(row - row.max()), None
        sums = self.summands(name)
        if sums:
            values = np.array([np.asarray(self.array(part), np.float64)[index] for part in sums])
            return values, None, values, None
        a, b, bias = self.factors(name, index)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return a, b, a * b, None if bias is None else float(bias)

    def summands(self, name):
        if name == "embedded":
            return "tokens", "positions"
        found = re.fullmatch(r"blocks\.(\d+)\.(x|x_mid)", name)
        if name != "x" and (not found or name == "blocks.0.x"):
            return None
        if found and found[2] == "x_mid":
            return f"blocks.{found[1]}.x", f"blocks.{found[1]}.attn_out"
        layer = self.config.n_layer - 1 if name == "x" else int(found[1]) - 1
        return f"blocks.{layer}.x_mid", f"blocks.{layer}.ffn_out"

    def factors(self, name, index):
        if name == "logits":
            return self.whole_final[index[0]], self.gpt.params["wte"]["weight"][index[1]], None
        _, layer, part = name.split(".", 2)
        here, params = (lambda other: self.in_block(layer, other)), self.gpt.params["h"][int(layer)]
        if part in ("attn.q", "attn.k", "attn.v"):
            head, i, j = index
            column = "qkv".index(part[-1]) * self.config.n_embd + head * self.config.d_head + j
            weights = params["attn"]["c_attn"]
            return here("attn.x")[i], weights["weight"][:, column], weights["bias"][column]
        if part == "attn.scores":
            return here("attn.q")[index[0], index[1]], here("attn.k")[index[0], index[2]], None
        if part == "attn.mixed":
            return here("attn.probs")[index[0], index[1]], here("attn.v")[index[0], :, index[2]], None
        source, weights = {
            "attn_out": ("attn.merged", params["attn"]["c_proj"]), "ffn.pre_gelu": ("ffn.x", params["mlp"]["c_fc"]),
            "ffn_out": ("ffn.hidden", params["mlp"]["c_proj"]),
        }[part]  # fmt: skip
        return here(source)[index[0]], weights["weight"][:, index[1]], weights["bias"][index[1]]

    def extra(self, name, index, what):
        part = name.split(".")[-1]
        if part == "probs":
            row, _, exps, _ = self.operands(name, index)
            return float({"x": row[index[-1]], "max": row.max(), "exp": exps[index[-1]], "total": exps.sum()}[what])
        if part == "scaled":
            return float({"x": self.array(name.replace("scaled", "scores"))[index],
                          "factor": 1 / math.sqrt(self.config.d_head)}[what])  # fmt: skip
        if part == "masked":
            return float(self.array(name.replace("masked", "scaled"))[index])
        if part == "hidden":
            x = self.array(name.replace("hidden", "pre_gelu"))[index]
            slope = ops.gelu_new_backward(np.ones(1), np.array([x], np.float64))[0]
            return float({"x": x, "slope": slope}[what])
        return self.norm_extra(name, index, what)

    def norm_extra(self, name, index, what):
        if name == "final":
            x, params = self.whole_x, self.gpt.params["ln_f"]
        else:
            _, layer, part = name.split(".", 2)
            is_attn = part == "attn.x"
            x = self.in_block(layer, "x" if is_attn else "x_mid")
            params = self.gpt.params["h"][int(layer)]["ln_1" if is_attn else "ln_2"]
        row = x[index[0]].astype(np.float64)
        return float({"x": row[index[1]], "mean": row.mean(), "std": np.sqrt(row.var() + self.config.layer_norm_eps),
                      "weight": params["weight"][index[1]], "bias": params["bias"][index[1]]}[what])  # fmt: skip


class Sliders(Expected):
    """The same with the stages of the sliders: "sampled.n_left:1"."""

    def __call__(self, address):
        found = re.fullmatch(r"sampled\.(n_left|mass):(\d+)", address)
        return float(getattr(self.stage_rows, found[1])[int(found[2])]) if found else super().__call__(address)


class Written(Expected):
    """The same while a generation is scrubbed: "steps:3:raw[421]"; `prompt`: its ids, `new`: those that it wrote."""

    def __init__(self, gpt, prompt, new, sampling, step):
        super().__init__(gpt, [*prompt, *new[: step + 1]], sampling)
        self.prompt, self.new, self.known = list(prompt), list(new), {}

    def __call__(self, address):
        found = re.fullmatch(r"steps:(\d+):([\w.]+)(?:\[(\d+)\])?", address)
        if not found:
            return self.cost(address) if address.startswith("cost:") else super().__call__(address)
        step, what, token = int(found[1]), found[2], found[3]
        if what.startswith("cache."):
            return self.cache(step, len(self.prompt) + step, what.removeprefix("cache."))
        raw, probs = self.distributions(step)
        if what == "entropy":
            return float(-(raw[raw > 0] * np.log(raw[raw > 0])).sum())
        return float(probs[self.new[step]] if what == "prob" else {"raw": raw, "probs": probs}[what][int(token)])

    def distributions(self, step):
        """What came next before that step: as the model said it, and as it was drawn from; each [n_vocab]."""
        if step not in self.known:
            logits = self.gpt([*self.prompt, *self.new[:step]])[0, -1:]
            self.known[step] = stages.probabilities(logits)[0], drawn_from(logits, self.sampling)
        return self.known[step]

    def cache(self, step, length, what):
        """How a cache stands after a step has read its input: all of the prompt first, then a token at a time."""
        new = len(self.prompt) if step == 0 else 1
        bytes_ = 2 * self.config.n_layer * self.config.n_embd * 4 * length
        known = {"length": length, "new": new, "kept": length - new, "bytes": bytes_}
        cost = lens.cost_view(self.config, length - 1)
        return known[what] if what in known else {"flops": cost.flops, "flops_without": cost.flops_without}[what]

    def cost(self, address):
        _, part, what = re.fullmatch(r"(cost):(.*):(\w+)", address).groups()
        parts = lens.cost_view(self.config, len(self.prompt)).parts
        (found,) = [other for other in parts if other.name == part]
        return getattr(found, what)


class Beside(Expected):
    """Two passes: "a:next[421]", "b:loss", "compare.kl[3]"; `b`: another Expected, or parts that are switched off."""

    def __init__(self, gpt, ids, b=None, off=()):
        super().__init__(gpt, ids)
        self.b = b or Without(gpt, self.ids, off)

    def __call__(self, address):
        if address[:2] in ("a:", "b:"):
            side = self if address[0] == "a" else self.b
            name, index = parsed(address[2:])
            return float(side.probs[-1][index]) if name == "next" else float(np.nanmean(side.whole_losses))
        return super().__call__(address)

    def array(self, name):
        if name == "compare.kl":
            a, b = np.log(self.probs), np.log(np.maximum(self.b.probs, 1e-300))
            return (self.probs * (a - b)).sum(-1)
        if name == "compare.furthest":
            return np.abs(self.logits.astype(np.float64) - self.b.logits).max(-1)
        if name == "compare.stream":
            a, b = (np.asarray(side.places, np.float64) for side in (self, self.b))
            return np.linalg.norm(b - a, axis=-1) / np.linalg.norm(a, axis=-1)
        return super().array(name)


class Without(Expected):
    """One pass with parts giving 0, by lens/interventions.py: (layer, head), (layer, "attn"), (layer, "ffn", 5)."""

    def __init__(self, gpt, ids, off):
        super().__init__(gpt, ids)
        changes = {}
        for layer, what, *unit in off:
            if what in ("attn", "ffn") and not unit:
                changes[f"{what}_out", layer] = np.zeros_like
                continue
            site, axis = ("hidden", 1) if unit else ("mixed", 0)
            gone = [part[-1] for part in off if part[0] == layer and (len(part) == 3) == bool(unit)]
            gone = [place for place in gone if isinstance(place, int)]
            changes[site, layer] = lambda array, gone=gone, axis=axis: zeroed(array, gone, axis)
        run = interventions.run(gpt, self.ids, changes)
        self.logits = run.logits
        self.probs = np.stack([stages.probabilities(row[None])[0] for row in self.logits])
        rows = [run.sites["resid_pre", 0]]
        for layer in range(gpt.config.n_layer):
            rows += [run.sites["resid_mid", layer], run.sites["resid_post", layer]]
        self.rows = np.stack(rows)

    @property
    def places(self):
        return self.rows


def drawn_from(logits, sampling):
    """The distribution [n_vocab] that a token is drawn from; greedy: all on one."""
    if sampling.temperature == 0:
        return (np.arange(logits.shape[-1]) == stages.greedy(logits)[0]).astype(float)
    return stages.probabilities(sampling.warp(logits))[0]


def zeroed(array, places, axis):
    np.moveaxis(array, axis, 0)[places] = 0
    return array


def parsed(address):
    """parsed("x[1,2]") -> ("x", (1, 2))"""
    found = re.fullmatch(r"(.*?)(?:\[([\d,]+)\])?", address)
    return found[1], tuple(int(i) for i in found[2].split(",")) if found[2] else ()
