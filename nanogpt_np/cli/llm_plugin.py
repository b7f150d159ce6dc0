"""A plugin of `llm`, the program that asks models of every kind: `llm -m stories "Once upon a time"`.

Enter: llm's prompt, options and conversation. Leave: pieces of text, and how many tokens were read and written. GPT-2
answers no questions: it goes on with a text. So a conversation is one growing text, and a system prompt its beginning.
Needs the library llm (the extra of that name), which alone imports this room. Next: cli/entry.py.
"""

import argparse

import click
import llm
from pydantic import Field

from ..errors import InputError
from ..generation import chat, defaults, session, text
from ..generation.request import encode_prompt
from ..gpt import GPT
from ..storage.registry import read_registry
from .options import USUAL, as_typed, open_model

ANY = "nanogpt-np"  # the model whose option `path` says which
OURS = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens"}  # what other plugins call otherwise


class Refused(click.ClickException, llm.ModelError):
    """An error's one line: click prints it and ends, also in `llm chat`; who calls llm from Python catches its own."""


class Settings(llm.Options):
    """How to go on; what is left out, the model's generation_config.json says, as it does for `nanogpt-np generate`."""

    temperature: float | None = Field(None, description="0 is greedy")
    top_k: int | None = Field(None, description="choose among the k likeliest tokens")
    top_p: float | None = Field(None, description="choose among the likeliest that together have this probability")
    min_p: float | None = Field(None, description="leave out tokens below this share of the best one's probability")
    typical_p: float | None = Field(None, description="choose among those whose surprise is nearest to the expected")
    repetition_penalty: float | None = Field(None, description="above 1: repeat less")
    frequency_penalty: float | None = Field(None, description="above 0: less likely with each time a token was said")
    presence_penalty: float | None = Field(None, description="above 0: less likely once a token was said")
    no_repeat_ngram_size: int | None = Field(None, description="say no so many tokens twice")
    max_tokens: int | None = Field(None, description="default: up to 200, as far as the context goes")
    min_tokens: int | None = Field(None, description="say no end of text before so many")
    stop: str | None = Field(None, description="end before this text")
    overflow: str | None = Field(None, description="past the context: error, or slide, which forgets the older half")
    pattern: str | None = Field(None, description="say only what this regular expression matches as a whole")
    seed: int | None = Field(None, description="the same seed gives the same text")
    ops: str | None = Field(None, description="who does the arithmetic: numpy, numba, int8, int4 or auto (the default)")


class Continuing(llm.Model):
    """A registered model as llm sees it; it is opened when it is first asked, and kept."""

    can_stream = True
    Options = Settings

    def __init__(self, model_id):
        self.model_id = model_id
        self._opened = self._read = None  # (place, ops), GPT; a conversation's id, its GPT, session.Kept

    def __str__(self):
        return f"nanogpt-np: {self.model_id}"

    def execute(self, prompt, stream, response, conversation):
        """Yield the continuation piece by piece; Refused where it cannot be had."""
        asked = prompt.options.model_dump(exclude_none=True)
        place = asked.pop("path", self.model_id)
        try:
            gpt = self._open(place, asked.pop("ops", "auto"))
            response.set_resolved_model(place)
            kept = None if conversation is None else self._kept(conversation.id, gpt)
            asked = {OURS.get(name, name): value for name, value in asked.items()}
            yield from _continue(gpt, prompt.messages, asked, kept, response)
        except (InputError, MemoryError) as error:
            typed = {OURS.get(name, name): name for name in type(prompt.options).model_fields}
            raise Refused(as_typed(error, typed)) from error

    def _open(self, place, ops):
        if self._opened is None or self._opened[0] != (place, ops):
            self._opened = (place, ops), open_model(GPT, argparse.Namespace(model=place, ops=ops, verbose=False))
        return self._opened[1]

    def _kept(self, name, gpt):
        """What was read for the last conversation, where it is this one: its next turn reads only what is new."""
        if self._read is None or self._read[0] != name or self._read[1] is not gpt:
            self._read = name, gpt, session.Kept()
        return self._read[2]


class Anywhere(Continuing):
    """Any model that opens: `llm -m nanogpt-np -o path runs/mine "Once"`."""

    class Options(Settings):
        """Those of every model, and which one."""

        path: str = Field("stories", description="a model's directory, file (GGUF, llm.c's .bin) or name")


@llm.hookimpl
def register_models(register):
    """Every registered model by its name, here or not yet here, and ANY."""
    for name in read_registry():
        register(Continuing(name))
    register(Anywhere(ANY))


def _continue(gpt, messages, asked, kept, response):
    """Yield pieces of text; afterwards the response knows the tokens, and why the text ended."""
    turns = [(message.role, part.text) for message in messages for part in message.parts if hasattr(part, "text")]
    whole = chat.one_text(turns)
    if is_long := any(role == "assistant" for role, _ in turns):  # as in `nanogpt-np chat`
        whole = chat.in_view(whole, gpt.tokenizer, gpt.config.n_ctx)
    usual = {} if gpt.defaults else USUAL
    how = {"overflow": "slide" if is_long else "error", "num_beams": 1, **usual, **asked}
    request, _ = defaults.split(defaults.settle(how, gpt.defaults))
    ids = encode_prompt(whole, gpt.config, gpt.tokenizer)
    kept = kept if request.penalty_alpha is None else None  # which no session can follow
    n_new, last = 0, None
    for _, _, piece, step in text.events([ids], gpt.params, gpt.config, gpt.ops, gpt.tokenizer, request, kept):
        n_new, last = (n_new, last) if step is None else (n_new + 1, step)
        if piece:
            yield piece
    response.set_usage(input=len(ids), output=n_new)
    response.response_json = {"reason": last.reasons[0]} if last else None
