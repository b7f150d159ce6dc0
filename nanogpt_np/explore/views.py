"""What a page sees of one pass: each view is a function of a GPT and of what was asked, and computes nothing itself.

Enter: an open GPT and the request's fields. Leave: dicts for JSON (explore/packed.py), of arrays that lens/ made.
Next: explore/writing.py.
"""

from ..errors import InputError, check_whole
from ..lens import arrays, attention, attribution, cells, embeddings, gradients, logits, residual, seen, tokens
from ..tokenizer.display import spell
from . import packed
from .asked import check_size, prompt_of, whole

MOST_SIDE = 128  # of a small picture of attention, in tokens
STRONGEST = 3  # units of a feed-forward network that the first picture names
NEXT = 20  # tokens that may come next
MOST_NEXT = 100
MOST_TERMS = 4096  # of one number, all of them at most


def tokenized(gpt, body):
    """How a text becomes tokens: chunks, and the merges inside each."""
    text = body.get("prompt")
    if gpt.tokenizer is None or not isinstance(text, str):
        raise InputError("prompt: expected a text and a model with a vocabulary, got none; give a text")
    prompt_of(gpt, body)
    explained = gpt.tokenizer.explain(text)
    return {"text": text, "tokens": list(map(spell, explained.tokens)), "ids": list(map(int, explained.ids)),
            "chunks": [_chunk(chunk) for chunk in explained.chunks]}  # fmt: skip


def _chunk(chunk):
    merges = [
        {"rank": int(merge.rank), "left": spell(merge.left), "right": spell(merge.right),
         "parts": list(map(spell, merge.parts))}
        for merge in chunk.merges
    ]  # fmt: skip
    return {"text": chunk.text, "bytes": list(chunk.data), "merges": merges, "tokens": list(map(spell, chunk.tokens)),
            "ids": list(map(int, chunk.ids)), "special": chunk.is_special}  # fmt: skip


def first_picture(gpt, body):
    """The whole model over a text at once: stream, logit lens, every head's pattern, what may come next."""
    ids = prompt_of(gpt, body)
    read, stream, lens = (view(gpt, ids) for view in (tokens.tokens_view, residual.residual_view,
                                                      logits.logit_lens_view))  # fmt: skip
    text = body["prompt"] if isinstance(body["prompt"], str) else _decoded(gpt, ids)
    patterns = attention.attention_grid(gpt, ids).probs
    return {
        "text": text, "tokens": read.tokens, "ids": packed.wholes(read.ids), "losses": packed.array(read.losses),
        "ranks": packed.wholes(read.ranks),
        "stream": {"names": stream.names, **_arrays(stream, ("norms", "added", "along"))},
        "lens": {"names": lens.names, "ids": packed.wholes(lens.ids), "guesses": lens.guesses,
                 **_arrays(lens, ("probs", "entropy", "kl"))},
        "heads": _kinds(gpt, ids), "attention": packed.thumbnails(patterns, MOST_SIDE),
        "ffn": _units(gpt, ids), "next": _next(gpt, ids, len(ids) - 1, NEXT),
    }  # fmt: skip


def next_tokens(gpt, body):
    """The likeliest tokens behind one position."""
    ids = prompt_of(gpt, body)
    position = seen.check_place("position", body.get("position", -1), len(ids))
    return _next(gpt, ids, position, whole(body, "k", NEXT, 1, MOST_NEXT))


def head(gpt, body):
    """One head's attention, stage by stage."""
    ids = prompt_of(gpt, body)
    view = attention.attention_view(gpt, ids, body.get("layer", 0), body.get("head", 0))
    names = ("q", "k", "v", "scores", "scaled", "masked", "probs", "mixed")
    scale = packed.number(gpt.config.d_head**-0.5)
    return {"tokens": view.tokens, "layer": view.layer, "head": view.head, "scale": scale, **_arrays(view, names)}


def array(gpt, body):
    """Any array of a pass, or a part of it."""
    ids, index = prompt_of(gpt, body), body.get("index", [])
    view = arrays.array_view(gpt, ids, body.get("name"), index)
    check_size(view.shape, view.index)
    return {"name": view.name, "index": list(view.index), "shape": list(view.shape), "array": packed.array(view.array)}


def cell(gpt, body):
    """One number, and the terms that made it: the largest ones, and what the others come to together."""
    ids, top = prompt_of(gpt, body), whole(body, "top", 12, 1, MOST_TERMS)
    view = cells.cell_view(gpt, ids, body.get("name"), body.get("index", []))
    found = {"name": view.name, "index": list(view.index), "value": packed.number(view.value), "kind": view.kind,
             "formula": view.formula, "inputs": [{"name": name, "index": list(index)} for name, index in view.inputs],
             "terms": None, "n_terms": 0, "rest": 0.0, "bias": None, "sum": None,
             "extra": {name: _plain(value) for name, value in (view.extra or {}).items()}}  # fmt: skip
    if view.products is not None:
        largest = view.largest(top)
        rest = float(view.products.sum() - view.products[largest].sum())
        labels = [str(i) if view.labels is None else view.labels[i] for i in largest]
        found |= {"n_terms": len(view.products), "rest": packed.number(rest), "sum": packed.number(view.sum),
                  "bias": None if view.bias is None else packed.number(view.bias),
                  "terms": {"labels": labels, "places": packed.wholes(largest), "a": packed.numbers(view.a[largest]),
                            "b": None if view.b is None else packed.numbers(view.b[largest]),
                            "product": packed.numbers(view.products[largest])}}  # fmt: skip
    return found


def neurons(gpt, body):
    """The hidden units of one block that a text turns on."""
    ids = prompt_of(gpt, body)
    view = residual.neurons(gpt, ids, body.get("layer", 0), whole(body, "k", 5, 1, gpt.config.n_hidden))
    return {"layer": view.layer, "strongest": packed.wholes(view.strongest), **_arrays(view, ("on", "values"))}


def who_wrote(gpt, body):
    """The parts of a logit."""
    ids = prompt_of(gpt, body)
    position = seen.check_place("position", body.get("position", -1), len(ids))
    asked = [body.get(name) for name in ("token", "against")]
    if asked[0] is None:
        asked[0] = int(seen.look(gpt, ids).logits[position].argmax())
    view = attribution.attribution_view(gpt, ids, *asked, position)
    names = ("total", "token_embedding", "position_embedding", "final_bias")
    return {"position": view.position, "token": view.token, "token_id": seen.one_id(gpt, "token", asked[0]),
            "against": view.against, **{name: packed.number(getattr(view, name)) for name in names},
            **_arrays(view, ("heads", "attention_bias", "ffn")),
            "sum": packed.number(sum(view.parts().values()))}  # fmt: skip


def backwards(gpt, body):
    """How the loss of a text depends on the stream, the tokens, the parameters."""
    ids, position = prompt_of(gpt, body), body.get("position")
    view = gradients.gradients_view(gpt, ids, position)
    lengths = {name: packed.number(length) for name, length in view.params.items()}
    found = _arrays(view, ("norms", "through", "times_input", "heads", "times_head", "times_ffn"))
    found["patterns"] = packed.signed_thumbnails(gradients.pattern_gradients(gpt, ids, view), MOST_SIDE)
    return {"loss": packed.number(view.loss), "names": view.names, **found, "params": lengths}


def neighbours(gpt, body):
    """The tokens whose rows of wte point most nearly the same way."""
    check_whole("token", body.get("token"))
    view = embeddings.neighbours(gpt, body["token"], whole(body, "k", 10, 1, MOST_NEXT))
    return {"token": view.token, "tokens": view.tokens, "ids": packed.wholes(view.ids),
            "similarities": packed.array(view.similarities)}  # fmt: skip


def _next(gpt, ids, position, k):
    view = tokens.next_tokens(gpt, ids, k, position)
    row = seen.look(gpt, ids).logits[view.position]
    return {"position": view.position, "after": view.after, "tokens": view.tokens, "ids": packed.wholes(view.ids),
            "probs": packed.array(view.probs), "logits": packed.array(row[view.ids])}  # fmt: skip


def _kinds(gpt, ids):
    if len(ids) < 2:
        return None
    view = attention.head_summaries(gpt, ids)
    return _arrays(view, view._fields)


def _units(gpt, ids):
    found = [residual.neurons(gpt, ids, layer, STRONGEST) for layer in range(gpt.config.n_layer)]
    return {"strongest": [packed.wholes(view.strongest) for view in found],
            **{name: packed.array([getattr(view, name) for view in found]) for name in ("on", "values")}}  # fmt: skip


def _arrays(view, names):
    return {name: packed.array(getattr(view, name)) for name in names}


def _decoded(gpt, ids):
    known = gpt.tokenizer is not None and int(ids.max()) < gpt.tokenizer.n_vocab
    return gpt.tokenizer.decode(ids.tolist()) if known else None


def _plain(value):
    return value if isinstance(value, (str, bool)) else packed.number(value)
