"""Who writes: the methods of a model that take a prompt, each a call into a room.

Enter: a prompt, or several, and how to go on. Leave: text for text, ids for ids; or numbers about a text. GPT is such
a Writer, and a Session, which keeps what it has read. Next: generation/chat.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Literal, TypeVar, overload

import numpy as np

from ..config import GPTConfig
from ..errors import InputError
from ..tokenizer.bpe import Tokenizer
from . import beams, completions, scores, session, text
from .beams import Beams
from .completions import Completion
from .defaults import settle, split
from .request import Request, encode_prompt
from .scores import NextToken

Prompt = str | Sequence[int] | np.ndarray  # text, or ids
Asked = TypeVar("Asked", str, list[int], list[str], list[list[int]])  # text for text, a list for a list
Piece = TypeVar("Piece", str, int)  # a str is a Sequence[str], too
Words = str | Sequence[str | Sequence[int]] | None
Biases = dict[int, float] | dict[str, float] | dict[tuple[int, ...], float] | None


class Writer:
    """What has a model's parts, and goes on from a prompt; `defaults`: arguments that count where none is given.

    The arguments that several methods share are explained where they are checked: those that shape one choice by
    sampling.Sampling, the others by request.Request, those of a search by beams.Beams. None leaves one to the model's
    `defaults` (its generation_config.json), and to those of the three where these say nothing.
    """

    config: GPTConfig
    params: dict[str, Any]
    tokenizer: Tokenizer | None
    ops: ModuleType
    defaults: dict[str, Any]
    _kept: session.Kept | None = None

    @overload
    def generate(
        self, prompt: Asked, max_new_tokens: int | None = None, *, temperature: float | None = None,
        top_k: int | None = None, top_p: float | None = None, min_p: float | None = None,
        typical_p: float | None = None, repetition_penalty: float | None = None, frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0, no_repeat_ngram_size: int | None = None, logit_bias: Biases = None,
        banned_ids: int | Sequence[int] | None = None, banned_words: Words = None, min_new_tokens: int | None = None,
        choices: str | Sequence[str] | None = None, pattern: str | None = None, penalty_alpha: float | None = None,
        seed: int | None = None, stop: str | int | Sequence[str | int] | None = None,
        overflow: str = "error", ignore_eos: bool = False, speculate: int = 0, num_return_sequences: Literal[1] = 1,
        num_beams: int | None = None,
        length_penalty: float | None = None, early_stopping: bool | str | None = None,
        forced_words: Words = None,
    ) -> Asked: ...  # fmt: skip

    @overload
    def generate(
        self, prompt: Prompt | Sequence[Prompt], max_new_tokens: int | None = None, *, temperature: float | None = None,
        top_k: int | None = None, top_p: float | None = None, min_p: float | None = None,
        typical_p: float | None = None, repetition_penalty: float | None = None, frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0, no_repeat_ngram_size: int | None = None, logit_bias: Biases = None,
        banned_ids: int | Sequence[int] | None = None, banned_words: Words = None, min_new_tokens: int | None = None,
        choices: str | Sequence[str] | None = None, pattern: str | None = None, penalty_alpha: float | None = None,
        seed: int | None = None, stop: str | int | Sequence[str | int] | None = None,
        overflow: str = "error", ignore_eos: bool = False, speculate: int = 0, num_return_sequences: int = 1,
        num_beams: int | None = None,
        length_penalty: float | None = None, early_stopping: bool | str | None = None,
        forced_words: Words = None,
    ) -> Any: ...  # fmt: skip

    def generate(
        self, prompt: Prompt | Sequence[Prompt], max_new_tokens: int | None = None, *, temperature: float | None = None,
        top_k: int | None = None, top_p: float | None = None, min_p: float | None = None,
        typical_p: float | None = None, repetition_penalty: float | None = None, frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0, no_repeat_ngram_size: int | None = None, logit_bias: Biases = None,
        banned_ids: int | Sequence[int] | None = None, banned_words: Words = None, min_new_tokens: int | None = None,
        choices: str | Sequence[str] | None = None, pattern: str | None = None, penalty_alpha: float | None = None,
        seed: int | None = None, stop: str | int | Sequence[str | int] | None = None,
        overflow: str = "error", ignore_eos: bool = False, speculate: int = 0, num_return_sequences: int = 1,
        num_beams: int | None = None,
        length_penalty: float | None = None, early_stopping: bool | str | None = None,
        forced_words: Words = None,
    ) -> Any:  # fmt: skip
        """The continuation of a prompt, without the prompt: text for text, ids for a list of ids.

        A list of prompts, or num_return_sequences above 1, gives a list. temperature=0 is greedy. The same seed gives
        the same text. num_beams above 1 draws nothing and searches for the likeliest text (beams.Beams), penalty_alpha
        for one that does not repeat itself (contrastive.py). speculate=8 with temperature=0 gives the same text, sooner
        where it repeats itself; speculation.stream_steps says what "the same" means, and what happens to a list of
        prompts. choices=["yes", "no"] or pattern="[0-9]+" leave no other continuation (constraints.py).
        """
        said = dict(
            max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
            typical_p=typical_p, repetition_penalty=repetition_penalty, frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty, no_repeat_ngram_size=no_repeat_ngram_size, logit_bias=logit_bias,
            banned_ids=banned_ids, banned_words=banned_words, min_new_tokens=min_new_tokens, choices=choices,
            pattern=pattern, penalty_alpha=penalty_alpha, seed=seed, stop=stop, overflow=overflow,
            ignore_eos=ignore_eos, speculate=speculate, num_return_sequences=num_return_sequences, num_beams=num_beams,
            length_penalty=length_penalty, early_stopping=early_stopping, forced_words=forced_words,
        )
        request, how = self._ask(said)
        prompts = [prompt] if is_one(prompt) else list(prompt)
        parts = (prompts, self.params, self.config, self.ops, self.tokenizer, request)
        if how.num_beams > 1:
            texts = beams.generate(*parts, how)
        else:
            texts = text.generate(*parts, self._to_keep(prompts, request))
        return texts[0] if is_one(prompt) and num_return_sequences == 1 else texts

    def stream(
        self, prompt: Sequence[Piece], max_new_tokens: int | None = None, *, temperature: float | None = None,
        top_k: int | None = None, top_p: float | None = None, min_p: float | None = None,
        typical_p: float | None = None, repetition_penalty: float | None = None, frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0, no_repeat_ngram_size: int | None = None, logit_bias: Biases = None,
        banned_ids: int | Sequence[int] | None = None, banned_words: Words = None, min_new_tokens: int | None = None,
        choices: str | Sequence[str] | None = None, pattern: str | None = None, penalty_alpha: float | None = None,
        seed: int | None = None, stop: str | int | Sequence[str | int] | None = None,
        overflow: str = "error", ignore_eos: bool = False, speculate: int = 0,
    ) -> Iterator[Piece]:  # fmt: skip
        """Like `generate` for one prompt, but yields each piece of text (or id) as soon as it is certain."""
        said = dict(
            max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
            typical_p=typical_p, repetition_penalty=repetition_penalty, frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty, no_repeat_ngram_size=no_repeat_ngram_size, logit_bias=logit_bias,
            banned_ids=banned_ids, banned_words=banned_words, min_new_tokens=min_new_tokens, choices=choices,
            pattern=pattern, penalty_alpha=penalty_alpha, seed=seed, stop=stop, overflow=overflow,
            ignore_eos=ignore_eos, speculate=speculate,
            num_beams=1,
        )
        request, _ = self._ask(said)
        if not is_one(prompt):
            raise InputError("stream: expected one prompt, got several; use generate for a batch")
        parts = (prompt, self.params, self.config, self.ops, self.tokenizer, request)
        return text.stream(*parts, self._to_keep([prompt], request))

    def complete(
        self, prompt: Prompt | Sequence[Prompt], max_new_tokens: int | None = None, *, temperature: float | None = None,
        top_k: int | None = None, top_p: float | None = None, min_p: float | None = None,
        typical_p: float | None = None, repetition_penalty: float | None = None, frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0, no_repeat_ngram_size: int | None = None, logit_bias: Biases = None,
        banned_ids: int | Sequence[int] | None = None, banned_words: Words = None, min_new_tokens: int | None = None,
        choices: str | Sequence[str] | None = None, pattern: str | None = None, penalty_alpha: float | None = None,
        seed: int | None = None, stop: str | int | Sequence[str | int] | None = None,
        overflow: str = "error", ignore_eos: bool = False, speculate: int = 0, num_return_sequences: int = 1,
        num_beams: int | None = None,
        length_penalty: float | None = None, early_stopping: bool | str | None = None,
        forced_words: Words = None, top_logprobs: int = 0,
    ) -> list[Completion]:  # fmt: skip
        """Like `generate`, but each continuation with its ids, how likely each was, why it ended and how long it took.

        `top_logprobs`: so many of the likeliest tokens are kept for each place, with theirs. Always a list, in prompt
        order; completions.Completion names the fields.
        """
        said = dict(
            max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
            typical_p=typical_p, repetition_penalty=repetition_penalty, frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty, no_repeat_ngram_size=no_repeat_ngram_size, logit_bias=logit_bias,
            banned_ids=banned_ids, banned_words=banned_words, min_new_tokens=min_new_tokens, choices=choices,
            pattern=pattern, penalty_alpha=penalty_alpha, seed=seed, stop=stop, overflow=overflow,
            ignore_eos=ignore_eos, speculate=speculate, num_return_sequences=num_return_sequences, num_beams=num_beams,
            length_penalty=length_penalty, early_stopping=early_stopping, forced_words=forced_words,
        )
        request, how = self._ask(said)
        prompts = [prompt] if is_one(prompt) else list(prompt)
        parts = (prompts, self.params, self.config, self.ops, self.tokenizer, request)
        if how.num_beams > 1:
            return completions.search(*parts, how, top_logprobs)
        return completions.complete(*parts, top_logprobs, self._to_keep(prompts, request))

    def logprobs(self, prompt: Prompt) -> np.ndarray:
        """The log-probability of each token of a text, float64 [n_seq] in nats; NaN for the first, which none precedes.

        InputError for more than n_ctx tokens.
        """
        return scores.log_probs(self._ids(prompt), self.params, self.config, self.ops)

    def next_tokens(self, prompt: Prompt, k: int = 10) -> list[NextToken]:
        """The k likeliest tokens behind a text, best first, each with its id, text and log-probability."""
        return scores.next_tokens(self._ids(prompt), k, self.params, self.config, self.ops, self.tokenizer)

    def hidden(self, prompt: Prompt) -> np.ndarray:
        """The vector behind each token of a text, [n_seq, n_embd]: the last layer norm's output.

        `transformers` calls it last_hidden_state. Its last row, or the mean over rows, stands for the text as a whole.
        """
        return scores.hidden(self._ids(prompt), self.params, self.config, self.ops)

    def session(self) -> Session:
        """A Session of this model, which reads what one prompt has in common with the last one only once."""
        return Session(self)

    def _ids(self, prompt: Prompt) -> list[int]:
        return encode_prompt(prompt, self.config, self.tokenizer)

    def _ask(self, said: dict[str, Any]) -> tuple[Request, Beams]:
        return split(settle(said, self.defaults))

    def _to_keep(self, prompts: list[Any], request: Request) -> session.Kept | None:
        if self._kept is not None:
            session.check_request(prompts, request)
        return self._kept


class Session(Writer):
    """A conversation with a model: its methods give what the model's own do, but what was read stays read.

    session = gpt.session(); session.generate(text); session.generate(text + more): the second call reads `more` alone.
    """

    def __init__(self, writer: Writer) -> None:
        self.config, self.params, self.tokenizer, self.ops = writer.config, writer.params, writer.tokenizer, writer.ops
        self.defaults, self._kept = writer.defaults, session.Kept()

    @property
    def n_kept(self) -> int:
        """How many tokens need not be read again by a prompt that begins with them."""
        return 0 if self._kept is None else self._kept.length

    def _ask(self, said: dict[str, Any]) -> tuple[Request, Beams]:
        request, how = super()._ask(said)
        if how.num_beams > 1:
            raise InputError(f"num_beams: expected 1 in a session, which follows one text, got {how.num_beams}")
        return request, how


def is_one(prompt: Any) -> bool:
    """Is this one prompt (text, or a list of ids), rather than several? What is neither counts as one."""
    if isinstance(prompt, np.ndarray):
        return prompt.ndim < 2
    return not (isinstance(prompt, (list, tuple)) and prompt and isinstance(prompt[0], (str, list, tuple, np.ndarray)))
