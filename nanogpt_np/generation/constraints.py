"""What may be said next, where the continuation is to be one of some texts, or to match a pattern, as a whole.

Enter: choices or a pattern, and a tokenizer. Leave: a Guide: for each state of a text the tokens that keep it on the
way to a match, however a text is cut into tokens. Nothing is asked of the model but logits, so this works for draws and
for beams. `transformers` leaves the same to a prefix_allowed_tokens_fn of one's own. Next: generation/request.py.
"""

import functools

import numpy as np

from ..errors import InputError, shown
from .automaton import DEAD, Automaton
from .patterns import from_pattern, from_texts

MOST_KEPT = 64  # states whose tokens are remembered: 200 kB each with 50,257 tokens
MOST_CHOICES = 10_000


class Guide:
    """Which ids may follow, as a continuation goes from state to state; it begins in state 0."""

    def __init__(self, automaton, tokenizer, n_vocab, stop_ids):
        self.automaton, self.n_vocab = automaton, n_vocab
        self.stop_ids = np.array(sorted(stop_ids), np.int64)
        self.pieces, self.lengths = _bytes_of_tokens(tokenizer)
        self.kept = {}  # state -> what each id leads to

    def restrict(self, logits, states):  # [n_batch, n_vocab], n_batch states -> [n_batch, n_vocab]
        """-inf for what leads away from every match; a stop id may only stand where the text matches as it is."""
        return np.where(np.stack([self.allowed(state) for state in states]), logits, -np.inf)

    def allowed(self, state):
        """bool [n_vocab]: may this id be said?"""
        allowed = self._behind(state) != DEAD
        allowed[self.stop_ids] = self.automaton.may_end(state)
        return allowed

    def after(self, state, token):
        """The state behind an id that was allowed, and is no stop id."""
        return int(self._behind(state)[token])

    def is_over(self, state):
        """Is the text a match that nothing can be added to?"""
        return self.automaton.may_end(state) and not self.automaton.goes_on(state)

    def _behind(self, state):  # -> int32 [n_vocab]
        if state not in self.kept:
            found = np.full(self.n_vocab, DEAD, np.int32)  # rows without a token lead nowhere
            n = min(len(self.pieces), self.n_vocab)
            found[:n] = self.automaton.run_all(state, self.pieces[:n], self.lengths[:n])
            found[:n][self.lengths[:n] == 0] = DEAD
            if len(self.kept) >= MOST_KEPT:
                del self.kept[next(iter(self.kept))]
            self.kept[state] = found
        return self.kept[state]


@functools.lru_cache(maxsize=4)
def _bytes_of_tokens(tokenizer):  # -> uint8 [n_tokens, longest], int64 [n_tokens]
    """Each token's bytes and how many they are; 0 for special tokens, which are no text."""
    special = set(tokenizer.special_tokens.values())
    spelled = [b"" if i in special else tokenizer.token_bytes(i) for i in range(tokenizer.n_vocab)]
    lengths = np.array([len(data) for data in spelled])
    pieces = np.zeros((len(spelled), max(lengths.max(), 1)), np.uint8)
    for row, data in zip(pieces, spelled, strict=True):
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return pieces, lengths


@functools.lru_cache(maxsize=8)
def guide_of(choices, pattern, tokenizer, n_vocab, stop_ids):
    """The Guide of some choices (a tuple), or where there are none of a pattern; the same again for the same again."""
    automaton = Automaton(from_texts(choices), "choices") if choices else Automaton(from_pattern(pattern))
    return Guide(automaton, tokenizer, n_vocab, stop_ids)


def check_constraint(choices, pattern):
    """InputError where choices or a pattern make no sense, or both are given."""
    if choices and pattern is not None:
        raise InputError(f"pattern: expected none with choices, got {shown(pattern)}; leave one out")
    if len(choices) > MOST_CHOICES:
        raise InputError(f"choices: expected at most {MOST_CHOICES:,} texts, got {len(choices):,}; offer fewer")
    for text in choices:
        if not isinstance(text, str) or not text:
            raise InputError(f"choices: expected non-empty texts, got {shown(text)}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"choices: expected texts that UTF-8 has, got {shown(text)}") from None
    if choices:
        from_texts(choices)
    elif pattern is not None:
        from_pattern(pattern)
