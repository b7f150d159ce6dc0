"""How far nanogpt_np is from the goldens, quantity by quantity.

Enter: the .npz files of make.py, and the module `ops` to be measured. Leave: one Row per named quantity, which
test_goldens.py holds against its tolerance and table.py prints. The tolerances stand here, each with its reason.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nanogpt_np import model, ops
from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig
from nanogpt_np.kv_cache import KVCache
from nanogpt_np.training import backward, optim

from . import recipe

HERE = Path(__file__).parent

# Float32 tolerances. Each is a few times what PyTorch's own float32 differs from its float64 (docs/numerics.md).
ACTIVATION = 1e-5  # absolute; values reach about 6, where a step of float32 is 5e-7
PROB = 1e-6  # absolute; probabilities are at most 1
LOGIT = 1e-4  # absolute
GRADIENT = 1e-5  # largest difference over largest magnitude, per parameter
NORM = 1e-6  # relative; the norm's sum of squares belongs in float64
LOSS = 1e-5  # absolute, in nats, at each of ten steps
DIGEST = 1e-6  # sum, sum of magnitudes and norm of a whole array, relative to the latter two
STEP = 0.02  # a parameter after ten steps, in units of the learning rate, which is about what one step moves it
EXACT = 1e-11  # everything, relative or absolute, where nanogpt_np too computes in float64 ...
CLIPPED = 1e-8  # ... but the ten losses: PyTorch clips by 1 / (norm + 1e-6), nanogpt_np by 1 / norm as published


# the tiny model otherwise: exact GELU, an output layer of its own, narrower feed-forward networks with relu
VARIANTS = {
    "erf": (recipe.TINY, "gelu"),
    "untied": (recipe.TINY._replace(tied=False), "gelu_new"),
    "narrow": (recipe.NARROW, "relu"),
}


class Row(NamedTuple):
    """One quantity of one case: the worst difference, what is allowed, and PyTorch's float32 against its float64."""

    case: str
    name: str
    worst: float
    tolerance: float
    noise: float | None = None


class Pack(NamedTuple):
    """What is kept of one large array: flat indices, the values there, and recipe.digest of the whole."""

    places: np.ndarray
    values: np.ndarray
    digest: np.ndarray


def load(name):
    """One golden file as a dict of arrays."""
    with np.load(HERE / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def under(prefix, file):
    """The entries whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in file.items() if name.startswith(prefix)}


def unpack(prefix, file):
    """Name -> Pack, as make.py packed them."""
    parts = [file[f"{prefix}/{part}"] for part in ("names", "places", "values", "digests")]
    return {str(name): Pack(*rest) for name, *rest in zip(*parts, strict=True)}


def noises(file):
    """Name -> how far PyTorch's float32 is from its float64."""
    return dict(zip(file["noise/names"].tolist(), file["noise/values"].tolist(), strict=True))


def config_of(sizes, activation="gelu_new"):
    """The GPTConfig of the recipe's sizes."""
    shape = sizes._asdict()
    return GPTConfig(tie_word_embeddings=shape.pop("tied"), activation=activation, **shape)


def flat(acts, prefix=""):
    """Named tuples and lists of arrays as flat names: acts.blocks[0].attn.q -> "blocks.0.attn.q"."""
    items = acts._asdict().items() if hasattr(acts, "_asdict") else enumerate(acts)
    named = {}
    for key, value in items:
        if hasattr(value, "_asdict") or isinstance(value, list):
            named |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            named[f"{prefix}{key}"] = value
    return named


def difference(actual, expected):
    """max|a - b|; a shape that differs is infinitely far away, and so is a NaN."""
    if np.shape(actual) != np.shape(expected):
        return np.inf
    worst = np.max(np.abs(np.asarray(actual, np.float64) - expected))
    return np.inf if np.isnan(worst) else float(worst)


def relative(actual, expected):
    """max|a - b| / max|b|."""
    return difference(actual, expected) / float(np.max(np.abs(expected)))


def digest_difference(array, expected):
    """The largest of: sum (by the sum of magnitudes), sum of magnitudes, norm (each by itself)."""
    return float(np.max(np.abs(recipe.digest(array) - expected.digest) / expected.digest[[1, 1, 2]]))


def tolerance_of(name, dtype):
    """What a named activation may differ by."""
    return EXACT if dtype == np.float64 else PROB if name.endswith("probs") else ACTIVATION


def tiny_params(file, sizes, dtype):
    """The tiny model's weights, nested, as fresh arrays."""
    weights = under("weights/", file)
    return P.nest({name: weights[name].astype(dtype) for name in recipe.shapes(sizes)})


def tiny_rows(ops=ops, dtype=np.float32):
    """Forward, gradients and ten steps of the tiny tied model, every number of them."""
    file, config = load("tiny"), config_of(recipe.TINY)
    params, tokens, noise = tiny_params(file, recipe.TINY, dtype), file["tokens"], noises(file)
    case = f"tiny {np.dtype(dtype)}"
    logits, acts = model.forward(tokens[:, :-1], params, config, ops, keep_acts=True)
    seen = flat(acts)
    for name, expected in under("acts/", file).items():
        worst = difference(seen[name], expected)
        yield Row(case, f"acts/{name}", worst, tolerance_of(name, dtype), noise[f"acts/{name}"])
    yield Row(case, "logits", difference(logits, file["logits"]), limit(LOGIT, dtype), noise["logits"])
    yield from gradient_rows(case, "", file, params, config, ops, dtype)
    losses, norm = train(params, tokens, config, ops, recipe.TINY_LR, recipe.N_STEPS)
    yield Row(case, "norm", abs(norm / file["norm"] - 1), limit(NORM, dtype), noise["norm"])
    tolerance = CLIPPED if dtype == np.float64 else LOSS
    yield Row(case, "losses", difference(losses, file["losses"]), tolerance, noise["losses"])
    yield from stepped_rows(case, file, params, recipe.TINY_LR, recipe.N_STEPS, dtype)


def variant_rows(prefix, ops=ops, dtype=np.float32):
    """Logits, gradients and losses of one of VARIANTS."""
    sizes, activation = VARIANTS[prefix]
    file = load("narrow" if prefix == "narrow" else "tiny")
    drawn = recipe.weights(sizes, recipe.TINY_SEED, recipe.TINY_STD) if prefix == "narrow" else under("weights/", file)
    params = P.nest({name: drawn[name].astype(dtype) for name in recipe.shapes(sizes)})
    config, tokens, noise = config_of(sizes, activation), file["tokens"], noises(file)
    logits, _ = model.forward(tokens[:, :-1], params, config, ops)
    worst = difference(logits, file[f"{prefix}/logits"])
    yield Row(prefix, "logits", worst, limit(LOGIT, dtype), noise[f"{prefix}/logits"])
    yield from gradient_rows(prefix, f"{prefix}/", file, params, config, ops, dtype)
    losses, _ = train(params, tokens, config, ops, recipe.TINY_LR, recipe.N_STEPS)
    worst = difference(losses, file[f"{prefix}/losses"])
    yield Row(prefix, "losses", worst, limit(LOSS, dtype), noise[f"{prefix}/losses"])


def gradient_rows(case, prefix, file, params, config, ops, dtype):
    """The loss and every parameter's gradient, in full."""
    tokens, noise = file["tokens"], noises(file)
    loss, grads = backward.loss_and_grads(tokens[:, :-1], tokens[:, 1:], params, config, ops)
    yield Row(case, "loss", abs(loss - file[f"{prefix}loss"]), limit(LOSS, dtype), noise[f"{prefix}loss"])
    grads, expected = dict(P.walk(grads)), under(f"{prefix}grads/", file)
    tolerance = limit(GRADIENT, dtype if not prefix else np.float32)  # the variants' are kept in float32
    for name in grads | expected:
        worst = relative(grads[name], expected[name])
        yield Row(case, f"grads/{name}", worst, tolerance, noise[f"{prefix}grads/{name}"])


def decoding_rows(ops=ops, dtype=np.float32):
    """The left-padded batch, the pieces through the cache, and the loss with ignored targets, of the tiny model."""
    file, config = load("tiny"), config_of(recipe.TINY)
    params, case = tiny_params(file, recipe.TINY, dtype), f"tiny {np.dtype(dtype)}"
    mask = file["padded/mask"]
    logits, _ = model.forward(file["padded/ids"], params, config, ops, mask=mask)
    real = mask.astype(bool)
    worst = difference(logits[real], file["padded/logits"][real])
    yield Row(case, "logits, left-padded", worst, limit(LOGIT, dtype))
    pieces = np.split(file["cached/ids"], file["cached/pieces"].cumsum()[:-1], axis=1)
    cache = KVCache(config, n_batch=2, dtype=dtype)
    logits = np.concatenate([model.forward(piece, params, config, ops, cache=cache)[0] for piece in pieces], axis=1)
    yield Row(case, "logits, cached", difference(logits, file["cached/logits"]), limit(LOGIT, dtype))
    loss, grads = backward.loss_and_grads(file["tokens"][:, :-1], file["ignored/targets"], params, config, ops)
    yield Row(case, "loss, ignored targets", abs(loss - file["ignored/loss"]), limit(LOSS, dtype))
    worst = relative(grads["wte"]["weight"], file["ignored/grads/wte.weight"])
    yield Row(case, "grads/wte.weight, ignored targets", worst, limit(GRADIENT, dtype))


def wide_params():
    """The wide model's weights, nested and drawn anew, after a check that the recipe drew the same as ever."""
    weights = recipe.weights(recipe.WIDE, recipe.WIDE_SEED, recipe.WIDE_STD)
    for name, expected in unpack("weights", load("wide")).items():
        if difference(weights[name].ravel()[expected.places], expected.values):
            raise RuntimeError(f"{name}: this NumPy draws other numbers than the goldens were made with")
    return P.nest(weights)


def wide_forward_rows(params, which="", ops=ops):
    """Forward through the wide model, [2, 64] ids, or one text of the full 1024 (which = "long_")."""
    file, config = load("wide"), config_of(recipe.WIDE)
    case, noise = ("wide 1024" if which else "wide 64"), noises(file)
    ids = file["long_ids"] if which else file["tokens"][:, :-1]
    logits, acts = model.forward(ids, params, config, ops, keep_acts=True)
    seen = flat(acts)
    for name, expected in unpack(f"{which}acts", file).items():
        worst = difference(seen[name].ravel()[expected.places], expected.values)
        yield Row(case, f"acts/{name}", worst, tolerance_of(name, np.float32), noise[f"{which}acts/{name}"])
        yield Row(case, "digests of acts", digest_difference(seen[name], expected), DIGEST)
    for name, expected in unpack(f"{which}rows", file).items():
        _, b, t = name.split(".")
        row = logits[int(b), int(t)]
        yield Row(case, "logits", difference(row[expected.places], expected.values), LOGIT, noise[f"{which}logits"])
        yield Row(case, "digests of logits", digest_difference(row, expected), DIGEST)


def wide_gradient_rows(params, ops=ops):
    """The loss, every gradient at its places, some rows of the embedding's, and the common norm."""
    file, config, case = load("wide"), config_of(recipe.WIDE), "wide 64"
    tokens, noise = file["tokens"], noises(file)
    loss, grads = backward.loss_and_grads(tokens[:, :-1], tokens[:, 1:], params, config, ops)
    yield Row(case, "loss", abs(loss - file["loss"]), LOSS, noise["loss"])
    named = dict(P.walk(grads))
    for name, expected in unpack("grads", file).items():
        worst = relative(named[name].ravel()[expected.places], expected.values)
        yield Row(case, f"grads/{name}", worst, GRADIENT, noise[f"grads/{name}"])
        yield Row(case, "digests of grads", digest_difference(named[name], expected), DIGEST)
    for row, expected in unpack("wte_rows", file).items():
        worst = relative(grads["wte"]["weight"][int(row)][expected.places], expected.values)
        yield Row(case, "grads/wte.weight", worst, GRADIENT, noise["grads/wte.weight"])
    norm = optim.clip_(grads, recipe.CLIP_NORM)
    yield Row(case, "norm", abs(norm / file["norm"] - 1), NORM, noise["norm"])


def wide_training_rows(params, n_steps=recipe.N_STEPS, ops=ops):
    """The losses of AdamW on the wide model, and, after all ten steps, the parameters. Changes `params`."""
    file, config, case = load("wide"), config_of(recipe.WIDE), "wide 64"
    losses, _ = train(params, file["tokens"], config, ops, recipe.WIDE_LR, n_steps)
    yield Row(case, "losses", difference(losses, file["losses"][:n_steps]), LOSS, noises(file)["losses"])
    if n_steps == recipe.N_STEPS:
        yield from stepped_rows(case, file, params, recipe.WIDE_LR, n_steps, np.float32)


def train(params, tokens, config, ops, lr, n_steps):
    """-> the loss before each step of AdamW, and the gradients' norm before the first. Changes `params`."""
    optimizer, losses, norms = optim.AdamW(params, **recipe.ADAMW), [], []
    for _ in range(n_steps):
        loss, grads = backward.loss_and_grads(tokens[:, :-1], tokens[:, 1:], params, config, ops)
        norms.append(optim.clip_(grads, recipe.CLIP_NORM))
        optimizer.step(params, grads, lr)
        losses.append(loss)
    return np.array(losses), norms[0]


def stepped_rows(case, file, params, lr, n_steps, dtype):
    """The parameters after the steps, at their places; differences in units of the learning rate.

    A key's bias adds the same to every score of a query, so softmax takes no notice and its true gradient is zero.
    What is computed is rounding, Adam divides it by its own size, and off it walks, one learning rate per step.
    Hence those places may differ by all n_steps, in any correct implementation, unless both are in float64.
    """
    named, noise = dict(P.walk(params)), noises(file)
    for name, expected in unpack("stepped", file).items():
        n = named[name].size // 3
        key = (expected.places // n == 1) & name.endswith("c_attn.bias")
        far = np.abs(named[name].ravel()[expected.places] - expected.values) / lr
        tolerance = 1e-6 if dtype == np.float64 else STEP
        found = noise[f"stepped/{name}"] / lr
        yield Row(case, f"stepped/{name}", float(far[~key].max()), tolerance, None if key.any() else found)
        if key.any():
            yield Row(case, f"stepped/{name}, key part", float(far[key].max()), 2.0 * n_steps, found)


def limit(tolerance, dtype):
    """`tolerance`, or EXACT where everything is in float64."""
    return EXACT if dtype == np.float64 else tolerance


def all_rows(ops=ops):
    """Every row there is; takes about a minute, most of it the wide model's ten steps."""
    for dtype in (np.float64, np.float32):
        yield from tiny_rows(ops, dtype)
        yield from decoding_rows(ops, dtype)
    for variant in VARIANTS:
        yield from variant_rows(variant, ops)
    params = wide_params()
    yield from wide_forward_rows(params, "", ops)
    yield from wide_forward_rows(params, "long_", ops)
    yield from wide_gradient_rows(params, ops)
    yield from wide_training_rows(params, ops=ops)
