"""The page for one prompt in one file: what its parts would have asked a server for stands in it, answered.

Enter: a model and a prompt. Leave: HTML of less than 3 MB, which opens from disk and asks for nothing. What does not
fit is left out, from the end of an order that begins with what is seen first. Next: explore/inline.py.
"""

import shlex

from .. import __version__
from ..errors import InputError
from ..lens.seen import check_place, look, need_floats
from . import answers, bundle, writing
from .asked import prompt_of
from .models import Opened, Watched, described
from .packed import canonical

MOST = 3_000_000  # bytes of a page
LEAST = 200_000  # that its numbers need


class OneModel:
    """A GPT that is open already, as a page asks for models."""

    def __init__(self, gpt, id="model", description=""):
        parts = (gpt.config, gpt.params, gpt.tokenizer)
        first = gpt if isinstance(gpt, Watched) else Watched(*parts, gpt.ops)
        self.id, self.description, self.parts, self.opened = id, description, parts, {"auto": first}

    def find(self, id, ops="auto"):
        """The model itself, or with other ops."""
        if ops not in self.opened:
            self.opened[ops] = Watched(*self.parts, ops)
        return Opened(self.id, "open", self.opened[ops])

    def run_of(self, id):
        """No run."""
        return None

    def listing(self):
        """Itself."""
        config, _, tokenizer = self.parts
        return [described(self.id, self.description, config, tokenizer is not None) | {"stamp": "open"}]


def page(gpt, prompt, id="model", description="", state=None, most=MOST, with_int8=False, sources=None):
    """The page for a text -> HTML, at most `most` bytes as UTF-8.

    `id`, `description`: what the page calls the model; `state`: where it begins ({"layer", "head", "lang", …});
    `with_int8`: beside int8 weights too, which compiles kernels; `sources`: (address, suffix) of the project's files,
    for the tour's links. InputError for a text that the model cannot read, and where `most` is too little.
    """
    need_floats(gpt, "explore")
    text = _text(gpt, prompt)
    said = {name: value for name, value in (state or {}).items() if value is not None}
    state = {"model": id, "prompt": text, "layer": 0, "head": 0} | said
    state["layer"] = check_place("layer", state["layer"], gpt.config.n_layer)
    state["head"] = check_place("head", state["head"], gpt.config.n_head)
    address, suffix = sources or (None, "")
    data = {"state": state, "answers": {}, "exported": {
        "version": __version__, "command": f"nanogpt-np explore {shlex.quote(id)} --prompt {shlex.quote(text)}",
        "date": None, "sources": address, "sources_suffix": suffix}}  # fmt: skip
    left = most - len(bundle.html(data).encode())
    if left < LEAST:
        raise InputError(f"most: expected {most - left + LEAST:,} bytes for a page, got {most:,}; allow more")
    data["answers"] = gathered(OneModel(gpt, id, description), {"model": id, "prompt": text}, state, left, with_int8)
    return bundle.html(data)


def gathered(models, side, state, most, with_int8=False):
    """What the page may ask -> {key: answer}, whose JSON inside HTML takes at most `most` bytes."""
    found, left = {}, most
    for questions in _questions(models.find(side["model"]).gpt, side, state, with_int8):
        for name, body in questions:
            key = f"/api/{name} {canonical(body)}"
            if key in found:
                continue
            said = answers.listing(models, side["prompt"]) if name == "models" else answers.answer(models, name, body)
            size = len(bundle.embedded({key: said}).encode())
            if size > left:
                break  # of these no more; the next ones may be smaller
            found[key], left = said, left - size
    return found


def _questions(gpt, side, state, with_int8):
    """Groups of (name, body), what is seen first in front; of each group the first that do not fit end it."""
    n_layer, n_head = gpt.config.n_layer, gpt.config.n_head
    ids = look(gpt, side["prompt"]).ids.tolist()
    n, here = len(ids), (state["layer"], state["head"])
    heads = [(layer, head) for layer in range(n_layer) for head in range(n_head)]
    yield [("models", {})]
    yield [(name, side) for name in ("look", "tokens", "sampling", "generate", "attribution", "next")]
    yield [("cache", side)] if n < gpt.config.n_ctx else []
    yield [("gradients", side)] if n > 1 else []
    yield [("head", side | {"layer": layer, "head": head}) for layer, head in (here, *heads)]
    yield [("neurons", side | {"layer": layer}) for layer in range(n_layer)]
    yield [(name, side | {"position": position}) for position in range(n - 1) for name in ("next", "attribution")]
    yield [("neighbours", {"model": side["model"], "token": token}) for token in reversed(ids)]
    yield [("compare", {"a": side, "b": side | {"ops": "int8"}})] if with_int8 else []
    parts = [*map(list, heads), *([layer, half] for layer in range(n_layer) for half in ("attn", "ffn"))]
    yield [("compare", {"a": side, "b": side | {"ablate": [part]}}) for part in parts]
    yield [("array", side | {"name": name, "index": [n - 1]}) for name in _gradients(n_layer)] if n > 1 else []
    yield list(_rows(side, n_layer, [n - 1]))
    yield list(_cells_of_head(side, *here, n))
    yield list(_steps(gpt, side))
    yield list(_cells_of_last(gpt, side, *here, n - 1))
    yield list(_rows(side, n_layer, range(n - 1)))


def _steps(gpt, side):
    """The model's picture at each step of the generation that the page writes, first step first."""
    story = writing.generation(gpt, side)
    ids = list(story["prompt_ids"])
    for step in story["steps"]:
        ids = [*ids, step["id"]]
        if len(ids) > gpt.config.n_ctx:
            return
        yield "look", side | {"prompt": ids}


def _gradients(n_layer):
    return ["grad.embedded", *(f"grad.blocks.{layer}.x" for layer in range(n_layer))]


def _rows(side, n_layer, positions):
    """Arrays of one position each: the embedding, the feed-forward networks, logits."""
    inside = ("ffn.x", "ffn.pre_gelu", "ffn.hidden", "ffn_out")
    names = ["tokens", "positions", "embedded"]
    names += [f"blocks.{layer}.{name}" for layer in range(n_layer) for name in inside]
    for position in reversed(positions):
        for name in [*names, "logits"]:
            yield "array", side | {"name": name, "index": [position]}


def _cells_of_head(side, layer, head, n):
    """Every number of one head's pattern, from the last query back."""
    for query in reversed(range(n)):
        for key in range(n):
            for name in ("probs", "masked", "scaled", "scores"):
                yield "cell", side | {"name": f"blocks.{layer}.attn.{name}", "index": [head, query, key]}


def _cells_of_last(gpt, side, layer, head, last):
    """Numbers at the last position: the likeliest logits, the strongest units, what one head asks and hands over."""
    seen = look(gpt, side["prompt"])
    for token in (-seen.logits[last]).argsort(kind="stable")[:20].tolist():
        for name in ("logits", "probs"):
            yield "cell", side | {"name": name, "index": [last, token]}
    for at, block in enumerate(seen.acts.blocks):
        for unit in (-block.ffn.hidden[0, last]).argsort(kind="stable")[:5].tolist():
            for name in ("ffn.hidden", "ffn.pre_gelu"):
                yield "cell", side | {"name": f"blocks.{at}.{name}", "index": [last, unit]}
    for place in range(gpt.config.d_head):
        for name in ("mixed", "q", "k", "v"):
            yield "cell", side | {"name": f"blocks.{layer}.attn.{name}", "index": [head, last, place]}
    for place in range(gpt.config.n_embd):
        for name in ("embedded", "tokens", "positions"):
            yield "cell", side | {"name": name, "index": [last, place]}


def _text(gpt, prompt):
    """A prompt as the text that stands in the page's field; InputError where there is none that gives these ids."""
    ids = prompt_of(gpt, {"prompt": prompt}).tolist()
    if isinstance(prompt, str):
        return prompt
    known = gpt.tokenizer is not None and max(ids) < gpt.tokenizer.n_vocab
    text = gpt.tokenizer.decode(ids) if known else ""
    if not known or gpt.tokenizer.encode(text) != ids:
        raise InputError("prompt: expected a text, got ids that no text becomes; give a text")
    return text
