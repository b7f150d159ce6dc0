"""OpenAI's HTTP interface: /v1/models, /v1/completions, /v1/chat/completions, /v1/embeddings; /health and /metrics.

Enter: a model, and requests of its clients. Leave: a Starlette app, to stand behind guard.guarded(). Every answer is
JSON, a mistake too; no file is read or written at a client's word. Next: bench/report.py.
"""

import asyncio
import base64
import contextlib
import time

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import InputError
from . import api_asked, metrics
from .api_answers import ChatForm, Form
from .api_stream import EventStream, Exchange, as_refused, while_there
from .batching import Batcher, Job, rows_that_fit
from .guard import Refused

MOST_WAITING = 256  # texts in the queue


class Api:
    """The endpoints of one model; each takes a request and returns a response, or raises Refused."""

    def __init__(self, gpt, name, n_rows=None, most_waiting=MOST_WAITING):
        self.served = api_asked.serve(gpt, name, int(time.time()))
        self.batcher = Batcher(gpt, rows_that_fit(gpt, n_rows), most_waiting)
        self.metrics = self.batcher.metrics

    def routes(self):
        """The interface's routes, to be put beside others."""
        return [
            self._route("/v1/models", self.models, "GET"),
            self._route("/v1/models/{name:path}", self.model, "GET"),
            self._route("/v1/completions", self.completions, "POST"),
            self._route("/v1/chat/completions", self.chat, "POST"),
            self._route("/v1/embeddings", self.embeddings, "POST"),
            self._route("/health", self.health, "GET"),
            self._route("/metrics", self.show_metrics, "GET"),
        ]

    def _route(self, path, answer, method):
        async def endpoint(request):
            try:
                response = await answer(request)
            except (Refused, InputError) as error:
                response = refusal(as_refused(error))
            self.metrics.answered(path, response.status_code)
            return response

        return Route(path, endpoint, methods=[method])

    # ---- what it is

    async def models(self, request):
        """GET /v1/models"""
        return JSONResponse({"object": "list", "data": [self._about()]})

    async def model(self, request):
        """GET /v1/models/NAME"""
        api_asked.check_fields({"model": request.path_params["name"]}, {"model"}, self.served.name)
        return JSONResponse(self._about())

    def _about(self):
        config = self.served.gpt.config
        about = {"id": self.served.name, "object": "model", "created": self.served.created, "owned_by": "nanogpt-np"}
        return {**about, "context_length": config.n_ctx, "embedding_length": config.n_embd}

    async def health(self, request):
        """GET /health: does it still compute?"""
        if not self.batcher.thread.is_alive():
            raise Refused(503, "expected a server that computes, got one whose thread has ended; start it again")
        return JSONResponse({"status": "ok"})

    async def show_metrics(self, request):
        """GET /metrics"""
        return Response(self.metrics.text(self.batcher.now()), media_type=metrics.TYPE)

    # ---- what it does

    async def completions(self, request):
        """POST /v1/completions"""
        return await self._continue(request, api_asked.completion, Form, legacy=True)

    async def chat(self, request):
        """POST /v1/chat/completions"""
        return await self._continue(request, api_asked.conversation, ChatForm, legacy=False)

    async def _continue(self, request, read, form, legacy):
        asked = await self._read(request, read)
        self.batcher.check_room(len(asked.prompts) * asked.n)
        form = form(self.served.name, self.served.fingerprint)
        exchange = Exchange(asked, self.served, form, legacy)
        sequences = exchange.sequences
        self.batcher.submit(sequences)
        if asked.stream:
            return EventStream(exchange.chunks(), lambda: self.batcher.leave(sequences))
        try:
            return JSONResponse(await while_there(request.receive, exchange.whole()))
        finally:
            self.batcher.leave(sequences)

    async def embeddings(self, request):
        """POST /v1/embeddings: the mean of a text's last hidden states, of length 1."""
        prompts, as_base64 = await self._read(request, api_asked.embedding)
        self.batcher.check_room(len(prompts))
        jobs, answers = [], []
        for ids in prompts:
            answer = asyncio.get_running_loop().create_future()
            jobs.append(Job(lambda ids=ids: self._vector(ids), _teller(answer)))
            answers.append(answer)
        self.batcher.submit(jobs)
        try:
            vectors = await while_there(request.receive, asyncio.gather(*answers))
        finally:
            self.batcher.leave(jobs)
        data = [
            {"object": "embedding", "index": i, "embedding": _packed(vector) if as_base64 else vector.tolist()}
            for i, vector in enumerate(vectors)
        ]
        n = sum(map(len, prompts))
        of_tokens = {"prompt_tokens": n, "total_tokens": n}
        return JSONResponse({"object": "list", "data": data, "model": self.served.name, "usage": of_tokens})

    def _vector(self, ids):
        vector = self.served.gpt.hidden(ids).mean(axis=0, dtype=np.float64)
        self.metrics.count("prompt_tokens_total", len(ids))
        return (vector / max(np.linalg.norm(vector), 1e-30)).astype(np.float32)

    async def _read(self, request, read):
        """A request's JSON, read and encoded in another thread: a long text must not hold up the others."""
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/json":
            message = "expected the header Content-Type: application/json, got another"
            raise Refused(415, message, "invalid_content_type")
        body = await request.body()
        return await asyncio.to_thread(lambda: read(api_asked.read_json(body), self.served))


def _teller(future):
    """A Job's `tell` for a future of this loop."""
    loop = asyncio.get_running_loop()

    def settle(value):
        if future.done():  # nobody waits any more
            return
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)

    return lambda value: loop.call_soon_threadsafe(settle, value)


def _packed(vector):
    """float32, little-endian, as base64: what OpenAI's own client asks for."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def refusal(error):
    """A Refused as a response."""
    return Response(error.body, error.status, media_type="application/json",
                    headers={name: str(value) for name, value in error.headers.items()})  # fmt: skip


async def _no_such_route(request, error):
    expected = "a route of this server" if error.status_code == 404 else "a method that this route has"
    got = f"{request.method} on one that it has not" if error.status_code == 404 else request.method
    message = f"expected {expected}, got {got}"
    return refusal(Refused(error.status_code, message, "unknown_url", headers=error.headers or {}))


async def _broken(request, error):
    """Told to the client without a word of what it was; the door says it on standard error."""
    return refusal(Refused(500, "expected an answer, got an error inside the server; see its output"))


def make_app(api, routes=()):
    """An app of the interface's routes and others, whose thread ends when the server does."""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield
        await asyncio.to_thread(api.batcher.close)

    handlers = {HTTPException: _no_such_route, Exception: _broken}
    return Starlette(routes=[*api.routes(), *routes], exception_handlers=handlers, lifespan=lifespan)
