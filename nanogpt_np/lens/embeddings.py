"""What a model knows before it has read anything: which tokens lie near each other, which positions are alike.

Enter: a GPT. Leave: cosines between rows of wte, and between rows of wpe beside the sinusoids of Vaswani et al. 2017.
Nothing is run: these are the weights themselves. Next: lens/attention.py.
"""

from typing import NamedTuple

import numpy as np

from .. import ops
from ..errors import InputError, check_whole
from .seen import need_floats, one_id, spelled


class PositionsView(NamedTuple):
    """How alike the positions are: cosines, 1 on the diagonal."""

    learned: np.ndarray | None  # float64 [n_ctx, n_ctx], of the rows of wpe; None for a model that learned none
    sinusoidal: np.ndarray | None  # float64 [n_ctx, n_ctx], of the fixed sinusoids; None where n_embd is odd
    norms: np.ndarray | None  # float64 [n_ctx], the length of each row of wpe


class Neighbours(NamedTuple):
    """The tokens whose rows of wte point most nearly where one token's row points, nearest first."""

    token: str
    ids: np.ndarray  # int64 [k]
    tokens: list  # [k] of str
    similarities: np.ndarray  # float64 [k], cosines


def positions_view(gpt):
    """Cosines between positions, as learned and as fixed sinusoids have them -> PositionsView."""
    config, learned, norms = gpt.config, None, None
    if config.positions == "learned":
        rows = gpt.params["wpe"]["weight"].astype(np.float64)
        learned, norms = _cosines(rows, rows), np.linalg.norm(rows, axis=-1)
    fixed = None
    if config.n_embd % 2 == 0:
        sines = ops.sinusoidal_positions(np.arange(config.n_ctx), config.n_embd, np.float64)
        fixed = _cosines(sines, sines)
    return PositionsView(learned, fixed, norms)


def neighbours(gpt, token, k=10):
    """The `k` tokens nearest to one token in wte, by cosine, itself left out -> Neighbours.

    `token`: a text that is one token, or an id. InputError where it is neither, and for int8.
    """
    check_whole("k", k, 1)
    need_floats(gpt, "neighbours")
    if token is None:
        raise InputError("token: expected a text that is one token, or an id, got none")
    chosen = one_id(gpt, "token", token)
    rows = gpt.params["wte"]["weight"].astype(np.float64)
    found = _cosines(rows[chosen : chosen + 1], rows)[0]
    order = np.argsort(-found, kind="stable")
    best = order[order != chosen][:k]
    return Neighbours(spelled(gpt, [chosen])[0], best, spelled(gpt, best), found[best])


def _cosines(a, b):  # [n, n_embd], [m, n_embd] -> [n, m]
    """A row of zeros is like nothing: 0."""
    lengths = np.linalg.norm(a, axis=-1)[:, None] * np.linalg.norm(b, axis=-1)
    return np.divide(a @ b.T, lengths, out=np.zeros(lengths.shape), where=lengths > 0)
