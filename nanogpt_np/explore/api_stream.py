"""From the thread that computes to a client that waits: what is told in one is heard in the other.

Enter: what Sequences tell. Leave: events in order, whole answers, or a stream of server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html). A client that goes away is noticed while it waits.
Next: explore/api.py.
"""

import asyncio
import collections
import json
import weakref
from dataclasses import replace
from typing import ClassVar

from ..errors import InputError
from ..generation.request import LENGTH
from . import api_answers
from .api_answers import joined
from .api_asked import refused
from .guard import Gone, Refused
from .sequences import Ending, Failure, Scored, Sequence

DONE = b"data: [DONE]\n\n"


class Post:
    """Takes what is told in any thread to queues of one loop, which is woken once for all that is told meanwhile."""

    of_loops: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, "Post"]] = weakref.WeakKeyDictionary()

    def __init__(self):
        self.told, self.is_woken = collections.deque(), False

    def put(self, loop, queue, item):
        """Told last, looked at first: what comes while the loop is at it is either still taken, or wakes it anew."""
        self.told.append((queue, item))
        if not self.is_woken:
            self.is_woken = True
            loop.call_soon_threadsafe(self._deliver)

    def _deliver(self):
        self.is_woken = False
        while self.told:
            queue, item = self.told.popleft()
            queue.put_nowait(item)


class Mailbox:
    """Where sequences tell, from any thread, and one client's answer is written."""

    def __init__(self):
        self.loop, self.queue = asyncio.get_running_loop(), asyncio.Queue()
        self.post = Post.of_loops.setdefault(self.loop, Post())

    def slot(self, index):
        """The `tell` of one sequence."""
        return lambda event: self.post.put(self.loop, self.queue, (index, event))

    async def events(self, n):
        """Pairs of an index and what was told, until all of `n` have ended; a failure of one is raised."""
        while n:
            index, event = await self.queue.get()
            if isinstance(event, Failure):
                raise as_refused(event.error)
            n -= isinstance(event, Ending)
            yield index, event


def as_refused(error):
    """What a client is told of an error: its own mistake, or that something went wrong here."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, InputError):
        return refused(error)
    if isinstance(error, MemoryError):
        return Refused(503, "expected enough memory, got too little; ask for less, or later")
    raise error


class Exchange:
    """One request's sequences, and what they have told so far."""

    def __init__(self, asked, served, form, legacy):
        self.asked, self.served, self.form, self.mailbox = asked, served, form, Mailbox()
        self.n, gpt = asked.n, served.gpt
        tokenizer, scored = gpt.tokenizer, asked.echo and asked.n_top is not None
        self.sequences = [
            Sequence(ids, asked.request, rng, gpt.config, tokenizer, self.mailbox.slot(i * self.n + j), asked.n_top,
                     scored)  # fmt: skip
            for i, ids in enumerate(asked.prompts)
            for j, rng in enumerate(self._rngs())
        ]
        starts = [len(asked.texts[i // self.n]) if asked.echo and not scored else 0 for i in range(len(self.sequences))]
        self.log_probs = [
            api_answers.Legacy(tokenizer, start) if legacy else api_answers.OfChat(tokenizer) for start in starts
        ]
        self.n_new = 0

    def _rngs(self):
        """Each prompt draws from generators of its own, which begin alike where a seed is given."""
        return replace(self.asked.request, num_return_sequences=self.n).generators(1)

    def told(self, index, event):
        """One event -> its text, its log-probabilities or None, why the text ended or None."""
        if isinstance(event, Ending):
            return event.piece, None, event.reason
        if isinstance(event, Scored):
            return "", self.log_probs[index].of_prompt(self.sequences[index].ids, event), None
        self.n_new += 1
        return event.piece, None if event.log_prob is None else self.log_probs[index].of_token(event), None

    def echoed(self, index):
        """The prompt's text, where it is to be said again."""
        return self.asked.texts[index // self.n] if self.asked.echo else ""

    def usage(self):
        """The tokens of all prompts, each once, and of all continuations."""
        return api_answers.usage(sum(map(len, self.asked.prompts)), self.n_new)

    async def whole(self):
        """The answer as one object."""
        n = len(self.sequences)
        texts, log_probs, reasons = [self.echoed(i) for i in range(n)], [[] for _ in range(n)], [LENGTH] * n
        async for index, event in self.mailbox.events(n):
            text, of_event, reason = self.told(index, event)
            texts[index] += text
            if of_event is not None:
                log_probs[index].append(of_event)
            reasons[index] = reason or reasons[index]
        choices = [
            self.form.choice(i, text, joined(parts), api_answers.finish(reason))
            for i, (text, parts, reason) in enumerate(zip(texts, log_probs, reasons, strict=True))
        ]
        return self.form.answer(choices, self.usage())

    async def chunks(self):
        """The answer as the bytes of events; an error in the middle is the last of them."""
        extra = {"usage": None} if self.asked.with_usage else {}
        try:
            for index in range(len(self.sequences)):
                opening = self.form.opening(index)
                if opening is not None:
                    yield event_of(self.form.part([opening], **extra))
                if self.echoed(index):
                    yield event_of(self.form.part([self.form.piece(index, self.echoed(index), None, None)], **extra))
            async for index, event in self.mailbox.events(len(self.sequences)):
                text, log_probs, reason = self.told(index, event)
                if text or log_probs or reason:
                    reason = None if reason is None else api_answers.finish(reason)
                    yield event_of(self.form.part([self.form.piece(index, text, log_probs, reason)], **extra))
        except Refused as error:
            yield b"data: " + error.body + b"\n\n"
            return
        if self.asked.with_usage:
            yield event_of(self.form.part([], usage=self.usage()))
        yield DONE


def event_of(value):
    """An object as one event: JSON has no line ends in it, whatever a token spells."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


async def while_there(receive, work):
    """Await some work for a client; Gone as soon as it hangs up."""
    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Gone
    finally:
        for one in (task, watch):
            one.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _gone(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream:
    """An ASGI answer made of events; `leave` is called when it is over, however it ends."""

    status_code = 200
    headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no"))

    def __init__(self, chunks, leave):
        self.chunks, self.leave = chunks, leave

    async def __call__(self, scope, receive, send):
        """Send all events, or as many as the client waits for."""
        try:
            await while_there(receive, self._send(send))
        finally:
            self.leave()

    async def _send(self, send):
        await send({"type": "http.response.start", "status": self.status_code, "headers": list(self.headers)})
        async for chunk in self.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
