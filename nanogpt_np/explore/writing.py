"""What a page sees of choosing, and of two passes: stages of sampling, a text as it grows, what the cache saves.

Enter: an open GPT, or two, and the request's fields. Leave: dicts for JSON, of arrays that lens/ made.
Next: explore/answers.py.
"""

import numpy as np

from ..errors import InputError
from ..lens import cost, differences, generated, learning, sampling, seen
from . import packed
from .asked import MOST_NEW, TooLong, prompt_of, sampling_of, whole

MOST_ROWS = 1000  # of a run's log
CUTS = ("top-k", "top-p", "min-p", "greedy")  # the stages that take tokens away, by how their names begin


def stages(gpt, body):
    """The last position's distribution through every stage of sampling, and the raw logits for a page's sliders."""
    ids, how, k = prompt_of(gpt, body), sampling_of(body), whole(body, "k", 40, 1, 200)
    row = seen.look(gpt, ids).logits[-1]
    view = sampling.stages_view(gpt, ids, row, how.spelled(gpt.tokenizer), k)
    return {"logits": packed.array(row), "names": view.names, "stages": _stages(view), "ids": packed.wholes(view.ids),
            "tokens": view.tokens, "probs": packed.array(view.probs), "removed_by": _removed(view)}  # fmt: skip


def generation(gpt, body):
    """A seeded continuation, step by step: what could have come, what was drawn, what was read and what was kept."""
    ids, how = prompt_of(gpt, body), sampling_of(body)
    n_new, k = whole(body, "n_new", 24, 1, MOST_NEW), whole(body, "k", 8, 1, 50)
    found = generated.generation_view(gpt, ids, n_new, how, whole(body, "seed", 0), k)
    said = [step.id for step in found.steps]
    steps = [_step(step, len(ids) + n) for n, step in enumerate(found.steps)]
    per_token = cost.cost_view(gpt.config).cache_size
    return {"prompt_ids": packed.wholes(found.prompt_ids), "prompt_tokens": found.prompt, "reason": found.reason,
            "text": None if gpt.tokenizer is None else gpt.tokenizer.decode(said), "steps": steps,
            "cache": {"bytes_per_token": per_token, "n_ctx": gpt.config.n_ctx}}  # fmt: skip


def _step(step, n_read):
    view = step.view
    candidates = {"ids": packed.wholes(view.ids), "tokens": view.tokens, "raw": packed.numbers(view.probs[0]),
                  "probs": packed.numbers(view.probs[-1]), "removed_by": _removed(view)}  # fmt: skip
    kept = {"length": n_read, "new": step.n_read, "bytes": step.cost.cache_size, "flops": step.cost.flops,
            "flops_without": step.cost.flops_without}  # fmt: skip
    return {"id": step.id, "token": step.token, "prob": packed.number(step.prob), "raw": packed.number(step.raw),
            "candidates": candidates, "stages": _stages(view), "entropy": packed.number(step.entropy),
            "cache": kept}  # fmt: skip


def next_cost(gpt, body):
    """What the next token costs with the cache and without, and how both grow over the context."""
    n_before = len(prompt_of(gpt, body))
    if n_before >= gpt.config.n_ctx:
        raise TooLong(f"prompt: expected at most {gpt.config.n_ctx - 1} tokens, got {n_before}; shorten the text")
    view = cost.cost_view(gpt.config, n_before)
    names = ("n_before", "flops", "weight_bytes", "cache_bytes", "cache_size", "flops_without")
    return {**{name: int(getattr(view, name)) for name in names}, "parts": [part._asdict() for part in view.parts],
            "growth": packed.array(cost.cache_growth(gpt.config))}  # fmt: skip


def comparison(first, first_body, second, second_body):
    """Two sides: what each would say next, and how far apart they are."""
    one, two = (
        differences.reading(gpt, prompt_of(gpt, body), _without(body))
        for gpt, body in ((first, first_body), (second, second_body))
    )
    view = differences.difference_view(first, one, two)
    named = view.ids is not None
    found = {"aligned": len(one.ids) == len(two.ids),
             "next": {"tokens": view.tokens, "ids": packed.wholes(view.ids), "a": packed.array(view.probs[0]),
                      "b": packed.array(view.probs[1]), "logits_a": packed.array(view.logits[0]),
                      "logits_b": packed.array(view.logits[1])} if named else None,
             "agree": None if view.agree is None else packed.wholes(view.agree),
             "stream": None if view.relative is None else {"names": view.names,
                                                           "relative": packed.array(view.relative)}}  # fmt: skip
    for name in ("kl", "furthest"):
        found[name] = None if getattr(view, name) is None else packed.array(getattr(view, name))
    for name, side, losses in zip("ab", (one, two), view.losses, strict=True):
        found[f"losses_{name}"] = packed.array(losses)
        found[f"loss_{name}"] = packed.number(np.nanmean(losses)) if len(losses) > 1 else None
        found[name] = {"tokens": side.tokens, "ids": packed.wholes(side.ids)}
    return found


def curves(run):
    """The columns of a run's log, a number or None for each of `rows`; `run`: its folder.

    Of a long log some rows, evenly chosen: so many of all, and so many of those with a held-out loss.
    """
    view = learning.training_view(run)
    rows = np.union1d(_some(np.arange(len(view.step))), _some(np.flatnonzero(np.isfinite(view.held_out_loss))))
    names = ("step", "tokens", "train_loss", "held_out_loss", "lr", "grad_norm")
    return {"rows": packed.wholes(rows), "n_rows": len(view.step),
            **{name: packed.numbers(getattr(view, name)[rows]) for name in names}}  # fmt: skip


def _some(rows):
    """At most MOST_ROWS of them, the first and the last too."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).round().astype(int)]


def _without(body):
    parts = body.get("ablate", [])
    if not isinstance(parts, list):
        raise InputError('ablate: expected a list of parts such as [3, 1] or [3, "ffn"], got something else')
    return parts


def _stages(view):
    before = [view.n_left[0], *view.n_left[:-1]]
    return [
        {"name": name, "n_left": int(left), "removed": int(more - left), "mass": packed.number(mass)}
        for name, left, more, mass in zip(view.names, view.n_left, before, view.mass, strict=True)
    ]


def _removed(view):
    """For each token the stage that took it away; None where it may still be drawn."""
    found = []
    for column in view.probs.T:
        cut = [name for name, share in zip(view.names, column, strict=True) if share == 0 and name.startswith(CUTS)]
        found.append(cut[0] if cut else None)
    return found
