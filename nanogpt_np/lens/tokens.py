"""What a model makes of each token: how well it was guessed, and what else might have come.

Enter: a GPT and a text. Leave: per-token loss and rank; the likeliest next tokens. Next: lens/embeddings.py.
"""

from typing import NamedTuple

import numpy as np

from ..errors import check_whole
from ..generation.sampling import log_softmax
from .coloured import tokens_html
from .seen import check_place, look, spelled


class TokensView(NamedTuple):
    """How well each token was guessed from those before it; the first one was not guessed."""

    tokens: list  # [n_seq] of str
    ids: np.ndarray  # int64 [n_seq]
    losses: np.ndarray  # float64 [n_seq], nats: -log of the probability the token had; NaN for the first
    ranks: np.ndarray  # int64 [n_seq], how many tokens were likelier; -1 for the first

    def _repr_html_(self):
        """What a notebook shows of it: the tokens, coloured by loss."""
        return tokens_html(self)


class NextTokens(NamedTuple):
    """The likeliest tokens behind one position, best first."""

    after: str  # the token at that position
    position: int
    tokens: list  # [k] of str
    ids: np.ndarray  # int64 [k]
    probs: np.ndarray  # float64 [k]


def tokens_view(gpt, prompt):
    """The pieces of a text with their loss and rank -> TokensView."""
    seen = look(gpt, prompt)
    guesses, said = seen.logits[:-1], seen.ids[1:]
    losses = -log_softmax(guesses)[np.arange(len(said)), said]
    ranks = (guesses > np.take_along_axis(guesses, said[:, None], axis=1)).sum(axis=1)
    return TokensView(seen.tokens, seen.ids, np.append(np.nan, losses), np.append(-1, ranks))


def next_tokens(gpt, prompt, k=10, position=-1):
    """The `k` likeliest tokens behind the one at `position` -> NextTokens; among equals the lower id comes first.

    InputError where `position` is outside the text.
    """
    check_whole("k", k, 1)
    seen = look(gpt, prompt)
    position = check_place("position", position, len(seen.ids))
    log_probs = log_softmax(seen.logits[position])
    best = np.argsort(-log_probs, kind="stable")[:k]
    return NextTokens(seen.tokens[position], position, spelled(gpt, best), best, np.exp(log_probs[best]))
