"""The page's server: its files, its numbers, the sources that its tour points to. One question after the other.

Enter: the models that may be asked for. Leave: an ASGI app; whoever runs it puts the door of guard.py in front.
Answers are computed by one thread, in the order in which they were asked for, so that two pages never want twice the
memory; a question whose page went away meanwhile is dropped. Next: explore/bundle.py.
"""

import asyncio
import concurrent.futures
import json
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from ..errors import InputError, printable, shown
from . import answers
from .asked import TooLong
from .guard import Refused, within

PACKAGE = Path(__file__).parent.parent
STATIC = Path(__file__).parent / "static"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
WINGS = ("", "lens", "generation", "tokenizer", "training", "quantized", "explore")  # whose sources the tour shows
SECONDS = 90  # for one answer; kernels for int8 are compiled once, which takes half a minute
MOST_WAITING = 32  # questions
JSON = "application/json"
MOST_LINE = 400  # characters of an error


def make_app(models, prompt="", lang=None):
    """An ASGI app for some Models; `prompt`, `lang`: what a page begins with."""
    worker, sources = Worker(), source_files()

    async def page(request):
        return _file(STATIC / "index.html")

    async def static(request):
        name = request.path_params["name"]
        if name not in {path.name for path in STATIC.iterdir() if path.suffix in KINDS}:
            raise _unknown(request)
        return _file(STATIC / name)

    async def source(request):
        path = sources.get(request.path_params["path"])
        if path is None:
            raise _unknown(request)
        return Response(path.read_bytes(), media_type="text/plain; charset=utf-8")

    async def listing(request):
        return await worker.answer(request, lambda: answers.listing(models, prompt, lang))

    async def view(request):
        name = request.path_params["name"]
        if name not in answers.NAMES:
            raise _unknown(request)
        body = await read_json(request)
        return await worker.answer(request, lambda: answers.answer(models, name, body))

    routes = [
        Route("/", page), Route("/static/{name}", static), Route("/source/{path:path}", source),
        Route("/api/models", listing), Route("/api/{name}", view, methods=["POST"]),
    ]  # fmt: skip
    handlers = {Refused: _refused, HTTPException: _refused, InputError: _refused, MemoryError: _refused,
                Exception: _refused}  # fmt: skip
    return Starlette(routes=routes, exception_handlers=handlers)


class Worker:
    """One thread that answers, and who waits for it."""

    def __init__(self):
        self.thread = concurrent.futures.ThreadPoolExecutor(1, "explore")
        self.turn, self.waiting = asyncio.Lock(), 0

    async def answer(self, request, work):
        """What `work` returns, as JSON; Refused where too many wait, or it takes too long."""
        if self.waiting >= MOST_WAITING:
            raise Refused(429, f"expected at most {MOST_WAITING} questions at once, got more; ask again later", "busy",
                          headers={"retry-after": "1"})  # fmt: skip
        self.waiting += 1
        try:
            async with self.turn:
                if await request.is_disconnected():
                    return Response(status_code=499)
                done = asyncio.get_running_loop().run_in_executor(self.thread, lambda: to_json(work()))
                try:
                    text = await within(SECONDS, asyncio.shield(done))
                except TimeoutError:
                    done.add_done_callback(lambda future: future.cancelled() or future.exception())  # nobody asks
                    raise Refused(503, f"expected an answer within {SECONDS} s, got none yet; ask for less, or again",
                                  "too_slow") from None  # fmt: skip
        finally:
            self.waiting -= 1
        return Response(text, media_type=f"{JSON}; charset=utf-8")


def to_json(value):
    """An answer as bytes; letters as they are, and no NaN, which JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


async def read_json(request):
    """What was sent as JSON; Refused for anything else, and for more than MOST_BODY bytes.

    A form of a page elsewhere can send no such content type.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != JSON:
        raise Refused(415, f"expected Content-Type: {JSON}, got {shown(kind)}", "not_json")
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > answers.MOST_BODY:
            expected = f"a question of at most {answers.MOST_BODY:,} bytes"
            raise Refused(413, f"expected {expected}, got a larger one; shorten the text", "too_large")
        pieces.append(piece)
    try:
        return json.loads(b"".join(pieces))
    except (ValueError, RecursionError) as error:
        got = printable(str(error) or "deeper than can be followed", 100)
        raise Refused(400, f"expected JSON, got something else ({got})", "not_json") from None


def source_files():
    """The sources that may be read: "nanogpt_np/model.py" -> its path; notebooks only where there is a checkout."""
    found = {}
    for wing in WINGS:
        for path in (PACKAGE / wing).glob("*.py"):
            found[path.relative_to(PACKAGE.parent).as_posix()] = path
    root = PACKAGE.parent
    if (root / "pyproject.toml").is_file():
        found |= {path.relative_to(root).as_posix(): path for path in (root / "notebooks").glob("[0-9][0-9]_*.py")}
    return found


def _file(path):
    return Response(path.read_bytes(), media_type=f"{KINDS[path.suffix]}; charset=utf-8")


def _unknown(request):
    known = f"/, /static/…, or one of {', '.join(f'/api/{name}' for name in answers.NAMES)}"
    return Refused(404, f"expected {known}, got {shown(request.url.path)}", "unknown")


async def _refused(request, error):
    """Any error as the interface's one form; what nobody foresaw is told by the door, on standard error."""
    found = error
    if isinstance(error, HTTPException):
        code = {404: "unknown", 405: "method"}.get(error.status_code, "bad_input")
        found = Refused(error.status_code, f"expected a path of this page, got {shown(request.url.path)} with "
                        f"{request.method}", code, headers=error.headers or {})  # fmt: skip
    elif isinstance(error, MemoryError):
        found = Refused(400, "expected enough memory, got too little; shorten the text", "context_length_exceeded")
    elif isinstance(error, InputError):
        code = "context_length_exceeded" if isinstance(error, TooLong) else "bad_input"
        found = Refused(400, printable(str(error), MOST_LINE), code)
    elif not isinstance(error, Refused):
        found = Refused(500, "expected an answer, got an error inside the server; see its output", "internal")
    return Response(found.body, found.status, headers=found.headers, media_type=JSON)
