"""What is asked of a generation, whether it can be done, and what comes of it step by step: options, prompts, lengths.

Enter: options and prompts as the caller gave them. Leave: a checked Request, prompts as ids, lengths; a Step.
Next: generation/decoding.py.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ..config import GPTConfig
from ..errors import InputError, check_choice, check_kind, check_truth, check_whole, is_number, is_whole, shown
from ..tokenizer.bpe import Tokenizer
from .constraints import Guide, check_constraint, guide_of
from .sampling import Sampling, check_ids, listed

DEFAULT_NEW_TOKENS = 200
# why a sequence ended: the end-of-text id; a stop id or string; as long as asked for; choices or pattern are complete
EOS, STOP, LENGTH, MATCH = "eos", "stop", "length", "match"


class Step(NamedTuple):
    """One step of all sequences. `reasons` is one list for all steps: what it says may be read after the last one."""

    ids: list[Any]  # the next id of each sequence, None once it has ended
    logits: Any  # [n_rows, n_vocab], or as many rows: what the model made of each before this id; None: not asked for
    reasons: list[Any]  # why each ended, one of the four above; None while it goes on


@dataclass(frozen=True)
class Request:
    """What is asked of a generation.

    `max_new_tokens`: None means up to 200, or fewer where the context ends before. `seed`: None means a new one.
    `stop`: strings and ids that end a sequence (they are not returned; where ids are asked for, those before the id
    that completes a stop string are). The string that is complete first counts. The end-of-text id always ends a
    sequence, unless `ignore_eos`. `overflow`: "error", or "slide": when the context is full, forget all but the last
    half of it and read that again from position 0, which is no longer what the model would say with everything in view;
    of a prompt that is longer than the context only so much is read.
    `speculate`: at temperature 0, guess up to so many tokens per step from what stands in the text already, and check
    them at once: the same ids, sooner where a text repeats itself (speculation.py); 0 guesses nothing.
    `min_new_tokens`: no stop id is said before so many. `choices`, texts of which one is to be said whole, or
    `pattern`, a regular expression that the whole continuation is to match (constraints.py). `penalty_alpha`: search
    by contrast among the top_k likeliest, and draw nothing (contrastive.py).
    """

    max_new_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int | None = None
    stop: Any = ()
    num_return_sequences: int = 1
    overflow: str = "error"
    ignore_eos: bool = False
    speculate: int = 0
    min_new_tokens: int = 0
    choices: Any = ()
    pattern: str | None = None
    penalty_alpha: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 0), ("seed", 0), ("num_return_sequences", 1), ("speculate", 0),
                            ("min_new_tokens", 0)):  # fmt: skip
            value = getattr(self, name)
            if value is not None or name not in ("max_new_tokens", "seed"):
                check_whole(name, value, least)
        check_kind("sampling", self.sampling, Sampling)
        check_choice("overflow", self.overflow, ("error", "slide"))
        check_truth("ignore_eos", self.ignore_eos)
        object.__setattr__(self, "stop", listed("stop", self.stop))
        for item in self.stop:
            if not (is_whole(item) or isinstance(item, str) and item):
                raise InputError(f"stop: expected non-empty strings and ids, got {shown(item)}")
        object.__setattr__(self, "choices", listed("choices", self.choices))
        check_constraint(self.choices, self.pattern)
        alpha = self.penalty_alpha
        if alpha is not None and not (is_number(alpha) and 0 <= alpha <= 1):
            raise InputError(f"penalty_alpha: expected a share from 0 to 1, got {shown(alpha)}")
        if self.max_new_tokens is not None and self.min_new_tokens > self.max_new_tokens:
            expected, got = f"at most max_new_tokens = {shown(self.max_new_tokens)}", shown(self.min_new_tokens)
            raise InputError(f"min_new_tokens: expected {expected}, got {got}; ask for fewer")

    def stop_ids(self, config: GPTConfig) -> set[int]:
        """The ids that end a sequence."""
        ids = {int(item) for item in self.stop if not isinstance(item, str)}
        return ids if self.ignore_eos or config.eos_id is None else ids | {config.eos_id, *config.more_eos_ids}

    def spelled(self, config: GPTConfig, tokenizer: Tokenizer | None) -> "Request":
        """The request with ids for its texts, and those ids banned that only pad wte: no tokenizer can spell them."""
        sampling = self.sampling.spelled(tokenizer)
        if tokenizer is not None and tokenizer.n_vocab < config.n_vocab:
            unknown = set(range(tokenizer.n_vocab, config.n_vocab)) - self.stop_ids(config)
            sampling = replace(sampling, banned_ids=(*sampling.banned_ids, *sorted(unknown)))
        return self if sampling is self.sampling else replace(self, sampling=sampling)

    def guide(self, config: GPTConfig, tokenizer: Tokenizer | None) -> Guide | None:
        """What may be said where choices or a pattern are asked for; None where neither is."""
        if not self.choices and self.pattern is None:
            return None
        if tokenizer is None:
            name = "choices" if self.choices else "pattern"
            raise InputError(f"{name}: expected a model with vocabulary files, got one without; add them")
        return guide_of(self.choices, self.pattern, tokenizer, config.n_vocab, frozenset(self.stop_ids(config)))

    def stop_strings(self) -> list[str]:
        """The strings that end a sequence."""
        return [item for item in self.stop if isinstance(item, str)]

    def generators(self, n_prompts: int) -> list[np.random.Generator]:
        """One random generator per sequence: number j of every prompt draws from the stream (seed, j)."""
        if self.seed is None:
            return [np.random.default_rng() for _ in range(n_prompts * self.num_return_sequences)]
        numbers = list(range(self.num_return_sequences)) * n_prompts
        return [np.random.default_rng([self.seed, j]) for j in numbers]


def encode_prompt(prompt: Any, config: GPTConfig, tokenizer: Tokenizer | None) -> list[int]:
    """A prompt as ids; the empty string means: from the very beginning (<|endoftext|>)."""
    if not isinstance(prompt, str):
        try:
            if isinstance(prompt, (bytes, bytearray, memoryview, dict, set)):
                raise TypeError
            # None, which a truth value becomes here, is refused as any other thing that is no number
            return [operator.index(None if isinstance(i, bool) else i) for i in prompt]  # type: ignore[arg-type]
        except TypeError:
            raise InputError(f"prompt: expected text or a list of ids, got {shown(prompt)}") from None
    if tokenizer is None:
        raise InputError("prompt: expected a list of ids, got text; this model has no vocabulary files")
    if prompt == "" and config.eos_id is not None:
        return [config.eos_id]
    return tokenizer.encode(prompt)


def plan_length(prompts: Sequence[Sequence[int]], config: GPTConfig, request: Request) -> int:
    """How many tokens may be made; InputError where prompts are unusable or do not fit."""
    if not prompts:
        raise InputError("prompts: expected at least one, got an empty list")
    for prompt in prompts:
        if not prompt:
            raise InputError("prompt: expected at least one token, got none; begin with some text")
        if not 0 <= min(prompt) <= max(prompt) < config.n_vocab:
            got = f"{shown(min(prompt))} to {shown(max(prompt))}"
            raise InputError(f"prompt: expected ids from 0 to {config.n_vocab - 1}, got {got}")
    check_ids("banned_ids", request.sampling.banned_ids, config.n_vocab)
    for sequence in request.sampling.logit_bias or ():
        check_ids("logit_bias", sequence, config.n_vocab)
    for sequence in request.sampling.banned_words:
        check_ids("banned_words", sequence, config.n_vocab)
    check_ids("stop", [item for item in request.stop if not isinstance(item, str)], config.n_vocab)
    longest = max(len(prompt) for prompt in prompts)
    room = config.n_ctx - longest
    if room < 0 and request.overflow == "error":
        raise InputError(
            f"prompt: expected at most n_ctx = {config.n_ctx} tokens, got {longest}; "
            "shorten it, or use overflow='slide', which reads its end"
        )
    # the last new token is never read again, so it needs no room of its own
    room += 1
    if request.max_new_tokens is None:
        usual = max(DEFAULT_NEW_TOKENS, request.min_new_tokens)
        return usual if request.overflow == "slide" else min(usual, room)
    if request.max_new_tokens > room and request.overflow == "error":
        raise InputError(
            f"expected prompt and new tokens to fit n_ctx = {config.n_ctx}, "
            f"got {longest} + {shown(request.max_new_tokens)}; ask for at most {room} new tokens, "
            "or use overflow='slide'"
        )
    return request.max_new_tokens
