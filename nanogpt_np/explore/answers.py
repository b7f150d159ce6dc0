"""One request -> one answer: which view a path names, the model that it asks for, what it may say.

Enter: the models, a path, the object that came as JSON. Leave: a dict for JSON; InputError says what was wrong. The
server and an exported page both ask here, so that they show the same. Next: explore/app.py.
"""

from .. import __version__
from ..errors import InputError
from . import views, writing
from .asked import MOST_NEW, OPS, SAMPLING, SIDE, check_fields, ops_of

MOST_BODY = 64 << 10  # bytes of a request
HERE = "/api/"

# name -> the view, and what it reads beside a side's own fields
VIEWS = {
    "tokens": (views.tokenized, ()), "look": (views.first_picture, ()), "next": (views.next_tokens, ("position", "k")),
    "head": (views.head, ("layer", "head")), "array": (views.array, ("name", "index")),
    "cell": (views.cell, ("name", "index", "top")), "neurons": (views.neurons, ("layer", "k")),
    "attribution": (views.who_wrote, ("position", "token", "against")), "gradients": (views.backwards, ("position",)),
    "sampling": (writing.stages, (*SAMPLING, "k")), "generate": (writing.generation, (*SAMPLING, "n_new", "seed", "k")),
    "cache": (writing.next_cost, ()), "neighbours": (views.neighbours, ("token", "k")),
}  # fmt: skip
NAMES = ("models", *VIEWS, "compare", "training")


def answer(models, name, body):
    """The answer of one view, by its name without /api/ in front."""
    if name == "compare":
        return _comparison(models, body)
    if name == "training":
        check_fields(body, ("model",))
        return _training(models, body.get("model"))
    view, more = VIEWS[name]
    check_fields(body, (*SIDE, *more))
    opened = models.find(body.get("model"), ops_of(body))
    return {"model": _stamp(opened), **view(opened.gpt, body)}


def listing(models, prompt="", lang=None):
    """What there is to ask for; `prompt` and `lang`: what a page begins with."""
    found = models.listing()
    limits = {"body": MOST_BODY, "n_new": MOST_NEW}
    return {"models": found, "default": found[0]["id"], "prompt": prompt, "lang": lang, "version": __version__,
            "ops": list(OPS), "limits": limits}  # fmt: skip


def _comparison(models, body):
    check_fields(body, ("a", "b"))
    sides, opened = [], []
    for name in ("a", "b"):
        side = body.get(name)
        if not isinstance(side, dict):
            raise InputError(f"{name}: expected a side, {{model, prompt}}, got none")
        check_fields(side, (*SIDE, "ablate"))
        sides.append(side)
        opened.append(models.find(side.get("model"), ops_of(side)))
    found = writing.comparison(opened[0].gpt, sides[0], opened[1].gpt, sides[1])
    for name, side in zip("ab", opened, strict=True):
        found[name]["model"] = _stamp(side)
    return found


def _training(models, id):
    run = models.run_of(id)
    if run is None:
        return {"run": None}
    kept = [row["id"] for row in models.listing() if row["id"].startswith(f"{id.split('@')[0]}@")]
    return {"run": writing.curves(run) | {"kept": kept}}


def _stamp(opened):
    return {"id": opened.id, "stamp": opened.stamp}
