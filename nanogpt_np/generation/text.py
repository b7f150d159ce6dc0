"""The whole journey: a prompt in, text out, piece by piece.

Enter: prompts (strings or lists of ids). Leave: their continuations, without the prompts: whole characters, and nothing
of a stop string. Next: generation/budget.py.
"""

from ..errors import InputError
from ..tokenizer.streaming import StreamDecoder
from .request import STOP, encode_prompt
from .tokens import stream_steps


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


def events(prompts, params, config, ops, tokenizer, request, kept=None, reasons=None, only_ids=False):
    """Yield (row, id, piece, step) as each sequence grows; `piece` is the text that became certain, "" while it waits.

    `id` is None for the id that completes a stop string, and for what the end of a sequence sets free; `step`: the
    request.Step that it came of, None at the end. `kept`: as for tokens.stream_steps. `reasons`: a list for those of
    the steps; what it says may be read at the end. `only_ids`: the steps need no logits.
    InputError, at once, where prompts or request cannot be used.
    """
    if request.stop_strings() and tokenizer is None:
        raise InputError("stop: expected ids, got strings; this model has no vocabulary files")
    encoded = [encode_prompt(prompt, config, tokenizer) for prompt in prompts]
    request, guide = request.spelled(config, tokenizer), request.guide(config, tokenizer)
    steps = stream_steps(encoded, params, config, ops, request, guide, kept, only_ids)
    return _spell(steps, len(prompts) * request.num_return_sequences, tokenizer, request, reasons)


def _spell(steps, n_rows, tokenizer, request, reasons):
    texts = [TextStream(tokenizer, request.stop_strings()) for _ in range(n_rows)] if tokenizer else []
    ended, step = [False] * n_rows, None
    for step in steps:
        for row, token in enumerate(step.ids):
            if token is None or ended[row]:
                ended[row] = True
                continue
            piece = texts[row].push(token) if texts else ""
            if texts and texts[row].ended:
                ended[row], token, step.reasons[row] = True, None, STOP
            yield row, token, piece, step
        if all(ended):
            break
    if reasons is not None and step is not None:
        reasons[:] = step.reasons
    for row, text in enumerate(texts):
        yield row, None, text.flush(), None


def stream(prompt, params, config, ops, tokenizer, request, kept=None):
    """Yield the continuation of one prompt: pieces of whole characters, or ids where the prompt is a list of ids."""
    found = events([prompt], params, config, ops, tokenizer, request, kept, only_ids=True)
    if isinstance(prompt, str):
        return (piece for _, _, piece, _ in found if piece)
    return (token for _, token, _, _ in found if token is not None)


def generate(prompts, params, config, ops, tokenizer, request, kept=None):
    """The continuations of several prompts, request.num_return_sequences of each, in prompt order.

    Strings for string prompts, lists of ids for lists of ids.
    """
    # refuses more rows than fit the memory
    found = events(prompts, params, config, ops, tokenizer, request, kept, only_ids=True)
    n_rows = len(prompts) * request.num_return_sequences
    spelled, ids = [""] * n_rows, [[] for _ in range(n_rows)]
    for row, token, piece, _ in found:
        spelled[row] += piece
        if token is not None:
            ids[row].append(token)
    prompt_of = [prompt for prompt in prompts for _ in range(request.num_return_sequences)]
    return [spelled[row] if isinstance(prompt, str) else ids[row] for row, prompt in enumerate(prompt_of)]


def _overlap(text, stop):
    """How many characters at the end of `text` are a beginning of `stop`: _overlap("so\\n", "\\n\\n") -> 1"""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
