"""The whole journey: a prompt in, text out, token by token.

Enter: prompts (strings or lists of ids). Leave: their continuations, without the prompts. Prompts of different
lengths are padded on the left, and every sequence draws from its own generator, so that a batch gives what each
prompt gives alone. Next room: beams.py.
"""

import operator
from dataclasses import dataclass, field, replace
from numbers import Integral

import numpy as np

from . import decoding, speculation
from .errors import InputError
from .kv_cache import slide
from .sampling import Sampling
from .tokenizer import StreamDecoder

DEFAULT_NEW_TOKENS = 200


@dataclass(frozen=True)
class Request:
    """What is asked of a generation.

    `max_new_tokens`: None means up to 200, or fewer where the context ends before. `seed`: None means a new one.
    `stop`: strings and ids that end a sequence (they are not returned; where ids are asked for, those before the id
    that completes a stop string are). The string that is complete first counts. The end-of-text id always ends a
    sequence, unless `ignore_eos`. `overflow`: "error", or "slide": when the context is full, forget all but the last
    half of it and read that again from position 0, which is no longer what the model would say with everything in view.
    `speculate`: at temperature 0, guess up to so many tokens per step from what stands in the text already, and check
    them at once: the same ids, sooner where a text repeats itself (speculation.py); 0 guesses nothing.
    """

    max_new_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int | None = None
    stop: tuple = ()
    num_return_sequences: int = 1
    overflow: str = "error"
    ignore_eos: bool = False
    speculate: int = 0

    def __post_init__(self):
        for name, least in (("max_new_tokens", 0), ("seed", 0), ("num_return_sequences", 1), ("speculate", 0)):
            value = getattr(self, name)
            if value is None and name in ("max_new_tokens", "seed"):
                continue
            if not isinstance(value, Integral) or value < least:
                raise InputError(f"{name}: expected a whole number of at least {least}, got {value!r}")
        if self.overflow not in ("error", "slide"):
            raise InputError(f"overflow: expected 'error' or 'slide', got {self.overflow!r}")
        for item in self.stop:
            if item == "" or not isinstance(item, (str, Integral)):
                raise InputError(f"stop: expected non-empty strings and ids, got {item!r}")

    def stop_ids(self, config):
        """The ids that end a sequence."""
        ids = {int(item) for item in self.stop if not isinstance(item, str)}
        return ids if self.ignore_eos or config.eos_id is None else ids | {config.eos_id}

    def without_unknown_ids(self, config, tokenizer):
        """The request with those ids banned that only pad wte to a round number: the tokenizer cannot spell them."""
        if tokenizer is None or tokenizer.n_vocab >= config.n_vocab:
            return self
        unknown = set(range(tokenizer.n_vocab, config.n_vocab)) - self.stop_ids(config)
        banned = (*self.sampling.banned_ids, *sorted(unknown))
        return replace(self, sampling=replace(self.sampling, banned_ids=banned))

    def stop_strings(self):
        """The strings that end a sequence."""
        return [item for item in self.stop if isinstance(item, str)]

    def generators(self, n_prompts):
        """One random generator per sequence: number j of every prompt draws from the stream (seed, j)."""
        if self.seed is None:
            return [np.random.default_rng() for _ in range(n_prompts * self.num_return_sequences)]
        numbers = list(range(self.num_return_sequences)) * n_prompts
        return [np.random.default_rng([self.seed, j]) for j in numbers]


def stream_ids(prompts, params, config, ops, request):
    """Yield, step by step, one list with the next id of each sequence; None for a sequence that has ended.

    `prompts`: lists of ids; sequences stand in prompt order, request.num_return_sequences of each.
    InputError, at once, where a prompt is empty, or prompt and new tokens do not fit the context.
    """
    max_new = plan_length(prompts, config, request)
    if request.speculate:
        speculation.check_request(request)
        return speculation.stream_ids(prompts, params, config, ops, request, max_new)
    return _steps(prompts, params, config, ops, request, max_new)


def _steps(prompts, params, config, ops, request, max_new):
    n = request.num_return_sequences
    texts = [list(prompt) for prompt in prompts for _ in range(n)]
    seen = [list(text) for text in texts]  # the part of each text that the model has in view
    rngs, stop_ids = request.generators(len(prompts)), request.stop_ids(config)
    ended = [False] * len(texts)
    logits, cache = None, None
    for step in range(max_new):
        if step == 0:
            logits, cache = prefill(prompts, params, config, ops, max_new)
            logits, cache = spread(logits, cache, n)
        elif cache.length == config.n_ctx:
            seen = [slide(text, config.n_ctx) for text in seen]
            logits, cache = prefill(seen, params, config, ops, config.n_ctx)
        else:
            last = np.array([[text[-1]] for text in texts])
            logits = decoding.decode(last, params, config, ops, cache)
        chosen = [int(i) for i in request.sampling.choose(logits[:, -1], texts, rngs)]
        for row, token in enumerate(chosen):
            ended[row] = ended[row] or token in stop_ids
            texts[row].append(token)  # an ended row keeps its place in the batch; what it says is not passed on
            seen[row].append(token)
        if all(ended):
            return
        yield [None if ended[row] else token for row, token in enumerate(chosen)]


def plan_length(prompts, config, request):
    """How many tokens may be made; InputError where prompts are unusable or do not fit."""
    if not prompts:
        raise InputError("prompts: expected at least one, got an empty list")
    for prompt in prompts:
        if not prompt:
            raise InputError("prompt: expected at least one token, got none; begin with some text")
        if not 0 <= min(prompt) <= max(prompt) < config.n_vocab:
            raise InputError(f"prompt: expected ids from 0 to {config.n_vocab - 1}, got {min(prompt)} to {max(prompt)}")
    for i in request.sampling.banned_ids:
        if not isinstance(i, Integral) or not 0 <= i < config.n_vocab:
            raise InputError(f"banned_ids: expected ids from 0 to {config.n_vocab - 1}, got {i!r}")
    longest = max(len(prompt) for prompt in prompts)
    room = config.n_ctx - longest
    if room < 0:
        raise InputError(f"prompt: expected at most n_ctx = {config.n_ctx} tokens, got {longest}; shorten it")
    # the last new token is never read again, so it needs no room of its own
    room += 1
    if request.max_new_tokens is None:
        return DEFAULT_NEW_TOKENS if request.overflow == "slide" else min(DEFAULT_NEW_TOKENS, room)
    if request.max_new_tokens > room and request.overflow == "error":
        raise InputError(
            f"expected prompt and new tokens to fit n_ctx = {config.n_ctx}, got {longest} + {request.max_new_tokens}; "
            f"ask for at most {room} new tokens, or use overflow='slide'"
        )
    return request.max_new_tokens


def prefill(texts, params, config, ops, max_new):
    """Read the texts, padded on the left to one length -> logits of the last position [n_batch, 1, n_vocab], cache."""
    longest = max(map(len, texts))
    ids = np.array([[0] * (longest - len(text)) + text for text in texts])
    mask = np.array([[False] * (longest - len(text)) + [True] * len(text) for text in texts])
    n_ctx = min(config.n_ctx, longest + max_new)
    cache = decoding.new_cache(len(texts), n_ctx, params, config, ops)
    logits = decoding.read(ids, params, config, ops, cache, mask)
    return logits, cache


def spread(logits, cache, n):
    """Give each of the `n` sequences of a prompt its own row; the prompt was read once."""
    if n == 1:
        return logits, cache
    rows = np.repeat(np.arange(len(logits)), n)
    return logits[rows], cache.select(rows)


class TextStream:
    """Ids in, text out: whole characters, and nothing of a stop string, not even its first letters."""

    def __init__(self, tokenizer, stop_strings):
        self.decoder, self.stop_strings = StreamDecoder(tokenizer), stop_strings
        self.held, self.ended = "", False

    def push(self, token):
        """The text that is now certain; "" while it may still become a stop string."""
        return self._release(self.decoder.push(token))

    def flush(self):
        """What was held back, once no more ids come."""
        piece = self._release(self.decoder.flush())
        piece, self.held = piece + ("" if self.ended else self.held), ""
        return piece

    def _release(self, piece):
        if self.ended:
            return ""
        self.held += piece
        found = [(at + len(stop), at) for stop in self.stop_strings if (at := self.held.find(stop)) >= 0]
        if found:
            self.ended = True
            return self.held[: min(found)[1]]  # complete first, so that it does not matter how the text was cut up
        keep = max((_overlap(self.held, stop) for stop in self.stop_strings), default=0)
        certain = self.held[: len(self.held) - keep]
        self.held = self.held[len(certain) :]
        return certain


def events(prompts, params, config, ops, tokenizer, request):
    """Yield (row, id, piece) as each sequence grows; `piece` is the text that became certain, "" while it waits.

    `id` is None for the id that completes a stop string, and for what the end of a sequence sets free.
    InputError, at once, where prompts or request cannot be used.
    """
    if request.stop_strings() and tokenizer is None:
        raise InputError("stop: expected ids, got strings; this model has no vocabulary files")
    encoded = [encode_prompt(prompt, config, tokenizer) for prompt in prompts]
    request = request.without_unknown_ids(config, tokenizer)
    steps = stream_ids(encoded, params, config, ops, request)
    return _spell(steps, len(prompts) * request.num_return_sequences, tokenizer, request)


def _spell(steps, n_rows, tokenizer, request):
    texts = [TextStream(tokenizer, request.stop_strings()) for _ in range(n_rows)] if tokenizer else []
    ended = [False] * n_rows
    for chosen in steps:
        for row, token in enumerate(chosen):
            if token is None or ended[row]:
                ended[row] = True
                continue
            piece = texts[row].push(token) if texts else ""
            ended[row] = bool(texts) and texts[row].ended
            yield row, None if ended[row] else token, piece
        if all(ended):
            break
    for row, text in enumerate(texts):
        yield row, None, text.flush()


def stream(prompt, params, config, ops, tokenizer, request):
    """Yield the continuation of one prompt: pieces of whole characters, or ids where the prompt is a list of ids."""
    found = events([prompt], params, config, ops, tokenizer, request)
    if isinstance(prompt, str):
        return (piece for _, _, piece in found if piece)
    return (token for _, token, _ in found if token is not None)


def generate(prompts, params, config, ops, tokenizer, request):
    """The continuations of several prompts, request.num_return_sequences of each, in prompt order.

    Strings for string prompts, lists of ids for lists of ids.
    """
    n_rows = len(prompts) * request.num_return_sequences
    spelled, ids = [""] * n_rows, [[] for _ in range(n_rows)]
    for row, token, piece in events(prompts, params, config, ops, tokenizer, request):
        spelled[row] += piece
        if token is not None:
            ids[row].append(token)
    prompt_of = [prompt for prompt in prompts for _ in range(request.num_return_sequences)]
    return [spelled[row] if isinstance(prompt, str) else ids[row] for row, prompt in enumerate(prompt_of)]


def encode_prompt(prompt, config, tokenizer):
    """A prompt as ids; the empty string means: from the very beginning (<|endoftext|>)."""
    if not isinstance(prompt, str):
        try:
            if isinstance(prompt, (bytes, bytearray)):
                raise TypeError
            return [operator.index(i) for i in prompt]
        except TypeError:
            raise InputError(f"prompt: expected text or a list of ids, got {prompt!r:.60}") from None
    if tokenizer is None:
        raise InputError("prompt: expected a list of ids, got text; this model has no vocabulary files")
    if prompt == "" and config.eos_id is not None:
        return [config.eos_id]
    return tokenizer.encode(prompt)


def _overlap(text, stop):
    """How many characters at the end of `text` are a beginning of `stop`: _overlap("so\\n", "\\n\\n") -> 1"""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
